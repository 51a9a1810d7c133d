package hop

import (
	"errors"
	"fmt"
	"strings"

	"fairway.dev/gateway/http2"
	"fairway.dev/gateway/loop"
	"fairway.dev/gateway/message"
	"fairway.dev/tlsmgr/identity"
)

// A Server is an HBONE connection from a peer. It is the loop.Handler of its
// Conn; Drain ends it with GOAWAY (RFC 9113 section 6.8), behind the last of its
// tunnels and requests.
type Server struct {
	*http2.Server
	loop   *loop.Loop
	peer   *message.Peer
	opt    ServerOptions
	native bool
	closed *Refusal // of all that is asked for; nil where peers may ask
	known  answers
}

// NewServer speaks HBONE on conn, behind its TLS, which has verified the peer's
// certificate: that says who the peer is (message.Peer.Identity). Who proves
// nothing gets nothing. The caller makes the Server the connection's Handler.
func NewServer(conn loop.Conn, peer *message.Peer, o ServerOptions) *Server {
	s := &Server{loop: conn.Loop(), peer: peer, opt: o}
	if err := s.identify(); err != nil {
		s.closed = &Refusal{Status: 401, Reason: err.Error()}
	}
	s.Server = http2.NewServer(conn, peer, (*asked)(s), fill(o.Limits, ServerLimits()))
	return s
}

// identify finds out who the peer is.
func (s *Server) identify() error {
	tls := s.peer.TLS
	if tls == nil || len(tls.PeerCertificates) == 0 {
		return errors.New("peer shows no certificate: want one of the mesh")
	}
	id, err := identity.OfCertificate(tls.PeerCertificates[0])
	if err != nil {
		return err
	}
	s.peer.Identity = id.String()
	s.native = tls.NegotiatedProtocol == Native
	return nil
}

// asked is a Server as its codec sees it.
type asked Server

// Exchange takes what a peer asks for.
func (in *asked) Exchange(st message.ServerStream, req *message.Request, last bool) message.Receiver {
	s := (*Server)(in)
	var told said
	var err error
	abroad := false
	if s.native { // strangers may say what they like
		told, err = takeSaid(&req.Fields)
	} else { // but this narrows what they may have
		abroad = saysNetwork(req.Fields)
	}
	tunnel := req.Method == "CONNECT"
	authority := told.target
	if tunnel {
		authority = req.Authority
	}
	switch {
	case s.closed != nil:
		return s.refuse(st, &Arrival{Peer: s.peer, Authority: authority}, s.closed)
	case err == nil && !tunnel && !s.native:
		err = fmt.Errorf("%.16s of a peer that speaks h2: want CONNECT", req.Method)
	case err == nil && !tunnel && told.target == "":
		err = errNoTarget
	}
	switch {
	case err != nil:
		return s.refuse(st, &Arrival{Peer: s.peer, Authority: authority}, badRequest(err))
	case tunnel:
		return s.tunnel(st, &told, authority, abroad)
	}
	return s.exchange(st, req, last, &told)
}

func badRequest(err error) *Refusal { return &Refusal{Status: 400, Reason: err.Error()} }

// tunnel opens a tunnel, as far as we are concerned.
func (s *Server) tunnel(st message.ServerStream, told *said, authority string, abroad bool) message.Receiver {
	own := told.clone()
	a, err := own.arrival(s.peer, strings.Clone(authority))
	a.Native, a.Abroad = s.native, abroad
	if err != nil {
		return s.refuse(st, a, badRequest(err))
	}
	take, err := s.opt.Host.Tunnel(s.loop, a)
	if err != nil {
		return s.refuse(st, a, err)
	}
	c := &Conn{loop: s.loop, peer: s.peer, stream: st, answer: st}
	take(c)
	return (*incoming)(c)
}

// exchange hands a request on.
func (s *Server) exchange(st message.ServerStream, req *message.Request, last bool, told *said) message.Receiver {
	to := s.known.get(told, s.opt.Host.Generation())
	if to == nil {
		own := told.clone()
		a, err := own.arrival(s.peer, own.target)
		a.Native = true
		if err != nil {
			return s.refuse(st, a, badRequest(err))
		}
		to = new(answer)
		if to.peer, to.handler, err = s.opt.Host.Exchange(s.loop, a); err != nil {
			return s.refuse(st, a, err)
		}
		s.known.put(own, to)
	}
	http2.SetPeer(st, to.peer)
	req.Scheme = "http" // as the client sees it
	if to.peer.Secure() {
		req.Scheme = "https"
	}
	req.Old = told.proto == oldProto
	return to.handler.Exchange(st, req, last)
}

// refuse answers a peer that does not get what it asks for.
func (s *Server) refuse(st message.ServerStream, a *Arrival, err error) message.Receiver {
	var why *Refusal
	if !errors.As(err, &why) {
		why = &Refusal{Status: 503, Reason: err.Error()}
	}
	if s.opt.Refused != nil {
		s.opt.Refused(a, why)
	}
	st.Head(&message.Response{Status: why.Status}, true)
	return nothing{}
}

// nothing takes the rest of what was refused.
type nothing struct{}

func (nothing) Data([]byte)        {}
func (nothing) End(message.Fields) {}
func (nothing) Abort(error)        {}
func (nothing) Drained()           {}

// An answer is what a Host has said of native requests.
type answer struct {
	peer    *message.Peer
	handler message.Handler
}

// answers are those of a connection that hold, by what the peer has said.
type answers struct {
	generation uint64
	of         map[said]*answer
}

// maxAnswers is how many there are at most: an answer is a peer's address, an
// identity and a handler, some 400 bytes.
const maxAnswers = 1024

// get returns an answer of a generation, or nil. Those of others are forgotten.
func (k *answers) get(s *said, generation uint64) *answer {
	if k.generation != generation {
		*k = answers{generation: generation}
	}
	return k.of[*s]
}

// put keeps an answer, in place of any one where there are many: clients that
// take turns would always find the oldest gone that they need next.
func (k *answers) put(s said, to *answer) {
	if k.of == nil {
		k.of = make(map[said]*answer)
	}
	if len(k.of) >= maxAnswers {
		for other := range k.of { // begins anywhere
			delete(k.of, other)
			break
		}
	}
	k.of[s] = to
}
