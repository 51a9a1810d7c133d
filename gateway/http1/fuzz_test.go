package http1

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"fairway.dev/gateway/message"
)

// transcript is all that a connection's two sides hear, when the client sends
// the given pieces and then ends its side. Requests under /e are answered at
// once, those under /l in a later event, the others when they end.
func transcript(pieces [][]byte) string {
	d := newDesk(Limits{LineBytes: 200, HeadBytes: 600, Fields: 8, Discard: 100})
	var told strings.Builder
	d.answer = func(u *user) {
		path := u.req.Path
		done := func() { u.ok(path) }
		switch {
		case strings.HasPrefix(path, "/e"):
			done()
		case u.req.Upgrade != "":
			u.s.Head(&message.Response{Status: 101}, false)
			u.onEnd = func() { u.s.End(nil) }
		case strings.HasPrefix(path, "/l"):
			u.onEnd = func() { d.loop.Defer(done) }
		default:
			u.onEnd = done
		}
		if u.last && u.onEnd != nil {
			u.onEnd()
		}
	}
	for _, p := range pieces {
		d.far.send(string(p))
	}
	d.far.CloseWrite()
	d.loop.Settle()
	for i, u := range d.users {
		fmt.Fprintf(&told, "%s\n%q %q %v %v\n", d.said[i], u.body.String(), u.tail, u.ended, u.err)
	}
	fmt.Fprintf(&told, "%q %v %v", d.far.take(), d.refused, d.far.over())
	return told.String()
}

// split cuts in by cuts: the length of each piece in turn, over and over.
func split(in, cuts []byte) (pieces [][]byte) {
	for i := 0; len(in) > 0; i++ {
		n := len(in)
		if len(cuts) > 0 {
			n = min(n, max(1, int(cuts[i%len(cuts)])))
		}
		pieces = append(pieces, in[:n])
		in = in[n:]
	}
	return pieces
}

// FuzzServer holds that arbitrary bytes do no harm, and that the outcome is
// the same in whatever pieces they arrive.
func FuzzServer(f *testing.F) {
	whole := begun + "\r\n" + chunkedPost + "5;x\r\nhello\r\n0\r\nX: y\r\n\r\n" + "\r\nPOST /l HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"
	for _, in := range []string{
		whole, strings.ReplaceAll(whole, "/ HTTP", "/e HTTP"), strings.ReplaceAll(whole, "/ HTTP", "/l HTTP"),
		begun + "Connection: upgrade, x-y\r\nUpgrade: x\r\nX-Y: 1\r\n\r\nraw",
		"GET /\r\nHost: HTTP/1.1\r\n\r\n", "GET /a\x01b\r\nfoo: bar baz\r\n", begun + "Foo : bar",
		begun + "X: " + strings.Repeat("y", 700), "GET /" + strings.Repeat("y", 300), begun + strings.Repeat("a: b\r\n", 9),
		"GET / HTTP/1.1\nHost: a\n\n", begun + "X: a\rb", "POST /e HTTP/1.1\r\nHost: a\r\nContent-Length: 200\r\n\r\n" + strings.Repeat("x", 200),
	} {
		f.Add([]byte(in), []byte{1})
		f.Add([]byte(in), []byte{7, 1, 30})
	}
	f.Fuzz(func(t *testing.T, in, cuts []byte) {
		if len(in) > 4<<10 {
			return
		}
		one, several := transcript(split(in, nil)), transcript(split(in, cuts))
		if one != several {
			t.Errorf("%q\nin one piece:  %s\nin %d pieces: %s", in, one, len(split(in, cuts)), several)
		}
	})
}

// fieldsOfHop are left out of comparisons with net/http, which keeps them.
var fieldsOfHop = []string{"Connection", "Content-Length", "Keep-Alive", "Proxy-Connection", "Te", "Transfer-Encoding", "Upgrade", "Http2-Settings"}

// endToEnd returns what http.Header has besides the fields of this hop.
func endToEnd(h http.Header) map[string]string {
	h = h.Clone()
	for _, list := range h["Connection"] {
		for name := range strings.SplitSeq(list, ",") {
			if name = http.CanonicalHeaderKey(strings.Trim(name, " \t")); name != "Connection" {
				h.Del(name)
			}
		}
	}
	for _, name := range fieldsOfHop {
		h.Del(name)
	}
	joined := make(map[string]string)
	for name, values := range h {
		joined[name] = strings.Join(values, "\x00")
	}
	return joined
}

func ours(fields message.Fields) map[string]string {
	h := make(http.Header)
	for _, x := range fields {
		h[http.CanonicalHeaderKey(x.Text)] = append(h[http.CanonicalHeaderKey(x.Text)], x.Value)
	}
	return endToEnd(h)
}

// FuzzRequest compares with net/http: what we accept, it accepts, with the
// same method, target, host, fields, body and trailers. It is less strict, so
// nothing is asked of what we refuse.
func FuzzRequest(f *testing.F) {
	for _, in := range []string{
		begun + "X: y\r\nx: z\r\n\r\n", "GET http://a:80/b?c HTTP/1.1\r\nHost: A\r\nAccept: */*\r\n\r\n",
		"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "GET //a HTTP/1.2\r\nHost: [::1]:1\r\n\r\n",
		chunkedPost + "5;x\r\nhello\r\n0\r\nX: y\r\n\r\n", "POST / HTTP/1.0\r\nContent-Length: 3\r\n\r\nabc",
	} {
		f.Add([]byte(in))
	}
	f.Fuzz(judgeRequest)
}

// FuzzRequestParts makes requests of parts that matter: a byte stands for one.
func FuzzRequestParts(f *testing.F) {
	parts := []string{
		"GET ", "POST ", "OPTIONS ", "/", "*", "http://a", "?b", "%41", "#", " HTTP/1.1\r\n", " HTTP/1.0\r\n", " ", "\t", "\r\n", "\n", "\r",
		"Host: a\r\n", "Host: b\r\n", "Host:", "Content-Length: 5\r\n", "Content-Length:", "5", "0", "+", ",", "Transfer-Encoding: chunked\r\n",
		"Transfer-Encoding:", "chunked", "gzip", "Connection: ", "close", "keep-alive", "upgrade", "Upgrade: x\r\n", "x-y", "X-Y: z\r\n", "X-Y", ": ", ":",
		"hello", "5\r\nhello\r\n", "0\r\n\r\n", "0\r\n", "\r\n\r\n", ";", "=", "\"", "\x00", "\x7f", "\xff", "Expect: 100-continue\r\n", "Trailer: x\r\n", "TE: trailers\r\n",
		"Pragma: no-cache\r\n", "Cookie: a=b\r\n", "Keep-Alive: 5\r\n", "@", "[::1]", "80", "\\", "/a/../b", "//",
	}
	at := func(s ...string) (b []byte) {
		for _, x := range s {
			b = append(b, byte(slices.Index(parts, x)))
		}
		return b
	}
	f.Add(at("GET ", "/", " HTTP/1.1\r\n", "Host: a\r\n", "X-Y: z\r\n", "\r\n"))
	f.Add(at("POST ", "/", " HTTP/1.1\r\n", "Host: a\r\n", "Transfer-Encoding: chunked\r\n", "\r\n", "5\r\nhello\r\n", "0\r\n", "X-Y: z\r\n", "\r\n"))
	f.Add(at("POST ", "http://a", "?b", " HTTP/1.1\r\n", "Host: a\r\n", "Content-Length: 5\r\n", "Connection: ", "x-y", "\r\n", "X-Y: z\r\n", "\r\n", "hello"))
	f.Fuzz(func(t *testing.T, choice []byte) {
		var in []byte
		for _, c := range choice {
			in = append(in, parts[int(c)%len(parts)]...)
		}
		if len(in) > 4<<10 {
			return
		}
		judgeRequest(t, in)
		if one, several := transcript(split(in, nil)), transcript(split(in, choice)); one != several {
			t.Errorf("%q\nin one piece:  %s\nin several: %s", in, one, several)
		}
	})
}

// judgeRequest compares what we make of in with what net/http does.
func judgeRequest(t *testing.T, in []byte) {
	d := newDesk(Limits{})
	var fields message.Fields
	d.answer = func(u *user) { fields = clone(u.req.Fields) }
	d.far.send(string(in))
	if len(d.users) == 0 {
		return
	}
	u := d.users[0]
	if u.err != nil || !u.ended && !u.last && u.req.Upgrade == "" {
		return // not whole, or refused in its body
	}
	// net/http does not allow for empty lines before a request.
	for bytes.HasPrefix(in, crlf) {
		in = in[2:]
	}
	theirs, err := http.ReadRequest(bufio.NewReaderSize(bytes.NewReader(in), 128<<10))
	if err != nil {
		// It refuses a Trailer field that names one that must not come;
		// we refuse that field when it comes.
		if strings.Contains(err.Error(), "bad trailer key") {
			return
		}
		t.Fatalf("%q: net/http refuses it: %v", in, err)
	}
	body, err := io.ReadAll(theirs.Body)
	if err != nil || string(body) != u.body.String() {
		t.Errorf("%q: body %q, net/http's %q, %v", in, u.body.String(), body, err)
	}
	if target := u.req.Path + u.req.Query; theirs.Method != u.req.Method || !sameTarget(theirs.RequestURI, target) {
		t.Errorf("%q: %s %s, net/http's %s %s", in, u.req.Method, target, theirs.Method, theirs.RequestURI)
	}
	if theirs.Host != u.req.Authority {
		t.Errorf("%q: host %q, net/http's %q", in, u.req.Authority, theirs.Host)
	}
	compareFields(t, in, fields, theirs.Header)
	if tail := list(trailersOf(theirs.Trailer)); len(tail) != len(u.tail) {
		t.Errorf("%q: trailers %q, net/http's %q", in, u.tail, tail)
	}
}

func clone(f message.Fields) message.Fields {
	c := slices.Clone(f)
	for i := range c {
		c[i].Text, c[i].Value = strings.Clone(c[i].Text), strings.Clone(c[i].Value)
	}
	return c
}

func trailersOf(h http.Header) (f message.Fields) {
	for name, values := range h {
		for _, v := range values {
			f.Append(name, v)
		}
	}
	return f
}

// sameTarget compares a target as it came with what became of it.
func sameTarget(came, became string) bool {
	if _, rest, ok := strings.Cut(came, "://"); ok && came[0] != '/' && came != "*" {
		if i := strings.IndexAny(rest, "/?"); i >= 0 {
			return rest[i:] == became || "/"+rest[i:] == became
		}
		return became == "/" || became == "*"
	}
	return came == became
}

func compareFields(t *testing.T, in []byte, fields message.Fields, header http.Header) {
	t.Helper()
	a, b := ours(fields), endToEnd(header)
	if _, given := a["Cache-Control"]; !given && strings.HasPrefix(a["Pragma"], "no-cache") {
		delete(b, "Cache-Control") // net/http adds it
	}
	delete(a, "Expect") // HTTP/1.0's is dropped
	delete(b, "Expect")
	delete(a, "Trailer") // net/http takes it
	delete(b, "Trailer")
	if !maps.Equal(a, b) {
		t.Errorf("%q: fields %q, net/http's %q", in, a, b)
	}
}

// FuzzResponse does the same for responses, and cuts them up too.
func FuzzResponse(f *testing.F) {
	for _, in := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX: y\r\n\r\nhi",
		"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nX: y\r\n\r\n",
		"HTTP/1.0 404 \r\n\r\nbody", "HTTP/1.1 204\r\nConnection: x\r\nX: y\r\n\r\n", "HTTP/1.1 200 OK\r\nX : y\r\n\r\n",
	} {
		f.Add([]byte(in), []byte{1}, false)
		f.Add([]byte(in), []byte{5, 40}, true)
	}
	f.Fuzz(func(t *testing.T, in, cuts []byte, head bool) {
		if len(in) > 4<<10 {
			return
		}
		one, u, fields, status := answer(split(in, nil), head)
		if several, _, _, _ := answer(split(in, cuts), head); one != several {
			t.Errorf("%q\nin one piece:  %s\nin %d pieces: %s", in, one, len(split(in, cuts)), several)
		}
		if !u.ended {
			return
		}
		method := "GET"
		if head {
			method = "HEAD"
		}
		r := bufio.NewReaderSize(bytes.NewReader(in), 128<<10)
		theirs, err := http.ReadResponse(r, &http.Request{Method: method})
		for err == nil && theirs.StatusCode < 200 {
			theirs, err = http.ReadResponse(r, &http.Request{Method: method})
		}
		if err != nil {
			if strings.Contains(err.Error(), "bad trailer key") {
				return
			}
			t.Fatalf("%q: net/http refuses it: %v", in, err)
		}
		body, err := io.ReadAll(theirs.Body)
		if err != nil || string(body) != u.body.String() || theirs.StatusCode != status {
			t.Errorf("%q: status %d, body %q; net/http's %d, %q, %v", in, status, u.body.String(), theirs.StatusCode, body, err)
		}
		compareFields(t, in, fields, theirs.Header)
	})
}

// answer returns what a user and an owner hear of a backend that sends the
// pieces and closes.
func answer(pieces [][]byte, head bool) (told string, u *user, fields message.Fields, status int) {
	p := newPhone(Limits{LineBytes: 200, HeadBytes: 600, Fields: 8})
	req := get("/")
	if head {
		req.Method = "HEAD"
	}
	u = &user{onHead: func(resp *message.Response, _ bool) { fields, status = clone(resp.Fields), resp.Status }}
	u.stream = p.client.Open(req, true, u)
	p.loop.Settle()
	for _, piece := range pieces {
		p.far.send(string(piece))
	}
	p.far.Finish()
	p.loop.Settle()
	return fmt.Sprintf("%q %q %q %v %v %v", u.heads, u.body.String(), u.tail, u.ended, u.err, p.refused), u, fields, status
}
