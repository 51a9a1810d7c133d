package stream

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"fairway.dev/gateway/loop"
	"fairway.dev/gateway/message"
	"fairway.dev/gateway/proxy"
	"fairway.dev/gateway/resolve"
	"fairway.dev/gateway/telemetry"
	"fairway.dev/gateway/upstream"
	"fairway.dev/routing"
)

// A tcpStage is TCP on a manual loop, between pipes.
type tcpStage struct {
	t       *testing.T
	loop    *loop.Loop
	tcp     *TCP
	set     *upstream.Set
	metrics *telemetry.Metrics
	to      proxy.Destination

	fails map[netip.AddrPort]error // dials that do not connect
	hold  bool                     // dials end when the test calls them
	held  []func()
	dials []netip.AddrPort
	back  []*end // the endpoints' ends of connections

	asked chan entry // names whose addresses somebody wants
	name  string     // that the next client gives
}

// An entry is a name, and who hears of its addresses.
type entry struct {
	host    string
	changed resolve.Changed
}

func (s *tcpStage) watch(host string, changed resolve.Changed) (stop func()) {
	s.asked <- entry{host, changed}
	return func() {}
}

// An end is the far end of a connection: what it was sent, and how that ended.
type end struct {
	conn *loop.PipeConn
	got  []byte
	eof  bool
	err  error // of Closed
}

func (e *end) Data(p []byte)    { e.got = append(e.got, p...) }
func (e *end) EOF()             { e.eof = true }
func (e *end) Drained()         {}
func (e *end) Closed(err error) { e.err = err }

func newTCPStage(t *testing.T, o TCPOptions, ports ...uint16) *tcpStage {
	s := &tcpStage{t: t, loop: loop.NewManual(time.Unix(1e9, 0)), fails: map[netip.AddrPort]error{}, asked: make(chan entry, 8)}
	s.metrics = telemetry.New(telemetry.Options{})
	s.set = upstream.NewSet(upstream.Options{Loops: []*loop.Loop{s.loop}, Dial: s.dial, Now: s.loop.Now, Watch: s.watch})
	s.cluster(routing.Cluster{}, ports...)
	o.Loops, o.Metrics = []*loop.Loop{s.loop}, s.metrics
	s.tcp = NewTCP(o)
	s.to = proxy.Destination{
		Listener: &routing.Listener{Name: "l", Protocol: routing.TCP},
		Cluster:  s.set.Cluster("c"),
		Tell:     s.metrics.Exchanges(telemetry.Labels{Listener: "l"}),
	}
	return s
}

func (s *tcpStage) cluster(c routing.Cluster, ports ...uint16) {
	c.Name = "c"
	c.Balance.Kind = routing.RoundRobin
	s.set.Put(&c)
	var list []routing.Endpoint
	for _, port := range ports {
		list = append(list, routing.Endpoint{Addr: tcpEndpoint(port), Ready: true, Serving: true})
	}
	s.set.PutEndpoints(&routing.Endpoints{Cluster: "c", List: list})
}

func tcpEndpoint(port uint16) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, 1}), port)
}

func (s *tcpStage) dial(l *loop.Loop, addr netip.AddrPort, _ loop.Opening, _ time.Duration,
	done func(upstream.Conn, string, error)) func() {
	s.dials = append(s.dials, addr)
	finish := func() {
		if err := s.fails[addr]; err != nil {
			done(nil, "", err)
			return
		}
		ours, theirs := loop.Pipe(l)
		e := &end{conn: theirs}
		theirs.Handle(e)
		s.back = append(s.back, e)
		done(ours, "", nil)
	}
	if s.hold {
		s.held = append(s.held, finish)
	} else {
		l.Defer(finish)
	}
	return func() {}
}

// arrive is a client's connection.
func (s *tcpStage) arrive() (client *end, st Stream) {
	ours, theirs := loop.Pipe(s.loop)
	client = &end{conn: theirs}
	theirs.Handle(client)
	st = s.tcp.Serve(Arrival{
		Conn: ours, To: s.to, Kind: telemetry.StreamTCP, Name: s.name,
		Peer: &message.Peer{Remote: netip.MustParseAddrPort("192.0.2.7:51234")},
	})
	ours.Handle(st)
	return client, st
}

// joined is a client's connection that has a backend.
func (s *tcpStage) joined() (client, backend *end, st Stream) {
	s.t.Helper()
	client, st = s.arrive()
	s.loop.Settle()
	if len(s.back) == 0 {
		s.t.Fatal("no connection to an endpoint")
	}
	return client, s.back[len(s.back)-1], st
}

// wantOver fails the test unless the stream has ended as said, and nothing of
// it is left.
func (s *tcpStage) wantOver(st Stream, flags telemetry.Flags) {
	s.t.Helper()
	s.loop.Settle()
	if !st.pair.over || st.pair.rec.Flags != flags {
		s.t.Errorf("over = %v with flags %s, want true with %s", st.pair.over, st.pair.rec.Flags, flags)
	}
	if s.tcp.loops[0].pairs != nil {
		s.t.Error("the stream is still listed")
	}
	for _, c := range s.set.Stats() {
		left := slices.ContainsFunc(c.Endpoints, func(e upstream.EndpointStats) bool { return e.InFlight+e.Connections != 0 })
		if c.Active != 0 || left {
			s.t.Errorf("the cluster still counts %s", fmt.Sprintf("%+v", c))
		}
	}
}

func (e *end) want(t *testing.T, who, got string) {
	t.Helper()
	if string(e.got) != got {
		t.Errorf("%s has got %q, want %q", who, e.got, got)
	}
}
