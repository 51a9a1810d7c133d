package upstream

import (
	"context"
	"crypto/tls"
	"encoding/pem"
	"net"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"fairway.dev/gateway/loop"
	"fairway.dev/routing"
)

// TestDialFromOutside holds that a connection for who is not on a loop is made
// as the cluster says: to who answers, with TLS where it is asked for.
func TestDialFromOutside(t *testing.T) {
	secure := httptest.NewTLSServer(nil)
	defer secure.Close()
	at := netip.MustParseAddrPort(secure.Listener.Addr().String())
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	refuses := netip.MustParseAddrPort(closed.Addr().String())
	closed.Close()
	roots := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secure.Certificate().Raw})

	s := NewSet(Options{Loops: []*loop.Loop{loop.NewManual(time.Now())}})
	put := func(name routing.ClusterName, tls *routing.UpstreamTLS, addrs ...netip.AddrPort) {
		s.Put(&routing.Cluster{Name: name, TLS: tls})
		e := &routing.Endpoints{Cluster: name}
		for _, a := range addrs {
			e.List = append(e.List, routing.Endpoint{Addr: a, Ready: true, Serving: true})
		}
		s.PutEndpoints(e)
	}
	put("plain", nil, refuses, at)
	put("secure", &routing.UpstreamTLS{ServerName: "example.com", Roots: roots}, at)
	put("other name", &routing.UpstreamTLS{ServerName: "example.org", Roots: roots}, at)
	put("closed", nil, refuses)
	put("empty", nil)
	put("mesh/shop/waypoint", nil, at)
	put("captured", nil)
	s.PutEndpoints(&routing.Endpoints{Cluster: "captured", List: []routing.Endpoint{{Addr: at, Ready: true, Identity: cartIdentity}}})
	put("enrolled", nil, at)
	s.Put(&routing.Cluster{Name: "enrolled", Hop: &routing.Hop{Gateway: "shop/waypoint"}})
	put("enrolled for doors", nil, at)
	s.Put(&routing.Cluster{Name: "enrolled for doors", Hop: &routing.Hop{Gateway: "shop/waypoint", Inside: true}})
	for name, want := range map[routing.ClusterName]string{
		"plain": "", "secure": "", "other name": "not example.org", "closed": "refused", "empty": "no endpoint is ready", "none": `no cluster "none"`,
		"mesh/shop/waypoint": "reached in tunnels", "captured": "reached in tunnels",
		"enrolled": "by way of shop/waypoint", "enrolled for doors": "",
	} {
		conn, err := s.Dial(context.Background(), name, "http/1.1")
		if err == nil {
			defer conn.Close()
		}
		switch {
		case want == "" && err != nil, want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%s: %v, want %q", name, err, want)
		case name == "secure":
			if p := conn.(*tls.Conn).ConnectionState().NegotiatedProtocol; p != "http/1.1" {
				t.Errorf("secure: ALPN chose %q", p)
			}
		}
	}
}
