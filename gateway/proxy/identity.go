package proxy

import (
	"encoding/binary"
	"encoding/hex"
	"strings"

	"fairway.dev/gateway/message"
)

// everyHop is how many entries of X-Forwarded-For are believed of a gateway of
// the fleet: it has taken out what its own client made up.
const everyHop = 1 << 10

// identify makes the request's fields tell the truth about its client: what
// only a proxy may say is taken out, or believed as far as TrustedHops goes or
// a gateway of the fleet says it, and what we know is put in. It also notes
// what the record wants.
func (e *exchange) identify() {
	hops := e.on.proxy.o.TrustedHops
	if e.peer.Gateway != "" {
		hops = everyHop
	}
	f := e.req.Fields
	kept, client := 0, ""
	e.scheme = e.req.Scheme
	for i := range f {
		x := &f[i]
		switch x.ID {
		case message.Other:
			if ours(x.Text) {
				continue
			}
		case message.XForwardedClientCert, message.Baggage, message.Forwarded, message.HTTP2Settings:
			continue
		case message.XForwardedFor:
			if hops > 0 {
				client = e.join(client, x.Value)
			}
			continue
		case message.XForwardedProto:
			if hops > 0 && (x.Value == "http" || x.Value == "https") {
				e.scheme = x.Value
			}
			continue
		case message.XForwardedHost, message.XForwardedPort:
			if hops == 0 {
				continue
			}
		case message.XRequestID:
			if hops > 0 && e.rec.RequestID == "" && len(x.Value) <= maxRequestID {
				e.rec.RequestID = x.Value
			}
			continue
		case message.UserAgent:
			e.rec.UserAgent = x.Value
		case message.ContentType:
			e.grpc = isGRPC(x.Value)
		}
		if kept != i {
			f[kept] = *x
		}
		kept++
	}
	e.req.Fields = f[:kept]
	e.introduce(lastHops(client, hops))
}

// maxRequestID bounds a request id that somebody else made up.
const maxRequestID = 128

// introduce adds the fields that say who the client is. before are the hops
// that are believed, as they stood in X-Forwarded-For.
func (e *exchange) introduce(before string) {
	f := &e.req.Fields
	if e.peer.Gateway == "" || before == "" {
		before = e.join(before, e.peer.RemoteIP)
	}
	f.Add(message.XForwardedFor, before)
	f.Add(message.XForwardedProto, e.scheme)
	if e.rec.RequestID == "" {
		e.rec.RequestID = e.newRequestID()
	}
	f.Add(message.XRequestID, e.rec.RequestID)
}

// join joins two lists of a field's values.
func (e *exchange) join(a, b string) string {
	if a == "" {
		return b
	}
	s := append(e.on.scratch[:0], a...)
	s = append(s, ", "...)
	s = append(s, b...)
	e.on.scratch = s
	return e.hold(s)
}

// lastHops returns the last n entries of an X-Forwarded-For.
func lastHops(list string, n int) string {
	start := len(list)
	for ; n > 0 && start > 0; n-- {
		start = strings.LastIndexByte(list[:max(start-1, 0)], ',') + 1
	}
	return strings.Trim(list[start:], " \t")
}

// ours reports whether a field's name is one that only proxies may use:
// X-Forwarded-*, X-Envoy-*, X-Fairway-*, X-Real-IP and X-Request-ID, but for
// those that have a message.Name. '_' counts as '-': CGI, WSGI and PHP make one
// variable of both.
func ours(name string) bool {
	if len(name) < len("x-real-ip") || name[0]|0x20 != 'x' || dashed(name[1]) != '-' {
		return false
	}
	return dashedPrefix(name, "x-envoy-") || dashedPrefix(name, "x-fairway-") || dashedPrefix(name, "x-forwarded-") ||
		len(name) == len("x-real-ip") && dashedPrefix(name, "x-real-ip") ||
		len(name) == len("x-request-id") && dashedPrefix(name, "x-request-id")
}

func dashed(c byte) byte {
	if c == '_' {
		return '-'
	}
	return c
}

// dashedPrefix reports whether s begins with lower, in any case and with '_'
// for '-'.
func dashedPrefix(s, lower string) bool {
	if len(s) < len(lower) {
		return false
	}
	for i := range len(lower) {
		c := dashed(s[i])
		if 'A' <= c && c <= 'Z' {
			c |= 0x20
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}

// honest takes out of a request's trailers what only a proxy may write:
// backends may merge trailers into the header section (RFC 9110 section 6.5.1).
func honest(trailers message.Fields) message.Fields {
	kept := trailers[:0]
	for _, x := range trailers {
		switch x.ID {
		case message.XForwardedFor, message.XForwardedProto, message.XForwardedHost, message.XForwardedPort,
			message.XForwardedClientCert, message.XRequestID, message.Forwarded, message.Baggage:
			continue
		}
		if x.ID != message.Other || !ours(x.Text) {
			kept = append(kept, x)
		}
	}
	return kept
}

func foldPrefix(s, lower string) bool {
	return len(s) >= len(lower) && message.EqualFold(lower, s[:len(lower)])
}

// isGRPC reports whether a content type is gRPC's, as its HTTP/2 mapping has
// it: gRPC-Web is another protocol.
func isGRPC(contentType string) bool {
	const grpc = "application/grpc"
	if !foldPrefix(contentType, grpc) {
		return false
	}
	rest := contentType[len(grpc):]
	return rest == "" || rest[0] == '+' || rest[0] == ';'
}

// newRequestID makes a random UUID (RFC 9562 section 5.4).
func (e *exchange) newRequestID() string {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], e.on.rng.Uint64())
	binary.BigEndian.PutUint64(b[8:], e.on.rng.Uint64())
	b[6] = b[6]&0x0f | 0x40 // version 4
	b[8] = b[8]&0x3f | 0x80 // variant of RFC 9562
	hex.Encode(e.id[:8], b[:4])
	hex.Encode(e.id[9:13], b[4:6])
	hex.Encode(e.id[14:18], b[6:8])
	hex.Encode(e.id[19:23], b[8:10])
	hex.Encode(e.id[24:], b[10:])
	e.id[8], e.id[13], e.id[18], e.id[23] = '-', '-', '-', '-'
	return message.Text(e.id[:])
}
