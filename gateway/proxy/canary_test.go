package proxy

import (
	"net/netip"
	"testing"

	"fairway.dev/gateway/message"
	"fairway.dev/routing"
)

// routing.Hop.Canary: who hops chooses, and so does a waypoint for the workloads
// whose own it is; what has come from a gateway, which has chosen, goes straight.
func TestCanariesTakeTheirShare(t *testing.T) {
	own := message.Peer{Identity: "spiffe://cluster.local/ns/web/sa/front", Vouch: true, Remote: netip.MustParseAddrPort("10.1.1.1:999")}
	hopped := own
	hopped.Gateway = "spiffe://cluster.local/ns/web/sa/waypoint"
	for _, tt := range []struct {
		name    string
		gateway string
		percent uint8
		peer    message.Peer
		port    uint16 // 1: straight, 11: the waypoint; 0: the canary, which has no cluster here
	}{
		{"another waypoint", "web/waypoint", 0, own, 11},
		{"another waypoint, all for the canary", "web/waypoint", 100, own, 0},
		{"the waypoint", "shop/waypoint", 0, own, 1},
		{"the waypoint, all for the canary", "shop/waypoint", 100, own, 0},
		{"the waypoint, which somebody has chosen", "shop/waypoint", 100, hopped, 1},
		{"the waypoint, by a tunnel of nobody's", "shop/waypoint", 100, message.Peer{}, 1},
		{"the canary", "shop/next", 100, own, 1},
		{"the canary, nothing for it", "shop/next", 0, own, 11},
		{"the canary, which somebody has chosen", "shop/next", 0, hopped, 1},
	} {
		s := newStage(t, to("a"))
		l := listener
		l.Gateway, l.Inside, l.Addresses = tt.gateway, true, []netip.Addr{netip.MustParseAddr("10.96.0.5")}
		s.bind.Key = routing.PortKey{Addr: l.Addresses[0], Port: 80, Inside: true}
		spec := specOn([]*routing.Listener{&l}, routing.Rule{Action: to("a")})
		spec.Clusters["a"].Hop = &routing.Hop{
			Gateway: "shop/waypoint", Cluster: "b", Authority: "10.96.0.5:80", Canary: &routing.Canary{Gateway: "shop/next", Percent: tt.percent},
		}
		s.put(spec)
		c := s.getAs(tt.peer, "/")
		if tt.port == 0 {
			if c.resp.Status != 503 {
				t.Errorf("%s: status %d, want 503 as the canary is not there", tt.name, c.resp.Status)
			}
			continue
		}
		call := s.only()
		if straight := call.port <= 3; straight != (tt.port == 1) || (call.req.Hop.Target == "") != straight {
			t.Errorf("%s: port %d, told %+v; want port %d", tt.name, call.port, call.req.Hop, tt.port)
		}
		call.reply(200, "ok")
	}
}

// What the client speaks is told, for backends to which requests go as they came.
func TestHopsTellWhatTheClientSpeaks(t *testing.T) {
	s := newStage(t, to("a"))
	spec := specOn([]*routing.Listener{&listener}, routing.Rule{Action: to("a")})
	spec.Clusters["a"].Hop = &routing.Hop{Gateway: "shop/waypoint", Cluster: "b", Authority: "10.96.0.5:80"}
	s.put(spec)
	s.getAs(message.Peer{}, "/")
	call := s.only()
	if !call.req.Hop.Old {
		t.Errorf("of a request of HTTP/1.1 it is told %+v, want Old", call.req.Hop)
	}
	call.reply(200, "ok")
	for _, tt := range []struct {
		req  message.Request
		want message.Proto
	}{
		{message.Request{Proto: message.HTTP2}, message.HTTP2},
		{message.Request{Proto: message.HTTP2, Old: true}, message.HTTP11},
		{message.Request{Proto: message.HTTP10}, message.HTTP10},
	} {
		if got := tt.req.Spoken(); got != tt.want {
			t.Errorf("%+v was spoken in %s, want %s", tt.req, got, tt.want)
		}
	}
}
