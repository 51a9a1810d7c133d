package proxy

import "fairway.dev/gateway/message"

// replayLimit bounds what is kept of a request's body for another try, in
// bytes. A larger request is tried again only as long as nothing of it was sent.
const replayLimit = 64 << 10

// send passes body bytes on to the backend, keeps them for another try, or
// both. Nothing is Consumed that waits for a connection: so what the client
// may send bounds what waits.
func (e *exchange) send(p []byte) {
	if e.gathering {
		e.gather(p)
		return
	}
	t, connected := e.try, e.connected()
	if e.headSent && !connected { // the backend would not switch protocols
		e.down.Consumed(len(p))
		return
	}
	if e.replayable && connected && len(e.body)+len(p) > replayLimit {
		e.replayable = false
		e.dropBody()
	}
	if e.replayable || !connected {
		if e.body == nil {
			e.body = e.on.takeBuffer()
		}
		e.body = append(e.body, p...)
	}
	e.owed += len(p)
	if connected {
		t.up.Data(p)
		t.settle()
	}
}

// connected reports whether what the client sends can be passed on. What comes
// before the answer to a request for another protocol belongs to that.
func (e *exchange) connected() bool {
	return e.try != nil && e.try.up != nil && (e.req.Upgrade == "" || e.tunnel)
}

// sendEnd passes the end of the request on, or keeps it until it can be.
func (e *exchange) sendEnd(trailers message.Fields) {
	t, connected := e.try, e.connected()
	if (e.replayable || !connected) && len(trailers) > 0 {
		e.keepTrailers(trailers)
	}
	if connected {
		t.requestSent = true
		t.up.End(trailers)
	}
}

func (e *exchange) keepTrailers(trailers message.Fields) {
	for _, f := range trailers {
		e.trailers = append(e.trailers, message.Field{
			Text: e.holdText(f.Text), Value: e.holdText(f.Value), ID: f.ID,
		})
	}
}

func (e *exchange) holdText(s string) string {
	e.on.scratch = append(e.on.scratch[:0], s...)
	return e.hold(e.on.scratch)
}

// catchUp sends a try what came of the request's body before it.
func (e *exchange) catchUp(t *try) {
	if len(e.body) > 0 {
		t.up.Data(e.body)
		if !e.replayable || len(e.body) > replayLimit {
			e.replayable = false
			e.dropBody()
		}
	}
	if e.requestEnded {
		t.requestSent = true
		t.up.End(e.trailers)
	}
	t.settle()
}

// dropBody lets go of what was kept of the request's body.
func (e *exchange) dropBody() {
	e.on.putBuffer(e.body)
	e.body = nil
}
