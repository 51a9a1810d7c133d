// Package interop has tests of hop against Istio's own HBONE: its client through
// our server, and ours against its server. It is a module of its own, as Istio's
// brings half of Kubernetes along.
package interop
