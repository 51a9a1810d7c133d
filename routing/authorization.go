package routing

import (
	"net/netip"
	"time"
)

// AuthorizationAction is what an AuthorizationPolicy does with what its rules
// hold for.
type AuthorizationAction string

const (
	Allow  AuthorizationAction = "ALLOW"
	Deny   AuthorizationAction = "DENY"
	Audit  AuthorizationAction = "AUDIT"  // it is told of in the access log, and nothing else
	Custom AuthorizationAction = "CUSTOM" // External is asked
)

// An Authorization is Istio's AuthorizationPolicy. Of those on a listener, what
// a Custom one refuses is refused; then what a Deny one holds for; then, where
// there is an Allow one, all that none of these holds for. They are in no order,
// and none replaces another.
type Authorization struct {
	Action AuthorizationAction
	// Rules: one of them. None: an Allow policy holds for nothing, so that all
	// is refused, and a Deny policy for nothing either.
	Rules []AuthorizationRule
	// DryRun only tells what it would do (annotation istio.io/dry-run).
	DryRun bool
	// External is who is asked, of Custom; nil: nobody can be, and nobody passes.
	External *ExternalAuth
	// Broken says why the policy cannot be had as it was written: then it refuses
	// all that it is on. Its author has been told: Compile does not say it again.
	Broken string
}

// An AuthorizationRule holds where one of From, one of To and all of When do.
// None of one: any.
type AuthorizationRule struct {
	From []AuthorizationSource
	To   []AuthorizationOperation
	When []AuthorizationCondition
}

// A Pattern list holds where one of In does, and none of Out. No In: any.
// Patterns are exact, a prefix "a*", a suffix "*a", or "*" for one that is there
// at all.
type Patterns struct{ In, Out []string }

// Prefixes is Patterns of addresses.
type Prefixes struct{ In, Out []netip.Prefix }

// An AuthorizationSource is who asks. All that is named has to hold.
type AuthorizationSource struct {
	Principals        Patterns // "cluster.local/ns/shop/sa/cart"
	RequestPrincipals Patterns // "issuer/subject" of a proved token
	Namespaces        Patterns
	ServiceAccounts   Patterns // "shop/cart"
	TrustDomains      Patterns
	IPBlocks          Prefixes // the peer of the connection
	RemoteIPBlocks    Prefixes // by X-Forwarded-For where that is believed
}

// An AuthorizationOperation is what is asked for. All that is named has to hold.
// Hosts, methods and paths are those of a request: on connections of which no
// requests are seen, a rule of an Allow policy that names one never holds, and
// one of another policy as if it did not name it.
type AuthorizationOperation struct {
	Hosts   Patterns // in any case; with the port if the pattern has one
	Ports   PortSet
	Methods Patterns
	Paths   Patterns // and "{*}" for one segment, "{**}" for any at the end or the beginning
}

// A PortSet holds for one of In, and none of Out. No In: any.
type PortSet struct{ In, Out []uint16 }

// An AuthorizationCondition compares an attribute: "request.headers[x-user]",
// "source.ip", "request.auth.claims[groups]", "connection.sni".
type AuthorizationCondition struct {
	Key    string
	Values Patterns
}

// A RateLimit bounds how often something is asked for (RateLimitPolicy).
type RateLimit struct {
	// Rules: each by itself; a request over one of them is refused with 429. None:
	// the policy cannot be had as it was written, and who made it has said why.
	Rules []RateLimitRule
	// Shared, if not nil, has the gateways of all fleets count together; where
	// it cannot be asked FailClosed decides.
	Shared *SharedLimit
	// FailClosed refuses what cannot be counted, with 503. Without it, it passes.
	FailClosed bool
}

// A RateLimitRule is Requests in each Per, by each client, or for all together.
type RateLimitRule struct {
	Name     string
	Requests uint32
	Per      time.Duration
	Burst    uint32 // besides; local limits only
	// By is what tells clients apart: "source-ip", "principal", "header:NAME",
	// "claim:NAME"; none: all are one. A request without one of them is not counted.
	By []string
	// Matches: one of them, or there are none. They have no Sources, Destinations
	// and Namespaces.
	Matches []Match
}

// A SharedLimit is where counts are kept.
type SharedLimit struct {
	Cluster ClusterName
	// Redis says that it speaks RESP, as Redis does; else it is Envoy's rate limit
	// service (envoy.service.ratelimit.v3), which knows its limits by Domain and
	// by the rules' names and values as descriptors.
	Redis   bool
	Domain  string
	Timeout time.Duration // 0: 20 ms
}
