package trust

import (
	"fmt"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/rest"
)

// client returns a client for few kinds: a clientset would bring all of
// Kubernetes's types into the binary.
func client(config *rest.Config, apiPath string, gv schema.GroupVersion, kinds ...runtime.Object) (rest.Interface, error) {
	scheme := runtime.NewScheme()
	scheme.AddKnownTypes(gv, kinds...)
	metav1.AddToGroupVersion(scheme, gv)
	c := rest.CopyConfig(config)
	c.APIPath, c.GroupVersion = apiPath, &gv
	c.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()
	client, err := rest.RESTClientFor(c)
	if err != nil {
		return nil, fmt.Errorf("client of %s: %w", gv, err)
	}
	return client, nil
}

func core(config *rest.Config) (rest.Interface, error) {
	return client(config, "/api", corev1.SchemeGroupVersion, &corev1.Secret{}, &corev1.ConfigMap{})
}

func tokenReviews(config *rest.Config) (rest.Interface, error) {
	return client(config, "/apis", authenticationv1.SchemeGroupVersion, &authenticationv1.TokenReview{})
}
