package proxy

import (
	"math/rand/v2"
	"net/http"
	"sync/atomic"

	"fairway.dev/gateway/loop"
	"fairway.dev/gateway/message"
	"fairway.dev/gateway/policy/authz"
	"fairway.dev/gateway/policy/jwt"
	"fairway.dev/gateway/policy/ratelimit"
	"fairway.dev/routing"
)

// A local is what one loop has of a Proxy: the Handler of its connections, and
// memory that is used again. Nothing of it is touched by another goroutine,
// but for shown.
type local struct {
	proxy *Proxy
	loop  *loop.Loop
	index int

	active   int // exchanges under way
	shown    atomic.Int64
	mirrored int // mirrors under way

	rng    rand.PCG
	known  known
	faces  faces
	match  routing.Request
	proven jwt.Cache

	attributes authz.Attributes
	countable  ratelimit.Attributes
	reply      message.Response // an answer of our own
	scratch    []byte
	second     int64 // of date
	date       [len(http.TimeFormat)]byte

	exchanges []*exchange // free
	tries     []*try      // free
	mirrors   []*mirror   // free
	inquiries []*inquiry  // free
	counts    []*count    // free
	buffers   [][]byte    // free
}

// What is kept of what is used no more.
const (
	keepObjects = 4096
	keepBuffers = 64
)

// Exchange begins an exchange. It implements message.Handler.
func (l *local) Exchange(s message.ServerStream, req *message.Request, last bool) message.Receiver {
	e := l.takeExchange()
	e.begin(s, req, last)
	if e.over {
		return deaf{}
	}
	return e
}

// deaf is the Receiver of an exchange that was over before there was one: the
// exchange itself may be another's by now.
type deaf struct{}

func (deaf) Data([]byte)        {}
func (deaf) End(message.Fields) {}
func (deaf) Abort(error)        {}
func (deaf) Drained()           {}

func (l *local) takeExchange() *exchange {
	l.active++
	l.shown.Store(int64(l.active))
	if n := len(l.exchanges); n > 0 {
		e := l.exchanges[n-1]
		l.exchanges = l.exchanges[:n-1]
		e.over = false
		return e
	}
	e := &exchange{on: l}
	e.deadline.Fire = e.timedOut
	e.idle.Fire = e.stoodStill
	e.pause.Fire = e.paused
	return e
}

func (l *local) putExchange(e *exchange) {
	l.active--
	l.shown.Store(int64(l.active))
	e.life = life{mirrors: e.mirrors[:0]}
	if len(l.exchanges) < keepObjects {
		l.exchanges = append(l.exchanges, e)
		return
	}
	l.loop.Drop(&e.deadline)
	l.loop.Drop(&e.idle)
	l.loop.Drop(&e.pause)
}

func (l *local) takeTry() *try {
	if n := len(l.tries); n > 0 {
		t := l.tries[n-1]
		l.tries = l.tries[:n-1]
		return t
	}
	t := &try{on: l}
	t.wait.Waiter = t
	t.timer.Fire = t.expired
	return t
}

func (l *local) putTry(t *try) {
	t.attempt = attempt{}
	if len(l.tries) < keepObjects {
		l.tries = append(l.tries, t)
		return
	}
	l.loop.Drop(&t.timer)
}

// takeBuffer returns an empty buffer for a body that has to wait.
func (l *local) takeBuffer() []byte {
	if n := len(l.buffers); n > 0 {
		b := l.buffers[n-1]
		l.buffers = l.buffers[:n-1]
		return b
	}
	return make([]byte, 0, 4<<10)
}

func (l *local) putBuffer(b []byte) {
	if b != nil && cap(b) <= 2*replayLimit && len(l.buffers) < keepBuffers {
		l.buffers = append(l.buffers, b[:0])
	}
}

// below returns a random number below n.
func (l *local) below(n uint64) uint64 { return l.rng.Uint64() % n }

// putDate adds the Date field that a response lacks, as who forwards it must
// (RFC 9110 section 6.6.1). Its value is valid for this second.
func (l *local) putDate(f *message.Fields) {
	if f.Has(message.Date) {
		return
	}
	now := l.loop.Now()
	if s := now.Unix(); s != l.second {
		l.second = s
		now.UTC().AppendFormat(l.date[:0], http.TimeFormat)
	}
	f.Add(message.Date, message.Text(l.date[:]))
}
