package http1

import (
	"bytes"

	"fairway.dev/gateway/message"
)

// holdPiece is how much of what arrived is held at a time: most heads whole,
// and not much of a body that follows one.
const holdPiece = 4 << 10

// A holder copies lines to memory that lasts as long as their message.
type holder interface{ Hold(b []byte) []byte }

// A lineReader reads the lines of one head, or trailer section, from bytes in
// any splits.
type lineReader struct {
	head
	shared *shared
	// hold keeps the lines. Where it is nil at the beginning, they stay where
	// they arrived if they come in one piece, else in an arena.
	hold  holder
	arena *message.Arena
	// partial is the beginning of a line that is not whole.
	partial []byte
}

// start begins a section whose fields are added to fields.
func (r *lineReader) start(k kind, lim *Limits, fields *message.Fields, hold holder) {
	r.begin(k, lim, fields)
	r.hold = hold
}

// feed takes bytes, and returns how many of them belong to the section. After
// done or a refusal, release is called when the lines are no longer needed.
func (r *lineReader) feed(p []byte) (n int, done bool, why Refusal) {
	for n < len(p) && !done && why == accepted {
		var took int
		switch {
		case len(r.partial) > 0:
			took, done, why = r.endLine(p[n:])
		case r.hold == nil:
			took, done, why = r.parse(p[n:])
			if !done && why == accepted {
				r.keep(p[n : n+took])
			}
		default:
			took, done, why = r.parseHeld(p[n:])
		}
		if took == 0 && !done && why == accepted {
			why = r.beginLine(p[n:])
			took = len(p) - n
		}
		n += took
	}
	return n, done, why
}

// keep reads lines, which began the section, again from an arena: the rest of
// it comes later, and where they arrived will be used for that.
func (r *lineReader) keep(lines []byte) {
	r.arena = r.shared.arena()
	r.hold = r.arena
	*r.fields = (*r.fields)[:0]
	k, lim, fields := r.kind, r.lim, r.fields
	r.begin(k, lim, fields)
	r.parse(r.arena.Hold(lines))
}

// parseHeld parses from a copy of what p begins with.
func (r *lineReader) parseHeld(p []byte) (n int, done bool, why Refusal) {
	if len(p) <= holdPiece {
		return r.parse(r.hold.Hold(p))
	}
	n, done, why = r.parse(r.hold.Hold(p[:holdPiece]))
	if n > 0 || why != accepted {
		return n, done, why
	}
	line := bytes.IndexByte(p, '\n') + 1
	if line > r.lim.headBytes() {
		return line, false, r.tooLong(line)
	}
	return r.parse(r.hold.Hold(p[:line]))
}

// beginLine keeps p, which is the beginning of a line.
func (r *lineReader) beginLine(p []byte) Refusal {
	if long := r.tooLong(len(p)); long != accepted {
		return long
	}
	r.partial = append(r.shared.buffer(), p...)
	return accepted
}

// endLine adds to the line that was begun, and parses it when it is whole.
func (r *lineReader) endLine(p []byte) (n int, done bool, why Refusal) {
	n = bytes.IndexByte(p, '\n') + 1
	whole := n > 0
	if !whole {
		n = len(p)
	}
	if long := r.tooLong(len(r.partial) + n); long != accepted {
		return n, false, long
	}
	r.partial = append(r.partial, p[:n]...)
	if !whole {
		return n, false, accepted
	}
	_, done, why = r.parse(r.hold.Hold(r.partial))
	r.shared.releaseBuffer(r.partial)
	r.partial = nil
	return n, done, why
}

// release gives back what the section's lines were kept in.
func (r *lineReader) release() {
	if r.partial != nil {
		r.shared.releaseBuffer(r.partial)
		r.partial = nil
	}
	if r.arena != nil {
		r.shared.releaseArena(r.arena)
		r.arena = nil
	}
	r.hold, r.fields = nil, nil
	r.method, r.target, r.reason, r.host, r.upgrade = "", "", "", "", ""
}
