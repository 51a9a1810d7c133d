// Package policy says who may pass. It holds what the gateway asks an external
// authorization server, and what that answers, in Envoy's ext_authz protocol
// (envoy.service.auth.v3), which Gateway API names for its ExternalAuth filter
// (GEP-1494).
//
// The one law: what cannot be understood does not let anybody pass. An answer
// that asks for something we do not do is an error, not a yes.
//
// The protocol's messages are written and read here, field by field, as of the
// many that Envoy's API has these few are needed. The package does not know
// how a question travels: that is proxy's.
package policy
