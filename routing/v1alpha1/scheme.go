package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// GroupVersion is the group and version of the package's kinds.
var GroupVersion = schema.GroupVersion{Group: "fairway.dev", Version: "v1alpha1"}

// AddToScheme adds the package's kinds to s. It returns no error that any
// scheme could cause.
func AddToScheme(s *runtime.Scheme) error {
	s.AddKnownTypes(GroupVersion, &GatewayParameters{}, &GatewayParametersList{}, &RateLimitPolicy{}, &RateLimitPolicyList{})
	metav1.AddToGroupVersion(s, GroupVersion)
	return nil
}
