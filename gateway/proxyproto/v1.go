package proxyproto

import (
	"bytes"
	"net/netip"
	"strconv"
	"strings"
)

// signature1 begins a header of version 1 (section 2.1).
const signature1 = "PROXY "

// maxLine is the longest header of version 1, with its CRLF (section 2.1).
const maxLine = 107

func parse1(p []byte) (Header, int, error) {
	line := p[:min(len(p), maxLine)]
	end := bytes.IndexByte(line, '\n')
	switch {
	case end < 0 && len(p) < maxLine:
		return Header{}, 0, nil
	case end < 0:
		return Header{}, 0, malformed("no end of the line in %d bytes", maxLine)
	case line[end-1] != '\r': // the signature is before it
		return Header{}, 0, malformed("LF without CR before it")
	}
	h, err := parseLine(string(line[len(signature1) : end-1]))
	if err != nil {
		return Header{}, 0, err
	}
	return h, end + 1, nil
}

// parseLine reads what follows the signature: TCP4, TCP6 or UNKNOWN, two
// addresses and two ports, each after exactly one space.
func parseLine(line string) (h Header, err error) {
	family, rest, _ := strings.Cut(line, " ")
	switch family {
	case "UNKNOWN":
		return Header{}, nil // "the receiver must ignore anything presented before the CRLF"
	case "TCP4", "TCP6":
	default:
		return Header{}, malformed("family %q, want TCP4, TCP6 or UNKNOWN", family)
	}
	words := strings.Split(rest, " ")
	if len(words) != 4 {
		return Header{}, malformed("%d words after the family, want 2 addresses and 2 ports", len(words))
	}
	if h.Source, err = address(family, words[0], words[2]); err != nil {
		return Header{}, err
	}
	if h.Destination, err = address(family, words[1], words[3]); err != nil {
		return Header{}, err
	}
	return h, nil
}

func address(family, host, port string) (netip.AddrPort, error) {
	addr, err := netip.ParseAddr(host)
	if err != nil || addr.Zone() != "" || addr.Is4() != (family == "TCP4") {
		return netip.AddrPort{}, malformed("address %q, want one of %s", host, family)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || port[0] == '+' || len(port) > 1 && port[0] == '0' {
		return netip.AddrPort{}, malformed("port %q, want 0-65535", port)
	}
	return netip.AddrPortFrom(addr.Unmap(), uint16(n)), nil
}

func append1(dst []byte, h Header) []byte {
	if !h.Known() {
		return append(dst, "PROXY UNKNOWN\r\n"...)
	}
	dst = append(dst, "PROXY TCP6 "...)
	if h.Source.Addr().Is4() {
		dst[len(dst)-2] = '4'
	}
	dst = appendIP(dst, h.Source.Addr())
	dst = append(dst, ' ')
	dst = appendIP(dst, h.Destination.Addr())
	dst = append(dst, ' ')
	dst = strconv.AppendUint(dst, uint64(h.Source.Port()), 10)
	dst = append(dst, ' ')
	dst = strconv.AppendUint(dst, uint64(h.Destination.Port()), 10)
	return append(dst, "\r\n"...)
}

// appendIP appends an address without its zone, which means nothing elsewhere.
func appendIP(dst []byte, a netip.Addr) []byte { return a.WithZone("").AppendTo(dst) }
