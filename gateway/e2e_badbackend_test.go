package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// toPort is the manifests of an edge whose every request goes to a port.
func toPort(name, appProtocol string, port int) map[string]string {
	return map[string]string{
		"gateway.yaml": edge,
		"all.yaml": route("all", "\"*.example.com\"", "  - backendRefs: [{name: "+name+", port: 80}]") +
			serviceWith(name, appProtocol, port),
	}
}

// A rawBackend answers each path with given bytes, and closes the connection
// after those that end with the word closes.
type rawBackend struct {
	answers map[string]string

	mu    sync.Mutex
	count map[string]int
	conns []net.Conn
}

const closes = "<close>"

func (b *rawBackend) start(t *testing.T) int {
	t.Helper()
	b.count = map[string]int{}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ln.Close()
		b.disconnect()
	})
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			b.mu.Lock()
			b.conns = append(b.conns, conn)
			b.mu.Unlock()
			go b.serve(conn)
		}
	}()
	return ln.Addr().(*net.TCPAddr).Port
}

func (b *rawBackend) serve(conn net.Conn) {
	defer conn.Close()
	in := bufio.NewReader(conn)
	for {
		req, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		b.mu.Lock()
		b.count[req.URL.Path]++
		b.mu.Unlock()
		text, ok := b.answers[req.URL.Path]
		if !ok {
			text = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
		}
		text, ends := strings.CutSuffix(text, closes)
		if _, err := io.WriteString(conn, text); err != nil || ends {
			return
		}
	}
}

// asked returns how often a path was asked for.
func (b *rawBackend) asked(path string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.count[path]
}

// disconnect ends all connections.
func (b *rawBackend) disconnect() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, conn := range b.conns {
		conn.Close()
	}
}

// sockets returns how many sockets the gateway has open.
func (r *rig) sockets() int {
	r.t.Helper()
	r.page("/metrics") // so that the connection for this page counts
	dir := fmt.Sprintf("/proc/%d/fd", r.cmd.Process.Pid)
	entries, err := os.ReadDir(dir)
	if err != nil {
		r.t.Fatal(err)
	}
	n := 0
	for _, e := range entries {
		if to, err := os.Readlink(filepath.Join(dir, e.Name())); err == nil && strings.HasPrefix(to, "socket:") {
			n++
		}
	}
	return n
}

// settles waits until the gateway has no exchange, and no more sockets than it
// had before, but for the connections to backends that it keeps.
func (r *rig) settles(before int) {
	r.t.Helper()
	n := 0
	for began := time.Now(); time.Since(began) < patience; {
		n = r.sockets() - int(r.gauge("fairway_upstream_connections_open"))
		if n <= before && r.gauge("fairway_upstream_requests_active") == 0 {
			return
		}
	}
	r.t.Errorf("%d sockets are open, want %d as before", n, before)
}

const ok = "HTTP/1.1 200 OK\r\n"

// badBackends are answers of backends, and what the client is to get.
var badBackends = []struct {
	name, answer string
	status       int
	body         string // cut where it ends with "..."
}{
	{"both lengths", ok + "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 502, "*"},
	{"two lengths", ok + "Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", 502, "*"},
	{"the same length twice", ok + "Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc", 502, "*"},
	{"a list of lengths", ok + "Content-Length: 3, 3\r\n\r\nabc", 502, "*"},
	{"length with a sign", ok + "Content-Length: +3\r\n\r\nabc", 502, "*"},
	{"chunked twice", ok + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 502, "*"},
	{"xchunked", ok + "Transfer-Encoding: xchunked\r\n\r\nabc" + closes, 502, "*"},
	{"gzip, chunked", ok + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 502, "*"},
	{"chunked in HTTP/1.0", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 502, "*"},
	{"status of two digits", "HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n", 502, "*"},
	{"status 999", "HTTP/1.1 999 OK\r\nContent-Length: 0\r\n\r\n", 502, "*"},
	{"status 000", "HTTP/1.1 000 OK\r\nContent-Length: 0\r\n\r\n", 502, "*"},
	{"HTTP/2 in text", "HTTP/2 200 OK\r\nContent-Length: 0\r\n\r\n", 502, "*"},
	{"ICY", "ICY 200 OK\r\nContent-Length: 0\r\n\r\n", 502, "*"},
	{"no HTTP at all", "220 mail.example.com ESMTP\r\n", 502, "*"},
	{"a body and no head", "hello" + strings.Repeat(" ", 100_000), 502, "*"},
	{"lines that end with LF", "HTTP/1.1 200 OK\nContent-Length: 0\n\n", 502, "*"},
	{"space before a colon", ok + "Content-Length : 3\r\n\r\nabc", 502, "*"},
	{"folded line", ok + "A: b\r\n Set-Cookie: c\r\nContent-Length: 0\r\n\r\n", 502, "*"},
	{"CR in a value", ok + "A: b\rSet-Cookie: c\r\nContent-Length: 0\r\n\r\n", 502, "*"},
	{"LF in a value", ok + "A: b\nSet-Cookie: c\r\nContent-Length: 0\r\n\r\n", 502, "*"},
	{"NUL in a value", ok + "A: b\x00\r\nContent-Length: 0\r\n\r\n", 502, "*"},
	{"NUL in the reason", "HTTP/1.1 200 O\x00K\r\nContent-Length: 0\r\n\r\n", 502, "*"},
	{"CR in the reason", "HTTP/1.1 200 O\rK\r\nContent-Length: 0\r\n\r\n", 502, "*"},
	{"a head of a megabyte", ok + "A: " + strings.Repeat("a", 1<<20) + "\r\n\r\n", 502, "*"},
	{"10,000 fields", ok + strings.Repeat("A: b\r\n", 10_000) + "\r\n", 502, "*"},
	{"101 that nobody asked for", "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n" + ok + "\r\n", 502, "*"},
	{"1,000 interim responses", strings.Repeat("HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n", 1000) + ok + "Content-Length: 0\r\n\r\n", 502, "*"},
	{"a body behind a 100", "HTTP/1.1 100 Continue\r\nContent-Length: 3\r\n\r\nabc" + ok + "Content-Length: 0\r\n\r\n", 502, "*"},
	{"nothing", closes, 503, "*"},
	{"half a head", ok + "Content-Le" + closes, 503, "*"},
	{"only a 100", "HTTP/1.1 100 Continue\r\n\r\n" + closes, 503, "*"},

	{"half a body", ok + "Content-Length: 10\r\n\r\nabc" + closes, 200, "abc..."},
	{"chunk without its end", ok + "Transfer-Encoding: chunked\r\n\r\n3\r\nabc" + closes, 200, "abc..."},
	{"no last chunk", ok + "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n" + closes, 200, "abc..."},
	{"no end of the trailers", ok + "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n" + closes, 200, "abc..."},
	{"bad chunk", ok + "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nxyz\r\n", 200, "abc..."},
	{"chunk longer than its size", ok + "Transfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n", 200, "abc..."},
	{"chunk extension bomb", ok + "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n1;" + strings.Repeat("a", 1<<16), 200, "abc..."},
	{"length in the trailers", ok + "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nContent-Length: 3\r\n\r\n", 200, "abc..."},
	{"folded trailer", ok + "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nA: b\r\n c\r\n\r\n", 200, "abc..."},

	{"body up to the end", ok + "\r\nabc" + closes, 200, "abc"},
	{"a second answer", ok + "Content-Length: 3\r\n\r\nabc" + ok + "Content-Length: 6\r\n\r\nPOISON", 200, "abc"},
	{"a second answer behind chunks", ok + "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n" + ok + "Content-Length: 6\r\n\r\nPOISON", 200, "abc"},
	{"garbage behind the answer", ok + "Content-Length: 3\r\n\r\nabcPOISON", 200, "abc"},
	{"204 with a length", "HTTP/1.1 204 No Content\r\nContent-Length: 6\r\n\r\nPOISON", 204, ""},
	{"204 with chunks", "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nPOISON\r\n0\r\n\r\n", 204, ""},
	{"204 with a body", "HTTP/1.1 204 No Content\r\n\r\nPOISON", 204, ""},
	{"304 with a body", "HTTP/1.1 304 Not Modified\r\n\r\nPOISON", 304, ""},
}

// TestBadBackends holds that no client is harmed by a backend: what is not
// valid is 502, what breaks off does not end clean, and what stands behind a
// response reaches nobody.
func TestBadBackends(t *testing.T) {
	t.Parallel()
	b := &rawBackend{answers: map[string]string{
		"/good": ok + "Content-Length: 4\r\n\r\ngood",
		"/head": ok + "Content-Length: 6\r\n\r\nPOISON",
	}}
	for i, tt := range badBackends {
		b.answers[fmt.Sprint("/", i)] = tt.answer
	}
	r := startRig(t, nil, toPort("a", "", b.start(t)))
	before := r.sockets()
	good := func(after string, c *http.Client) {
		t.Helper()
		for range 3 { // on each kept connection of each loop, if need be
			a, err := r.get(c, r.shop("http", "/good"))
			if err != nil || a.StatusCode != 200 || a.body != "good" {
				t.Errorf("after %s a good request got %v, %q, %v", after, a.Response, a.body, err)
			}
		}
	}
	for _, scheme := range []string{"http", "https"} {
		c := r.client()
		for i, tt := range badBackends {
			a, err := r.get(c, r.shop(scheme, fmt.Sprint("/", i)))
			body, cut := strings.CutSuffix(tt.body, "...")
			switch {
			case a.Response == nil && cut: // the cut was faster than the head
			case a.Response == nil:
				t.Errorf("%s to %s: %v", tt.name, scheme, err)
			case a.StatusCode != tt.status || a.body != body && body != "*" || (err != nil) != cut:
				t.Errorf("%s to %s: %s %q, error %v; want %d, %q", tt.name, scheme, a.Status, a.body, err, tt.status, tt.body)
			case a.Header.Get("Set-Cookie") != "":
				t.Errorf("%s to %s: a cookie was injected", tt.name, scheme)
			}
			good(tt.name, c)
		}
		resp, err := c.Head(r.shop(scheme, "/head"))
		if err != nil || resp.StatusCode != 200 || resp.ContentLength != 6 {
			t.Errorf("HEAD to %s: %v, %v; want 200 and the length 6", scheme, resp, err)
		}
		good("HEAD with a body", c)
		c.CloseIdleConnections()
	}
	b.disconnect()
	r.settles(before)
}

// TestCutResponseToOldClient holds that a client whose only sign of a body's
// end is that of the connection (RFC 9112 section 6.3) can tell a cut from it.
func TestCutResponseToOldClient(t *testing.T) {
	t.Parallel()
	b := &rawBackend{answers: map[string]string{
		"/cut":   ok + "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n" + closes,
		"/whole": ok + "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
	}}
	r := startRig(t, nil, toPort("a", "", b.start(t)))
	for path, whole := range map[string]bool{"/cut": false, "/whole": true} {
		conn := r.dial()
		io.WriteString(conn, "GET "+path+" HTTP/1.0\r\nHost: shop.example.com\r\n\r\n")
		got, err := io.ReadAll(conn)
		if (err == nil) != whole {
			t.Errorf("%s: %q and error %v; want a clean end: %v", path, got, err, whole)
		}
		if whole && !strings.HasSuffix(string(got), "\r\n\r\nabc") {
			t.Errorf("%s: %q, want the body abc", path, got)
		}
	}
}

// TestPostIsSentOnce holds that a request which may have had an effect is not
// repeated by itself.
func TestPostIsSentOnce(t *testing.T) {
	t.Parallel()
	b := &rawBackend{answers: map[string]string{"/good": ok + "Content-Length: 4\r\n\r\ngood", "/drop": closes}}
	r := startRig(t, nil, toPort("a", "", b.start(t)))
	c := r.client()
	for range 10 {
		if a, err := r.get(c, r.shop("http", "/good")); err != nil || a.body != "good" { // leaves a kept connection to drop
			t.Fatalf("%q, %v; want good", a.body, err)
		}
		resp, err := c.Post(r.shop("http", "/drop"), "text/plain", strings.NewReader("pay"))
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != 503 {
			t.Errorf("status %s, want 503", resp.Status)
		}
	}
	if n := b.asked("/drop"); n != 10 {
		t.Errorf("10 POST requests reached the backend %d times", n)
	}
}

// TestClientsThatDoNotRead holds that responses which nobody reads cost
// little memory, and do not hold up those that are read.
func TestClientsThatDoNotRead(t *testing.T) {
	t.Parallel()
	const size, readers = 100 << 20, 50
	chunk := make([]byte, 64<<10)
	r := startRig(t, nil, toBackend(t, "", func(w http.ResponseWriter, req *http.Request) {
		w.Header().Set("Content-Length", fmt.Sprint(size))
		for sent := 0; sent < size; sent += len(chunk) {
			if _, err := w.Write(chunk); err != nil {
				return
			}
		}
	}))
	before, memory := r.sockets(), r.gauge("go_memstats_heap_alloc_bytes")
	var conns []net.Conn
	for range readers {
		conn := r.dial()
		io.WriteString(conn, get+"\r\n")
		if _, err := io.ReadFull(conn, make([]byte, 1000)); err != nil {
			t.Fatal(err)
		}
		conns = append(conns, conn)
	}
	// In the time that one of them takes for all of its response, the others
	// would have got much of theirs, were it not for their own windows.
	if n, err := io.CopyN(io.Discard, conns[0], size-1000); err != nil {
		t.Errorf("the client that reads got %d bytes more, %v; want %d", n, err, size)
	}
	// 64 KiB a direction are waited with, the kernel has the rest.
	if grown := r.gauge("go_memstats_heap_alloc_bytes") - memory; grown > 64<<20 {
		t.Errorf("%d clients that do not read cost %.0f MiB, want at most 64", readers, grown/(1<<20))
	}
	for _, conn := range conns {
		conn.Close()
	}
	r.settles(before)
}

// TestAnswerToABodyThatNobodyReads holds that a client is told what a backend
// says which answers a large request without reading it, and closes: the
// kernel sends a reset right behind the answer.
func TestAnswerToABodyThatNobodyReads(t *testing.T) {
	t.Parallel()
	b := &rawBackend{answers: map[string]string{
		"/case": "HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc" + closes,
	}}
	r := startRig(t, nil, toPort("a", "", b.start(t)))
	const size = 4 << 20
	text := fmt.Sprintf("%sConnection: close\r\nContent-Length: %d\r\n\r\n", post, size) + strings.Repeat("a", size)
	c := r.client()
	for range 20 {
		if got := r.say(text); !strings.HasPrefix(got, "HTTP/1.1 413 ") || !strings.HasSuffix(got, "\r\n\r\nabc") {
			t.Errorf("http: %q, want the backend's 413", got)
		}
		resp, err := c.Post(r.shop("https", "/case"), "text/plain", strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != 413 || string(body) != "abc" || err != nil {
			t.Errorf("https: %s %q, %v; want the backend's 413", resp.Status, body, err)
		}
	}
}
