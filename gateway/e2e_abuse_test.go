package main

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// smuggled is a request that stands where no request may begin.
const smuggled = "GET /smuggled HTTP/1.1\r\nHost: shop.example.com\r\n\r\n"

// A witness is a backend that remembers what it was asked.
type witness struct {
	mu   sync.Mutex
	seen []string
}

func (w *witness) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // it broke off: nobody may act on it
	}
	w.mu.Lock()
	w.seen = append(w.seen, r.URL.Path)
	w.mu.Unlock()
	fmt.Fprintf(rw, "%s %s %d;", r.Method, r.URL.Path, len(body))
}

// paths returns what was asked for since the last call.
func (w *witness) paths() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	seen := w.seen
	w.seen = nil
	return seen
}

// dial opens a connection that fails the test rather than hang.
func (r *rig) dial() *net.TCPConn {
	r.t.Helper()
	conn, err := net.Dial("tcp", r.addr())
	if err != nil {
		r.t.Fatal(err)
	}
	conn.SetDeadline(time.Now().Add(patience))
	r.t.Cleanup(func() { conn.Close() })
	return conn.(*net.TCPConn)
}

// say sends text on a connection of its own and returns all that comes back
// until the gateway ends the connection.
func (r *rig) say(text string) string {
	r.t.Helper()
	conn := r.dial()
	defer conn.Close()
	go io.WriteString(conn, text) // the gateway may not want all of it
	b, err := io.ReadAll(conn)
	if err != nil {
		r.t.Errorf("%.80q: %v after %.200q", text, err, b)
	}
	return string(b)
}

// counts returns the samples of a counter on the metrics page that are not 0,
// by reason.
func (r *rig) counts(metric string) map[string]int {
	r.t.Helper()
	counts := map[string]int{}
	line := regexp.MustCompile(`(?m)^` + metric + `\{.*reason="(\w+)".*\} (\d+)$`)
	for _, m := range line.FindAllStringSubmatch(r.page("/metrics"), -1) {
		if n, _ := strconv.Atoi(m[2]); n > 0 {
			counts[m[1]] += n
		}
	}
	return counts
}

// gauge returns a sample without labels.
func (r *rig) gauge(metric string) float64 {
	r.t.Helper()
	m := regexp.MustCompile(`(?m)^` + metric + ` (\S+)$`).FindStringSubmatch(r.page("/metrics"))
	if m == nil {
		r.t.Fatalf("/metrics has no %s", metric)
	}
	v, err := strconv.ParseFloat(m[1], 64)
	if err != nil {
		r.t.Fatal(err)
	}
	return v
}

const (
	get  = "GET /case HTTP/1.1\r\nHost: shop.example.com\r\n"
	post = "POST /case HTTP/1.1\r\nHost: shop.example.com\r\n"
	chnk = post + "Transfer-Encoding: chunked\r\n\r\n"
)

// refusedHTTP1 are requests after whose refusal nothing more may be read.
var refusedHTTP1 = []struct {
	name, text string
	status     int
	reason     string // of fairway_http1_refused_total
}{
	// RFC 9112 section 6.3: the length of a body.
	{"CL.TE", post + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, "both_lengths"},
	{"TE.CL", post + "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", 400, "both_lengths"},
	{"the same length twice", post + "Content-Length: 0\r\nContent-Length: 0\r\n\r\n", 400, "several_lengths"},
	{"two lengths", post + "Content-Length: 0\r\nContent-Length: 54\r\n\r\n", 400, "several_lengths"},
	{"a list of lengths", post + "Content-Length: 0, 0\r\n\r\n", 400, "several_lengths"},
	{"length with a sign", post + "Content-Length: +0\r\n\r\n", 400, "length"},
	{"negative length", post + "Content-Length: -1\r\n\r\n", 400, "length"},
	{"hexadecimal length", post + "Content-Length: 0x0\r\n\r\n", 400, "length"},
	{"empty length", post + "Content-Length:\r\n\r\n", 400, "length"},
	{"length over 64 bits", post + "Content-Length: 18446744073709551616\r\n\r\n", 400, "length"},
	{"TE.TE", post + "Transfer-Encoding: chunked\r\nTransfer-encoding: x\r\n\r\n0\r\n\r\n", 400, "transfer_encoding"},
	{"chunked twice", post + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, "transfer_encoding"},
	{"chunked, chunked", post + "Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", 400, "transfer_encoding"},
	{"chunked, identity", post + "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", 400, "transfer_encoding"},
	{"identity", post + "Transfer-Encoding: identity\r\n\r\n", 400, "transfer_encoding"},
	{"xchunked", post + "Transfer-Encoding: xchunked\r\n\r\n", 400, "transfer_encoding"},
	{"chunked with a parameter", post + "Transfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n", 400, "transfer_encoding"},
	{"quoted chunked", post + "Transfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n", 400, "transfer_encoding"},
	{"empty coding", post + "Transfer-Encoding:\r\n\r\n", 400, "transfer_encoding"},
	{"vertical tab before chunked", post + "Transfer-Encoding: \vchunked\r\n\r\n0\r\n\r\n", 400, "field_value"},
	{"chunked in HTTP/1.0", strings.Replace(chnk, "1.1", "1.0", 1) + "0\r\n\r\n", 400, "transfer_encoding"},
	{"gzip, chunked", post + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501, "transfer_coding"},

	// RFC 9112 section 7.1: chunks.
	{"no chunk size", chnk + "\r\n", 400, "chunk"},
	{"chunk size with a sign", chnk + "+0\r\n\r\n", 400, "chunk"},
	{"negative chunk size", chnk + "-1\r\n\r\n", 400, "chunk"},
	{"chunk size with 0x", chnk + "0x0\r\n\r\n", 400, "chunk"},
	{"chunk size with a letter", chnk + "3g\r\nabc\r\n0\r\n\r\n", 400, "chunk"},
	{"space before a chunk size", chnk + " 0\r\n\r\n", 400, "chunk"},
	{"space behind a chunk size", chnk + "0 \r\n\r\n", 400, "chunk"},
	{"chunk size over 64 bits", chnk + "10000000000000000\r\n", 400, "chunk"},
	{"chunk size and LF", chnk + "0\n\r\n", 400, "chunk"},
	{"chunk size and CR", chnk + "0\rX\r\n", 400, "chunk"},
	{"chunk longer than its size", chnk + "3\r\nabcd\r\n0\r\n\r\n", 400, "chunk"},
	{"chunk that ends with LF", chnk + "3\r\nabc\n0\r\n\r\n", 400, "chunk"},
	{"LF in a chunk extension", chnk + "0;a\n\r\n", 400, "chunk"},
	{"chunk extension bomb", chnk + "1;" + strings.Repeat("a", 20_000), 400, "chunk_extension"},
	{"a little extension on each chunk", chnk + strings.Repeat("1;aaaaaaaaaaaaaaaaaaaaaaa\r\na\r\n", 1000), 400, "chunk_extension"},
	{"length in the trailers", chnk + "0\r\nContent-Length: 5\r\n\r\n", 400, "trailer"},
	{"host in the trailers", chnk + "0\r\nHost: other\r\n\r\n", 400, "trailer"},
	{"coding in the trailers", chnk + "0\r\nTransfer-Encoding: chunked\r\n\r\n", 400, "trailer"},
	{"folded trailer", chnk + "0\r\nA: b\r\n c\r\n\r\n", 400, "folded_line"},
	{"trailer bomb", chnk + "0\r\n" + strings.Repeat("A: b\r\n", 1000), 431, "too_many_fields"},

	// RFC 9112 sections 2.2 and 5: lines.
	{"folded line", get + "A: b\r\n c: d\r\n\r\n", 400, "folded_line"},
	{"folded first line", "GET /case HTTP/1.1\r\n Host: shop.example.com\r\n\r\n", 400, "folded_line"},
	{"space before a colon", post + "Content-Length : 54\r\n\r\n", 400, "field_name"},
	{"tab before a colon", post + "Transfer-Encoding\t: chunked\r\n\r\n", 400, "field_name"},
	{"space in a name", get + "A B: c\r\n\r\n", 400, "field_name"},
	{"empty name", get + ": c\r\n\r\n", 400, "field_name"},
	{"NUL in a name", get + "A\x00: c\r\n\r\n", 400, "field_name"},
	{"name that is not ASCII", get + "Ä: c\r\n\r\n", 400, "field_name"},
	{"line without a colon", get + "A\r\n\r\n", 400, "field_name"},
	{"CR in a value", get + "A: b\rContent-Length: 54\r\n\r\n", 400, "line_end"},
	{"CR before a value", post + "Transfer-Encoding: \rchunked\r\n\r\n", 400, "line_end"},
	{"line that ends with LF", get + "A: b\nContent-Length: 54\r\n\r\n", 400, "line_end"},
	{"head that ends with LF", get + "\n", 400, "line_end"},
	{"CR CR LF", get + "A: b\r\r\n\r\n", 400, "line_end"},
	{"NUL in a value", get + "A: b\x00c\r\n\r\n", 400, "field_value"},
	{"DEL in a value", get + "A: b\x7fc\r\n\r\n", 400, "field_value"},

	// RFC 9112 section 3: the request line.
	{"request line that ends with LF", "GET /case HTTP/1.1\nHost: shop.example.com\r\n\r\n", 400, "line_end"},
	{"no version", "GET /case\r\n\r\n", 400, "start_line"},
	{"two targets", "GET /case /other HTTP/1.1\r\nHost: shop.example.com\r\n\r\n", 400, "start_line"},
	{"two spaces", "GET  /case HTTP/1.1\r\nHost: shop.example.com\r\n\r\n", 400, "start_line"},
	{"space at the end", "GET /case HTTP/1.1 \r\nHost: shop.example.com\r\n\r\n", 400, "start_line"},
	{"many empty lines", strings.Repeat("\r\n", 100) + get + "\r\n", 400, "start_line"},
	{"version in lower case", "GET /case http/1.1\r\nHost: shop.example.com\r\n\r\n", 400, "start_line"},
	{"version of two digits", "GET /case HTTP/1.10\r\nHost: shop.example.com\r\n\r\n", 400, "start_line"},
	{"HTTP/3", "GET /case HTTP/3.0\r\nHost: shop.example.com\r\n\r\n", 505, "version"},
	{"half of HTTP/2's preface", "PRI * HTTP/2.0\r\n\r\nMS\r\n\r\n", 505, "version"},
	{"method with a bracket", "GE(T /case HTTP/1.1\r\nHost: shop.example.com\r\n\r\n", 400, "method"},
	{"CONNECT", "CONNECT shop.example.com:80 HTTP/1.1\r\nHost: shop.example.com:80\r\n\r\n", 501, "connect"},
	{"star", "GET * HTTP/1.1\r\nHost: shop.example.com\r\n\r\n", 400, "target"},
	{"relative target", "GET case HTTP/1.1\r\nHost: shop.example.com\r\n\r\n", 400, "target"},
	{"fragment", "GET /case#a HTTP/1.1\r\nHost: shop.example.com\r\n\r\n", 400, "target"},
	{"backslash", "GET /\\case HTTP/1.1\r\nHost: shop.example.com\r\n\r\n", 400, "target"},
	{"NUL in the target", "GET /case\x00 HTTP/1.1\r\nHost: shop.example.com\r\n\r\n", 400, "target"},
	{"CR in the target", "GET /case\r HTTP/1.1\r\nHost: shop.example.com\r\n\r\n", 400, "target"},
	{"tab in the target", "GET /case\ta HTTP/1.1\r\nHost: shop.example.com\r\n\r\n", 400, "target"},
	{"target that is not ASCII", "GET /cäse HTTP/1.1\r\nHost: shop.example.com\r\n\r\n", 400, "target"},
	{"broken escape", "GET /case%2 HTTP/1.1\r\nHost: shop.example.com\r\n\r\n", 400, "target"},
	{"user in the target", "GET http://shop.example.com@other/case HTTP/1.1\r\nHost: other\r\n\r\n", 400, "target"},
	{"ftp", "GET ftp://shop.example.com/case HTTP/1.1\r\nHost: shop.example.com\r\n\r\n", 400, "target"},
	{"https without TLS", "GET https://shop.example.com/case HTTP/1.1\r\nHost: shop.example.com\r\n\r\n", 400, "target"},

	// RFC 9112 section 3.2: Host.
	{"no host", "GET /case HTTP/1.1\r\n\r\n", 400, "no_host"},
	{"empty host", "GET /case HTTP/1.1\r\nHost:\r\n\r\n", 400, "no_host"},
	{"the same host twice", get + "Host: shop.example.com\r\n\r\n", 400, "several_hosts"},
	{"two hosts", get + "Host: other.example.com\r\n\r\n", 400, "several_hosts"},
	{"host that is not the target's", "GET http://other.example.com/case HTTP/1.1\r\nHost: shop.example.com\r\n\r\n", 400, "host_disagrees"},
	{"user in the host", "GET /case HTTP/1.1\r\nHost: a@shop.example.com\r\n\r\n", 400, "host"},
	{"path in the host", "GET /case HTTP/1.1\r\nHost: shop.example.com/a\r\n\r\n", 400, "host"},
	{"two names in the host", "GET /case HTTP/1.1\r\nHost: shop.example.com, other\r\n\r\n", 400, "host"},
	{"escape in the host", "GET /case HTTP/1.1\r\nHost: shop%2eexample.com\r\n\r\n", 400, "host"},
	{"port over 65535", "GET /case HTTP/1.1\r\nHost: shop.example.com:65536\r\n\r\n", 400, "host"},
	{"open bracket", "GET /case HTTP/1.1\r\nHost: [::1\r\n\r\n", 400, "host"},

	// Limits.
	{"a request line of a megabyte", "GET /case?" + strings.Repeat("a", 1<<20), 414, "line_too_long"},
	{"a field of a megabyte", get + "A: " + strings.Repeat("a", 1<<20), 431, "head_too_large"},
	{"a name of a megabyte", get + strings.Repeat("a", 1<<20), 431, "head_too_large"},
	{"10,000 fields", get + strings.Repeat("A: b\r\n", 10_000), 431, "too_many_fields"},
	{"100 options of the connection", get + "Connection: " + strings.Repeat("a,", 100) + "a\r\n\r\n", 400, "connection"},
	{"a list that is none in Connection", get + "Connection: a b\r\n\r\n", 400, "connection"},
}

func TestAmbiguousHTTP1IsRefused(t *testing.T) {
	t.Parallel()
	w := &witness{}
	r := startRig(t, nil, toBackend(t, "", w.ServeHTTP))
	want := map[string]int{}
	for _, tt := range refusedHTTP1 {
		want[tt.reason]++
		got := r.say(tt.text + smuggled)
		if !strings.HasPrefix(got, fmt.Sprintf("HTTP/1.1 %d ", tt.status)) || strings.Count(got, "HTTP/1.1 ") != 1 {
			t.Errorf("%s: answered %.200q, want %d alone", tt.name, got, tt.status)
		}
		if !strings.Contains(got, "\r\nConnection: close\r\n") {
			t.Errorf("%s: the answer does not say that the connection ends: %.200q", tt.name, got)
		}
		if seen := w.paths(); len(seen) > 0 {
			t.Errorf("%s: the backend saw %q, want nothing", tt.name, seen)
		}
	}
	if got := r.counts("fairway_http1_refused_total"); !maps.Equal(got, want) {
		t.Errorf("counted %v, want %v", got, want)
	}
	r.want(r.url("/"), 200, "Host: shop.example.com")
}

// TestRequestsEndWhereTheyEnd holds that what the gateway takes for one
// request the backend takes for the same.
func TestRequestsEndWhereTheyEnd(t *testing.T) {
	t.Parallel()
	last := strings.Replace(get, "/case", "/last", 1) + "Connection: close\r\n\r\n"
	size := strconv.Itoa(len(smuggled))
	hex := strconv.FormatInt(int64(len(smuggled)), 16)
	tests := []struct {
		name, text string
		want       string // of the backend's answers
	}{
		{"GET with a body", get + "Content-Length: " + size + "\r\n\r\n" + smuggled, "GET /case " + size},
		{"sized body", post + "Content-Length: " + size + "\r\n\r\n" + smuggled, "POST /case " + size},
		{"length with zeros", post + "Content-Length: 000" + size + "\r\n\r\n" + smuggled, "POST /case " + size},
		{"chunked body", chnk + hex + "\r\n" + smuggled + "\r\n0\r\n\r\n", "POST /case " + size},
		{"chunk size with zeros", chnk + "000" + hex + "\r\n" + smuggled + "\r\n0\r\n\r\n", "POST /case " + size},
		{"chunk extension that reads as a chunk", chnk + "1;\t0\r\na\r\n0\r\nA: b\r\n\r\n", "POST /case 1"},
		{"CHUNKED", post + "transfer-encoding:CHUNKED\t\r\n\r\n0\r\n\r\n", "POST /case 0"},
		{"Connection names the length", post + "Connection: content-length\r\nContent-Length: " + size + "\r\n\r\n" + smuggled, "POST /case " + size},
		{"Connection names the coding", post + "Connection: transfer-encoding\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "POST /case 0"},
		{"Connection names the host", get + "Connection: host\r\n\r\n", "GET /case 0"},
		{"upgrade that the backend ignores", get + "Connection: upgrade\r\nUpgrade: websocket\r\n\r\n", "GET /case 0"},
		{"upgrade to h2c", get + "Connection: upgrade, http2-settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n", "GET /case 0"},
		{"four empty lines", "\r\n\r\n\r\n\r\n" + get + "\r\n", "GET /case 0"},
		{"absolute form", "GET http://SHOP.example.com:80/case HTTP/1.1\r\nHost: shop.example.com\r\n\r\n", "GET /case 0"},
		{"ten at once", strings.Repeat(get+"\r\n", 10), strings.TrimSuffix(strings.Repeat("GET /case 0;", 10), ";")},
	}
	w := &witness{}
	r := startRig(t, nil, toBackend(t, "", w.ServeHTTP))
	bodies := regexp.MustCompile(`[A-Z]+ /\w+ \d+;`)
	for _, tt := range tests {
		got := r.say(tt.text + last)
		if got := strings.Join(bodies.FindAllString(got, -1), ""); got != tt.want+";GET /last 0;" {
			t.Errorf("%s: answered %q, want %q and the last", tt.name, got, tt.want)
		}
		if seen := w.paths(); slices.Contains(seen, "/smuggled") {
			t.Errorf("%s: the backend saw %q", tt.name, seen)
		}
	}
}

// TestBodyBehindEarlyAnswer holds that a body which the backend answered
// without reading is not taken for a request, by the gateway or by the backend.
func TestBodyBehindEarlyAnswer(t *testing.T) {
	t.Parallel()
	const text = "HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n"
	b := &rawBackend{answers: map[string]string{"/case": text, "/last": "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlast"}}
	r := startRig(t, nil, toPort("a", "", b.start(t)))
	for _, head := range []string{
		post + "Content-Length: " + strconv.Itoa(len(smuggled)) + "\r\n",
		post + "Expect: 100-continue\r\nContent-Length: " + strconv.Itoa(len(smuggled)) + "\r\n",
	} {
		conn := r.dial()
		io.WriteString(conn, head+"\r\n")
		in := bufio.NewReader(conn)
		resp, err := http.ReadResponse(in, nil)
		if err != nil || resp.StatusCode != 417 {
			t.Fatalf("%q: got %v, %v; want 417", head, resp, err)
		}
		io.WriteString(conn, smuggled+strings.Replace(get, "/case", "/last", 1)+"Connection: close\r\n\r\n")
		rest, _ := io.ReadAll(in)
		if n := strings.Count(string(rest), "HTTP/1.1 "); n > 1 || n == 1 && !strings.HasSuffix(string(rest), "last") {
			t.Errorf("%q: behind the answer came %q, want the last one's or nothing", head, rest)
		}
	}
	if n := b.asked("/smuggled"); n > 0 {
		t.Errorf("the backend was asked for what was smuggled %d times", n)
	}
}

func TestHalfClosedClientIsAnswered(t *testing.T) {
	t.Parallel()
	r := startRig(t, nil, toBackend(t, "", named("a")))
	conn := r.dial()
	io.WriteString(conn, get+"\r\n")
	conn.CloseWrite()
	got, err := io.ReadAll(conn)
	if err != nil || !strings.HasSuffix(string(got), "a GET shop.example.com /case") {
		t.Errorf("answered %q, %v; want the whole response", got, err)
	}
}

// TestSlowClientsHarmNobody has clients that begin heads and bodies and do
// not go on. Others are served meanwhile, a head that does not come is
// answered by its deadline, and all is given back in the end.
func TestSlowClientsHarmNobody(t *testing.T) {
	t.Parallel()
	cancelled := make(chan struct{}, 100)
	r := startRig(t, nil, toBackend(t, "", func(w http.ResponseWriter, req *http.Request) {
		if _, err := io.ReadAll(req.Body); err != nil {
			cancelled <- struct{}{}
		}
	}))
	before := r.sockets()
	var heads, bodies []net.Conn
	for range 300 {
		conn := r.dial()
		io.WriteString(conn, get+"A: ")
		heads = append(heads, conn)
	}
	for range cap(cancelled) {
		conn := r.dial()
		io.WriteString(conn, post+"Content-Length: 10\r\n\r\nabc")
		bodies = append(bodies, conn)
	}
	c := r.client()
	for range 20 {
		if a, err := r.get(c, r.shop("http", "/")); err != nil || a.StatusCode != 200 {
			t.Errorf("another client got %v, %v; want 200", a.Response, err)
		}
	}
	c.CloseIdleConnections()
	for i, conn := range heads {
		if b, err := io.ReadAll(conn); err != nil || !strings.HasPrefix(string(b), "HTTP/1.1 408 ") {
			t.Fatalf("slow head %d: %q, %v; want 408", i, b, err)
		}
		conn.Close()
	}
	if n := r.counts("fairway_http1_refused_total")["head_slow"]; n != len(heads) {
		t.Errorf("%d slow heads counted, want %d", n, len(heads))
	}
	for _, conn := range bodies {
		conn.Close()
	}
	for range bodies {
		<-cancelled
	}
	r.settles(before)
}
