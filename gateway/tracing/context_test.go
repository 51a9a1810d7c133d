package tracing

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"fairway.dev/gateway/message"
)

const (
	traceText = "0af7651916cd43dd8448eb211c80319c"
	spanText  = "b7ad6b7169203331"
)

// W3C Trace Context, section 3.2.2 and 4.3.
func TestTraceparent(t *testing.T) {
	for _, tt := range []struct {
		value       string
		ok, sampled bool
	}{
		{"00-" + traceText + "-" + spanText + "-01", true, true},
		{"00-" + traceText + "-" + spanText + "-00", true, false},
		{"00-" + traceText + "-" + spanText + "-03", true, true},
		{"cc-" + traceText + "-" + spanText + "-01", true, true},
		{"cc-" + traceText + "-" + spanText + "-01-what-comes", true, true},
		{"cc-" + traceText + "-" + spanText + "-01what", false, false},
		{"00-" + traceText + "-" + spanText + "-01-more", false, false},
		{"ff-" + traceText + "-" + spanText + "-01", false, false},
		{"00-00000000000000000000000000000000-" + spanText + "-01", false, false},
		{"00-" + traceText + "-0000000000000000-01", false, false},
		{"00-0AF7651916CD43DD8448EB211C80319C-" + spanText + "-01", false, false},
		{"00-" + traceText[1:] + "x-" + spanText + "-01", false, false},
		{"00-" + traceText + "-" + spanText, false, false},
		{"", false, false},
	} {
		c, ok := ParseTraceparent(tt.value)
		if ok != tt.ok || c.Sampled != tt.sampled {
			t.Errorf("%q: %t, sampled %t; want %t, %t", tt.value, ok, c.Sampled, tt.ok, tt.sampled)
		}
	}
}

func fields(pairs ...string) message.Fields {
	var f message.Fields
	for i := 0; i < len(pairs); i += 2 {
		f.SetNamed(pairs[i], pairs[i+1])
	}
	return f
}

// TestBegin holds whose decision about sampling counts, and that the trace goes
// on.
func TestBegin(t *testing.T) {
	for name, tt := range map[string]struct {
		fields  message.Fields
		percent float64
		known   bool // the trace is the caller's
		sampled bool
	}{
		"nobody began it":            {fields(), 100, false, true},
		"nobody began it, no share":  {fields(), 0, false, false},
		"traceparent, sampled":       {fields("traceparent", "00-"+traceText+"-"+spanText+"-01"), 0, true, true},
		"traceparent, not sampled":   {fields("traceparent", "00-"+traceText+"-"+spanText+"-00"), 100, true, false},
		"bad traceparent, good b3":   {fields("traceparent", "00-x", "b3", traceText+"-"+spanText+"-1"), 0, true, true},
		"b3, sampled":                {fields("b3", traceText+"-"+spanText+"-1-"+spanText), 0, true, true},
		"b3, debug":                  {fields("b3", traceText+"-"+spanText+"-d"), 0, true, true},
		"b3, undecided":              {fields("b3", traceText+"-"+spanText), 100, true, true},
		"b3, only a decision":        {fields("b3", "0"), 100, false, false},
		"b3, too much of it":         {fields("b3", traceText+"-"+spanText+"-1-"+spanText+"-1"), 0, false, false},
		"x-b3, sampled":              {fields("x-b3-traceid", traceText, "x-b3-spanid", spanText, "x-b3-sampled", "1"), 0, true, true},
		"x-b3, debug":                {fields("x-b3-traceid", traceText, "x-b3-spanid", spanText, "x-b3-flags", "1"), 0, true, true},
		"x-b3, not sampled":          {fields("x-b3-traceid", traceText, "x-b3-spanid", spanText, "x-b3-sampled", "0"), 100, true, false},
		"x-b3, a lone decision":      {fields("x-b3-sampled", "0"), 100, false, false},
		"x-b3, a span of wrong size": {fields("x-b3-traceid", traceText, "x-b3-spanid", spanText+"00"), 0, false, false},
	} {
		c := begin(&tt.fields, tt.percent, rand.New(rand.NewPCG(1, 2)))
		known := bytes.Equal(c.AppendTraceparent(nil)[3:35], []byte(traceText))
		if known != tt.known || c.Sampled != tt.sampled {
			t.Errorf("%s: the caller's trace %t, sampled %t; want %t, %t", name, known, c.Sampled, tt.known, tt.sampled)
		}
		if !c.Known() || c.Span == [8]byte{} || c.Span == c.Parent {
			t.Errorf("%s: no span of its own: %x of %x", name, c.Span, c.Parent)
		}
	}
}

// A trace of 64 bits is one of 128 with zeros in front (B3 propagation).
func TestShortB3(t *testing.T) {
	f := fields("b3", spanText+"-"+spanText+"-1")
	c := begin(&f, 0, rand.New(rand.NewPCG(1, 2)))
	if got := string(c.AppendTraceparent(nil)[3:35]); got != "0000000000000000"+spanText {
		t.Errorf("trace %s", got)
	}
}

// TestInject holds that the next one reads what we have written, in the form
// that the caller used.
func TestInject(t *testing.T) {
	for name, f := range map[string]message.Fields{
		"none":        fields(),
		"traceparent": fields("traceparent", "00-"+traceText+"-"+spanText+"-01"),
		"b3":          fields("b3", traceText+"-"+spanText+"-1"),
		"x-b3":        fields("x-b3-traceid", traceText, "x-b3-spanid", spanText, "x-b3-sampled", "1", "x-b3-parentspanid", spanText),
	} {
		c := begin(&f, 100, rand.New(rand.NewPCG(1, 2)))
		c.Inject(&f, nil, func(b []byte) string { return string(b) })
		read := []func() (Context, decision){func() (Context, decision) { return extract(&f) }}
		if name == "b3" || name == "x-b3" {
			read = append(read, func() (Context, decision) { // by one that knows B3 alone
				f.Remove(message.Traceparent)
				return extract(&f)
			})
		}
		for _, next := range read {
			n, said := next()
			if n.Trace != c.Trace || n.Parent != c.Span || said != wanted {
				t.Errorf("%s: the next one reads trace %x, parent %x, %d; want %x, %x", name, n.Trace, n.Parent, said, c.Trace, c.Span)
			}
		}
	}
}

func FuzzExtract(f *testing.F) {
	f.Add("00-"+traceText+"-"+spanText+"-01", traceText+"-"+spanText+"-1", traceText, spanText)
	f.Fuzz(func(t *testing.T, parent, single, trace, span string) {
		fields := fields("traceparent", parent, "b3", single, "x-b3-traceid", trace, "x-b3-spanid", span)
		c := begin(&fields, 50, rand.New(rand.NewPCG(1, 2)))
		if !c.Known() || c.Span == [8]byte{} {
			t.Fatal("no trace")
		}
		if again, ok := ParseTraceparent(string(c.AppendTraceparent(nil))); !ok || again.Trace != c.Trace || again.Parent != c.Span || again.Sampled != c.Sampled {
			t.Fatalf("%+v is read as %+v", c, again)
		}
	})
}
