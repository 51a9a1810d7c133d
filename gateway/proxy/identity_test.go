package proxy

import (
	"regexp"
	"testing"

	"fairway.dev/gateway/message"
	"fairway.dev/routing"
)

// Law 11 of the design: what a client says of its own identity is not believed.
func TestEdgeBelievesNothing(t *testing.T) {
	s := newStage(t, to("a"))
	s.get("/", "X-Forwarded-For: 6.6.6.6", "x-forwarded-for: 7.7.7.7", "X-Forwarded-Proto: https",
		"X-Forwarded-Host: evil", "X-Forwarded-Port: 1", "X-Forwarded-Client-Cert: By=me", "x-forwarded-anything: 1",
		"X-Real-IP: 6.6.6.6", "Forwarded: for=6.6.6.6", "X-Envoy-External-Address: 6.6.6.6", "x-ENVOY-retry-on: 5xx",
		"X-Fairway-Hop: 1", "Baggage: a=b", "X-Request-ID: mine", "HTTP2-Settings: x",
		"X-Forwarde: stays", "X: stays", "Traceparent: stays")
	b := s.only()
	for name, want := range map[string]string{
		"x-forwarded-for": "192.0.2.7", "x-forwarded-proto": "http",
		"x-forwarded-host": "", "x-forwarded-port": "", "x-forwarded-client-cert": "", "x-forwarded-anything": "",
		"x-real-ip": "", "forwarded": "", "x-envoy-external-address": "", "x-envoy-retry-on": "",
		"x-fairway-hop": "", "baggage": "", "http2-settings": "",
		"x-forwarde": "stays", "x": "stays", "traceparent": "stays",
	} {
		if got := b.header(name); got != want {
			t.Errorf("%s: %q went to the backend, want %q", name, got, want)
		}
	}
	id := regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)
	if got := b.header("x-request-id"); !id.MatchString(got) {
		t.Errorf("x-request-id: %q, want a random UUID", got)
	}
	b.reply(200, "")
}

// CGI, WSGI and PHP make one variable of "X-Forwarded-For" and
// "X_Forwarded_For": to them the second is the first.
func TestUnderscoresAreNoWayAround(t *testing.T) {
	s := newStageWith(t, Options{TrustedHops: 1}, routing.Rule{Action: to("a")})
	lies := []string{"X_Forwarded_For", "x-forwarded_proto", "X_Forwarded_Client_Cert", "x_real_ip", "X-Real_IP",
		"X_Request_ID", "x_envoy_peer", "X_Fairway_Hop"}
	lines := []string{"X_Forward: stays", "X_Real_IPv6: stays"}
	for _, name := range lies {
		lines = append(lines, name+": lie")
	}
	s.get("/", lines...)
	b := s.only()
	for _, f := range b.req.Fields {
		if f.Value == "lie" {
			t.Errorf("%s went to the backend", f.Text)
		}
	}
	if b.header("x_forward") != "stays" || b.header("x_real_ipv6") != "stays" {
		t.Errorf("fields %v, want those that are not ours among them", b.req.Fields)
	}
	b.reply(200, "")
}

// Backends may merge trailers into the header section (RFC 9110 section
// 6.5.1): that must be no way around either.
func TestTrailersAreNoWayAround(t *testing.T) {
	s := newStage(t, to("a"))
	c := s.request("POST", "/").open()
	c.finish("X-Forwarded-For: 6.6.6.6", "X-Sum: 1", "X-Real-IP: 6.6.6.6", "Forwarded: for=6.6.6.6", "Baggage: a=b",
		"X-Request-ID: mine", "X-Forwarded-Client-Cert: By=me", "X-Forwarded-Proto: https", "X-Forwarded-Host: evil", "X-Forwarded-Port: 1")
	b := s.only()
	if got := b.trailers; len(got) != 1 || got[0].Text != "X-Sum" {
		t.Errorf("trailers %v went to the backend, want X-Sum alone", got)
	}
	b.reply(200, "")
}

func TestTrustedHops(t *testing.T) {
	tests := []struct {
		hops int
		list []string
		want string
	}{
		{1, nil, "192.0.2.7"},
		{1, []string{"6.6.6.6, 203.0.113.9"}, "203.0.113.9, 192.0.2.7"},
		{2, []string{"6.6.6.6, 203.0.113.9 ,10.0.0.2"}, "203.0.113.9 ,10.0.0.2, 192.0.2.7"},
		{2, []string{"6.6.6.6", "203.0.113.9", "10.0.0.2"}, "203.0.113.9, 10.0.0.2, 192.0.2.7"},
		{3, []string{"203.0.113.9"}, "203.0.113.9, 192.0.2.7"},
	}
	for _, tt := range tests {
		s := newStageWith(t, Options{TrustedHops: tt.hops}, routing.Rule{Action: to("a")})
		var lines []string
		for _, v := range tt.list {
			lines = append(lines, "X-Forwarded-For: "+v)
		}
		s.get("/", lines...)
		if got := s.only().header("x-forwarded-for"); got != tt.want {
			t.Errorf("%d hops, %q: %q, want %q", tt.hops, tt.list, got, tt.want)
		}
		s.only().reply(200, "")
	}
}

func TestTrustedProxysWord(t *testing.T) {
	s := newStageWith(t, Options{TrustedHops: 1}, routing.Rule{Action: to("a")})
	s.get("/", "X-Forwarded-Proto: https", "X-Forwarded-Host: outer.example", "X-Forwarded-Port: 443",
		"X-Request-ID: theirs", "X-Envoy-Peer: x", "Forwarded: for=1.2.3.4", "X-Forwarded-Client-Cert: By=me")
	b := s.only()
	for name, want := range map[string]string{
		"x-forwarded-proto": "https", "x-forwarded-host": "outer.example", "x-forwarded-port": "443",
		"x-request-id": "theirs", "x-envoy-peer": "", "forwarded": "", "x-forwarded-client-cert": "",
	} {
		if got := b.header(name); got != want {
			t.Errorf("%s: %q went to the backend, want %q", name, got, want)
		}
	}
	b.reply(200, "")
}

func TestNonsenseOfATrustedProxyIsReplaced(t *testing.T) {
	s := newStageWith(t, Options{TrustedHops: 1}, routing.Rule{Action: to("a")})
	long := make([]byte, maxRequestID+1)
	for i := range long {
		long[i] = 'x'
	}
	s.get("/", "X-Forwarded-Proto: gopher", "X-Request-ID: "+string(long))
	b := s.only()
	if b.header("x-forwarded-proto") != "http" || len(b.header("x-request-id")) != 36 {
		t.Errorf("X-Forwarded-Proto %q, X-Request-ID %q", b.header("x-forwarded-proto"), b.header("x-request-id"))
	}
	b.reply(200, "")
}

func TestRequestIDsDiffer(t *testing.T) {
	s := newStage(t, to("a"))
	seen := map[string]bool{}
	for i := range 100 {
		s.get("/")
		seen[s.call(i).header("x-request-id")] = true
		s.call(i).reply(200, "")
		s.loop.Settle()
	}
	if len(seen) != 100 {
		t.Errorf("100 requests got %d ids", len(seen))
	}
}

func TestRoutesMayMatchWhatTheGatewaySays(t *testing.T) {
	match := routing.Match{Headers: []routing.ValueMatch{{Name: "x-forwarded-proto", Value: "http"}}}
	s := newStageWith(t, Options{}, routing.Rule{Matches: []routing.Match{match}, Action: to("a")})
	s.get("/", "X-Forwarded-Proto: https")
	s.only().reply(200, "")
}

func TestIsGRPC(t *testing.T) {
	for value, want := range map[string]bool{
		"application/grpc": true, "application/grpc+proto": true, "application/grpc;x=y": true, "Application/GRPC": true,
		"application/grpc-web": false, "application/json": false, "": false,
	} {
		if got := isGRPC(value); got != want {
			t.Errorf("isGRPC(%q) = %v, want %v", value, got, want)
		}
	}
}

func TestHostOf(t *testing.T) {
	for authority, want := range map[string]string{
		"shop.example": "shop.example", "shop.example:80": "shop.example", "shop.example:": "shop.example",
		"[::1]": "[::1]", "[::1]:80": "[::1]", "": "",
	} {
		if got := hostOf(authority); got != want {
			t.Errorf("hostOf(%q) = %q, want %q", authority, got, want)
		}
	}
}

func TestHostIsMatchedInLowerCaseWithoutPort(t *testing.T) {
	s := newStage(t, to("a"))
	l := listener
	l.Hostname = "shop.example"
	s.serveOn([]*routing.Listener{&l}, routing.Rule{Action: to("a")})
	for i, host := range []string{"shop.example", "Shop.EXAMPLE:8080", "shop.example."} {
		s.get("/", "Host: "+host)
		if got := s.call(i).req.Authority; got != host {
			t.Errorf("the backend got authority %q, want it as sent, %q", got, host)
		}
		s.call(i).reply(200, "")
		s.loop.Settle()
	}
	if c := s.get("/", "Host: other.example"); c.resp.Status != 404 {
		t.Errorf("another host: %d, want 404", c.resp.Status)
	}
	c := s.request("GET", "/", "Host: ")
	c.req.Proto = message.HTTP10
	if c.send(); c.resp.Status != 404 {
		t.Errorf("no host: %d, want 404", c.resp.Status)
	}
}
