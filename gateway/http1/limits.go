package http1

import "time"

// Limits bound what one connection may ask for. The zero Limits are ready to
// use, and one value may serve any number of connections: it must not change
// once the first has it.
type Limits struct {
	// LineBytes is the longest start line. If zero, 16 KiB.
	LineBytes int
	// HeadBytes is the largest head, start line and all fields with their
	// line ends, and the largest trailer section. If zero, 64 KiB.
	HeadBytes int
	// Fields is the largest number of fields in a head or a trailer section.
	// If zero, 128.
	Fields int
	// Discard is how many bytes of a request's body are read and dropped
	// after its response has ended, so that the connection may go on. If
	// zero, 256 KiB; if negative, none.
	Discard int64

	// HeadTimeout is the time from the first byte of a request's head to its
	// last. If zero, 10 s.
	HeadTimeout time.Duration
	// IdleTimeout is how long a connection waits for the next request. If
	// zero, 60 s.
	IdleTimeout time.Duration
	// BodyIdle is how long a body may stand still while we are ready to take
	// more of it. If zero, 30 s.
	BodyIdle time.Duration
	// WriteStall is how long the peer may take nothing of what waits to be
	// sent. If zero, 30 s.
	WriteStall time.Duration
	// HalfClose is how long a client that ended its side of the connection
	// after its request may wait for the response to begin. TCP does not tell
	// a client that shut down its sending side from one that closed, so one
	// that waits longer is taken to be gone. If zero, 1 s; if negative, there
	// is no end.
	HalfClose time.Duration

	// Count, if not nil, is told of each message that was refused. It is
	// called on the connection's loop.
	Count func(Refusal)
}

func or[T int | int64 | time.Duration](v, otherwise T) T {
	if v == 0 {
		return otherwise
	}
	return v
}

func (l *Limits) lineBytes() int             { return or(l.LineBytes, 16<<10) }
func (l *Limits) headBytes() int             { return or(l.HeadBytes, 64<<10) }
func (l *Limits) fields() int                { return or(l.Fields, 128) }
func (l *Limits) discard() int64             { return or(l.Discard, 256<<10) }
func (l *Limits) headTimeout() time.Duration { return or(l.HeadTimeout, 10*time.Second) }
func (l *Limits) idleTimeout() time.Duration { return or(l.IdleTimeout, time.Minute) }
func (l *Limits) bodyIdle() time.Duration    { return or(l.BodyIdle, 30*time.Second) }
func (l *Limits) writeStall() time.Duration  { return or(l.WriteStall, 30*time.Second) }
func (l *Limits) halfClose() time.Duration   { return or(l.HalfClose, time.Second) }

func (l *Limits) count(why Refusal) {
	if l.Count != nil {
		l.Count(why)
	}
}
