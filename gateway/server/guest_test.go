package server

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"fairway.dev/gateway/hop"
	"fairway.dev/gateway/loop"
	"fairway.dev/gateway/message"
	"fairway.dev/gateway/proxy"
	"fairway.dev/gateway/telemetry"
	"fairway.dev/routing"
	"fairway.dev/tlsmgr/identity"
)

// chain is what an identity's certificate of ca looks like to its peers.
func chain(t *testing.T, ca *identity.CA, ttl time.Duration) []*x509.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		t.Fatal(err)
	}
	id := identity.ID{TrustDomain: "cluster.local", Namespace: "web", ServiceAccount: "front"}
	texts, err := ca.Sign(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: csr}), identity.Claim{ID: id, TTL: ttl})
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(texts[0])
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return []*x509.Certificate{cert}
}

func newTestCA(t *testing.T) *identity.CA {
	t.Helper()
	ca, err := identity.NewCA("cluster.local")
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

// Law 16: a certificate that is not believed any more opens nothing more on the
// connections that it has opened.
func TestConnectionsOutliveNoCertificate(t *testing.T) {
	ca, other := newTestCA(t), newTestCA(t)
	for _, tt := range []struct {
		name   string
		change func(l *loop.Loop, s *Server)
		why    string // empty: it is believed
	}{
		{"nothing", func(*loop.Loop, *Server) {}, ""},
		{"an hour later", func(l *loop.Loop, _ *Server) { l.Advance(time.Hour) }, ""},
		{"it has expired", func(l *loop.Loop, _ *Server) { l.Advance(3 * time.Hour) }, "expired at"},
		{"the gateway's own is another", func(_ *loop.Loop, s *Server) { s.trusts.Add(1) }, ""},
		{"its root is believed no more", func(_ *loop.Loop, s *Server) {
			s.options.Mesh.Roots = other.Bundle
			s.trusts.Add(1)
		}, "issued by"},
		{"nobody is believed", func(_ *loop.Loop, s *Server) {
			s.options.Mesh.Roots = func() *identity.Bundle { return nil }
			s.trusts.Add(1)
		}, "no bundle of roots"},
	} {
		l := loop.NewManual(time.Now())
		s := &Server{options: Options{Mesh: &Mesh{Roots: ca.Bundle}}}
		s.inForce.Store(&generation{number: 7, snapshot: emptySnapshot()})
		peer := &message.Peer{TLS: &tls.ConnectionState{PeerCertificates: chain(t, ca, 2*time.Hour)}}
		g := newGuest(&host{s: s}, l, peer)
		before := g.Generation()
		tt.change(l, s)
		why := ""
		if err := g.believed(); err != nil {
			why = err.Error()
		}
		if (why == "") != (tt.why == "") || !strings.Contains(why, tt.why) {
			t.Errorf("%s: refused for %q, want %q", tt.name, why, tt.why)
		}
		if tt.why != "" && g.Generation() == before {
			t.Errorf("%s: what was answered before holds on", tt.name)
		}
		if tt.why == "" {
			continue
		}
		if _, err := g.Tunnel(l, &hop.Arrival{Peer: peer}); err == nil {
			t.Errorf("%s: a tunnel is opened", tt.name)
		}
		if _, _, err := g.Exchange(l, &hop.Arrival{Peer: peer}); err == nil {
			t.Errorf("%s: a request is taken", tt.name)
		}
	}
}

// meshServer is a Server with an HBONE port that believes mesh, and doors.
func meshServer(t *testing.T, mesh *routing.Mesh, doors ...*routing.Listener) *Server {
	t.Helper()
	s := &Server{options: Options{Metrics: telemetry.New(telemetry.Options{Loops: 1})}}
	s.inForce.Store(&generation{number: 1, snapshot: meshSnapshot(t, mesh, doors...)})
	return s
}

func meshSnapshot(t *testing.T, mesh *routing.Mesh, doors ...*routing.Listener) *routing.Snapshot {
	t.Helper()
	port := &routing.Listener{Name: "shop/waypoint/mesh", Gateway: "shop/waypoint", Port: 15008, Protocol: routing.HBONE, Mesh: mesh}
	spec := &routing.Spec{Listeners: map[routing.ListenerName]*routing.Listener{port.Name: port}}
	for _, l := range doors {
		spec.Listeners[l.Name] = l
	}
	snap, problems := routing.Compile(spec)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	return snap
}

// doorOfCart is Service cart's.
func doorOfCart(protocol routing.Protocol, detect bool) *routing.Listener {
	return &routing.Listener{
		Name: "shop/waypoint/cart.shop:80", Gateway: "shop/waypoint", Inside: true, Addresses: []netip.Addr{netip.MustParseAddr("10.96.0.5")},
		Port: 80, Protocol: protocol, Detect: detect,
	}
}

// Whom a peer's connection has shown to be is looked at in the mesh as it is now.
func TestTrustDomainsThatAreNoMore(t *testing.T) {
	mesh := &routing.Mesh{TrustDomains: []string{"cluster.local", "old.example"}}
	s := meshServer(t, mesh, doorOfCart(routing.HTTP, false))
	h := &host{s, &proxy.Bind{Key: routing.PortKey{Port: 15008}}}
	a := &hop.Arrival{Peer: &message.Peer{Identity: "spiffe://old.example/ns/web/sa/front"}, Authority: "10.96.0.5:80"}
	if _, _, err := h.enter(a); err != nil {
		t.Errorf("a peer of an alias is refused: %v", err)
	}
	s.inForce.Store(&generation{number: 2, snapshot: meshSnapshot(t, &routing.Mesh{TrustDomains: []string{"cluster.local"}}, doorOfCart(routing.HTTP, false))})
	var why *hop.Refusal
	if _, _, err := h.enter(a); !errors.As(err, &why) || why.Status != 401 {
		t.Errorf("error %v, want a refusal: the alias is gone", err)
	}
}

// What a door does with connections follows its listener, and all of them leave
// with it.
func TestDoorsFollowTheirListeners(t *testing.T) {
	s := meshServer(t, &routing.Mesh{TrustDomains: []string{"cluster.local"}})
	var last *door
	for i, l := range []*routing.Listener{
		doorOfCart(routing.HTTP, false), doorOfCart(routing.HTTP, true), doorOfCart(routing.TCP, false), doorOfCart(routing.HTTP, false),
	} {
		snap := meshSnapshot(t, &routing.Mesh{TrustDomains: []string{"cluster.local"}}, l)
		port := snap.Door(netip.MustParseAddrPort("10.96.0.5:80"), "")
		d := s.door(port)
		if d != s.door(port) {
			t.Errorf("%d: one door is made twice", i)
		}
		if d.port.Detect != l.Detect || (d.port.Choose == nil) != (l.Protocol == routing.HTTP && !l.Detect) {
			t.Errorf("%d: %s, detect %v: the door before is kept", i, l.Protocol, l.Detect)
		}
		if last != nil && (d == last || d.bind != last.bind || d.port.Mark != d.bind) {
			t.Errorf("%d: want another door, of the same mark", i)
		}
		last = d
	}
}
