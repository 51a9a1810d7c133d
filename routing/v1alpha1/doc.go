// Package v1alpha1 is the API group fairway.dev/v1alpha1: the few words that
// Gateway API has no place for.
//
// [GatewayParameters] say how the pods of a Gateway, and the Service in front
// of them, are made. A GatewayClass names one in spec.parametersRef, with its
// namespace, and a Gateway one of its own namespace in
// spec.infrastructure.parametersRef. Those of the class are the defaults, field
// by field, for those of the Gateway: [Merge] puts them together.
//
// What is not set anywhere has a default that each field's documentation names.
// The CustomResourceDefinition holds none of them on purpose: a default that the
// API server writes into a Gateway's parameters would hide what the class says.
//
// [RateLimitPolicy] bounds how often something is asked for. It is of Gateway API's
// inherited policies (GEP-713): what is above adds to what is below.
//
// deploy/crds/fairway.dev_gatewayparameters.yaml and fairway.dev_ratelimitpolicies.yaml
// are the definitions; a test holds the types and the definitions together. Both
// they and the DeepCopy methods come from "controller-gen object crd
// paths=./routing/v1alpha1"; of the definitions the descriptions of Kubernetes' own
// types, and of Gateway API's, are left out. The package imports API types and
// nothing else.
//
// +kubebuilder:object:generate=true
// +groupName=fairway.dev
package v1alpha1
