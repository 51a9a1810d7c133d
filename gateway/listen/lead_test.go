package listen

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"fairway.dev/gateway/loop"
	"fairway.dev/gateway/message"
	"fairway.dev/gateway/proxyproto"
)

// A tally counts connections of a port.
type tally struct{ opened, closed atomic.Int32 }

func (n *tally) count(p *Port) {
	p.Opened, p.Closed = func(int) { n.opened.Add(1) }, func(int) { n.closed.Add(1) }
}

// A junction is a port whose connections are led to doors by their destination's
// port, and what it was told.
type junction struct {
	doors        map[uint16]*Port
	outer, inner tally
	told         chan error
}

var errNoDoor = errors.New("no door")

func newJunction(doors map[uint16]*Port) (*junction, Port) {
	j := &junction{doors: doors, told: make(chan error, 10)}
	for _, d := range doors {
		j.inner.count(d)
	}
	port := Port{Addr: anyPort, Mark: "junction", Lead: j.lead}
	j.outer.count(&port)
	return j, port
}

func (j *junction) lead(peer *message.Peer, said proxyproto.Header, err error) (*Port, error) {
	to := j.doors[said.Destination.Port()]
	if err == nil && to == nil {
		err = errNoDoor
	}
	j.told <- err
	if err != nil {
		return nil, err
	}
	peer.Remote, peer.Identity = said.Source, "led"
	return to, nil
}

// headerTo is one for the door at a port.
func headerTo(port uint16) string {
	return string(proxyproto.Append(nil, 2, proxyproto.Header{
		Source: netip.MustParseAddrPort("10.1.0.1:51234"), Destination: netip.AddrPortFrom(netip.MustParseAddr("10.96.0.5"), port),
	}))
}

// A connection is its door's: what is spoken on it, its mark, and its numbers.
func TestHeaderLeadsToAPort(t *testing.T) {
	s := startSet(t, 2, func(o *Options) {
		o.HTTP1 = func(c loop.Conn, p *message.Peer) Codec {
			return &greeter{strings.Join([]string{p.Listener.(string), p.Identity, p.RemoteIP, p.Remote.String()}, " "), c}
		}
		o.HTTP2 = greet("http2")
	})
	j, port := newJunction(map[uint16]*Port{
		80: {Mark: "plain"},
		81: {Mark: "detected", Detect: true, Choose: func(*loop.Loop, *message.Peer, string) Choice { return Choice{Codecs: greet("stream")} }},
		82: {Mark: "chosen", Choose: func(*loop.Loop, *message.Peer, string) Choice { return Choice{Codecs: greet("chosen")} }},
	})
	addr := apply(t, s, port)
	tests := []struct {
		to         uint16
		text, want string
	}{
		{80, "GET /", "plain led 10.1.0.1 10.1.0.1:51234:GET /\n"},
		{80, string(preface), "http2:" + string(preface[:len("PRI * HTTP/2.0\r\n")])},
		{81, "GET /", "detected led 10.1.0.1 10.1.0.1:51234:GET /\n"},
		{81, "USER x", "stream:USER x\n"},
		{82, "USER x", "chosen:USER x\n"},
	}
	for _, tt := range tests {
		c := dial(t, addr)
		if got := say(t, c, headerTo(tt.to)+tt.text); got != tt.want {
			t.Errorf("%q for port %d goes to %q, want %q", tt.text, tt.to, got, tt.want)
		}
		if err := <-j.told; err != nil {
			t.Error(err)
		}
		c.Close()
	}
	slow := dial(t, addr) // its header comes in two parts
	if _, err := io.WriteString(slow, headerTo(82)[:20]); err != nil {
		t.Fatal(err)
	}
	if got := say(t, slow, headerTo(82)[20:]+"x"); got != "chosen:x\n" {
		t.Errorf("after a header in two parts: %q", got)
	}
	slow.Close()
	for !s.Drained() {
		wait(s)
	}
	n := int32(len(tests) + 1)
	if j.outer.opened.Load() != n || j.outer.closed.Load() != n || j.inner.opened.Load() != n || j.inner.closed.Load() != n {
		t.Errorf("%d of %d closed outside, %d of %d inside; want %d of each",
			j.outer.closed.Load(), j.outer.opened.Load(), j.inner.closed.Load(), j.inner.opened.Load(), n)
	}
}

// wait returns after every loop has run what was posted before.
func wait(s *Set) {
	for _, l := range s.loops {
		done := make(chan struct{})
		l.loop.Post(func() { close(done) })
		<-done
	}
}

// What begins otherwise is told to who leads, and closed without a word.
func TestWhoIsNotLedIsClosed(t *testing.T) {
	tests := []struct {
		name, text string
		why        Refusal
		err        error
	}{
		{"nobody's port", headerTo(443), LedNowhere, errNoDoor},
		{"no header", "GET / HTTP/1.1\r\n\r\n", ProxyHeaderMissing, proxyproto.ErrNone},
		{"half a header", headerTo(80)[:20], ProxyHeaderSlow, errSlowHeader},
		{"silence", "", ProxyHeaderSlow, errSlowHeader},
		{"a malformed header", headerTo(80)[:12] + "\x31\x11\x00\x0c", ProxyHeaderMalformed, nil},
	}
	for _, tt := range tests {
		refused := make(chan Refusal, 1)
		s := startSet(t, 1, func(o *Options) {
			o.HandshakeTimeout = time.Second
			if tt.why == ProxyHeaderSlow {
				o.HandshakeTimeout = time.Millisecond
			}
			o.Events.Refused = func(_ int, why Refusal) { refused <- why }
		})
		j, port := newJunction(map[uint16]*Port{80: {}})
		c := dial(t, apply(t, s, port))
		if _, err := io.WriteString(c, tt.text); err != nil {
			t.Fatal(err)
		}
		if got, _ := io.ReadAll(c); len(got) > 0 {
			t.Errorf("%s: answered with %q", tt.name, got)
		}
		if err := <-j.told; err == nil || tt.err != nil && !errors.Is(err, tt.err) {
			t.Errorf("%s: told %v, want %v", tt.name, err, tt.err)
		}
		if why := <-refused; why != tt.why {
			t.Errorf("%s: refused for %s, want %s", tt.name, refusalText[why], refusalText[tt.why])
		}
	}
}

// A door that leaves takes its connections with it, also while the port that
// leads there stays; one whose door stays is left alone.
func TestLedConnectionsAreDrainedWithTheirDoor(t *testing.T) {
	s := startSet(t, 1, nil)
	j, port := newJunction(map[uint16]*Port{80: {Mark: "stays"}, 81: {Mark: "leaves"}})
	addr := apply(t, s, port)
	conns := map[string]net.Conn{}
	for mark, to := range map[string]uint16{"stays": 80, "leaves": 81} {
		c := dial(t, addr)
		conns[mark] = c
		if got := say(t, c, headerTo(to)+"GET /"); got != "http1:GET /\n" {
			t.Errorf("%q", got)
		}
		<-j.told
	}
	s.Retain(func(mark any) bool { return mark == "stays" })
	if got, err := io.ReadAll(conns["leaves"]); err != nil || len(got) > 0 {
		t.Errorf("a connection of a door that leaves: %q, %v; want its end", got, err)
	}
	if got := say(t, conns["stays"], "again"); got != "http1:again\n" {
		t.Errorf("a connection of a door that stays: %q", got)
	}
}
