package upstream

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"fairway.dev/gateway/hop"
	"fairway.dev/gateway/message"
	"fairway.dev/routing"
)

// routing.Endpoint.Identity: ztunnel takes tunnels for the pod, at port 15008.
func TestPodsOfTheMeshAreReachedInTunnels(t *testing.T) {
	s := newStage(t, 1)
	c := s.meshed(routing.Cluster{Name: "c", Protocol: routing.UpstreamHTTP1}, cartIdentity, 1)
	a := s.settled(c, Wait{Client: peer("10.1.0.1:1000")})
	a.client.end()
	if b := s.settled(c, Wait{Client: peer("10.1.0.2:1000")}); b.client != a.client {
		t.Error("clients do not share the gateway's connections")
	}
	want := hop.Target{Addr: netip.AddrPortFrom(addr(1).Addr(), 15008), Identity: cartIdentity, Authority: addr(1).String()}
	if got := *s.dials[0].hop; got != want {
		t.Errorf("dialled %+v, want %+v", got, want)
	}
	w := s.stream(c, Streams, 1, peer("10.1.0.1:1000"))
	if got := *s.dials[1].hop; w.conn == nil || got != want {
		t.Errorf("a stream dialled %+v, want %+v", got, want)
	}
	s.end(w)
}

func TestPodsOfTheMeshSpeakHTTP2WhereTheirClusterDoes(t *testing.T) {
	s := newStage(t, 1)
	c := s.meshed(routing.Cluster{Name: "c", Protocol: routing.UpstreamHTTP2}, cartIdentity, 1)
	if x := s.settled(c, Wait{}); x.client.proto != message.HTTP2 || x.client.ev.Gateway {
		t.Errorf("%s inside, to a gateway: %v; want HTTP/2, false", x.client.proto, x.client.ev.Gateway)
	}
}

func TestHeadersGoInsideTheTunnel(t *testing.T) {
	s := newStage(t, 1)
	c := s.meshed(routing.Cluster{Name: "c", ProxyProtocol: 1}, cartIdentity, 1)
	w := s.stream(c, Streams, 1, peer("192.0.2.7:51234"))
	far := &bytesRead{}
	s.dials[0].far.Handle(far)
	s.settle()
	if got := string(far.got); !strings.HasPrefix(got, "PROXY TCP4 192.0.2.7 198.51.100.1 51234 443\r\n") {
		t.Errorf("the tunnel begins with %q", got)
	}
	s.end(w)
}

// bytesRead keeps what a connection brings.
type bytesRead struct {
	nothing
	got []byte
}

func (b *bytesRead) Data(p []byte) { b.got = append(b.got, p...) }
func (b *bytesRead) EOF()          {}
func (b *bytesRead) Closed(error)  {}

func TestAnotherIdentityIsAnotherEndpoint(t *testing.T) {
	s := newStage(t, 1)
	c := s.cluster(routing.Cluster{}, 1)
	plain := s.get(c, s.loops[0])
	plain.client.end()
	s.meshed(routing.Cluster{Name: "c", Protocol: routing.UpstreamHTTP1}, cartIdentity, 1)
	s.settle()
	if !plain.client.closed {
		t.Error("a plain connection outlives that the pod joined the mesh")
	}
	x := s.settled(c, Wait{})
	if d := s.dials[1]; d.hop == nil || d.hop.Identity != cartIdentity {
		t.Errorf("dialled %+v, want a tunnel", d.hop)
	}
	x.client.end()
	s.meshed(routing.Cluster{Name: "c", Protocol: routing.UpstreamHTTP1}, webIdentity, 1)
	s.settle()
	if s.settled(c, Wait{}); !x.client.closed || s.dials[2].hop.Identity != webIdentity {
		t.Error("a connection outlives the identity that it was made to")
	}
}

func TestPodBehindZtunnelThatTakesNoConnectionsIsEjected(t *testing.T) {
	s := newStage(t, 1)
	c := s.meshed(routing.Cluster{Name: "c", Protocol: routing.UpstreamHTTP1}, cartIdentity, 1, 2)
	s.answer[netip.AddrPortFrom(addr(1).Addr(), routing.HBONEPort)] = &hop.Refusal{Status: 503, Reason: "connection refused"}
	for range defaultConsecutive {
		s.ask(c, Wait{})
		s.settle()
	}
	if got := s.stat(1).Health; got != Ejected {
		t.Errorf("health %s after %d refusals, want ejected", got, defaultConsecutive)
	}
}

func TestHealthChecksOfTheMeshGoThroughTunnels(t *testing.T) {
	s := newStage(t, 1)
	s.meshed(routing.Cluster{Name: "c", Health: &routing.HealthCheck{Port: 9000}}, cartIdentity, 1)
	s.meshed(routing.Cluster{Name: routing.WaypointCluster("shop/waypoint"), Health: &routing.HealthCheck{HTTP: &routing.HTTPCheck{}}}, waypointIdentity, 2)
	s.run(2 * time.Second)
	if len(s.dials) < 2 {
		t.Fatalf("%d checks, want two", len(s.dials))
	}
	for _, d := range s.dials {
		switch {
		case d.hop != nil:
			if d.hop.Authority != "10.0.0.1:9000" || d.hop.Identity != cartIdentity {
				t.Errorf("the pod is checked at %+v", d.hop)
			}
		case d.addr != addr(2) || d.config != nil:
			t.Errorf("checked by TCP at %s with %v, want the waypoint alone, plain", d.addr, d.config)
		}
	}
	if len(s.clients) > 0 {
		t.Error("the waypoint is asked for HTTP without HBONE")
	}
	s.set.o.Hop = nil
	s.run(20 * time.Second)
	if got := s.stat(1).Check; got != errNoMesh.Error() {
		t.Errorf("without an identity of our own the check says %q", got)
	}
}
