// Package hop carries connections and requests between gateways, and to pods
// that ztunnel captures: HBONE, both sides.
//
// HBONE is HTTP/2 over TLS 1.3 of the mesh, both ends of which show a
// certificate with a SPIFFE identity. A CONNECT opens a tunnel; its :authority
// is what the client dialled (RFC 9113 section 8.5, and ztunnel's documents).
//
// Two gateways of this program agree by ALPN ([Native]) on more: a request of
// HTTP goes over the same connection as a request of HTTP/2 as it is, so that
// nobody pays for HTTP in a tunnel of HTTP. To strangers it is a tunnel.
//
// What is said of the client travels in fields that only a peer is believed
// that has proved to be a gateway of the fleet:
//
//	x-fairway-target  of a native request: what its :authority would be as a CONNECT
//	x-fairway-source  the identity of the workload that the gateway vouches for,
//	                  or "unknown" (message.Nobody): its client is not the gateway
//	x-fairway-client  the address and port of the client's connection
//	x-fairway-proto   of a native request: "HTTP/1.1", which the client speaks, for
//	                  backends to which requests go as they came
//
// Between networks of Istio a tunnel goes through another (Target.Within): the
// outer one to the gateway there, which passes its bytes on to whom it stands for,
// and the inner one to him, with TLS of its own. In it a field says whence it comes:
//
//	x-forwarded-network  the caller's network, as ztunnel and Istio's waypoints say it
//
// The package knows neither routes nor policy: [Host] says what is behind an
// address, and who may ask for it.
package hop

import (
	"crypto/tls"
	"net/netip"
	"time"

	"fairway.dev/gateway/http2"
	"fairway.dev/gateway/loop"
	"fairway.dev/gateway/message"
)

// Native is the protocol that gateways of this program offer by ALPN besides
// "h2": the same, and requests that are no CONNECT.
const Native = "fairway-hop/1"

// An Arrival is what a peer asks for.
type Arrival struct {
	Peer      *message.Peer  // of the HBONE connection; its Identity is proved
	Authority string         // "10.96.0.5:80", "cart.shop.svc.cluster.local:80"
	Source    string         // the identity that the peer vouches for; empty: none
	Client    netip.AddrPort // of whom it speaks; invalid: it does not say, or is no gateway that may
	// Native says that the peer is a gateway of this program.
	Native bool
	// Abroad says that it asks for somebody in another network, by a field that
	// takes nothing but from himself.
	Abroad bool
}

// A Host knows what there is behind addresses. Its functions are called on the
// loop of the connection.
type Host interface {
	// Tunnel says who takes the bytes of a tunnel, or answers with a *Refusal.
	// Take makes itself the Handler of conn before it returns.
	Tunnel(l *loop.Loop, a *Arrival) (take func(conn *Conn), err error)
	// Exchange says who takes a native request, and as whose: the Peer is the
	// client's, with a Listener of the Host's own, and may be used for all
	// requests of the connection with an equal Arrival.
	Exchange(l *loop.Loop, a *Arrival) (*message.Peer, message.Handler, error)
	// Generation is another number whenever Exchange may answer otherwise than it
	// did: what it has answered is used again as long as it is the same. It is
	// asked for each request, and so it is cheap.
	Generation() uint64
}

// A Refusal is why a peer does not get what it asks for.
type Refusal struct {
	Status int // 400, 401, 403, 404 or 503
	Reason string
}

func (r *Refusal) Error() string { return r.Reason }

// ServerOptions are what a Server needs. Host is required.
type ServerOptions struct {
	Host Host
	// Limits of the HTTP/2 connection: what they leave out is as in ServerLimits.
	// Each loop has its own, with its own Count.
	Limits *http2.Limits
	// Refused hears of each request that is refused, to log it. It may be nil.
	Refused func(a *Arrival, why *Refusal)
}

// A Target is where a tunnel leads.
type Target struct {
	Addr      netip.AddrPort // where HBONE is spoken
	Identity  string         // who has to answer there; exactly
	Authority string
	Source    string         // whom the gateway vouches for; said to gateways of ours only
	Client    netip.AddrPort // likewise
	// Requests says that requests of HTTP are to be sent: a peer that speaks
	// Native is handed over as it is then.
	Requests bool
	// Within, if not empty, has one tunnel go through another, as Istio's gateways
	// between networks have it: what is opened at Addr leads to whoever has one of
	// these identities, with spaces between, and TLS and HBONE begin anew there, for
	// the same Authority. Nobody is vouched for then, as none of both is of ours.
	Within string
}

// DialerOptions are what a Dialer needs.
type DialerOptions struct {
	// TLS returns how to speak to whoever has an identity, or one of several with
	// spaces between (Target.Within), nil while there is no
	// certificate to show; it is called for each connection. NextProtos are set by
	// the Dialer.
	TLS func(identity string) *tls.Config
	// Streams bounds the tunnels of one connection. If zero, 100.
	Streams int
	// Idle ends a connection that has no tunnel. If zero, 5 minutes.
	Idle time.Duration
	// PingAfter and PingTimeout are of its PINGs. If zero, 10 and 20 seconds.
	PingAfter, PingTimeout time.Duration
	// Limits, by loop, are of its connections. What they leave out, all if nil, is
	// as in ClientLimits.
	Limits []*http2.Limits
	// Dial opens connections. If nil, (*loop.Loop).Dial.
	Dial DialFunc
}

// A DialFunc connects to addr on l, and opens the connection as said. It calls
// done once, on l, from a later event; never after cancel was called. alpn is
// what TLS agreed on.
type DialFunc func(l *loop.Loop, addr netip.AddrPort, how loop.Opening, timeout time.Duration,
	done func(c Conner, alpn string, err error)) (cancel func())

// A Conner is a connection that has no Handler yet.
type Conner interface {
	loop.Conn
	Handle(loop.Handler)
}
