package tracing

import (
	"encoding/hex"
	"math/rand/v2"
	"strings"

	"fairway.dev/gateway/message"
)

// A Context is a request's place in a trace. The zero Context is of none.
type Context struct {
	Trace   [16]byte
	Span    [8]byte // ours
	Parent  [8]byte // the caller's; zero where the trace begins here
	Sampled bool

	b3, b3Single bool // the forms in which the caller has written it
}

// Known reports whether there is a trace at all.
func (c *Context) Known() bool { return c.Trace != [16]byte{} }

// Headers of B3, the form before W3C's. Its names and the meaning of its values
// are those of openzipkin's b3-propagation.
const (
	b3Single  = "b3"
	b3Trace   = "x-b3-traceid"
	b3Span    = "x-b3-spanid"
	b3Parent  = "x-b3-parentspanid"
	b3Sampled = "x-b3-sampled"
	b3Flags   = "x-b3-flags"
)

// ParseTraceparent reads W3C Trace Context's traceparent (section 3.2). It
// takes versions that it does not know by the fields that it knows, as section
// 4.3 has it.
func ParseTraceparent(value string) (c Context, ok bool) {
	const length = len("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	if len(value) < length || value[2] != '-' || value[35] != '-' || value[52] != '-' {
		return Context{}, false
	}
	var version, flags [1]byte
	if !lowerHex(version[:], value[:2]) || !lowerHex(c.Trace[:], value[3:35]) ||
		!lowerHex(c.Parent[:], value[36:52]) || !lowerHex(flags[:], value[53:55]) {
		return Context{}, false
	}
	switch {
	case version[0] == 0xff, version[0] == 0 && len(value) != length, len(value) > length && value[length] != '-':
		return Context{}, false
	case !c.Known(), c.Parent == [8]byte{}:
		return Context{}, false
	}
	c.Sampled = flags[0]&1 != 0
	return c, true
}

// lowerHex decodes hexadecimal digits in lower case, as traceparent wants them.
func lowerHex(dst []byte, s string) bool {
	if strings.ToLower(s) != s {
		return false
	}
	n, err := hex.Decode(dst, []byte(s))
	return err == nil && n == len(dst)
}

// AppendTraceparent appends the context that the next one is given.
func (c *Context) AppendTraceparent(b []byte) []byte {
	b = append(b, "00-"...)
	b = hex.AppendEncode(b, c.Trace[:])
	b = append(b, '-')
	b = hex.AppendEncode(b, c.Span[:])
	if c.Sampled {
		return append(b, "-01"...)
	}
	return append(b, "-00"...)
}

// decision is what a caller has said about sampling.
type decision int

const (
	undecided decision = iota
	declined
	wanted
)

// extract reads the context of a request: W3C's, else B3's.
func extract(f *message.Fields) (c Context, said decision) {
	if value, ok := f.Get(message.Traceparent); ok {
		if c, ok = ParseTraceparent(value); ok {
			return c, decide(c.Sampled)
		}
	}
	if value, ok := f.Value(b3Single); ok {
		c, said = parseB3(value)
		c.b3Single = true
		return c, said
	}
	trace, ok := f.Value(b3Trace)
	sampled, _ := f.Value(b3Sampled)
	debug, _ := f.Value(b3Flags)
	said = b3Decision(sampled)
	if debug == "1" {
		said = wanted
	}
	if !ok {
		return Context{}, said
	}
	span, _ := f.Value(b3Span)
	c, ok = b3Context(trace, span)
	if !ok {
		return Context{}, undecided
	}
	c.b3, c.Sampled = true, said == wanted
	return c, said
}

func decide(sampled bool) decision {
	if sampled {
		return wanted
	}
	return declined
}

// parseB3 reads "trace-span-sampled-parent", of which the last two may be
// absent, and a lone decision.
func parseB3(value string) (Context, decision) {
	parts := strings.Split(value, "-")
	if len(parts) == 1 {
		return Context{}, b3Decision(value)
	}
	c, ok := b3Context(parts[0], parts[1])
	if !ok || len(parts) > 4 {
		return Context{}, undecided
	}
	said := undecided
	if len(parts) > 2 {
		said = b3Decision(parts[2])
	}
	c.Sampled = said == wanted
	return c, said
}

func b3Decision(value string) decision {
	switch value {
	case "1", "d", "true":
		return wanted
	case "0", "false":
		return declined
	}
	return undecided
}

// b3Context reads the two ids. A trace's may have 64 bits.
func b3Context(trace, span string) (c Context, ok bool) {
	if len(trace) == 16 {
		trace = "0000000000000000" + trace
	}
	n, err := hex.Decode(c.Trace[:], []byte(fit(trace, 32)))
	m, err2 := hex.Decode(c.Parent[:], []byte(fit(span, 16)))
	if err != nil || err2 != nil || n != len(c.Trace) || m != len(c.Parent) || !c.Known() || c.Parent == [8]byte{} {
		return Context{}, false
	}
	return c, true
}

// fit returns s where it has that length, and nothing otherwise: hex.Decode
// panics where it has too much.
func fit(s string, length int) string {
	if len(s) != length {
		return ""
	}
	return s
}

// Inject puts the context into a request for the next one: in W3C's form, and
// in that of the caller. hold keeps a text as long as the request lives.
func (c *Context) Inject(f *message.Fields, scratch []byte, hold func([]byte) string) []byte {
	scratch = c.AppendTraceparent(scratch[:0])
	f.Set(message.Traceparent, hold(scratch))
	if !c.b3 && !c.b3Single {
		return scratch
	}
	sampled := "0"
	if c.Sampled {
		sampled = "1"
	}
	trace, span := hex.EncodeToString(c.Trace[:]), hex.EncodeToString(c.Span[:])
	if c.b3Single {
		f.SetNamed(b3Single, trace+"-"+span+"-"+sampled)
		return scratch
	}
	f.SetNamed(b3Trace, trace)
	f.SetNamed(b3Span, span)
	f.SetNamed(b3Sampled, sampled)
	f.RemoveNamed(b3Parent)
	if c.Parent != [8]byte{} {
		f.SetNamed(b3Parent, hex.EncodeToString(c.Parent[:]))
	}
	return scratch
}

// begin makes the context of a request: the caller's, or a new one, with a span
// of ours. percent is of the requests whose caller has not decided.
func begin(f *message.Fields, percent float64, rng *rand.Rand) Context {
	c, said := extract(f)
	if !c.Known() {
		fill(c.Trace[:], rng)
	}
	fill(c.Span[:], rng)
	c.Sampled = said == wanted || said == undecided && rng.Float64()*100 < percent
	return c
}

// fill fills b, whose length is a multiple of 8, by chance: never with zeros,
// which are no id.
func fill(b []byte, rng *rand.Rand) {
	for i := 0; i < len(b); i += 8 {
		n := rng.Uint64() | 1
		for j := range 8 {
			b[i+j] = byte(n >> (8 * j))
		}
	}
}
