package proxy

import (
	"encoding/binary"
	"errors"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/proto"

	"fairway.dev/gateway/message"
	"fairway.dev/routing"
)

// asking is an action of cluster "a" that asks cluster "b" first.
func asking(auth routing.ExternalAuth) routing.Action {
	action := to("a")
	auth.Cluster = "b"
	action.Auth = &auth
	return action
}

// HTTPAuthConfig: what is told, and what the backend is told of the answer.
func TestAuthorizationServerIsAsked(t *testing.T) {
	s := newStage(t, asking(routing.ExternalAuth{Path: "/auth/", Request: []string{"x-team", "cookie"}}))
	c := s.get("/cart?n=1", "Authorization: Bearer x", "X-Team: a", "X-Team: b", "Cookie: c=d", "X-Other: y", "X-User: forged")
	q := s.only()
	if q.port != 11 || q.req.Method != "GET" || q.req.Authority != "shop.example" || q.req.Path != "/auth/cart" || q.req.Query != "?n=1" || q.req.Length != 0 {
		t.Errorf("asked %+v on port %d", q.req, q.port)
	}
	var told []string
	for _, f := range q.req.Fields {
		told = append(told, f.Text+": "+f.Value)
	}
	if got, want := strings.Join(told, ", "), "Authorization: Bearer x, X-Team: a, X-Team: b, Cookie: c=d"; got != want {
		t.Errorf("told %s, want %s", got, want)
	}
	q.head(200, false, "X-User: me", "X-Groups: a", "X-Groups: b", "Content-Type: text/html", "Content-Language: en", "Server: x", "Set-Cookie: s=1")
	q.data("welcome")
	q.end()
	s.loop.Settle()
	b := s.call(1)
	if b.port == 11 || b.header("x-user") != "me" || b.header("x-groups") != "a, b" || b.header("x-other") != "y" || b.header("set-cookie") != "s=1" ||
		b.header("content-type")+b.header("content-language")+b.header("server") != "" || b.body != "" {
		t.Errorf("the backend on port %d got %v", b.port, b.req.Fields)
	}
	b.reply(200, "ok")
	s.want(c, 200, "")
}

func TestOnlyNamedFieldsOfTheAnswerAreAdopted(t *testing.T) {
	s := newStage(t, asking(routing.ExternalAuth{Response: []string{"x-user", "content-type", "host", "connection"}}))
	s.get("/")
	s.only().head(200, true, "X-User: me", "X-Groups: a", "Content-Type: a/b", "Host: evil.example", "Connection: close")
	s.loop.Settle()
	b := s.call(1)
	if b.header("x-user") != "me" || b.header("content-type") != "a/b" || b.header("x-groups")+b.header("connection") != "" || b.req.Authority != "shop.example" {
		t.Errorf("the backend of %s got %v", b.req.Authority, b.req.Fields)
	}
	b.reply(200, "")
}

// HTTPExternalAuthFilter.protocol: "Any other code is considered an
// authorization failure." The client gets it as it is.
func TestRefusalsAreTheServers(t *testing.T) {
	for _, status := range []int{204, 302, 401, 403, 500, 503} {
		s := newStage(t, asking(routing.ExternalAuth{}))
		c := s.get("/")
		q := s.only()
		q.head(status, false, "WWW-Authenticate: Basic", "Location: /login", "Set-Cookie: a=1", "Set-Cookie: b=2", "Server: theirs", "Date: then")
		q.data("go away")
		q.end()
		if len(s.calls) != 1 {
			t.Fatalf("%d: the backend was called", status)
		}
		f := &c.resp.Fields
		www, _ := f.Value("www-authenticate")
		location, _ := f.Value("location")
		cookies, _ := f.Value("set-cookie")
		server, _ := f.Value("server")
		date, _ := f.Value("date")
		if www != "Basic" || location != "/login" || cookies != "a=1, b=2" || server != serverName || date == "then" {
			t.Errorf("%d: the client got %v", status, c.resp.Fields)
		}
		if want := "go away"; c.body != want && status != 204 {
			t.Errorf("%d: body %q, want %q", status, c.body, want)
		}
		s.want(c, status, "UAEX")
	}
}

// A request that nobody was asked about does not pass.
func TestWithoutAnAnswerNobodyPasses(t *testing.T) {
	tests := []struct {
		name   string
		before func(s *stage)
		after  func(s *stage)
		status int
		flags  string
	}{
		{"refused", func(s *stage) { s.down[11] = errors.New("refused") }, nil, 403, "UAEX"},
		{"no connection", func(s *stage) { s.hang[11] = true }, func(s *stage) { s.pass(5 * time.Second) }, 403, "UAEX"},
		{"no answer", nil, func(s *stage) { s.pass(5 * time.Second) }, 403, "UAEX"},
		{"half an answer", nil, func(s *stage) {
			s.only().head(200, false)
			s.pass(5 * time.Second)
		}, 403, "UAEX"},
		{"reset", nil, func(s *stage) { s.only().abort(&message.Error{Reason: message.Reset}) }, 403, "UAEX"},
		{"an endless refusal", nil, func(s *stage) {
			s.only().head(401, false)
			for range 65 {
				s.only().data(strings.Repeat("x", 1<<10))
			}
		}, 403, "UAEX"},
	}
	for _, tt := range tests {
		s := newStage(t, asking(routing.ExternalAuth{}))
		if tt.before != nil {
			tt.before(s)
		}
		c := s.get("/")
		if tt.after != nil {
			tt.after(s)
		}
		for _, call := range s.calls {
			if call.port != 11 {
				t.Errorf("%s: the backend was called", tt.name)
			}
		}
		t.Log(tt.name)
		s.want(c, tt.status, tt.flags)
	}
}

// A kept connection that turns out to be closed is no answer: another is asked.
func TestAnotherConnectionIsAsked(t *testing.T) {
	s := newStage(t, asking(routing.ExternalAuth{}))
	c := s.get("/")
	s.call(0).abort(&message.Error{Reason: message.Gone, Unused: true})
	s.loop.Settle()
	s.call(1).reply(200, "")
	s.loop.Settle()
	s.call(2).reply(200, "ok")
	s.want(c, 200, "")
}

func TestInquiryEndsWithItsExchange(t *testing.T) {
	s := newStage(t, asking(routing.ExternalAuth{}))
	s.get("/").leave(message.Gone)
	if q := s.only(); q.aborted == nil {
		t.Error("the inquiry goes on after the client has left")
	}
	s.hang[11] = true
	s.get("/").leave(message.Gone)
	s.pass(time.Minute)

	action := asking(routing.ExternalAuth{})
	action.Timeouts.Request = time.Second
	s = newStage(t, action)
	c := s.get("/")
	s.pass(1100 * time.Millisecond)
	if q := s.only(); q.aborted == nil {
		t.Error("the inquiry goes on after the request's timeout")
	}
	s.want(c, 504, "UT")
}

// HTTPExternalAuthFilter.forwardBody: the body is told whole, or the request is
// refused, and the backend gets it too.
func TestBodyIsTold(t *testing.T) {
	s := newStage(t, asking(routing.ExternalAuth{MaxBody: 10}))
	c := s.request("POST", "/", "Content-Type: a/b").open()
	c.upload("first,")
	if len(s.calls) > 0 {
		t.Fatal("asked before the body was whole")
	}
	c.upload("last")
	c.finish("T: 1")
	q := s.only()
	if q.body != "first,last" || !q.ended || q.req.Length != 10 || c.consumed != 10 {
		t.Errorf("told %q of length %d, ended %t, consumed %d", q.body, q.req.Length, q.ended, c.consumed)
	}
	q.reply(200, "")
	s.loop.Settle()
	b := s.call(1)
	if b.body != "first,last" || !b.ended || len(b.trailers) != 1 {
		t.Errorf("the backend got %q, ended %t, trailers %v", b.body, b.ended, b.trailers)
	}
	b.reply(200, "")
	s.want(c, 200, "")

	s = newStage(t, asking(routing.ExternalAuth{MaxBody: 10}))
	c = s.request("POST", "/").open()
	c.upload("more than ten")
	s.want(c, 413, "UAEX")
}

// Who waits for consent to send a body gets ours, as the backend's comes later.
func TestExpectationIsMetBeforeAsking(t *testing.T) {
	s := newStage(t, asking(routing.ExternalAuth{MaxBody: 10}))
	c := s.request("POST", "/", "Expect: 100-continue").open()
	if len(c.interim) != 1 || c.interim[0] != 100 {
		t.Errorf("interim responses %v, want 100", c.interim)
	}
	c.upload("body")
	c.finish()
	s.call(0).reply(200, "")
	s.loop.Settle()
	if b := s.call(1); b.header("expect") != "" || b.body != "body" {
		t.Errorf("the backend got %q and %v", b.body, b.req.Fields)
	}
	s.call(1).reply(200, "")
	s.want(c, 200, "")
}

// What comes of a body while the server thinks is the backend's, and the
// mirrors' too.
func TestBodyWaitsForTheAnswer(t *testing.T) {
	action := asking(routing.ExternalAuth{})
	action.Mirrors = []routing.Mirror{{Cluster: "a", Numerator: 1, Denominator: 1}}
	s := newStage(t, action)
	c := s.request("POST", "/").open()
	c.upload("first,")
	if c.consumed > 0 {
		t.Error("what waits was consumed")
	}
	q := s.only()
	if q.body != "" || !q.ended {
		t.Errorf("told %q, ended %t", q.body, q.ended)
	}
	q.reply(200, "")
	s.loop.Settle()
	c.upload("last")
	c.finish()
	s.loop.Settle()
	for i, who := range []string{"mirror", "backend"} {
		if b := s.call(1 + i); b.body != "first,last" || !b.ended {
			t.Errorf("the %s got %q, ended %t", who, b.body, b.ended)
		}
	}
	s.call(1).reply(200, "")
	s.call(2).reply(200, "")
	s.want(c, 200, "")
}

// Preflights carry no credentials (Fetch section 3.2): nobody is asked about
// them. A redirect is told only to who may know it.
func TestWhatIsAskedAbout(t *testing.T) {
	action := asking(routing.ExternalAuth{})
	action.CORS = &routing.CORS{AllowOrigins: []string{"*"}, AllowMethods: []string{"PUT"}}
	s := newStage(t, action)
	c := s.request("OPTIONS", "/", "Origin: http://x.example", "Access-Control-Request-Method: PUT").send()
	if len(s.calls) != 0 {
		t.Error("a preflight was asked about")
	}
	s.want(c, 200, "")

	action = routing.Action{Auth: asking(routing.ExternalAuth{}).Auth, Redirect: &routing.Redirect{Status: 302, Host: "secret.example"}}
	s = newStage(t, action)
	c = s.get("/")
	if c.headed {
		t.Error("a redirect was told before it was asked about")
	}
	s.only().reply(200, "")
	s.want(c, 302, "")
}

// A retry is not asked about again.
func TestRetriesAreNotAskedAbout(t *testing.T) {
	action := asking(routing.ExternalAuth{})
	action.Retry = &routing.Retry{Attempts: 1, Codes: []int{503}}
	s := newStage(t, action)
	c := s.get("/")
	s.call(0).reply(200, "")
	s.loop.Settle()
	s.call(1).reply(503, "")
	s.pass(time.Second)
	if b := s.call(2); b.port == 11 {
		t.Error("the server was asked about a retry")
	}
	s.call(2).reply(200, "")
	s.want(c, 200, "")
}

// frame is a message as gRPC sends it.
func frame(t *testing.T, m proto.Message) string {
	t.Helper()
	b, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return string(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(b)))) + string(b)
}

func header(name, value string) *corev3.HeaderValueOption {
	return &corev3.HeaderValueOption{Header: &corev3.HeaderValue{Key: name, Value: value}}
}

func TestExtAuthzServerIsAsked(t *testing.T) {
	s := newStage(t, asking(routing.ExternalAuth{GRPC: true}))
	c := s.get("/cart?n=1", "X-Team: a")
	q := s.only()
	if q.req.Method != "POST" || q.req.Path != "/envoy.service.auth.v3.Authorization/Check" || q.req.Authority != "b.ns" ||
		q.header("content-type") != "application/grpc" || q.header("grpc-timeout") != "5000m" || !q.req.Trailers || !q.ended {
		t.Errorf("asked %+v", q.req)
	}
	var asked authv3.CheckRequest
	if len(q.body) < 5 || int(binary.BigEndian.Uint32([]byte(q.body[1:]))) != len(q.body)-5 || q.body[0] != 0 {
		t.Fatalf("frame %q", q.body)
	}
	if err := proto.Unmarshal([]byte(q.body[5:]), &asked); err != nil {
		t.Fatal(err)
	}
	h := asked.Attributes.Request.Http
	if h.Path != "/cart?n=1" || h.Host != "shop.example" || h.Headers["x-team"] != "a" || h.Headers["x-forwarded-for"] != "192.0.2.7" ||
		asked.Attributes.Source.Address.GetSocketAddress().GetPortValue() != 5000 {
		t.Errorf("asked about %v", asked.Attributes)
	}
	q.head(200, false)
	q.data(frame(t, &authv3.CheckResponse{Status: &statuspb.Status{}, HttpResponse: &authv3.CheckResponse_OkResponse{OkResponse: &authv3.OkHttpResponse{
		Headers:         []*corev3.HeaderValueOption{header("x-user", "me"), header("content-length", "7"), header("host", "inner.example")},
		HeadersToRemove: []string{"x-team", "transfer-encoding", "host"}, ResponseHeadersToAdd: []*corev3.HeaderValueOption{header("x-seen", "yes")},
	}}}))
	q.end("grpc-status: 0")
	s.loop.Settle()
	b := s.call(1)
	if b.header("x-user") != "me" || b.header("x-team")+b.header("content-length") != "" || b.req.Authority != "inner.example" {
		t.Errorf("the backend of %s got %v", b.req.Authority, b.req.Fields)
	}
	b.reply(200, "")
	if seen, _ := c.resp.Fields.Value("x-seen"); seen != "yes" {
		t.Errorf("the client got %v", c.resp.Fields)
	}
	s.want(c, 200, "")
}

func TestExtAuthzRefusals(t *testing.T) {
	refusal := frame(t, &authv3.CheckResponse{Status: &statuspb.Status{Code: 16}, HttpResponse: &authv3.CheckResponse_DeniedResponse{DeniedResponse: &authv3.DeniedHttpResponse{
		Status: &typev3.HttpStatus{Code: 401}, Body: "who are you", Headers: []*corev3.HeaderValueOption{header("www-authenticate", "Basic")},
	}}})
	yes := frame(t, &authv3.CheckResponse{})
	tests := []struct {
		name   string
		answer func(q *call)
		status int
		body   string
	}{
		{"refusal", func(q *call) { q.head(200, false); q.data(refusal); q.end("grpc-status: 0") }, 401, "who are you"},
		{"gRPC status", func(q *call) { q.head(200, false); q.data(yes); q.end("grpc-status: 7") }, 403, "nobody"},
		{"no gRPC status", func(q *call) { q.head(200, false); q.data(yes); q.end() }, 403, "nobody"},
		{"Trailers-Only", func(q *call) { q.head(200, true, "grpc-status: 14") }, 403, "nobody"},
		{"no message", func(q *call) { q.head(200, true, "grpc-status: 0") }, 403, "nobody"},
		{"HTTP status", func(q *call) { q.head(404, false); q.data(yes); q.end("grpc-status: 0") }, 403, "nobody"},
		{"compressed", func(q *call) { q.head(200, false); q.data("\x01" + yes[1:]); q.end("grpc-status: 0") }, 403, "nobody"},
		{"two messages", func(q *call) { q.head(200, false); q.data(yes + yes); q.end("grpc-status: 0") }, 403, "nobody"},
		{"no protobuf", func(q *call) { q.head(200, false); q.data("\x00\x00\x00\x00\x01\xff"); q.end("grpc-status: 0") }, 403, "nobody"},
	}
	for _, tt := range tests {
		s := newStage(t, asking(routing.ExternalAuth{GRPC: true}))
		c := s.get("/")
		tt.answer(s.only())
		if len(s.calls) != 1 || !strings.HasPrefix(c.body, tt.body) {
			t.Errorf("%s: %d calls, body %q, want %q", tt.name, len(s.calls), c.body, tt.body)
		}
		s.want(c, tt.status, "UAEX")
	}
	s := newStage(t, asking(routing.ExternalAuth{GRPC: true}))
	c := s.request("POST", "/s/m", "Content-Type: application/grpc").send()
	q := s.only()
	q.head(200, false)
	q.data(refusal)
	q.end("grpc-status: 0")
	if status, _ := c.resp.Fields.Value("grpc-status"); status != "16" {
		t.Errorf("a gRPC client got %v, want grpc-status 16", c.resp.Fields)
	}
	s.want(c, 200, "UAEX")
}

// meshConfig.extensionProviders of Istio: timeout, and headersToUpstreamOnAllow
// that names none.
func TestProvidersHaveTheirTimeAndMayWithhold(t *testing.T) {
	s := newStage(t, asking(routing.ExternalAuth{Timeout: time.Second, Withhold: true}))
	c := s.get("/")
	s.only().head(200, true, "X-User: me")
	s.loop.Settle()
	b := s.call(1)
	if got := b.header("x-user"); got != "" {
		t.Errorf("the backend was told X-User %q, want nothing", got)
	}
	b.reply(200, "ok")
	if c.resp.Status != 200 {
		t.Errorf("status %d, want 200", c.resp.Status)
	}
	slow := s.get("/")
	s.pass(999 * time.Millisecond)
	if slow.done() {
		t.Error("turned away before a second was over")
	}
	s.pass(time.Millisecond)
	if slow.resp.Status != 403 {
		t.Errorf("status %d after a second, want 403", slow.resp.Status)
	}
}
