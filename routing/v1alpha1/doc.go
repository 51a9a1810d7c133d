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
// deploy/crds/fairway.dev_gatewayparameters.yaml is the definition; a test
// holds the types and the definition together. Both it and the DeepCopy methods
// come from "controller-gen object crd paths=./routing/v1alpha1"; of the
// definition the descriptions of Kubernetes' own types are left out. The package
// imports API types and nothing else.
//
// +kubebuilder:object:generate=true
// +groupName=fairway.dev
package v1alpha1
