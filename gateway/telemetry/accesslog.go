package telemetry

import (
	"context"
	"io"
	"sync"
	"time"

	"fairway.dev/gateway/loop"
)

// Format is how an access log line looks.
type Format uint8

const (
	// JSON is one object a line. Keys without a value are left out.
	JSON Format = iota
	// Text is for people: like Envoy's default, and quoted like nginx's.
	Text
)

// AccessLogOptions are what an AccessLog can be told.
type AccessLogOptions struct {
	Format Format

	// Queue bounds how many buffers of 128 KiB may wait for the writer; what
	// comes on top is dropped and counted. If zero, 32.
	Queue int
}

// An AccessLog writes one line an exchange, and one a stream. Each loop gathers
// lines in a buffer of its own; one goroutine writes what the loops hand over,
// so a slow disk or pipe costs lines, never time on a loop. A nil AccessLog is
// off.
type AccessLog struct {
	format Format
	lines  *Tally[LogOutcome]
	loops  []*lineBuffer
	full   chan batch
	free   chan []byte
	done   chan struct{}
	close  sync.Once
}

// batch is what a loop hands to the writer.
type batch struct {
	text  []byte
	lines int
	loop  int
}

// lineBuffer is a loop's own.
type lineBuffer struct {
	on    *loop.Loop
	log   *AccessLog
	batch batch
	timer loop.Timer
	clock stamp
}

const (
	batchSize = 128 << 10              // handed over when it holds as much
	batchAge  = 100 * time.Millisecond // or when its first line is as old
)

// NewAccessLog starts a writer to w, for the loops that m was made for. w is
// written to by one goroutine, in whole lines, and is not closed.
func NewAccessLog(m *Metrics, w io.Writer, o AccessLogOptions) *AccessLog {
	if o.Queue == 0 {
		o.Queue = 32
	}
	a := &AccessLog{
		format: o.Format,
		lines:  m.Log,
		loops:  make([]*lineBuffer, m.options.Loops),
		full:   make(chan batch, o.Queue),
		free:   make(chan []byte, o.Queue),
		done:   make(chan struct{}),
	}
	go a.write(w)
	return a
}

// Attach makes l log here. It is called once a loop, before the loop's first
// line: on the loop, or before it runs.
func (a *AccessLog) Attach(l *loop.Loop) {
	if a == nil {
		return
	}
	b := &lineBuffer{on: l, log: a}
	b.batch.loop = l.Index()
	b.timer.Fire = b.flush
	a.loops[l.Index()] = b
}

// Append adds a line about an exchange to the loop's buffer.
func (a *AccessLog) Append(loop int, e *Exchanges, r *Record) {
	if a == nil {
		return
	}
	b := a.loops[loop]
	if b.batch.lines == 0 {
		b.begin()
	}
	if a.format == JSON {
		b.batch.text = appendJSON(b.batch.text, &b.clock, e, r)
	} else {
		b.batch.text = appendText(b.batch.text, &b.clock, e, r)
	}
	b.added()
}

// added counts a line, and hands the buffer over where it is full.
func (b *lineBuffer) added() {
	b.batch.lines++
	if len(b.batch.text) >= batchSize {
		b.flush()
	}
}

// begin starts a buffer's time, and takes an empty one unless there is one
// whose lines were dropped.
func (b *lineBuffer) begin() {
	b.on.Arm(&b.timer, batchAge)
	if b.batch.text != nil {
		return
	}
	select {
	case b.batch.text = <-b.log.free:
	default:
		// A line more than batchSize may hold is rare; append grows for it.
		b.batch.text = make([]byte, 0, batchSize+4<<10)
	}
}

// flush hands the buffer to the writer, or drops it where that is too slow.
func (b *lineBuffer) flush() {
	b.on.Disarm(&b.timer)
	if b.batch.lines == 0 {
		return
	}
	select {
	case b.log.full <- b.batch:
		b.batch.text = nil
	default:
		b.log.lines.Add(b.batch.loop, LogDropped, b.batch.lines)
		b.batch.text = b.batch.text[:0]
	}
	b.batch.lines = 0
}

// Flush hands over what the loop has gathered. It is called on the loop.
func (a *AccessLog) Flush(loop int) {
	if a != nil && a.loops[loop] != nil {
		a.loops[loop].flush()
	}
}

// Close writes all that was logged, and stops the writer. The loops must not
// log any more, nor run. It returns ctx's error if the writer does not get
// done in time.
func (a *AccessLog) Close(ctx context.Context) error {
	if a == nil {
		return nil
	}
	a.close.Do(func() {
		for _, b := range a.loops {
			if b == nil || b.batch.lines == 0 {
				continue
			}
			select {
			case a.full <- b.batch:
			case <-ctx.Done():
				a.lines.Add(b.batch.loop, LogDropped, b.batch.lines)
			}
			b.batch = batch{loop: b.batch.loop}
		}
		close(a.full)
	})
	select {
	case <-a.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// write is the writer's goroutine.
func (a *AccessLog) write(w io.Writer) {
	defer close(a.done)
	for b := range a.full {
		outcome := LogWritten
		if _, err := w.Write(b.text); err != nil {
			outcome = LogFailed
		}
		a.lines.Add(b.loop, outcome, b.lines)
		if cap(b.text) > 2*batchSize {
			continue
		}
		select {
		case a.free <- b.text[:0]:
		default:
		}
	}
}
