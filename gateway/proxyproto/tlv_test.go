package proxyproto

import (
	"encoding/binary"
	"hash/crc32"
	"strings"
	"testing"
)

// tlv is one as section 2.2.7 has it.
func tlv(kind byte, value string) string {
	return string([]byte{kind, byte(len(value) >> 8), byte(len(value))}) + value
}

// with is a header for IPv4 with what follows the addresses.
func with(tlvs ...string) []byte {
	more := strings.Join(tlvs, "")
	p := append([]byte(signature2), commandProxy, tcp4, 0, 0)
	p = append(p, "\xc0\x00\x02\x07\xc6\x33\x64\x01\xc8\x22\x01\xbb"+more...)
	binary.BigEndian.PutUint16(p[lengthAt:], uint16(size4+len(more)))
	return p
}

// summed is with, and a checksum behind it all: of the bytes, with 0 where it
// stands itself (section 2.2.3).
func summed(tlvs ...string) []byte {
	p := with(append(tlvs, tlv(0x03, "\x00\x00\x00\x00"))...)
	binary.BigEndian.PutUint32(p[len(p)-4:], crc32.Checksum(p, crc32.MakeTable(crc32.Castagnoli)))
	return p
}

// The section numbers are those of proxy-protocol.txt; 0xD0 is what ztunnel's
// workload.proto says of ApplicationTunnel.PROXY.
func TestTLVs(t *testing.T) {
	const front = "spiffe://cluster.local/ns/web/sa/front"
	from := func(who string) Header {
		h := header("192.0.2.7:51234", "198.51.100.1:443")
		h.Identity = who
		return h
	}
	forged := summed(tlv(0xD0, front))
	forged[fixedSize] ^= 1
	late := summed(tlv(0xD0, front))
	late[len(late)-1] ^= 1
	tests := []struct {
		name string
		in   []byte
		want Header
		err  string
	}{
		{"2.2, none", with(), from(""), ""},
		{"2.2.7, an identity", with(tlv(0xD0, front)), from(front), ""},
		{"2.2.7, behind others", with(tlv(0x04, "xyz"), tlv(0x02, "shop"), tlv(0xD0, front), tlv(0xD1, "cart.shop")), from(front), ""},
		{"2.2.7, an unknown one", with(tlv(0xEE, "x")), from(""), ""},
		{"2.2.7, unknown ones may be many", with(tlv(0xEE, "x"), tlv(0xEE, "y")), from(""), ""},
		{"2.2.7, one without a value", with(tlv(0x04, "")), from(""), ""},
		{"2.2.7, the longest identity", with(tlv(0xD0, strings.Repeat("x", 2048))), from(strings.Repeat("x", 2048)), ""},
		{"2.2.7, a longer one", with(tlv(0xD0, strings.Repeat("x", 2049))), Header{}, "identity of 2049 bytes"},
		{"2.2.7, an empty identity", with(tlv(0xD0, "")), Header{}, "identity of 0 bytes"},
		{"2.2.7, two identities", with(tlv(0xD0, front), tlv(0xD0, front+"2")), Header{}, "two TLVs of type 0xd0"},
		{"2.2.7, longer than the header", with(tlv(0xD0, front)[:20]), Header{}, "38 bytes, and 17 are left"},
		{"2.2.7, an unknown one likewise", with("\xee\xff\xffx"), Header{}, "65535 bytes, and 1 are left"},
		{"2.2.7, a type alone", with("\xd0"), Header{}, "1 bytes behind the last TLV"},
		{"2.2.7, half of a length", with(tlv(0xD0, front), "\x04\x00"), Header{}, "2 bytes behind the last TLV"},
		{"2.2.3, a checksum", summed(), from(""), ""},
		{"2.2.3, of TLVs too", summed(tlv(0xD0, front), tlv(0x04, "x")), from(front), ""},
		{"2.2.3, of another source", forged, Header{}, "checksum"},
		{"2.2.3, another checksum", late, Header{}, "checksum"},
		{"2.2.3, of 3 bytes", with(tlv(0x03, "xyz")), Header{}, "a checksum of 3 bytes"},
		{"2.2.3, two", summed(tlv(0x03, "\x00\x00\x00\x00")), Header{}, "checksum"},
	}
	for _, tt := range tests {
		h, size, err := Parse(append(tt.in, "rest"...))
		if tt.err != "" {
			if err == nil || !strings.Contains(err.Error(), tt.err) || size != 0 || h != (Header{}) {
				t.Errorf("%s: %v of %d bytes, error %v; want error %q", tt.name, h, size, err, tt.err)
			}
			continue
		}
		if h != tt.want || size != len(tt.in) || err != nil {
			t.Errorf("%s: %v of %d bytes, %v; want %v of %d", tt.name, h, size, err, tt.want, len(tt.in))
		}
	}
}

// Section 2.2: of LOCAL all is discarded, and where the addresses are of no kind
// that is known, nothing behind them is for us either.
func TestIdentityOfNobody(t *testing.T) {
	for _, command := range []struct{ command, family byte }{{commandLocal, tcp4}, {commandProxy, 0}, {commandProxy, 0x12}} {
		p := with(tlv(0xD0, "spiffe://cluster.local/ns/web/sa/front"))
		p[commandAt], p[familyAt] = command.command, command.family
		h, size, err := Parse(p)
		if h != (Header{}) || size != len(p) || err != nil {
			t.Errorf("command %#02x, family %#02x: %v of %d bytes, %v; want nobody's of %d", command.command, command.family, h, size, err, len(p))
		}
	}
}
