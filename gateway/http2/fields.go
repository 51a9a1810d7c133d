package http2

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"strings"

	"fairway.dev/gateway/message"
)

// What is wrong with a message ends its stream (RFC 9113 section 8.1.1).
var (
	errField         = malformed("a field that no message may have, or a value that none may have")
	errPseudoLate    = malformed("a pseudo-field after other fields")
	errPseudoTwice   = malformed("a pseudo-field twice")
	errPseudoMissing = malformed("want :method, :scheme and :path")
	errPseudoForeign = malformed("a pseudo-field that does not belong here")
	errMethod        = malformed("an invalid :method")
	errScheme        = malformed(":scheme: want http or https")
	errPath          = malformed("an invalid :path")
	errAuthority     = malformed("an invalid :authority or Host, or none")
	errHostDiffers   = malformed("Host differs from :authority")
	errHostTwice     = malformed("Host twice")
	errLengthInvalid = malformed("an invalid content-length, or two")
	errLength        = malformed("content-length differs from the length of the body")
	errNoAuthority   = malformed("CONNECT without :authority")
	errConnectLength = malformed("CONNECT with a content-length")
	errTE            = malformed("te: want trailers")
	errStatus        = malformed("an invalid :status")
	errEarlyEnd      = malformed("the end of the stream with an interim response")
	errNoBody        = malformed("a body where the response has none")
	errTrailersOpen  = malformed("trailers without the end of the stream")
)

// errConnect is a CONNECT request in good order, which is for servers with
// Limits.Tunnels only (RFC 9110 section 9.3.6).
var errConnect = errors.New("plain CONNECT")

func malformed(what string) *message.Error {
	return &message.Error{Reason: message.Malformed, Err: errors.New(what)}
}

// A workspace is what one header block needs on its way in or out, and only
// then: connections borrow it.
type workspace struct {
	block  block
	fields message.Fields
	resp   message.Response
	out    []byte
}

// at returns a part of the block's text.
func (s slice) at(all string) string { return all[s.off:s.end] }

// field returns the field of a span.
func (f *span) field(all string) message.Field {
	if f.id != message.Other {
		return message.Field{Text: f.id.String(), Value: f.value.at(all), ID: f.id}
	}
	return message.Field{Text: f.name.at(all), Value: f.value.at(all)}
}

// A head is what a request's fields say about its framing.
type head struct {
	seen            uint32 // the pseudo-fields, by kind
	protocol        string
	host            string
	hasHost, hasLen bool
}

// request makes req of a header block; last says that nothing follows. The
// error is errConnect or a *message.Error.
func (b *block) request(req *message.Request, last bool) error {
	b.joinCookies()
	all := message.Text(req.Hold(b.buf))
	req.Proto, req.Length = message.HTTP2, message.Unknown
	var h head
	regular := false
	for i := range b.fields {
		f := &b.fields[i]
		switch {
		case f.kind == plain || f.kind == cookie:
			regular = true
			req.Fields = append(req.Fields, f.field(all))
		case f.kind.isPseudo():
			if regular {
				return errPseudoLate
			}
			if h.seen&(1<<f.kind) != 0 {
				return errPseudoTwice
			}
			h.seen |= 1 << f.kind
			if err := h.pseudo(req, f.kind, f.value.at(all)); err != nil {
				return err
			}
		default:
			regular = true
			if err := h.special(req, f.kind, f.value.at(all)); err != nil {
				return err
			}
		}
	}
	return h.finish(req, last)
}

func (h *head) pseudo(req *message.Request, k kind, v string) error {
	switch k {
	case method:
		req.Method = v
		if !message.IsToken(v) {
			return errMethod
		}
	case scheme:
		req.Scheme = v
		if v != "https" && v != "http" {
			return errScheme
		}
	case authority:
		req.Authority = v
	case path:
		req.Path = v
	case protocol:
		h.protocol = v
	default:
		return errPseudoForeign
	}
	return nil
}

func (h *head) special(req *message.Request, k kind, v string) error {
	switch k {
	case host:
		if h.hasHost {
			return errHostTwice
		}
		h.host, h.hasHost = v, true
	case contentLength:
		n, ok := parseLength(v)
		if !ok || h.hasLen {
			return errLengthInvalid
		}
		req.Length, h.hasLen = n, true
	case te:
		if !strings.EqualFold(v, "trailers") {
			return errTE
		}
		req.Trailers = true
	case forbidden:
		return errField
	}
	return nil
}

// finish checks what the fields say together.
func (h *head) finish(req *message.Request, last bool) error {
	has := func(k kind) bool { return h.seen&(1<<k) != 0 }
	switch {
	case h.hasHost && !has(authority):
		req.Authority = h.host
	case h.hasHost && !strings.EqualFold(h.host, req.Authority):
		return errHostDiffers
	}
	if !message.IsAuthority(req.Authority) {
		return errAuthority
	}
	if req.Method == "CONNECT" && !has(protocol) {
		switch { // section 8.5
		case has(scheme) || has(path):
			return errPseudoForeign
		case !has(authority):
			return errNoAuthority
		case h.hasLen:
			return errConnectLength
		}
		return errConnect
	}
	if !has(method) || !has(scheme) || !has(path) {
		return errPseudoMissing
	}
	if req.Path != "*" || req.Method != "OPTIONS" {
		var ok bool
		if req.Path, req.Query, ok = message.SplitTarget(req.Path); !ok {
			return errPath
		}
	}
	if has(protocol) {
		return h.upgrade(req)
	}
	if last {
		if req.Length > 0 {
			return errLength
		}
		req.Length = 0
	}
	return nil
}

// upgrade makes an extended CONNECT (RFC 8441) the GET that it stands for.
func (h *head) upgrade(req *message.Request) error {
	if req.Method != "CONNECT" || !message.IsToken(h.protocol) || message.EqualFold("h2c", h.protocol) {
		// Behind an h2c tunnel no rule would see the requests (RFC 9113
		// section 3.1 has taken the protocol back).
		return errPseudoForeign
	}
	req.Method, req.Length = "GET", message.Unknown
	req.Upgrade = strings.ToLower(h.protocol)
	if req.Upgrade == "websocket" && !req.Fields.Has(message.SecWebSocketKey) {
		// A backend that speaks HTTP/1.1 wants the key that RFC 8441 section
		// 5 left out.
		var nonce [16]byte
		binary.NativeEndian.PutUint64(nonce[:], rand.Uint64())
		binary.NativeEndian.PutUint64(nonce[8:], rand.Uint64())
		req.Fields.Add(message.SecWebSocketKey, base64.StdEncoding.EncodeToString(nonce[:]))
	}
	return nil
}

// response makes a response of a header block.
func (w *workspace) response() (*message.Response, *message.Error) {
	all := message.Text(w.block.buf)
	resp := &w.resp
	*resp = message.Response{Fields: w.fields[:0], Length: message.Unknown, Proto: message.HTTP2}
	regular := false
	for i := range w.block.fields {
		f := &w.block.fields[i]
		switch v := f.value.at(all); f.kind {
		case status:
			if regular {
				return nil, errPseudoLate
			}
			if resp.Status != 0 {
				return nil, errPseudoTwice
			}
			if len(v) != 3 || v[0] < '1' || v[0] > '9' || !isDigit(v[1]) || !isDigit(v[2]) {
				return nil, errStatus
			}
			resp.Status = int(v[0]-'0')*100 + int(v[1]-'0')*10 + int(v[2]-'0')
			continue
		case contentLength:
			n, ok := parseLength(v)
			if !ok || resp.Length != message.Unknown {
				return nil, errLengthInvalid
			}
			resp.Length = n
		case forbidden:
			return nil, errField
		case te, ignored:
		case plain, cookie, host:
			resp.Fields = append(resp.Fields, f.field(all))
		default:
			return nil, errPseudoForeign
		}
		regular = true
	}
	w.fields = resp.Fields
	if resp.Status == 0 || resp.Status == 101 { // section 8.6: there is no 101 in HTTP/2
		return nil, errStatus
	}
	return resp, nil
}

// trailers makes trailers of a header block. Fields that say how to frame or
// route a message mean nothing there and are left out (RFC 9110 section 6.5.1).
func (w *workspace) trailers() (message.Fields, *message.Error) {
	all := message.Text(w.block.buf)
	fields := w.fields[:0]
	for i := range w.block.fields {
		f := &w.block.fields[i]
		switch {
		case f.kind == plain:
			fields = append(fields, f.field(all))
		case f.kind == forbidden:
			return nil, errField
		case f.kind.isPseudo():
			return nil, errPseudoForeign
		}
	}
	w.fields = fields
	return fields, nil
}

// joinCookies makes one cookie field of several (RFC 9113 section 8.2.3).
func (b *block) joinCookies() {
	if b.cookies < 2 {
		return
	}
	var first *span
	start := uint32(len(b.buf))
	for i := range b.fields {
		f := &b.fields[i]
		if f.kind != cookie {
			continue
		}
		if first == nil {
			first = f
		} else {
			b.buf = append(b.buf, "; "...)
			f.kind = ignored
		}
		b.buf = append(b.buf, b.buf[f.value.off:f.value.end]...)
	}
	if first != nil {
		first.value = slice{start, uint32(len(b.buf))}
	}
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// parseLength reads a content-length: digits, and not more than fit.
func parseLength(v string) (int64, bool) {
	if v == "" || len(v) > 18 {
		return 0, false
	}
	n := int64(0)
	for i := 0; i < len(v); i++ {
		if !isDigit(v[i]) {
			return 0, false
		}
		n = n*10 + int64(v[i]-'0')
	}
	return n, true
}
