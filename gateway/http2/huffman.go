package http2

import (
	"encoding/binary"
	"slices"
	"strings"

	"golang.org/x/net/http2/hpack"
)

// longestCode is the length in bits of the longest Huffman code.
const longestCode = 30

// huffman is the code of RFC 7541 appendix B in the form that decodes fast:
// most symbols have at most 8 bits and are found at once. The code is
// canonical (sorted as left-aligned numbers, longer codes come later), so the
// others are found by comparing with one bound a length.
var huffman = func() (h struct {
	short   [256]struct{ symbol, bits uint8 } // by the next 8 bits; bits is 0 where 8 do not do
	bound   [longestCode + 1]uint32           // of each length: the first left-aligned number past its codes
	first   [longestCode + 1]uint32           // and its first code, left-aligned
	base    [longestCode + 1]uint8            // and where its symbols begin in symbols
	symbols [256]uint8                        // in the order of their codes
}) {
	code := func(symbol int) (left uint32, bits int) {
		// Eight times a symbol takes as many bytes as the symbol has bits,
		// and begins with its code.
		eight := strings.Repeat(string([]byte{byte(symbol)}), 8)
		bits = int(hpack.HuffmanEncodeLength(eight))
		left = binary.BigEndian.Uint32(hpack.AppendHuffmanString(nil, eight))
		return left &^ (1<<(32-bits) - 1), bits
	}
	var sorted []int
	for symbol := range 256 {
		sorted = append(sorted, symbol)
	}
	slices.SortFunc(sorted, func(a, b int) int {
		x, _ := code(a)
		y, _ := code(b)
		if x < y {
			return -1
		}
		return 1
	})
	for i, symbol := range sorted {
		left, bits := code(symbol)
		h.symbols[i] = uint8(symbol)
		if bits <= 8 {
			for j := range 1 << (8 - bits) {
				h.short[int(left>>24)+j] = struct{ symbol, bits uint8 }{uint8(symbol), uint8(bits)}
			}
		}
		if h.bound[bits] == 0 {
			h.first[bits], h.base[bits] = left, uint8(i)
		}
		h.bound[bits] = left + 1<<(32-bits)
	}
	return h
}()

// longCode finds the symbol that the left-aligned bits begin with, where it
// has more than 8 bits; its length is 0 where no symbol does (EOS).
func longCode(bits uint32) (symbol uint8, length uint) {
	for n := uint(9); n <= longestCode; n++ {
		if bits < huffman.bound[n] {
			return huffman.symbols[uint32(huffman.base[n])+(bits-huffman.first[n])>>(32-n)], n
		}
	}
	return 0, 0
}

// appendHuffman appends what the Huffman-coded src says. False means that it
// is not such a string: EOS in it, or padding that is not at most 7 ones
// (RFC 7541 section 5.2).
func appendHuffman(dst, src []byte) ([]byte, bool) {
	dst = slices.Grow(dst, len(src)*8/5+1)
	out := dst[len(dst):cap(dst)]
	done := 0
	var acc uint64 // its top n bits are yet to decode
	var n uint
	for {
		if len(src) >= 8 {
			acc |= binary.BigEndian.Uint64(src) >> n
			src = src[(63-n)>>3:]
			n |= 56
		} else {
			for n <= 56 && len(src) > 0 {
				acc |= uint64(src[0]) << (56 - n)
				src = src[1:]
				n += 8
			}
			if n < longestCode {
				break
			}
		}
		for n >= longestCode {
			symbol, bits := huffman.short[acc>>56].symbol, uint(huffman.short[acc>>56].bits)
			if bits == 0 {
				if symbol, bits = longCode(uint32(acc >> 32)); bits == 0 {
					return dst, false
				}
			}
			out[done] = symbol
			done++
			acc <<= bits
			n -= bits
		}
	}
	for n > 0 {
		ones := acc | ^uint64(0)>>n
		symbol, bits := huffman.short[ones>>56].symbol, uint(huffman.short[ones>>56].bits)
		if bits == 0 {
			symbol, bits = longCode(uint32(ones >> 32))
		}
		if bits == 0 || bits > n {
			break
		}
		out[done] = symbol
		done++
		acc <<= bits
		n -= bits
	}
	return dst[:len(dst)+done], n < 8 && acc|^uint64(0)>>n == ^uint64(0)
}
