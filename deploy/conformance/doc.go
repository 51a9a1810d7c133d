// Package conformance runs Gateway API's own conformance suite, as its users
// run it for any implementation: against the cluster that KUBECONFIG names and
// the GatewayClass "fairway" in it.
//
// It is a module of its own because the suite brings a client of the API
// server, and replaces what the program itself is built of.
package conformance
