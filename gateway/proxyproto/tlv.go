package proxyproto

import (
	"encoding/binary"
	"hash/crc32"
)

// What follows the addresses of version 2 are TLVs: a byte of type, two of
// length, and the value (section 2.2.7). Types that are not here are ignored.
const (
	typeCRC32C = 0x03 // PP2_TYPE_CRC32C, section 2.2.3
	// typeIdentity is of the range that is free for own use (section 2.2.8):
	// ztunnel's, who has proved by mTLS to be the client, as a SPIFFE ID.
	typeIdentity = 0xD0

	tlvHead = 3
	crcSize = 4
)

// maxIdentity bounds an identity (SPIFFE-ID section 2.3), in bytes.
const maxIdentity = 2048

// tlvs takes from the TLVs of a whole header, which begin at an offset, what is
// known here. Each has to be whole, and what could be read in two ways is not.
func (h *Header) tlvs(header []byte, at int) error {
	var seen [256]bool
	for at < len(header) {
		rest := header[at:]
		if len(rest) < tlvHead {
			return malformed("%d bytes behind the last TLV, want none, or %d and a value", len(rest), tlvHead)
		}
		kind, size := rest[0], int(binary.BigEndian.Uint16(rest[1:]))
		if size > len(rest)-tlvHead {
			return malformed("a TLV of type %#02x with %d bytes, and %d are left", kind, size, len(rest)-tlvHead)
		}
		value := rest[tlvHead : tlvHead+size]
		switch {
		case kind != typeCRC32C && kind != typeIdentity:
		case seen[kind]:
			return malformed("two TLVs of type %#02x, want one", kind)
		case kind == typeCRC32C && size != crcSize:
			return malformed("a checksum of %d bytes, want %d", size, crcSize)
		case kind == typeCRC32C:
			if want, got := checksum(header, at+tlvHead), binary.BigEndian.Uint32(value); got != want {
				return malformed("checksum %#08x, want %#08x", got, want)
			}
		case size == 0 || size > maxIdentity:
			return malformed("an identity of %d bytes, want 1-%d", size, maxIdentity)
		default:
			h.Identity = string(value)
		}
		seen[kind] = true
		at += tlvHead + size
	}
	return nil
}

var (
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
	noChecksum [crcSize]byte
)

// checksum is that of a header, in which the checksum itself, at an offset,
// counts as zero (section 2.2.3).
func checksum(header []byte, at int) uint32 {
	sum := crc32.Update(0, castagnoli, header[:at])
	sum = crc32.Update(sum, castagnoli, noChecksum[:])
	return crc32.Update(sum, castagnoli, header[at+crcSize:])
}
