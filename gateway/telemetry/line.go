package telemetry

import (
	"net/netip"
	"strconv"
	"time"
	"unicode/utf8"
)

// maxValue bounds, in bytes, what is logged of a value that a client chose.
const maxValue = 4 << 10

// stamp writes times in RFC 3339 with milliseconds, in UTC. It keeps the text
// of the last second.
type stamp struct {
	second int64
	text   [len("2006-01-02T15:04:05.")]byte
	known  bool
}

func (s *stamp) append(dst []byte, t time.Time) []byte {
	if second := t.Unix(); second != s.second || !s.known {
		s.second, s.known = second, true
		t.UTC().AppendFormat(s.text[:0], "2006-01-02T15:04:05.")
	}
	ms := t.Nanosecond() / 1e6
	dst = append(dst, s.text[:]...)
	return append(dst, '0'+byte(ms/100), '0'+byte(ms/10%10), '0'+byte(ms%10), 'Z')
}

// appendMillis appends d in milliseconds, to the microsecond.
func appendMillis(dst []byte, d time.Duration) []byte {
	us := max(d.Microseconds(), 0)
	dst = strconv.AppendInt(dst, us/1000, 10)
	us %= 1000
	return append(dst, '.', '0'+byte(us/100), '0'+byte(us/10%10), '0'+byte(us%10))
}

func appendAddr(dst []byte, a netip.AddrPort) []byte {
	if !a.IsValid() {
		return append(dst, '-')
	}
	return a.AppendTo(dst)
}

// appendJSON appends the line of an exchange as a JSON object.
func appendJSON(dst []byte, clock *stamp, e *Exchanges, r *Record) []byte {
	dst = append(dst, `{"time":"`...)
	dst = clock.append(dst, r.Start)
	dst = appendMember(dst, `","method":`, r.Method)
	dst = appendMember(dst, `,"authority":`, r.Authority)
	dst = appendMember(dst, `,"path":`, r.Path)
	dst = append(dst, `,"protocol":"`...)
	dst = append(dst, r.Proto.String()...)
	dst = append(dst, `","status":`...)
	dst = strconv.AppendInt(dst, int64(r.Status), 10)
	if r.GRPCStatus >= 0 {
		dst = append(dst, `,"grpc_status":`...)
		dst = strconv.AppendInt(dst, int64(r.GRPCStatus), 10)
	}
	if r.Flags != 0 {
		dst = append(dst, `,"flags":"`...)
		dst = r.Flags.Append(dst)
		dst = append(dst, '"')
	}
	dst = append(dst, `,"bytes_in":`...)
	dst = strconv.AppendInt(dst, r.BytesReceived, 10)
	dst = append(dst, `,"bytes_out":`...)
	dst = strconv.AppendInt(dst, r.BytesSent, 10)
	dst = append(dst, `,"duration_ms":`...)
	dst = appendMillis(dst, r.Duration)
	return appendJSONRest(dst, e, r)
}

// appendJSONRest appends the members that tell of the two sides.
func appendJSONRest(dst []byte, e *Exchanges, r *Record) []byte {
	if r.Upstream != 0 {
		dst = append(dst, `,"upstream_ms":`...)
		dst = appendMillis(dst, r.Upstream)
	}
	dst = append(dst, `,"remote":"`...)
	dst = appendAddr(dst, r.Remote)
	dst = append(dst, '"')
	if r.Endpoint.IsValid() {
		dst = append(dst, `,"endpoint":"`...)
		dst = r.Endpoint.AppendTo(dst)
		dst = append(dst, '"')
	}
	if r.RequestID != "" {
		dst = appendMember(dst, `,"request_id":`, r.RequestID)
	}
	if r.UserAgent != "" {
		dst = appendMember(dst, `,"user_agent":`, r.UserAgent)
	}
	dst = append(dst, `,"attempts":`...)
	dst = strconv.AppendInt(dst, int64(r.Attempts), 10)
	if r.TLS {
		dst = append(dst, `,"tls":true`...)
	} else {
		dst = append(dst, `,"tls":false`...)
	}
	if r.Client != NoClientCertificate {
		dst = append(dst, `,"client_certificate":"`...)
		dst = append(dst, clientText[r.Client]...)
		dst = append(dst, '"')
	}
	if r.Source != "" {
		dst = appendMember(dst, `,"source_principal":`, r.Source)
	}
	if r.Policy != "" {
		dst = appendMember(dst, `,"policy":`, r.Policy)
	}
	if r.Audit != "" {
		dst = appendMember(dst, `,"audit":`, r.Audit)
	}
	dst = append(dst, e.logged...)
	return append(dst, '}', '\n')
}

// appendLabelsJSON appends the members that are the same for all exchanges of
// a rule and backend.
func appendLabelsJSON(dst []byte, l *Labels) []byte {
	for _, m := range [...]struct{ key, value string }{
		{`,"cluster":`, l.Cluster}, {`,"route":`, l.Route}, {`,"rule":`, l.Rule}, {`,"listener":`, l.Listener},
	} {
		if m.value != "" {
			dst = appendMember(dst, m.key, m.value)
		}
	}
	return dst
}

// appendText appends the line of an exchange for people: start, request,
// status, flags, bytes in and out, total and upstream milliseconds, then who
// and what.
func appendText(dst []byte, clock *stamp, e *Exchanges, r *Record) []byte {
	dst = append(dst, '[')
	dst = clock.append(dst, r.Start)
	dst = append(dst, `] "`...)
	dst = appendQuoted(dst, r.Method)
	dst = append(dst, ' ')
	dst = appendQuoted(dst, r.Path)
	dst = append(dst, ' ')
	dst = append(dst, r.Proto.String()...)
	dst = append(dst, `" `...)
	dst = strconv.AppendInt(dst, int64(r.Status), 10)
	dst = append(dst, ' ')
	dst = appendFigures(dst, r.Flags, r.BytesReceived, r.BytesSent, r.Duration, r.Upstream)
	dst = appendAddr(dst, r.Remote)
	dst = append(dst, ' ')
	dst = appendAddr(dst, r.Endpoint)
	return appendTextRest(dst, e, r)
}

// appendFigures appends what a line of text says of how it went, and a space.
func appendFigures(dst []byte, flags Flags, received, sent int64, took, upstream time.Duration) []byte {
	if flags == 0 {
		dst = append(dst, '-')
	}
	dst = flags.Append(dst)
	dst = append(dst, ' ')
	dst = strconv.AppendInt(dst, received, 10)
	dst = append(dst, ' ')
	dst = strconv.AppendInt(dst, sent, 10)
	dst = append(dst, ' ')
	dst = appendMillis(dst, took)
	dst = append(dst, ' ')
	if upstream == 0 {
		dst = append(dst, '-')
	} else {
		dst = appendMillis(dst, upstream)
	}
	return append(dst, ' ')
}

// appendTextRest appends the quoted values, and what has a name because it is
// rare.
func appendTextRest(dst []byte, e *Exchanges, r *Record) []byte {
	l := &e.labels
	for _, s := range [...]string{r.Authority, r.UserAgent, r.RequestID, l.Listener, l.Route, l.Rule, l.Cluster} {
		dst = append(dst, ' ', '"')
		if s == "" {
			dst = append(dst, '-')
		}
		dst = appendQuoted(dst, s)
		dst = append(dst, '"')
	}
	if r.Attempts > 1 {
		dst = append(dst, " attempts="...)
		dst = strconv.AppendInt(dst, int64(r.Attempts), 10)
	}
	if r.GRPCStatus >= 0 {
		dst = append(dst, " grpc="...)
		dst = strconv.AppendInt(dst, int64(r.GRPCStatus), 10)
	}
	if r.TLS {
		dst = append(dst, " tls"...)
	}
	if r.Client != NoClientCertificate {
		dst = append(dst, " client="...)
		dst = append(dst, clientText[r.Client]...)
	}
	dst = appendNamed(dst, "source", r.Source)
	dst = appendNamed(dst, "policy", r.Policy)
	return append(appendNamed(dst, "audit", r.Audit), '\n')
}

// appendNamed appends what is rare, and so has a name, where there is any.
func appendNamed(dst []byte, name, value string) []byte {
	if value == "" {
		return dst
	}
	dst = append(dst, ' ')
	dst = append(dst, name...)
	dst = append(dst, `="`...)
	return append(appendQuoted(dst, value), '"')
}

// appendMember appends a key, as it is, and a JSON string.
func appendMember(dst []byte, key, value string) []byte {
	dst = append(dst, key...)
	dst = append(dst, '"')
	dst = appendEscaped(dst, value, jsonByte)
	return append(dst, '"')
}

// appendQuoted appends s for a place between double quotes: what could end
// the quotes or the line, or steer a terminal, becomes \xHH as in nginx's logs.
func appendQuoted(dst []byte, s string) []byte { return appendEscaped(dst, s, hexByte) }

// plain are the bytes that stand for themselves in both formats.
var plain = func() (t [256]bool) {
	for c := ' '; c < 0x7f; c++ {
		t[c] = c != '"' && c != '\\'
	}
	return t
}()

// appendEscaped appends s, cut at maxValue. What is not plain goes through
// escape: bytes that are ASCII, or not UTF-8, one at a time. Of the other
// runes only control characters do, byte by byte.
func appendEscaped(dst []byte, s string, escape func(dst []byte, c byte, valid bool) []byte) []byte {
	whole := len(s) <= maxValue
	if !whole {
		s = cut(s)
	}
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if plain[c] {
			i++
			continue
		}
		r, size := rune(c), 1
		if c >= utf8.RuneSelf {
			if r, size = utf8.DecodeRuneInString(s[i:]); size > 1 && !steers(r) {
				i += size
				continue
			}
		}
		dst = append(dst, s[start:i]...)
		if size > 1 {
			dst = appendRuneEscape(dst, r)
		} else {
			dst = escape(dst, c, c < utf8.RuneSelf)
		}
		i += size
		start = i
	}
	dst = append(dst, s[start:]...)
	if !whole {
		dst = append(dst, "…"...)
	}
	return dst
}

// cut returns the first maxValue bytes of s, less the part of a rune at their end.
func cut(s string) string {
	n := maxValue
	for n > maxValue-utf8.UTFMax && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// steers reports whether a rune, not ASCII, may be taken for a control
// character: C1 by terminals, the separators by JavaScript.
func steers(r rune) bool { return r < 0xa0 || r == 0x2028 || r == 0x2029 }

const hexDigits = "0123456789abcdef"

// appendRuneEscape appends a rune of at most 16 bits.
func appendRuneEscape(dst []byte, r rune) []byte {
	return append(dst, '\\', 'u', hexDigits[r>>12&15], hexDigits[r>>8&15], hexDigits[r>>4&15], hexDigits[r&15])
}

func jsonByte(dst []byte, c byte, valid bool) []byte {
	switch {
	case !valid:
		return append(dst, `\ufffd`...)
	case c == '"' || c == '\\':
		return append(dst, '\\', c)
	}
	return appendRuneEscape(dst, rune(c))
}

func hexByte(dst []byte, c byte, _ bool) []byte {
	return append(dst, '\\', 'x', hexDigits[c>>4], hexDigits[c&15])
}
