package listen

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// recorded keeps what a client sends, and answers nothing.
type recorded struct {
	net.Conn
	sent []byte
}

func (r *recorded) Write(p []byte) (int, error)     { r.sent = append(r.sent, p...); return len(p), nil }
func (r *recorded) Read([]byte) (int, error)        { return 0, io.EOF }
func (r *recorded) SetDeadline(time.Time) error     { return nil }
func (r *recorded) SetReadDeadline(time.Time) error { return nil }
func (r *recorded) Close() error                    { return nil }

// helloOf returns what crypto/tls sends first.
func helloOf(config *tls.Config) []byte {
	r := &recorded{}
	config.InsecureSkipVerify = true
	tls.Client(r, config).Handshake()
	return r.sent
}

// records cuts the handshake message in one record into several.
func records(hello []byte, size int) []byte {
	var out []byte
	for body := hello[recordHeaderSize:]; len(body) > 0; {
		n := min(size, len(body))
		out = append(out, hello[:3]...)
		out = binary.BigEndian.AppendUint16(out, uint16(n))
		out = append(out, body[:n]...)
		body = body[n:]
	}
	return out
}

// replay lets crypto/tls read p and then the end.
type replay struct {
	recorded
	p []byte
}

func (r *replay) Read(p []byte) (int, error) {
	if len(r.p) == 0 {
		return 0, io.EOF
	}
	n := copy(p, r.p)
	r.p = r.p[n:]
	return n, nil
}

// oracle is the name that crypto/tls reads, and whether it got that far.
func oracle(p []byte) (name string, read bool) {
	server := tls.Server(&replay{p: p}, &tls.Config{
		GetConfigForClient: func(h *tls.ClientHelloInfo) (*tls.Config, error) {
			name, read = h.ServerName, true
			return nil, errors.New("that is enough")
		},
	})
	server.HandshakeContext(context.Background())
	return strings.ToLower(name), read
}

func TestServerNameIsWhatCryptoTLSReads(t *testing.T) {
	long := strings.Repeat("a", 60) + "." + strings.Repeat("b", 60) + ".example"
	for _, config := range []*tls.Config{
		{ServerName: "shop.example"}, {ServerName: "SHOP.example"}, {ServerName: long}, {}, {ServerName: "192.0.2.1"},
		{ServerName: "x.example", MaxVersion: tls.VersionTLS12}, {ServerName: "x.example", NextProtos: []string{"h2", "http/1.1"}},
		{ServerName: "x.example", NextProtos: []string{strings.Repeat("p", 255)}},
	} {
		hello := helloOf(config)
		for _, size := range []int{1 << 14, 1000, 7, 1} {
			p := records(hello, size)
			want, read := oracle(p)
			if !read {
				t.Fatalf("%q in records of %d: crypto/tls refuses what it has sent", config.ServerName, size)
			}
			for n := range p {
				if name, whole, err := serverName(p[:n]); name != "" || whole || err != nil {
					t.Fatalf("%d of %d bytes: %q, whole %v, %v; want that more is needed", n, len(p), name, whole, err)
				}
			}
			if name, whole, err := serverName(append(p, "early data"...)); name != want || !whole || err != nil {
				t.Errorf("%q in records of %d: %q, whole %v, %v; want %q", config.ServerName, size, name, whole, err, want)
			}
		}
	}
}

// hello is a ClientHello with these extensions, made by hand.
func hello(extensions string) string {
	body := "\x03\x03" + strings.Repeat("r", 32) + "\x00" + "\x00\x02\x13\x01" + "\x01\x00"
	if extensions != "" {
		body += size16(extensions)
	}
	message := "\x01\x00" + size16(body)
	return "\x16\x03\x01" + size16(message)
}

func size16(s string) string { return string([]byte{byte(len(s) >> 8), byte(len(s))}) + s }

func extension(kind byte, data string) string { return "\x00" + string(kind) + size16(data) }

func names(entries ...string) string {
	return extension(extensionName, size16(strings.Join(entries, "")))
}

func TestServerNameFrames(t *testing.T) {
	host := func(name string) string { return "\x00" + size16(name) }
	big := strings.Repeat("x", 1<<14)
	tests := []struct {
		name string
		in   string
		want string
		err  error
	}{
		{"a name", hello(names(host("a.example"))), "a.example", nil},
		{"between other extensions", hello(extension(10, "xx") + names(host("a.example")) + extension(11, "")), "a.example", nil},
		{"no extensions", hello(""), "", nil},
		{"no server_name", hello(extension(10, "xx")), "", nil},
		{"another kind of name", hello(names("\x01" + size16("x"))), "", nil},
		{"RFC 6066 section 3: another kind of name besides", hello(names("\x01"+size16("x"), host("a.example"))), "a.example", nil},
		{"RFC 6066 section 3: two host names", hello(names(host("a.example"), host("b.example"))), "", errBadHello},
		{"RFC 6066 section 3: a dot at the end", hello(names(host("a.example."))), "", errBadHello},
		{"RFC 6066 section 3: an empty name", hello(names(host(""))), "", errBadHello},
		{"RFC 6066 section 3: an empty list", hello(names()), "", errBadHello},
		{"RFC 8446 section 4.2: the extension twice", hello(names(host("a.example")) + names(host("b.example"))), "", errBadHello},
		{"a list longer than its extension", hello(extension(extensionName, "\x00\xff")), "", errBadHello},
		{"an extension longer than the rest", hello("\x00\x00\x00\xff"), "", errBadHello},
		{"a byte behind the extensions", "\x16\x03\x01" + size16("\x01\x00"+size16("\x03\x03"+strings.Repeat("r", 32)+"\x00\x00\x00\x00\x00\x00x")), "", errBadHello},
		{"nothing but a version", "\x16\x03\x01\x00\x06\x01\x00\x00\x02\x03\x03", "", errBadHello},
		{"RFC 8446 section 5.1: an empty record", "\x16\x03\x01\x00\x00", "", errNotTLS},
		{"RFC 8446 section 5.1: too long a record", "\x16\x03\x01\x40\x01", "", errNotTLS},
		{"an alert", "\x15\x03\x01\x00\x02\x01\x00", "", errNotTLS},
		{"SSL 2", "\x80\x2e\x01\x03\x01", "", errNotTLS},
		{"HTTP", "GET / HTTP/1.1\r\n", "", errNotTLS},
		{"another message", "\x16\x03\x01\x00\x04\x02\x00\x00\x00", "", errNoHello},
		{"longer than anybody needs", "\x16\x03\x01\x40\x00\x01\x00\xff\xff" + big[4:], "", errLongHello},
	}
	for _, tt := range tests {
		name, whole, err := serverName([]byte(tt.in))
		if name != tt.want || !errors.Is(err, tt.err) || whole != (err == nil) {
			t.Errorf("%s: %q, whole %v, %v; want %q, %v", tt.name, name, whole, err, tt.want, tt.err)
		}
	}
}

// FuzzServerName compares with crypto/tls: what that reads, we read the same;
// what we refuse, it refuses.
func FuzzServerName(f *testing.F) {
	f.Add(helloOf(&tls.Config{ServerName: "shop.example"}))
	f.Add(helloOf(&tls.Config{ServerName: "shop.example", MaxVersion: tls.VersionTLS12}))
	f.Add(records(helloOf(&tls.Config{ServerName: "shop.example"}), 100))
	f.Add([]byte(hello(names("\x00" + size16("a.example")))))
	f.Fuzz(func(t *testing.T, p []byte) {
		name, whole, err := serverName(p)
		want, read := oracle(p)
		switch {
		case len(p) > maxHello:
		case read && (err != nil || !whole || name != want):
			t.Fatalf("%q, whole %v, %v; crypto/tls reads %q", name, whole, err, want)
		case err != nil && (name != "" || whole):
			t.Fatalf("%q, whole %v, with %v", name, whole, err)
		}
	})
}
