package ratelimit

import (
	"slices"
	"time"

	"fairway.dev/gateway/loop"
	"fairway.dev/gateway/upstream"
	"fairway.dev/routing"
)

const (
	// maxWaiting bounds the questions of a loop that have no answer yet.
	maxWaiting = 1024
	// maxSilence ends a connection on which an answer is that late.
	maxSilence = time.Second
	// retryAfter is how long a store that cannot be had is left alone.
	retryAfter = time.Second
)

// A redis is a store that speaks Redis's protocol: the endpoints of a cluster, of
// which there had better be one, as counts are in each by itself. Every loop has a
// connection of its own to it, on which questions are pipelined.
type redis struct{ on []storeConn }

func (s *Store) redis(cluster routing.ClusterName) *redis {
	r := s.shared[cluster]
	if r == nil {
		r = &redis{on: make([]storeConn, len(s.o.Loops))}
		for i, l := range s.o.Loops {
			r.on[i] = storeConn{loop: l, cluster: cluster, clusters: s.o.Clusters}
			r.on[i].wait.Stream, r.on[i].wait.Use = &r.on[i], upstream.Streams
			r.on[i].silence.Fire = r.on[i].fallSilent
		}
		s.shared[cluster] = r
	}
	return r
}

// leave closes the connections, from later events.
func (r *redis) leave() {
	for i := range r.on {
		c := &r.on[i]
		c.loop.Post(func() {
			c.left = true
			c.hangUp()
		})
	}
}

func (r *redis) ask(l *loop.Loop, q *Question, done func(Decision)) (cancel func()) {
	return r.on[l.Index()].ask(q, done)
}

// A storeConn is a loop's connection, or the want of one.
type storeConn struct {
	loop     *loop.Loop
	cluster  routing.ClusterName
	clusters *upstream.Set

	wait    upstream.Wait
	ep      *upstream.Endpoint // nil: there is neither a connection nor the search for one
	conn    upstream.Conn      // nil until it is open
	began   bool               // a connection was searched for, at tried, and has not answered
	tried   time.Time
	left    bool     // it is to be used no more
	waiting []*asked // in the order of their commands
	part    []byte   // of a reply that is not whole
	silence loop.Timer
}

// asked is a question that is under way.
type asked struct {
	q      *Question
	done   func(Decision) // nil: nobody wants to know any more
	timer  loop.Timer
	counts []int64
	seen   int   // replies
	err    error // one of them was a refusal
}

func (c *storeConn) ask(q *Question, done func(Decision)) (cancel func()) {
	a := &asked{q: q, done: done}
	cancel = func() {
		a.done = nil
		c.loop.Drop(&a.timer)
	}
	if len(c.waiting) == maxWaiting || !c.search() {
		c.loop.Defer(func() { c.fail(a) })
		return cancel
	}
	a.timer.Fire = func() { c.fail(a) }
	c.loop.Arm(&a.timer, q.Timeout())
	c.waiting = append(c.waiting, a)
	if c.conn != nil {
		c.send(a)
	}
	return cancel
}

// fail tells that there is no answer, or will be none that is of use. Replies that
// come nevertheless are read for those behind.
func (c *storeConn) fail(a *asked) { c.tell(a, a.q.Failed()) }

func (c *storeConn) tell(a *asked, d Decision) {
	done := a.done
	a.done = nil
	c.loop.Drop(&a.timer)
	if done != nil {
		done(d)
	}
}

// search reports whether there is a connection, or is one to be soon.
func (c *storeConn) search() bool {
	if c.ep != nil && !c.ep.Gone() {
		return true
	}
	if c.ep != nil {
		c.hangUp()
	}
	if c.left || c.began && c.loop.Now().Sub(c.tried) < retryAfter {
		return false
	}
	c.began, c.tried = true, c.loop.Now()
	cluster := c.clusters.Cluster(c.cluster)
	if cluster == nil {
		return false
	}
	ep, err := cluster.Pick(c.loop, &upstream.Want{})
	if err != nil {
		return false
	}
	c.ep = ep
	cluster.Connect(c.loop, ep, &c.wait)
	return c.ep != nil
}

// Opened sends what has waited for the connection. It implements
// upstream.StreamWaiter.
func (c *storeConn) Opened(conn upstream.Conn) {
	c.conn = conn
	conn.Handle(c)
	c.waiting = slices.DeleteFunc(c.waiting, func(a *asked) bool { return a.done == nil })
	for _, a := range c.waiting {
		c.send(a)
	}
}

// ConnectFailed implements upstream.StreamWaiter.
func (c *storeConn) ConnectFailed(error) { c.lose(upstream.NoConnection) }

func (c *storeConn) send(a *asked) {
	var b []byte
	for i := range a.q.counted {
		b = appendCount(b, a.q.counted[i].key, a.q.counted[i].rule.spec.Per)
	}
	c.conn.Write(b)
	if !c.silence.Armed() {
		c.loop.Arm(&c.silence, maxSilence)
	}
}

// Data takes replies.
func (c *storeConn) Data(p []byte) {
	c.part = append(c.part, p...)
	rest := c.part
	for len(c.waiting) > 0 {
		value, size, err := readReply(rest)
		_, refused := err.(refusal)
		if err != nil && !refused {
			c.drop()
			return
		}
		if size == 0 {
			break
		}
		rest = rest[size:]
		c.loop.Arm(&c.silence, maxSilence)
		c.reply(value, err)
		if c.conn == nil {
			return // who heard has hung up
		}
	}
	if len(c.waiting) == 0 {
		c.loop.Disarm(&c.silence)
		if len(rest) > 0 { // nobody has asked
			c.drop()
			return
		}
	}
	c.part = append(c.part[:0], rest...)
}

// reply takes a reply to the first who waits.
func (c *storeConn) reply(value int64, err error) {
	a := c.waiting[0]
	c.began = false
	if a.seen%repliesOf == 0 {
		a.counts = append(a.counts, value)
	}
	if a.seen++; err != nil {
		a.err = err
	}
	if a.seen < repliesOf*len(a.q.counted) {
		return
	}
	c.waiting = c.waiting[1:]
	if a.err != nil {
		c.fail(a)
	} else {
		c.tell(a, a.q.decide(a.counts))
	}
}

// EOF implements loop.Handler.
func (c *storeConn) EOF() { c.drop() }

// Drained implements loop.Handler: what is queued is bounded by who waits.
func (c *storeConn) Drained() {}

// Closed implements loop.Handler.
func (c *storeConn) Closed(error) {
	c.wait.Release()
	c.conn = nil
	c.lose(upstream.Reset)
}

func (c *storeConn) fallSilent() {
	c.release()
	c.lose(upstream.Timeout)
}

// drop closes a connection whose other end is done with it, or makes no sense.
func (c *storeConn) drop() {
	c.release()
	c.lose(upstream.Reset)
}

// hangUp closes a connection that nobody needs any more, or the search for one.
func (c *storeConn) hangUp() {
	if c.ep == nil {
		return
	}
	if c.conn == nil {
		c.wait.Cancel()
	}
	c.release()
	c.lose(upstream.Abandoned)
	c.began = false
}

func (c *storeConn) release() {
	if c.conn != nil {
		c.conn.Close()
		c.conn = nil
		c.wait.Release()
	}
}

// lose ends the use of the endpoint. Who waits hears that there is no answer. A
// store may close a connection on which nobody asks.
func (c *storeConn) lose(o upstream.Outcome) {
	if o == upstream.Reset && len(c.waiting) == 0 {
		o = upstream.Success
	}
	c.ep.Done(c.loop, o)
	c.ep = nil
	c.part = c.part[:0]
	c.loop.Disarm(&c.silence)
	waiting := c.waiting
	c.waiting = nil
	c.loop.Defer(func() {
		for _, a := range waiting {
			c.fail(a)
		}
	})
}
