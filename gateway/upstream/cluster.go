package upstream

import (
	"net/netip"

	"fairway.dev/gateway/loop"
	"fairway.dev/gateway/message"
	"fairway.dev/routing"
)

// A Cluster is a named set of endpoints with one way of talking to them. It
// is shared by all loops.
type Cluster struct {
	name routing.ClusterName
}

// Name returns the cluster's name.
func (c *Cluster) Name() routing.ClusterName { return c.name }

// Begin counts an exchange against the limit of active requests. False means
// that there are too many (UO); otherwise End is called once.
func (c *Cluster) Begin() bool { return true }

// End ends what Begin began.
func (c *Cluster) End() {}

// A Want says what to pick.
type Want struct {
	Hash    uint64 // of the request, where HasHash: see Cluster.Hash
	HasHash bool
	Pinned  netip.AddrPort // the session's endpoint, used where it can be
	Tried   []*Endpoint    // left out unless there is no other
}

// Hash returns the hash that the cluster's balancing wants of a request; false
// where it wants none, or the request lacks what is hashed.
func (c *Cluster) Hash(req *message.Request, peer *message.Peer) (uint64, bool) { return 0, false }

// Pick picks an endpoint for one try, on l. Its Done is called once when the
// try has ended, however it did. The only error is ErrNoEndpoints.
func (c *Cluster) Pick(l *loop.Loop, want *Want) (*Endpoint, error) { return nil, ErrNoEndpoints }

// Connect gets a connection to ep for w, on l. w hears of it once: before
// Connect returns where there is a connection to reuse, or where the pool
// overflows; later otherwise, unless it is cancelled first.
func (c *Cluster) Connect(l *loop.Loop, ep *Endpoint, w *Wait) {}

// A Waiter takes a connection.
type Waiter interface {
	// Connected hands over a connection for one request: the waiter calls
	// conn.Open before it returns, or leaves the connection alone. reused
	// says that it has carried requests before, and may have been closed by
	// the backend in this moment.
	Connected(conn message.Client, reused bool)
	// ConnectFailed says that there is none, and that nothing was sent. The
	// error wraps ErrOverflow, ErrTimeout or loop.ErrRefused where it is one
	// of these.
	ConnectFailed(err error)
}

// A Wait is a Waiter's place in the queue for a connection. It is part of
// what waits, so that waiting allocates nothing; it may be used again once
// the Waiter has heard, or Cancel was called.
type Wait struct {
	Waiter Waiter
}

// Cancel takes the waiter back: it hears nothing more. After it has heard,
// Cancel does nothing.
func (w *Wait) Cancel() {}
