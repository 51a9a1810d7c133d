package proxy

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"fairway.dev/gateway/loop"
	"fairway.dev/gateway/message"
	"fairway.dev/gateway/telemetry"
	"fairway.dev/gateway/upstream"
	"fairway.dev/routing"
)

// A stage is a Proxy on a manual loop between made-up clients and backends,
// whose codecs hold the proxy to the laws of package message.
type stage struct {
	t       testing.TB
	loop    *loop.Loop
	set     *upstream.Set
	proxy   *Proxy
	handler message.Handler
	bind    *Bind
	metrics *telemetry.Metrics
	log     *telemetry.AccessLog
	lines   bytes.Buffer

	down  map[uint16]error // ports whose dial fails, and how
	hang  map[uint16]bool  // ports whose dial never ends
	rules []*rule          // that were ever prepared
	room  int              // exchanges on a connection
	tls   bool             // of clients
	conns []*conn
	calls []*call // in the order of Open
}

var start = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

// listener is the one that all rules of a stage are attached to.
var listener = routing.Listener{Name: "ns/gw/http", Gateway: "ns/gw", Port: 80, Protocol: routing.HTTP}

// newStage serves one rule that takes every request. Cluster "a" has endpoints
// on ports 1 to 3, "b" on 11, "empty" none.
func newStage(t testing.TB, action routing.Action) *stage {
	return newStageWith(t, Options{}, routing.Rule{Action: action})
}

func newStageWith(t testing.TB, o Options, rules ...routing.Rule) *stage {
	s := &stage{t: t, bind: &Bind{Key: routing.PortKey{Port: 80}}, loop: loop.NewManual(start), room: 1, down: map[uint16]error{}, hang: map[uint16]bool{}}
	s.set = upstream.NewSet(upstream.Options{
		Loops: []*loop.Loop{s.loop}, Dial: s.dial, NewClient: s.newClient, Now: s.loop.Now,
	})
	s.metrics = telemetry.New(telemetry.Options{})
	s.log = telemetry.NewAccessLog(s.metrics, &s.lines, telemetry.AccessLogOptions{})
	s.log.Attach(s.loop)
	o.Clusters, o.Metrics, o.AccessLog = s.set, s.metrics, s.log
	s.proxy = New(o)
	s.handler = s.proxy.Handler(s.loop)
	s.serve(rules...)
	t.Cleanup(func() {
		if n := s.proxy.Active(); n != 0 {
			t.Errorf("%d exchanges are left over", n)
		}
	})
	return s
}

// newTLSStage serves cluster "a" on two HTTPS listeners, for a.example and for
// b.example.
func newTLSStage(t testing.TB) *stage {
	s := newStage(t, to("a"))
	s.tls = true
	var listeners []*routing.Listener
	for _, name := range []string{"a", "b"} {
		l := listener
		l.Name = routing.ListenerName("ns/gw/" + name)
		l.Protocol, l.Hostname, l.TLS = routing.HTTPS, name+".example", &routing.ListenerTLS{}
		listeners = append(listeners, &l)
	}
	s.serveOn(listeners, routing.Rule{Action: to("a")})
	return s
}

// serve puts rules in force in place of those before.
func (s *stage) serve(rules ...routing.Rule) {
	s.t.Helper()
	l := listener
	s.serveOn([]*routing.Listener{&l}, rules...)
}

func (s *stage) serveOn(listeners []*routing.Listener, rules ...routing.Rule) {
	s.t.Helper()
	spec := specOn(listeners, rules...)
	for _, c := range spec.Clusters {
		s.set.Put(c)
		s.set.PutEndpoints(spec.Endpoints[c.Name])
	}
	snap, problems := routing.Compile(spec)
	for _, p := range problems {
		s.t.Log(p)
	}
	s.proxy.Prepare(snap)
	for _, t := range snap.Fresh() {
		s.rules = append(s.rules, t.Prepared.(*rule))
	}
	s.proxy.Publish(snap)
}

// specOn is one route on listeners, and all clusters.
func specOn(listeners []*routing.Listener, rules ...routing.Rule) *routing.Spec {
	route := &routing.Route{Name: "HTTPRoute/ns/r", Rules: rules}
	spec := &routing.Spec{
		Listeners: map[routing.ListenerName]*routing.Listener{},
		Routes:    map[routing.RouteName]*routing.Route{route.Name: route},
		Clusters:  map[routing.ClusterName]*routing.Cluster{},
		Endpoints: map[routing.ClusterName]*routing.Endpoints{},
	}
	for _, l := range listeners {
		spec.Listeners[l.Name] = l
		host := l.Hostname
		if host == "" {
			host = "*"
		}
		route.Attached = append(route.Attached, routing.Attachment{Listener: l.Name, Hosts: []string{host}})
	}
	for name, ports := range map[routing.ClusterName][]uint16{"a": {1, 2, 3}, "b": {11}, "empty": nil} {
		c := &routing.Cluster{Name: name, Protocol: routing.UpstreamHTTP1, Service: string(name), Namespace: "ns",
			Balance: routing.Balance{Kind: routing.RoundRobin}, Ejection: routing.Ejection{Off: true}}
		if name == "b" {
			c.Limits.Requests = 2
		}
		e := &routing.Endpoints{Cluster: name}
		for _, port := range ports {
			e.List = append(e.List, routing.Endpoint{Addr: addr(port), Ready: true, Serving: true})
		}
		spec.Clusters[name], spec.Endpoints[name] = c, e
	}
	return spec
}

func addr(port uint16) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, 1}), port)
}

// to is the action that sends everything to a cluster.
func to(cluster routing.ClusterName) routing.Action {
	return routing.Action{Backends: []routing.Backend{{Cluster: cluster, Weight: 1}}}
}

func (s *stage) dial(l *loop.Loop, to netip.AddrPort, _ *tls.Config, _ time.Duration,
	done func(upstream.Conn, string, error)) func() {
	cancelled := false
	if !s.hang[to.Port()] {
		l.Defer(func() {
			switch err := s.down[to.Port()]; {
			case cancelled:
			case err != nil:
				done(nil, "", err)
			default:
				ours, theirs := loop.Pipe(l)
				theirs.Handle(quiet{})
				s.conns = append(s.conns, &conn{s: s, pipe: ours, port: to.Port()})
				done(ours, "", nil)
			}
		})
	}
	return func() { cancelled = true }
}

// quiet is the handler of a connection's other end: nothing is said on it, as
// the codecs are made up.
type quiet struct{}

func (quiet) Data([]byte)  {}
func (quiet) EOF()         {}
func (quiet) Drained()     {}
func (quiet) Closed(error) {}

// A conn is a connection to a backend: a message.Client.
type conn struct {
	s      *stage
	pipe   upstream.Conn
	port   uint16
	ev     upstream.ClientEvents
	busy   int
	served int
	drains bool
	closed bool
}

func (s *stage) newClient(c upstream.Conn, _ message.Proto, ev upstream.ClientEvents) message.Client {
	for _, x := range s.conns {
		if x.pipe == c {
			x.ev = ev
			return x
		}
	}
	s.t.Fatal("a client for a connection that nobody dialed")
	return nil
}

func (c *conn) Free() int {
	if c.closed || c.drains {
		return 0
	}
	return c.s.room - c.busy
}

func (c *conn) Drain() {
	c.drains = true
	if c.busy == 0 {
		c.Close()
	}
}

func (c *conn) Close() {
	if !c.closed {
		c.closed = true
		c.pipe.Close()
		c.s.loop.Defer(func() { c.ev.Closed(nil) })
	}
}

func (c *conn) Open(req *message.Request, last bool, r message.ClientReceiver) message.Stream {
	if c.Free() == 0 {
		c.s.t.Fatal("Open on a connection that is not free")
	}
	c.busy++
	x := &call{conn: c, recv: r, ended: last, port: c.port, reused: c.served > 0, upgrade: req.Upgrade != ""}
	c.served++
	x.req = snapshotRequest(req)
	if req.Upgrade != "" && last {
		c.s.t.Error("a request for an upgrade was opened as the last of its message")
	}
	c.s.calls = append(c.s.calls, x)
	return x
}

// snapshotRequest copies a head out of the memory that is used again.
func snapshotRequest(req *message.Request) message.Request {
	r := *req
	for _, s := range []*string{&r.Method, &r.Scheme, &r.Authority, &r.Path, &r.Query} {
		*s = strings.Clone(*s)
	}
	r.Fields = nil
	for _, f := range req.Fields {
		r.Fields = append(r.Fields, message.Field{Text: strings.Clone(f.Text), Value: strings.Clone(f.Value), ID: f.ID})
	}
	return r
}

// A call is an exchange as a backend's codec has it: a message.Stream.
type call struct {
	conn   *conn
	recv   message.ClientReceiver
	req    message.Request
	port   uint16
	reused bool

	body     string
	trailers message.Fields
	ended    bool
	aborted  error
	queued   int
	consumed int

	upgrade, tunnel bool
	headed          bool
	answered        bool // the response ended, or was aborted
	over            bool
}

func (c *call) Data(p []byte) {
	if c.over || c.ended {
		c.conn.s.t.Errorf("Data to the backend after the end (over %v, ended %v)", c.over, c.ended)
	}
	if c.upgrade && !c.tunnel {
		c.conn.s.t.Error("Data before the backend switched protocols")
	}
	c.body += string(p)
}

func (c *call) End(trailers message.Fields) {
	if c.over || c.ended {
		c.conn.s.t.Errorf("End to the backend after the end (over %v, ended %v)", c.over, c.ended)
	}
	c.ended = true
	c.trailers = append(c.trailers, trailers...)
	c.free()
}

func (c *call) Abort(err error) {
	if c.over {
		c.conn.s.t.Error("Abort to the backend after the end")
		return
	}
	c.aborted = err
	c.over = true
	c.conn.busy--
	c.conn.Close()
}

func (c *call) Queued() int { return c.queued }

func (c *call) Consumed(n int) {
	if c.over {
		c.conn.s.t.Error("Consumed to the backend after the end")
	}
	c.consumed += n
}

// free gives the connection back once both directions have ended.
func (c *call) free() {
	if c.over || !c.ended || !c.answered {
		return
	}
	c.over = true
	c.conn.busy--
	if c.tunnel {
		c.conn.Close()
		return
	}
	c.conn.s.loop.Defer(c.conn.ev.Free)
}

// head sends a response's head, whose fields are "Name: value" lines.
func (c *call) head(status int, last bool, lines ...string) {
	resp := &message.Response{Status: status, Length: message.Unknown, Proto: message.HTTP11}
	var b arena
	for _, line := range lines {
		name, value, _ := strings.Cut(line, ": ")
		resp.Fields.Append(b.hold(name), b.hold(value))
	}
	c.headed = status >= 200 || status == 101
	c.tunnel = status == 101
	c.answered = last
	c.recv.Head(resp, last)
	b.poison()
	c.free()
}

func (c *call) data(p string) {
	b := []byte(p)
	c.recv.Data(b)
	clear(b)
}

func (c *call) end(lines ...string) {
	c.answered = true
	c.recv.End(fields(lines...))
	c.free()
}

// abort breaks the response off.
func (c *call) abort(why *message.Error) {
	c.answered = true
	c.recv.Abort(why)
	if !c.ended && c.aborted == nil {
		c.conn.s.t.Error("the proxy did not make the last call on an aborted stream")
	}
	if !c.over {
		c.over = true
		c.conn.busy--
	}
	c.conn.Close()
}

// reply answers with a whole response.
func (c *call) reply(status int, body string) {
	if body == "" {
		c.head(status, true)
		return
	}
	c.head(status, false)
	c.data(body)
	c.end()
}

func fields(lines ...string) message.Fields {
	var f message.Fields
	for _, line := range lines {
		name, value, _ := strings.Cut(line, ": ")
		f.Append(name, value)
	}
	return f
}

// An arena is a codec's memory, which it uses again.
type arena struct{ parts [][]byte }

func (a *arena) hold(s string) string {
	b := []byte(s)
	a.parts = append(a.parts, b)
	return message.Text(b)
}

func (a *arena) poison() {
	for _, b := range a.parts {
		for i := range b {
			b[i] = '!'
		}
	}
}

// A client is an exchange as a client's codec has it: a message.ServerStream.
type client struct {
	s    *stage
	req  *message.Request
	mem  arena
	peer message.Peer
	recv message.Receiver

	interim  []int
	resp     message.Response
	headed   bool
	body     string
	trailers message.Fields
	ended    bool
	aborted  error
	queued   int
	consumed int
	sent     bool // the request ended
	gone     bool // the codec has aborted the request
}

// request makes a client with a request, whose lines are fields; "Host: " is
// the authority.
func (s *stage) request(method, target string, lines ...string) *client {
	c := &client{s: s}
	c.peer = message.Peer{
		Remote: netip.MustParseAddrPort("192.0.2.7:5000"), RemoteIP: "192.0.2.7",
		Local: netip.MustParseAddrPort("192.0.2.1:80"), Listener: s.bind,
	}
	scheme := "http"
	if s.tls {
		scheme, c.peer.TLS = "https", &tls.ConnectionState{}
	}
	path, query, ok := strings.Cut(target, "?")
	if ok {
		query = "?" + query
	}
	c.req = &message.Request{
		Method: c.mem.hold(method), Scheme: scheme, Authority: c.mem.hold("shop.example"),
		Path: c.mem.hold(path), Query: c.mem.hold(query), Proto: message.HTTP11,
	}
	for _, line := range lines {
		name, value, _ := strings.Cut(line, ": ")
		switch name {
		case "Host":
			c.req.Authority = c.mem.hold(value)
		case "Upgrade":
			c.req.Upgrade = c.mem.hold(value)
		default:
			c.req.Fields.Append(c.mem.hold(name), c.mem.hold(value))
		}
	}
	return c
}

// send begins the exchange of a request without a body.
func (c *client) send() *client {
	c.sent = c.req.Upgrade == ""
	return c.begin(c.sent)
}

// open begins the exchange of a request whose body is to come.
func (c *client) open() *client {
	c.req.Length = message.Unknown
	return c.begin(false)
}

func (c *client) begin(last bool) *client {
	recv := c.s.handler.Exchange(c, c.req, last)
	if !c.done() {
		c.recv = recv
	}
	c.s.loop.Settle()
	return c
}

// get sends a GET.
func (s *stage) get(target string, lines ...string) *client {
	return s.request("GET", target, lines...).send()
}

func (c *client) done() bool { return c.ended || c.aborted != nil }

// over takes the request away, as codecs do.
func (c *client) over() {
	c.recv = nil
	c.mem.poison()
}

func (c *client) tunnel() bool { return c.resp.Status == 101 }

func (c *client) Peer() *message.Peer { return &c.peer }
func (c *client) Queued() int         { return c.queued }

func (c *client) Consumed(n int) {
	if c.done() && !c.tunnel() {
		c.s.t.Error("Consumed to the client after the end")
	}
	c.consumed += n
}

func (c *client) Head(resp *message.Response, last bool) {
	if c.done() || c.headed || c.gone {
		c.s.t.Errorf("Head %d to the client after the end (headed %v, gone %v)", resp.Status, c.headed, c.gone)
	}
	if resp.Status < 200 && resp.Status != 101 {
		c.interim = append(c.interim, resp.Status)
		return
	}
	c.headed = true
	r := *resp
	r.Fields = nil
	for _, f := range resp.Fields {
		r.Fields = append(r.Fields, message.Field{Text: strings.Clone(f.Text), Value: strings.Clone(f.Value), ID: f.ID})
	}
	c.resp = r
	if last {
		c.ended = true
		c.over()
	}
}

func (c *client) Data(p []byte) {
	if c.done() || !c.headed || c.gone {
		c.s.t.Error("Data to the client out of turn")
	}
	c.body += string(p)
}

func (c *client) End(trailers message.Fields) {
	if c.done() || !c.headed {
		c.s.t.Error("End to the client out of turn")
	}
	c.ended = true
	c.trailers = append(c.trailers, trailers...)
	if !c.tunnel() || c.sent {
		c.over()
	}
}

func (c *client) Abort(err error) {
	if c.aborted != nil || c.ended && !c.tunnel() {
		c.s.t.Error("Abort to the client after the end")
	}
	c.aborted = err
	c.over()
}

// upload sends body bytes.
func (c *client) upload(p string) {
	b := []byte(p)
	c.recv.Data(b)
	clear(b)
	c.s.loop.Settle()
}

func (c *client) finish(lines ...string) {
	c.sent = true
	both := c.tunnel() && c.ended
	c.recv.End(fields(lines...))
	if both {
		c.over()
	}
	c.s.loop.Settle()
}

// leave goes away, or breaks the protocol.
func (c *client) leave(why message.Reason) {
	c.gone = true
	c.recv.Abort(&message.Error{Reason: why})
	if c.aborted == nil && !c.ended {
		c.s.t.Error("the proxy did not make the last call on an aborted stream")
	}
	c.over()
	c.s.loop.Settle()
}

// field returns the values of a response's field.
func (c *client) field(name string) string {
	v, _ := c.resp.Fields.Value(strings.ToLower(name))
	return v
}

// header returns the values of a request's field, as the backend got it.
func (c *call) header(name string) string {
	v, _ := c.req.Fields.Value(strings.ToLower(name))
	return v
}

// only returns the one call that there was.
func (s *stage) only() *call {
	s.t.Helper()
	if len(s.calls) != 1 {
		s.t.Fatalf("%d calls to backends, want 1", len(s.calls))
	}
	return s.calls[0]
}

// call returns the i-th call.
func (s *stage) call(i int) *call {
	s.t.Helper()
	if len(s.calls) <= i {
		s.t.Fatalf("%d calls to backends, want %d at least", len(s.calls), i+1)
	}
	return s.calls[i]
}

// pass lets time pass.
func (s *stage) pass(d time.Duration) { s.loop.Advance(d) }

// A line is what the access log says of an exchange.
type line struct {
	Method, Authority, Path, Flags, Endpoint, Cluster, Listener string

	Status    int
	GRPC      *int    `json:"grpc_status"`
	In        int     `json:"bytes_in"`
	Out       int     `json:"bytes_out"`
	Duration  float64 `json:"duration_ms"`
	Upstream  float64 `json:"upstream_ms"`
	Attempts  int
	RequestID string `json:"request_id"`
	UserAgent string `json:"user_agent"`
}

// records returns what was logged, once all is over.
func (s *stage) records() []line {
	s.t.Helper()
	s.log.Flush(0)
	if err := s.log.Close(context.Background()); err != nil {
		s.t.Fatal(err)
	}
	var list []line
	for text := range strings.Lines(s.lines.String()) {
		var l line
		if err := json.Unmarshal([]byte(text), &l); err != nil {
			s.t.Fatalf("%s: %v", text, err)
		}
		list = append(list, l)
	}
	return list
}

// record returns the one record that there is.
func (s *stage) record() line {
	s.t.Helper()
	list := s.records()
	if len(list) != 1 {
		s.t.Fatalf("%d records, want 1", len(list))
	}
	return list[0]
}

// want checks the outcome of a stage's one exchange in short: its status and flags.
func (s *stage) want(c *client, status int, flags string) {
	s.t.Helper()
	if c.resp.Status != status {
		s.t.Errorf("the client got status %d, want %d", c.resp.Status, status)
	}
	r := s.record()
	if r.Status != status || r.Flags != flags {
		s.t.Errorf("record has status %d, flags %q, want %d, %q", r.Status, r.Flags, status, flags)
	}
}

var errRefused = fmt.Errorf("connect: %w", loop.ErrRefused)

// isReason reports whether err is a message.Error with that reason.
func isReason(err error, why message.Reason) bool {
	var e *message.Error
	return errors.As(err, &e) && e.Reason == why
}
