package telemetry

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"fairway.dev/gateway/message"
)

// full is a record with a value in every field.
func full() *Record {
	return &Record{
		Start:    time.Date(2026, 11, 20, 8, 5, 9, 7e6, time.FixedZone("", 3600)),
		Duration: 12345 * time.Microsecond, Upstream: 11 * time.Millisecond,
		Method: "POST", Authority: "shop.example", Path: "/cart/items", Proto: message.HTTP2,
		Status: 200, GRPCStatus: 14, Flags: UpstreamFailure | UpstreamRetryLimit,
		BytesReceived: 17, BytesSent: 1024, Attempts: 2,
		Remote:    netip.MustParseAddrPort("192.0.2.7:51234"),
		Endpoint:  netip.MustParseAddrPort("[2001:db8::1]:8080"),
		RequestID: "7f3c", UserAgent: "curl/8", TLS: true, Client: VerifiedClient,
		Source: "spiffe://cluster.local/ns/shop/sa/web",
	}
}

func TestLinesHoldWhatIsKnown(t *testing.T) {
	m := New(Options{})
	bare := &Record{Start: time.Unix(0, 0), Method: "GET", Path: "/", Proto: message.HTTP10, Status: 404, GRPCStatus: -1}
	tests := []struct {
		name   string
		format func([]byte, *stamp, *Exchanges, *Record) []byte
		labels Labels
		record *Record
		want   string
	}{
		{"all, as JSON", appendJSON, cart, full(),
			`{"time":"2026-11-20T07:05:09.007Z","method":"POST","authority":"shop.example","path":"/cart/items",` +
				`"protocol":"HTTP/2","status":200,"grpc_status":14,"flags":"UF,URX","bytes_in":17,"bytes_out":1024,` +
				`"duration_ms":12.345,"upstream_ms":11.000,"remote":"192.0.2.7:51234","endpoint":"[2001:db8::1]:8080",` +
				`"request_id":"7f3c","user_agent":"curl/8","attempts":2,"tls":true,"client_certificate":"verified",` +
				`"source_principal":"spiffe://cluster.local/ns/shop/sa/web","cluster":"shop/cart:8080",` +
				`"route":"HTTPRoute/shop/cart","rule":"0","listener":"shop/edge/https"}` + "\n"},
		{"little, as JSON", appendJSON, Labels{}, bare,
			`{"time":"1970-01-01T00:00:00.000Z","method":"GET","authority":"","path":"/","protocol":"HTTP/1.0","status":404,` +
				`"bytes_in":0,"bytes_out":0,"duration_ms":0.000,"remote":"-","attempts":0,"tls":false}` + "\n"},
		{"all, as text", appendText, cart, full(),
			`[2026-11-20T07:05:09.007Z] "POST /cart/items HTTP/2" 200 UF,URX 17 1024 12.345 11.000 192.0.2.7:51234 ` +
				`[2001:db8::1]:8080 "shop.example" "curl/8" "7f3c" "shop/edge/https" "HTTPRoute/shop/cart" "0" "shop/cart:8080"` +
				` attempts=2 grpc=14 tls client=verified source="spiffe://cluster.local/ns/shop/sa/web"` + "\n"},
		{"little, as text", appendText, Labels{}, bare,
			`[1970-01-01T00:00:00.000Z] "GET / HTTP/1.0" 404 - 0 0 0.000 - - - "-" "-" "-" "-" "-" "-" "-"` + "\n"},
	}
	for _, tt := range tests {
		var clock stamp
		if got := string(tt.format(nil, &clock, m.Exchanges(tt.labels), tt.record)); got != tt.want {
			t.Errorf("%s:\n%s\nwant\n%s", tt.name, got, tt.want)
		}
	}
}

func TestStampFollowsTheClock(t *testing.T) {
	var s stamp
	start := time.Date(2026, 12, 31, 23, 59, 59, 0, time.UTC)
	for _, d := range []time.Duration{0, 999 * time.Millisecond, time.Second, 500 * time.Millisecond, -24 * time.Hour} {
		at := start.Add(d)
		want := at.Format("2006-01-02T15:04:05.000Z")
		if got := string(s.append(nil, at)); got != want {
			t.Errorf("stamp of %v = %s, want %s", at, got, want)
		}
	}
}

// What a client sends must not end its quotes or its line, nor reach a
// terminal as anything but text.
func TestTextLinesCannotBeForged(t *testing.T) {
	tests := []struct{ in, want string }{
		{"/cart", "/cart"},
		{"/\" 200 - 0 0\n[2026", `/\x22 200 - 0 0\x0a[2026`},
		{`back\slash`, `back\x5cslash`},
		{"\x1b[2J\x7f", `\x1b[2J\x7f`},
		{"grün 世界", "grün 世界"},
		{"\u009b2J\u2028", `\u009b2J\u2028`}, // C1's CSI; a line to JavaScript
		{"\xff\xc3", `\xff\xc3`},             // no UTF-8
	}
	for _, tt := range tests {
		if got := string(appendQuoted(nil, tt.in)); got != tt.want {
			t.Errorf("appendQuoted(%q) = %s, want %s", tt.in, got, tt.want)
		}
	}
}

func TestLongValuesAreCutBetweenRunes(t *testing.T) {
	for _, unit := range []string{"a", "ü", "世", "😀", "\x80"} {
		long := "x" + strings.Repeat(unit, 2*maxValue)
		got := appendQuoted(nil, long)
		if len(got) > 4*maxValue+len("…") || !utf8.Valid(got) || !strings.HasSuffix(string(got), "…") {
			t.Errorf("%q, many times, becomes %d bytes, valid %v, ending in %q", unit, len(got), utf8.Valid(got), got[len(got)-6:])
		}
	}
}

// asJSONHasIt is the oracle: what encoding/json makes of a string that was
// encoded and decoded.
func asJSONHasIt(t *testing.T, s string) string {
	t.Helper()
	encoded, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	var out string
	if err := json.Unmarshal(encoded, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

func FuzzJSONString(f *testing.F) {
	for _, s := range []string{"", "/cart", `"\`, "\x00\n\x7f", "grün\u2028\u0085", "\xff\xed\xa0\x80", "😀\xf0\x9f"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		encoded := appendMember(nil, "", s)
		var got string
		if err := json.Unmarshal(encoded, &got); err != nil {
			t.Fatalf("%q becomes %s: %v", s, encoded, err)
		}
		if len(s) <= maxValue {
			if want := asJSONHasIt(t, s); got != want {
				t.Errorf("%q becomes %s: that is %q, want %q", s, encoded, got, want)
			}
		}
		for _, r := range string(encoded) {
			if unicode.IsControl(r) {
				t.Errorf("%q becomes %q, with a control character", s, encoded)
			}
		}
	})
}

func FuzzLines(f *testing.F) {
	f.Add("GET", "shop.example", "/", "curl/8", "id", 200, int64(5), uint32(0))
	f.Add("\n", "\"", "\\", "\x1b", "\xff", -1, int64(-1), ^uint32(0))
	m := New(Options{})
	f.Fuzz(func(t *testing.T, method, authority, path, agent, id string, status int, n int64, flags uint32) {
		e := m.Exchanges(Labels{Route: path, Cluster: agent})
		r := &Record{
			Start: time.Unix(0, n), Duration: time.Duration(n), Upstream: time.Duration(n),
			Method: method, Authority: authority, Path: path, UserAgent: agent, RequestID: id,
			Status: status, GRPCStatus: status, BytesReceived: n, BytesSent: n, Flags: Flags(flags),
		}
		var clock stamp
		line := appendJSON(nil, &clock, e, r)
		var decoded struct {
			Method    string `json:"method"`
			BytesSent int64  `json:"bytes_out"`
			Status    int    `json:"status"`
		}
		if err := json.Unmarshal(line, &decoded); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		if decoded.BytesSent != n || decoded.Status != status {
			t.Errorf("%s: bytes %d, status %d; want %d, %d", line, decoded.BytesSent, decoded.Status, n, status)
		}
		for _, line := range []string{string(line), string(appendText(nil, &clock, e, r))} {
			if strings.Count(line, "\n") != 1 || !strings.HasSuffix(line, "\n") {
				t.Errorf("%q is not one line", line)
			}
		}
	})
}
