package tracing

import (
	"encoding/json"
	"math/rand/v2"
	"strings"
	"sync"

	"fairway.dev/gateway/message"
	"fairway.dev/gateway/telemetry"
	"fairway.dev/routing"
)

// maxWaiting bounds, in bytes, the spans of a Tracer that wait on one loop.
const maxWaiting = 1 << 20

// A Tracer takes the spans of listeners that are traced alike. A nil Tracer
// traces nothing.
type Tracer struct {
	spec     *routing.Tracing
	tags     []routing.Tag
	exporter *Exporter
	loops    []waiting
}

// waiting are the spans that a loop has written and nobody has sent. The lock
// is the loop's and the exporter's: the latter comes once a second.
type waiting struct {
	mu    sync.Mutex
	spans []byte
	count int
	rng   *rand.Rand
}

func newTracer(e *Exporter, spec *routing.Tracing) *Tracer {
	t := &Tracer{spec: spec, exporter: e, loops: make([]waiting, e.options.Loops)}
	for _, tag := range spec.Tags {
		tag.Header = strings.ToLower(tag.Header)
		t.tags = append(t.tags, tag)
	}
	for i := range t.loops {
		t.loops[i].rng = rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64()))
	}
	return t
}

// Begin makes the context of a request. It is called on the loop.
func (t *Tracer) Begin(loop int, f *message.Fields) Context {
	return begin(f, t.spec.Percent, t.loops[loop].rng)
}

// End writes down the span of an exchange, if it is sampled. It is called on
// the loop; what x holds is not kept.
func (t *Tracer) End(loop int, x *Exchange) {
	if t.spec.Silent || !x.Context.Sampled {
		return
	}
	w := &t.loops[loop]
	w.mu.Lock()
	full := len(w.spans) >= maxWaiting
	if !full {
		w.spans = t.appendSpan(w.spans, x)
		w.count++
	}
	w.mu.Unlock()
	if full {
		t.exporter.count(loop, telemetry.SpanDropped, 1)
	}
}

// take returns what has gathered on all loops.
func (t *Tracer) take() (spans []byte, count int) {
	for i := range t.loops {
		w := &t.loops[i]
		w.mu.Lock()
		spans, count = append(spans, w.spans...), count+w.count
		w.spans, w.count = nil, 0
		w.mu.Unlock()
	}
	return spans, count
}

// key tells Tracers apart.
func key(spec *routing.Tracing) string {
	text, err := json.Marshal(spec)
	if err != nil {
		panic("bug: a Tracing that has no JSON: " + err.Error())
	}
	return string(text)
}
