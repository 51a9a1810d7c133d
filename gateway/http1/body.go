package http1

import "math"

// bodyKind is how the end of a body is found.
type bodyKind uint8

const (
	noBody      bodyKind = iota
	sizedBody            // Content-Length
	chunkedBody          // Transfer-Encoding: chunked
	openBody             // by the end of the connection
)

// A body finds the bytes of a message's body in those of its connection.
type body struct {
	kind  bodyKind
	state chunkState
	left  int64 // of the body, or of the chunk
	digit int   // of the chunk's size
	extra int   // bytes of chunk extensions
}

type chunkState uint8

const (
	chunkSize    chunkState = iota
	chunkExt                // behind the size, up to CR
	chunkSizeEnd            // LF
	chunkData
	chunkCR
	chunkLF
	chunkOver // the trailer section follows
)

const (
	maxSizeDigits = 15       // 60 bits
	maxExtensions = 16 << 10 // of one body
)

// begin makes b ready for a body; length is that of a sizedBody.
func (b *body) begin(k bodyKind, length int64) {
	*b = body{kind: k}
	switch k {
	case sizedBody:
		b.left = length
	case openBody:
		b.left = math.MaxInt64
	}
}

// next returns the first body bytes of p, and how many bytes of p it has
// dealt with. done says that the body is over; after a chunked one its
// trailer section follows.
func (b *body) next(p []byte) (data []byte, n int, done bool, why Refusal) {
	if b.kind != chunkedBody {
		data = p[:min(int64(len(p)), b.left)]
		b.left -= int64(len(data))
		return data, len(data), b.left == 0, accepted
	}
	for n < len(p) {
		if b.state == chunkData {
			data = p[n : n+int(min(int64(len(p)-n), b.left))]
			b.left -= int64(len(data))
			if b.left == 0 {
				b.state = chunkCR
			}
			return data, n + len(data), false, accepted
		}
		if why := b.step(p[n]); why != accepted {
			return nil, n, false, why
		}
		n++
		if b.state == chunkOver {
			return nil, n, true, accepted
		}
	}
	return nil, n, false, accepted
}

// step takes one byte of the chunks' framing (RFC 9112 section 7.1).
func (b *body) step(c byte) Refusal {
	switch b.state {
	case chunkSize:
		return b.size(c)
	case chunkExt:
		return b.extension(c)
	case chunkSizeEnd:
		if c != '\n' {
			return BadChunk
		}
		b.state, b.digit = chunkData, 0
		if b.left == 0 {
			b.state = chunkOver
		}
	case chunkCR:
		if c != '\r' {
			return BadChunk
		}
		b.state = chunkLF
	case chunkLF:
		if c != '\n' {
			return BadChunk
		}
		b.state = chunkSize
	}
	return accepted
}

func (b *body) size(c byte) Refusal {
	switch {
	case isDigit(c):
		c -= '0'
	case 'a' <= c && c <= 'f':
		c -= 'a' - 10
	case 'A' <= c && c <= 'F':
		c -= 'A' - 10
	case b.digit == 0:
		return BadChunk
	case c == '\r':
		b.state = chunkSizeEnd
		return accepted
	case c == ';':
		b.state = chunkExt
		return b.extension(c)
	default:
		return BadChunk
	}
	b.left = b.left<<4 | int64(c)
	b.digit++
	if b.digit > maxSizeDigits {
		return BadChunk
	}
	return accepted
}

// extension skips a byte of what may follow a chunk's size.
func (b *body) extension(c byte) Refusal {
	b.extra++
	switch {
	case c == '\r':
		b.state = chunkSizeEnd
	case c < ' ' && c != '\t' || c == 0x7f:
		return BadChunk
	case b.extra > maxExtensions:
		return ChunkExtension
	}
	return accepted
}
