package http1

import (
	"strings"

	"fairway.dev/gateway/message"
)

// statusLine takes a status line (RFC 9112 section 4). The space before an
// empty reason may be missing, as many servers have it.
func (h *head) statusLine(s string) (n int, why Refusal) {
	lf := strings.IndexByte(s, '\n')
	if lf < 0 {
		return 0, accepted
	}
	n = lf + 1
	line, ok := strings.CutSuffix(s[:lf], "\r")
	if !ok {
		return n, BadLineEnd
	}
	const size = len("HTTP/1.1 200")
	if len(line) < size || line[:5] != "HTTP/" || !isDigit(line[5]) || line[6] != '.' || !isDigit(line[7]) ||
		line[8] != ' ' || len(line) > size && line[size] != ' ' {
		return n, BadStartLine
	}
	if line[5] != '1' {
		return n, BadVersion
	}
	h.proto = message.HTTP11
	if line[7] == '0' {
		h.proto = message.HTTP10
	}
	for _, c := range []byte(line[9:size]) {
		if !isDigit(c) {
			return n, BadStatus
		}
		h.status = h.status*10 + int(c-'0')
	}
	if h.status < 100 || h.status > 599 {
		return n, BadStatus
	}
	if len(line) > size {
		h.reason = line[size+1:]
	}
	if message.ValueEnd(h.reason) != len(h.reason) {
		return n, BadStartLine
	}
	return n, accepted
}

// asked is what a response has to be read by (RFC 9112 section 6.3).
type asked struct {
	head    bool   // the request's method was HEAD
	upgrade string // the protocol that it wanted
}

// response completes resp from the head's lines. It returns the framing of
// the body that follows.
func (h *head) response(resp *message.Response, to asked) (bodyKind, Refusal) {
	resp.Status, resp.Reason, resp.Proto, resp.Length = h.status, h.reason, h.proto, message.Unknown
	switches := h.options&optionUpgrade != 0 && h.upgrade != ""
	if h.status == 101 && (to.upgrade == "" || !switches) {
		return noBody, BadStatus
	}
	body, why := h.bodyKind()
	if why != accepted {
		return noBody, why
	}
	h.dropNamed()
	if h.lengths == 1 {
		resp.Length = h.length
	}
	if h.status == 204 && (h.codings > 0 || h.length > 0) {
		h.options |= optionClose // there may be what must not be there
	}
	if to.head || h.status < 200 || h.status == 204 || h.status == 304 {
		return noBody, accepted
	}
	return body, accepted
}
