package http2

import (
	"encoding/binary"
	"fmt"

	h2 "golang.org/x/net/http2"

	"fairway.dev/gateway/message"
)

// be31 reads a number of 31 bits.
func be31(p []byte) uint32 { return binary.BigEndian.Uint32(p) & maxStreamID }

// onSettings takes the peer's settings (RFC 9113 section 6.5), in their order.
func (c *conn) onSettings(h header, p []byte) {
	switch {
	case h.id != 0:
		c.fail(h2.ErrCodeProtocol, "SETTINGS on a stream")
		return
	case h.has(h2.FlagSettingsAck):
		if len(p) != 0 {
			c.fail(h2.ErrCodeFrameSize, "acknowledged SETTINGS: want no payload")
		} else {
			c.charge(FloodControl)
		}
		return
	case len(p)%6 != 0:
		c.fail(h2.ErrCodeFrameSize, "SETTINGS: want 6 bytes a setting")
		return
	}
	if !c.charge(FloodControl) {
		return
	}
	c.settled = true
	for ; len(p) > 0; p = p[6:] {
		id, v := h2.SettingID(binary.BigEndian.Uint16(p)), binary.BigEndian.Uint32(p[2:])
		if !c.setting(id, v) {
			return
		}
	}
	c.wire.Write(appendHeader(c.scratch[:0], 0, h2.FrameSettings, h2.FlagSettingsAck, 0))
	c.pump()
}

func (c *conn) setting(id h2.SettingID, v uint32) bool {
	switch id {
	case h2.SettingHeaderTableSize:
		c.encoder.limit(v)
	case h2.SettingInitialWindowSize:
		if v > maxWindow {
			c.fail(h2.ErrCodeFlowControl, "SETTINGS_INITIAL_WINDOW_SIZE: want at most 2^31-1")
			return false
		}
		return c.setPeerWindow(int64(v))
	case h2.SettingMaxFrameSize:
		// Our frames have at most the smallest size that this may be.
		if v < 1<<14 || v > 1<<24-1 {
			c.fail(h2.ErrCodeProtocol, "SETTINGS_MAX_FRAME_SIZE: want 2^14 to 2^24-1")
			return false
		}
	case h2.SettingEnablePush:
		if v > 1 || c.client && v == 1 {
			c.fail(h2.ErrCodeProtocol, "SETTINGS_ENABLE_PUSH: want 0, or 1 from a client")
			return false
		}
	case h2.SettingEnableConnectProtocol:
		if v > 1 {
			c.fail(h2.ErrCodeProtocol, "SETTINGS_ENABLE_CONNECT_PROTOCOL: want 0 or 1")
			return false
		}
		c.side.setting(id, v)
	default: // unknown ones are ignored
		c.side.setting(id, v)
	}
	return true
}

// onPing answers (section 6.7).
func (c *conn) onPing(h header, p []byte) {
	switch {
	case h.id != 0:
		c.fail(h2.ErrCodeProtocol, "PING on a stream")
	case len(p) != 8:
		c.fail(h2.ErrCodeFrameSize, "PING: want 8 bytes")
	case !c.charge(FloodControl):
	case h.has(h2.FlagPingAck):
		c.side.pinged(p)
	default:
		c.writePing(h2.FlagPingAck, p)
	}
}

// onPriority checks a signal that we have no use for (section 5.3.2).
func (c *conn) onPriority(h header, p []byte) {
	switch {
	case h.id == 0:
		c.fail(h2.ErrCodeProtocol, "PRIORITY on stream 0")
	case len(p) != 5:
		c.fail(h2.ErrCodeFrameSize, "PRIORITY: want 5 bytes")
	case !c.charge(FloodPriority):
	case be31(p) == h.id:
		if s := c.streams.get(h.id); s != nil {
			s.reset(h2.ErrCodeProtocol, errDependsOnSelf)
		} else {
			c.fail(h2.ErrCodeProtocol, "a stream that depends on itself")
		}
	}
}

var errDependsOnSelf = malformed("a stream that depends on itself")

// onGoAway hears that the peer takes no more streams (section 6.8).
func (c *conn) onGoAway(h header, p []byte) {
	switch {
	case h.id != 0:
		c.fail(h2.ErrCodeProtocol, "GOAWAY on a stream")
	case len(p) < 8:
		c.fail(h2.ErrCodeFrameSize, "GOAWAY: want at least 8 bytes")
	case c.charge(FloodControl):
		c.side.goAway(be31(p))
	}
}

// onReset takes the peer's word that it gives a stream up (section 6.4).
func (c *conn) onReset(h header, p []byte) {
	if h.id == 0 {
		c.fail(h2.ErrCodeProtocol, "RST_STREAM on stream 0")
		return
	}
	if len(p) != 4 {
		c.fail(h2.ErrCodeFrameSize, "RST_STREAM: want 4 bytes")
		return
	}
	s := c.streams.get(h.id)
	if s == nil {
		if c.side.idle(h.id) {
			c.fail(h2.ErrCodeProtocol, "RST_STREAM on an idle stream")
		} else {
			c.charge(FloodControl)
		}
		return
	}
	s.die(resetError(h2.ErrCode(binary.BigEndian.Uint32(p))))
	if !c.client && !c.closed {
		c.charge(FloodResets)
	}
}

// resetErrors are the errors of streams that the peer reset, by its code: a
// flood of resets must not cost memory.
var resetErrors = func() (t [h2.ErrCodeHTTP11Required + 2]*message.Error) {
	for code := range t {
		reason := message.Reset
		if h2.ErrCode(code) == h2.ErrCodeRefusedStream {
			reason = message.Refused
		}
		t[code] = &message.Error{Reason: reason, Err: fmt.Errorf("RST_STREAM with %s", h2.ErrCode(code))}
	}
	t[len(t)-1].Err = fmt.Errorf("RST_STREAM with an unknown code")
	return t
}()

func resetError(code h2.ErrCode) error {
	return resetErrors[min(int(code), len(resetErrors)-1)]
}
