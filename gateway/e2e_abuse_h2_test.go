package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// A wire2 is a client that says in HTTP/2 whatever it is told to.
type wire2 struct {
	*http2.Framer // into out
	t             *testing.T
	conn          net.Conn
	out           *bufio.Writer
	enc           *hpack.Encoder
	text          bytes.Buffer // what enc writes
	dec           *hpack.Decoder
}

// dial2 speaks the preface, with settings, on a plain connection.
func (r *rig) dial2(settings ...http2.Setting) *wire2 {
	r.t.Helper()
	w := newWire2(r.t, r.dial())
	w.out.WriteString(http2.ClientPreface)
	w.WriteSettings(settings...)
	return w
}

func newWire2(t *testing.T, conn net.Conn) *wire2 {
	w := &wire2{t: t, conn: conn, out: bufio.NewWriter(conn)}
	w.Framer = http2.NewFramer(w.out, conn)
	w.AllowIllegalWrites = true
	w.enc = hpack.NewEncoder(&w.text)
	w.dec = hpack.NewDecoder(4096, nil)
	return w
}

// block encodes "name: value" lines.
func (w *wire2) block(lines ...string) []byte {
	w.text.Reset()
	for _, line := range lines {
		at := strings.Index(line[1:], ": ") + 1
		w.enc.WriteField(hpack.HeaderField{Name: line[:at], Value: line[at+2:]})
	}
	return bytes.Clone(w.text.Bytes())
}

// heads sends a request's head, which ends the stream where last says so.
func (w *wire2) heads(id uint32, last bool, lines ...string) error {
	return w.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: w.block(lines...), EndHeaders: true, EndStream: last})
}

// ask sends an ordinary request.
func (w *wire2) ask(id uint32, path string) error {
	return w.heads(id, true, ":method: GET", ":scheme: http", ":authority: shop.example.com", ":path: "+path)
}

// outcome sends what was written, in one piece, and returns how stream id or
// the connection ends.
func (w *wire2) outcome(id uint32) string {
	w.out.Flush()
	return w.await(id)
}

// await reads frames until stream id or the connection has ended, and says
// how: the status, the code of a reset, or that of a GOAWAY.
func (w *wire2) await(id uint32) string {
	status := ""
	for {
		f, err := w.ReadFrame()
		if err != nil {
			return fmt.Sprint("closed: ", err)
		}
		switch f := f.(type) {
		case *http2.HeadersFrame:
			fields, err := w.dec.DecodeFull(f.HeaderBlockFragment())
			if err != nil {
				w.t.Errorf("the gateway's header block: %v", err)
			}
			if f.StreamID == id && status == "" && len(fields) > 0 {
				status = fields[0].Value
			}
			if f.StreamID == id && f.StreamEnded() {
				return status
			}
		case *http2.DataFrame:
			if f.StreamID == id && f.StreamEnded() {
				return status
			}
		case *http2.RSTStreamFrame:
			if f.StreamID == id {
				return "reset " + f.ErrCode.String()
			}
		case *http2.GoAwayFrame:
			return "goaway " + f.ErrCode.String()
		}
	}
}

// ordinary is a request's head up to its path.
func ordinary(more ...string) []string {
	return append([]string{":method: POST", ":scheme: http", ":authority: shop.example.com", ":path: /case"}, more...)
}

func without(name string) []string {
	lines := ordinary()
	for i, line := range lines {
		if strings.HasPrefix(line, name+": ") {
			return append(lines[:i:i], lines[i+1:]...)
		}
	}
	return lines
}

func with(line string) []string {
	name := line[:strings.Index(line[1:], ": ")+1]
	return append([]string{line}, without(name)...)
}

const resetProtocol = "reset PROTOCOL_ERROR"

// refusedHTTP2 are messages that end their stream (RFC 9113 section 8.1.1).
var refusedHTTP2 = []struct {
	name     string
	head     []string
	body     string   // in a DATA frame, if not empty
	trailers []string // behind it, if not nil
	want     string
}{
	// Section 8.2.1: fields.
	{"name in upper case", ordinary("X-A: b"), "", nil, resetProtocol},
	{"empty name", ordinary(" : b")[:4], "", []string{"\x00: b"}, resetProtocol},
	{"space in a name", ordinary("x a: b"), "", nil, resetProtocol},
	{"colon in a name", ordinary("x:a: b"), "", nil, resetProtocol},
	{"CR LF in a name", ordinary("x\r\nhost: b"), "", nil, resetProtocol},
	{"CR LF in a value", ordinary("x-a: b\r\ntransfer-encoding: chunked"), "", nil, resetProtocol},
	{"LF in a value", ordinary("x-a: b\nhost: other"), "", nil, resetProtocol},
	{"CR in a value", ordinary("x-a: b\rc"), "", nil, resetProtocol},
	{"NUL in a value", ordinary("x-a: b\x00c"), "", nil, resetProtocol},
	{"a request in a cookie", ordinary("cookie: a\r\n\r\n" + smuggled), "", nil, resetProtocol},

	// Section 8.2.2: fields of a connection.
	{"connection", ordinary("connection: close"), "", nil, resetProtocol},
	{"keep-alive", ordinary("keep-alive: timeout=5"), "", nil, resetProtocol},
	{"proxy-connection", ordinary("proxy-connection: keep-alive"), "", nil, resetProtocol},
	{"upgrade", ordinary("upgrade: websocket"), "", nil, resetProtocol},
	{"transfer-encoding", ordinary("transfer-encoding: chunked"), "0\r\n\r\n" + smuggled, nil, resetProtocol},
	{"te: chunked", ordinary("te: chunked"), "", nil, resetProtocol},
	{"te: trailers, chunked", ordinary("te: trailers, chunked"), "", nil, resetProtocol},

	// Section 8.3: pseudo-fields.
	{"no method", without(":method"), "", nil, resetProtocol},
	{"no scheme", without(":scheme"), "", nil, resetProtocol},
	{"no path", without(":path"), "", nil, resetProtocol},
	{"no authority and no host", without(":authority"), "", nil, resetProtocol},
	{"path twice", ordinary(":path: /other"), "", nil, resetProtocol},
	{"pseudo-field behind a field", append([]string{"x-a: b"}, ordinary()...), "", nil, resetProtocol},
	{"status in a request", ordinary(":status: 200"), "", nil, resetProtocol},
	{"unknown pseudo-field", ordinary(":smuggled: a"), "", nil, resetProtocol},
	{"protocol without CONNECT", ordinary(":protocol: websocket"), "", nil, resetProtocol},
	{"h2c in an extended CONNECT", append(with(":method: CONNECT"), ":protocol: h2c"), "", nil, resetProtocol}, // section 3.1
	{"a list of protocols", append(with(":method: CONNECT"), ":protocol: websocket, h2c"), "", nil, resetProtocol},
	{"space in the method", with(":method: GET /smuggled HTTP/1.1\r\nx:"), "", nil, resetProtocol},
	{"empty method", with(":method: "), "", nil, resetProtocol},
	{"scheme with a host", with(":scheme: http://other/"), "", nil, resetProtocol},
	{"empty path", with(":path: "), "", nil, resetProtocol},
	{"space in the path", with(":path: /smuggled HTTP/1.1\r\nhost: a\r\n\r\nGET /case"), "", nil, resetProtocol},
	{"space alone in the path", with(":path: /case a"), "", nil, resetProtocol},
	{"fragment", with(":path: /case#a"), "", nil, resetProtocol},
	{"absolute path", with(":path: http://shop.example.com/case"), "", nil, resetProtocol},
	{"relative path", with(":path: case"), "", nil, resetProtocol},
	{"star", with(":path: *"), "", nil, resetProtocol},
	{"path that is not ASCII", with(":path: /cäse"), "", nil, resetProtocol},
	{"plain CONNECT with a path", with(":method: CONNECT"), "", nil, resetProtocol},
	{"plain CONNECT", []string{":method: CONNECT", ":authority: shop.example.com:80"}, "", nil, "501"},

	// Section 8.3.1: whose request it is.
	{"host that is not the authority", ordinary("host: other.example.com"), "", nil, resetProtocol},
	{"two hosts", ordinary("host: shop.example.com", "host: shop.example.com"), "", nil, resetProtocol},
	{"user in the authority", with(":authority: a@shop.example.com"), "", nil, resetProtocol},
	{"path in the authority", with(":authority: shop.example.com/a"), "", nil, resetProtocol},
	{"space in the authority", with(":authority: shop.example.com other"), "", nil, resetProtocol},
	{"CR LF in the authority", with(":authority: shop.example.com\r\nx: y"), "", nil, resetProtocol},

	// Section 8.1.1: content-length.
	{"length and no body", ordinary("content-length: 5"), "", nil, resetProtocol},
	{"length below the body's", ordinary("content-length: 5"), "hello" + smuggled, nil, resetProtocol},
	{"length over the body's", ordinary("content-length: 500"), "hello", nil, resetProtocol},
	{"length over the body's, with trailers", ordinary("content-length: 500"), "hello", []string{"x-a: b"}, resetProtocol},
	{"length 0 and a body", ordinary("content-length: 0"), smuggled, nil, resetProtocol},
	{"two lengths", ordinary("content-length: 5", "content-length: 5"), "hello", nil, resetProtocol},
	{"a list of lengths", ordinary("content-length: 5, 5"), "hello", nil, resetProtocol},
	{"length with a sign", ordinary("content-length: +5"), "hello", nil, resetProtocol},
	{"empty length", ordinary("content-length: "), "", nil, resetProtocol},

	// Section 8.1: trailers.
	{"pseudo-field in the trailers", ordinary(), "hello", []string{":path: /smuggled"}, resetProtocol},
	{"connection in the trailers", ordinary(), "hello", []string{"connection: close"}, resetProtocol},
	{"coding in the trailers", ordinary(), "hello", []string{"transfer-encoding: chunked"}, resetProtocol},
	{"CR LF in the trailers", ordinary(), "hello", []string{"x-a: b\r\n\r\n" + smuggled}, resetProtocol},

	// Limits.
	{"a header list of 100 KB", ordinary(strings.Split(strings.Repeat("x-a: "+strings.Repeat("a", 10_000)+"\n", 9)+"x-a: "+strings.Repeat("a", 10_000), "\n")...), "", nil, "431"},
	{"1,000 fields", ordinary(strings.Split(strings.TrimSuffix(strings.Repeat("x: y\n", 1000), "\n"), "\n")...), "", nil, "431"},
}

// TestMalformedHTTP2IsRefused holds that nothing of a message that HTTP/1.1
// could read as two, or in another way, reaches a backend.
func TestMalformedHTTP2IsRefused(t *testing.T) {
	t.Parallel()
	w := &witness{}
	r := startRig(t, nil, toBackend(t, "", w.ServeHTTP))
	before := r.sockets()
	for _, tt := range refusedHTTP2 {
		c := r.dial2()
		c.headers(1, tt.body == "" && tt.trailers == nil, c.block(tt.head...))
		if tt.body != "" {
			c.WriteData(1, tt.trailers == nil, []byte(tt.body))
		}
		if tt.trailers != nil {
			c.heads(1, true, tt.trailers...)
		}
		if got := c.outcome(1); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
		c.ask(3, "/good") // the connection lives
		if got := c.outcome(3); got != "200" {
			t.Errorf("%s: the next request: %s, want 200", tt.name, got)
		}
		c.conn.Close()
		for _, path := range w.paths() {
			if path != "/good" {
				t.Errorf("%s: the backend saw %q", tt.name, path)
			}
		}
	}
	r.settles(before)
}

// headers sends a header block in as many frames as it needs.
func (w *wire2) headers(id uint32, last bool, block []byte) {
	const most = 16 << 10
	first := block[:min(len(block), most)]
	w.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: first, EndHeaders: len(first) == len(block), EndStream: last})
	for rest := block[len(first):]; len(rest) > 0; {
		n := min(len(rest), most)
		w.WriteContinuation(id, n == len(rest), rest[:n])
		rest = rest[n:]
	}
}

// raw is a frame in any form.
func raw(length int, kind http2.FrameType, flags http2.Flags, id uint32, payload string) string {
	b := []byte{byte(length >> 16), byte(length >> 8), byte(length), byte(kind), byte(flags)}
	return string(append(b, byte(id>>24), byte(id>>16), byte(id>>8), byte(id))) + payload
}

// TestBrokenHTTP2EndsTheConnection holds the errors of RFC 9113 that are a
// connection's, each on a connection that has served a request.
func TestBrokenHTTP2EndsTheConnection(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, frame string
		want        string
	}{
		{"4.2 frame over SETTINGS_MAX_FRAME_SIZE", raw(16<<10+1, http2.FrameData, 0, 1, ""), "FRAME_SIZE_ERROR"},
		{"4.3 not HPACK", raw(3, http2.FrameHeaders, 5, 3, "\xff\xff\xff"), "COMPRESSION_ERROR"},
		{"4.3 index that is not in the table", raw(1, http2.FrameHeaders, 5, 3, "\xfe"), "COMPRESSION_ERROR"},
		{"4.3 table larger than its limit", raw(5, http2.FrameHeaders, 5, 3, "\x3f\xe1\xff\xff\x03"), "COMPRESSION_ERROR"},
		{"5.1 DATA on an idle stream", raw(0, http2.FrameData, 1, 7, ""), "PROTOCOL_ERROR"},
		{"5.1 HEADERS behind the end of the stream", raw(1, http2.FrameHeaders, 5, 1, "\x82"), "STREAM_CLOSED"},
		{"5.1 DATA behind the end of the stream", raw(1, http2.FrameData, 0, 1, "a"), "STREAM_CLOSED"},
		{"5.1.1 stream with an even id", raw(1, http2.FrameHeaders, 5, 2, "\x82"), "PROTOCOL_ERROR"},
		{"6.1 DATA on stream 0", raw(1, http2.FrameData, 0, 0, "a"), "PROTOCOL_ERROR"},
		{"6.1 padding over the payload", raw(2, http2.FrameHeaders, 0x0d, 3, "\x09\x82"), "PROTOCOL_ERROR"},
		{"6.2 HEADERS on stream 0", raw(1, http2.FrameHeaders, 5, 0, "\x82"), "PROTOCOL_ERROR"},
		{"6.2 another frame in a header block", raw(1, http2.FrameHeaders, 1, 3, "\x82") + raw(8, http2.FramePing, 0, 0, "12345678"), "PROTOCOL_ERROR"},
		{"6.3 PRIORITY of 4 bytes", raw(4, http2.FramePriority, 0, 3, "1234"), "FRAME_SIZE_ERROR"},
		{"6.4 RST_STREAM on an idle stream", raw(4, http2.FrameRSTStream, 0, 7, "1234"), "PROTOCOL_ERROR"},
		{"6.4 RST_STREAM of 3 bytes", raw(3, http2.FrameRSTStream, 0, 1, "123"), "FRAME_SIZE_ERROR"},
		{"6.5 SETTINGS on a stream", raw(0, http2.FrameSettings, 0, 1, ""), "PROTOCOL_ERROR"},
		{"6.5 SETTINGS of 5 bytes", raw(5, http2.FrameSettings, 0, 0, "12345"), "FRAME_SIZE_ERROR"},
		{"6.5 acknowledgement with a payload", raw(6, http2.FrameSettings, 1, 0, "123456"), "FRAME_SIZE_ERROR"},
		{"6.5.2 window over 2^31-1", raw(6, http2.FrameSettings, 0, 0, "\x00\x04\xff\xff\xff\xff"), "FLOW_CONTROL_ERROR"},
		{"6.5.2 frame size 0", raw(6, http2.FrameSettings, 0, 0, "\x00\x05\x00\x00\x00\x00"), "PROTOCOL_ERROR"},
		{"6.6 PUSH_PROMISE", raw(5, http2.FramePushPromise, 4, 1, "\x00\x00\x00\x02\x82"), "PROTOCOL_ERROR"},
		{"6.7 PING of 7 bytes", raw(7, http2.FramePing, 0, 0, "1234567"), "FRAME_SIZE_ERROR"},
		{"6.7 PING on a stream", raw(8, http2.FramePing, 0, 1, "12345678"), "PROTOCOL_ERROR"},
		{"6.9 window of 0", raw(4, http2.FrameWindowUpdate, 0, 0, "\x00\x00\x00\x00"), "PROTOCOL_ERROR"},
		{"6.9.1 window over 2^31-1", raw(4, http2.FrameWindowUpdate, 0, 0, "\x7f\xff\xff\xff"), "FLOW_CONTROL_ERROR"},
		{"6.10 CONTINUATION alone", raw(1, http2.FrameContinuation, 4, 1, "\x82"), "PROTOCOL_ERROR"},
	}
	r := startRig(t, nil, toBackend(t, "", named("a")))
	before := r.sockets()
	for _, tt := range tests {
		c := r.dial2()
		c.ask(1, "/good")
		if got := c.outcome(1); got != "200" {
			t.Errorf("%s: the request before: %s", tt.name, got)
		}
		c.out.WriteString(tt.frame)
		if got := c.outcome(0); got != "goaway "+tt.want {
			t.Errorf("%s: %s, want GOAWAY %s", tt.name, got, tt.want)
		}
		if got := c.outcome(0); got != "closed: EOF" {
			t.Errorf("%s: then %s, want the end of the connection", tt.name, got)
		}
		c.conn.Close()
	}
	for _, preface := range []string{
		http2.ClientPreface + raw(8, http2.FramePing, 0, 0, "12345678"), // section 3.4: want SETTINGS
		http2.ClientPreface + get + "\r\n",
	} {
		c := newWire2(t, r.dial())
		c.out.WriteString(preface)
		if got := c.outcome(0); !strings.HasPrefix(got, "goaway ") {
			t.Errorf("preface %q: %s, want GOAWAY", preface, got)
		}
		c.conn.Close()
	}
	r.settles(before)
}

// TestResetBehindTheEnd holds that a reset which crosses the response is no
// mistake: RST_STREAM behind END_STREAM cancels, and the connection goes on.
func TestResetBehindTheEnd(t *testing.T) {
	t.Parallel()
	arrived, cancelled := make(chan struct{}), make(chan struct{})
	r := startRig(t, nil, toBackend(t, "", waits("/wait", arrived, cancelled)))
	c := r.dial2()
	c.ask(1, "/wait")
	c.out.Flush()
	<-arrived
	c.WriteRSTStream(1, http2.ErrCodeCancel)
	c.out.Flush()
	<-cancelled
	c.WriteRSTStream(1, http2.ErrCodeCancel)
	c.ask(3, "/")
	if got := c.outcome(3); got != "200" {
		t.Errorf("the next request: %s, want 200", got)
	}
	c.WriteRSTStream(3, http2.ErrCodeNo)
	c.ask(5, "/")
	if got := c.outcome(5); got != "200" {
		t.Errorf("the request behind a reset of an answered one: %s, want 200", got)
	}
}

// TestBackendCannotInject holds that an h2c backend's response cannot be two
// for an HTTP/1.1 client.
func TestBackendCannotInject(t *testing.T) {
	t.Parallel()
	blocks := map[string][]string{
		"/good":        {":status: 200"},
		"/value":       {":status: 200", "x-a: b\r\nset-cookie: c"},
		"/name":        {":status: 200", "x-a\r\nset-cookie: c"},
		"/status":      {":status: 200\r\nset-cookie: c"},
		"/reason":      {":status: 200 OK\r\nset-cookie: c"},
		"/twice":       {":status: 200", ":status: 404"},
		"/none":        {"x-a: b"},
		"/connection":  {":status: 200", "connection: close"},
		"/coding":      {":status: 200", "transfer-encoding: chunked"},
		"/lengths":     {":status: 200", "content-length: 0", "content-length: 5"},
		"/length":      {":status: 200", "content-length: 5"},
		"/upper":       {":status: 200", "X-A: b"},
		"/switching":   {":status: 101"},
		"/request":     {":status: 200", ":path: /"},
		"/late-status": {"x-a: b", ":status: 200"},
	}
	manifests := toPort("a", "kubernetes.io/h2c", startRawBackend2(t, blocks))
	r := startRig(t, nil, manifests)
	c := r.client()
	for path := range blocks {
		want := 502
		if path == "/good" {
			want = 200
		}
		a, err := r.get(c, r.shop("http", path))
		if err != nil || a.StatusCode != want || a.Header.Get("Set-Cookie") != "" {
			t.Errorf("%s: %v, %v; want %d and no cookie", path, a.Response, err, want)
		}
	}
}

// startRawBackend2 answers each path with a header block and the end of the stream.
func startRawBackend2(t *testing.T, blocks map[string][]string) int {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go serveBlocks(t, conn, blocks)
		}
	}()
	return ln.Addr().(*net.TCPAddr).Port
}

func serveBlocks(t *testing.T, conn net.Conn, blocks map[string][]string) {
	defer conn.Close()
	if _, err := io.ReadFull(conn, make([]byte, len(http2.ClientPreface))); err != nil {
		return
	}
	w := newWire2(t, conn)
	w.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	w.WriteSettings()
	for {
		f, err := w.ReadFrame()
		var stream http2.StreamError
		if err != nil && !errors.As(err, &stream) {
			return
		}
		if h, ok := f.(*http2.MetaHeadersFrame); ok {
			w.heads(h.StreamID, true, blocks[h.PseudoValue("path")]...)
		}
		w.out.Flush()
	}
}

// waits answers, but to path: there it waits until the gateway gives up.
func waits(path string, arrived, cancelled chan struct{}) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == path {
			close(arrived)
			<-r.Context().Done()
			close(cancelled)
		}
	}
}
