package http2

import (
	"encoding/binary"

	h2 "golang.org/x/net/http2"
)

const (
	headerLen = 9
	// maxFrame is the largest payload of a frame, ours or the peer's: the
	// SETTINGS_MAX_FRAME_SIZE that every endpoint has to take.
	maxFrame = 16 << 10
	// maxWindow is the largest flow-control window (RFC 9113 section 6.9.1).
	maxWindow = 1<<31 - 1
	// firstWindow is every window before SETTINGS (section 6.9.2).
	firstWindow = 65535
	maxStreamID = 1<<31 - 1
)

// A header is a frame's header (RFC 9113 section 4.1).
type header struct {
	length int
	kind   h2.FrameType
	flags  h2.Flags
	id     uint32
}

func parseHeader(p []byte) header {
	return header{
		length: int(p[0])<<16 | int(p[1])<<8 | int(p[2]),
		kind:   h2.FrameType(p[3]),
		flags:  h2.Flags(p[4]),
		id:     binary.BigEndian.Uint32(p[5:]) & maxStreamID,
	}
}

func (h header) has(f h2.Flags) bool { return h.flags&f != 0 }

func appendHeader(dst []byte, length int, kind h2.FrameType, flags h2.Flags, id uint32) []byte {
	return append(dst, byte(length>>16), byte(length>>8), byte(length), byte(kind), byte(flags),
		byte(id>>24), byte(id>>16), byte(id>>8), byte(id))
}

// endStream is END_STREAM where last is true.
func endStream(last bool) h2.Flags {
	if last {
		return h2.FlagDataEndStream
	}
	return 0
}

// writeUint32 writes a frame whose payload is one number.
func (c *conn) writeUint32(kind h2.FrameType, id, n uint32) {
	c.wire.Write(binary.BigEndian.AppendUint32(appendHeader(c.scratch[:0], 4, kind, 0, id), n))
}

func (c *conn) writeReset(id uint32, code h2.ErrCode) {
	c.writeUint32(h2.FrameRSTStream, id, uint32(code))
}

func (c *conn) writePing(flags h2.Flags, payload []byte) {
	c.wire.Write(append(appendHeader(c.scratch[:0], 8, h2.FramePing, flags, 0), payload...))
}

func (c *conn) writeGoAway(last uint32, code h2.ErrCode, why string) {
	b := appendHeader(c.scratch[:0], 8+len(why), h2.FrameGoAway, 0, 0)
	b = binary.BigEndian.AppendUint32(b, last)
	b = binary.BigEndian.AppendUint32(b, uint32(code))
	c.wire.Write(append(b, why...))
}

// writeSettings writes our SETTINGS and makes the connection's window what
// it is to be.
func (c *conn) writeSettings(connWindow int32, settings ...h2.Setting) {
	b := appendHeader(nil, 6*len(settings), h2.FrameSettings, 0, 0)
	for _, s := range settings {
		b = binary.BigEndian.AppendUint16(b, uint16(s.ID))
		b = binary.BigEndian.AppendUint32(b, s.Val)
	}
	c.wire.Write(b)
	c.writeUint32(h2.FrameWindowUpdate, 0, uint32(connWindow-firstWindow))
	c.recvWindow = connWindow
}

// frameRoom empties b but for room for a frame's header.
func frameRoom(b []byte) []byte { return append(b[:0], make([]byte, headerLen)...) }

// writeHeaders writes a header block, which is in b behind room for a
// frame's header, as HEADERS and as many CONTINUATION as it takes.
func (c *conn) writeHeaders(id uint32, b []byte, last bool) {
	if n := len(b) - headerLen; n <= maxFrame {
		appendHeader(b[:0], n, h2.FrameHeaders, h2.FlagHeadersEndHeaders|endStream(last), id)
		c.wire.Write(b)
		return
	}
	appendHeader(b[:0], maxFrame, h2.FrameHeaders, endStream(last), id)
	c.wire.Write(b[:headerLen+maxFrame])
	for rest := b[headerLen+maxFrame:]; len(rest) > 0; {
		part := rest[:min(len(rest), maxFrame)]
		rest = rest[len(part):]
		var flags h2.Flags
		if len(rest) == 0 {
			flags = h2.FlagContinuationEndHeaders
		}
		c.wire.Write(appendHeader(c.scratch[:0], len(part), h2.FrameContinuation, flags, id))
		c.wire.Write(part)
	}
}

// writeData writes one DATA frame.
func (c *conn) writeData(id uint32, p []byte, last bool) {
	c.wire.Write(appendHeader(c.scratch[:0], len(p), h2.FrameData, endStream(last), id))
	c.wire.Write(p)
}
