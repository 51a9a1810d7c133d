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
// That is the order of routes that are not ordered. Those that are (Route.Ordered,
// VirtualServices) come after all of them on their host of their listener, in
// the order of Istio's gateways: the older route's rules, each route's as its
// author wrote them, and last what takes every request. With such a route on it
// a host ends the search of 2: no less specific one counts.
//
// Prefixes hold by whole segments. Paths, methods, and values are compared byte
// by byte; paths as they were sent, query parameters decoded. Of several
// matches of one header or query parameter the first counts, but in ordered
// routes all do; of a parameter that a request repeats the first value. A
// repeated header's values are joined by ", ". Regular expressions are RE2 and
// have to match the whole value. A dot at the end of the request's host does
// not count; a host longer than a DNS name may be falls under "*" only.
//
// A rule with a match that is not valid is left out, so that the rest of its
// route works. A rule whose action is not valid answers 500 instead: half of an
// action may be worse than none. A share whose cluster is not in force answers
// 500 too. A listener that cannot keep out whom it should lets nobody in.
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
	Policies     map[PolicyName]*Policy
	Workloads    map[WorkloadName]*Workload
	Captures     map[CaptureName]*Capture
}

// A Delta is a change of a Spec: parts to put in, and names to take out.
type Delta struct {
	Listeners    []*Listener
	Routes       []*Route
	Clusters     []*Cluster
	Endpoints    []*Endpoints
	Certificates []*Certificate
	Policies     []*Policy
	Workloads    []*Workload
	Captures     []*Capture
	Removed      struct {
		Listeners    []ListenerName
		Routes       []RouteName
		Clusters     []ClusterName // with their endpoints
		Certificates []CertificateName
		Policies     []PolicyName
		Workloads    []WorkloadName
		Captures     []CaptureName
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
	Gateway   string       // "shop/edge", or CallingGateways
	Addresses []netip.Addr // to bind; none means the server's default
	Port      uint16
	Protocol  Protocol
	Hostname  string // "", "shop.example.com" or "*.example.com", lower case
	TLS       *ListenerTLS
	// ProxyProtocol says whether connections begin with a PROXY protocol
	// header (version 1 or 2). It belongs to the port: all listeners that
	// share one agree, and the first in precedence decides where they do not.
	ProxyProtocol ProxyProtocol
	// Group makes one server of several listeners of a Gateway (the hosts of an
	// Istio server): a request for the host of one is not misdirected on a
	// connection for the name of another. Empty: the listener is its own.
	Group string
	// RedirectHTTPS answers every request with 301 to the same URL with https,
	// whatever the routes (ServerTLSSettings.httpsRedirect).
	RedirectHTTPS bool
	// JWT are the rules by which tokens are proved (RequestAuthentication).
	JWT []JWTRule
	// Policies say who may pass: all of them, and one that is not there lets
	// nobody in.
	Policies []PolicyName
	// Telemetry of what comes in here; nil: the process's own.
	Telemetry *Telemetry

	// Mesh is of HBONE listeners: whom they believe.
	Mesh *Mesh
	// Inside makes a door of the listener (see HBONE): nothing is bound but
	// Capture, and Addresses are those that clients dial. With Port 0 it is for
	// any port that has no door of its own. What follows is of doors.
	Inside bool
	// Names are other names of Addresses, that tunnels may ask for.
	Names []string
	// Claimed says that Addresses and Names are what somebody has written, and not
	// the cluster's word: a door for which they are that comes before.
	Claimed bool
	// From is the namespace whose workloads alone the door is for; empty: all.
	From string
	// To is the cluster of all that comes while no route is attached. Empty: it
	// goes nowhere.
	To ClusterName
	// Detect has connections that do not begin as HTTP does go to To as they
	// are. A client that says nothing is one of them, after a second. While a
	// route of requests is attached they go nowhere: they would pass its rules by.
	Detect bool
	// Capture is the port of the gateway's pods on which node agents put what
	// workloads dial; 0: none.
	Capture uint16
	// Strict refuses clients that have not proved who they are, and for whom
	// nobody has vouched (PeerAuthentication).
	Strict bool
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
	// Closed refuses every handshake: what its author asked for cannot be had.
	// The listener keeps its hostname, so that no less specific one takes what
	// is its own. The other fields are empty then.
	Closed bool
	// Client is how certificates of clients are checked; nil asks for none.
	Client *ClientValidation
	// Certificates in the author's order: the first that covers the name and
	// suits the client is used, the first of all where none covers it. None
	// at all asks tlsmgr for a certificate of its local CA.
	Certificates []CertificateName
	// MinVersion and MaxVersion are tls.VersionTLS12 and the like; 0: tlsmgr's
	// defaults. CipherSuites are those of TLS 1.2, by their IANA numbers; none:
	// tlsmgr's.
	MinVersion, MaxVersion uint16
	CipherSuites           []uint16
}

// ClientValidation is how certificates of clients are checked
// (FrontendTLSValidation, GEP-91).
type ClientValidation struct {
	Roots []byte // PEM; without any certificate in it nobody is let in
	// AllowInsecure takes connections without a certificate, or with one that
	// does not verify (mode AllowInsecureFallback).
	AllowInsecure bool
	// Optional takes connections without a certificate (OPTIONAL_MUTUAL of
	// Istio). One that is shown has to verify.
	Optional bool
	// SANs are names of which a certificate has to have one: DNS names, URIs,
	// IP addresses or email addresses, with "*" for a prefix or suffix; none for
	// any. SPKI and Hashes are base64 and hexadecimal SHA-256 of certificates
	// that are let in; none for any.
	SANs, SPKI, Hashes []string
	CRL                []byte // PEM: certificates that are not let in any longer
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
// its matches have Sources and Destinations alone, its Actions Backends. There
// the hosts of an Attachment are those of the ClientHello.
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
	// Ordered says that the rules are tried in the author's order, and those of
	// older routes first, but for what takes every request, which comes last of
	// all (VirtualService): a rule without matches, or a match of the prefix "/"
	// or of the expression ".*" and of nothing else. Nothing of a route comes
	// after what takes every request in it. They come after the rules of all
	// routes that are not ordered on the same host of the same listener. A host
	// that has an ordered route is the last that is looked at: what none of its
	// rules takes is answered with 404, and not by a less specific host.
	Ordered bool
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
	Path   PathMatch
	Method string // empty for any
	// Headers and Query are all of them; where the route is not ordered, of
	// several with one name the first.
	Headers, Query []ValueMatch
	// Sources are where the connection comes from: one of them; none for any.
	Sources []netip.Prefix
	// Destinations are where it goes to: one of them; none for any. Of a
	// gateway it is its own address.
	Destinations []netip.Prefix
	// Namespaces are those of who asks: one of them; none for any. Of a client
	// whose identity is not known they never hold.
	Namespaces []string
	// Claims are of the token that the listener's JWT rules have proved: all of
	// them. A request without such a token has none.
	Claims []ClaimMatch
}

// PathKind is how a PathMatch compares. Its text is the name that Gateway API
// has for it.
type PathKind uint8

const (
	PathPrefix PathKind = iota // by whole segments: "/shop" covers "/shop/cart", not "/shopping"
	PathExact
	PathRegex      // the whole path, RE2
	PathMethod     // of two segments the last: "Get" is gRPC's method of every "/service/Get"
	PathTextPrefix // by bytes: "/shop" covers "/shopping" (Istio's StringMatch.prefix); of ordered routes only
)

// A PathMatch holds for some paths. The zero PathMatch holds for all.
type PathMatch struct {
	Kind  PathKind
	Value string
	// IgnoreCase compares ASCII letters in either case (ignoreUriCase of a
	// VirtualService); not with PathRegex and PathMethod, and of ordered routes
	// only.
	IgnoreCase bool
}

// TextKind is how a text compares.
type TextKind uint8

const (
	TextExact   TextKind = iota
	TextPrefix           // by bytes
	TextRegex            // the whole text, RE2
	TextPresent          // any text, where there is one at all
)

// A ValueMatch compares the value of a header or a query parameter.
type ValueMatch struct {
	// Name is that of a header in lower case, or ":method", ":scheme" or
	// ":authority" (with its port, as it was sent); of a query parameter exactly.
	Name  string
	Kind  TextKind
	Value string
	// Not turns the match around: it holds where there is no such value, too
	// (withoutHeaders of a VirtualService).
	Not bool
}

// A ClaimMatch compares a claim of a token. A claim that is a list holds where
// one of its elements does.
type ClaimMatch struct {
	Path  []string // the claim's name, and those below it
	Kind  TextKind
	Value string
	Not   bool
}

// An Action is what is done with a request. Exactly one of Backends,
// Redirect and Status decides.
type Action struct {
	Backends []Backend
	Redirect *Redirect
	Status   int    // answered by the gateway itself; 0 means not
	Body     string // of Status's answer; empty: a line that says what the status means

	Fault    *Fault // nil: none
	Request  HeaderChange
	Response HeaderChange
	Rewrite  *Rewrite
	Mirrors  []Mirror
	CORS     *CORS
	Auth     *ExternalAuth // asked before all but CORS preflights; nil: nobody
	// Policies have their say about what the rule takes, besides those of the
	// listener: rate limits.
	Policies []PolicyName
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
