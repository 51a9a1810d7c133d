package http2

import (
	"encoding/binary"

	h2 "golang.org/x/net/http2"
)

// An input is how far the bytes that came have been read.
type input struct {
	preface string // what is still to come of the client's connection preface
	partial []byte // a frame that is not whole, never DATA
	done    bool   // a frame was completed since Data began

	// A DATA frame is passed on as it comes.
	data     *stream // nil where nobody takes it any more
	left     int     // of the payload, padding included
	pad      int     // at the end of it
	padded   bool    // pad is still to be read
	dataLast bool
	dataID   uint32

	// A header block is gathered in fragment where it does not come in one frame.
	fragment      []byte
	blockID       uint32 // 0 while no block is open
	blockLast     bool
	dependsOnSelf bool
	continuations int
}

// midway reports whether something has begun and the peer owes us the rest.
// A body may take its time, a header may not.
func (in *input) midway() bool { return len(in.partial) > 0 || in.blockID != 0 }

// Data takes bytes from the peer.
func (c *conn) Data(p []byte) {
	if c.closed {
		return
	}
	c.ping.hear()
	c.busy = true
	c.in.done = false
	for len(p) > 0 && !c.closed {
		switch {
		case c.in.preface != "":
			p = c.readPreface(p)
		case c.in.left > 0:
			p = c.readData(p)
		case len(c.in.partial) > 0:
			p = c.complete(p)
		default:
			p = c.readFrame(p)
		}
	}
	if !c.closed {
		c.awaitRest(c.in.done)
	}
	c.leave()
}

// readPreface takes what every client says first (RFC 9113 section 3.4).
func (c *conn) readPreface(p []byte) []byte {
	n := min(len(p), len(c.in.preface))
	if string(p[:n]) != c.in.preface[:n] {
		c.fail(h2.ErrCodeProtocol, "want the connection preface")
		return nil
	}
	c.in.preface = c.in.preface[n:]
	return p[n:]
}

// readFrame takes the frame that p begins with, or keeps a part of it.
func (c *conn) readFrame(p []byte) []byte {
	if len(p) < headerLen {
		c.in.partial = append(c.in.partial, p...)
		return nil
	}
	h := parseHeader(p)
	if !c.admit(h) {
		return nil
	}
	if h.kind == h2.FrameData {
		c.in.done = true
		c.beginData(h)
		return p[headerLen:]
	}
	end := headerLen + h.length
	if len(p) < end {
		c.in.partial = append(c.in.partial, p...)
		return nil
	}
	c.in.done = true
	c.frame(h, p[headerLen:end])
	return p[end:]
}

// keepPartial is how large a buffer for parts of frames a connection keeps.
const keepPartial = 1 << 10

// complete adds to a frame that came in part.
func (c *conn) complete(p []byte) []byte {
	in := &c.in
	want := headerLen
	if len(in.partial) >= headerLen {
		want += parseHeader(in.partial).length
	}
	n := min(want-len(in.partial), len(p))
	in.partial = append(in.partial, p[:n]...)
	p = p[n:]
	if len(in.partial) < want {
		return p
	}
	if want == headerLen {
		h := parseHeader(in.partial)
		if !c.admit(h) {
			return nil
		}
		if h.kind == h2.FrameData {
			in.partial = in.partial[:0]
			in.done = true
			c.beginData(h)
			return p
		}
		if h.length > 0 {
			return p
		}
	}
	frame := in.partial
	in.partial = nil
	in.done = true
	c.frame(parseHeader(frame), frame[headerLen:])
	if cap(frame) <= keepPartial {
		in.partial = frame[:0]
	}
	return p
}

// admit checks what can be known of a frame by its header: its size (RFC 9113
// section 4.2) and its place (sections 3.4 and 4.3).
func (c *conn) admit(h header) bool {
	switch {
	case !c.settled && c.client && h.length == 'H'<<16|'T'<<8|'T' && h.kind == 'P':
		c.fail(h2.ErrCodeHTTP11Required, "want HTTP/2: the backend answers in HTTP/1")
	case !c.settled && (h.kind != h2.FrameSettings || h.has(h2.FlagSettingsAck)):
		c.fail(h2.ErrCodeProtocol, "want SETTINGS first")
	case h.length > maxFrame:
		c.fail(h2.ErrCodeFrameSize, "frame larger than SETTINGS_MAX_FRAME_SIZE")
	case c.in.blockID != 0 && (h.kind != h2.FrameContinuation || h.id != c.in.blockID):
		c.fail(h2.ErrCodeProtocol, "want CONTINUATION of the header block")
	case c.in.blockID == 0 && h.kind == h2.FrameContinuation:
		c.fail(h2.ErrCodeProtocol, "CONTINUATION without a header block")
	default:
		return true
	}
	return false
}

// frame takes a whole frame that is not DATA.
func (c *conn) frame(h header, p []byte) {
	switch h.kind {
	case h2.FrameHeaders:
		c.onHeaders(h, p)
	case h2.FrameContinuation:
		c.onContinuation(h, p)
	case h2.FrameWindowUpdate:
		c.onWindowUpdate(h, p)
	case h2.FrameRSTStream:
		c.onReset(h, p)
	case h2.FrameSettings:
		c.onSettings(h, p)
	case h2.FramePing:
		c.onPing(h, p)
	case h2.FramePriority:
		c.onPriority(h, p)
	case h2.FrameGoAway:
		c.onGoAway(h, p)
	case h2.FramePushPromise:
		// A client may not, a server was told not to (sections 8.4 and 6.5.2).
		c.fail(h2.ErrCodeProtocol, "PUSH_PROMISE where there may be none")
	case h2.FramePriorityUpdate:
		c.charge(FloodPriority)
	default: // unknown ones are ignored (section 4.1)
		c.charge(FloodControl)
	}
}

// onHeaders begins a header block (section 6.2).
func (c *conn) onHeaders(h header, p []byte) {
	if h.id == 0 {
		c.fail(h2.ErrCodeProtocol, "HEADERS on stream 0")
		return
	}
	pad := 0
	if h.has(h2.FlagHeadersPadded) {
		if len(p) < 1 {
			c.fail(h2.ErrCodeFrameSize, "HEADERS without its pad length")
			return
		}
		pad, p = int(p[0]), p[1:]
	}
	c.in.dependsOnSelf = false
	if h.has(h2.FlagHeadersPriority) {
		if len(p) < 5 {
			c.fail(h2.ErrCodeFrameSize, "HEADERS without its priority")
			return
		}
		c.in.dependsOnSelf = binary.BigEndian.Uint32(p)&maxStreamID == h.id
		p = p[5:]
	}
	if pad > len(p) {
		c.fail(h2.ErrCodeProtocol, "HEADERS with more padding than payload")
		return
	}
	p = p[:len(p)-pad]
	c.in.blockID, c.in.blockLast, c.in.continuations = h.id, h.has(h2.FlagHeadersEndStream), 0
	if h.has(h2.FlagHeadersEndHeaders) {
		c.endBlock(p)
		return
	}
	if len(p) == 0 && !c.charge(FloodEmpty) {
		return
	}
	c.in.fragment = append(c.in.fragment[:0], p...)
}

// onContinuation goes on with a header block (section 6.10; CVE-2024-27316).
func (c *conn) onContinuation(h header, p []byte) {
	in := &c.in
	in.continuations++
	last := h.has(h2.FlagContinuationEndHeaders)
	if len(p) == 0 && !last && !c.charge(FloodEmpty) {
		return
	}
	// An encoded field is never larger than what counts against HeaderBytes.
	// Up to twice as much is read so that the stream alone fails.
	if in.continuations > maxContinuations || len(in.fragment)+len(p) > 2*c.lim.headerBytes()+maxFrame {
		c.calm(FloodContinuation)
		return
	}
	in.fragment = append(in.fragment, p...)
	if last {
		block := in.fragment
		in.fragment = nil // large ones are rare: none is kept
		c.endBlock(block)
	}
}

// endBlock decodes a whole header block. Whatever becomes of its stream, it
// has changed the state of the decoder (section 4.3).
func (c *conn) endBlock(p []byte) {
	id := c.in.blockID
	c.in.blockID = 0
	c.traffic = true
	w := c.shared.space()
	w.block.reset(c.lim)
	if err := c.decoder.decode(p, &w.block); err != nil {
		c.fail(h2.ErrCodeCompression, err.Error())
	} else {
		c.side.headers(id, c.in.blockLast, c.in.dependsOnSelf, w)
	}
	c.shared.takeBack(w)
}

// closedStream judges a frame for a stream that is no longer open: fine if it
// may have crossed our RST_STREAM, else a mistake (section 5.1).
func (c *conn) closedStream(id uint32, what string) {
	switch {
	case c.side.idle(id):
		c.fail(h2.ErrCodeProtocol, what+" on an idle stream")
	case !c.resets.may(id):
		c.fail(h2.ErrCodeStreamClosed, what+" on a closed stream")
	}
}
