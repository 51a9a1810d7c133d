package proxy

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net/netip"
	"strings"
	"testing"
	"time"

	"fairway.dev/gateway/loop"
	"fairway.dev/gateway/message"
	"fairway.dev/gateway/policy/ratelimit"
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

	names phonebook
	down  map[uint16]error     // ports whose dial fails, and how
	hang  map[uint16]bool      // ports whose dial never ends
	redis map[uint16]*redisEnd // ports of stores
	rules []*rule              // that were ever prepared
	room  int                  // exchanges on a connection
	tls   bool                 // of clients
	order bool                 // the route is Ordered, as a VirtualService's
	conns []*conn
	spoke []message.Proto // on connections
	calls []*call         // in the order of Open
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
	s := &stage{t: t, bind: &Bind{Key: routing.PortKey{Port: 80}}, loop: loop.NewManual(start), room: 1, names: phonebook{make(chan entry, 9)}, down: map[uint16]error{}, hang: map[uint16]bool{}}
	s.set = upstream.NewSet(upstream.Options{
		Loops: []*loop.Loop{s.loop}, Dial: s.dial, NewClient: s.newClient, Now: s.loop.Now, Watch: s.names.watch,
	})
	s.metrics = telemetry.New(telemetry.Options{})
	s.log = telemetry.NewAccessLog(s.metrics, &s.lines, telemetry.AccessLogOptions{})
	s.log.Attach(s.loop)
	o.Clusters, o.Metrics, o.AccessLog = s.set, s.metrics, s.log
	o.Limits = ratelimit.NewStore(ratelimit.Options{Start: start, Loops: []*loop.Loop{s.loop}, Clusters: s.set})
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
	for _, r := range spec.Routes {
		r.Ordered = s.order
	}
	s.put(spec)
}

// put puts a spec in force.
func (s *stage) put(spec *routing.Spec) {
	s.t.Helper()
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

func (s *stage) dial(l *loop.Loop, to netip.AddrPort, _ loop.Opening, _ time.Duration,
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
				if r := s.redis[to.Port()]; r != nil {
					r.conn = theirs
					theirs.Handle(r)
				} else {
					theirs.Handle(quiet{})
				}
				s.conns = append(s.conns, &conn{s: s, pipe: ours, port: to.Port()})
				done(ours, "", nil)
			}
		})
	}
	return func() { cancelled = true }
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

// root returns the PEM of a certificate that signs others.
func root(t *testing.T, name string) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	is := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotAfter: start.AddDate(10, 0, 0),
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, is, is, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

var errRefused = fmt.Errorf("connect: %w", loop.ErrRefused)

// isReason reports whether err is a message.Error with that reason.
func isReason(err error, why message.Reason) bool {
	var e *message.Error
	return errors.As(err, &e) && e.Reason == why
}
