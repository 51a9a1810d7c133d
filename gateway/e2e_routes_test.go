package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
)

// told answers as named does, and with each X- field of the request as Saw-X-.
// It never answers /slow, and /flaky only the third time.
func told(name string) http.HandlerFunc {
	var tries atomic.Int64
	answer := named(name)
	return func(w http.ResponseWriter, r *http.Request) {
		for k, v := range r.Header {
			if strings.HasPrefix(k, "X-") {
				w.Header().Set("Saw-"+k, strings.Join(v, ","))
			}
		}
		w.Header()["X-Two"] = []string{"1", "2"}
		switch {
		case r.URL.Path == "/slow":
			<-r.Context().Done()
		case r.URL.Path == "/flaky" && tries.Add(1)%3 != 0:
			w.WriteHeader(http.StatusServiceUnavailable)
		default:
			answer(w, r)
		}
	}
}

// ask sends "METHOD PATH" to a host of the rig's plain listener.
func (r *rig) ask(c *http.Client, host, request string, headers ...string) answer {
	r.t.Helper()
	method, path, _ := strings.Cut(request, " ")
	req, err := http.NewRequestWithContext(r.t.Context(), method, r.url(path), nil)
	if err != nil {
		r.t.Fatal(err)
	}
	req.Host = host
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Add(name, value)
	}
	a, err := do(c, req)
	if err != nil {
		r.t.Fatalf("%s %s: %v", host, request, err)
	}
	return a
}

// tagged is a rule whose answers have X-Rule: name.
func tagged(name, matches string) string {
	return fmt.Sprintf("  - matches: [%s]\n    backendRefs: [{name: a, port: 80}]\n"+
		"    filters: [{type: ResponseHeaderModifier, responseHeaderModifier: {set: [{name: X-Rule, value: %s}]}}]\n", matches, name)
}

// aged is a route of that age and with those hostnames.
func aged(name, created, hostnames, rules string) string {
	text := route(name, hostnames, rules)
	if hostnames == "" {
		text = strings.Replace(text, "  hostnames: []\n", "", 1)
	}
	if created != "" {
		text = strings.Replace(text, "namespace: shop}", "namespace: shop, creationTimestamp: \""+created+"\"}", 1)
	}
	return text
}

func TestMatchPrecedence(t *testing.T) {
	const old, young = "2024-01-01T00:00:00Z", "2025-01-01T00:00:00Z"
	r := startRig(t, nil, map[string]string{
		"gateway.yaml": strings.Replace(edge, "  - {name: http, port: {{.HTTP}}, protocol: HTTP}", `
  - {name: http, port: {{.HTTP}}, protocol: HTTP}
  - {name: wild, port: {{.HTTP}}, protocol: HTTP, hostname: "*.iso.test"}
  - {name: one, port: {{.HTTP}}, protocol: HTTP, hostname: a.iso.test}`, 1),
		"a.yaml": service("a", startBackend(t, told("a"))),
		"shop.yaml": aged("shop", "", "shop.test",
			tagged("prefix", "{path: {value: /p}}")+
				tagged("long-prefix", "{path: {value: /p/q/}}")+
				tagged("method", "{path: {value: /p}, method: POST}")+
				tagged("header", "{path: {value: /p}, headers: [{name: X-A, value: '1'}]}")+
				tagged("two-headers", "{path: {value: /p}, headers: [{name: X-A, value: '1'}, {name: X-B, value: '1'}]}")+
				tagged("query", "{path: {value: /p}, queryParams: [{name: q, value: 1 2}]}")+
				tagged("exact", "{path: {type: Exact, value: /p/q/r}}")+
				tagged("second", "{path: {value: /p}}")+
				tagged("expression", "{path: {type: RegularExpression, value: '/x[0-9]'}}")+
				tagged("twice", "{path: {value: /twice}, headers: [{name: X-A, value: '1'}, {name: x-a, value: '2'}]}")),
		"young.yaml": aged("a-young", young, "tie.test", tagged("young", "{path: {value: /}}")),
		"old.yaml":   aged("z-old", old, "tie.test", tagged("old", "{path: {value: /}}")),
		"none.yaml":  aged("b-none", "", "tie.test", tagged("ageless", "{path: {value: /}}, {path: {value: /ageless}}")),
		"hosts.yaml": aged("any", old, "", tagged("any-host", "{path: {value: /}}, {path: {type: Exact, value: /exact}}")) +
			aged("wild", young, `"*.wild.test"`, tagged("wild-host", "{path: {value: /}}")) +
			aged("one", young, "a.wild.test", tagged("one-host", "{path: {value: /only}}")),
		"section.yaml": strings.Replace(aged("wide", old, `"*.test"`, tagged("listener", "{path: {value: /}}")),
			"{name: edge}", "{name: edge, sectionName: wild}", 1),
	})
	tests := []struct {
		name, host, request string
		headers             []string
		want                string // X-Rule, or a status
	}{
		{"the first of equal rules", "shop.test", "GET /p", nil, "prefix"},
		{"prefixes end where elements end", "shop.test", "GET /pq", nil, "any-host"},
		{"a prefix without its last slash", "shop.test", "GET /p/q", nil, "long-prefix"},
		{"a longer prefix before method and fields", "shop.test", "POST /p/q", []string{"X-A: 1"}, "long-prefix"},
		{"an exact path before all", "shop.test", "POST /p/q/r", []string{"X-A: 1"}, "exact"},
		{"an exact path is exact", "shop.test", "GET /p/q/r/", nil, "long-prefix"},
		{"a method before fields", "shop.test", "POST /p", []string{"X-A: 1", "X-B: 1"}, "method"},
		{"more fields before fewer", "shop.test", "GET /p", []string{"x-a: 1", "x-b: 1"}, "two-headers"},
		{"fields before parameters", "shop.test", "GET /p?q=1+2", []string{"X-A: 1"}, "header"},
		{"repeated fields are one list", "shop.test", "GET /p", []string{"X-A: 1", "X-A: 2"}, "prefix"},
		{"parameters are decoded", "shop.test", "GET /p?z&q=1%202", nil, "query"},
		{"of repeated parameters the first", "shop.test", "GET /p?q=3&q=1+2", nil, "prefix"},
		{"an expression covers the whole path", "shop.test", "GET /x1", nil, "expression"},
		{"and not a part of it", "shop.test", "GET /x12", nil, "any-host"},
		{"of equal names in a match the first counts", "shop.test", "GET /twice", []string{"X-A: 1"}, "twice"},
		{"hosts have no case and no port", "SHOP.test:99", "GET /p", nil, "prefix"},
		{"the oldest route", "tie.test", "GET /", nil, "old"},
		{"a longer path before age", "tie.test", "GET /ageless", nil, "ageless"},
		{"a route that names the host", "x.wild.test", "GET /exact", nil, "wild-host"},
		{"a narrower host that has no rule leaves it to the wider", "a.wild.test", "GET /", nil, "wild-host"},
		{"a wildcard is no host itself", "wild.test", "GET /", nil, "any-host"},
		{"a wildcard stands for several labels", "x.y.wild.test", "GET /", nil, "wild-host"},
		{"the narrowest listener has the host to itself", "a.iso.test", "GET /", nil, "any-host"},
		{"a section takes the hosts of its listener", "b.iso.test", "GET /", nil, "listener"},
		{"and no others", "b.iso2.test", "GET /", nil, "any-host"},
	}
	c := r.client()
	for _, tt := range tests {
		a := r.ask(c, tt.host, tt.request, tt.headers...)
		if got := a.Header.Get("X-Rule"); got != tt.want {
			t.Errorf("%s: %s %s %v: rule %q (status %d), want %q", tt.name, tt.host, tt.request, tt.headers, got, a.StatusCode, tt.want)
		}
	}
}

// outcomes are rules, what a request to each comes to, and why one may wonder.
// HOST is the host that was asked, PORT the listener's.
var outcomes = []struct {
	name, rule, request string
	headers             []string
	want                string   // what the backend says, or status and Location
	fields              []string // of the response; "Name: " where there is none
}{
	{"a prefix and its slash", rewrite("/foo/", "ReplacePrefixMatch", "/xyz"), "GET /foo/bar?q=1", nil, "a GET HOST /xyz/bar?q=1", nil},
	{"slashes are not doubled", rewrite("/foo", "ReplacePrefixMatch", "/xyz/"), "GET /foo/bar", nil, "a GET HOST /xyz/bar", nil},
	{"a trailing slash stays", rewrite("/foo", "ReplacePrefixMatch", "/xyz"), "GET /foo/", nil, "a GET HOST /xyz/", nil},
	{"a prefix that goes leaves a path", rewrite("/foo", "ReplacePrefixMatch", ""), "GET /foo?q", nil, "a GET HOST /?q", nil},
	{"a full path keeps the query", rewrite("/foo", "ReplaceFullPath", "/all"), "GET /foo/bar?q=1", nil, "a GET HOST /all?q=1", nil},
	{"a host", to("a", "{type: URLRewrite, urlRewrite: {hostname: one.test}}"), "GET /", nil, "a GET one.test /", []string{"Saw-X-Forwarded-Host: HOST"}},

	{"the port of the filter's scheme", redirect("scheme: https"), "GET /a?b", nil, "302 https://HOST/a?b", nil},
	{"the port of the listener", redirect("hostname: r.test"), "GET /a", nil, "302 http://r.test:PORT/a", nil},
	{"a port that is another scheme's", redirect("port: 443, statusCode: 307"), "GET /", nil, "307 http://HOST:443/", nil},
	{"a port that is the scheme's", redirect("port: 80, statusCode: 308"), "GET /", nil, "308 http://HOST/", nil},
	{"a path in a redirect", redirect("scheme: https, statusCode: 303, path: {type: ReplaceFullPath, replaceFullPath: /n}"), "POST /a?b", nil, "303 https://HOST/n?b", nil},

	{"request fields: rule, then backend", `{filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: X-A, value: rule}], add: [{name: x-b, value: rule}], remove: [X-C]}}],
		backendRefs: [{name: a, port: 80, filters: [{type: RequestHeaderModifier, requestHeaderModifier: {add: [{name: X-A, value: backend}]}}]}]}`,
		"GET /", []string{"X-A: client", "X-B: client", "X-C: client"}, "a GET HOST /",
		[]string{"Saw-X-A: rule,backend", "Saw-X-B: client,rule", "Saw-X-C: "}},
	{"response fields", to("a", "{type: ResponseHeaderModifier, responseHeaderModifier: {set: [{name: x-two, value: one}], remove: [saw-x-a]}}"), "GET /", []string{"X-A: 1"}, "a GET HOST /",
		[]string{"X-Two: one", "Saw-X-A: "}},

	{"weight 0", "{backendRefs: [{name: a, port: 80, weight: 0}, {name: b, port: 80}]}", "GET /", nil, "b GET HOST /", nil},
	{"nothing but weight 0", "{backendRefs: [{name: a, port: 80, weight: 0}]}", "GET /", nil, "500 ", nil},
	{"no backend", "{matches: [{path: {value: /}}]}", "GET /", nil, "500 ", nil},
	{"a port that the Service does not have", "{backendRefs: [{name: a, port: 81}]}", "GET /", nil, "500 ", nil},
	{"a Service without endpoints", "{backendRefs: [{name: empty, port: 80}]}", "GET /", nil, "503 ", nil},
	{"a kind that is not known", "{backendRefs: [{name: a, kind: Riddle, group: example.com, port: 80}]}", "GET /", nil, "500 ", nil},
	{"another namespace, not granted", "{backendRefs: [{name: closed, namespace: other, port: 80}]}", "GET /", nil, "500 ", nil},
	{"another namespace, granted", "{backendRefs: [{name: granted, namespace: other, port: 80}]}", "GET /", nil, "503 ", nil},

	{"a preflight ends here", to("a", allow("allowMethods: [PUT]")), "OPTIONS /", []string{"Origin: https://ok.test", "Access-Control-Request-Method: PUT"}, "200 ",
		[]string{"Access-Control-Allow-Origin: https://ok.test", "Access-Control-Allow-Methods: PUT", "Access-Control-Max-Age: 5", "Access-Control-Allow-Credentials: "}},
	{"a preflight of another origin", to("a", allow("")), "OPTIONS /", []string{"Origin: https://no.test", "Access-Control-Request-Method: PUT"}, "200 ",
		[]string{"Access-Control-Allow-Origin: "}},
	{"an origin that may read", to("a", allow("exposeHeaders: [X-Two]")), "GET /", []string{"Origin: https://a.b.ok.test"}, "a GET HOST /",
		[]string{"Access-Control-Allow-Origin: https://a.b.ok.test", "Access-Control-Expose-Headers: X-Two"}},
	{"a redirect that may be read", fmt.Sprintf("{filters: [%s, {type: RequestRedirect, requestRedirect: {scheme: https}}]}", allow("")), "GET /", []string{"Origin: https://ok.test"},
		"302 https://HOST/", []string{"Access-Control-Allow-Origin: https://ok.test"}},

	{"the request's time is up", "{timeouts: {request: 50ms}, backendRefs: [{name: a, port: 80}]}", "GET /slow", nil, "504 ", nil},
	{"the try's time is up", "{timeouts: {request: 0s, backendRequest: 50ms}, backendRefs: [{name: a, port: 80}]}", "GET /slow", nil, "504 ", nil},
	{"two retries", "{retry: {attempts: 2, codes: [503], backoff: 1ms}, backendRefs: [{name: a, port: 80}]}", "GET /flaky", nil, "a GET HOST /flaky", nil},
	{"retries end with what the backend said", "{retry: {attempts: 1, codes: [503], backoff: 1ms}, backendRefs: [{name: b, port: 80}]}", "GET /flaky", nil, "503 ", nil},
	{"retries of other codes", "{retry: {attempts: 2, codes: [500], backoff: 1ms}, backendRefs: [{name: c, port: 80}]}", "GET /flaky", nil, "503 ", nil},
}

func to(backend, filter string) string {
	return fmt.Sprintf("{filters: [%s], backendRefs: [{name: %s, port: 80}]}", filter, backend)
}

func rewrite(prefix, kind, value string) string {
	field := strings.ToLower(kind[:1]) + kind[1:]
	return fmt.Sprintf("{matches: [{path: {value: %s}}], filters: [{type: URLRewrite, urlRewrite: {path: {type: %s, %s: %q}}}], backendRefs: [{name: a, port: 80}]}",
		prefix, kind, field, value)
}

func redirect(fields string) string {
	return "{filters: [{type: RequestRedirect, requestRedirect: {" + fields + "}}]}"
}

func allow(fields string) string {
	return "{type: CORS, cors: {allowOrigins: ['https://ok.test', 'https://*.ok.test'], " + fields + "}}"
}

const granted = `---
apiVersion: v1
kind: Service
metadata: {name: granted, namespace: other}
spec: {ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: closed, namespace: other}
spec: {ports: [{port: 80}]}
---
apiVersion: gateway.networking.k8s.io/v1beta1
kind: ReferenceGrant
metadata: {name: shop, namespace: other}
spec:
  from: [{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: shop}]
  to: [{group: "", kind: Service, name: granted}]
`

func TestWhatRulesDo(t *testing.T) {
	manifests := map[string]string{"gateway.yaml": edge, "granted.yaml": granted, "empty.yaml": service("empty")}
	for _, name := range []string{"a", "b", "c"} {
		manifests[name+".yaml"] = service(name, startBackend(t, told(name)))
	}
	for i, tt := range outcomes {
		name := fmt.Sprintf("r%d", i)
		manifests[name+".yaml"] = route(name, name+".test", "  - "+tt.rule)
	}
	r := startRig(t, nil, manifests)
	c := r.client()
	for i, tt := range outcomes {
		host := fmt.Sprintf("r%d.test", i)
		names := strings.NewReplacer("HOST", host, "PORT", fmt.Sprint(r.vars["HTTP"]))
		a := r.ask(c, host, tt.request, tt.headers...)
		got := a.body
		if a.Header.Get("X-Backend") == "" {
			got = fmt.Sprintf("%d %s", a.StatusCode, a.Header.Get("Location"))
		}
		if want := names.Replace(tt.want); got != want {
			t.Errorf("%s: %s: got %q, want %q", tt.name, tt.request, got, want)
		}
		for _, f := range tt.fields {
			name, want, _ := strings.Cut(names.Replace(f), ": ")
			if got := strings.Join(a.Header.Values(name), ","); got != want {
				t.Errorf("%s: %s is %q, want %q", tt.name, name, got, want)
			}
		}
	}
}

func TestMirrorSeesWhatTheBackendSees(t *testing.T) {
	mirrored := make(chan string, 1)
	r := startRig(t, nil, map[string]string{
		"gateway.yaml": edge,
		"a.yaml":       service("a", startBackend(t, told("a"))),
		"m.yaml": service("m", startBackend(t, func(_ http.ResponseWriter, req *http.Request) {
			body, _ := io.ReadAll(req.Body)
			mirrored <- fmt.Sprintf("%s %s %s %s", req.Method, req.URL.RequestURI(), req.Header.Get("X-A"), body)
		})),
		"route.yaml": route("mirror", "mirror.test", `  - backendRefs: [{name: a, port: 80}]
    filters:
    - {type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: X-A, value: rule}]}}
    - {type: RequestMirror, requestMirror: {backendRef: {name: m, port: 80}}}`),
	})
	req, err := http.NewRequestWithContext(t.Context(), "POST", r.url("/a?b=c"), strings.NewReader("body"))
	if err != nil {
		t.Fatal(err)
	}
	req.Host = "mirror.test"
	if a, err := do(r.client(), req); err != nil || a.body != "a POST mirror.test /a?b=c" {
		t.Errorf("the backend says %q, %v", a.body, err)
	}
	if got, want := <-mirrored, "POST /a?b=c rule body"; got != want {
		t.Errorf("the mirror saw %q, want %q", got, want)
	}
}

func TestSessionStaysWithItsEndpoint(t *testing.T) {
	r := startRig(t, nil, map[string]string{
		"gateway.yaml": edge,
		"a.yaml":       service("a", startBackend(t, told("one")), startBackend(t, told("two")), startBackend(t, told("three"))),
		"route.yaml": route("session", "session.test",
			"  - backendRefs: [{name: a, port: 80}]\n    sessionPersistence: {sessionName: who}"),
	})
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	c, site := r.client(), &url.URL{Scheme: "http", Host: "session.test", Path: "/"}
	first := r.ask(c, "session.test", "GET /")
	jar.SetCookies(site, first.Cookies())
	if len(jar.Cookies(site)) != 1 {
		t.Fatalf("%d cookies, want 1: status %d, %v", len(jar.Cookies(site)), first.StatusCode, first.Header)
	}
	for range 20 {
		a := r.ask(c, "session.test", "GET /", "Cookie: "+jar.Cookies(site)[0].String())
		if a.Header.Get("X-Backend") != first.Header.Get("X-Backend") {
			t.Fatalf("the session moved to %s", a.Header.Get("X-Backend"))
		}
	}
}

func TestGRPCRoutes(t *testing.T) {
	method := func(fields string) string { return "{method: {type: Exact, " + fields + "}}" }
	r := startRig(t, nil, map[string]string{
		"gateway.yaml": edge,
		"a.yaml":       serviceWith("a", "kubernetes.io/h2c", startBackend(t, told("a"))),
		"route.yaml": strings.Replace(route("calls", "calls.test",
			tagged("service", method("service: shop.Cart"))+
				tagged("both", method("service: shop.Cart, method: Get"))+
				tagged("method", method("method: Get"))+
				"  - matches: ["+method("service: shop.Lost")+"]\n    backendRefs: [{name: nothing, port: 80}]\n"),
			"kind: HTTPRoute", "kind: GRPCRoute", 1),
	})
	c := r.client()
	transport := c.Transport.(*http.Transport)
	transport.Protocols = new(http.Protocols)
	transport.Protocols.SetUnencryptedHTTP2(true)
	tests := []struct{ path, rule, status string }{
		{"/shop.Cart/Get", "both", ""},
		{"/shop.Cart/Put", "service", ""},
		{"/shop.Other/Get", "method", ""},
		{"/shop.Other/Put", "", "12"}, // UNIMPLEMENTED
		{"/shop.Lost/Put", "", "14"},  // UNAVAILABLE
	}
	for _, tt := range tests {
		a := r.ask(c, "calls.test", "POST "+tt.path, "Content-Type: application/grpc")
		if got := a.Header.Get("X-Rule"); got != tt.rule || a.Header.Get("Grpc-Status") != tt.status {
			t.Errorf("%s: rule %q, grpc-status %q, want %q, %q", tt.path, got, a.Header.Get("Grpc-Status"), tt.rule, tt.status)
		}
	}
}
