package http1

import (
	"bufio"
	"net/http"
	"strings"
	"testing"
	"time"

	"fairway.dev/gateway/message"
)

// evil are names and values that would add lines, or become other fields, if
// they were written as they are.
var evil = []message.Field{
	{Text: "X", Value: "a\r\nInjected: 1"},
	{Text: "X", Value: "a\nInjected: 1"},
	{Text: "X", Value: "a\rInjected: 1"},
	{Text: "X", Value: "a\x00"},
	{Text: "X", Value: "a\r\n\r\nGET /injected HTTP/1.1"},
	{Text: "Via", Value: "\r\nInjected: 1", ID: message.Via},
	{Text: "X\r\nInjected", Value: "1"},
	{Text: "X\nInjected", Value: "1"},
	{Text: "Injected: 1\r\nX", Value: "1"},
	{Text: "Transfer-Encoding: chunked\r\nX", Value: "1"},
	{Text: "Transfer-Encoding ", Value: "chunked"},
	{Text: "Content-Length:", Value: "5"},
	{Text: " Injected", Value: "1"},
	{Text: "", Value: "Injected"},
	{Text: "X\x00", Value: "1"},
}

// RFC 9110 section 5.5: CR, LF and NUL in a field are dangerous; whoever put
// them there, they are not written.
func TestNothingIsInjected(t *testing.T) {
	for _, f := range evil {
		fields := message.Fields{{Text: "Before", Value: "1"}, f, {Text: "After", Value: "2"}}
		b, ok := appendRequest(nil, &message.Request{Method: "GET", Authority: "a", Path: "/", Fields: fields}, frame{})
		want := "GET / HTTP/1.1\r\nHost: a\r\nBefore: 1\r\nAfter: 2\r\n\r\n"
		if !ok || string(b) != want {
			t.Errorf("%+v: request %q, want %q", f, b, want)
		}
		resp := &message.Response{Status: 200, Fields: fields}
		if b := string(appendInterim(nil, resp)); b != "HTTP/1.1 200 OK\r\nBefore: 1\r\nAfter: 2\r\n\r\n" {
			t.Errorf("%+v: response %q", f, b)
		}
		if b := string(appendFields(nil, fields)); b != "Before: 1\r\nAfter: 2\r\n" {
			t.Errorf("%+v: trailers %q", f, b)
		}
		resp = &message.Response{Status: 200, Reason: f.Value}
		if b := string(appendStatus(nil, 200, f.Value)); strings.ContainsAny(strings.TrimSuffix(b, "\r\n"), "\r\n\x00") {
			t.Errorf("%+v: status line %q", f, b)
		}
	}
}

// FuzzWrite holds that what is written reads as what was meant, whatever
// bytes stand in it: net/http finds one request, and no field that was not
// given.
func FuzzWrite(f *testing.F) {
	for _, e := range evil {
		f.Add("GET", "/", "", "a", e.Text, e.Value)
		f.Add("GET", "/"+e.Value, "?"+e.Value, "a"+e.Value, "X", "y")
	}
	f.Fuzz(func(t *testing.T, method, path, query, host, name, value string) {
		req := &message.Request{Method: method, Path: path, Query: query, Authority: host}
		req.Fields.Append(name, value)
		b, ok := appendRequest(nil, req, frame{})
		if !ok {
			return
		}
		in := bufio.NewReader(strings.NewReader(string(b)))
		got, err := http.ReadRequest(in)
		if err != nil {
			return // what was asked for is odd, as a target may be to net/http
		}
		if got.Method != method || got.RequestURI != path+query || got.Host != host {
			t.Errorf("%q reads as %s %s of %q", b, got.Method, got.RequestURI, got.Host)
		}
		if n := len(got.Header); n > 1 || n == 1 && !message.IsToken(name) {
			t.Errorf("%q has the fields %v, given %q", b, got.Header, name)
		}
		if in.Buffered() > 0 {
			t.Errorf("%q is more than one request", b)
		}
	})
}

func TestStatusLines(t *testing.T) {
	tests := []struct {
		status int
		reason string
		want   string
	}{
		{200, "", "HTTP/1.1 200 OK\r\n"},
		{200, "OK", "HTTP/1.1 200 OK\r\n"},
		{200, "Fine", "HTTP/1.1 200 Fine\r\n"},
		{299, "", "HTTP/1.1 299 \r\n"},
		{42, "x", "HTTP/1.1 502 Bad Gateway\r\n"},
		{600, "x", "HTTP/1.1 502 Bad Gateway\r\n"},
	}
	for _, tt := range tests {
		if got := string(appendStatus(nil, tt.status, tt.reason)); got != tt.want {
			t.Errorf("status %d %q is written %q, want %q", tt.status, tt.reason, got, tt.want)
		}
	}
}

// RFC 9110 section 6.6.1.
func TestDateIsCachedBySecond(t *testing.T) {
	var s shared
	for _, at := range []time.Duration{0, 999 * time.Millisecond, time.Second, 24 * time.Hour} {
		now := noon.Add(at).In(time.FixedZone("", 3600))
		if got, want := string(s.date(now)), "Date: "+now.UTC().Format(http.TimeFormat)+"\r\n"; got != want {
			t.Errorf("at %v: %q, want %q", at, got, want)
		}
	}
	if n := testing.AllocsPerRun(100, func() { s.date(noon); s.date(noon.Add(time.Second)) }); n != 0 {
		t.Errorf("date allocates %v times, want 0", n)
	}
}
