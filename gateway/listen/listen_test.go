package listen

import (
	"bufio"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"testing"

	"fairway.dev/gateway/loop"
	"fairway.dev/gateway/loop/looptest"
	"fairway.dev/gateway/message"
)

// greeter answers each connection with its name and what it reads.
type greeter struct {
	name string
	conn loop.Conn
}

func (g *greeter) Data(p []byte) { g.conn.Write([]byte(g.name + ":" + string(p) + "\n")) }
func (g *greeter) EOF()          { g.conn.Finish() }
func (g *greeter) Drained()      {}
func (g *greeter) Closed(error)  {}
func (g *greeter) Drain()        { g.conn.Finish() }

func greet(name string) Codecs {
	return func(c loop.Conn, _ *message.Peer) Codec { return &greeter{name, c} }
}

func startSet(t *testing.T, loops int, change func(*Options)) *Set {
	t.Helper()
	o := Options{HTTP1: greet("http1"), HTTP2: greet("http2"), Log: slog.New(slog.DiscardHandler)}
	for i := range loops {
		l, err := loop.New(i)
		if err != nil {
			t.Fatal(err)
		}
		go l.Run()
		t.Cleanup(l.Stop)
		o.Loops = append(o.Loops, l)
	}
	if change != nil {
		change(&o)
	}
	return New(o)
}

var anyPort = netip.MustParseAddrPort("127.0.0.1:0")

func apply(t *testing.T, s *Set, ports ...Port) netip.AddrPort {
	t.Helper()
	for _, err := range s.Apply(ports) {
		if err != nil {
			t.Fatal(err)
		}
	}
	return s.Addrs()[0]
}

func say(t *testing.T, c net.Conn, text string) string {
	t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(c).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return line
}

func dial(t *testing.T, addr netip.AddrPort) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func TestPlainPortTellsProtocolsApart(t *testing.T) {
	s := startSet(t, 2, nil)
	addr := apply(t, s, Port{Addr: anyPort})
	if got := say(t, dial(t, addr), "GET / HTTP/1.1"); !strings.HasPrefix(got, "http1:GET") {
		t.Errorf("a request line went to %q", got)
	}
	c := dial(t, addr)
	if _, err := c.Write(preface[:7]); err != nil { // RFC 9113 section 3.4, in two parts
		t.Fatal(err)
	}
	if got := say(t, c, string(preface[7:])); !strings.HasPrefix(got, "http2:PRI * HTTP/2.0") {
		t.Errorf("the preface went to %q", got)
	}
}

func TestALPNChoosesTheCodec(t *testing.T) {
	server, client := looptest.TLSConfigs(t, "h2", "http/1.1")
	s := startSet(t, 1, nil)
	addr := apply(t, s, Port{Addr: anyPort, TLS: server})
	for protocol, want := range map[string]string{"h2": "http2:x\n", "http/1.1": "http1:x\n"} {
		client := client.Clone()
		client.NextProtos = []string{protocol}
		c, err := tls.Dial("tcp", addr.String(), client)
		if err != nil {
			t.Fatal(err)
		}
		if got := say(t, c, "x"); got != want {
			t.Errorf("ALPN %s: got %q, want %q", protocol, got, want)
		}
		c.Close()
	}
}

func TestPortInUseHarmsNoOther(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	s := startSet(t, 1, nil)
	busy := taken.Addr().(*net.TCPAddr).AddrPort()
	errs := s.Apply([]Port{{Addr: busy}, {Addr: anyPort}})
	if errs[0] == nil || !strings.Contains(errs[0].Error(), busy.String()) || errs[1] != nil {
		t.Fatalf("got %v, want an error that names %s, and none", errs, busy)
	}
	say(t, dial(t, s.Addrs()[0]), "x")
}

func TestRemovedPortDrainsAndKeptPortKeeps(t *testing.T) {
	s := startSet(t, 2, nil)
	first := apply(t, s, Port{Addr: anyPort})
	kept := dial(t, first)
	say(t, kept, "x")
	s.Apply([]Port{{Addr: anyPort}}) // asked for by the same address: the same socket
	if got := say(t, kept, "y"); got != "http1:y\n" {
		t.Errorf("after an Apply that keeps the port: %q", got)
	}
	s.Apply(nil)
	if _, err := io.ReadAll(kept); err != nil { // greeter finishes when drained
		t.Errorf("drained connection ended with %v, want a clean end", err)
	}
}

func TestLoopsShareConnections(t *testing.T) {
	s := startSet(t, 2, nil)
	addr := apply(t, s, Port{Addr: anyPort})
	for range 10 {
		say(t, dial(t, addr), "x")
	}
	if a, b := s.loops[0].count.Load(), s.loops[1].count.Load(); a != 5 || b != 5 {
		t.Errorf("loops have %d and %d connections, want 5 each", a, b)
	}
}

func TestMaxConnections(t *testing.T) {
	refused := make(chan struct{}, 1)
	s := startSet(t, 1, func(o *Options) {
		o.MaxConnections = 1
		o.Events.Refused = func(int, Refusal) { refused <- struct{}{} }
	})
	addr := apply(t, s, Port{Addr: anyPort})
	say(t, dial(t, addr), "x")
	second := dial(t, addr)
	if _, err := second.Read(make([]byte, 1)); err == nil {
		t.Error("a connection over the limit was served")
	}
	<-refused
}

func TestRemovedPortServesWhatItsQueueHolds(t *testing.T) {
	s := startSet(t, 1, nil)
	addr := apply(t, s, Port{Addr: anyPort})
	busy := make(chan struct{})
	s.loops[0].loop.Post(func() { <-busy })
	queued := dial(t, addr)
	if _, err := queued.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	s.Apply(nil)
	if s.Drained() {
		t.Error("drained before the queue was looked at")
	}
	close(busy)
	if got, err := io.ReadAll(queued); err != nil || string(got) != "http1:x\n" {
		t.Errorf("got %q, %v; want an answer, then a clean end", got, err)
	}
}

func TestDrainedConnectionMayStillAskOnce(t *testing.T) {
	opened := make(chan struct{}, 1)
	s := startSet(t, 1, nil)
	addr := apply(t, s, Port{Addr: anyPort, Opened: func(int) { opened <- struct{}{} }})
	silent := dial(t, addr)
	<-opened
	s.Apply(nil)
	if got := say(t, silent, "x"); got != "http1:x\n" {
		t.Errorf("got %q, want an answer", got)
	}
	if _, err := io.ReadAll(silent); err != nil {
		t.Errorf("the connection ended with %v, want a clean end", err)
	}
}

func TestOfPortsWithOneAddressTheFirstIsServed(t *testing.T) {
	marks := make(chan any, 1)
	s := startSet(t, 1, func(o *Options) {
		o.HTTP1 = func(c loop.Conn, p *message.Peer) Codec {
			marks <- p.Listener
			return &greeter{"http1", c}
		}
	})
	errs := s.Apply([]Port{{Addr: anyPort, Mark: "first"}, {Addr: anyPort, Mark: "second"}})
	if errs[0] != nil || errs[1] == nil {
		t.Errorf("got %v, want an error for the second alone", errs)
	}
	say(t, dial(t, s.Addrs()[0]), "x")
	if got := <-marks; got != "first" {
		t.Errorf("the connection went to the %v port, want the first", got)
	}
}
