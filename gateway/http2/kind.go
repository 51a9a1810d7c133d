package http2

import "fairway.dev/gateway/message"

// A kind is what a field's name means to HTTP/2 itself.
type kind uint8

const (
	plain     kind = iota
	forbidden      // no message may have it (RFC 9113 sections 8.2.1, 8.2.2 and 8.3)
	method
	scheme
	authority
	path
	protocol // RFC 8441
	status
	host
	contentLength
	cookie
	te
	ignored // HTTP2-Settings, and a cookie that is part of an earlier one by now
)

// isPseudo reports whether the kind is that of a pseudo-field.
func (k kind) isPseudo() bool { return method <= k && k <= status }

// kindOf gives the kind of each well-known name.
var kindOf = [256]kind{
	message.Connection: forbidden, message.KeepAlive: forbidden, message.ProxyConnection: forbidden,
	message.TransferEncoding: forbidden, message.Upgrade: forbidden,
	message.Host: host, message.ContentLength: contentLength, message.Cookie: cookie, message.TE: te,
	message.HTTP2Settings: ignored,
}

// nameBytes are the bytes of a field name: RFC 9110's tokens in lower case.
var nameBytes = func() (t [256]bool) {
	for _, c := range []byte("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz") {
		t[c] = true
	}
	return t
}()

// classify tells the well-known name that a field name is, and its kind.
func classify(name []byte) (message.Name, kind) {
	if len(name) == 0 {
		return message.Other, forbidden
	}
	if name[0] == ':' {
		switch string(name) {
		case ":method":
			return message.Other, method
		case ":scheme":
			return message.Other, scheme
		case ":authority":
			return message.Other, authority
		case ":path":
			return message.Other, path
		case ":protocol":
			return message.Other, protocol
		case ":status":
			return message.Other, status
		}
		return message.Other, forbidden
	}
	if !isName(name) {
		return message.Other, forbidden
	}
	id := message.Lookup(message.Text(name))
	return id, kindOf[id]
}

// isName reports whether p is made of nameBytes.
func isName(p []byte) bool {
	for _, c := range p {
		if !nameBytes[c] {
			return false
		}
	}
	return true
}
