// Package istio is the dialect of Istio's networking API (v1, v1beta1 and
// v1alpha3 of networking.istio.io): Gateway, VirtualService, DestinationRule,
// ServiceEntry, WorkloadEntry, and of telemetry.istio.io and MeshConfig what a
// gateway can honour. It joins the sheet of package gatewayapi, whose listeners
// VirtualServices are attached to and whose clusters they send to.
//
// A field that is not honoured is a Problem of its object, never silently
// ignored.
package istio
