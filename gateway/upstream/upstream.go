// Package upstream keeps connections to backends: clusters of endpoints, which
// of them takes a request, whether it is healthy, and the pools of connections
// to it.
//
// A [Set] holds all clusters and is shared by all loops. What changes seldom
// (settings, endpoints, tables for picking) is one immutable view behind one
// pointer; what changes with each request is either a counter or belongs to
// one loop. So an exchange takes no lock: [Cluster.Begin], then for each try
// [Cluster.Pick], [Cluster.Connect] and [Endpoint.Done], then [Cluster.End].
//
// The one law: health belongs to the endpoint. Whatever route or loop finds
// out that an endpoint fails, it is out for all of them; one probe, not one a
// route, brings it back.
//
// # Health
//
// An endpoint that refuses a connection, or cannot be reached, is left out at
// once. After 1 second it is probed: a TCP connection every 250 ms, from one
// loop. The first that succeeds, or a request's own connection that does,
// brings it back.
//
// An endpoint that fails 5 times in a row (status 502, 503 or 504, a reset or
// a timeout before the response, a connection that cannot be made) is left out
// for 1 second, and for twice as long each time again, up to 1 minute; it
// starts anew once it has stayed in for a minute. Such an ejection ends by
// itself. None is left out for failures where more than half of the endpoints
// would be out then, for whatever cause; but one always may be, unless it is
// the only one. [routing.Ejection] changes these numbers; Off ends ejection
// for failures, refused connections always count.
//
// An endpoint of datagrams that ICMP says is not there is left out at once, for
// as long as one that failed too often, and comes back as that one does: what
// takes no connections cannot be probed.
//
// An endpoint that comes back takes a tenth of its share at first. One that
// refused takes all of it 1 second later, as a connection has shown that it is
// there; one that failed after as long as it was out, but 1 second at least and
// 10 at most. With [routing.Cluster.SlowStart] a new endpoint begins the same
// way. Hashing ignores this: a key has one place.
//
// Where no endpoint is healthy, health is ignored: a request that may fail is
// better than one that must (Envoy's panic threshold, here at 0 %). Where none
// is ready, those are used that are terminating and still serve, as
// kube-proxy does (KEP-1669).
//
// # Outlier detection
//
// With [routing.OutlierDetection] what is above about refusals and failures does
// not hold. Instead, as in Envoy, a refused connection is one failure among
// others; rows of failures are counted by kind; who is ejected stays out for Base
// times the number of its ejections, 5 minutes or one Base at most, and comes
// back whole at the end of an Interval; each Interval that finds it in takes one
// from that number. Intervals are counted from the start of the process. As long
// as fewer than MaxPercent are out another may be ejected, so that one always
// may, the only one too. There is no panic: where all are out nobody is sent to
// (UH). With MinHealthPercent there is, where fewer are healthy.
//
// # Health checks
//
// With [routing.HealthCheck] each endpoint that is ready is asked on a connection
// of its own, with the cluster's TLS, from one of the loops: first within a
// second, then after each Interval, a tenth more or less. 64 at most are asked at
// a time by a loop, the others wait. Who fails is left out until it passes, and
// comes back as one that refused does, or slowly with a SlowStart. What a check
// has found is forgotten with the check.
//
// # Nearness
//
// A request goes to an endpoint that is for the gateway's node, else to one for
// its zone, else to any ([routing.Endpoint]), each as [routing.Balance] says
// among these. A retry goes to one that was not tried, if need be farther away.
// So a key of consistent hashing has one place for all gateways of a zone.
//
// The near ones are left when none of them is healthy, not because they are
// busy. Those that come back slowly leave the rest of their share to others
// farther away; hashing ignores that too. Where no endpoint is healthy
// anywhere, nearness is ignored as health is.
//
// With [routing.Locality], once the gateway knows its own place, that decides
// instead: endpoints are in tiers, and a tier takes what its healthy part can
// take, times 1.4; the rest goes to the next. With Distribute each tier has a
// share, in the same way, and who is in none is not sent to.
//
// # Names
//
// An endpoint that is a name is as many endpoints as it has addresses, or with
// [routing.ResolveOne] a random one of them for as long as the name has it. Where
// no name has one, the error wraps ErrNoAddress too. The clusters of hosts
// ([routing.ResolveHost]) have endpoints, health and tables for each host: 1024
// at most, which are forgotten 5 minutes after their last request.
//
// # Any port
//
// An endpoint with port 0 is at the port that the client has dialled
// (message.Peer.Local): each port has connections of its own, of 1024 ports at
// most on a loop. It is never left out, as no port tells of the others.
//
// # Limits and their defaults
//
//	requests under way in a cluster      16384, then ErrOverflow
//	tries that wait for a connection     16384, then ErrOverflow
//	connections to an endpoint           none: requests bound them
//	connections to all endpoints         none
//	age of a connection                  any
//	streams at once on a connection      100, or fewer if the peer says so
//	requests on a connection             none
//	retries under way in a cluster       none here: see package proxy
//	time to connect, and to wait         5 s, then ErrTimeout
//	time that a connection may be idle   90 s
//
// All hold over all loops together, and each that bites is counted by
// Options.OnOverflow. At the limit of connections tries wait for one to become
// free; a loop that has none is given one by a loop that has.
//
// # Streams
//
// A stream counts as a request, to its end. It has a connection of its own
// ([Wait.Stream]), which is one of those that Limits.Connections bounds, and
// outlives changes of its cluster.
//
// Where [routing.Cluster.ProxyProtocol] is set, a connection begins with a
// header that names the client. So requests of HTTP share it with those of the
// same client's connection only, and it may be idle for 15 s at most. Probes
// begin with a header that says that they are the gateway's own.
//
// # The mesh
//
// An endpoint with an Identity is reached by HBONE, and whoever cannot prove that
// identity is sent nothing. Connections to it are tunnels: HTTP/1.1 in them, or
// HTTP/2 by prior knowledge where the cluster says so. TLS of the cluster's own
// inside of tunnels is refused with an error, before anything is dialled.
//
// The endpoints of a [routing.WaypointCluster] stand for what is behind them: see
// [Wait]. To a gateway of the fleet requests for anybody share connections; to
// somebody else's waypoint a tunnel is for one address, source and client, and
// may be idle for 15 s at most. Neither answers nor refused tunnels say anything
// about a waypoint's health, connections do; one that opens a tunnel too late is
// out where it does not speak TLS of the mesh either. A pod that is not open for tunnels
// (503) has failed.
//
// The package does not know routes, retries or what a request means.
package upstream

import (
	"crypto/tls"
	"errors"
	"log/slog"
	"net/netip"
	"time"

	"fairway.dev/gateway/http1"
	"fairway.dev/gateway/http2"
	"fairway.dev/gateway/loop"
	"fairway.dev/gateway/message"
	"fairway.dev/gateway/resolve"
	"fairway.dev/routing"
)

// ErrNoEndpoints says that a cluster has no endpoint at all: answer 503 (UH).
var ErrNoEndpoints = errors.New("no endpoint to send to")

// ErrOverflow says that a limit of the cluster is reached: answer 503 (UO).
var ErrOverflow = errors.New("limit of the cluster reached")

// ErrTimeout says that no connection was had within the connect timeout (UF).
// It is wrapped by what ConnectFailed gets, as is [loop.ErrRefused].
var ErrTimeout = errors.New("no connection in time")

// A Limit is one of the limits of a cluster, for counting what passed it.
type Limit uint8

const (
	LimitRequests    Limit = iota // turned away
	LimitPending                  // turned away
	LimitConnections              // made to wait
	LimitWait                     // waited at the limit of connections for too long
	LimitRetries                  // turned away
)

// String returns the limit as a metric label has it.
func (l Limit) String() string {
	switch l {
	case LimitRequests:
		return "requests"
	case LimitPending:
		return "pending"
	case LimitConnections:
		return "connections"
	case LimitRetries:
		return "retries"
	}
	return "wait"
}

// A Cause is why an endpoint was ejected.
type Cause uint8

const (
	CauseRefused  Cause = iota // it refused a connection, or could not be reached
	CauseFailures              // failures in a row
	CauseOutlier               // what routing.OutlierDetection says
)

// String returns the cause as a metric label has it.
func (c Cause) String() string {
	switch c {
	case CauseRefused:
		return "refused"
	case CauseFailures:
		return "failures"
	}
	return "outlier"
}

// Options are what a Set needs.
type Options struct {
	// Loops are all loops of the process, in the order of their Index.
	Loops []*loop.Loop

	// Dial opens connections. If nil, loop.Dial.
	Dial DialFunc

	// Hop opens connections by HBONE, to endpoints with an Identity. If nil, the
	// gateway has no identity itself, and those cannot be reached.
	Hop Hopper

	// Captured reports whether a node proxy captures what the gateway dials, and
	// speaks HBONE for it: then endpoints with an Identity are reached by TCP, and
	// need no Hop. If nil, none does. Any goroutine may call it.
	Captured func() bool

	// Forbidden says why an address must not be dialled, whoever has it for an
	// endpoint. If nil, all may be. Loops call it.
	Forbidden func(netip.AddrPort) error

	// HTTP1 and HTTP2, by loop, bound what backends may send, and count what
	// is refused. If nil, the codecs' defaults hold.
	HTTP1 []*http1.Limits
	HTTP2 []*http2.Limits

	// NewClient puts a codec on a new connection. If nil, http1 and http2.
	NewClient func(conn Conn, proto message.Proto, ev ClientEvents) message.Client

	// Certificate returns the certificate that is shown to backends under a
	// name, nil where there is none. Any goroutine may call it.
	Certificate func(routing.CertificateName) *tls.Certificate

	// Place is where the gateway is. What is empty nobody knows yet, and no
	// endpoint is nearer than another by it: see Set.SetPlace.
	Place Place

	// Watch follows the addresses of a name, as resolve.Resolver does: changed is
	// never called from inside Watch or stop. If nil, endpoints that are names
	// have no addresses.
	Watch func(host string, changed resolve.Changed) (stop func())

	// Log takes changes of state. If nil, nothing is logged.
	Log *slog.Logger

	// Now is the clock for what is asked outside loops. If nil, time.Now.
	Now func() time.Time

	// OnOverflow counts each time that a limit was reached, OnEject endpoints
	// that are left out, OnCheck health checks. Nil ones are skipped. They are called on loops and
	// must not block.
	OnOverflow func(*Cluster, Limit)
	OnEject    func(*Cluster, *Endpoint, Cause)
	OnCheck    func(*Cluster, *Endpoint, CheckOutcome)
}
