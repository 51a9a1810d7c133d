package policy

import (
	"net/netip"
	"reflect"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"fairway.dev/gateway/message"
)

func check() *Check {
	c := &Check{
		Source: netip.MustParseAddrPort("10.0.0.1:4711"), Destination: netip.MustParseAddrPort("[fd00::1]:443"),
		SNI: "shop.example.com", Time: time.Unix(1700000000, 5), ID: "an-id", Method: "POST", Scheme: "https",
		Host: "shop.example.com:443", Path: "/cart?n=1", Proto: message.HTTP2, Size: -1, Body: []byte("body"),
	}
	c.Fields.Add(message.Authorization, "Bearer x")
	c.Fields.Append("X-Team", "a")
	c.Fields.Append("x-team", "b")
	c.Fields.Append("X-Odd", "\xff")
	return c
}

// read decodes a message with the types that Envoy's API has for it.
func read(t *testing.T, c *Check) *authv3.AttributeContext {
	t.Helper()
	var req authv3.CheckRequest
	if err := proto.Unmarshal(c.Append(nil), &req); err != nil {
		t.Fatal(err)
	}
	if left := req.ProtoReflect().GetUnknown(); len(left) > 0 {
		t.Errorf("fields that nobody knows: %x", left)
	}
	return req.Attributes
}

func TestCheckIsWhatEnvoyWouldAsk(t *testing.T) {
	c := check()
	a := read(t, c)
	socket := func(addr *corev3.Address) string {
		s := addr.GetSocketAddress()
		return netip.AddrPortFrom(netip.MustParseAddr(s.GetAddress()), uint16(s.GetPortValue())).String()
	}
	if s, d := socket(a.Source.Address), socket(a.Destination.Address); s != c.Source.String() || d != c.Destination.String() {
		t.Errorf("from %s to %s, want %s and %s", s, d, c.Source, c.Destination)
	}
	if a.TlsSession.GetSni() != c.SNI || !a.Request.Time.AsTime().Equal(c.Time) {
		t.Errorf("SNI %s, time %s", a.TlsSession.GetSni(), a.Request.Time.AsTime())
	}
	h := a.Request.Http
	if h.Id != c.ID || h.Method != c.Method || h.Path != c.Path || h.Host != c.Host || h.Scheme != c.Scheme ||
		h.Size != -1 || h.Protocol != "HTTP/2" || h.Body != "body" || h.Query != "" {
		t.Errorf("request %+v", h)
	}
	want := map[string]string{
		":method": "POST", ":path": "/cart?n=1", ":authority": "shop.example.com:443", ":scheme": "https",
		"authorization": "Bearer x", "x-team": "a, b", "x-odd": "!",
	}
	if !reflect.DeepEqual(h.Headers, want) {
		t.Errorf("headers %q, want %q", h.Headers, want)
	}
}

func TestCheckTellsWhatIsWanted(t *testing.T) {
	c := check()
	c.Wants = func(lower string) bool { return lower == "x-team" }
	c.Body, c.SNI = []byte{0xff, 0}, ""
	a := read(t, c)
	if h := a.Request.Http; !reflect.DeepEqual(h.Headers, map[string]string{"x-team": "a, b"}) || h.Body != "" || string(h.RawBody) != "\xff\x00" {
		t.Errorf("headers %q, body %q, raw body %q", h.Headers, h.Body, h.RawBody)
	}
	if a.TlsSession != nil {
		t.Error("a TLS session without TLS")
	}
}

func option(name, value string, o *corev3.HeaderValueOption) *corev3.HeaderValueOption {
	o.Header = &corev3.HeaderValue{Key: name, Value: value}
	return o
}

func TestVerdicts(t *testing.T) {
	yes, no := wrapperspb.Bool(true), wrapperspb.Bool(false)
	denied := &statuspb.Status{Code: 7}
	tests := []struct {
		name string
		resp *authv3.CheckResponse
		want Verdict
		err  string
	}{
		{"allowed", &authv3.CheckResponse{Status: &statuspb.Status{}}, Verdict{Allowed: true, Status: 403}, ""},
		{"allowed, by proto3's default", &authv3.CheckResponse{}, Verdict{Allowed: true, Status: 403}, ""},
		{"edits", &authv3.CheckResponse{HttpResponse: &authv3.CheckResponse_OkResponse{OkResponse: &authv3.OkHttpResponse{
			Headers: []*corev3.HeaderValueOption{
				option("X-User", "me", &corev3.HeaderValueOption{}),
				option("x-a", "1", &corev3.HeaderValueOption{Append: yes}),
				option("x-b", "2", &corev3.HeaderValueOption{Append: no, AppendAction: corev3.HeaderValueOption_ADD_IF_ABSENT}),
				option("x-c", "3", &corev3.HeaderValueOption{AppendAction: corev3.HeaderValueOption_ADD_IF_ABSENT}),
				option("x-d", "4", &corev3.HeaderValueOption{AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD}),
				option("x-e", "5", &corev3.HeaderValueOption{AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS}),
				{Header: &corev3.HeaderValue{Key: "x-f", RawValue: []byte("\xff")}},
			},
			HeadersToRemove:      []string{"Cookie"},
			ResponseHeadersToAdd: []*corev3.HeaderValueOption{option("set-cookie", "a=b", &corev3.HeaderValueOption{Append: yes})},
		}}}, Verdict{
			Allowed: true, Status: 403, Remove: []string{"cookie"}, Response: []Edit{{"set-cookie", "a=b", Add}},
			Edits: []Edit{{"x-user", "me", Set}, {"x-a", "1", Add}, {"x-b", "2", Set}, {"x-c", "3", IfAbsent}, {"x-d", "4", Set}, {"x-e", "5", IfPresent}, {"x-f", "\xff", Set}},
		}, ""},
		{"denied", &authv3.CheckResponse{Status: denied}, Verdict{Status: 403}, ""},
		{"denied in words", &authv3.CheckResponse{Status: denied, HttpResponse: &authv3.CheckResponse_DeniedResponse{DeniedResponse: &authv3.DeniedHttpResponse{
			Status: &typev3.HttpStatus{Code: 302}, Body: "go away", Headers: []*corev3.HeaderValueOption{option("location", "/login", &corev3.HeaderValueOption{})},
		}}}, Verdict{Status: 302, Body: "go away", Edits: []Edit{{"location", "/login", Set}}}, ""},
		{"what an answer says is nothing where the status says otherwise", &authv3.CheckResponse{Status: denied, HttpResponse: &authv3.CheckResponse_OkResponse{OkResponse: &authv3.OkHttpResponse{}}},
			Verdict{Status: 403}, ""},
		{"error", &authv3.CheckResponse{Status: denied, HttpResponse: &authv3.CheckResponse_ErrorResponse{ErrorResponse: &authv3.DeniedHttpResponse{Status: &typev3.HttpStatus{Code: 500}}}},
			Verdict{Status: 500}, ""},
		{"query", &authv3.CheckResponse{HttpResponse: &authv3.CheckResponse_OkResponse{OkResponse: &authv3.OkHttpResponse{QueryParametersToRemove: []string{"a"}}}},
			Verdict{}, "an edit of query parameters: want edits of fields only"},
		{"pseudo field", &authv3.CheckResponse{HttpResponse: &authv3.CheckResponse_OkResponse{OkResponse: &authv3.OkHttpResponse{
			Headers: []*corev3.HeaderValueOption{option(":path", "/x", &corev3.HeaderValueOption{})}}}}, Verdict{}, `field name ":path": want a token`},
		{"two lines", &authv3.CheckResponse{HttpResponse: &authv3.CheckResponse_OkResponse{OkResponse: &authv3.OkHttpResponse{
			Headers: []*corev3.HeaderValueOption{option("a", "b\nc: d", &corev3.HeaderValueOption{})}}}}, Verdict{}, `value "b\nc: d" of field a: want nothing of control in it`},
		{"a host that is none", &authv3.CheckResponse{HttpResponse: &authv3.CheckResponse_OkResponse{OkResponse: &authv3.OkHttpResponse{
			Headers: []*corev3.HeaderValueOption{option("Host", "a b", &corev3.HeaderValueOption{})}}}}, Verdict{}, `host "a b": want one host in place of another`},
		{"no name", &authv3.CheckResponse{HttpResponse: &authv3.CheckResponse_OkResponse{OkResponse: &authv3.OkHttpResponse{HeadersToRemove: []string{""}}}}, Verdict{}, `field name "": want a token`},
		{"status", &authv3.CheckResponse{Status: denied, HttpResponse: &authv3.CheckResponse_DeniedResponse{DeniedResponse: &authv3.DeniedHttpResponse{Status: &typev3.HttpStatus{Code: 101}}}},
			Verdict{}, "status 101: want 200-599"},
	}
	for _, tt := range tests {
		b, err := proto.Marshal(tt.resp)
		if err != nil {
			t.Fatal(err)
		}
		got, err := ParseVerdict(b)
		switch {
		case tt.err != "":
			if err == nil || err.Error() != tt.err {
				t.Errorf("%s: error %v, want %s", tt.name, err, tt.err)
			}
		case err != nil:
			t.Errorf("%s: %v", tt.name, err)
		case !reflect.DeepEqual(*got, tt.want):
			t.Errorf("%s: %+v, want %+v", tt.name, *got, tt.want)
		}
	}
}

// FuzzParseVerdict holds the law: what Envoy's own types do not read lets
// nobody pass, nor does what they read as a refusal.
func FuzzParseVerdict(f *testing.F) {
	for _, resp := range []*authv3.CheckResponse{
		{}, {Status: &statuspb.Status{Code: 16}},
		{HttpResponse: &authv3.CheckResponse_OkResponse{OkResponse: &authv3.OkHttpResponse{HeadersToRemove: []string{"a"}, Headers: []*corev3.HeaderValueOption{option("a", "b", &corev3.HeaderValueOption{})}}}},
	} {
		b, err := proto.Marshal(resp)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte{0x0a, 0x02, 0x08})
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := ParseVerdict(b)
		if err != nil || !got.Allowed {
			return
		}
		var resp authv3.CheckResponse
		if proto.Unmarshal(b, &resp) == nil && resp.GetStatus().GetCode() != 0 {
			t.Fatalf("%x is a refusal with status %d, and passes", b, resp.GetStatus().GetCode())
		}
		for _, list := range [][]Edit{got.Edits, got.Response} {
			for _, e := range list {
				if checkName(e.Name) != nil || checkValue(&e) != nil {
					t.Fatalf("edit %q: %q", e.Name, e.Value)
				}
			}
		}
	})
}

// Of a message that is there twice the fields are merged: a refusal is not
// undone by what comes behind it.
func TestStatusesAreMerged(t *testing.T) {
	refusal, err := proto.Marshal(&authv3.CheckResponse{Status: &statuspb.Status{Code: 7}})
	if err != nil {
		t.Fatal(err)
	}
	v, err := ParseVerdict(append(refusal, 0x0a, 0)) // and an empty status
	if err != nil || v.Allowed {
		t.Errorf("%+v, %v; want a refusal", v, err)
	}
}
