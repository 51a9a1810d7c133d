package http1

import (
	"strings"

	"fairway.dev/gateway/message"
)

// requestLine takes a request line (RFC 9112 section 3). Its parts are
// divided by exactly one space.
func (h *head) requestLine(s string) (n int, why Refusal) {
	n, why = h.startLine(s)
	if why == accepted {
		return n, accepted
	}
	// The search for a space may have gone past the line: judge it alone.
	if end := strings.IndexByte(s, '\n') + 1; end > 0 && end < len(s) {
		n, why = h.startLine(s[:end])
	}
	return n, why
}

func (h *head) startLine(s string) (n int, why Refusal) {
	method := message.TokenEnd(s)
	if method == len(s) {
		return 0, accepted
	}
	if method == 0 || s[method] != ' ' {
		return 0, misbegun(s[method])
	}
	rest := s[method+1:]
	target := strings.IndexByte(rest, ' ')
	if target < 0 {
		return 0, BadStartLine
	}
	if message.ValueEnd(rest[:target]) != target {
		return 0, BadTarget
	}
	proto, version, why := protocol(rest[target+1:])
	if why == accepted {
		why = form(s[:method], rest[:target])
	}
	h.method, h.target, h.proto = s[:method], rest[:target], proto
	return method + 1 + target + 1 + version, why
}

// misbegun says what is wrong with a request line whose method, perhaps
// empty, is followed by c.
func misbegun(c byte) Refusal {
	switch c {
	case '\n':
		return BadLineEnd
	case '\r', ' ', '\t':
		return BadStartLine
	}
	return BadMethod
}

// protocol takes the version and the line end that s begins with. Minor
// versions that are not known count as 1.1 (RFC 9110 section 2.5).
func protocol(s string) (proto message.Proto, n int, why Refusal) {
	const size = len("HTTP/1.1\r\n")
	if len(s) >= size && s[:size] == "HTTP/1.1\r\n" {
		return message.HTTP11, size, accepted
	}
	lf := strings.IndexByte(s, '\n')
	switch {
	case lf < 0:
		return 0, 0, BadStartLine
	case lf == 0 || s[lf-1] != '\r':
		return 0, lf + 1, BadLineEnd
	case lf != size-1 || s[:5] != "HTTP/" || !isDigit(s[5]) || s[6] != '.' || !isDigit(s[7]):
		return 0, lf + 1, BadStartLine
	case s[5] != '1':
		return 0, lf + 1, BadVersion
	case s[7] == '0':
		return message.HTTP10, size, accepted
	}
	return message.HTTP11, size, accepted
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// form refuses targets that have no business with the method, before their
// characters are looked at.
func form(method, target string) Refusal {
	switch {
	case method == "CONNECT":
		return Connect
	case target == "" || target == "*" && method != "OPTIONS":
		return BadTarget
	}
	return accepted
}

// request completes req from the head's lines. It returns the framing of the
// body that follows.
func (h *head) request(req *message.Request, peer *message.Peer) (bodyKind, Refusal) {
	req.Method, req.Proto, req.Trailers = h.method, h.proto, h.takesTrailers
	req.Scheme = "http"
	if peer.Secure() {
		req.Scheme = "https"
	}
	if why := h.requestHost(req); why != accepted {
		return noBody, why
	}
	if why := h.requestTarget(req); why != accepted {
		return noBody, why
	}
	body, why := h.bodyKind()
	if why != accepted {
		return noBody, why
	}
	switch body {
	case chunkedBody:
		req.Length = message.Unknown
	case sizedBody:
		req.Length = h.length
	default: // a request without framing has no body (RFC 9112 section 6.3)
		body = noBody
	}
	h.dropNamed()
	if h.proto == message.HTTP10 && h.expectsMore {
		// RFC 9110 section 10.1.1: it is ignored, and it must not be ours.
		req.Fields.Remove(message.Expect)
		h.expectsMore = false
	}
	if body == noBody && h.proto == message.HTTP11 && h.options&optionUpgrade != 0 {
		req.Upgrade = upgradeTo(h.upgrade)
	}
	return body, accepted
}

func (h *head) requestHost(req *message.Request) Refusal {
	switch {
	case h.hosts > 1:
		return SeveralHosts
	case h.host == "" && h.proto == message.HTTP10:
		return accepted
	case h.host == "":
		return NoHost
	case !message.IsAuthority(h.host):
		return BadHost
	}
	req.Authority = h.host
	return accepted
}

// requestTarget splits the target (RFC 9112 section 3.2).
func (h *head) requestTarget(req *message.Request) Refusal {
	target := h.target
	if target[0] == '/' {
		var ok bool
		if req.Path, req.Query, ok = message.SplitTarget(target); !ok {
			return BadTarget
		}
		return accepted
	}
	if target == "*" {
		req.Path = "*"
		return accepted
	}
	return h.absoluteTarget(req)
}

// absoluteTarget splits a target in absolute form (RFC 9112 section 3.2.2).
// Its authority is to replace Host; as clients must send the same in both,
// one that differs is refused.
func (h *head) absoluteTarget(req *message.Request) Refusal {
	scheme, rest, ok := strings.Cut(h.target, "://")
	switch {
	case !ok:
		return BadTarget
	case message.EqualFold("http", scheme):
	case message.EqualFold("https", scheme):
		// RFC 9110 section 7.4: it must be refused unless it came over TLS.
		if req.Scheme != "https" {
			return BadTarget
		}
	default:
		return BadTarget
	}
	end := strings.IndexAny(rest, "/?")
	if end < 0 {
		end = len(rest)
	}
	authority, path := rest[:end], rest[end:]
	if !message.IsAuthority(authority) {
		return BadTarget
	}
	port := ":80"
	if len(scheme) == len("https") {
		port = ":443"
	}
	if req.Authority != "" && !strings.EqualFold(strings.TrimSuffix(req.Authority, port), strings.TrimSuffix(authority, port)) {
		return HostDisagrees
	}
	req.Authority = authority
	switch {
	case path == "" && h.method == "OPTIONS": // RFC 9112 section 3.2.4
		req.Path = "*"
	case path == "":
		req.Path = "/"
	case path[0] == '?':
		req.Path, req.Query = "/", path
		ok = message.IsQuery(path)
	default:
		req.Path, req.Query, ok = message.SplitTarget(path)
	}
	if !ok {
		return BadTarget
	}
	return accepted
}

// upgradeTo returns the first protocol of an Upgrade field that may be
// switched to, in lower case. HTTP/2 is not one (RFC 9113 section 3.1).
func upgradeTo(field string) string {
	for more := true; more; {
		var protocol string
		protocol, field, more = strings.Cut(field, ",")
		protocol = trim(protocol)
		if message.EqualFold("websocket", protocol) {
			return "websocket"
		}
		name, version, versioned := strings.Cut(protocol, "/")
		if !message.IsToken(name) || versioned && !message.IsToken(version) || message.EqualFold("h2c", name) {
			continue
		}
		return strings.ToLower(protocol)
	}
	return ""
}
