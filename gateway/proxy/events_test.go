package proxy

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"fairway.dev/gateway/message"
	"fairway.dev/routing"
)

// A storm lets things happen to exchanges in an order that bytes choose. The
// codecs of the stage hold the proxy to the laws of package message.
type storm struct {
	*stage
	bytes   []byte
	clients []*client
	begun   int
}

// next returns a number below n.
func (w *storm) next(n int) int {
	if len(w.bytes) == 0 {
		return 0
	}
	b := int(w.bytes[0])
	w.bytes = w.bytes[1:]
	return b % n
}

func (w *storm) action() routing.Action {
	a := to([]routing.ClusterName{"a", "a", "b", "empty"}[w.next(4)])
	switch w.next(4) {
	case 1:
		a.Retry = &routing.Retry{}
	case 2:
		a.Retry = &routing.Retry{Attempts: 2, Codes: []int{503}}
	case 3:
		a.Retry = &routing.Retry{Attempts: 3, Codes: []int{500, 502, 503, 504}, Backoff: time.Second}
	}
	if w.next(4) == 0 {
		half := routing.Share{Numerator: 1, Denominator: 2}
		a.Fault = &routing.Fault{Delay: 2 * time.Second, DelayShare: half, Status: 503, AbortShare: half}
	}
	options := w.next(64)
	if options&1 != 0 {
		a.Timeouts.Request = 5 * time.Second
	}
	if options&2 != 0 {
		a.Timeouts.Backend = 2 * time.Second
	}
	if options&4 != 0 {
		a.Mirrors = []routing.Mirror{{Cluster: "a", Numerator: 1, Denominator: 1}, {Cluster: "b", Numerator: 1, Denominator: 2}}
	}
	if options&8 != 0 {
		a.Session = &routing.Session{Name: "sid", Idle: time.Minute}
	}
	if options&16 != 0 {
		a.CORS = &routing.CORS{AllowOrigins: []string{"*"}}
	}
	if options&32 != 0 {
		a.Rewrite = &routing.Rewrite{Host: "inner.example", Path: routing.PathEdit{Prefix: ptr("/x")}}
	}
	return a
}

var kinds = [][]string{
	nil, {"Content-Type: application/grpc"}, {"Upgrade: websocket"}, {"Origin: https://o.example"},
	{"Origin: https://o.example", "Access-Control-Request-Method: PUT"}, {"Idempotency-Key: 1"},
}

func (w *storm) begin() {
	method := []string{"GET", "POST", "PUT", "HEAD", "OPTIONS"}[w.next(5)]
	c := w.request(method, "/a/../b?x=1", kinds[w.next(len(kinds))]...)
	c.sent = w.next(2) == 0 && c.req.Upgrade == ""
	if !c.sent {
		c.req.Length = message.Unknown
	}
	w.begun++
	recv := w.handler.Exchange(c, c.req, c.sent)
	if !c.done() {
		c.recv = recv
		w.clients = append(w.clients, c)
	}
}

var reasons = []*message.Error{
	{Reason: message.Gone}, {Reason: message.Reset}, {Reason: message.Refused}, {Reason: message.Malformed},
	{Reason: message.Gone, Unused: true}, {Reason: message.Slow},
}

// step lets one thing happen.
func (w *storm) step() {
	switch kind := w.next(16); {
	case kind == 0 && w.begun < 12:
		w.begin()
	case kind == 1:
		w.loop.Settle()
	case kind == 2:
		w.pass([]time.Duration{time.Millisecond, 100 * time.Millisecond, 3 * time.Second, time.Minute}[w.next(4)])
	case kind == 3:
		port := uint16(1 + w.next(3))
		if w.down[port] = errRefused; w.next(2) == 0 {
			delete(w.down, port)
		}
	case kind == 4 && w.next(8) == 0:
		w.serve(routing.Rule{Action: w.action()})
	case kind < 9:
		w.clientEvent()
	default:
		w.backendEvent()
	}
}

func (w *storm) clientEvent() {
	if len(w.clients) == 0 {
		return
	}
	i := w.next(len(w.clients))
	c := w.clients[i]
	if c.recv == nil {
		w.clients = append(w.clients[:i], w.clients[i+1:]...)
		return
	}
	switch w.next(6) {
	case 0:
		c.leave([]message.Reason{message.Gone, message.Malformed, message.Slow, message.TooLarge}[w.next(4)])
	case 1:
		c.queued = message.HighWater + 1
	case 2:
		c.queued = 0
		c.recv.Drained()
	case 3:
		if !c.sent && (c.req.Upgrade == "" || c.tunnel()) {
			c.finish("T: 1")
		}
	default:
		if !c.sent {
			c.recv.Data(make([]byte, []int{1, 1000, 40 << 10}[w.next(3)]))
		}
	}
}

func (w *storm) backendEvent() {
	var live []*call
	for _, b := range w.calls {
		if !b.over && !b.answered {
			live = append(live, b)
		}
	}
	if len(live) == 0 {
		return
	}
	b := live[w.next(len(live))]
	switch kind := w.next(8); {
	case kind == 0:
		b.abort(reasons[w.next(len(reasons))])
	case kind == 1:
		b.queued = message.HighWater + 1
	case kind == 2:
		b.queued = 0
		b.recv.Drained()
	case !b.headed:
		w.backendHead(b)
	case kind == 3:
		b.end("grpc-status: 0")
	default:
		b.data(string(make([]byte, []int{1, 100 << 10}[w.next(2)])))
	}
}

func (w *storm) backendHead(b *call) {
	switch w.next(6) {
	case 0:
		b.head(103, false)
	case 1:
		b.head(101, false)
	case 2:
		b.head(503, w.next(2) == 0)
	case 3:
		b.head(200, true, "grpc-status: 14")
	default:
		b.head(200, w.next(2) == 0, "Access-Control-Allow-Origin: *")
	}
}

// calm ends everything, and checks that nothing is left.
func (w *storm) calm() {
	for _, c := range w.clients {
		if c.recv != nil {
			c.leave(message.Gone)
		}
	}
	w.pass(10 * time.Minute)
	if n := w.proxy.Active(); n != 0 {
		w.t.Errorf("%d exchanges are left", n)
	}
	if n := w.mirrors(); n != 0 {
		w.t.Errorf("%d mirrors are left", n)
	}
	for _, b := range w.calls {
		if !b.over {
			w.t.Errorf("a call to port %d is left", b.port)
		}
	}
	for _, c := range w.set.Stats() {
		if c.Active != 0 || c.Pending != 0 {
			w.t.Errorf("cluster %s: %d active, %d pending, want none", c.Name, c.Active, c.Pending)
		}
		for _, ep := range c.Endpoints {
			if ep.InFlight != 0 {
				w.t.Errorf("endpoint %s: %d in flight, want 0", ep.Addr, ep.InFlight)
			}
		}
	}
	for _, r := range w.rules {
		for _, s := range r.shares {
			if u := s.uses[0]; u.active != 0 || u.retrying != 0 {
				w.t.Errorf("a share has %d exchanges, %d of them retrying, want none", u.active, u.retrying)
			}
		}
	}
	w.checkFree()
	if n := len(w.records()); n != w.begun {
		w.t.Errorf("%d records of %d exchanges", n, w.begun)
	}
}

// checkFree checks that what is free is in no list and on no clock.
func (w *storm) checkFree() {
	l := w.handler.(*local)
	for _, e := range l.exchanges {
		if e.deadline.Armed() || e.idle.Armed() || e.pause.Armed() || e.try != nil || !e.over {
			w.t.Error("a free exchange goes on")
		}
	}
	for _, t := range l.tries {
		if t.timer.Armed() || t.e != nil || t.up != nil {
			w.t.Error("a free try goes on")
		}
	}
	for _, m := range l.mirrors {
		if m.timer.Armed() || m.up != nil {
			w.t.Error("a free mirror goes on")
		}
	}
}

func runStorm(t *testing.T, bytes []byte) {
	w := &storm{bytes: bytes}
	w.stage = newStageWith(t, Options{MaxExchanges: 10})
	w.room = 1 + w.next(3)
	w.serve(routing.Rule{Action: w.action()})
	for len(w.bytes) > 0 && !t.Failed() {
		w.step()
	}
	w.calm()
}

// TestStorms is the fuzzer below with events that are the same each time.
func TestStorms(t *testing.T) {
	for seed := range uint64(400) {
		rng := rand.NewPCG(seed, 0)
		bytes := make([]byte, 400)
		for i := range bytes {
			bytes[i] = byte(rng.Uint64())
		}
		if !t.Run(fmt.Sprint(seed), func(t *testing.T) { runStorm(t, bytes) }) {
			return
		}
	}
}

func FuzzStorm(f *testing.F) {
	f.Add([]byte("0123456789abcdefghijklmnopqrstuvwxyz"))
	f.Fuzz(func(t *testing.T, bytes []byte) {
		if len(bytes) <= 4000 {
			runStorm(t, bytes)
		}
	})
}
