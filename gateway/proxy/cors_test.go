package proxy

import (
	"strings"
	"testing"
	"time"

	"fairway.dev/gateway/message"
	"fairway.dev/routing"
)

func TestOrigins(t *testing.T) {
	tests := []struct {
		allowed string
		origin  string
		want    bool
	}{
		{"*", "https://any.example", true},
		{"*", "null", true},
		{"https://www.foo.com", "https://www.foo.com", true},
		{"https://www.foo.com", "http://www.foo.com", false},
		{"https://www.foo.com", "https://foo.com", false},
		{"https://www.foo.com", "https://www.foo.com.evil.example", false},
		{"https://www.foo.com", "https://evil.example/https://www.foo.com", false},
		{"https://www.foo.com", "null", false},
		{"https://Foo.com", "https://foo.COM", true},
		// "if not included, port 80 is assumed for http, 443 for https"
		{"https://foo.com:443", "https://foo.com", true},
		{"http://foo.com", "http://foo.com:80", true},
		{"https://foo.com", "https://foo.com:80", false},
		{"http://foo.com:8080", "http://foo.com", false},
		{"http://foo.com:8080", "http://foo.com:8080", true},
		// "* is a greedy match to the left, including any number of DNS labels"
		{"https://*.bar.com", "https://www.bar.com", true},
		{"https://*.bar.com", "https://a.b.bar.com", true},
		{"https://*.bar.com", "https://bar.com", false},
		{"https://*.bar.com", "https://.bar.com", false},
		{"https://*.bar.com", "https://foobar.com", false},
		{"https://*.bar.com", "https://x.bar.com:8443", false},
		{"https://*.bar.com:8443", "https://x.bar.com:8443", true},
		{"https://*", "https://any.example", true}, // "a wildcard by itself matches all hosts"
		{"https://*", "http://any.example", false},
		{"https://*", "https://any.example:8443", false},
	}
	for _, tt := range tests {
		c := newCORS(&routing.CORS{AllowOrigins: []string{"https://other.example", tt.allowed}})
		if got := c.allows(tt.origin); got != tt.want {
			t.Errorf("%s allows %s: %v, want %v", tt.allowed, tt.origin, got, tt.want)
		}
	}
}

// CorsPolicy.allowOrigins with prefix and regex: bytes, and the whole origin.
func TestOriginTexts(t *testing.T) {
	c := newCORS(&routing.CORS{AllowOrigins: []string{"https://one.example"}, AllowOriginTexts: []routing.OriginMatch{
		{Kind: routing.TextPrefix, Value: "https://dev."}, {Kind: routing.TextRegex, Value: `https://(a|b)\.example`},
	}})
	for origin, want := range map[string]bool{
		"https://one.example": true, "https://dev.anything": true, "https://a.example": true,
		"http://dev.anything": false, "https://a.example.evil": false, "xhttps://a.example": false, "https://c.example": false,
	} {
		if got := c.allows(origin); got != want {
			t.Errorf("allows %s: %v, want %v", origin, got, want)
		}
	}
}

// CorsPolicy.unmatchedPreflights: FORWARD, which is Istio's default. The backend
// has its own word on origins that the rule does not know.
func TestUnmatchedPreflightsAreForwarded(t *testing.T) {
	a := to("a")
	a.CORS = &routing.CORS{AllowOrigins: []string{app}, ForwardUnmatched: true}
	s := newStage(t, a)
	known := s.request("OPTIONS", "/", "Origin: "+app, "Access-Control-Request-Method: GET").send()
	if known.resp.Status != 200 || len(s.calls) != 0 {
		t.Errorf("preflight of a known origin: %d after %d calls, want 200 of our own", known.resp.Status, len(s.calls))
	}
	other := s.request("OPTIONS", "/", "Origin: https://other.example", "Access-Control-Request-Method: GET").send()
	s.call(0).head(204, true, "Access-Control-Allow-Origin: https://other.example")
	if other.resp.Status != 204 || other.field("access-control-allow-origin") != "https://other.example" {
		t.Errorf("preflight of another origin: %d %v, want the backend's answer", other.resp.Status, other.resp.Fields)
	}
	get := s.get("/", "Origin: https://other.example")
	s.call(1).head(200, true, "Access-Control-Allow-Origin: https://other.example")
	if get.field("access-control-allow-origin") != "https://other.example" {
		t.Errorf("request of another origin: %v, want what the backend says", get.resp.Fields)
	}
}

const app = "https://app.example"

// corsFields returns the fields of CORS in a response, by what follows
// "access-control-".
func corsFields(c *client) map[string]string {
	m := map[string]string{}
	for _, f := range c.resp.Fields {
		if name, ok := strings.CutPrefix(strings.ToLower(f.Text), "access-control-"); ok {
			m[name] = f.Value
		}
	}
	return m
}

func TestCORS(t *testing.T) {
	type m = map[string]string
	full := routing.CORS{
		AllowOrigins: []string{app}, AllowCredentials: true, AllowMethods: []string{"GET", "OPTIONS"},
		AllowHeaders: []string{"x-header-1", "x-header-2"}, ExposeHeaders: []string{"x-header-3", "x-header-4"},
		MaxAge: time.Hour,
	}
	stars := routing.CORS{
		AllowOrigins: []string{"*"}, AllowMethods: []string{"*"}, AllowHeaders: []string{"*"}, ExposeHeaders: []string{"*"},
	}
	trusted := stars
	trusted.AllowCredentials = true
	plain := routing.CORS{AllowOrigins: []string{app}}
	tests := []struct {
		name   string
		cors   routing.CORS
		method string
		fields []string
		want   m
		passes bool // to the backend
	}{
		{"preflight", full, "OPTIONS", []string{"Origin: " + app, "Access-Control-Request-Method: GET"}, m{
			"allow-origin": app, "allow-credentials": "true", "allow-methods": "GET, OPTIONS",
			"allow-headers": "x-header-1, x-header-2", "expose-headers": "x-header-3, x-header-4", "max-age": "3600",
		}, false},
		{"preflight of another origin", full, "OPTIONS", []string{"Origin: https://evil.example", "Access-Control-Request-Method: GET"}, m{}, false},
		{"preflight of the least", plain, "OPTIONS", []string{"Origin: " + app, "Access-Control-Request-Method: PUT"}, m{
			"allow-origin": app, "max-age": "5",
		}, false},
		{"preflight, wildcards", stars, "OPTIONS",
			[]string{"Origin: " + app, "Access-Control-Request-Method: PUT", "Access-Control-Request-Headers: x-a, x-b"}, m{
				"allow-origin": "*", "allow-methods": "*", "allow-headers": "*", "expose-headers": "*", "max-age": "5",
			}, false},
		{"preflight, wildcards, credentials", trusted, "OPTIONS",
			[]string{"Origin: " + app, "Access-Control-Request-Method: PUT", "Access-Control-Request-Headers: x-a, x-b"}, m{
				"allow-origin": app, "allow-credentials": "true", "allow-methods": "PUT", "allow-headers": "x-a, x-b", "max-age": "5",
			}, false},
		{"preflight that names no headers", trusted, "OPTIONS", []string{"Origin: " + app, "Access-Control-Request-Method: PUT"}, m{
			"allow-origin": app, "allow-credentials": "true", "allow-methods": "PUT", "max-age": "5",
		}, false},
		{"OPTIONS that is no preflight", full, "OPTIONS", []string{"Origin: " + app}, m{
			"allow-origin": app, "allow-credentials": "true", "expose-headers": "x-header-3, x-header-4",
		}, true},
		{"request", full, "GET", []string{"Origin: " + app, "Access-Control-Request-Method: GET"}, m{
			"allow-origin": app, "allow-credentials": "true", "expose-headers": "x-header-3, x-header-4",
		}, true},
		{"request of another origin", full, "GET", []string{"Origin: http://not-app.example", "Cookie: sid=1"}, m{}, true},
		{"request without an origin", full, "GET", nil, m{}, true},
		{"request, wildcards", stars, "PUT", []string{"Origin: https://o.example:12345"}, m{"allow-origin": "*", "expose-headers": "*"}, true},
		{"request, wildcards, credentials", trusted, "PUT", []string{"Origin: " + app}, m{
			"allow-origin": app, "allow-credentials": "true",
		}, true},
		// GEP-1767, Wildcard Resolution and Credentials.
		{"request with a cookie", stars, "GET", []string{"Origin: " + app, "Cookie: sid=1"}, m{}, true},
		{"request with a cookie, credentials", trusted, "GET", []string{"Origin: " + app, "Cookie: sid=1"}, m{
			"allow-origin": app, "allow-credentials": "true",
		}, true},
		{"request with a bearer token", plain, "GET", []string{"Origin: " + app, "Authorization: Bearer x"}, m{"allow-origin": app}, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := to("a")
			a.CORS = &tt.cors
			s := newStage(t, a)
			c := s.request(tt.method, "/", tt.fields...).send()
			if passes := len(s.calls) == 1; passes != tt.passes {
				t.Fatalf("reached the backend: %v, want %v", passes, tt.passes)
			}
			if tt.passes {
				// What the backend says of CORS does not count.
				s.only().head(200, true, "Access-Control-Allow-Origin: https://evil.example", "Access-Control-Allow-Credentials: true")
			}
			got := corsFields(c)
			if len(got) != len(tt.want) {
				t.Errorf("fields %v, want %v", got, tt.want)
			}
			for name, value := range tt.want {
				if got[name] != value {
					t.Errorf("%s: %q, want %q", name, got[name], value)
				}
			}
			s.want(c, 200, "")
		})
	}
}

func TestCORSVaries(t *testing.T) {
	a := to("a")
	a.CORS = &routing.CORS{AllowOrigins: []string{app}}
	s := newStage(t, a)
	c := s.get("/", "Origin: "+app)
	s.only().head(200, true, "Vary: Accept")
	if got := c.field("vary"); got != "Accept, Origin" {
		t.Errorf("Vary %q, want Accept, Origin", got)
	}
}

// Fetch standard, "CORS protocol and HTTP caches": what is kept of a response
// that no script may read must not answer a script that may.
func TestCORSVariesForThoseWhoMayNotRead(t *testing.T) {
	tests := []struct {
		name   string
		action routing.Action
		status int
	}{
		{"a response", to("a"), 200},
		{"an answer of ours", to("empty"), 503},
		{"a redirect", routing.Action{Redirect: &routing.Redirect{Status: 301, Host: "o"}}, 301},
	}
	for _, tt := range tests {
		for _, lines := range [][]string{nil, {"Origin: https://other.example"}} {
			tt.action.CORS = &routing.CORS{AllowOrigins: []string{app}}
			s := newStage(t, tt.action)
			c := s.get("/", lines...)
			for _, b := range s.calls {
				b.reply(200, "")
			}
			if got := c.field("vary"); c.resp.Status != tt.status || got != "Origin" {
				t.Errorf("%s to %q: status %d, Vary %q; want %d, Origin", tt.name, lines, c.resp.Status, got, tt.status)
			}
		}
	}
}

func TestCORSLetsScriptsReadErrors(t *testing.T) {
	a := to("empty")
	a.CORS = &routing.CORS{AllowOrigins: []string{app}}
	s := newStage(t, a)
	c := s.get("/", "Origin: "+app)
	if got := c.field("access-control-allow-origin"); c.resp.Status != 503 || got != app {
		t.Errorf("status %d, allow-origin %q, want 503, %s", c.resp.Status, got, app)
	}
}

func TestCORSLetsScriptsFollowRedirects(t *testing.T) {
	s := newStage(t, routing.Action{
		Redirect: &routing.Redirect{Scheme: "https", Status: 308},
		CORS:     &routing.CORS{AllowOrigins: []string{"https://a.example"}},
	})
	c := s.get("/", "Origin: https://a.example")
	if c.resp.Status != 308 || c.field("access-control-allow-origin") != "https://a.example" {
		t.Errorf("status %d, allow-origin %q; want 308 that the origin may read", c.resp.Status, c.field("access-control-allow-origin"))
	}
}

func TestCORSOfOneBackend(t *testing.T) {
	a := to("a")
	a.CORS = &routing.CORS{AllowOrigins: []string{"https://rule.example"}}
	a.Backends[0].CORS = &routing.CORS{AllowOrigins: []string{app}}
	s := newStage(t, a)
	c := s.request("OPTIONS", "/", "Origin: "+app, "Access-Control-Request-Method: GET").send()
	if got := c.field("access-control-allow-origin"); got != app || c.resp.Fields.Has(message.ContentType) {
		t.Errorf("allow-origin %q, fields %v, want %s", got, c.resp.Fields, app)
	}
}
