package listen

import (
	"errors"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	"fairway.dev/gateway/loop"
	"fairway.dev/gateway/loop/looptest"
	"fairway.dev/gateway/message"
)

// A tunnel is a pipe that somebody has to accept.
type tunnel struct {
	*loop.PipeConn
	accepted int
}

func (t *tunnel) Accept() { t.accepted++ }

// A client is the far end of a tunnel.
type client struct {
	conn *loop.PipeConn
	got  string
	eof  bool
	err  error
}

func (c *client) Data(p []byte)    { c.got += string(p) }
func (c *client) EOF()             { c.eof = true }
func (c *client) Drained()         {}
func (c *client) Closed(err error) { c.err = err }

// A scene is a Set on a loop that the test turns, without sockets.
type scene struct {
	set            *Set
	loop           *loop.Loop
	opened, closed int
	refused        []string
}

func newScene(change func(*Options)) *scene {
	s := &scene{loop: loop.NewManual(time.Unix(0, 0))}
	o := Options{
		Loops: []*loop.Loop{s.loop}, HTTP1: greet("http1"), HTTP2: greet("http2"), Log: slog.New(slog.DiscardHandler),
		Events: Events{Refused: func(_ int, why Refusal) { s.refused = append(s.refused, refusalText[why]) }},
	}
	if change != nil {
		change(&o)
	}
	s.set = New(o)
	return s
}

// adopt gives the set the near end of a tunnel.
func (s *scene) adopt(port Port) (*tunnel, *client) {
	near, far := loop.Pipe(s.loop)
	t, c := &tunnel{PipeConn: near}, &client{conn: far}
	far.Handle(c)
	port.Opened, port.Closed = func(int) { s.opened++ }, func(int) { s.closed++ }
	s.set.Adopt(t, &port, message.Peer{Remote: netip.MustParseAddrPort("10.1.0.1:51234"), Identity: "spiffe://cluster.local/ns/web/sa/front"})
	s.loop.Settle()
	return t, c
}

func (c *client) say(s *scene, text string) {
	c.conn.Write([]byte(text))
	s.loop.Settle()
}

// wantGone fails the test unless nothing is left of the connections.
func (s *scene) wantGone(t *testing.T) {
	t.Helper()
	s.loop.Settle()
	if s.set.Open() != 0 || s.set.loops[0].count.Load() != 0 || s.set.loops[0].conns != nil || s.opened != s.closed {
		t.Errorf("%d open, %d of the loop, %d of %d closed; want none left", s.set.Open(), s.set.loops[0].count.Load(), s.closed, s.opened)
	}
}

// A client whose CONNECT has no answer yet says nothing (RFC 9113 section 8.5).
func TestTunnelsAreAcceptedBeforeTheirFirstBytes(t *testing.T) {
	later := func(*loop.Loop, *message.Peer, string) Choice { return Choice{Codecs: greet("chosen")} }
	for name, tt := range map[string]struct {
		port Port
		want int
	}{
		"HTTP":                      {Port{}, 1},
		"HTTP or not":               {Port{Detect: true, Choose: later}, 1},
		"by the name in the hello":  {Port{Peek: true, Choose: later}, 1},
		"a stream, to its endpoint": {Port{Choose: later}, 0}, // who joins it to one accepts it
	} {
		s := newScene(nil)
		if tunnel, _ := s.adopt(tt.port); tunnel.accepted != tt.want {
			t.Errorf("%s: accepted %d times before a byte has come, want %d", name, tunnel.accepted, tt.want)
		}
	}
}

func TestCodecsOfTunnelsMayAcceptOnce(t *testing.T) {
	s := newScene(nil)
	tunnel, c := s.adopt(Port{Choose: func(*loop.Loop, *message.Peer, string) Choice {
		return Choice{Codecs: func(c loop.Conn, _ *message.Peer) Codec {
			c.(interface{ Accept() }).Accept()
			c.(interface{ Accept() }).Accept()
			c.Write([]byte("220 ready"))
			return &greeter{conn: c}
		}}
	}})
	if tunnel.accepted != 1 || c.got != "220 ready" {
		t.Errorf("accepted %d times, the client has %q", tunnel.accepted, c.got)
	}
}

func TestWhatIsInATunnelTellsTheProtocol(t *testing.T) {
	hello := string(helloFor("cart.example"))
	byName := func(_ *loop.Loop, _ *message.Peer, name string) Choice { return Choice{Codecs: greet("to " + name)} }
	for _, tt := range []struct {
		port Port
		sent []string
		want string
	}{
		{Port{}, []string{"GET / HTTP/1.1"}, "http1:GET"},
		{Port{}, []string{string(preface[:5]), string(preface[5:])}, "http2:PRI"},
		{Port{Peek: true, Choose: byName}, []string{hello[:20], hello[20:]}, "to cart.example:" + hello[:5]},
	} {
		s := newScene(nil)
		_, c := s.adopt(tt.port)
		for _, text := range tt.sent {
			c.say(s, text)
		}
		if !strings.HasPrefix(c.got, tt.want) {
			t.Errorf("%.20q: answered %.40q, want %.40q", tt.sent, c.got, tt.want)
		}
	}
}

func TestAdoptedConnectionsKnowTheirPeerAndPort(t *testing.T) {
	var got *message.Peer
	s := newScene(func(o *Options) {
		o.HTTP1 = func(c loop.Conn, p *message.Peer) Codec {
			got = p
			return &greeter{"http1", c}
		}
	})
	_, c := s.adopt(Port{Mark: "door", Peer: func(*message.Peer) { t.Error("asked by address who came out of a tunnel") }})
	c.say(s, "GET / HTTP/1.1")
	if got == nil || got.Listener != "door" || got.RemoteIP != "10.1.0.1" || got.Identity == "" {
		t.Errorf("the codec's peer is %+v", got)
	}
}

func TestAdoptedConnectionsAreCountedToTheirEnd(t *testing.T) {
	var server loop.Conn
	ends := map[string]func(c *client){
		"the client ends":    func(c *client) { c.conn.CloseWrite() },
		"the client resets":  func(c *client) { c.conn.Reset() },
		"we close":           func(*client) { server.Close() },
		"we reset":           func(*client) { server.Reset() },
		"we reset, twice":    func(*client) { server.Reset(); server.Close() },
		"we finish":          func(*client) { server.Finish() },
		"we abort":           func(*client) { server.Abort() },
		"we abort, and more": func(*client) { server.Abort(); server.Close() },
	}
	for name, end := range ends {
		s := newScene(func(o *Options) {
			o.HTTP1 = func(c loop.Conn, _ *message.Peer) Codec {
				server = c
				return &greeter{"http1", c}
			}
		})
		_, c := s.adopt(Port{})
		c.say(s, "GET / HTTP/1.1")
		if s.set.Open() != 1 || s.opened != 1 || s.closed != 0 {
			t.Fatalf("%s: %d open, %d opened, %d closed before; want 1, 1, 0", name, s.set.Open(), s.opened, s.closed)
		}
		end(c)
		s.loop.Settle()
		if s.closed != 1 {
			t.Errorf("%s: closed %d times", name, s.closed)
		}
		s.wantGone(t)
	}
}

func TestAdoptedConnectionsAreDrained(t *testing.T) {
	for name, drain := range map[string]func(s *Set){
		"with all":                 (*Set).Drain,
		"as their port is gone":    func(s *Set) { s.Retain(func(mark any) bool { return mark != "door" }) },
		"little by little":         func(s *Set) { s.Ebb(time.Second) },
		"and twice, which is once": func(s *Set) { s.Drain(); s.Drain() },
	} {
		s := newScene(nil)
		_, busy := s.adopt(Port{Mark: "door"})
		busy.say(s, "GET / HTTP/1.1")
		_, silent := s.adopt(Port{Mark: "door"})
		s.set.Retain(func(mark any) bool { return mark == "door" })
		s.loop.Settle()
		if s.set.Open() != 2 {
			t.Fatalf("%s: drained though the port is in force", name)
		}
		drain(s.set)
		s.loop.Advance(2 * time.Second)
		if !busy.eof || s.set.Open() > 0 {
			t.Errorf("%s: %d are open, told the busy client: %v; want 0, true", name, s.set.Open(), busy.eof)
		}
		if silent.err == nil {
			t.Errorf("%s: one that says nothing is kept", name)
		}
		s.wantGone(t)
	}
}

func TestTunnelsThatAreNotServed(t *testing.T) {
	server, _ := looptest.TLSConfigs(t)
	denied := errors.New("AuthorizationPolicy shop/viewers")
	for _, tt := range []struct {
		why    string
		port   Port
		change func(*Options)
	}{
		{"connections", Port{}, func(o *Options) { o.MaxConnections = 1 }},
		{"not_allowed", Port{Refuse: func(*message.Peer) error { return denied }}, nil},
		{"tls_in_tunnel", Port{TLS: server}, nil},
		{"tls_in_tunnel", Port{Choose: func(*loop.Loop, *message.Peer, string) Choice { return Choice{TLS: server} }}, nil},
		{"first_byte_slow", Port{}, func(o *Options) { o.FirstByteTimeout = time.Second }},
	} {
		s := newScene(tt.change)
		if s.set.opt.MaxConnections == 1 {
			other, _ := s.adopt(Port{})
			defer other.Close()
		}
		tunnel, c := s.adopt(tt.port)
		s.loop.Advance(time.Second)
		if len(s.refused) != 1 || s.refused[0] != tt.why || c.err == nil {
			t.Errorf("refused for %v, the client hears %v; want %s and a reset", s.refused, c.err, tt.why)
		}
		if tunnel.accepted > 0 && tt.why != "first_byte_slow" {
			t.Errorf("%s: the tunnel was accepted", tt.why)
		}
		s.set.Drain()
		s.loop.Advance(lastWord)
		s.wantGone(t)
	}
}
