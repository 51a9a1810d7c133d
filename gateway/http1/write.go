package http1

import (
	"bytes"
	"crypto/sha1"
	"encoding/base64"
	"net/http"
	"strconv"

	"fairway.dev/gateway/message"
)

// statusLines has the status line of each status with its usual reason.
var statusLines = func() (t [600]string) {
	for status := 100; status < len(t); status++ {
		t[status] = "HTTP/1.1 " + strconv.Itoa(status) + " " + http.StatusText(status) + "\r\n"
	}
	return t
}()

// appendStatus appends a status line. A status that is none becomes 502.
func appendStatus(b []byte, status int, reason string) []byte {
	if status < 100 || status >= len(statusLines) {
		status, reason = http.StatusBadGateway, ""
	}
	line := statusLines[status]
	const prefix = len("HTTP/1.1 200 ")
	if reason == "" || reason == line[prefix:len(line)-2] || !message.IsValue(reason) {
		return append(b, line...)
	}
	b = append(b, line[:prefix]...)
	b = append(b, reason...)
	return append(b, "\r\n"...)
}

// appendFields appends the fields but for those of one hop. Fields were
// validated where they came from; one that still could end its line early, or
// be read as another, is left out, so that nothing can be injected here.
func appendFields(b []byte, fields message.Fields) []byte {
	begin, lines := len(b), 0
	for i := range fields {
		f := &fields[i]
		if ofHop[f.ID] || f.ID == message.Other && !message.IsToken(f.Text) {
			continue
		}
		b = appendField(b, f.Text, f.Value)
		lines++
	}
	if holdsLines(b[begin:], lines) {
		return b
	}
	b = b[:begin]
	for _, f := range fields {
		if !ofHop[f.ID] && message.IsToken(f.Text) && message.ValueEnd(f.Value) == len(f.Value) {
			b = appendField(b, f.Text, f.Value)
		}
	}
	return b
}

func appendField(b []byte, name, value string) []byte {
	b = append(b, name...)
	b = append(b, ": "...)
	b = append(b, value...)
	return append(b, "\r\n"...)
}

// holdsLines reports whether b has n line ends, and no CR, LF or NUL besides.
func holdsLines(b []byte, n int) bool {
	return bytes.Count(b, []byte("\n")) == n && bytes.Count(b, []byte("\r")) == n && bytes.IndexByte(b, 0) < 0
}

// appendUpgrade appends the fields that ask for, or agree to, a protocol.
func appendUpgrade(b []byte, protocol string) []byte {
	b = append(b, "Connection: upgrade\r\nUpgrade: "...)
	b = append(b, protocol...)
	return append(b, "\r\n"...)
}

// A frame is how a message's end is told to whom it is sent.
type frame struct {
	stated bodyKind // by which field: sizedBody, chunkedBody, or none
	body   bodyKind // how the body is written
	length int64
	ending ending
}

// ending is what the head says of the connection's future.
type ending uint8

const (
	usual     ending = iota // HTTP/1.1: it stays; or it becomes another protocol's
	closes                  // RFC 9112 section 9.6
	keepAlive               // for a client of HTTP/1.0 that asked
)

func (f frame) appendTo(b []byte) []byte {
	switch f.stated {
	case sizedBody:
		b = append(b, "Content-Length: "...)
		b = strconv.AppendInt(b, f.length, 10)
		b = append(b, "\r\n"...)
	case chunkedBody:
		b = append(b, "Transfer-Encoding: chunked\r\n"...)
	}
	switch f.ending {
	case closes:
		b = append(b, "Connection: close\r\n"...)
	case keepAlive:
		b = append(b, "Connection: keep-alive\r\n"...)
	}
	return b
}

// frameResponse returns the framing of a final response (RFC 9112 section
// 6.3). ok is false for a response that ends here and has stated a body.
func frameResponse(resp *message.Response, last, head bool, proto message.Proto) (f frame, ok bool) {
	f.length = resp.Length
	switch {
	case resp.Status == http.StatusNoContent:
	case head:
		if resp.Length >= 0 {
			f.stated = sizedBody
		}
	case resp.Status == http.StatusNotModified:
		// A 304 that we made has the Length 0, which is not that of the
		// representation.
		if resp.Length > 0 {
			f.stated = sizedBody
		}
	case last && resp.Length > 0:
		return f, false
	case last:
		f.stated, f.length = sizedBody, 0
	case resp.Length >= 0:
		f.stated, f.body = sizedBody, sizedBody
	case proto == message.HTTP10:
		f.body = openBody
	default:
		f.stated, f.body = chunkedBody, chunkedBody
	}
	return f, true
}

// appendResponse appends the head of a final response: its fields, its frame,
// and Date, which whoever forwards a response without one adds (RFC 9110
// section 6.6.1).
func appendResponse(b []byte, resp *message.Response, f frame, date []byte) []byte {
	b = appendStatus(b, resp.Status, resp.Reason)
	b = appendFields(b, resp.Fields)
	if !resp.Fields.Has(message.Date) {
		b = append(b, date...)
	}
	b = f.appendTo(b)
	return append(b, "\r\n"...)
}

// appendInterim appends a 1xx response but for 101.
func appendInterim(b []byte, resp *message.Response) []byte {
	b = appendStatus(b, resp.Status, resp.Reason)
	b = appendFields(b, resp.Fields)
	return append(b, "\r\n"...)
}

// appendSwitch appends the 101 that agrees to the protocol that req asks for.
func appendSwitch(b []byte, resp *message.Response, req *message.Request) []byte {
	b = appendStatus(b, resp.Status, resp.Reason)
	b = appendFields(b, resp.Fields)
	b = appendUpgrade(b, req.Upgrade)
	key, keyed := req.Fields.Get(message.SecWebSocketKey)
	if keyed && req.Upgrade == "websocket" && !resp.Fields.Has(message.SecWebSocketAccept) {
		// A backend that speaks HTTP/2 leaves it out (RFC 8441 section 5);
		// HTTP/1.1 wants it (RFC 6455 section 4.2.2).
		sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
		b = append(b, "Sec-WebSocket-Accept: "...)
		b = base64.StdEncoding.AppendEncode(b, sum[:])
		b = append(b, "\r\n"...)
	}
	return append(b, "\r\n"...)
}

// appendRefusal appends the answer to a request that was refused.
func appendRefusal(b []byte, why Refusal, date []byte) []byte {
	resp := message.Response{Status: why.Status()}
	f, _ := frameResponse(&resp, true, false, message.HTTP11)
	f.ending = closes
	return appendResponse(b, &resp, f, date)
}

// frameRequest returns the framing of a request. ok is false for a request
// that ends here and has stated a body.
func frameRequest(req *message.Request, last bool) (f frame, ok bool) {
	f.length = req.Length
	switch {
	case req.Upgrade != "":
		return f, req.Length <= 0
	case last && req.Length > 0:
		return f, false
	case last || req.Length == 0:
		// RFC 9110 section 8.6: where the method expects content, say so.
		if !last || req.Method == "POST" || req.Method == "PUT" || req.Method == "PATCH" {
			f.stated, f.length = sizedBody, 0
		}
		if !last {
			f.body = sizedBody
		}
	case req.Length > 0:
		f.stated, f.body = sizedBody, sizedBody
	default:
		f.stated, f.body = chunkedBody, chunkedBody
	}
	return f, true
}

// appendRequest appends the head of a request. ok is false where the method,
// the target or the authority is none: such a head cannot be sent.
func appendRequest(b []byte, req *message.Request, f frame) (_ []byte, ok bool) {
	begin := len(b)
	b = append(b, req.Method...)
	b = append(b, ' ')
	target := len(b)
	b = append(b, req.Path...)
	b = append(b, req.Query...)
	if !message.IsToken(req.Method) || !isTarget(message.Text(b[target:])) ||
		req.Authority != "" && !message.IsAuthority(req.Authority) {
		return b[:begin], false
	}
	b = append(b, " HTTP/1.1\r\nHost: "...)
	b = append(b, req.Authority...)
	b = append(b, "\r\n"...)
	b = appendFields(b, req.Fields)
	switch {
	case req.Upgrade != "":
		b = appendUpgrade(b, req.Upgrade)
	case req.Trailers: // RFC 9110 section 10.1.4
		b = append(b, "Connection: TE\r\nTE: trailers\r\n"...)
	}
	b = f.appendTo(b)
	return append(b, "\r\n"...), true
}

func isTarget(target string) bool {
	_, _, ok := message.SplitTarget(target)
	return ok || target == "*"
}
