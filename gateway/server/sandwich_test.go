package server

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"fairway.dev/gateway/message"
	"fairway.dev/gateway/proxy"
	"fairway.dev/gateway/proxyproto"
	"fairway.dev/gateway/telemetry"
	"fairway.dev/routing"
)

const (
	frontIdentity    = "spiffe://cluster.local/ns/web/sa/front"
	waypointIdentity = "spiffe://cluster.local/ns/web/sa/waypoint"
	cartDoor         = "10.96.0.5:80"
	stockDoor        = "10.96.0.6:5432"
)

// A lineLog is a log whose lines can be waited for.
type lineLog struct{ lines chan string }

func (l *lineLog) Write(p []byte) (int, error) {
	select {
	case l.lines <- string(p):
	default: // nobody waits for so many
	}
	return len(p), nil
}

// await waits for the next line that has a text in it.
func (l *lineLog) await(t *testing.T, text string) string {
	t.Helper()
	late := time.After(patience)
	for {
		select {
		case line := <-l.lines:
			if strings.Contains(line, text) {
				return line
			}
		case <-late:
			t.Fatalf("no line of the log has %q", text)
		}
	}
}

// A sandwiched server is a waypoint whose tunnels a node proxy ends, with two
// doors: one of HTTP and one of TCP.
type sandwiched struct {
	*Server
	log  *lineLog
	port uint16
	spec *routing.Delta
}

func startSandwich(t *testing.T, captured bool) *sandwiched {
	t.Helper()
	log := &lineLog{lines: make(chan string, 1000)}
	s, err := New(Options{
		Loops: 2, Bind: netip.MustParseAddr("127.0.0.1"), Captured: captured,
		Metrics: telemetry.New(telemetry.Options{Loops: 2}), Log: slog.New(slog.NewTextHandler(log, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	w := &sandwiched{Server: s, log: log, port: openPort(t)}
	stock := newGreetingServer(t, "stock", nil)
	w.spec = answering(t, 0, "cart")
	w.spec.Routes = nil
	cart, at := netip.MustParseAddrPort(cartDoor), netip.MustParseAddrPort(stockDoor)
	w.spec.Listeners = []*routing.Listener{
		{Name: "mesh", Gateway: "shop/waypoint", Port: openPort(t), Protocol: routing.HBONE, Mesh: &routing.Mesh{
			TrustDomains: []string{"cluster.local", "old.local"}, Sandwich: w.port,
			Vouchers: []routing.Voucher{{Identity: waypointIdentity, Namespaces: []string{"web"}}},
		}},
		{Name: "cart", Gateway: "shop/waypoint", Inside: true, Addresses: []netip.Addr{cart.Addr()}, Port: cart.Port(), Protocol: routing.HTTP, To: "cart", Strict: true},
		{Name: "stock", Gateway: "shop/waypoint", Inside: true, Addresses: []netip.Addr{at.Addr()}, Port: at.Port(), Protocol: routing.TCP, To: "stock"},
	}
	w.spec.Clusters = append(w.spec.Clusters, tcpCluster("stock"))
	w.spec.Endpoints = append(w.spec.Endpoints, stock.endpoints("stock"))
	return w
}

// fromZtunnel is a header as ztunnel's write_proxy_protocol writes it.
func fromZtunnel(from, to, identity string) []byte {
	p := proxyproto.Append(nil, 2, proxyproto.Header{Source: netip.MustParseAddrPort(from), Destination: netip.MustParseAddrPort(to)})
	if identity == "" {
		return p
	}
	p = append(p, 0xD0)
	p = binary.BigEndian.AppendUint16(p, uint16(len(identity)))
	p = append(p, identity...)
	binary.BigEndian.PutUint16(p[14:], uint16(len(p)-16)) // section 2.2: the 15th and 16th byte are the length
	return p
}

func TestNodeProxyLeadsClientsToDoors(t *testing.T) {
	s := startSandwich(t, true)
	update(t, s.Server, s.spec)
	c := connect(t, s.port)
	c.Write(append(fromZtunnel("10.1.0.1:51234", cartDoor, frontIdentity), "GET / HTTP/1.1\r\nHost: cart.shop\r\nConnection: close\r\n\r\n"...))
	if answer, err := io.ReadAll(c); err != nil || !bytes.HasPrefix(answer, []byte("HTTP/1.1 200 ")) || !bytes.HasSuffix(answer, []byte("cart")) {
		t.Errorf("the door of HTTP answers %q, %v", answer, err)
	}
	c = connect(t, s.port)
	c.Write(fromZtunnel("[2001:db8::1]:51234", "[::ffff:10.96.0.6]:5432", "spiffe://old.local/ns/web/sa/front"))
	if got := readLine(t, c); got != "hello from stock" { // its server is the first to speak
		t.Errorf("the door of TCP says %q", got)
	}
	for _, addr := range s.Addrs() {
		if !addr.Addr().IsLoopback() || addr.Port() != s.port {
			t.Errorf("%s is bound, want port %d on loopback alone", addr, s.port)
		}
	}
}

// What is no header of a node proxy about somebody who may come in is closed, and
// told: who it was, or says to be, what was asked for, and why.
func TestWhoIsNotBelievedInASandwichIsToldOf(t *testing.T) {
	s := startSandwich(t, true)
	update(t, s.Server, s.spec)
	const from = "10.1.0.1:51234"
	local := fromZtunnel(from, cartDoor, frontIdentity)
	local[12] = 0x20 // section 2.2: LOCAL
	unspec := fromZtunnel(from, cartDoor, frontIdentity)
	unspec[13] = 0 // AF_UNSPEC: ztunnel's for a client and a destination of two families
	tests := []struct {
		name string
		in   []byte
		want []string
	}{
		{"no header", []byte("GET / HTTP/1.1\r\n\r\n"), []string{`reason="no PROXY protocol header"`, "status=400", "peer=127.0.0.1:"}},
		{"version 1", []byte("PROXY TCP4 10.1.0.1 10.96.0.5 51234 80\r\n"), []string{"TLV 0xd0", "status=401", "peer=" + from, "target=" + cartDoor}},
		{"a malformed one", append(fromZtunnel(from, cartDoor, "")[:13], "\x11\x00\x01x"...), []string{"malformed PROXY", "status=400"}},
		{"LOCAL", local, []string{"LOCAL", "status=400", "peer=127.0.0.1:"}},
		{"addresses of no family", unspec, []string{"names no client", "status=400"}},
		{"no identity", fromZtunnel(from, cartDoor, ""), []string{"no identity", "status=401", "target=" + cartDoor}},
		{"no SPIFFE ID", fromZtunnel(from, cartDoor, "front"), []string{"another scheme", "status=401", "identity=front"}},
		{"two identities in one", fromZtunnel(from, cartDoor, frontIdentity+","+waypointIdentity), []string{"status=401"}},
		{"another trust domain", fromZtunnel(from, cartDoor, "spiffe://evil.local/ns/web/sa/front"),
			[]string{`reason="trust domain evil.local: want one of [cluster.local old.local]"`, "status=401", "identity=spiffe://evil.local/ns/web/sa/front"}},
		{"a destination without a door", fromZtunnel(from, "10.96.0.7:80", frontIdentity),
			[]string{`reason="nothing is served at 10.96.0.7:80"`, "status=404", "identity=" + frontIdentity, "peer=" + from}},
		{"another port of a door", fromZtunnel(from, "10.96.0.5:81", frontIdentity), []string{"nothing is served at 10.96.0.5:81"}},
	}
	for _, tt := range tests {
		c := connect(t, s.port)
		c.Write(tt.in)
		if got, _ := io.ReadAll(c); len(got) > 0 {
			t.Errorf("%s: answered with %q", tt.name, got)
		}
		line := s.log.await(t, "hop refused")
		for _, want := range tt.want {
			if !strings.Contains(line, want) {
				t.Errorf("%s: %s, want %s", tt.name, line, want)
			}
		}
	}
}

// The second lock, where the first is open (net.ipv4.conf.all.route_localnet lets
// packets of others come to 127.0.0.1).
func TestOnlyThePodItselfSpeaksForClients(t *testing.T) {
	s := startSandwich(t, true)
	update(t, s.Server, s.spec)
	h := &host{s.Server, &proxy.Bind{Key: s.Snapshot().Ports()[0].Key}}
	said, _, err := proxyproto.Parse(fromZtunnel("10.1.0.1:51234", cartDoor, frontIdentity))
	if err != nil {
		t.Fatal(err)
	}
	for from, want := range map[string]error{"127.0.0.1:4000": nil, "[::1]:4000": nil, "[::ffff:127.0.0.1]:4000": nil, "10.1.0.9:4000": errNotOurPod} {
		peer := &message.Peer{Remote: netip.MustParseAddrPort(from)}
		if _, err := h.lead(peer, said, nil); !errors.Is(err, want) {
			t.Errorf("from %s: %v, want %v", from, err, want)
		}
		if known := peer.Identity != ""; known != (want == nil) {
			t.Errorf("from %s: identity %q", from, peer.Identity)
		}
	}
	s.log.await(t, errNotOurPod.Error())
}

// Law 11: what a node proxy brings are bytes, of a gateway's own requests or those
// that it passes on for a client and has not read: X-Forwarded-For in them is
// believed of nobody.
func TestNobodysFieldsAreBelievedInASandwich(t *testing.T) {
	s := startSandwich(t, true)
	update(t, s.Server, s.spec)
	h := &host{s.Server, &proxy.Bind{Key: s.Snapshot().Ports()[0].Key}}
	for _, who := range []string{frontIdentity, waypointIdentity} {
		said, _, err := proxyproto.Parse(fromZtunnel("10.1.0.1:51234", cartDoor, who))
		if err != nil {
			t.Fatal(err)
		}
		peer := &message.Peer{Remote: netip.MustParseAddrPort("127.0.0.1:4000")}
		if _, err := h.lead(peer, said, nil); err != nil || peer.Gateway != "" || peer.Identity != who || peer.Vouch || peer.Local.String() != cartDoor {
			t.Errorf("%s: %+v, %v; want it known, and no gateway", who, peer, err)
		}
	}
}

// A route to the port itself would let its author say who the client is: the
// bytes of a stream are the client's, and come from the pod itself.
func TestGatewayDoesNotDialItsOwnTunnels(t *testing.T) {
	s := startSandwich(t, true)
	edge := openPort(t)
	for _, to := range []string{"127.0.0.1", "127.0.0.2", "0.0.0.0", "::1", "::", "::ffff:127.0.0.1"} {
		d := *s.spec
		d.Listeners = append(d.Listeners[:3:3], &routing.Listener{Name: "edge", Gateway: "shop/waypoint", Port: edge, Protocol: routing.TCP})
		d.Clusters = append(d.Clusters[:2:2], tcpCluster("evil"))
		d.Endpoints = append(d.Endpoints[:2:2], &routing.Endpoints{Cluster: "evil", List: []routing.Endpoint{
			{Addr: netip.AddrPortFrom(netip.MustParseAddr(to), s.port), Ready: true, Serving: true},
		}})
		d.Routes = []*routing.Route{streamRoute("evil", "edge", "*", "evil")}
		s.Update(&d)
		c := connect(t, edge)
		c.Write(fromZtunnel("10.1.0.1:51234", stockDoor, frontIdentity))
		if got, _ := io.ReadAll(c); len(got) > 0 {
			t.Errorf("by way of %s: %q", to, got)
		}
	}
	for to, want := range map[string]bool{"10.1.0.9": true, "127.0.0.1": false} {
		if err := s.ownTunnels(netip.AddrPortFrom(netip.MustParseAddr(to), s.port)); (err == nil) != want {
			t.Errorf("%s: %v", to, err)
		}
	}
	if err := s.ownTunnels(netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), edge)); err != nil {
		t.Error(err)
	}
}

// A pod that no node proxy captures does not send in plain text what it would
// reach by HBONE, nor believes headers: it goes on as if it were no sandwich.
func TestWhoIsNotCapturedIsInNoSandwich(t *testing.T) {
	s := startSandwich(t, false)
	problems := s.Update(s.spec)
	if len(problems) != 1 || problems[0].Reason != NoMeshIdentity || len(s.Addrs()) > 0 {
		t.Errorf("problems %v, bound %v; want %s and nothing", problems, s.Addrs(), NoMeshIdentity)
	}
	if s.opensNone(s.Snapshot()) {
		t.Error("hops are plain")
	}
}

// Where another Gateway of the process speaks HBONE itself, hops are made by it.
func TestHopsArePlainWhereAllOfItIsCaptured(t *testing.T) {
	s := startSandwich(t, true)
	for _, tt := range []struct {
		name  string
		ports map[uint16]uint16 // of HBONE, and their sandwiches
		want  bool
	}{
		{"no waypoint", nil, false},
		{"a sandwich", map[uint16]uint16{15008: 15088}, true},
		{"two", map[uint16]uint16{15008: 15088, 15009: 15089}, true},
		{"one of two", map[uint16]uint16{15008: 15088, 15009: 0}, false},
		{"none", map[uint16]uint16{15008: 0}, false},
	} {
		spec := &routing.Spec{Listeners: map[routing.ListenerName]*routing.Listener{"edge": {Name: "edge", Port: 80, Protocol: routing.HTTP}}}
		for port, sandwich := range tt.ports {
			name := routing.ListenerName(fmt.Sprint(port))
			spec.Listeners[name] = &routing.Listener{Name: name, Port: port, Protocol: routing.HBONE,
				Mesh: &routing.Mesh{TrustDomains: []string{"cluster.local"}, Sandwich: sandwich}}
		}
		snap, problems := routing.Compile(spec)
		if got := s.opensNone(snap); got != tt.want || len(problems) > 0 {
			t.Errorf("%s: %v, %v; want %v", tt.name, got, problems, tt.want)
		}
	}
}

// What a sandwich sends to another waypoint's Service it dials at the Service's
// address, in plain text: the node proxy knows the waypoint. It needs no identity.
func TestHopsOfASandwichAreDialledAtTheService(t *testing.T) {
	s := startSandwich(t, true)
	far := httpServer(t, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "far ", r.Host, " ", len(r.Header["X-Fairway-Source"]))
	})
	pod := netip.MustParseAddrPort("127.0.0.1:1") // of the other waypoint: nobody is there in plain text
	s.spec.Clusters = append(s.spec.Clusters[:1:1],
		tcpCluster("stock"),
		&routing.Cluster{Name: "web", Protocol: routing.UpstreamHTTP1, Hop: &routing.Hop{Gateway: "web/waypoint", Cluster: routing.WaypointCluster("web/waypoint"), Authority: far}},
		&routing.Cluster{Name: routing.WaypointCluster("web/waypoint"), Protocol: routing.UpstreamHTTP2})
	s.spec.Endpoints = append(s.spec.Endpoints, &routing.Endpoints{Cluster: routing.WaypointCluster("web/waypoint"), List: []routing.Endpoint{
		{Addr: pod, Ready: true, Serving: true, Identity: waypointIdentity},
	}})
	s.spec.Listeners[1].To = "web"
	update(t, s.Server, s.spec)
	for range 2 {
		c := connect(t, s.port)
		c.Write(append(fromZtunnel("10.1.0.1:51234", cartDoor, frontIdentity), "GET / HTTP/1.1\r\nHost: site.web\r\nConnection: close\r\n\r\n"...))
		if answer, err := io.ReadAll(c); err != nil || !bytes.HasSuffix(answer, []byte("far site.web 0")) {
			t.Errorf("%q, %v", answer, err)
		}
	}
}

// httpServer is a backend of HTTP; it returns its address.
func httpServer(t *testing.T, serve http.HandlerFunc) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: serve}
	var ended sync.WaitGroup
	ended.Go(func() { server.Serve(ln) })
	t.Cleanup(func() { server.Close(); ended.Wait() })
	return ln.Addr().String()
}
