package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// RateLimitPolicy bounds how often something is asked for. It is enforced by the
// gateways of what it targets; a policy on something closer to the workload adds to
// one further out, and none replaces another.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:categories=gateway-api,shortName=rlpolicy
// +kubebuilder:metadata:labels="gateway.networking.k8s.io/policy=Inherited"
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type RateLimitPolicy struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec RateLimitPolicySpec `json:"spec"`

	// Where the policy is in force: an entry for each Gateway.
	// +optional
	Status gatewayv1.PolicyStatus `json:"status,omitempty"`
}

// RateLimitPolicyList is a list of RateLimitPolicies.
//
// +kubebuilder:object:root=true
type RateLimitPolicyList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []RateLimitPolicy `json:"items"`
}

// RateLimitPolicySpec is what is bounded, and by what.
type RateLimitPolicySpec struct {
	// What the policy is for, in its own namespace. A Gateway: all requests to it,
	// or those to the listener that sectionName names; of a waypoint those to the
	// Services that have it. A Service: what comes to it by its waypoint, or to the
	// port that sectionName names. An HTTPRoute or a GRPCRoute: the requests that it
	// takes, or those of the rule that sectionName names. Targets of one policy count
	// together.
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:XValidation:message="want targets of kind Gateway, HTTPRoute and GRPCRoute of gateway.networking.k8s.io, and Service",rule="self.all(t, (t.group == 'gateway.networking.k8s.io' && t.kind in ['Gateway', 'HTTPRoute', 'GRPCRoute']) || (t.group == '' && t.kind == 'Service'))"
	TargetRefs []gatewayv1.LocalPolicyTargetReferenceWithSectionName `json:"targetRefs"`

	// The limits. Each counts by itself, and a request that is over one of them is
	// answered with 429.
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	Rules []RateLimitRule `json:"rules"`

	// Where all gateways count together. Without it each gateway pod counts for
	// itself.
	// +optional
	Shared *SharedRateLimit `json:"shared,omitempty"`

	// Whether what cannot be counted, because the store does not answer, is answered
	// with 503. Default: false, it passes.
	// +optional
	FailClosed *bool `json:"failClosed,omitempty"`
}

// RateLimitRule is so many requests in so much time.
type RateLimitRule struct {
	// A name for the log, and for the rate limit service. Default: "rules[0]" for
	// the first, and so on.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Name *string `json:"name,omitempty"`

	// How many requests pass in each per.
	// +kubebuilder:validation:Minimum=1
	Requests int32 `json:"requests"`

	// The time that requests is for, of 100ms to 24h: "1s", "1m".
	Per gatewayv1.Duration `json:"per"`

	// How many requests may come at once besides. Shared limits have none. Default: 0.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Burst *int32 `json:"burst,omitempty"`

	// What tells clients apart, each of which has the limit for itself: source-ip,
	// principal (the identity in the mesh), header:NAME or claim:NAME (of a token that
	// a RequestAuthentication has proved). A request that lacks one of them is not
	// counted. Default: all clients are one.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=4
	// +kubebuilder:validation:items:MaxLength=256
	// +kubebuilder:validation:items:Pattern=`^(source-ip|principal|header:[!#$%&'*+\-.^_|~0-9A-Za-z]+|claim:.+)$`
	By []string `json:"by,omitempty"`

	// The requests that count: those that one of the matches takes. Default: all.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=8
	Matches []gatewayv1.HTTPRouteMatch `json:"matches,omitempty"`
}

// SharedRateLimit is where counts are kept.
//
// +kubebuilder:validation:XValidation:message="want one of redis and service",rule="has(self.redis) != has(self.service)"
type SharedRateLimit struct {
	// A store that speaks Redis's protocol, with one endpoint, and without a
	// password.
	// +optional
	Redis *RateLimitStore `json:"redis,omitempty"`

	// A server of Envoy's rate limit service (envoy.service.ratelimit.v3).
	// +optional
	Service *RateLimitService `json:"service,omitempty"`

	// How long a request waits for it, up to 1s. Default: 20ms.
	// +optional
	Timeout *gatewayv1.Duration `json:"timeout,omitempty"`
}

// RateLimitStore is a store of counts.
type RateLimitStore struct {
	// The port of its Service. One in another namespace needs a ReferenceGrant.
	BackendRef gatewayv1.BackendObjectReference `json:"backendRef"`
}

// RateLimitService is a rate limit service.
type RateLimitService struct {
	// The port of its Service, which takes gRPC. One in another namespace needs a
	// ReferenceGrant.
	BackendRef gatewayv1.BackendObjectReference `json:"backendRef"`

	// The domain in which it knows the limits.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Domain string `json:"domain"`
}
