package proxy

import (
	"io"
	"net/netip"
	"testing"
	"time"

	"fairway.dev/gateway/loop"
	"fairway.dev/gateway/message"
	"fairway.dev/gateway/telemetry"
	"fairway.dev/gateway/upstream"
	"fairway.dev/routing"
)

// A treadmill drives one GET after the other through a Proxy with metrics,
// access log and retries on. Its codecs cost next to nothing.
type treadmill struct {
	loop    *loop.Loop
	handler message.Handler
	req     message.Request
	fields  message.Fields // of the request, before the proxy's own
	peer    message.Peer
	conn    treadConn
	resp    message.Response
	reply   message.Fields
	status  int
	body    []byte
	upload  []byte // of the request
}

// treadConn is both a connection to a backend and the exchange on it.
type treadConn struct {
	ev   upstream.ClientEvents
	recv message.ClientReceiver
	busy bool
}

func (c *treadConn) Open(_ *message.Request, _ bool, r message.ClientReceiver) message.Stream {
	c.recv, c.busy = r, true
	return c
}

func (c *treadConn) Free() int {
	if c.busy {
		return 0
	}
	return 1
}

func (c *treadConn) Close()             {}
func (c *treadConn) Drain()             {}
func (c *treadConn) Data([]byte)        {}
func (c *treadConn) End(message.Fields) {}
func (c *treadConn) Abort(error)        {}
func (c *treadConn) Queued() int        { return 0 }
func (c *treadConn) Consumed(int)       {}

func (m *treadmill) Head(resp *message.Response, _ bool) { m.status = resp.Status }
func (m *treadmill) Data([]byte)                         {}
func (m *treadmill) End(message.Fields)                  {}
func (m *treadmill) Abort(error)                         { m.status = 0 }
func (m *treadmill) Queued() int                         { return 0 }
func (m *treadmill) Consumed(int)                        {}
func (m *treadmill) Peer() *message.Peer                 { return &m.peer }

func newTreadmill(tb testing.TB, action routing.Action) *treadmill {
	s := newStage(tb, action)
	m := &treadmill{
		loop: s.loop, body: make([]byte, 1024),
		fields: fields("User-Agent: wrk/4.1", "Accept: */*", "Accept-Encoding: gzip"),
		reply:  fields("Server: backend", "Date: Sat, 21 Nov 2026 12:00:00 GMT", "Content-Type: text/plain"),
		peer: message.Peer{
			Remote: netip.MustParseAddrPort("192.0.2.7:5000"), RemoteIP: "192.0.2.7", Listener: &Bind{Key: routing.PortKey{Port: 80}},
		},
	}
	set := upstream.NewSet(upstream.Options{
		Loops: []*loop.Loop{s.loop}, Dial: s.dial, Now: s.loop.Now,
		NewClient: func(_ upstream.Conn, _ message.Proto, ev upstream.ClientEvents) message.Client {
			m.conn.ev = ev
			return &m.conn
		},
	})
	set.Put(&routing.Cluster{Name: "a", Protocol: routing.UpstreamHTTP1})
	set.PutEndpoints(&routing.Endpoints{Cluster: "a", List: []routing.Endpoint{{Addr: addr(1), Ready: true, Serving: true}}})
	metrics := telemetry.New(telemetry.Options{})
	log := telemetry.NewAccessLog(metrics, io.Discard, telemetry.AccessLogOptions{})
	log.Attach(s.loop)
	s.proxy.o.Clusters, s.proxy.o.Metrics, s.proxy.o.AccessLog = set, metrics, log
	l := listener
	snap, _ := routing.Compile(specOn([]*routing.Listener{&l}, routing.Rule{Action: action}))
	s.proxy.Prepare(snap)
	s.proxy.Publish(snap)
	m.handler = s.handler
	m.get() // opens the connection
	return m
}

// get is one exchange.
func (m *treadmill) get() {
	m.req.Reset()
	m.req.Method, m.req.Scheme, m.req.Authority, m.req.Path = "GET", "http", "shop.example", "/api/items/7"
	m.req.Proto = message.HTTP11
	m.req.Fields = append(m.req.Fields, m.fields...)
	m.status = 0
	e := m.handler.Exchange(m, &m.req, len(m.upload) == 0)
	if len(m.upload) > 0 {
		e.Data(m.upload)
		e.End(nil)
	}
	if m.conn.recv == nil {
		m.loop.Settle()
	}
	m.resp.Status, m.resp.Length = 200, int64(len(m.body))
	m.resp.Fields = append(m.resp.Fields[:0], m.reply...)
	r := m.conn.recv
	r.Head(&m.resp, false)
	r.Data(m.body)
	r.End(nil)
	m.conn.busy = false
	m.conn.ev.Free()
	m.loop.Advance(time.Millisecond)
}

func everything() routing.Action {
	a := to("a")
	a.Request = routing.HeaderChange{Set: []routing.Header{{Name: "X-Env", Value: "prod"}}, Remove: []string{"x-secret"}}
	a.Response = routing.HeaderChange{Add: []routing.Header{{Name: "X-Served-By", Value: "fairway"}}}
	a.Rewrite = &routing.Rewrite{Path: routing.PathEdit{Prefix: ptr("/v2")}, Host: "inner.example"}
	a.CORS = &routing.CORS{AllowOrigins: []string{app}}
	a.Timeouts = routing.Timeouts{Request: time.Minute, Backend: time.Minute}
	a.Session = &routing.Session{Name: "sid"}
	a.Retry = &routing.Retry{Attempts: 2, Codes: []int{503}}
	return a
}

func TestExchangeDoesNotAllocate(t *testing.T) {
	for name, action := range map[string]routing.Action{"plain": to("a"), "all filters": everything()} {
		m := newTreadmill(t, action)
		for range 1000 { // fills what is kept
			m.get()
		}
		if n := testing.AllocsPerRun(1000, m.get); n != 0 {
			t.Errorf("%s: an exchange allocates %v times, want 0", name, n)
		}
		if m.status != 200 {
			t.Errorf("%s: status %d, want 200", name, m.status)
		}
		m.upload = make([]byte, 20<<10)
		m.get()
		if n := testing.AllocsPerRun(1000, m.get); n != 0 {
			t.Errorf("%s: an exchange with a body allocates %v times, want 0", name, n)
		}
	}
}

func BenchmarkExchange(b *testing.B) {
	for _, bb := range []struct {
		name   string
		action routing.Action
	}{{"plain", to("a")}, {"all filters", everything()}} {
		b.Run(bb.name, func(b *testing.B) {
			m := newTreadmill(b, bb.action)
			b.ReportAllocs()
			for b.Loop() {
				m.get()
			}
		})
	}
}
