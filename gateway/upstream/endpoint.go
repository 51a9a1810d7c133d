package upstream

import (
	"net/netip"
	"sync/atomic"

	"fairway.dev/gateway/loop"
	"fairway.dev/routing"
)

// An Endpoint is one address of a cluster, with its health, its load and the
// connections to it. It is shared by all loops.
type Endpoint struct {
	cluster   *Cluster
	addr      netip.AddrPort
	waypoint  bool            // of a cluster of a waypoint's pods, or far
	far       *routing.FarHop // what it is asked for; nil: it is of our own network
	who       string          // has to answer, by HBONE; empty: nobody in particular, by TCP
	stranger  atomic.Bool     // a waypoint that takes tunnels only, as far as anybody knows
	suspected atomic.Bool     // a probe is to tell whether it is there
	identity  uint64
	pools     []*pool                // by loop and use: each is made and used on its loop alone
	private   []privates             // by loop, the same
	gone      atomic.Bool            // no longer an endpoint of its cluster
	check     atomic.Pointer[check]  // nil: nobody asks how it is
	checkErr  atomic.Pointer[string] // of the last check, if it failed

	health health
	places places // of connections

	_ [64]byte // what follows is written by all loops all the time
	// inFlight is one counter of all loops: to choose by, it is read twice
	// for each time that it is changed twice, and a counter a loop costs more
	// to sum up than sharing one does (BenchmarkInFlight).
	inFlight atomic.Int64
	_        [56]byte
}

func newEndpoint(c *Cluster, spec *routing.Endpoint) *Endpoint {
	_, waypoint := c.name.Waypoint()
	ep := &Endpoint{cluster: c, addr: spec.Addr, waypoint: waypoint || spec.Far != nil, far: spec.Far, who: spec.Identity, identity: identityOf(spec.Addr),
		pools: make([]*pool, uses*len(c.set.o.Loops)), private: make([]privates, len(c.set.o.Loops))}
	ep.health.init()
	return ep
}

// Addr returns the endpoint's address.
func (ep *Endpoint) Addr() netip.AddrPort { return ep.addr }

// Meshed reports whether ep is reached by HBONE only, which carries no datagrams.
func (ep *Endpoint) Meshed() bool { return ep.who != "" || ep.waypoint }

// Far returns what is to be asked for of ep, a gateway of another network that
// stands for what the cluster has there; nil for others.
func (ep *Endpoint) Far() *routing.FarHop { return ep.far }

// is reports whether ep is what spec asks for, at its address.
func (ep *Endpoint) is(spec *routing.Endpoint) bool {
	far := ep.far == spec.Far || ep.far != nil && spec.Far != nil && *ep.far == *spec.Far
	return far && ep.who == spec.Identity
}

// Gone reports whether the endpoint is no longer one of its cluster.
func (ep *Endpoint) Gone() bool { return ep.gone.Load() }

// pool returns the connections to ep on l, for a use, that anybody may use.
func (ep *Endpoint) pool(l *loop.Loop, use Use) *pool {
	i := l.Index()*uses + int(use)
	if ep.pools[i] == nil {
		ep.pools[i] = newPool(ep, l, use)
	}
	return ep.pools[i]
}

// poolsOn runs f for the pools of the loop with that index, on which it is called.
func (ep *Endpoint) poolsOn(index int, f func(*pool)) {
	for _, p := range ep.pools[index*uses : (index+1)*uses] {
		if p != nil {
			f(p)
		}
	}
	for _, p := range ep.private[index] {
		f(p)
	}
}

// An Outcome is how a try ended. It feeds the endpoint's health.
//
// A response's status is an Outcome: see Answered.
type Outcome uint16

const (
	// Success: a response came, or all that was wanted.
	Success Outcome = iota
	// Failed: the endpoint says that it cannot serve, as with status 503.
	Failed
	// Reset: the connection or the stream ended before a response's head.
	Reset
	// Timeout: no response's head in time.
	Timeout
	// NoConnection: ConnectFailed was called. The pool has drawn its
	// conclusions from that already.
	NoConnection
	// Abandoned: the try says nothing about the endpoint: the client went
	// away, or a reused connection turned out to be closed.
	Abandoned
	// Unreachable: ICMP said that nobody takes datagrams there.
	Unreachable
)

// Answered returns the Outcome of a try whose response has that status, from
// 100 to 599.
func Answered(status int) Outcome {
	if status < 300 {
		return Success
	}
	return Outcome(status)
}

// callFailed is added to the status that stands for gRPC's.
const callFailed = 1000

// AnsweredCall is Answered for a gRPC call whose response was its end alone
// (Trailers-Only), with that grpc-status: outlier detection takes it for the
// HTTP status that means as much, as Envoy does. To others it is a success: most
// such statuses are an application's own.
func AnsweredCall(code int) Outcome {
	switch code {
	case 2, 13, 15: // UNKNOWN, INTERNAL, DATA_LOSS
		return callFailed + 500
	case 4: // DEADLINE_EXCEEDED
		return callFailed + 504
	case 8: // RESOURCE_EXHAUSTED
		return callFailed + 429
	case 12: // UNIMPLEMENTED
		return callFailed + 501
	case 14: // UNAVAILABLE
		return callFailed + 503
	}
	return Success
}

// Done ends a try that Pick began, on l.
func (ep *Endpoint) Done(l *loop.Loop, o Outcome) {
	ep.inFlight.Add(-1)
	if ep.waypoint || ep.anyPort() {
		o = ofOne(o)
	}
	switch o {
	case Success:
		ep.succeeded()
	case Failed:
		ep.answered(l, 503)
	case Reset, Timeout:
		ep.failed(l)
	case Unreachable:
		ep.unreachable(l)
	case NoConnection, Abandoned:
	default:
		if o < callFailed {
			ep.answered(l, int(o))
		} else if ep.cluster.view.Load().config.outliers != nil {
			ep.answered(l, int(o-callFailed))
		} else {
			ep.succeeded()
		}
	}
}

// succeeded ends failures in a row.
func (ep *Endpoint) succeeded() {
	if ep.health.streaks.Load() != 0 {
		ep.health.streaks.Store(0)
	}
}
