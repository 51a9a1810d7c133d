package server

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"fairway.dev/gateway/telemetry"
	"fairway.dev/routing"
)

// An answerer is a UDP backend that answers each datagram with its name, what
// it got, and the port that it came from.
type answerer struct {
	conn *net.UDPConn
	addr netip.AddrPort
}

func newAnswerer(t *testing.T, name string) *answerer {
	t.Helper()
	c, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	go func() {
		buf := make([]byte, 70000)
		for {
			n, from, err := c.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			c.WriteToUDPAddrPort(fmt.Appendf(nil, "%s %d %s", name, from.Port(), buf[:n]), from)
		}
	}()
	return &answerer{c, c.LocalAddr().(*net.UDPAddr).AddrPort()}
}

// datagrams returns the change that makes a port for datagrams go to backends.
func datagrams(port uint16, backends ...*answerer) *routing.Delta {
	d := &routing.Delta{
		Listeners: []*routing.Listener{{Name: "u", Gateway: "g", Port: port, Protocol: routing.UDP}},
		Clusters: []*routing.Cluster{{
			Name: "dns", Protocol: routing.UpstreamUDP, Ejection: routing.Ejection{Base: time.Minute},
		}},
		Endpoints: []*routing.Endpoints{answerers(backends...)},
		Routes: []*routing.Route{{
			Name:     "UDPRoute/ns/r",
			Attached: []routing.Attachment{{Listener: "u", Hosts: []string{"*"}}},
			Rules:    []routing.Rule{{Action: routing.Action{Backends: []routing.Backend{{Cluster: "dns", Weight: 1}}}}},
		}},
	}
	return d
}

func answerers(backends ...*answerer) *routing.Endpoints {
	e := &routing.Endpoints{Cluster: "dns"}
	for _, b := range backends {
		e.List = append(e.List, routing.Endpoint{Addr: b.addr, Ready: true, Serving: true})
	}
	return e
}

// freeUDPPort returns a port that nobody has, for TCP or UDP.
func freeUDPPort(t *testing.T) (port uint16, release func()) {
	t.Helper()
	c, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return uint16(c.LocalAddr().(*net.UDPAddr).Port), func() { c.Close() }
}

// settle waits until the loops have done what was posted.
func settle(s *Server) {
	for _, l := range s.loops {
		done := make(chan struct{})
		l.Post(func() { close(done) })
		<-done
	}
}

// A udpClient sends to one port and takes answers from there only.
type udpClient struct {
	t    *testing.T
	conn *net.UDPConn
}

func newUDPClient(t *testing.T, port uint16) *udpClient {
	t.Helper()
	c, err := net.DialUDP("udp", nil, &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: int(port)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return &udpClient{t, c}
}

func (c *udpClient) send(text string) {
	c.t.Helper()
	if _, err := c.conn.Write([]byte(text)); err != nil {
		c.t.Fatal(err)
	}
}

// ask returns who answers, and the port that the gateway asked from.
func (c *udpClient) ask(text string) (backend string, port uint16) {
	c.t.Helper()
	c.send(text)
	buf := make([]byte, 70000)
	c.conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	n, err := c.conn.Read(buf)
	if err != nil {
		c.t.Fatalf("%.20q: %v", text, err)
	}
	name, rest, _ := bytes.Cut(buf[:n], []byte(" "))
	if _, err := fmt.Sscan(string(rest[:min(len(rest), 5)]), &port); err != nil {
		c.t.Fatalf("answer %.20q: %v", buf[:n], err)
	}
	_, got, _ := bytes.Cut(rest, []byte(" "))
	if string(got) != text {
		c.t.Fatalf("answer to %.20q: %.20q", text, got)
	}
	return string(name), port
}

func TestDatagramsGoAndComeBack(t *testing.T) {
	s := start(t)
	port, release := freeUDPPort(t)
	release()
	if problems := s.Update(datagrams(port, newAnswerer(t, "a"))); len(problems) > 0 {
		t.Fatal(problems)
	}
	ports := map[uint16]bool{}
	const clients = 50 // so that each loop has some
	for range clients {
		c := newUDPClient(t, port)
		_, first := c.ask("one")
		_, second := c.ask(string(bytes.Repeat([]byte("x"), 60000)))
		if first != second {
			t.Errorf("one client comes from ports %d and %d, want one", first, second)
		}
		ports[first] = true
	}
	if len(ports) != clients {
		t.Errorf("%d clients share %d ports", clients, len(ports))
	}
	settle(s) // what was sent is counted
	m := s.options.Metrics
	if in, out := m.UDP.Datagrams.Total(telemetry.FromClients), m.UDP.Datagrams.Total(telemetry.ToClients); in != 2*clients || out != 2*clients {
		t.Errorf("counted %d in, %d out; want %d", in, out, 2*clients)
	}
	if n := m.Connections(routing.PortKey{Port: port, UDP: true}.String(), "udp").Value(); n != clients {
		t.Errorf("%d sessions, want %d", n, clients)
	}
}

// Law 3: edits that leave the listener end no session.
func TestSessionsLiveThroughUpdates(t *testing.T) {
	s := start(t)
	port, release := freeUDPPort(t)
	release()
	a, b := newAnswerer(t, "a"), newAnswerer(t, "b")
	s.Update(datagrams(port, a))
	c := newUDPClient(t, port)
	_, before := c.ask("one")
	web, releaseWeb := freePort(t)
	releaseWeb()
	s.Update(answering(t, web, "x"))
	s.Update(&routing.Delta{Endpoints: []*routing.Endpoints{answerers(a, b)}})
	if name, after := c.ask("two"); name != "a" || after != before {
		t.Errorf("%s answers, asked from %d; want a, %d", name, after, before)
	}
	s.Update(&routing.Delta{Endpoints: []*routing.Endpoints{answerers(b)}})
	if name, _ := c.ask("three"); name != "b" {
		t.Errorf("%s answers, want b: a has left", name)
	}
}

func TestDatagramsGoAroundAnEndpointThatIsDown(t *testing.T) {
	s := start(t)
	port, release := freeUDPPort(t)
	release()
	backends := map[string]*answerer{"a": newAnswerer(t, "a"), "b": newAnswerer(t, "b")}
	s.Update(datagrams(port, backends["a"], backends["b"]))
	c := newUDPClient(t, port)
	first, _ := c.ask("one")
	backends[first].conn.Close()
	c.send("lost") // nobody listens: ICMP says so
	second, _ := c.ask("two")
	if second == first {
		t.Errorf("%s answers after its end", second)
	}
	for range 20 { // the endpoint is out for sessions after it, on all loops
		if name, _ := newUDPClient(t, port).ask("x"); name != second {
			t.Errorf("%s answers, want %s", name, second)
		}
	}
}

func TestDatagramPortsComeAndGo(t *testing.T) {
	s := start(t)
	port, release := freeUDPPort(t)
	d := datagrams(port, newAnswerer(t, "a"))
	if problems := s.Update(d); len(problems) != 1 || problems[0].Reason != PortUnavailable {
		t.Fatalf("problems %v, want one %s", problems, PortUnavailable)
	}
	release()
	s.mu.Lock()
	s.applyPorts() // what the timer does
	s.mu.Unlock()
	newUDPClient(t, port).ask("x")

	// Another gateway of the same user does not get half of the datagrams.
	other := start(t)
	if problems := other.Update(d); len(problems) != 1 || problems[0].Reason != PortUnavailable {
		t.Errorf("problems of a second gateway %v, want one %s", problems, PortUnavailable)
	}

	var remove routing.Delta
	remove.Removed.Listeners = []routing.ListenerName{"u"}
	other.Update(&remove)
	s.Update(&remove)
	settle(s)
	c, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: int(port)})
	if err != nil {
		t.Fatalf("the port is held: %v", err)
	}
	c.Close()
}

// A TCP and a UDP listener of one number are two ports.
func TestDatagramsShareANumberWithConnections(t *testing.T) {
	s := start(t)
	port, release := freePort(t)
	release()
	if problems := s.Update(answering(t, port, "tcp")); len(problems) > 0 {
		t.Fatal(problems)
	}
	if problems := s.Update(datagrams(port, newAnswerer(t, "udp"))); len(problems) > 0 {
		t.Fatal(problems)
	}
	if got := get(t, port); got != "tcp" {
		t.Errorf("by TCP %q, want tcp", got)
	}
	if got, _ := newUDPClient(t, port).ask("x"); got != "udp" {
		t.Errorf("by UDP %q, want udp", got)
	}
}

func TestDrainServesDatagramsUntilTheyStop(t *testing.T) {
	s := start(t)
	port, release := freeUDPPort(t)
	release()
	s.Update(datagrams(port, newAnswerer(t, "a")))
	c := newUDPClient(t, port)
	c.ask("before")
	drained := make(chan error)
	go func() { drained <- s.Drain(t.Context(), 0) }()
	for !s.udp.Leaving() { // draining has begun
		c.ask("while")
	}
	c.ask("still")
	if err := <-drained; err != nil {
		t.Error(err)
	}
}
