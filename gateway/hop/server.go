package hop

import (
	"errors"
	"fmt"

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
	a, err := told.arrival(s.peer, authority)
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
	s.known.keep(s.opt.Host.Generation())
	to := s.known.get(told)
	if to == nil {
		a, err := told.arrival(s.peer, told.target)
		a.Native = true
		if err != nil {
			return s.refuse(st, a, badRequest(err))
		}
		to = new(answer)
		if to.peer, to.handler, err = s.opt.Host.Exchange(s.loop, a); err != nil {
			return s.refuse(st, a, err)
		}
		s.known.put(told, to)
	}
	http2.SetPeer(st, to.peer)
	req.Scheme = "http" // as the client sees it
	if to.peer.Secure() {
		req.Scheme = "https"
	}
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

// answers are those of a connection that hold, by what the peer has said: the
// last ones, and those before them as long as they are asked for.
type answers struct {
	generation uint64
	now, old   map[said]*answer
}

// maxAnswers is how many of either there are: an answer is a peer's address, an
// identity and a handler, some 400 bytes.
const maxAnswers = 512

// keep forgets what was said in another generation.
func (k *answers) keep(generation uint64) {
	if k.generation != generation {
		*k = answers{generation: generation}
	}
}

func (k *answers) get(s *said) *answer {
	if to := k.now[*s]; to != nil {
		return to
	}
	to := k.old[*s]
	if to != nil {
		k.put(s, to)
	}
	return to
}

func (k *answers) put(s *said, to *answer) {
	if len(k.now) >= maxAnswers {
		k.now, k.old = nil, k.now
	}
	if k.now == nil {
		k.now = make(map[said]*answer)
	}
	k.now[s.clone()] = to
}
