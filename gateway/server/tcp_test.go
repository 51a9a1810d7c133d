package server

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"fairway.dev/gateway/telemetry"
	"fairway.dev/routing"
	"fairway.dev/tlsmgr"
)

// A greetingServer is a TCP backend that speaks first: it says its name, and
// then each line that it gets, until the client's end; and then goodbye.
type greetingServer struct {
	ln   net.Listener
	name string
	sni  chan string // of TLS connections
}

func newGreetingServer(t *testing.T, name string, config *tls.Config) *greetingServer {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	g := &greetingServer{ln: ln, name: name, sni: make(chan string, 100)}
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go g.serve(c, config)
		}
	}()
	return g
}

func (g *greetingServer) serve(c net.Conn, config *tls.Config) {
	defer func() { c.Close() }() // with close_notify where it is TLS
	if config != nil {
		secure := tls.Server(c, config)
		if secure.Handshake() != nil {
			return
		}
		g.sni <- secure.ConnectionState().ServerName
		c = secure
	}
	fmt.Fprintf(c, "hello from %s\n", g.name)
	for r := bufio.NewReader(c); ; {
		line, err := r.ReadString('\n')
		if err != nil {
			break
		}
		fmt.Fprintf(c, "%s: %s", g.name, line)
	}
	fmt.Fprintf(c, "goodbye from %s\n", g.name)
}

func (g *greetingServer) endpoints(c routing.ClusterName) *routing.Endpoints {
	return &routing.Endpoints{Cluster: c, List: []routing.Endpoint{{
		Addr: netip.MustParseAddrPort(g.ln.Addr().String()), Ready: true, Serving: true,
	}}}
}

// streamRoute is a route of streams to clusters of these names, each with
// weight 1, for a host of a listener.
func streamRoute(name routing.RouteName, l routing.ListenerName, host string, clusters ...routing.ClusterName) *routing.Route {
	var a routing.Action
	for _, c := range clusters {
		a.Backends = append(a.Backends, routing.Backend{Cluster: c, Weight: 1})
	}
	return &routing.Route{
		Name:     name,
		Attached: []routing.Attachment{{Listener: l, Hosts: []string{host}}},
		Rules:    []routing.Rule{{Action: a}},
	}
}

func tcpCluster(name routing.ClusterName) *routing.Cluster {
	return &routing.Cluster{Name: name, Protocol: routing.UpstreamTCP}
}

// connections is the change that makes a TCP port go to backends, by shares.
func connections(port uint16, backends ...*greetingServer) *routing.Delta {
	d := &routing.Delta{Listeners: []*routing.Listener{{Name: "t", Gateway: "g", Port: port, Protocol: routing.TCP}}}
	var names []routing.ClusterName
	for _, b := range backends {
		name := routing.ClusterName(b.name)
		names = append(names, name)
		d.Clusters = append(d.Clusters, tcpCluster(name))
		d.Endpoints = append(d.Endpoints, b.endpoints(name))
	}
	d.Routes = []*routing.Route{streamRoute("r", "t", "*", names...)}
	return d
}

// startLogged is start, with a local CA, and an access log that the function
// returned takes, after it has closed s.
func startLogged(t *testing.T) (s *Server, log func() string) {
	t.Helper()
	// Loops wait without giving up their place in the scheduler, as in the
	// program: what they share the process with needs places of its own.
	procs := runtime.GOMAXPROCS(4)
	t.Cleanup(func() { runtime.GOMAXPROCS(procs) })
	ca, err := tlsmgr.OpenLocalCA(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	m := telemetry.New(telemetry.Options{Loops: 2})
	accessLog := telemetry.NewAccessLog(m, &text, telemetry.AccessLogOptions{})
	if s, err = New(Options{
		Loops: 2, Bind: netip.MustParseAddr("127.0.0.1"), LocalCA: ca,
		Metrics: m, AccessLog: accessLog, Log: slog.New(slog.DiscardHandler),
	}); err != nil {
		t.Fatal(err)
	}
	var once sync.Once
	log = func() string {
		once.Do(func() {
			s.Close()
			accessLog.Close(context.Background())
		})
		return text.String()
	}
	t.Cleanup(func() { log() })
	return s, log
}

func update(t *testing.T, s *Server, d *routing.Delta) {
	t.Helper()
	if problems := s.Update(d); len(problems) > 0 {
		t.Fatalf("problems: %v", problems)
	}
}

// openPort returns a port that is free.
func openPort(t *testing.T) uint16 {
	t.Helper()
	port, release := freePort(t)
	release()
	return port
}

// patience is how long anything in these tests may take.
const patience = 20 * time.Second

func connect(t *testing.T, port uint16) *net.TCPConn {
	t.Helper()
	c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(patience))
	return c.(*net.TCPConn)
}

// readLine reads one line, byte by byte so that nothing is lost.
func readLine(t *testing.T, c net.Conn) string {
	t.Helper()
	var line []byte
	for b := make([]byte, 1); ; {
		if _, err := io.ReadFull(c, b); err != nil {
			t.Fatalf("after %q: %v", line, err)
		}
		if b[0] == '\n' {
			return string(line)
		}
		line = append(line, b[0])
	}
}

func wantLine(t *testing.T, c net.Conn, want string) {
	t.Helper()
	if got := readLine(t, c); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestTCPServerSpeaksFirstAndEndsAreCarriedOver(t *testing.T) {
	s, log := startLogged(t)
	port := openPort(t)
	update(t, s, connections(port, newGreetingServer(t, "a", nil)))
	c := connect(t, port)
	wantLine(t, c, "hello from a")
	io.WriteString(c, "ping\n")
	wantLine(t, c, "a: ping")
	c.CloseWrite()
	wantLine(t, c, "goodbye from a") // the other direction goes on behind the end of one
	if rest, err := io.ReadAll(c); len(rest) > 0 || err != nil {
		t.Errorf("then %q, %v; want a clean end", rest, err)
	}
	line := log()
	for _, want := range []string{`"protocol":"TCP"`, `"bytes_in":5`, `"bytes_out":36`, `"attempts":1`, `"cluster":"a"`, `"route":"r"`, `"listener":"t"`} {
		if !strings.Contains(line, want) {
			t.Errorf("access log %s lacks %s", line, want)
		}
	}
	if strings.Contains(line, "flags") || strings.Count(line, "\n") != 1 {
		t.Errorf("access log %s, want one line without flags", line)
	}
}

func TestTCPSharesGoByWeight(t *testing.T) {
	s, _ := startLogged(t)
	port := openPort(t)
	d := connections(port, newGreetingServer(t, "a", nil), newGreetingServer(t, "b", nil), newGreetingServer(t, "c", nil))
	backends := d.Routes[0].Rules[0].Action.Backends
	backends[0].Weight, backends[2].Weight = 3, 0
	update(t, s, d)
	count := map[string]int{}
	const all = 400
	for range all {
		c := connect(t, port)
		count[readLine(t, c)]++
		c.Close()
	}
	if n := count["hello from a"]; n < all*65/100 || n > all*85/100 || count["hello from c"] > 0 || n+count["hello from b"] != all {
		t.Errorf("%v, want three quarters for a and one for b", count)
	}
}

func TestTCPGoesAroundAnEndpointThatIsDown(t *testing.T) {
	s, _ := startLogged(t)
	port, down := openPort(t), openPort(t)
	d := connections(port, newGreetingServer(t, "a", nil))
	d.Endpoints[0].List = append(d.Endpoints[0].List, routing.Endpoint{
		Addr: netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), down), Ready: true, Serving: true,
	})
	update(t, s, d)
	for range 20 {
		wantLine(t, connect(t, port), "hello from a")
	}
}

// ended returns how a connection ends that nothing comes from.
func ended(t *testing.T, c net.Conn) error {
	t.Helper()
	got, err := io.ReadAll(c)
	if len(got) > 0 {
		t.Errorf("got %q, want nothing", got)
	}
	return err
}

func TestTCPThatLeadsNowhereIsClosed(t *testing.T) {
	tests := []struct {
		name  string
		setup func(d *routing.Delta, down netip.AddrPort)
		flags string
	}{
		{"no route", func(d *routing.Delta, _ netip.AddrPort) { d.Routes = nil }, "NR"},
		{"no backend", func(d *routing.Delta, _ netip.AddrPort) { d.Routes[0].Rules[0].Action.Backends = nil }, "NC"},
		{"an invalid backend", func(d *routing.Delta, _ netip.AddrPort) {
			d.Routes[0].Rules[0].Action.Backends = []routing.Backend{{Status: 500, Weight: 1}}
		}, "NC"},
		{"no weight", func(d *routing.Delta, _ netip.AddrPort) { d.Routes[0].Rules[0].Action.Backends[0].Weight = 0 }, "NC"},
		{"no endpoint", func(d *routing.Delta, _ netip.AddrPort) { d.Endpoints = nil }, "UH"},
		{"nobody listens", func(d *routing.Delta, down netip.AddrPort) { d.Endpoints[0].List[0].Addr = down }, "UF"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, log := startLogged(t)
			port, down := openPort(t), openPort(t)
			d := connections(port, newGreetingServer(t, "a", nil))
			tt.setup(d, netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), down))
			s.Update(d)
			if err := ended(t, connect(t, port)); err != nil {
				t.Errorf("closed with %v, want a clean end", err)
			}
			if line := log(); !strings.Contains(line, `"flags":"`+tt.flags+`"`) {
				t.Errorf("access log %s, want the flag %s", line, tt.flags)
			}
		})
	}
}

func TestTCPResetIsCarriedAsAReset(t *testing.T) {
	accepted := make(chan *net.TCPConn, 1)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			accepted <- c.(*net.TCPConn)
		}
	}()
	s, _ := startLogged(t)
	port := openPort(t)
	update(t, s, connections(port, &greetingServer{ln: ln, name: "a"}))

	client := connect(t, port)
	backend := <-accepted
	io.WriteString(backend, "last words\n")
	wantLine(t, client, "last words")
	backend.SetLinger(0)
	backend.Close()
	if err := ended(t, client); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the backend has reset, the client's read ends with %v", err)
	}

	client = connect(t, port)
	backend = <-accepted
	io.WriteString(client, "last words\n")
	wantLine(t, backend, "last words")
	client.SetLinger(0)
	client.Close()
	backend.SetDeadline(time.Now().Add(patience))
	if err := ended(t, backend); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the client has reset, the backend's read ends with %v", err)
	}
	backend.Close()
}

// Law 3: an edit closes no stream whose listener stays.
func TestTCPStreamsLiveThroughEdits(t *testing.T) {
	s, _ := startLogged(t)
	port := openPort(t)
	a, b := newGreetingServer(t, "a", nil), newGreetingServer(t, "b", nil)
	update(t, s, connections(port, a))
	c := connect(t, port)
	wantLine(t, c, "hello from a")
	update(t, s, connections(port, b)) // another route
	gone := &routing.Delta{}
	gone.Removed.Clusters = []routing.ClusterName{"a"}
	update(t, s, gone)
	wantLine(t, connect(t, port), "hello from b")
	io.WriteString(c, "still here\n")
	wantLine(t, c, "a: still here")
}

func TestDrainLeavesStreamsUntilItsEnd(t *testing.T) {
	s, log := startLogged(t)
	port := openPort(t)
	update(t, s, connections(port, newGreetingServer(t, "a", nil)))
	c := connect(t, port)
	wantLine(t, c, "hello from a")
	ctx, cancel := context.WithCancel(t.Context())
	drained := make(chan error)
	go func() { drained <- s.Drain(ctx, 0) }()
	for { // until the port is closed
		late, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			break
		}
		late.Close()
	}
	io.WriteString(c, "still here\n")
	wantLine(t, c, "a: still here")
	cancel()
	if err := <-drained; err == nil {
		t.Error("drained with a stream left")
	}
	line := log()
	if _, err := io.ReadAll(c); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("at the end of the drain: %v, want a reset", err)
	}
	if !strings.Contains(line, `"bytes_in":11`) {
		t.Errorf("access log %q lacks the stream that was cut", line)
	}
}

func TestLargeStreamsArriveWhole(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() { io.Copy(c, c); c.(*net.TCPConn).CloseWrite() }()
		}
	}()
	s, _ := startLogged(t)
	port := openPort(t)
	update(t, s, connections(port, &greetingServer{ln: ln, name: "a"}))
	want := make([]byte, 32<<20)
	for i := range want {
		want[i] = byte(i * 2654435761 >> 13)
	}
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			c := connect(t, port)
			go func() { c.Write(want); c.CloseWrite() }()
			if got, err := io.ReadAll(c); !bytes.Equal(got, want) || err != nil {
				t.Errorf("%d of %d bytes came back, or others; %v", len(got), len(want), err)
			}
		})
	}
	wg.Wait()
}
