package http2

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"golang.org/x/net/http2/hpack"

	"fairway.dev/gateway/message"
)

// read decodes a block with golang.org/x/net's decoder into "name: value"
// lines, with a star before those that are never indexed.
func read(t testing.TB, d *hpack.Decoder, b []byte) string {
	t.Helper()
	list, err := d.DecodeFull(b)
	if err != nil {
		t.Fatalf("block %x: %v", b, err)
	}
	var sb strings.Builder
	for _, f := range list {
		if f.Sensitive {
			sb.WriteString("*")
		}
		sb.WriteString(f.Name + ": " + f.Value + "\n")
	}
	return sb.String()
}

func newOracle() *hpack.Decoder { return hpack.NewDecoder(maxDynamicTable, nil) }

func TestEncoderWritesHeads(t *testing.T) {
	fields := func(pairs ...string) (f message.Fields) {
		for i := 0; i < len(pairs); i += 2 {
			f.Append(pairs[i], pairs[i+1])
		}
		return f
	}
	request := func(r message.Request, last bool) func(*encoder) []byte {
		return func(e *encoder) []byte { return e.request(nil, &r, last) }
	}
	response := func(r message.Response) func(*encoder) []byte {
		return func(e *encoder) []byte { return e.response(nil, &r, r.Status) }
	}
	tests := []struct {
		name  string
		write func(*encoder) []byte
		want  string
	}{
		{"GET", request(message.Request{Method: "GET", Scheme: "https", Authority: "a.example", Path: "/p", Query: "?q=1"}, true),
			":method: GET\n:scheme: https\n:authority: a.example\n:path: /p?q=1\n"},
		{"a body of known length", request(message.Request{Method: "PUT", Scheme: "http", Authority: "a", Path: "/", Length: 12}, false),
			":method: PUT\n:scheme: http\n:authority: a\n:path: /\ncontent-length: 12\n"},
		{"a body of unknown length", request(message.Request{Method: "POST", Scheme: "http", Authority: "a", Path: "/x", Length: -1}, false),
			":method: POST\n:scheme: http\n:authority: a\n:path: /x\n"},
		{"POST says that it has no body", request(message.Request{Method: "POST", Scheme: "http", Authority: "a", Path: "/x"}, true),
			":method: POST\n:scheme: http\n:authority: a\n:path: /x\ncontent-length: 0\n"},
		{"OPTIONS *", request(message.Request{Method: "OPTIONS", Scheme: "http", Authority: "a", Path: "*"}, true),
			":method: OPTIONS\n:scheme: http\n:authority: a\n:path: *\n"},
		{"RFC 9113 8.2.2: te may say trailers", request(message.Request{Method: "GET", Scheme: "http", Authority: "a", Path: "/", Trailers: true}, true),
			":method: GET\n:scheme: http\n:authority: a\n:path: /\nte: trailers\n"},
		{"RFC 9113 8.2: names in lower case, nothing of the connection", request(message.Request{
			Method: "GET", Scheme: "http", Authority: "a", Path: "/",
			Fields: fields("X-Shop", "1", "Accept", "*/*", "Connection", "close", "Keep-Alive", "5",
				"Proxy-Connection", "x", "Transfer-Encoding", "chunked", "Upgrade", "h2c", "Host", "b", "TE", "gzip", "Content-Length", "7"),
		}, true), ":method: GET\n:scheme: http\n:authority: a\n:path: /\nx-shop: 1\naccept: */*\n"},
		{"RFC 7541 7.1.3: secrets are never indexed", request(message.Request{
			Method: "GET", Scheme: "http", Authority: "a", Path: "/",
			Fields: fields("Authorization", "Basic x", "Cookie", "a=b", "Proxy-Authorization", "y"),
		}, true), ":method: GET\n:scheme: http\n:authority: a\n:path: /\n*authorization: Basic x\n*cookie: a=b\n*proxy-authorization: y\n"},
		{"RFC 8441 4: extended CONNECT", request(message.Request{
			Method: "GET", Scheme: "https", Authority: "a", Path: "/chat", Upgrade: "websocket", Length: -1,
			Fields: fields("Sec-WebSocket-Version", "13", "Sec-WebSocket-Key", "abc"),
		}, false), ":method: CONNECT\n:protocol: websocket\n:scheme: https\n:authority: a\n:path: /chat\nsec-websocket-version: 13\n"},
		{"200", response(message.Response{Status: 200, Length: 5, Fields: fields("Set-Cookie", "s=1")}),
			":status: 200\ncontent-length: 5\n*set-cookie: s=1\n"},
		{"a status outside the static table", response(message.Response{Status: 429, Length: -1}), ":status: 429\n"},
		{"RFC 9110 8.6: no content-length with 204", response(message.Response{Status: 204, Length: 0}), ":status: 204\n"},
		{"nor with 1xx", response(message.Response{Status: 103, Length: 0, Fields: fields("link", "</a>")}), ":status: 103\nlink: </a>\n"},
		{"206", response(message.Response{Status: 206, Length: -1}), ":status: 206\n"},
		{"304", response(message.Response{Status: 304, Length: 9}), ":status: 304\ncontent-length: 9\n"},
		{"400", response(message.Response{Status: 400, Length: -1}), ":status: 400\n"},
		{"404", response(message.Response{Status: 404, Length: -1}), ":status: 404\n"},
		{"500", response(message.Response{Status: 500, Length: -1}), ":status: 500\n"},
	}
	for _, tt := range tests {
		e, d := &encoder{max: maxDynamicTable}, newOracle()
		for i := range 3 { // the second time is indexed, the third refers to it
			if got := read(t, d, tt.write(e)); got != tt.want {
				t.Errorf("%s, time %d:\n%swant\n%s", tt.name, i+1, got, tt.want)
			}
		}
	}
}

func TestEncoderIndexesWhatComesAgain(t *testing.T) {
	e, d := &encoder{max: maxDynamicTable}, newOracle()
	var sizes []int
	for range 3 {
		b := e.fields(nil, message.Fields{{Text: "x-shop", Value: "a value of some length"}})
		read(t, d, b)
		sizes = append(sizes, len(b))
	}
	if sizes[2] != 1 {
		t.Errorf("the third time takes %d bytes, want 1 (sizes %d)", sizes[2], sizes)
	}
}

// RFC 7541 section 4.2.
func TestEncoderTellsOfTableSizes(t *testing.T) {
	tests := []struct {
		limits []uint32
		want   string
	}{
		{[]uint32{4096}, ""},      // nothing has changed
		{[]uint32{1 << 20}, ""},   // we do not want more
		{[]uint32{100}, "3f45"},   // 100
		{[]uint32{0}, "20"},       // no table at all
		{[]uint32{0, 4096}, "20"}, // once small, always small
		{[]uint32{100, 50, 4096}, "3f13"},
	}
	for _, tt := range tests {
		e := &encoder{max: maxDynamicTable}
		for _, n := range tt.limits {
			e.limit(n)
		}
		if got := fmt.Sprintf("%x", e.begin(nil)); got != tt.want {
			t.Errorf("after the limits %d a block begins with %s, want %s", tt.limits, got, tt.want)
		}
		if got := e.begin(nil); len(got) != 0 {
			t.Errorf("after the limits %d the next block begins with %x, want nothing", tt.limits, got)
		}
	}
}

// FuzzEncoder reads what the encoder wrote with golang.org/x/net's decoder:
// fields that come again and change, under tables of changing size.
func FuzzEncoder(f *testing.F) {
	f.Add(uint64(1), 40)
	f.Add(uint64(2), 400)
	f.Fuzz(func(t *testing.T, seed uint64, n int) {
		rnd := rand.New(rand.NewPCG(seed, 0))
		e, d := &encoder{max: maxDynamicTable}, newOracle()
		for range min(max(n, 0), 1000) {
			if rnd.IntN(10) == 0 {
				size := []uint32{0, 64, 200, 1000, 4096, 1 << 20}[rnd.IntN(6)]
				e.limit(size)
				d.SetAllowedMaxDynamicTableSize(size)
			}
			var fields message.Fields
			want := ""
			for range rnd.IntN(8) {
				name := []string{"x-a", "X-Longer-Name", "accept", "date", "etag", "cookie", "server"}[rnd.IntN(7)]
				value := strings.Repeat("v", rnd.IntN(1<<rnd.IntN(11))) + fmt.Sprint(rnd.IntN(4))
				fields.Append(name, value)
				if name == "cookie" {
					want += "*"
				}
				want += strings.ToLower(name) + ": " + value + "\n"
			}
			var b []byte
			if rnd.IntN(5) == 0 {
				b = standalone(e.begin(nil), fields)
			} else {
				b = e.fields(e.begin(nil), fields)
			}
			if got := read(t, d, b); got != want {
				t.Fatalf("read\n%swant\n%s", got, want)
			}
		}
	})
}

func TestHuffmanReadsWhatHpackWrites(t *testing.T) {
	var all strings.Builder
	for i := range 256 {
		all.WriteByte(byte(i))
		s := string([]byte{byte(i)})
		if got, ok := appendHuffman(nil, hpack.AppendHuffmanString(nil, s)); !ok || string(got) != s {
			t.Errorf("byte %#x reads %q, %v", i, got, ok)
		}
	}
	for n := range 257 {
		s := all.String()[:n]
		if got, ok := appendHuffman([]byte("x"), hpack.AppendHuffmanString(nil, s)); !ok || string(got) != "x"+s {
			t.Errorf("the first %d bytes read %q, %v", n, got, ok)
		}
	}
}

// FuzzHuffman compares with the decoder of golang.org/x/net.
func FuzzHuffman(f *testing.F) {
	f.Add([]byte("\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff"))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, in []byte) {
		want, err := hpack.HuffmanDecodeToString(in)
		got, ok := appendHuffman(nil, in)
		if ok != (err == nil) || ok && string(got) != want {
			t.Errorf("%x reads %q, %v; oracle %q, %v", in, got, ok, want, err)
		}
	})
}

func TestHeadersAllocateNothing(t *testing.T) {
	e, d := &encoder{max: maxDynamicTable}, newDecoder()
	req := &message.Request{Method: "GET", Scheme: "https", Authority: "shop.example", Path: "/cart"}
	req.Fields.Append("user-agent", "somebody/1.0")
	req.Fields.Append("x-request-id", "0123456789")
	var out []byte
	var b block
	var got message.Request
	n := 0
	if allocs := testing.AllocsPerRun(200, func() {
		n++
		req.Fields[1].Value = statusDigits[n%100:][:20] // never the same twice
		out = e.request(out[:0], req, true)
		b.reset(&standardLimits)
		got.Reset()
		if err := d.decode(out, &b); err != nil {
			t.Fatal(err)
		}
		if err := b.request(&got, true); err != nil {
			t.Fatal(err)
		}
	}); allocs != 0 {
		t.Errorf("a request allocates %v times on its way, want 0", allocs)
	}
	if v, _ := got.Fields.Get(message.XRequestID); v != req.Fields[1].Value {
		t.Errorf("x-request-id: %q, want %q", v, req.Fields[1].Value)
	}
}

func BenchmarkDecodeRequest(b *testing.B) {
	// What h2load sends, the path spelled out.
	in := append([]byte{0x82, 0x87, 0x41, 12}, "shop.example\x04\x05/cart\x7a\x0bh2load/1.52"...)
	rest := append([]byte{0x82, 0x87, 0xbf, 0x04, 0x05}, "/cart\xbe"...)
	d := newDecoder()
	var blk block
	blk.reset(&standardLimits)
	if err := d.decode(in, &blk); err != nil {
		b.Fatal(err)
	}
	var req message.Request
	b.ReportAllocs()
	for b.Loop() {
		blk.reset(&standardLimits)
		req.Reset()
		if err := d.decode(rest, &blk); err != nil {
			b.Fatal(err)
		}
		if err := blk.request(&req, true); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkEncodeResponse(b *testing.B) {
	e := &encoder{max: maxDynamicTable}
	resp := &message.Response{Status: 200, Length: 1024}
	resp.Fields.Append("Server", "backend")
	resp.Fields.Append("Content-Type", "text/plain; charset=utf-8")
	resp.Fields.Append("Date", "Sat, 21 Nov 2026 10:00:00 GMT")
	var out []byte
	b.ReportAllocs()
	for b.Loop() {
		out = e.response(out[:0], resp, 200)
	}
}
