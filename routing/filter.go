package routing

import "time"

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
	Prefix *string // replaces the matched prefix, by whole segments
	// Matched replaces what the match took, byte by byte: the prefix of a match
	// by prefix, else the whole path (HTTPRewrite.uri of a VirtualService).
	Matched *string
	Regex   *RegexEdit
}

// A RegexEdit replaces what an expression finds in a path, each time
// (HTTPRewrite.uriRegexRewrite of a VirtualService).
type RegexEdit struct {
	Pattern string // RE2
	With    string // "\1" is what the first group has found, "\0" all, "\\" a backslash
}

// A Rewrite changes the request that a backend sees.
type Rewrite struct {
	Host string // empty: unchanged
	Path PathEdit
}

// A Redirect answers with another place to go to.
type Redirect struct {
	Scheme   string // empty: the request's
	Host     string // empty: the request's, without its port
	Port     uint16 // 0: as PortFrom says
	PortFrom RedirectPort
	Status   int // 301, 302, 303, 307, 308
	Path     PathEdit
}

// RedirectPort says which port a redirect without one has.
type RedirectPort string

const (
	RedirectPortByRule    RedirectPort = ""          // by HTTPRequestRedirectFilter.port's rules
	RedirectPortAuthority RedirectPort = "authority" // that of the request's authority, but none that is another scheme's own (Istio without port)
	RedirectPortScheme    RedirectPort = "scheme"    // none: the scheme's own (FROM_PROTOCOL_DEFAULT)
	RedirectPortListener  RedirectPort = "listener"  // the one that the request came to (FROM_REQUEST_PORT)
)

// A Fault is injected into a share of the requests, to see what comes of it
// (HTTPFaultInjection of a VirtualService). Delay and abort are drawn
// independently.
type Fault struct {
	Delay      time.Duration // before anything else is done
	DelayShare Share
	Status     int // answered in place of the rule's action; 0: GRPC says
	GRPC       int // the grpc-status to answer, where Status is 0
	AbortShare Share
}

// A Share is some of the requests: 100/100 is all, and 0/0 none.
type Share struct{ Numerator, Denominator uint32 }

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
	Withhold bool // the backend is sent no field of the answer in plain HTTP; Response is empty
	// Timeout is how long the server may take for its answer. 0: 5 s.
	Timeout time.Duration
	MaxBody int // bytes of the request's body that the server is sent, all or the request is refused; 0: it is sent none
}

// CORS is HTTPCORSFilter (GEP-1767): the gateway answers preflights itself.
type CORS struct {
	AllowOrigins     []string      // "*", exact, or with a wildcard: "https://*.example.com"
	AllowOriginTexts []OriginMatch // besides those
	AllowCredentials bool
	AllowMethods     []string
	AllowHeaders     []string
	ExposeHeaders    []string
	MaxAge           time.Duration
	// ForwardUnmatched sends preflights of other origins to the backend
	// (unmatchedPreflights of a VirtualService) in place of an answer that
	// allows nothing.
	ForwardUnmatched bool
}

// An OriginMatch compares an origin.
type OriginMatch struct {
	Kind  TextKind // TextPrefix or TextRegex
	Value string
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
	// On are the conditions by which a try is repeated, besides Codes; nil: those
	// that package proxy has for a Retry of Gateway API.
	On []RetryOn
}

// RetryOn is a condition of retries, by the name that Envoy has for it.
type RetryOn string

const (
	RetryOn5xx            RetryOn = "5xx"
	RetryOnGatewayError   RetryOn = "gateway-error" // 502, 503, 504
	RetryOnReset          RetryOn = "reset"
	RetryOnResetBefore    RetryOn = "reset-before-request"
	RetryOnConnectFailure RetryOn = "connect-failure"
	RetryOnRefusedStream  RetryOn = "refused-stream"
	RetryOnRetriable4xx   RetryOn = "retriable-4xx" // 409
	// RetryOnCodes is no condition besides Codes: a list of it alone is not
	// empty, and so not the default.
	RetryOnCodes            RetryOn = "retriable-status-codes"
	RetryOnCancelled        RetryOn = "cancelled" // of gRPC, as those below
	RetryOnDeadlineExceeded RetryOn = "deadline-exceeded"
	RetryOnInternal         RetryOn = "internal"
	RetryOnExhausted        RetryOn = "resource-exhausted"
	RetryOnUnavailable      RetryOn = "unavailable"
)

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
