package proxy

import (
	"net/netip"
	"testing"

	"fairway.dev/routing"
)

func TestRedirect(t *testing.T) {
	tests := []struct {
		redirect routing.Redirect
		port     uint16 // of the listener
		tls      bool
		url      string // host and target of the request
		want     string
	}{
		// HTTPRequestRedirectFilter.port: no scheme, so the listener's port,
		// which is left out where it is the scheme's own.
		{routing.Redirect{Host: "example.org"}, 80, false, "h/x", "http://example.org/x"},
		{routing.Redirect{Host: "example.org"}, 8080, false, "h/x", "http://example.org:8080/x"},
		{routing.Redirect{Host: "example.org"}, 443, true, "h/x", "https://example.org/x"},
		{routing.Redirect{Host: "example.org"}, 8443, true, "h/x", "https://example.org:8443/x"},
		// A scheme brings its own port.
		{routing.Redirect{Scheme: "https"}, 8080, false, "h:8080/x", "https://h/x"},
		{routing.Redirect{Scheme: "http"}, 8443, true, "h:8443/x", "http://h/x"},
		// A port counts before all that.
		{routing.Redirect{Port: 80}, 8080, false, "h/x", "http://h/x"},
		{routing.Redirect{Port: 8083}, 80, false, "h/x", "http://h:8083/x"},
		{routing.Redirect{Port: 8443, Scheme: "https"}, 80, false, "h/x", "https://h:8443/x"},
		{routing.Redirect{Port: 443, Scheme: "https"}, 8080, false, "h/x", "https://h/x"},
		{routing.Redirect{Port: 443}, 80, false, "h/x", "http://h:443/x"},
		{routing.Redirect{Port: 80, Scheme: "https"}, 80, false, "h/x", "https://h:80/x"},
		// The host of the request, without its port.
		{routing.Redirect{}, 80, false, "shop.example:9000/x", "http://shop.example/x"},
		{routing.Redirect{}, 80, false, "[::1]:9000/x", "http://[::1]/x"},
		{routing.Redirect{}, 80, false, "[::1]/x", "http://[::1]/x"},
		{routing.Redirect{}, 8080, false, "/x", "http://192.0.2.1:8080/x"}, // HTTP/1.0 need not name one
		// HTTPRedirect without a port: that of the authority, but none that is
		// the own port of the scheme that is left.
		{routing.Redirect{PortFrom: routing.RedirectPortAuthority}, 80, false, "h:9000/x", "http://h:9000/x"},
		{routing.Redirect{PortFrom: routing.RedirectPortAuthority}, 8080, false, "h/x", "http://h/x"},
		{routing.Redirect{PortFrom: routing.RedirectPortAuthority, Scheme: "https"}, 80, false, "h:80/x", "https://h/x"},
		{routing.Redirect{PortFrom: routing.RedirectPortAuthority, Scheme: "http"}, 443, true, "h:443/x", "http://h/x"},
		{routing.Redirect{PortFrom: routing.RedirectPortAuthority, Scheme: "https"}, 80, false, "[::1]:9000/x", "https://[::1]:9000/x"},
		{routing.Redirect{PortFrom: routing.RedirectPortAuthority, Host: "example.org"}, 80, false, "h:9000/x", "http://example.org/x"},
		// FROM_PROTOCOL_DEFAULT and FROM_REQUEST_PORT.
		{routing.Redirect{PortFrom: routing.RedirectPortScheme}, 8080, false, "h:8080/x", "http://h/x"},
		{routing.Redirect{PortFrom: routing.RedirectPortListener, Scheme: "https"}, 8080, false, "h:9000/x", "https://h:8080/x"},
		{routing.Redirect{PortFrom: routing.RedirectPortListener, Scheme: "https"}, 443, true, "h/x", "https://h/x"},
		// Paths; the query stays.
		{routing.Redirect{Path: routing.PathEdit{Matched: ptr("/new")}}, 80, false, "h/x/y?q=1", "http://h/new/y?q=1"},
		{routing.Redirect{Path: routing.PathEdit{Full: ptr("/full")}}, 80, false, "h/x/y?q=1", "http://h/full?q=1"},
		{routing.Redirect{Path: routing.PathEdit{Prefix: ptr("/new")}}, 80, false, "h/x/y?q=1", "http://h/new/y?q=1"},
		{routing.Redirect{Path: routing.PathEdit{Prefix: ptr("/")}}, 80, false, "h/x", "http://h/"},
	}
	for _, tt := range tests {
		r := tt.redirect
		r.Status = 302
		s := newStage(t, to("a"))
		s.tls = tt.tls
		l := listener
		l.Port = tt.port
		if tt.tls {
			l.Protocol, l.TLS = routing.HTTPS, &routing.ListenerTLS{}
		}
		s.bind.Key.Port = tt.port
		s.serveOn([]*routing.Listener{&l}, routing.Rule{
			Matches: []routing.Match{{Path: routing.PathMatch{Value: "/x"}}},
			Action:  routing.Action{Redirect: &r},
		})
		host, target := tt.url[:len(tt.url)-len(targetOf(tt.url))], targetOf(tt.url)
		c := s.get(target, "Host: "+host)
		if c.resp.Status != 302 || c.field("location") != tt.want || c.body != "" || !c.ended {
			t.Errorf("%+v on port %d, %s: %d to %s, want 302 to %s",
				tt.redirect, tt.port, tt.url, c.resp.Status, c.field("location"), tt.want)
		}
	}
}

func targetOf(url string) string {
	for i := range url {
		if url[i] == '/' {
			return url[i:]
		}
	}
	return ""
}

func TestRedirectCodes(t *testing.T) {
	for _, code := range []int{301, 302, 303, 307, 308} {
		s := newStage(t, routing.Action{Redirect: &routing.Redirect{Status: code, Host: "o"}})
		c := s.get("/")
		s.want(c, code, "")
	}
}

func TestAppendHost(t *testing.T) {
	for addr, want := range map[string]string{"10.0.0.1": "10.0.0.1", "2001:db8::1": "[2001:db8::1]", "fe80::1%eth0": "[fe80::1]"} {
		if got := string(appendHost(nil, netip.MustParseAddr(addr))); got != want {
			t.Errorf("appendHost(%s) = %s, want %s", addr, got, want)
		}
	}
}

// RFC 9112 section 3.2.4: OPTIONS * is about the server, not about a path.
func TestRedirectOfTheServerAsAWhole(t *testing.T) {
	s := newStage(t, routing.Action{Redirect: &routing.Redirect{Status: 302, Host: "o.example"}})
	if c := s.request("OPTIONS", "*").send(); c.field("location") != "http://o.example/" {
		t.Errorf("location %q, want http://o.example/", c.field("location"))
	}
}

func TestRedirectOfOneBackend(t *testing.T) {
	a := to("a")
	a.Backends[0] = routing.Backend{Weight: 1, Redirect: &routing.Redirect{Status: 302, Host: "old.example"}}
	a.Response = routing.HeaderChange{Set: []routing.Header{{Name: "X-A", Value: "1"}}}
	s := newStage(t, a)
	if c := s.get("/"); c.field("location") != "http://old.example/" || c.field("x-a") != "1" {
		t.Errorf("location %q, X-A %q", c.field("location"), c.field("x-a"))
	}
}

// A proxy in front of us that ends TLS says what the client used.
func TestRedirectBehindATrustedProxy(t *testing.T) {
	s := newStageWith(t, Options{TrustedHops: 1},
		routing.Rule{Action: routing.Action{Redirect: &routing.Redirect{Status: 302, Path: routing.PathEdit{Full: ptr("/n")}}}})
	if c := s.get("/", "X-Forwarded-Proto: https"); c.field("location") != "https://shop.example/n" {
		t.Errorf("location %q, want https://shop.example/n", c.field("location"))
	}
}

// ServerTLSSettings.httpsRedirect: every request, whatever the routes.
func TestListenerThatRedirectsToHTTPS(t *testing.T) {
	tests := []struct{ url, forwarded, want string }{
		{"shop.example/x?q=1", "", "https://shop.example/x?q=1"},
		{"shop.example/nowhere", "", "https://shop.example/nowhere"},
		{"shop.example:80/x", "", "https://shop.example/x"},
		{"shop.example:8080/x", "", "https://shop.example:8080/x"},
		{"shop.example/x", "https", ""}, // TLS has ended in front of us
	}
	for _, tt := range tests {
		s := newStageWith(t, Options{TrustedHops: 1})
		l := listener
		l.RedirectHTTPS = true
		s.serveOn([]*routing.Listener{&l}, routing.Rule{
			Matches: []routing.Match{{Path: routing.PathMatch{Value: "/x"}}}, Action: to("a"),
		})
		target := targetOf(tt.url)
		c := s.get(target, "Host: "+tt.url[:len(tt.url)-len(target)], "X-Forwarded-Proto: "+tt.forwarded)
		if tt.want == "" {
			s.only().reply(200, "")
			s.want(c, 200, "")
			continue
		}
		if got := c.field("location"); got != tt.want {
			t.Errorf("%s is redirected to %s, want %s", tt.url, got, tt.want)
		}
		s.want(c, 301, "")
	}
}
