package upstream

// A Use is what a connection is wanted for. Each has pools of its own.
type Use uint8

const (
	// Requests of HTTP share connections.
	Requests Use = iota
	// Upgrades are requests that ask to switch protocols: where ALPN is to
	// choose, the connection is an HTTP/1.1 one.
	Upgrades
	// Streams have a connection each, with the cluster's TLS but without ALPN.
	Streams
	// Opaque streams are those that the client has encrypted: they have no TLS
	// of ours, whatever the cluster says.
	Opaque
	// Sealed streams are HBONE of the client's own, with TLS: whoever takes that at
	// the endpoint, a waypoint or a node proxy, has them as they are.
	Sealed
	// seconds are requests of clients that speak HTTP/2, where a cluster speaks
	// what its clients do.
	seconds
	uses = iota
)

func (u Use) isStream() bool { return u == Streams || u == Opaque || u == Sealed }

// A StreamWaiter takes a connection for a stream.
type StreamWaiter interface {
	// Opened hands over a connection that nobody else has or will have: the
	// waiter sets its Handler before it returns, and calls Wait.Release once
	// the connection is closed.
	Opened(conn Conn)
	// ConnectFailed is Waiter's.
	ConnectFailed(err error)
}

// Release gives the place back that a stream's connection had among those to
// its endpoint. It is called once for each Opened, on the same loop.
func (w *Wait) Release() {
	w.held.vacate()
	w.held = nil
}

// handOver gives a new connection to the first stream that waits for one. A
// stream that has left in the meantime takes its connection with it.
func (p *pool) handOver(c Conn) {
	if w := p.first; w != nil {
		p.leave(w)
		w.held = p
		w.Stream.Opened(c)
	} else {
		c.Close()
		p.vacate()
	}
	p.grow()
	p.forgetIfEmpty()
}
