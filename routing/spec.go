// Package routing decides where a request goes.
//
// A [Spec] is what the dialects ask for: a set of parts, each with a name and
// an [Origin]. [Compile] checks it and freezes it into a [Snapshot]; nothing
// reachable from a Snapshot ever changes again, so any number of loops may
// read it without a lock. A part that cannot work becomes a [Problem] and is
// left out, the rest is in force. [Snapshot.Update] does the same for a change
// and shares every table that the change does not touch.
//
// # Matching
//
// A [Port] sends a request to the first rule that takes it, in an order that
// is decided when it is compiled. The order is that of Gateway API v1
// (HTTPRouteSpec.hostnames, HTTPRouteRule.matches, Listener.hostname):
//
//  1. The listener of the port whose hostname covers the request's host and is
//     the most specific one: a name, then the longest wildcard, then none. What
//     is attached to other listeners does not count (listener isolation). On a
//     port with TLS, a request whose connection was opened for a name of
//     another listener is misdirected.
//  2. On that listener the host of the route: a name, then the longest
//     wildcard, then any. "*.example.com" covers one label or more in front of
//     ".example.com". A request that no rule of the most specific host takes
//     goes on to the next: the specification gives precedence "to rules", and a
//     rule that does not match has none. (Gateways made of Envoy's virtual
//     hosts answer 404 there instead.)
//  3. An exact path, then a regular expression, then a prefix. The
//     specification leaves the place of expressions open; here they come before
//     prefixes as in Envoy Gateway, so that a catch-all "/" does not hide them.
//  4. The longer prefix or expression, in bytes. A '/' at the end of a prefix
//     does not count. A gRPC method of any service comes after all prefixes
//     but "/" (GRPCRouteRule.matches: the service counts before the method).
//  5. A method, then more headers, then more query parameters.
//  6. The older route, then "namespace/name" in alphabetical order, then the
//     kind's name, then the rule and the match that come first in the object.
//
// Prefixes hold by whole segments. Paths, methods, and values are compared byte
// by byte; paths as they were sent, query parameters decoded. Of several
// matches of one header or query parameter the first counts, and of a parameter
// that a request repeats the first value. A repeated header's values are joined
// by ", ". Regular expressions are RE2 and have to match the whole value. A dot
// at the end of the request's host does not count; a host longer than a DNS
// name may be falls under "*" only.
//
// A rule with a match that is not valid is left out, so that the rest of its
// route works. A rule whose action is not valid answers 500 instead: half of an
// action may be worse than none. A share whose cluster is not in force answers
// 500 too.
//
// The package imports only the standard library: it knows nothing of
// Kubernetes, sockets or certificates.
package routing

import (
	"net/netip"
	"time"
)

type (
	ListenerName    string // "shop/edge/https": namespace, Gateway, listener; "ListenerSet/shop/team/https"
	RouteName       string // "HTTPRoute/shop/cart"; with a mark where it differs by Gateway
	ClusterName     string // "shop/cart:8080"; with a mark where it differs by user
	CertificateName string // "shop/tls": namespace, Secret
)

// An Origin is the object, and the place in it, that something came from.
type Origin struct {
	Kind      string // "HTTPRoute"
	Namespace string
	Name      string
	Field     string // "spec.rules[2].matches[0]", empty for the whole object
	File      string // where it stands in a folder of manifests; empty otherwise
	Line      int
}

// A Spec is what is asked for. Its parts are shared between Specs and never
// change once they are in one: an edit puts a new part in the old one's place.
type Spec struct {
	Listeners    map[ListenerName]*Listener
	Routes       map[RouteName]*Route
	Clusters     map[ClusterName]*Cluster
	Endpoints    map[ClusterName]*Endpoints
	Certificates map[CertificateName]*Certificate
}

// A Delta is a change of a Spec: parts to put in, and names to take out.
type Delta struct {
	Listeners    []*Listener
	Routes       []*Route
	Clusters     []*Cluster
	Endpoints    []*Endpoints
	Certificates []*Certificate
	Removed      struct {
		Listeners    []ListenerName
		Routes       []RouteName
		Clusters     []ClusterName // with their endpoints
		Certificates []CertificateName
	}
}

// Protocol is what a listener speaks.
type Protocol string

const (
	HTTP  Protocol = "HTTP"
	HTTPS Protocol = "HTTPS"
	TLS   Protocol = "TLS"
	TCP   Protocol = "TCP"
	UDP   Protocol = "UDP"
)

// A Listener is a port, a protocol, a hostname and its TLS. Several listeners
// may share a port; a connection (by SNI) and a request (by host) belong to
// the one with the most specific hostname.
type Listener struct {
	Name      ListenerName
	Origin    Origin
	Created   time.Time    // of its object: the older of two that clash wins; zero is the youngest
	Gateway   string       // "shop/edge"
	Addresses []netip.Addr // to bind; none means the server's default
	Port      uint16
	Protocol  Protocol
	Hostname  string // "", "shop.example.com" or "*.example.com", lower case
	TLS       *ListenerTLS
	// ProxyProtocol says whether connections begin with a PROXY protocol
	// header (version 1 or 2). It belongs to the port: all listeners that
	// share one agree, and the first in precedence decides where they do not.
	ProxyProtocol ProxyProtocol
}

// ProxyProtocol is what a listener does about PROXY protocol headers.
type ProxyProtocol string

const (
	ProxyProtocolOff      ProxyProtocol = ""         // none is expected; one is a malformed request
	ProxyProtocolRequired ProxyProtocol = "Required" // a connection without one is closed
	// ProxyProtocolOptional believes a header where there is one: only for
	// ports that no stranger reaches.
	ProxyProtocolOptional ProxyProtocol = "Optional"
)

// ListenerTLS is how a listener speaks TLS.
type ListenerTLS struct {
	// Passthrough leaves TLS to the backend: the name in the ClientHello
	// chooses the route, and no byte is changed. Only for protocol TLS; the
	// other fields are empty then.
	Passthrough bool
	// Client is how certificates of clients are checked; nil asks for none.
	Client *ClientValidation
	// Certificates in the author's order: the first that covers the name and
	// suits the client is used, the first of all where none covers it. None
	// at all asks tlsmgr for a certificate of its local CA.
	Certificates []CertificateName
}

// ClientValidation is how certificates of clients are checked
// (FrontendTLSValidation, GEP-91).
type ClientValidation struct {
	Roots []byte // PEM; without any certificate in it nobody is let in
	// AllowInsecure takes connections without a certificate, or with one that
	// does not verify (mode AllowInsecureFallback).
	AllowInsecure bool
}

// A Certificate is a key pair. The key never prints.
type Certificate struct {
	Name   CertificateName
	Origin Origin
	Chain  []byte // PEM
	Key    []byte `json:"-"` // PEM
}

// A Route is one object that sends requests somewhere. On listeners of
// protocol TLS, TCP and UDP it sends connections, and sessions of datagrams:
// its one rule has no matches, and an Action of Backends alone. There the hosts
// of an Attachment are those of the ClientHello.
type Route struct {
	Name    RouteName
	Origin  Origin
	Created time.Time // age decides between equals; zero is the youngest
	// Attached says where the route applies: listeners, and on each of them
	// those of the route's hostnames that overlap with the listener's. They
	// may be wider than the listener's: what the author wrote decides which
	// route is the more specific (GatewayRouteHostnameIntersectionPrecedence).
	Attached []Attachment
	Rules    []Rule
}

// An Attachment binds a route to one listener.
type Attachment struct {
	Listener ListenerName
	Hosts    []string // "*" for any, exact, or "*.example.com"; lower case
}

// A Rule is an action and what leads to it: any of its matches. A rule
// without matches takes every request.
type Rule struct {
	Name    string // the author's, optional
	Origin  Origin
	Matches []Match
	Action  Action
}

// A Match holds when all that it names hold.
type Match struct {
	Path    PathMatch
	Method  string // empty for any
	Headers []ValueMatch
	Query   []ValueMatch
}

// PathKind is how a PathMatch compares. Its text is the name that Gateway API
// has for it.
type PathKind uint8

const (
	PathPrefix PathKind = iota // by whole segments: "/shop" covers "/shop/cart", not "/shopping"
	PathExact
	PathRegex  // the whole path, RE2
	PathMethod // of two segments the last: "Get" is gRPC's method of every "/service/Get"
)

// A PathMatch holds for some paths. The zero PathMatch holds for all.
type PathMatch struct {
	Kind  PathKind
	Value string
}

// A ValueMatch compares the value of a header or a query parameter.
type ValueMatch struct {
	Name  string // of a header in lower case; of a query parameter exactly
	Value string
	Regex bool // Value is an RE2 expression for the whole value
}

// An Action is what is done with a request. Exactly one of Backends,
// Redirect and Status decides.
type Action struct {
	Backends []Backend
	Redirect *Redirect
	Status   int // answered by the gateway itself; 0 means not

	Request  HeaderChange
	Response HeaderChange
	Rewrite  *Rewrite
	Mirrors  []Mirror
	CORS     *CORS
	Auth     *ExternalAuth // asked before all but CORS preflights; nil: nobody
	Timeouts Timeouts
	Retry    *Retry // nil: the default (see proxy)
	Session  *Session
}

// A Backend takes a share of a rule's requests.
type Backend struct {
	Cluster ClusterName
	Weight  uint32 // relative to the other backends' of the rule
	Origin  Origin
	// Status, where it is not 0, answers this share: the reference is not
	// valid (500), and Reason says why.
	Status int
	Reason Reason

	Request  HeaderChange
	Response HeaderChange
	Rewrite  *Rewrite
	Redirect *Redirect
	Mirrors  []Mirror
	CORS     *CORS
}

// A HeaderChange edits fields: Set replaces, Add appends, Remove drops; in
// that order.
type HeaderChange struct {
	Set    []Header
	Add    []Header
	Remove []string // lower case
}

// A Header is a name, as the author wrote it, and a value.
type Header struct{ Name, Value string }

// PathEdit changes a path, for a rewrite or a redirect.
type PathEdit struct {
	Full   *string // replaces the whole path
	Prefix *string // replaces the matched prefix
}

// A Rewrite changes the request that a backend sees.
type Rewrite struct {
	Host string // empty: unchanged
	Path PathEdit
}

// A Redirect answers with another place to go to.
type Redirect struct {
	Scheme string // empty: the request's
	Host   string // empty: the request's, without its port
	Port   uint16 // 0: by HTTPRequestRedirectFilter.port's rules
	Status int    // 301, 302, 303, 307, 308
	Path   PathEdit
}

// A Mirror sends a copy of some requests, and ignores what comes back.
type Mirror struct {
	Cluster                ClusterName
	Origin                 Origin
	Numerator, Denominator uint32 // the share of requests: 100/100 is all
}

// ExternalAuth is HTTPExternalAuthFilter (GEP-1494): a server is asked whether
// a request may pass, and what the backend is told about it.
type ExternalAuth struct {
	Cluster ClusterName
	Origin  Origin
	GRPC    bool     // the server speaks Envoy's ext_authz (envoy.service.auth.v3), and not plain HTTP
	Path    string   // of plain HTTP: comes before the request's own
	Request []string // fields that the server is sent besides those it always is, lower case; none with GRPC: all
	// Response are fields of the answer in plain HTTP that the backend is
	// sent, lower case; none: all that are not about the answer itself.
	Response []string
	MaxBody  int // bytes of the request's body that the server is sent, all or the request is refused; 0: it is sent none
}

// CORS is HTTPCORSFilter (GEP-1767): the gateway answers preflights itself.
type CORS struct {
	AllowOrigins     []string // "*", exact, or with a wildcard: "https://*.example.com"
	AllowCredentials bool
	AllowMethods     []string
	AllowHeaders     []string
	ExposeHeaders    []string
	MaxAge           time.Duration
}

// Timeouts bound an exchange; 0 is the default, negative is none.
type Timeouts struct {
	Request time.Duration // the whole exchange with its retries
	Backend time.Duration // one try
}

// Retry is when and how often a try is repeated.
type Retry struct {
	Attempts int           // after the first; 0 means no retries at all
	Codes    []int         // statuses that are tried again
	Backoff  time.Duration // the least time before the next try, doubled each time, with jitter
}

// Session keeps a client on one endpoint (GEP-1619).
type Session struct {
	Name     string // of the cookie or header
	Header   bool   // the session travels in a header instead of a cookie
	Path     string // of the cookie: the shared prefix of the rule's paths
	Absolute time.Duration
	Idle     time.Duration
	// Permanent makes the cookie last for Absolute; otherwise it ends with
	// the browser's session.
	Permanent bool
}

// Upstream is the protocol that a cluster's endpoints speak.
type Upstream string

const (
	UpstreamHTTP1 Upstream = "HTTP/1.1" // WebSocket too
	UpstreamHTTP2 Upstream = "HTTP/2"   // by prior knowledge; by ALPN with TLS
	UpstreamAuto  Upstream = "auto"     // with TLS: what ALPN chooses
	UpstreamTCP   Upstream = "TCP"      // of streams: bytes as they come, with TLS without ALPN
	UpstreamUDP   Upstream = "UDP"      // of streams: datagrams as they come, never with TLS
)

// A Cluster is a named set of endpoints with one way of talking to them. Zero
// values mean the defaults that package upstream documents.
type Cluster struct {
	Name     ClusterName
	Origin   Origin
	Protocol Upstream
	TLS      *UpstreamTLS // not for what a listener passes through, which is TLS already
	Balance  Balance
	Limits   Limits
	Ejection Ejection
	Retries  *RetryBudget // nil: the default (see proxy)

	ConnectTimeout time.Duration
	IdleTimeout    time.Duration // of a pooled connection
	SlowStart      time.Duration // 0: none

	// ProxyProtocol is the version (1, 2) of the PROXY protocol header that
	// each connection to an endpoint begins with; 0 is none. HTTP connections
	// are not shared between clients then.
	ProxyProtocol uint8

	// For telemetry: the Service that the cluster stands for.
	Service, Namespace string
	Port               uint16
}

// UpstreamTLS is how the gateway speaks TLS to endpoints (BackendTLSPolicy).
type UpstreamTLS struct {
	ServerName string   // SNI, and the name checked unless SANs are given
	SANs       []string // DNS names, or URIs; one of them must be in the certificate
	Roots      []byte   // PEM; empty: the system's
	// Insecure skips verification: appProtocol https without a policy. The
	// Service's author asked for TLS and named nobody to trust.
	Insecure bool
	// Certificate is shown to endpoints that ask for one; may be empty.
	Certificate CertificateName
}

// BalanceKind is how an endpoint is picked.
type BalanceKind string

const (
	RoundRobin   BalanceKind = "round-robin"
	LeastRequest BalanceKind = "least-request" // the better of two random ones; the default
	Random       BalanceKind = "random"
	RingHash     BalanceKind = "ring-hash"
	Maglev       BalanceKind = "maglev"
)

// Balance is a cluster's load balancing.
type Balance struct {
	Kind BalanceKind // empty: LeastRequest
	// HashOn says what RingHash and Maglev hash: "source-ip", "header:NAME",
	// "cookie:NAME", "query:NAME". Empty: source-ip.
	HashOn string
}

// Limits bound what a cluster takes, over all loops; 0 is the default,
// negative is none.
type Limits struct {
	Connections    int // to each endpoint
	Requests       int // active in the cluster
	Pending        int // that wait for a connection
	RequestsOnConn int // before a connection is retired
}

// Ejection is passive health: an endpoint that fails is left out for a while.
type Ejection struct {
	Off         bool
	Consecutive int           // failed exchanges in a row; a refused connection ejects at once
	Base        time.Duration // of the first ejection; grows with each
	MaxPercent  int           // of the endpoints that may be out at once
}

// A RetryBudget bounds how many of the requests to a cluster may be retries, in
// each gateway pod (RetryConstraint, GEP-3388). A retry that it does not let
// through is answered with 503.
type RetryBudget struct {
	Percent  int           // 0-100: of the requests of the last Interval, retries among them
	Interval time.Duration // 1 s to 1 h
	// Least is how many retries in each LeastInterval are let through where
	// Percent would let less through.
	Least         int
	LeastInterval time.Duration // up to 1 h
}

// Endpoints are the addresses of a cluster. They have a road of their own: a
// change of them compiles nothing.
type Endpoints struct {
	Cluster ClusterName
	List    []Endpoint
}

// An Endpoint is one address. Conditions are EndpointSlice's.
//
// A gateway sends to the endpoints that are for its node while one of them is
// healthy, else to those for its zone, else to any. Where it knows neither, or
// an endpoint is for nobody, all are alike to it.
type Endpoint struct {
	Addr        netip.AddrPort
	Weight      uint32   // 0 means 1
	Zone        string   // where it is, for people: that alone prefers nothing
	ForZones    []string // whose gateways it is for (KEP-4444)
	ForNodes    []string // the same, and nearer (KEP-3015)
	Ready       bool
	Serving     bool
	Terminating bool
	Workload    string // "pod" name, for logs
}
