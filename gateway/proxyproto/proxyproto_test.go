package proxyproto

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
)

const v2 = signature2

func header(from, to string) Header {
	return Header{Source: netip.MustParseAddrPort(from), Destination: netip.MustParseAddrPort(to)}
}

// The section numbers are those of proxy-protocol.txt.
func TestParse(t *testing.T) {
	four, six := header("192.0.2.7:51234", "198.51.100.1:443"), header("[2001:db8::7]:51234", "[2001:db8::1]:443")
	tests := []struct {
		name string
		in   string
		want Header
		size int // 0 where more is needed
		err  string
	}{
		{"2.1, TCP4", "PROXY TCP4 192.0.2.7 198.51.100.1 51234 443\r\nGET", four, 45, ""},
		{"2.1, TCP6", "PROXY TCP6 2001:db8::7 2001:db8::1 51234 443\r\n", six, 46, ""},
		{"2.1, the longest", "PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n", Header{}, 107, ""},
		{"2.1, UNKNOWN", "PROXY UNKNOWN\r\n", Header{}, 15, ""},
		{"2.1, what follows UNKNOWN does not count", "PROXY UNKNOWN what ever\r\n", Header{}, 25, ""},
		{"2.1, not yet whole", "PROXY TCP4 192.0.2.7 198.51.100.1 51234 443\r", Header{}, 0, ""},
		{"2.1, barely begun", "P", Header{}, 0, ""},
		{"nothing yet", "", Header{}, 0, ""},
		{"2.1, 107 bytes without an end", "PROXY UNKNOWN " + strings.Repeat("x", 107), Header{}, 0, "no end"},
		{"2.1, LF alone", "PROXY UNKNOWN\n", Header{}, 0, "LF without CR"},
		{"2.1, no family", "PROXY \r\n", Header{}, 0, "family"},
		{"2.1, lower case", "PROXY tcp4 192.0.2.7 198.51.100.1 1 2\r\n", Header{}, 0, "family"},
		{"2.1, two spaces", "PROXY TCP4  192.0.2.7 198.51.100.1 1 2\r\n", Header{}, 0, "5 words"},
		{"2.1, no ports", "PROXY TCP4 192.0.2.7 198.51.100.1\r\n", Header{}, 0, "2 words"},
		{"2.1, families mixed", "PROXY TCP4 2001:db8::7 198.51.100.1 1 2\r\n", Header{}, 0, "address"},
		{"2.1, leading zero in an address", "PROXY TCP4 192.0.2.07 198.51.100.1 1 2\r\n", Header{}, 0, "address"},
		{"2.1, a zone", "PROXY TCP6 fe80::1%eth0 fe80::2 1 2\r\n", Header{}, 0, "address"},
		{"2.1, leading zero in a port", "PROXY TCP4 192.0.2.7 198.51.100.1 01 2\r\n", Header{}, 0, "port"},
		{"2.1, port too large", "PROXY TCP4 192.0.2.7 198.51.100.1 65536 2\r\n", Header{}, 0, "port"},
		{"2.1, signed port", "PROXY TCP4 192.0.2.7 198.51.100.1 +1 2\r\n", Header{}, 0, "port"},
		{"2.1, empty port", "PROXY TCP4 192.0.2.7 198.51.100.1  2\r\n", Header{}, 0, "port"},

		{"2.2, TCP4", v2 + "\x21\x11\x00\x0c\xc0\x00\x02\x07\xc6\x33\x64\x01\xc8\x22\x01\xbbrest", four, 28, ""},
		{"2.2, TCP6", v2 + "\x21\x21\x00\x24" + "\x20\x01\x0d\xb8" + zeros(11) + "\x07" + "\x20\x01\x0d\xb8" + zeros(11) + "\x01" + "\xc8\x22\x01\xbb", six, 52, ""},
		{"2.2, IPv4 in IPv6", v2 + "\x21\x21\x00\x24" + zeros(10) + "\xff\xff\xc0\x00\x02\x07" + zeros(10) + "\xff\xff\xc6\x33\x64\x01" + "\xc8\x22\x01\xbb", four, 52, ""},
		{"2.2, TLVs behind the addresses", v2 + "\x21\x11\x00\x10\xc0\x00\x02\x07\xc6\x33\x64\x01\xc8\x22\x01\xbb\x04\x00\x01x", four, 32, ""},
		{"2.2, LOCAL", v2 + "\x20\x00\x00\x00", Header{}, 16, ""},
		{"2.2, LOCAL with addresses", v2 + "\x20\x11\x00\x0c\xc0\x00\x02\x07\xc6\x33\x64\x01\xc8\x22\x01\xbb", Header{}, 28, ""},
		{"2.2, LOCAL with a family of its own", v2 + "\x20\xff\x00\x01x", Header{}, 17, ""},
		{"2.2, AF_UNSPEC", v2 + "\x21\x00\x00\x02xx", Header{}, 18, ""},
		{"2.2, AF_UNIX", v2 + "\x21\x31\x00\xd8" + zeros(216), Header{}, 232, ""},
		{"2.2, datagrams", v2 + "\x21\x12\x00\x0c\xc0\x00\x02\x07\xc6\x33\x64\x01\xc8\x22\x01\xbb", Header{}, 28, ""},
		{"2.2, not yet whole", v2 + "\x21\x11\x00\x0c\xc0\x00\x02\x07", Header{}, 0, ""},
		{"2.2, the signature alone", v2, Header{}, 0, ""},
		{"2.2, version 3", v2 + "\x31", Header{}, 0, "version and command"},
		{"2.2, unknown command", v2 + "\x22\x11\x00\x0c", Header{}, 0, "version and command"},
		{"2.2, unknown family", v2 + "\x21\x41\x00\x0c", Header{}, 0, "family"},
		{"2.2, unknown transport", v2 + "\x21\x13\x00\x0c", Header{}, 0, "family"},
		{"2.2, too short for its family", v2 + "\x21\x11\x00\x0b", Header{}, 0, "want 12"},
		{"2.2, too long", v2 + "\x21\x11\x40\x00", Header{}, 0, "want at most 16384"},
		{"2.2, the longest", v2 + "\x21\x11\x3f\xf0" + "\xc0\x00\x02\x07\xc6\x33\x64\x01\xc8\x22\x01\xbb" + zeros(MaxSize-28), four, MaxSize, ""},

		{"HTTP", "GET / HTTP/1.1\r\n", Header{}, 0, "no PROXY"},
		{"TLS", "\x16\x03\x01", Header{}, 0, "no PROXY"},
		{"a method that begins so", "PROPFIND / HTTP/1.1\r\n", Header{}, 0, "no PROXY"},
	}
	for _, tt := range tests {
		h, size, err := Parse([]byte(tt.in))
		if h != tt.want || size != tt.size {
			t.Errorf("%s: %v of %d bytes, want %v of %d", tt.name, h, size, tt.want, tt.size)
		}
		if tt.err == "" != (err == nil) || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%s: error %v, want %q", tt.name, err, tt.err)
		}
	}
}

func zeros(n int) string { return strings.Repeat("\x00", n) }

func TestAppend(t *testing.T) {
	tests := []struct {
		name    string
		version uint8
		h       Header
		want    string
	}{
		{"2.1, IPv4", 1, header("192.0.2.7:51234", "198.51.100.1:443"), "PROXY TCP4 192.0.2.7 198.51.100.1 51234 443\r\n"},
		{"2.1, IPv6", 1, header("[2001:db8::7]:51234", "[2001:db8::1]:443"), "PROXY TCP6 2001:db8::7 2001:db8::1 51234 443\r\n"},
		{"2.1, IPv4 in IPv6", 1, header("[::ffff:192.0.2.7]:1", "198.51.100.1:443"), "PROXY TCP4 192.0.2.7 198.51.100.1 1 443\r\n"},
		{"2.1, a zone", 1, header("[fe80::1%eth0]:1", "[fe80::2]:443"), "PROXY TCP6 fe80::1 fe80::2 1 443\r\n"},
		{"2.1, nobody", 1, Header{}, "PROXY UNKNOWN\r\n"},
		{"2.2, IPv4", 2, header("192.0.2.7:51234", "198.51.100.1:443"), v2 + "\x21\x11\x00\x0c\xc0\x00\x02\x07\xc6\x33\x64\x01\xc8\x22\x01\xbb"},
		{"2.2, nobody", 2, Header{}, v2 + "\x20\x00\x00\x00"},
	}
	for _, tt := range tests {
		if got := string(Append(nil, tt.version, tt.h)); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestWhatIsWrittenIsRead(t *testing.T) {
	for _, h := range []Header{
		header("192.0.2.7:51234", "198.51.100.1:443"),
		header("[2001:db8::7]:0", "[2001:db8::1]:65535"),
		header("[2001:db8::7]:1", "198.51.100.1:443"), // 2.1 and 2.2 have one family for both
		{},
	} {
		for version := uint8(1); version <= 2; version++ {
			p := Append(nil, version, h)
			got, size, err := Parse(append(p, "rest"...))
			if got.Source != h.Source || got.Destination != h.Destination || size != len(p) || err != nil {
				t.Errorf("version %d: %v is read as %v, %d of %d bytes, %v", version, h, got, size, len(p), err)
			}
		}
	}
}

// FuzzParse looks for what depends on how a header is cut into reads.
func FuzzParse(f *testing.F) {
	f.Add([]byte("PROXY TCP4 192.0.2.7 198.51.100.1 51234 443\r\nGET"))
	f.Add([]byte("PROXY UNKNOWN\r\n"))
	f.Add([]byte(v2 + "\x21\x11\x00\x10\xc0\x00\x02\x07\xc6\x33\x64\x01\xc8\x22\x01\xbb\x04\x00\x01x"))
	f.Add([]byte(v2 + "\x20\x00\x00\x00"))
	f.Add(with(tlv(0xD0, "spiffe://cluster.local/ns/web/sa/front")))
	f.Add(summed(tlv(0xEA, "\x01vpce"), tlv(0xD0, "spiffe://cluster.local/ns/web/sa/front")))
	f.Fuzz(func(t *testing.T, p []byte) {
		h, size, err := Parse(p)
		if size < 0 || size > len(p) || size > MaxSize || err != nil && (size != 0 || h != Header{}) {
			t.Fatalf("%v of %d bytes of %d, %v", h, size, len(p), err)
		}
		for n := range min(len(p), 300) {
			early, earlySize, earlyErr := Parse(p[:n])
			switch {
			case earlySize > 0 && (early != h || earlySize != size):
				t.Fatalf("%d bytes: %v of %d; all of them: %v of %d", n, early, earlySize, h, size)
			case errors.Is(earlyErr, ErrNone) && !errors.Is(err, ErrNone), earlyErr != nil && err == nil:
				t.Fatalf("%d bytes: %v; all of them: %v", n, earlyErr, err)
			case n > 0 && earlySize == 0 && earlyErr == nil && n >= MaxSize:
				t.Fatalf("%d bytes are not enough", n)
			}
		}
		if err != nil || size == 0 {
			return
		}
		again, _, err := Parse(Append(nil, 2, h))
		h.Identity = "" // which is not written
		if again != h || err != nil {
			t.Fatalf("%v is written and read as %v, %v", h, again, err)
		}
	})
}
