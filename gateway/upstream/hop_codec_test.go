package upstream

import (
	"crypto/tls"
	"crypto/x509"
	"net/netip"
	"net/url"
	"testing"
	"time"

	"fairway.dev/gateway/hop"
	"fairway.dev/gateway/http1"
	"fairway.dev/gateway/http2"
	"fairway.dev/gateway/loop"
	"fairway.dev/gateway/message"
	"fairway.dev/routing"
)

// A far is a waypoint with the real HBONE, in memory: what comes to it is a
// backend's.
type far struct {
	backend
	alpn     string // hop.Native, or h2 of a stranger
	h2c      bool   // is in its tunnels
	arrivals []hop.Arrival
}

func (f *far) Generation() uint64 { return 1 }

func (f *far) Tunnel(_ *loop.Loop, a *hop.Arrival) (func(*hop.Conn), error) {
	f.arrivals = append(f.arrivals, *a)
	return func(c *hop.Conn) {
		if f.h2c {
			c.Handle(http2.NewServer(c, &message.Peer{}, f, nil))
		} else {
			c.Handle(http1.NewServer(c, &message.Peer{}, f, nil))
		}
		c.Accept()
	}, nil
}

// host is a far as a hop.Host, whose Exchange is another than a Handler's.
type host struct{ *far }

func (h host) Exchange(_ *loop.Loop, a *hop.Arrival) (*message.Peer, message.Handler, error) {
	h.arrivals = append(h.arrivals, *a)
	return &message.Peer{Remote: a.Client, Identity: a.Source}, h.far, nil
}

// hopThrough makes the stage speak HBONE to a far, with real codecs.
func (s *stage) hopThrough(f *far) {
	id, err := url.Parse("spiffe://cluster.local/ns/edge/sa/gateway")
	if err != nil {
		s.t.Fatal(err)
	}
	peer := tls.ConnectionState{PeerCertificates: []*x509.Certificate{{URIs: []*url.URL{id}}}, NegotiatedProtocol: f.alpn}
	s.set.o.NewClient = s.set.o.newClient
	s.set.o.Hop = hop.NewDialer(hop.DialerOptions{
		TLS: func(string) *tls.Config { return &tls.Config{} },
		Dial: func(l *loop.Loop, _ netip.AddrPort, _ loop.Opening, _ time.Duration, done func(hop.Conner, string, error)) func() {
			l.Defer(func() {
				ours, theirs := loop.Pipe(l)
				theirs.Handle(hop.NewServer(theirs, &message.Peer{TLS: &peer}, hop.ServerOptions{Host: host{f}}))
				done(ours, f.alpn, nil)
			})
			return func() { panic("nobody cancels here") }
		},
	})
}

// A hopped is a request that says what its waypoint is to know.
type hopped struct {
	visit
	req message.Request
}

func (h *hopped) Connected(conn message.Client, reused bool) {
	h.reused = reused
	conn.Open(&h.req, h.req.Upgrade == "", h)
}

func (s *stage) hop(c *Cluster, inside routing.Upstream, upgrade string) *hopped {
	h := &hopped{req: message.Request{
		Method: "GET", Scheme: "http", Authority: "cart", Path: "/", Proto: message.HTTP11, Upgrade: upgrade,
		Hop: message.Hop{Target: cartAddress, Source: webIdentity, Client: netip.MustParseAddrPort("10.1.0.1:1000")},
	}}
	h.Waiter, h.Inside = h, inside
	h.Authority, h.Source, h.Client = h.req.Hop.Target, h.req.Hop.Source, peer("10.1.0.1:1000")
	c.Connect(s.loops[0], s.endpoint(c, 1), &h.Wait)
	s.settle()
	return h
}

func TestRequestsReachWaypointsThroughRealCodecs(t *testing.T) {
	for name, f := range map[string]*far{
		"a gateway of the fleet": {alpn: hop.Native}, "a stranger": {alpn: "h2"}, "a stranger, h2c inside": {alpn: "h2", h2c: true},
	} {
		inside := routing.UpstreamHTTP1
		if f.h2c {
			inside = routing.UpstreamHTTP2
		}
		s := newStage(t, 1)
		s.hopThrough(f)
		c := s.waypoints(1)
		for i := range 3 {
			h := s.hop(c, inside, "")
			if len(f.streams) == 0 {
				t.Fatalf("%s: request %d did not arrive: %v", name, i, h.err)
			}
			f.answer()
			s.settle()
			if h.status != 200 || h.reused != (i > 0) {
				t.Errorf("%s: request %d has status %d, reused %v", name, i, h.status, h.reused)
			}
		}
		if a := f.arrivals[0]; len(f.arrivals) != 1 || a.Authority != cartAddress || a.Peer.Identity == "" {
			t.Errorf("%s: %d arrivals, the first %+v; want one, to %s", name, len(f.arrivals), a, cartAddress)
		}
		if a := f.arrivals[0]; f.alpn == hop.Native && (a.Source != webIdentity || a.Client.Port() != 1000) {
			t.Errorf("%s: is told of %s at %s", name, a.Source, a.Client)
		}
	}
}

// A WebSocket may be the first that goes over a connection: a gateway of the
// fleet takes RFC 8441 before its SETTINGS have come.
func TestUpgradeIsTheFirstRequestToAGateway(t *testing.T) {
	f := &far{alpn: hop.Native}
	s := newStage(t, 1)
	s.hopThrough(f)
	if h := s.hop(s.waypoints(1), "", "websocket"); len(f.streams) != 1 {
		t.Errorf("the request did not arrive: %v, status %d", h.err, h.status)
	}
}
