package routing

import (
	"net/netip"
	"time"
)

// Upstream is the protocol that a cluster's endpoints speak.
type Upstream string

const (
	UpstreamHTTP1  Upstream = "HTTP/1.1" // WebSocket too
	UpstreamHTTP2  Upstream = "HTTP/2"   // by prior knowledge; by ALPN with TLS
	UpstreamAuto   Upstream = "auto"     // with TLS: what ALPN chooses
	UpstreamClient Upstream = "client"   // the version that the client of each request speaks
	UpstreamTCP    Upstream = "TCP"      // of streams: bytes as they come, with TLS without ALPN
	UpstreamUDP    Upstream = "UDP"      // of streams: datagrams as they come, never with TLS
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
	// Outliers, if not nil, takes the place of Ejection.
	Outliers *OutlierDetection
	Health   *HealthCheck // nil: none is made
	Retries  *RetryBudget // nil: the default (see proxy)
	// Resolve says what the names of endpoints without an address come to.
	Resolve Resolution

	ConnectTimeout time.Duration
	IdleTimeout    time.Duration // of a pooled connection
	SlowStart      time.Duration // 0: none
	// SlowStartLeast is the share, in percent, that a new endpoint begins with;
	// 0: 10. SlowStartAggression bends the way up: 0 is 1, linear (WarmupConfiguration).
	SlowStartLeast      float64
	SlowStartAggression float64
	ConnectionAge       time.Duration // after which a connection is retired; 0: never
	KeepAlive           *KeepAlive    // of TCP; nil: the system's
	Ping                *Ping         // of HTTP/2 connections; nil: none

	// Hop is how gateways that are not the endpoints' own waypoint reach them;
	// nil: straight.
	Hop *Hop

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
	// NameFromHost takes the request's host where ServerName is empty, and checks
	// it where there are no SANs either (ClientTLSSettings.sni of Istio).
	NameFromHost bool
	CRL          []byte // PEM
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

// Resolution is how names of endpoints become addresses.
type Resolution string

const (
	// ResolveAll is every address that DNS has for a name, each an endpoint.
	ResolveAll Resolution = ""
	// ResolveOne is one address of the name at a time, a new one for a new
	// connection: for names with many addresses that change (DNS_ROUND_ROBIN).
	ResolveOne Resolution = "one"
	// ResolveHost is the host of each request, if one of the endpoints is for it
	// (DYNAMIC_DNS): their Hosts may be patterns, "*.example.com", and the port of
	// the one that covers the host is where it is. Only for clusters that rules
	// with bounded hosts send to.
	ResolveHost Resolution = "host"
)

// Balance is a cluster's load balancing.
type Balance struct {
	Kind BalanceKind // empty: LeastRequest
	// HashOn says what RingHash and Maglev hash: "source-ip", "header:NAME",
	// "cookie:NAME", "query:NAME". Empty: source-ip.
	HashOn string
	// Cookie says that a client without the cookie of HashOn is given one; nil:
	// it is not.
	Cookie *HashCookie
	// Size is the least number of entries of a RingHash (0: 1024), and the
	// number of a Maglev table (0: 65537).
	Size int
	// Locality prefers endpoints by where they are; nil: as Endpoint has it.
	Locality *Locality
}

// A HashCookie is one that the gateway gives out.
type HashCookie struct {
	TTL        time.Duration // 0: until the browser's session ends
	Path       string        // empty: none
	Attributes []Header      // besides: "SameSite", "Lax"
}

// A Locality is Istio's LocalityLoadBalancerSetting. Places are written
// "region/zone/subzone", shorter ones stand for all below, and "*" at the end
// too. It takes effect as soon as the gateway knows its own place.
type Locality struct {
	Distribute []Distribution
	Failover   []Failover // regions
	// Priority are labels in the order in which they count: an endpoint that
	// shares the first n with the gateway comes before one that shares fewer. A
	// label may have a value, "key=value", that stands for the gateway's own.
	Priority []string
}

// A Distribution is where the requests of gateways in a place go.
type Distribution struct {
	From string
	To   map[string]uint32 // percent, 100 together
}

// A Failover is where the requests of gateways in a region go once it has too
// few healthy endpoints.
type Failover struct{ From, To string }

// Limits bound what a cluster takes, over all loops; 0 is the default,
// negative is none.
type Limits struct {
	Connections    int // to each endpoint
	AllConnections int // to all endpoints together (tcp.maxConnections of Istio)
	Retries        int // active in the cluster; 0: RetryBudget's matter
	Streams        int // at once on an HTTP/2 connection; 0: 100, and never more than the peer allows
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

// OutlierDetection is Istio's, with its arithmetic: endpoints are looked at each
// Interval, ejected for Base times the number of their ejections, and at most
// MaxPercent of them at once, but always one. 0 is Istio's default where it is
// not said otherwise.
type OutlierDetection struct {
	Consecutive5xx     int // -1: off; default 5. Failures without a response count too unless Split
	ConsecutiveGateway int // 502, 503, 504 and such failures; 0: off
	Split              bool
	ConsecutiveLocal   int           // failures without a response, if Split; -1: off; default 5
	Interval           time.Duration // default 10 s
	Base               time.Duration // default 30 s
	MaxPercent         int           // default 10
	MinHealthPercent   int           // fewer healthy ones end all ejections; 0: off
	Codes              []int         // that count as Consecutive5xx; none: 500-599
}

// A HealthCheck asks each endpoint how it is. One that was not asked yet is
// taken for healthy. EndpointSlices have the first word: what is not ready is
// not asked.
type HealthCheck struct {
	HTTP *HTTPCheck // nil: no
	GRPC *string    // service of grpc.health.v1; nil: no
	// Neither: a TCP connection is opened.
	Port      uint16        // 0: the endpoint's
	Interval  time.Duration // 0: 10 s
	Timeout   time.Duration // 0: 1 s
	Unhealthy int           // failures in a row; 0: 3
	Healthy   int           // successes in a row; 0: 1
}

// An HTTPCheck is a request that a healthy endpoint answers as it is wanted.
type HTTPCheck struct {
	Method   string // empty: GET
	Host     string // empty: the cluster's Service
	Path     string
	Header   []Header      `dump:"names"`
	Statuses []StatusRange // none: 200-299
}

// A StatusRange is statuses from First to Last.
type StatusRange struct{ First, Last int }

// KeepAlive is of TCP; 0 is the system's default.
type KeepAlive struct {
	Probes         int
	Idle, Interval time.Duration
}

// A Ping is sent on an HTTP/2 connection on which nothing came for Interval,
// and ends it where no answer came for Timeout.
type Ping struct{ Interval, Timeout time.Duration }

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
	// Addr is where it is. With port 0 it is at the port that the client has
	// dialled, and what one port of it does says nothing of its health.
	Addr netip.AddrPort
	// Host, if not empty, is a DNS name in place of Addr's address, which is
	// 0.0.0.0 then: the port counts, and on the wire there is none without an
	// address. Which addresses the name has is up to the gateway (see
	// Cluster.Resolve).
	Host        string
	Weight      uint32 // 0 means 1
	Zone        string // where it is, for people: that alone prefers nothing
	Region      string // likewise; it and those below count for Balance.Locality
	SubZone     string
	Labels      map[string]string // those that Locality.Priority names
	ForZones    []string          // whose gateways it is for (KEP-4444)
	ForNodes    []string          // the same, and nearer (KEP-3015)
	Ready       bool
	Serving     bool
	Terminating bool
	Workload    string // "pod" name, for logs
	Node        string // where it runs, for node agents
	// Identity, if not empty, is who has to answer at Addr by HBONE: in place of a
	// connection to Addr there is a tunnel to it, through a connection of the mesh
	// to HBONEPort of its address, or for endpoints of a WaypointCluster to Addr
	// itself, which asks for what the Hop's Authority says.
	Identity string
	// Far, if not nil, says that the endpoint is a gateway of another network, and
	// stands for what there is of the cluster. It is asked for Far.Authority, at
	// Addr itself, while no endpoint of our own network is healthy.
	Far *FarHop
}
