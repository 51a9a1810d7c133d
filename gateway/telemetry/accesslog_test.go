package telemetry

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"fairway.dev/gateway/loop"
)

// gate is a writer that takes nothing until it is opened.
type gate struct {
	open    chan struct{}
	written bytes.Buffer // to be read after Close
}

func (g *gate) Write(p []byte) (int, error) {
	<-g.open
	return g.written.Write(p)
}

// signal is a writer that tells of each write.
type signal chan string

func (s signal) Write(p []byte) (int, error) {
	s <- string(p)
	return len(p), nil
}

func manual() *loop.Loop { return loop.NewManual(time.Unix(1e9, 0)) }

func closeLog(t *testing.T, a *AccessLog) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := a.Close(ctx); err != nil {
		t.Fatalf("close: %v", err)
	}
}

func TestLinesAreWrittenWhenTheyAre100msOld(t *testing.T) {
	m, l, w := New(Options{}), manual(), make(signal, 10)
	a := NewAccessLog(m, w, AccessLogOptions{Format: Text})
	a.Attach(l)
	e := m.Exchanges(cart)
	a.Append(0, e, full())
	l.Advance(60 * time.Millisecond)
	a.Append(0, e, full())
	l.Advance(39 * time.Millisecond)
	if len(a.full) != 0 || len(w) != 0 {
		t.Fatal("handed over before the first line was 100 ms old")
	}
	l.Advance(time.Millisecond)
	if got := <-w; strings.Count(got, "\n") != 2 {
		t.Errorf("written %q, want two lines", got)
	}
	l.Advance(time.Second) // nothing gathered, nothing written
	a.Append(0, e, full())
	l.Advance(100 * time.Millisecond)
	if got := <-w; strings.Count(got, "\n") != 1 {
		t.Errorf("written %q, want one line", got)
	}
	closeLog(t, a)
	if len(w) != 0 {
		t.Errorf("written once more: %q", <-w)
	}
}

func TestLinesAreWrittenWhen32KiBHaveGathered(t *testing.T) {
	m, l, w := New(Options{}), manual(), make(signal, 10)
	a := NewAccessLog(m, w, AccessLogOptions{})
	a.Attach(l)
	e := m.Exchanges(cart)
	n := 0
	for len(a.loops[0].batch.text) > 0 || n == 0 {
		a.Append(0, e, full())
		n++
	}
	if got := <-w; strings.Count(got, "\n") != n || len(got) < batchSize || len(got) > batchSize+1<<10 {
		t.Errorf("written %d lines in %d bytes, want %d lines in little over %d bytes", strings.Count(got, "\n"), len(got), n, batchSize)
	}
	closeLog(t, a)
}

func TestASlowWriterCostsLinesNotTime(t *testing.T) {
	m, l := New(Options{}), manual()
	w := &gate{open: make(chan struct{})}
	a := NewAccessLog(m, w, AccessLogOptions{Queue: 2})
	a.Attach(l)
	e := m.Exchanges(cart)
	const lines = 10000
	for range lines {
		a.Append(0, e, full()) // would hang here
	}
	a.Flush(0)
	close(w.open)
	closeLog(t, a)
	written, dropped := m.Log.Total(LogWritten), m.Log.Total(LogDropped)
	if written == 0 || dropped == 0 || written+dropped != lines {
		t.Errorf("%d lines written, %d dropped: want both, and %d together", written, dropped, lines)
	}
	if n := bytes.Count(w.written.Bytes(), []byte("\n")); int64(n) != written {
		t.Errorf("%d lines arrived, %d counted as written", n, written)
	}
}

func TestLinesAfterDroppedOnesDoNotStay(t *testing.T) {
	m, l := New(Options{}), manual()
	w := &gate{open: make(chan struct{})}
	a := NewAccessLog(m, w, AccessLogOptions{Queue: 1})
	a.Attach(l)
	e := m.Exchanges(cart)
	for m.Log.Total(LogDropped) == 0 {
		a.Append(0, e, full())
	}
	l.Advance(time.Second) // with nothing gathered
	a.Append(0, e, full())
	l.Advance(100 * time.Millisecond)
	if n := a.loops[0].batch.lines; n != 0 {
		t.Errorf("%d lines wait for more after 100 ms, want none", n)
	}
	close(w.open)
	closeLog(t, a)
}

func TestCloseWritesWhatLoopsHold(t *testing.T) {
	m := New(Options{Loops: 2})
	w := &gate{open: make(chan struct{})}
	close(w.open)
	a := NewAccessLog(m, w, AccessLogOptions{})
	a.Attach(manual()) // the other loop never came to log
	a.Append(0, m.Exchanges(cart), full())
	closeLog(t, a)
	closeLog(t, a) // a second one is no harm
	if n := bytes.Count(w.written.Bytes(), []byte("\n")); n != 1 {
		t.Errorf("%d lines after Close, want 1", n)
	}
}

func TestCloseGivesUpOnAWriterThatHangs(t *testing.T) {
	m := New(Options{})
	w := &gate{open: make(chan struct{})}
	a := NewAccessLog(m, w, AccessLogOptions{})
	a.Attach(manual())
	a.Append(0, m.Exchanges(cart), full())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := a.Close(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("close = %v, want %v", err, context.Canceled)
	}
	close(w.open)
	<-a.done
}

func TestAFailingWriterIsCounted(t *testing.T) {
	m := New(Options{})
	r, w := io.Pipe()
	r.Close()
	a := NewAccessLog(m, w, AccessLogOptions{})
	a.Attach(manual())
	a.Append(0, m.Exchanges(cart), full())
	closeLog(t, a)
	if n := m.Log.Total(LogFailed); n != 1 {
		t.Errorf("%d lines failed, want 1", n)
	}
}

func TestANilAccessLogIsOff(t *testing.T) {
	var a *AccessLog
	a.Attach(manual())
	a.Append(0, nil, full())
	a.Flush(0)
	closeLog(t, a)
}

// Each loop appends on its own goroutine: run with -race.
func TestLoopsLogAtOnce(t *testing.T) {
	const loops, lines = 4, 2000
	m := New(Options{Loops: loops})
	w := &gate{open: make(chan struct{})}
	close(w.open)
	a := NewAccessLog(m, w, AccessLogOptions{Queue: 1000})
	e := m.Exchanges(cart)
	var wg sync.WaitGroup
	for i := range loops {
		// A manual loop is always number 0: the buffer stands in for a loop's.
		b := &lineBuffer{on: manual(), log: a, batch: batch{loop: i}}
		b.timer.Fire = b.flush
		a.loops[i] = b
		wg.Go(func() {
			for range lines {
				a.Append(i, e, full())
				e.Observe(i, full())
			}
		})
	}
	wg.Wait()
	closeLog(t, a)
	n := 0
	for line := range bytes.Lines(w.written.Bytes()) {
		if !json.Valid(line) {
			t.Fatalf("%q is not JSON", line)
		}
		n++
	}
	if n != loops*lines {
		t.Errorf("%d lines, want %d", n, loops*lines)
	}
}

func TestAppendDoesNotAllocate(t *testing.T) {
	for _, format := range []Format{JSON, Text} {
		m, l := New(Options{}), manual()
		a := NewAccessLog(m, io.Discard, AccessLogOptions{Format: format})
		a.Attach(l)
		e, r := m.Exchanges(cart), full()
		a.Append(0, e, r)
		if n := testing.AllocsPerRun(50, func() { a.Append(0, e, r) }); n != 0 {
			t.Errorf("format %d: a line allocates %v times, want 0", format, n)
		}
		closeLog(t, a)
	}
}

func BenchmarkAccessLog(b *testing.B) {
	for name, format := range map[string]Format{"json": JSON, "text": Text} {
		b.Run(name, func(b *testing.B) {
			m, l := New(Options{}), manual()
			a := NewAccessLog(m, io.Discard, AccessLogOptions{Format: format})
			a.Attach(l)
			e, r := m.Exchanges(cart), full()
			r.UserAgent = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
			r.RequestID = "6e1f0c1c-6a5e-4c0b-9f0e-3f1d2c5b7a90"
			b.ReportAllocs()
			for b.Loop() {
				a.Append(0, e, r)
			}
			if err := a.Close(context.Background()); err != nil {
				b.Fatal(err)
			}
		})
	}
}
