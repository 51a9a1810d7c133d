package http1

import (
	"runtime"
	"strings"
	"testing"

	"fairway.dev/gateway/loop"
	"fairway.dev/gateway/message"
)

// What a browser and an ordinary backend say: ten fields each.
const (
	usualRequest = "GET /shop/cart?item=4711&color=blue HTTP/1.1\r\n" +
		"Host: shop.example.com\r\n" +
		"User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\n" +
		"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n" +
		"Accept-Language: en-US,en;q=0.5\r\n" +
		"Accept-Encoding: gzip, deflate, br, zstd\r\n" +
		"Connection: keep-alive\r\n" +
		"Cookie: session=0123456789abcdef0123456789abcdef; theme=dark\r\n" +
		"X-Request-Id: 4bf92f35-77b3-4da6-a3ce-929d0e0e4736\r\n" +
		"Traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n" +
		"Referer: https://shop.example.com/\r\n\r\n"
	usualBody     = 1024
	usualResponse = "HTTP/1.1 200 OK\r\n" +
		"Date: Sat, 21 Nov 2026 12:00:00 GMT\r\n" +
		"Server: shop/1.0\r\n" +
		"Content-Type: text/html; charset=utf-8\r\n" +
		"Content-Length: 1024\r\n" +
		"Connection: keep-alive\r\n" +
		"Cache-Control: private, max-age=0\r\n" +
		"ETag: \"5f3e-62a7b3c1d4e80\"\r\n" +
		"Vary: Accept-Encoding\r\n" +
		"X-Frame-Options: DENY\r\n" +
		"Set-Cookie: seen=1; Path=/; HttpOnly\r\n\r\n"
)

// relay joins a Server to a Client as simply as can be: the proxy of these
// tests.
type relay struct {
	client *Client
	down   message.ServerStream
	up     message.Stream
}

func (r *relay) Exchange(s message.ServerStream, req *message.Request, last bool) message.Receiver {
	r.down = s
	r.up = r.client.Open(req, last, (*answers)(r))
	return (*asks)(r)
}

// asks takes the client's side, answers the backend's.
type (
	asks    relay
	answers relay
)

func (r *asks) Data(p []byte)           { r.up.Data(p); r.down.Consumed(len(p)) }
func (r *asks) End(tail message.Fields) { r.up.End(tail) }
func (r *asks) Abort(err error)         { r.up.Abort(err) }
func (r *asks) Drained()                {}

func (r *answers) Head(resp *message.Response, last bool) { r.down.Head(resp, last) }
func (r *answers) Data(p []byte)                          { r.down.Data(p); r.up.Consumed(len(p)) }
func (r *answers) End(tail message.Fields)                { r.down.End(tail) }
func (r *answers) Abort(err error)                        { r.down.Abort(err) }
func (r *answers) Drained()                               {}

// line is a relay between two wires.
type line struct {
	relay
	server    *Server
	near, far *wire
}

func newLine() *line {
	l := loop.NewManual(noon)
	x := &line{near: &wire{l: l}, far: &wire{l: l}}
	x.client = NewClient(x.far, ClientOptions{OnFree: func(*Client) {}})
	x.server = NewServer(x.near, plain, &x.relay, nil)
	return x
}

func TestExchangesDoNotAllocate(t *testing.T) {
	body := strings.Repeat("x", usualBody)
	chunked := strings.Replace(usualResponse, "Content-Length: 1024", "Transfer-Encoding: chunked", 1) + "400\r\n" + body + "\r\n0\r\nX-Sum: 1\r\n\r\n"
	tests := []struct {
		what              string
		request, response string
		pieces            int // that each comes in
	}{
		{"GET", usualRequest, usualResponse + body, 1},
		{"GET, chunked, with trailers", usualRequest, chunked, 1},
		{"in pieces", usualRequest, usualResponse + body, 7},
		{"chunked in pieces", usualRequest, chunked, 300},
		{"POST", strings.Replace(strings.Replace(usualRequest, "GET", "POST", 1), "Host", "Content-Length: 1024\r\nHost", 1) + body, usualResponse + body, 3},
		{"HTTP/1.0", "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n", 1},
		{"fields of one hop", begun + "Connection: X-A\r\nX-A: 1\r\n\r\n", "HTTP/1.1 204 No Content\r\nConnection: X-A\r\nX-A: 1\r\n\r\n", 2},
		{"interim", begun + "\r\n", "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + usualResponse + body, 1},
	}
	for _, tt := range tests {
		x := newLine()
		request, response := split([]byte(tt.request), nil), split([]byte(tt.response), nil)
		if tt.pieces > 1 {
			request = split([]byte(tt.request), []byte{byte(min(255, len(tt.request)/tt.pieces+1))})
			response = split([]byte(tt.response), []byte{byte(min(255, len(tt.response)/tt.pieces+1))})
		}
		exchange := func() {
			for _, p := range request {
				x.server.Data(p)
			}
			x.far.Flush()
			for _, p := range response {
				x.client.Data(p)
			}
			if x.client.Free() != 1 || x.server.phase != idle || len(x.near.out) > 0 {
				t.Fatalf("%s: the exchange did not end", tt.what)
			}
		}
		exchange()
		if n := testing.AllocsPerRun(100, exchange); n != 0 {
			t.Errorf("%s: an exchange allocates %v times, want 0", tt.what, n)
		}
		// Idle connections hold nothing: all of it is the loop's again.
		if x.server.kept != nil || x.server.lines.partial != nil || x.client.lines.partial != nil || x.client.resp != nil || x.server.exchange.req != nil {
			t.Errorf("%s: an idle connection holds memory", tt.what)
		}
	}
}

// An idle connection is within its share of the budget (8 KiB with the
// socket, the proxy's part and the kernel's).
func TestIdleConnectionsAreSmall(t *testing.T) {
	l := loop.NewManual(noon)
	w := &wire{l: l}
	NewServer(w, plain, &relay{}, nil)
	const connections = 1000
	servers := make([]*Server, connections)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for i := range servers {
		servers[i] = NewServer(w, plain, &relay{}, nil)
	}
	runtime.ReadMemStats(&after)
	runtime.KeepAlive(servers)
	if each := (after.TotalAlloc - before.TotalAlloc) / connections; each > 1200 {
		t.Errorf("an idle Server takes %d bytes, want at most 1200", each)
	}
}

// BenchmarkExchange is one exchange with ten fields each way and 1 KiB of
// body: two heads read, two written.
func BenchmarkExchange(b *testing.B) {
	x := newLine()
	request, response := []byte(usualRequest), append([]byte(usualResponse), make([]byte, usualBody)...)
	b.ReportAllocs()
	b.SetBytes(int64(len(request) + len(response)))
	for b.Loop() {
		x.server.Data(request)
		x.client.Data(response)
	}
}

func BenchmarkParseRequest(b *testing.B) {
	request := []byte(usualRequest)
	req := new(message.Request)
	var r lineReader
	b.ReportAllocs()
	b.SetBytes(int64(len(request)))
	for b.Loop() {
		req.Reset()
		r.start(requestHead, &noLimits, &req.Fields, req)
		r.feed(request)
		r.request(req, plain)
	}
}

func BenchmarkParseResponse(b *testing.B) {
	response := []byte(usualResponse)
	resp := new(message.Response)
	var r lineReader
	b.ReportAllocs()
	b.SetBytes(int64(len(response)))
	for b.Loop() {
		resp.Fields = resp.Fields[:0]
		r.start(responseHead, &noLimits, &resp.Fields, nil)
		r.feed(response)
		r.response(resp, asked{})
	}
}

func BenchmarkWriteRequest(b *testing.B) {
	req := new(message.Request)
	var r lineReader
	r.start(requestHead, &noLimits, &req.Fields, req)
	r.feed([]byte(usualRequest))
	r.request(req, plain)
	buf := make([]byte, 0, 4096)
	b.ReportAllocs()
	for b.Loop() {
		appendRequest(buf, req, frame{})
	}
}

func BenchmarkChunked(b *testing.B) {
	in := []byte(strings.Repeat("400\r\n"+strings.Repeat("x", 1024)+"\r\n", 64))
	var d body
	b.SetBytes(int64(len(in)))
	for b.Loop() {
		d.begin(chunkedBody, 0)
		for p := in; len(p) > 0; {
			_, n, _, _ := d.next(p)
			p = p[n:]
		}
	}
}
