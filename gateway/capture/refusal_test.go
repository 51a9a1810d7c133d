package capture

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// ipv4 is a header with options of a number of bytes, and what follows it.
func ipv4(proto byte, options int, rest ...byte) []byte {
	b := make([]byte, 20+options)
	b[0], b[9] = 0x40|byte(len(b)/4), proto
	copy(b[12:], []byte{10, 244, 1, 2})
	copy(b[16:], []byte{10, 96, 0, 5})
	return append(b, rest...)
}

func ipv6(next byte, rest ...byte) []byte {
	b := make([]byte, 40)
	b[0], b[6] = 0x60, next
	copy(b[8:], netip.MustParseAddr("fd44::2").AsSlice())
	copy(b[24:], netip.MustParseAddr("fd96::5").AsSlice())
	return append(b, rest...)
}

var ports = []byte{0x9c, 0x40, 0, 80} // 40000 to 80

func TestParsePacket(t *testing.T) {
	options := func(next byte, words byte) []byte {
		return append([]byte{next, words}, make([]byte, 6+8*int(words))...)
	}
	v4, v6 := "10.244.1.2:40000 10.96.0.5:80", "[fd44::2]:40000 [fd96::5]:80"
	tests := []struct {
		about  string
		packet []byte
		want   string // empty: none of ours
	}{
		{"IPv4", ipv4(unix.IPPROTO_TCP, 0, ports...), v4},
		{"RFC 791 section 3.1: options are behind the addresses", ipv4(unix.IPPROTO_TCP, 8, ports...), v4},
		{"cut off in the ports", ipv4(unix.IPPROTO_TCP, 0, ports[:3]...), ""},
		{"cut off in the header", ipv4(unix.IPPROTO_TCP, 0)[:19], ""},
		{"UDP", ipv4(unix.IPPROTO_UDP, 0, ports...), ""},
		{"RFC 791 section 3.1: a header has five words at least", append([]byte{0x44}, ipv4(unix.IPPROTO_TCP, 0, ports...)[1:]...), ""},
		{"IPv6", ipv6(unix.IPPROTO_TCP, ports...), v6},
		{"RFC 8200 section 4.6: options for the destination", ipv6(unix.IPPROTO_DSTOPTS, append(options(unix.IPPROTO_TCP, 1), ports...)...), v6},
		{"RFC 8200 section 4.1: hop-by-hop, then routing", ipv6(unix.IPPROTO_HOPOPTS, append(append(options(unix.IPPROTO_ROUTING, 0), options(unix.IPPROTO_TCP, 2)...), ports...)...), v6},
		{"an extension that is cut off", ipv6(unix.IPPROTO_DSTOPTS, options(unix.IPPROTO_TCP, 1)[:15]...), ""},
		{"no more headers", ipv6(unix.IPPROTO_NONE), ""},
		{"cut off in IPv6's header", ipv6(unix.IPPROTO_TCP)[:39], ""},
		{"neither", append([]byte{0x50}, make([]byte, 60)...), ""},
		{"nothing", nil, ""},
	}
	for _, tt := range tests {
		got := ""
		if from, to, ok := parsePacket(tt.packet); ok {
			got = from.String() + " " + to.String()
		}
		if got != tt.want {
			t.Errorf("%s: parsePacket(%x) = %q, want %q", tt.about, tt.packet, got, tt.want)
		}
	}
}

// logged is a message as nfnetlink_log sends it.
func logged(prefix string, packet []byte) netlink.Message {
	data, err := netlink.MarshalAttributes([]netlink.Attribute{
		{Type: 1, Data: make([]byte, 4)}, // NFULA_PACKET_HDR
		{Type: logPrefix, Data: append([]byte(prefix), 0)},
		{Type: logPayload, Data: packet},
	})
	if err != nil {
		panic("bug: " + err.Error())
	}
	return netlink.Message{Header: netlink.Header{Type: logPacket}, Data: append([]byte{unix.AF_INET, 0, 0, 0}, data...)}
}

func TestParseRefusal(t *testing.T) {
	packet := ipv4(unix.IPPROTO_TCP, 0, ports...)
	if r, ok := parseRefusal(logged("fairway WaypointNotReady", packet)); !ok || r.why != WaypointNotReady || r.to.Port() != 80 {
		t.Errorf("parseRefusal = %+v, %v, want %s to port 80", r, ok, WaypointNotReady)
	}
	other := logged("fairway WaypointNotReady", packet)
	other.Header.Type = logConfig
	for about, m := range map[string]netlink.Message{
		"somebody else's":    logged("dropped: ", packet),
		"no packet":          logged("fairway WaypointNotReady", nil),
		"without a reason":   logged("fairway ", packet),
		"of another kind":    other,
		"without attributes": {Header: netlink.Header{Type: logPacket}, Data: make([]byte, 4)},
		"cut off":            {Header: netlink.Header{Type: logPacket}, Data: []byte{2}},
	} {
		if r, ok := parseRefusal(m); ok {
			t.Errorf("%s: parseRefusal = %+v, want none", about, r)
		}
	}
}

func FuzzParseRefusal(f *testing.F) {
	f.Add(logged("fairway WaypointRequired", ipv4(unix.IPPROTO_TCP, 4, ports...)).Data)
	f.Add(logged("fairway WaypointRequired", ipv6(unix.IPPROTO_DSTOPTS, unix.IPPROTO_TCP, 0)).Data)
	f.Fuzz(func(t *testing.T, data []byte) {
		r, ok := parseRefusal(netlink.Message{Header: netlink.Header{Type: logPacket}, Data: data})
		if ok && (r.why == "" || !r.from.IsValid() || !r.to.IsValid()) {
			t.Errorf("parseRefusal(%x) = %+v: want all of it", data, r)
		}
	})
}

// The ends of a packet are where its bytes say, whatever else it has.
func FuzzParsePacket(f *testing.F) {
	f.Add(ipv4(unix.IPPROTO_TCP, 4, ports...))
	f.Add(ipv6(unix.IPPROTO_HOPOPTS, unix.IPPROTO_TCP, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4))
	f.Fuzz(func(t *testing.T, packet []byte) {
		from, to, ok := parsePacket(packet)
		if !ok {
			return
		}
		ends := binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, from.Port()), to.Port())
		addresses := append(from.Addr().AsSlice(), to.Addr().AsSlice()...)
		at := 12
		if from.Addr().Is6() {
			at = 8
		}
		if !bytes.HasPrefix(packet[at:], addresses) || !bytes.Contains(packet[at+len(addresses):], ends) {
			t.Errorf("parsePacket(%x) = %s, %s", packet, from, to)
		}
	})
}

func FuzzGotoChain(f *testing.F) {
	verdict, err := netlink.MarshalAttributes([]netlink.Attribute{
		{Type: unix.NFTA_VERDICT_CODE, Data: []byte{0xff, 0xff, 0xff, 0xfc}}, // NFT_GOTO
		{Type: unix.NFTA_VERDICT_CHAIN, Data: []byte("to-service\x00")},
	})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(verdict)
	f.Fuzz(func(t *testing.T, b []byte) {
		chain, err := gotoChain(b)
		if bytes.Equal(b, verdict) && (chain != "to-service" || err != nil) {
			t.Errorf("gotoChain = %q, %v, want to-service", chain, err)
		}
		if chain != "" && !bytes.Contains(b, []byte(chain)) {
			t.Errorf("gotoChain(%x) = %q", b, chain)
		}
	})
}
