package stream

import (
	"cmp"
	"time"

	"fairway.dev/gateway/loop"
	"fairway.dev/gateway/message"
	"fairway.dev/gateway/proxy"
	"fairway.dev/gateway/telemetry"
	"fairway.dev/routing"
)

// TCP joins clients' connections to endpoints': plain ones, those whose TLS
// ends here, and those whose TLS the endpoint ends.
//
// A connection to an endpoint is opened at once, as the server may be the
// first to speak. Where that fails nothing was sent, and another endpoint is
// tried, up to 3 in all. A client that nobody takes is closed: with FIN, or
// with a reset where its bytes were not read; never with an alert of TLS.
//
// A client that comes out of a tunnel hears that this is open once an endpoint
// is connected (Accept), and else that nobody could be reached.
//
// A stream ends when both directions have ended, when one side is reset, when
// nothing has moved for Idle, when it is as old as its cluster's ConnectionAge,
// and a while after its listener has left. It lives through all other edits,
// also where its route or endpoint is gone.
//
// Its record says why it came to nothing, or to an early end:
//
//	NR  no listener has the name, or no rule takes the connection
//	NC  the rule's reference leads nowhere
//	UH  the cluster has no endpoint; with DF as its names have no address
//	DF  the client's name has no address that it may be sent to
//	UF  no endpoint could be connected to
//	UO  a limit of the cluster is reached
//	UAEX  the waypoint in front of the endpoints does not let the client in
//	DC  the client reset the connection
//	UC  the endpoint did
//	SI  nothing moved for Idle
//	DT  it lasted for ConnectionAge
type TCP struct {
	o     TCPOptions
	loops []perLoop
}

// TCPOptions are what TCP needs. Loops and Metrics are required.
type TCPOptions struct {
	Loops     []*loop.Loop
	Metrics   *telemetry.Metrics
	AccessLog *telemetry.AccessLog // takes a line for each stream; nil is off

	// Idle ends a stream on which nothing has moved for that long (SI), with a
	// reset of both sides, where its cluster's IdleTimeout does not say
	// otherwise. If zero, 1 hour; if negative, never.
	Idle time.Duration

	// Leave is how long a stream may go on whose listener has left, before
	// both sides are reset. If zero, 10 minutes.
	Leave time.Duration
}

// perLoop is what belongs to one loop, and is touched there only.
type perLoop struct {
	loop  *loop.Loop
	pairs *pair    // the list of them
	_     [48]byte // those of several loops lie side by side
}

// NewTCP returns a TCP without streams.
func NewTCP(o TCPOptions) *TCP {
	o.Idle = cmp.Or(o.Idle, time.Hour)
	o.Leave = cmp.Or(o.Leave, 10*time.Minute)
	t := &TCP{o: o, loops: make([]perLoop, len(o.Loops))}
	for i, l := range o.Loops {
		t.loops[i].loop = l
	}
	return t
}

// An Arrival is a client's connection, and what is known of it.
type Arrival struct {
	Conn loop.Conn
	Peer *message.Peer // of Conn; it does not change
	To   proxy.Destination
	Kind telemetry.StreamKind
	// Name is that in the ClientHello, in lower case; empty without one.
	Name string
}

// A Stream is the client's side of a stream: what its connection tells of.
type Stream struct{ *side }

// Drain lets the stream go on for a while, and no longer.
func (s Stream) Drain() { s.pair.leave() }

// Serve begins a stream, on the loop of its connection. Who calls it makes the
// Stream the connection's Handler, and hands on to Data what came before.
func (t *TCP) Serve(a Arrival) Stream {
	p := newPair(t, a)
	p.begin()
	return Stream{&p.client}
}

// Retain lets the streams whose listeners are not in force any more go on for
// a while, and no longer. It is for ports that stay: one that leaves drains its
// connections. The function is called on the loops.
func (t *TCP) Retain(inForce func(routing.ListenerName) bool) {
	for i := range t.loops {
		on := &t.loops[i]
		on.loop.Post(func() {
			for p := on.pairs; p != nil; p = p.next {
				if l := p.to.Listener; l != nil && !inForce(l.Name) {
					p.leave()
				}
			}
		})
	}
}

// Cut ends all streams on all loops, from a later event: for when time is up.
func (t *TCP) Cut() {
	for i := range t.loops {
		on := &t.loops[i]
		on.loop.Post(func() {
			for on.pairs != nil {
				on.pairs.cut(0)
			}
		})
	}
}

func (on *perLoop) add(p *pair) {
	p.next = on.pairs
	if p.next != nil {
		p.next.prev = p
	}
	on.pairs = p
}

func (on *perLoop) remove(p *pair) {
	if p.prev != nil {
		p.prev.next = p.next
	} else {
		on.pairs = p.next
	}
	if p.next != nil {
		p.next.prev = p.prev
	}
	p.prev, p.next = nil, nil
}
