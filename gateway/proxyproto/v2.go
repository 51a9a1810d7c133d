package proxyproto

import (
	"encoding/binary"
	"net/netip"
)

// signature2 begins a header of version 2 (section 2.2). No text protocol
// begins so, nor does TLS.
const signature2 = "\r\n\r\n\x00\r\nQUIT\n"

// What follows the signature: version and command, family and transport, and
// the length of all that comes then.
const (
	commandAt = len(signature2)
	familyAt  = commandAt + 1
	lengthAt  = familyAt + 1
	fixedSize = lengthAt + 2
)

const (
	version2     = 0x20
	commandLocal = version2
	commandProxy = version2 | 0x1

	tcp4 = 0x11
	tcp6 = 0x21

	maxFamily    = 0x3 // AF_UNIX
	maxTransport = 0x2 // DGRAM

	size4 = 2*4 + 2*2
	size6 = 2*16 + 2*2
)

// addressSizes are the bytes of a family's addresses and ports, by family.
var addressSizes = [maxFamily + 1]int{0, size4, size6, 2 * 108}

func parse2(p []byte) (h Header, size int, err error) {
	if len(p) > commandAt && p[commandAt] != commandLocal && p[commandAt] != commandProxy {
		return Header{}, 0, malformed("version and command %#02x, want %#02x or %#02x", p[commandAt], commandLocal, commandProxy)
	}
	if len(p) < fixedSize {
		return Header{}, 0, nil
	}
	size = fixedSize + int(binary.BigEndian.Uint16(p[lengthAt:]))
	if size > MaxSize {
		return Header{}, 0, malformed("%d bytes, want at most %d", size, MaxSize)
	}
	local, family := p[commandAt] == commandLocal, p[familyAt]
	if !local { // of LOCAL "the receiver must ... discard the protocol block including the family"
		if family>>4 > maxFamily || family&0xf > maxTransport {
			return Header{}, 0, malformed("family and transport %#02x", family)
		}
		if need := addressSizes[family>>4]; size < fixedSize+need {
			return Header{}, 0, malformed("%d bytes for family and transport %#02x, want %d", size-fixedSize, family, need)
		}
	}
	if len(p) < size {
		return Header{}, 0, nil
	}
	if local || family != tcp4 && family != tcp6 {
		return Header{}, size, nil
	}
	h = addresses(family, p[fixedSize:size])
	if err := h.tlvs(p[:size], fixedSize+addressSizes[family>>4]); err != nil {
		return Header{}, 0, err
	}
	return h, size, nil
}

// addresses reads those of TCP.
func addresses(family byte, p []byte) Header {
	if family == tcp4 {
		return Header{
			Source:      netip.AddrPortFrom(netip.AddrFrom4([4]byte(p)), binary.BigEndian.Uint16(p[8:])),
			Destination: netip.AddrPortFrom(netip.AddrFrom4([4]byte(p[4:])), binary.BigEndian.Uint16(p[10:])),
		}
	}
	return Header{
		Source:      netip.AddrPortFrom(netip.AddrFrom16([16]byte(p)).Unmap(), binary.BigEndian.Uint16(p[32:])),
		Destination: netip.AddrPortFrom(netip.AddrFrom16([16]byte(p[16:])).Unmap(), binary.BigEndian.Uint16(p[34:])),
	}
}

func append2(dst []byte, h Header) []byte {
	dst = append(dst, signature2...)
	if !h.Known() {
		return append(dst, commandLocal, 0, 0, 0)
	}
	from, to := h.Source.Addr(), h.Destination.Addr()
	if from.Is4() {
		dst = append(dst, commandProxy, tcp4, 0, size4)
	} else {
		dst = append(dst, commandProxy, tcp6, 0, size6)
	}
	dst = append(dst, from.AsSlice()...)
	dst = append(dst, to.AsSlice()...)
	dst = binary.BigEndian.AppendUint16(dst, h.Source.Port())
	return binary.BigEndian.AppendUint16(dst, h.Destination.Port())
}
