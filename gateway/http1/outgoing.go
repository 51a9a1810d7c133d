package http1

import (
	"strconv"

	"fairway.dev/gateway/loop"
	"fairway.dev/gateway/message"
)

// outgoing writes the messages of one direction of a connection, and watches
// that the peer takes them.
type outgoing struct {
	conn   loop.Conn
	shared *shared
	lim    *Limits

	kind bodyKind
	left int64 // of a sizedBody

	timer   loop.Timer
	written int64
	taken   int64 // of written, when timer was armed
}

// begin makes o ready for a body.
func (o *outgoing) begin(k bodyKind, length int64) { o.kind, o.left = k, length }

// head writes b, which begins at the loop's scratch buffer.
func (o *outgoing) head(b []byte) {
	o.shared.scratch = b
	o.write(b)
}

func (o *outgoing) write(p []byte) {
	o.written += int64(len(p))
	o.conn.Write(p)
}

var crlf = []byte("\r\n")

// data writes body bytes. It returns false where there are more than the head
// said: nothing of these is written, as the peer would read them as the
// beginning of another message.
func (o *outgoing) data(p []byte) bool {
	switch o.kind {
	case noBody:
		return true // HEAD, 204, 304: there is none, whoever sends it
	case sizedBody:
		if int64(len(p)) > o.left {
			return false
		}
		o.left -= int64(len(p))
		o.write(p)
	case chunkedBody:
		if len(p) == 0 {
			return true // an empty chunk would end the body
		}
		o.head(append(strconv.AppendInt(o.shared.scratch[:0], int64(len(p)), 16), crlf...))
		o.write(p)
		o.write(crlf)
	case openBody:
		o.write(p)
	}
	o.watch()
	return true
}

// end writes the end of the body. It returns false where the head said more.
func (o *outgoing) end(trailers message.Fields) bool {
	switch {
	case o.kind == sizedBody && o.left > 0:
		return false
	case o.kind == chunkedBody:
		b := append(o.shared.scratch[:0], "0\r\n"...)
		b = appendFields(b, trailers)
		o.head(append(b, crlf...))
	}
	o.kind = noBody
	o.conn.Flush()
	o.watch()
	return true
}

// watch begins to watch the peer if there is something that it has not taken.
func (o *outgoing) watch() {
	if o.timer.Armed() || o.conn.Queued() == 0 {
		return
	}
	o.taken = o.written - int64(o.conn.Queued())
	o.conn.Loop().Arm(&o.timer, o.lim.writeStall())
}

// stalled is asked when timer fires: whether the peer has taken nothing since
// it was armed.
func (o *outgoing) stalled() bool {
	queued := int64(o.conn.Queued())
	if queued == 0 {
		return false
	}
	if o.written-queued == o.taken {
		return true
	}
	o.watch()
	return false
}
