package http1

import (
	"strings"

	"fairway.dev/gateway/message"
)

// kind is what a section of lines is.
type kind uint8

const (
	requestHead kind = iota
	responseHead
	trailers
)

const (
	maxEmptyLines = 4  // before a request line
	maxOptions    = 32 // in Connection
)

// options are what Connection says.
type options uint8

const (
	optionClose options = 1 << iota
	optionKeepAlive
	optionUpgrade
	optionNames // fields of this hop only
)

// head is what the lines of one head, or trailer section, say. What belongs
// to the connection is noted here, the rest is added to fields.
type head struct {
	kind   kind
	lim    *Limits
	fields *message.Fields

	started bool // the start line is behind us
	empty   int  // lines before it
	bytes   int  // of whole lines
	count   int  // of fields

	method, target string
	status         int
	reason         string
	proto          message.Proto

	host           string
	hosts, lengths int
	length         int64
	codings        int
	coding         Refusal // accepted: exactly "chunked"
	options        options
	optionCount    int
	upgrade        string // the field as it came
	takesTrailers  bool
	expectsMore    bool // Expect: 100-continue
}

// begin makes h ready for the lines of another head.
func (h *head) begin(k kind, lim *Limits, fields *message.Fields) {
	*h = head{kind: k, lim: lim, fields: fields, started: k == trailers}
}

// parse takes whole lines from b, which must not change while the message is
// in use, and returns how many bytes they had. A line is judged once it is
// whole, so that the outcome does not depend on how its bytes arrived.
func (h *head) parse(b []byte) (n int, done bool, why Refusal) {
	s := message.Text(b)
	for n < len(s) {
		took, last, why := h.line(s[n:])
		if why != accepted {
			took = strings.IndexByte(s[n:], '\n') + 1
		}
		if took == 0 {
			return n, false, accepted
		}
		if long := h.tooLong(took); long != accepted {
			return n, false, long
		}
		if why != accepted {
			return n, false, why
		}
		h.bytes += took
		n += took
		h.started = h.started || h.proto != 0
		if last {
			return n, true, accepted
		}
	}
	return n, false, accepted
}

// tooLong judges a line, or the beginning of one, by its length.
func (h *head) tooLong(line int) Refusal {
	if !h.started && line > h.lim.lineBytes() {
		return LineTooLong
	}
	if h.bytes+line > h.lim.headBytes() {
		return HeadTooLarge
	}
	return accepted
}

// line takes the line that s begins with; it returns 0 when that is not whole.
func (h *head) line(s string) (n int, last bool, why Refusal) {
	if s[0] == '\r' {
		if len(s) == 1 {
			return 0, false, accepted
		}
		if s[1] != '\n' {
			return 0, false, BadLineEnd
		}
		if h.started {
			return 2, true, accepted
		}
		return 2, false, h.emptyLine()
	}
	if h.started {
		n, why = h.fieldLine(s)
		return n, false, why
	}
	if h.kind == requestHead {
		n, why = h.requestLine(s)
	} else {
		n, why = h.statusLine(s)
	}
	return n, false, why
}

// emptyLine allows for clients that end a body with a line end that belongs
// to nothing (RFC 9112 section 2.2).
func (h *head) emptyLine() Refusal {
	h.empty++
	if h.kind != requestHead || h.empty > maxEmptyLines {
		return BadStartLine
	}
	return accepted
}

func (h *head) fieldLine(s string) (n int, why Refusal) {
	name := message.TokenEnd(s)
	if name == len(s) {
		return 0, accepted
	}
	if name == 0 || s[name] != ':' {
		return 0, misnamed(s[0], name)
	}
	begin := name + 1
	cr := begin + message.ValueEnd(s[begin:])
	if cr == len(s) || s[cr] == '\r' && cr+1 == len(s) {
		return 0, accepted
	}
	if s[cr] != '\r' || s[cr+1] != '\n' {
		if s[cr] == '\r' || s[cr] == '\n' {
			return 0, BadLineEnd
		}
		return 0, BadValue
	}
	h.count++
	if h.count > h.lim.fields() {
		return 0, TooManyFields
	}
	return cr + 2, h.field(s[:name], trim(s[begin:cr]))
}

// misnamed says what is wrong with a line that begins with first and has a
// token of length name and no colon behind it.
func misnamed(first byte, name int) Refusal {
	switch {
	case name > 0:
		return BadName
	case isBlank(first):
		return FoldedLine
	case first == '\n':
		return BadLineEnd
	}
	return BadName
}

func isBlank(c byte) bool { return c == ' ' || c == '\t' }

// trim returns s without white space around it.
func trim(s string) string {
	for s != "" && isBlank(s[0]) {
		s = s[1:]
	}
	for s != "" && isBlank(s[len(s)-1]) {
		s = s[:len(s)-1]
	}
	return s
}

// field notes what a field says of the connection, or adds it to the message.
func (h *head) field(name, value string) Refusal {
	id := message.Lookup(name)
	if h.kind == trailers {
		if ofHop[id] || id == message.Trailer {
			return BadTrailer
		}
		*h.fields = append(*h.fields, message.Field{Text: name, Value: value, ID: id})
		return accepted
	}
	switch id {
	case message.Host:
		h.hosts++
		h.host = value
		return accepted
	case message.ContentLength:
		return h.contentLength(value)
	case message.TransferEncoding:
		h.codings++
		h.coding = codingOf(value)
		return accepted
	case message.Connection:
		return h.connection(value)
	case message.Upgrade:
		h.upgrade = value
		return accepted
	case message.TE:
		h.takesTrailers = h.takesTrailers || namesTrailers(value)
		return accepted
	case message.KeepAlive, message.ProxyConnection, message.HTTP2Settings:
		return accepted
	case message.Expect:
		h.expectsMore = message.EqualFold("100-continue", value)
	}
	*h.fields = append(*h.fields, message.Field{Text: name, Value: value, ID: id})
	return accepted
}

// ofHop are the fields that say how one connection carries a message. They
// are never part of a message.
var ofHop = func() (t [256]bool) {
	for _, id := range []message.Name{
		message.Connection, message.ContentLength, message.Host, message.HTTP2Settings, message.KeepAlive,
		message.ProxyConnection, message.TE, message.TransferEncoding, message.Upgrade,
	} {
		t[id] = true
	}
	return t
}()

func (h *head) contentLength(value string) Refusal {
	h.lengths++
	if h.lengths > 1 || strings.IndexByte(value, ',') >= 0 {
		return SeveralLengths
	}
	// 18 digits fit 63 bits whatever they are.
	if value == "" || len(value) > 18 {
		return BadLength
	}
	for i := range len(value) {
		c := value[i] - '0'
		if c > 9 {
			return BadLength
		}
		h.length = h.length*10 + int64(c)
	}
	return accepted
}

// codingOf judges a Transfer-Encoding.
func codingOf(value string) Refusal {
	if message.EqualFold("chunked", value) {
		return accepted
	}
	last, seen := "", 0
	for more := true; more; {
		last, value, more = strings.Cut(value, ",")
		last = trim(last)
		if message.EqualFold("chunked", last) {
			seen++
		}
		if !message.IsToken(last) {
			return BadCoding
		}
	}
	if seen == 1 && message.EqualFold("chunked", last) {
		return UnknownCoding
	}
	return BadCoding
}

func namesTrailers(te string) bool {
	for more := true; more; {
		var coding string
		coding, te, more = strings.Cut(te, ",")
		if message.EqualFold("trailers", trim(coding)) {
			return true
		}
	}
	return false
}

// connection notes the options of a Connection field. One that names fields
// stays with the message until dropNamed.
func (h *head) connection(value string) Refusal {
	whole := value
	names := false
	for more := true; more; {
		var option string
		option, value, more = strings.Cut(value, ",")
		option = trim(option)
		h.optionCount++
		if h.optionCount > maxOptions || option != "" && !message.IsToken(option) {
			return BadConnection
		}
		switch {
		case option == "":
		case message.EqualFold("close", option):
			h.options |= optionClose
		case message.EqualFold("keep-alive", option):
			h.options |= optionKeepAlive
		case message.EqualFold("upgrade", option):
			h.options |= optionUpgrade
		default:
			names = true
		}
	}
	if names {
		h.options |= optionNames
		h.fields.Add(message.Connection, whole)
	}
	return accepted
}

// dropNamed removes the fields that Connection names (RFC 9110 section
// 7.6.1), and Connection.
func (h *head) dropNamed() {
	if h.options&optionNames == 0 {
		return
	}
	f := *h.fields
	for i := range f {
		if f[i].ID != message.Connection {
			continue
		}
		names := f[i].Value
		for more := true; more; {
			var name string
			name, names, more = strings.Cut(names, ",")
			strike(f, trim(name))
		}
	}
	kept := f[:0]
	for _, x := range f {
		if x.Text != "" && x.ID != message.Connection {
			kept = append(kept, x)
		}
	}
	*h.fields = kept
}

// strike marks the fields called name as removed.
func strike(f message.Fields, name string) {
	id := message.Lookup(name)
	for i := range f {
		if f[i].ID == id && id != message.Connection && (id != message.Other || strings.EqualFold(f[i].Text, name)) {
			f[i].Text = ""
		}
	}
}

// bodyKind returns how the body is framed, as far as the fields tell.
func (h *head) bodyKind() (bodyKind, Refusal) {
	switch {
	case h.codings > 0 && h.lengths > 0:
		return noBody, BothLengths
	case h.codings > 1:
		return noBody, BadCoding
	case h.codings == 1 && h.proto == message.HTTP10:
		// RFC 9112 section 6.1: it must be treated as if its framing were
		// faulty, even with a Content-Length.
		return noBody, BadCoding
	case h.codings == 1:
		return chunkedBody, h.coding
	case h.lengths == 1 && h.length > 0:
		return sizedBody, accepted
	case h.lengths == 1:
		return noBody, accepted
	}
	return openBody, accepted
}

// keepsAlive reports whether the sender keeps the connection open (RFC 9112
// section 9.3).
func (h *head) keepsAlive() bool {
	if h.options&optionClose != 0 {
		return false
	}
	return h.proto == message.HTTP11 || h.options&optionKeepAlive != 0
}
