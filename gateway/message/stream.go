package message

import (
	"crypto/tls"
	"net/netip"
)

// A Sink takes the part of a message that follows its head. After End or
// Abort nothing more is called.
type Sink interface {
	// Data takes body bytes. They are valid during the call only: who cannot
	// pass them on copies them.
	Data(p []byte)
	// End says that the message is whole. Trailers may be empty, and are
	// valid during the call.
	End(trailers Fields)
	// Abort says that the message will not be whole. The error is an *Error.
	Abort(err error)
}

// A Stream is the codec's side of one exchange: a Sink for what we send, and
// the flow control of what we receive.
//
// Laws: all calls happen on the connection's loop. A codec never calls its
// Receiver from inside a call made on the Stream: what such a call sets off
// is told from a later event. Once the user has called Abort, its Receiver
// hears nothing more.
type Stream interface {
	Sink
	// Queued returns how many bytes of this message wait to be sent. A user
	// that reads more than HighWater stops taking body bytes from the other
	// side (it withholds Consumed there) until Receiver.Drained.
	Queued() int
	// Consumed tells that n bytes that Data delivered are held no longer; the
	// codec lets the peer send as many again.
	Consumed(n int)
}

// HighWater and LowWater bound what one direction of an exchange buffers, in
// bytes: over HighWater its source is paused, under LowWater it goes on.
const (
	HighWater = 64 << 10
	LowWater  = 16 << 10
)

// A Receiver is the proxy's side of one exchange: it takes what the peer sends.
//
// It hears Drained after End too, as long as the user sends, and so it may
// hear Abort after End: what was received is whole, but the peer is gone
// before the user has ended what it sends. Abort means that the exchange is
// over for the codec, which has told the peer what it could: calls that the
// user still makes on the Stream do nothing, but it makes the last, End or
// Abort, so that the codec can use the exchange's memory again.
type Receiver interface {
	Sink
	// Drained tells that Stream.Queued has fallen under LowWater after it was
	// over HighWater.
	Drained()
}

// A ServerStream is the way back to a client.
//
// When the user ends or aborts the response, the exchange is over for the
// codec: it recycles the Request, and its Receiver hears nothing more; what
// the client still sends of the request is discarded, within limits. After a
// 101, and a 2xx to CONNECT, the exchange is over when both directions have
// ended, or one was aborted.
type ServerStream interface {
	Stream
	// Head sends a response head; last says that neither body nor trailers
	// follow and stands for End. Any number of 1xx heads may come first,
	// except 101, which is final: after it, and after a 2xx to CONNECT, Data
	// carries raw bytes both ways, and End closes one direction.
	Head(resp *Response, last bool)
	// Peer describes the connection. It does not change.
	Peer() *Peer
}

// A Handler takes the requests of server-side codecs.
type Handler interface {
	// Exchange begins an exchange at the end of a request's head; last says
	// that nothing follows, and stands for End. The request lives until the
	// user ends or aborts the response. The Receiver returned takes the rest.
	Exchange(s ServerStream, req *Request, last bool) Receiver
}

// A ClientReceiver takes what a backend answers.
type ClientReceiver interface {
	Receiver
	// Head takes a response head, 1xx ones too; last stands for End. The head
	// is valid during the call.
	Head(resp *Response, last bool)
}

// A Client is a connection to a backend, seen by those who send requests.
type Client interface {
	// Open sends a request; last says that nothing follows. The head is
	// written out before Open returns, so req may change afterwards. It must
	// not be called when Free is 0. The stream is over when the request was
	// ended and the response has ended, or when either was aborted: who will
	// not end a request after its response has ended aborts it.
	Open(req *Request, last bool, r ClientReceiver) Stream
	// Free returns how many more requests the connection takes now: 1 or 0
	// for HTTP/1.1, a number of streams for HTTP/2, 0 once it is closing.
	Free() int
	// Close ends the connection at once; exchanges under way are aborted.
	Close()
	// Drain takes no more requests and closes when the last has ended.
	Drain()
}

// A Peer is the other end of a connection.
type Peer struct {
	Remote netip.AddrPort // after PROXY protocol, where that is on
	Local  netip.AddrPort
	// RemoteIP is Remote's address as text, made once for X-Forwarded-For.
	RemoteIP string
	// TLS is nil on a plain connection.
	TLS *tls.ConnectionState
	// ClientRoots is what the client's certificate, the first of
	// TLS.PeerCertificates, was verified against: the roots (PEM) of the
	// listener, and what else it asks for (routing.ClientValidation.Proof). Nil
	// means that it is not verified: nobody may go by what it says.
	ClientRoots []byte
	// Identity is who the client is in the mesh: by its certificate, by its
	// address, or by the word of a gateway that may vouch for it. Empty: nobody
	// knows.
	Identity string // "spiffe://cluster.local/ns/shop/sa/cart"
	// Mutual says that the client has come through TLS of the mesh, itself or by
	// its waypoint.
	Mutual bool
	// Vouch says that this gateway vouches for Identity to the next one.
	Vouch bool
	// Gateway is the identity of the gateway whose own requests these are, and whose
	// word about the client is believed. Empty: they are none's, also where a
	// gateway passes on bytes that it has not read.
	Gateway string
	// Abroad says that the client is in another network: it is not sent to one.
	Abroad bool
	// Listener is the server's own mark for where the connection came in.
	Listener any
}

// Secure reports whether the connection is TLS.
func (p *Peer) Secure() bool { return p.TLS != nil }
