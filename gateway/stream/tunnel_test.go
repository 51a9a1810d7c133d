package stream

import (
	"crypto/tls"
	"crypto/x509"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"fairway.dev/gateway/hop"
	"fairway.dev/gateway/loop"
	"fairway.dev/gateway/message"
	"fairway.dev/gateway/telemetry"
	"fairway.dev/gateway/upstream"
	"fairway.dev/routing"
)

const (
	frontID  = "spiffe://cluster.local/ns/web/sa/front"
	waypoint = "spiffe://cluster.local/ns/shop/sa/waypoint"
	database = "10.96.0.7:5432"
)

// A tunnel is a client's connection that somebody has to accept.
type tunnel struct {
	*loop.PipeConn
	accepted int
}

func (t *tunnel) Accept() { t.accepted++ }

// The 200 tells that the endpoint is connected (waypoint's CONNECT, as ztunnel's).
func TestTunnelIsAcceptedWhenThereIsABackend(t *testing.T) {
	for _, reached := range []bool{true, false} {
		s := newTCPStage(t, TCPOptions{}, 1)
		s.hold = true
		near, far := loop.Pipe(s.loop)
		client, from := &end{conn: far}, &tunnel{PipeConn: near}
		far.Handle(client)
		st := s.tcp.Serve(Arrival{Conn: from, To: s.to, Kind: telemetry.StreamTCP, Peer: &message.Peer{Identity: frontID}})
		near.Handle(st)
		s.loop.Settle()
		if from.accepted > 0 {
			t.Fatal("accepted before there is a backend")
		}
		want := 1
		if !reached {
			s.fails[tcpEndpoint(1)] = loop.ErrRefused
			want = 0
		}
		s.held[0]()
		s.loop.Settle()
		if from.accepted != want || st.pair.over == reached {
			t.Errorf("reached %v: accepted %d times, over %v; want %d times", reached, from.accepted, st.pair.over, want)
		}
		if st.pair.rec.Source != frontID {
			t.Errorf("the record says that the client is %q", st.pair.rec.Source)
		}
	}
}

// A mesh is TCP before a waypoint, and what is behind that: both ends of HBONE,
// in memory.
type mesh struct {
	*tcpStage
	arrivals []hop.Arrival
	refuse   *hop.Refusal
	behind   proxyTo // the endpoints that the waypoint sends to
}

// proxyTo is what a waypoint does with a tunnel.
type proxyTo func(c *hop.Conn, a *hop.Arrival)

func (m *mesh) Generation() uint64 { return 1 }

func (m *mesh) Tunnel(_ *loop.Loop, a *hop.Arrival) (func(*hop.Conn), error) {
	m.arrivals = append(m.arrivals, *a)
	if m.refuse != nil {
		return nil, m.refuse
	}
	return func(c *hop.Conn) { m.behind(c, a) }, nil
}

func (m *mesh) Exchange(*loop.Loop, *hop.Arrival) (*message.Peer, message.Handler, error) {
	return nil, nil, &hop.Refusal{Status: 400, Reason: "a request among streams"}
}

// newMesh joins a stage, whose endpoints are behind a waypoint that speaks alpn,
// to one in front of it.
func newMesh(t *testing.T, alpn string) *mesh {
	m := &mesh{tcpStage: newTCPStage(t, TCPOptions{}, 1)}
	id, err := url.Parse("spiffe://cluster.local/ns/edge/sa/gateway")
	if err != nil {
		t.Fatal(err)
	}
	shown := tls.ConnectionState{PeerCertificates: []*x509.Certificate{{URIs: []*url.URL{id}}}, NegotiatedProtocol: alpn}
	dialer := hop.NewDialer(hop.DialerOptions{
		TLS: func(string) *tls.Config { return &tls.Config{} },
		Dial: func(l *loop.Loop, _ netip.AddrPort, _ loop.Opening, _ time.Duration, done func(hop.Conner, string, error)) func() {
			l.Defer(func() {
				ours, theirs := loop.Pipe(l)
				theirs.Handle(hop.NewServer(theirs, &message.Peer{TLS: &shown}, hop.ServerOptions{Host: m}))
				done(ours, alpn, nil)
			})
			return func() {}
		},
	})
	behind := m.to
	m.behind = func(c *hop.Conn, a *hop.Arrival) {
		c.Handle(m.tcp.Serve(Arrival{Conn: c, To: behind, Kind: telemetry.StreamTCP, Peer: &message.Peer{Remote: a.Client, Identity: a.Source}}))
	}
	front := upstream.NewSet(upstream.Options{Loops: []*loop.Loop{m.loop}, Hop: dialer, Now: m.loop.Now})
	name := routing.WaypointCluster("shop/waypoint")
	front.Put(&routing.Cluster{Name: name})
	front.PutEndpoints(&routing.Endpoints{Cluster: name, List: []routing.Endpoint{
		{Addr: netip.MustParseAddrPort("10.0.0.7:15008"), Identity: waypoint, Ready: true, Serving: true},
		{Addr: netip.MustParseAddrPort("10.0.0.8:15008"), Identity: waypoint, Ready: true, Serving: true},
	}})
	m.to.Cluster = front.Cluster(name)
	m.to.Hop = message.Hop{Target: database, Source: frontID}
	return m
}

func TestStreamsGoThroughWaypoints(t *testing.T) {
	for _, alpn := range []string{hop.Native, "h2"} {
		m := newMesh(t, alpn)
		client, backend, st := m.joined()
		client.conn.Write([]byte("SELECT 1"))
		m.loop.Settle()
		backend.want(t, alpn+": the backend", "SELECT 1")
		big := strings.Repeat("row", 1<<18)
		backend.conn.Write([]byte(big))
		backend.conn.CloseWrite()
		m.loop.Settle()
		client.want(t, alpn+": the client", big)
		if !client.eof || st.pair.over {
			t.Errorf("%s: end of one direction passed on %v, over %v; want true, false", alpn, client.eof, st.pair.over)
		}
		client.conn.CloseWrite()
		m.loop.Settle()
		if !backend.eof || !st.pair.over || st.pair.rec.Flags != 0 {
			t.Errorf("%s: the other end passed on %v, over %v with %s", alpn, backend.eof, st.pair.over, st.pair.rec.Flags)
		}
		a := m.arrivals[0]
		if len(m.arrivals) != 1 || a.Authority != database {
			t.Errorf("%s: asked for %+v, want %s", alpn, m.arrivals, database)
		}
		if told := a.Source == frontID && a.Client.Port() == 51234; told != (alpn == hop.Native) {
			t.Errorf("%s: told of %s at %s", alpn, a.Source, a.Client)
		}
	}
}

func TestResetsGoThroughWaypoints(t *testing.T) {
	for _, fromClient := range []bool{true, false} {
		m := newMesh(t, hop.Native)
		client, backend, st := m.joined()
		m.back[0].conn.Write([]byte("y"))
		m.loop.Settle()
		from, to := client, backend
		if !fromClient {
			from, to = backend, client
		}
		from.conn.Abort()
		m.loop.Settle()
		if to.err == nil || to.eof || !st.pair.over {
			t.Errorf("from the client %v: the other hears %v, EOF %v, over %v; want a reset", fromClient, to.err, to.eof, st.pair.over)
		}
		if m.tcp.loops[0].pairs != nil {
			t.Errorf("from the client %v: a stream is left", fromClient)
		}
	}
}

func TestStreamsThatWaypointsRefuse(t *testing.T) {
	answer := func(status int) func(*mesh) {
		return func(m *mesh) { m.refuse = &hop.Refusal{Status: status, Reason: "AuthorizationPolicy shop/db"} }
	}
	for name, tt := range map[string]struct {
		set   func(m *mesh)
		flags telemetry.Flags
		asked int
	}{
		"by policy":               {answer(403), telemetry.Unauthorized, 1},
		"whom it does not know":   {answer(401), telemetry.Unauthorized, 1},
		"as there is no door":     {answer(404), telemetry.UpstreamFailure, 1},
		"nobody listens":          {func(m *mesh) { m.fails[tcpEndpoint(1)] = loop.ErrRefused }, telemetry.UpstreamFailure, 2},
		"nobody said where it is": {func(m *mesh) { m.to.Hop = message.Hop{} }, telemetry.UpstreamFailure, 0},
	} {
		m := newMesh(t, hop.Native)
		tt.set(m)
		client, st := m.arrive()
		m.loop.Settle()
		if !st.pair.over || st.pair.rec.Flags != tt.flags || client.err == nil {
			t.Errorf("%s: over %v with %s, the client hears %v; want true with %s, and a reset", name, st.pair.over, st.pair.rec.Flags, client.err, tt.flags)
		}
		if len(m.arrivals) != tt.asked {
			t.Errorf("%s: asked %d times, want %d", name, len(m.arrivals), tt.asked)
		}
		if m.tcp.loops[0].pairs != nil {
			t.Errorf("%s: a stream is left", name)
		}
	}
}

// HBONE carries no datagrams, and who has to prove an identity is not sent any
// without.
func TestDatagramsDoNotGoRoundTheMesh(t *testing.T) {
	s := newUDPStage(t, UDPOptions{})
	s.set.PutEndpoints(&routing.Endpoints{Cluster: "a", List: []routing.Endpoint{{Addr: endpoint(1), Ready: true, Identity: frontID}}})
	s.send(1001, "x")
	if len(s.conns) > 0 {
		t.Error("a datagram was sent to an endpoint of the mesh")
	}
	s.wantDropped(telemetry.DropError, 1)
	s.wantSessions(0)
}
