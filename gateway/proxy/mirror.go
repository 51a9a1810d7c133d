package proxy

import (
	"time"

	"fairway.dev/gateway/loop"
	"fairway.dev/gateway/message"
	"fairway.dev/gateway/telemetry"
	"fairway.dev/gateway/upstream"
	"fairway.dev/routing"
)

const (
	// maxMirrors bounds the mirrors under way on one loop.
	maxMirrors = 1024
	// mirrorLag bounds the body bytes that wait for a mirror's backend.
	mirrorLag = 256 << 10
	// mirrorTime is how long a mirror's backend may take for its answer once
	// the exchange that it copies is over.
	mirrorTime = 30 * time.Second
)

// mirrorTo is a routing.Mirror made ready.
type mirrorTo struct {
	cluster                *upstream.Cluster
	numerator, denominator uint64
}

// mirrors makes the mirrors of a rule and of one of its backends ready.
func (p *Proxy) mirrors(rule, backend []routing.Mirror) []mirrorTo {
	var list []mirrorTo
	for _, from := range [][]routing.Mirror{rule, backend} {
		for _, m := range from {
			if c := p.o.Clusters.Cluster(m.Cluster); c != nil {
				list = append(list, mirrorTo{c, uint64(m.Numerator), uint64(m.Denominator)})
			}
		}
	}
	return list
}

// A mirror sends a copy of a request to a backend and reads what comes back
// for nothing. It never holds the exchange up: where its backend falls behind
// or fails, the mirror ends. It may outlive the exchange, so it has a copy of
// the request's head.
type mirror struct {
	on    *local
	wait  upstream.Wait
	timer loop.Timer
	req   message.Request

	cluster *upstream.Cluster
	ep      *upstream.Endpoint
	up      message.Stream // nil until there is a connection
	waiting []byte         // of the body, until then
	whole   bool           // the request has ended
	over    bool           // nothing is under way
	left    bool           // by its exchange
}

// startMirrors sends copies of the request where the rule wants them.
func (e *exchange) startMirrors() {
	if e.req.Upgrade != "" {
		return // a tunnel has two ends
	}
	l := e.on
	for i := range e.share.mirrors {
		to := &e.share.mirrors[i]
		if l.below(to.denominator) >= to.numerator {
			continue
		}
		if l.mirrored >= maxMirrors {
			l.proxy.o.Metrics.Limits.Count(l.index, telemetry.LimitMirrors)
			continue
		}
		if c, hop, _ := l.towards(to.cluster, e.listener, e.peer); c != nil && c.Begin() {
			e.mirrors = append(e.mirrors, l.startMirror(c, to.cluster, hop, e))
		}
	}
}

func (l *local) startMirror(c, inside *upstream.Cluster, hop message.Hop, e *exchange) *mirror {
	m := l.takeMirror()
	m.cluster = c
	m.whole = e.requestEnded
	copyRequest(&m.req, e.req)
	m.req.Hop = hop
	m.req.Hop.Old = m.req.Spoken() != message.HTTP2
	if len(e.body) > 0 { // what came while somebody was asked about the request
		m.waiting = append(l.takeBuffer(), e.body...)
	}
	want := upstream.Want{Host: m.req.Authority, Here: e.peer.Abroad}
	want.Hash, want.HasHash = c.Hash(&m.req, e.peer)
	ep, err := c.Pick(l.loop, &want)
	if err != nil {
		m.stop()
		return m
	}
	m.ep = ep
	aim(&m.req.Hop, ep)
	m.wait.Client, m.wait.Proto, m.wait.Host = e.peer, m.req.Spoken(), m.req.Authority
	fill(&m.wait, &m.req.Hop, inside)
	c.Connect(l.loop, ep, &m.wait)
	return m
}

// copyRequest makes dst what src is, in memory of its own.
func copyRequest(dst, src *message.Request) {
	hold := func(s string) string { return message.Text(dst.Hold([]byte(s))) }
	dst.Method, dst.Scheme = hold(src.Method), hold(src.Scheme)
	dst.Authority = hold(src.Authority)
	dst.Path, dst.Query = hold(src.Path), hold(src.Query)
	dst.Length, dst.Proto, dst.Old, dst.Trailers = src.Length, src.Proto, src.Old, src.Trailers
	for i := range src.Fields {
		f := &src.Fields[i]
		if f.ID == message.Expect {
			continue // nobody waits for the mirror's consent
		}
		dst.Fields = append(dst.Fields, message.Field{Text: hold(f.Text), Value: hold(f.Value), ID: f.ID})
	}
}

// body passes body bytes of the request on.
func (m *mirror) body(p []byte) {
	switch {
	case m.over:
	case m.up != nil:
		m.up.Data(p)
		if m.up.Queued() > mirrorLag {
			m.cancel()
		}
	case len(m.waiting)+len(p) > mirrorLag:
		m.cancel()
	default:
		if m.waiting == nil {
			m.waiting = m.on.takeBuffer()
		}
		m.waiting = append(m.waiting, p...)
	}
}

// end passes the end of the request on. Trailers that would have to wait for a
// connection are not mirrored.
func (m *mirror) end(trailers message.Fields) {
	m.whole = true
	if !m.over && m.up != nil {
		m.up.End(trailers)
	}
}

// leave tells that the exchange is over.
func (m *mirror) leave(whole bool) {
	m.left = true
	switch {
	case m.over:
		m.on.putMirror(m)
	case !whole:
		m.cancel()
	default:
		m.on.loop.Arm(&m.timer, mirrorTime)
	}
}

// Connected sends the copy. It implements upstream.Waiter.
func (m *mirror) Connected(conn message.Client, reused bool) {
	last := m.whole && len(m.waiting) == 0
	m.up = conn.Open(&m.req, last, m)
	if last {
		return
	}
	if len(m.waiting) > 0 {
		m.up.Data(m.waiting)
	}
	m.on.putBuffer(m.waiting)
	m.waiting = nil
	if m.whole {
		m.up.End(nil)
	}
}

// ConnectFailed implements upstream.Waiter.
func (m *mirror) ConnectFailed(error) { m.done(upstream.NoConnection) }

// Head, Data, End, Drained and Abort take what nobody wants.
func (m *mirror) Head(resp *message.Response, last bool) {
	if last {
		m.finish()
	}
}

func (m *mirror) Data(p []byte)      { m.up.Consumed(len(p)) }
func (m *mirror) End(message.Fields) { m.finish() }
func (m *mirror) Drained()           {}

func (m *mirror) Abort(err error) {
	if !m.whole {
		m.up.Abort(err)
	}
	m.done(upstream.Abandoned)
}

// finish ends a mirror whose response is whole.
func (m *mirror) finish() {
	if !m.whole {
		m.up.Abort(errCancelled)
	}
	m.done(upstream.Success)
}

// cancel ends a mirror that is not done.
func (m *mirror) cancel() {
	if m.up == nil {
		m.wait.Cancel()
	} else {
		m.up.Abort(errCancelled)
	}
	m.done(upstream.Abandoned)
}

// done ends what Pick and Begin began.
func (m *mirror) done(o upstream.Outcome) {
	m.ep.Done(m.on.loop, o)
	m.stop()
}

func (m *mirror) stop() {
	m.on.loop.Disarm(&m.timer)
	m.cluster.End()
	m.over = true
	if m.left {
		m.on.putMirror(m)
	}
}

func (l *local) takeMirror() *mirror {
	l.mirrored++
	if n := len(l.mirrors); n > 0 {
		m := l.mirrors[n-1]
		l.mirrors = l.mirrors[:n-1]
		return m
	}
	m := &mirror{on: l}
	m.wait.Waiter = m
	m.timer.Fire = m.cancel
	return m
}

// putMirror takes back a mirror that is over and that its exchange has left.
func (l *local) putMirror(m *mirror) {
	l.mirrored--
	l.putBuffer(m.waiting)
	m.req.Reset()
	m.cluster, m.ep, m.up, m.waiting = nil, nil, nil, nil
	m.whole, m.over, m.left = false, false, false
	l.mirrors = append(l.mirrors, m)
}
