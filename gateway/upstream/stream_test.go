package upstream

import (
	"errors"
	"net/netip"
	"slices"
	"testing"
	"time"

	"fairway.dev/gateway/loop"
	"fairway.dev/gateway/message"
	"fairway.dev/gateway/proxyproto"
	"fairway.dev/routing"
)

// A stream is a StreamWaiter.
type stream struct {
	Wait
	conn Conn
	err  error
}

func (s *stream) Opened(conn Conn)        { s.conn = conn }
func (s *stream) ConnectFailed(err error) { s.err = err }

// stream asks for a connection of its own to the endpoint with that port.
func (s *stage) stream(c *Cluster, use Use, port uint16, peer *message.Peer) *stream {
	w := &stream{}
	w.Stream, w.Use, w.Client = w, use, peer
	c.Connect(s.loops[0], s.endpoint(c, port), &w.Wait)
	s.settle()
	return w
}

// end is what a stream does whose connection is closed.
func (s *stage) end(w *stream) {
	w.conn.Close()
	w.Release()
	s.settle()
}

func TestStreamsHaveConnectionsOfTheirOwn(t *testing.T) {
	s := newStage(t, 1)
	c := s.cluster(routing.Cluster{}, 1)
	a := s.stream(c, Streams, 1, nil)
	s.end(a)
	s.get(c, s.loops[0]).client.end()
	if b := s.stream(c, Streams, 1, nil); b.conn == nil || b.conn == a.conn || len(s.dials) != 3 {
		t.Errorf("%d dials for a stream, a request and a stream: want 3, one each", len(s.dials))
	}
	if n := s.stat(1).Connections; n != 2 {
		t.Errorf("%d connections are counted, want the request's and the second stream's", n)
	}
}

func TestStreamsHaveNoALPN(t *testing.T) {
	for _, protocol := range []routing.Upstream{routing.UpstreamHTTP1, routing.UpstreamHTTP2, routing.UpstreamAuto} {
		s := newStage(t, 1)
		c := s.cluster(routing.Cluster{Protocol: protocol, TLS: &routing.UpstreamTLS{ServerName: "db.example"}}, 1)
		for range 2 { // HTTP/2 would have room for both on one connection
			if w := s.stream(c, Streams, 1, nil); w.conn == nil {
				t.Fatalf("%s: no connection: %v", protocol, w.err)
			}
		}
		if len(s.dials) != 2 {
			t.Errorf("%s: %d connections for 2 streams, want 2", protocol, len(s.dials))
		}
		if config := s.dials[0].config; config == nil || config.ServerName != "db.example" || len(config.NextProtos) > 0 {
			t.Errorf("%s: TLS settings %+v, want those of the cluster without ALPN", protocol, config)
		}
	}
}

func TestOpaqueStreamsHaveNoTLSOfOurs(t *testing.T) {
	for _, tls := range []*routing.UpstreamTLS{nil, {ServerName: "db.example"}, {}} { // the last cannot work
		s := newStage(t, 1)
		c := s.cluster(routing.Cluster{TLS: tls, ProxyProtocol: 1}, 1)
		if w := s.stream(c, Opaque, 1, nil); w.conn == nil {
			t.Fatalf("TLS %+v: no connection: %v", tls, w.err)
		}
		if d := s.dials[0]; d.config != nil || d.first == "" {
			t.Errorf("TLS %+v: begun with %v behind %q, want no TLS behind a header", tls, d.config, d.first)
		}
	}
}

func TestStreamsAreNotSentPlainWhereTLSCannotWork(t *testing.T) {
	s := newStage(t, 1)
	c := s.cluster(routing.Cluster{TLS: &routing.UpstreamTLS{}}, 1)
	if w := s.stream(c, Streams, 1, nil); w.err == nil || len(s.dials) > 0 {
		t.Errorf("error %v after %d dials, want an error and none", w.err, len(s.dials))
	}
}

func TestStreamsShareTheLimitOfConnections(t *testing.T) {
	s := newStage(t, 1)
	c := s.cluster(routing.Cluster{Limits: routing.Limits{Connections: 2}, ConnectTimeout: time.Second}, 1)
	request := s.get(c, s.loops[0])
	a := s.stream(c, Streams, 1, nil)
	waits, late := s.stream(c, Streams, 1, nil), s.stream(c, Opaque, 1, nil)
	if waits.conn != nil || late.conn != nil || s.overflow[LimitConnections] != 2 {
		t.Fatalf("%d times over a limit of 2, want 2: both streams wait", s.overflow[LimitConnections])
	}
	s.end(a)
	if waits.conn == nil || late.conn != nil {
		t.Error("a stream has ended: want the first that waited to go on, and not the second")
	}
	request.client.end()
	s.run(2 * time.Second)
	if late.conn == nil && !errors.Is(late.err, ErrTimeout) {
		t.Errorf("the last stream hears %v, want a connection or ErrTimeout", late.err)
	}
	if n := s.stat(1).Connections; n > 2 {
		t.Errorf("%d connections, want at most 2", n)
	}
}

func TestAStreamThatLeavesTakesItsConnectionAlong(t *testing.T) {
	s := newStage(t, 1)
	c := s.cluster(routing.Cluster{}, 1)
	s.hold = true
	w := s.stream(c, Streams, 1, nil)
	w.Cancel()
	s.dials[0].end()
	s.settle()
	if w.conn != nil || !s.dials[0].conn.Closed() {
		t.Error("the connection stays open, want it closed: its banner would go to another")
	}
	if n := s.stat(1).Connections; n != 0 {
		t.Errorf("%d connections are counted, want 0", n)
	}
}

func TestStreamsLiveThroughChangesOfTheirCluster(t *testing.T) {
	s := newStage(t, 1)
	c := s.cluster(routing.Cluster{}, 1)
	w := s.stream(c, Streams, 1, nil)
	s.cluster(routing.Cluster{TLS: &routing.UpstreamTLS{ServerName: "x"}}, 2) // another endpoint, another way
	s.settle()
	if w.conn.(*loop.PipeConn).Closed() {
		t.Error("a stream is closed by a change that takes its endpoint away")
	}
	s.end(w)
}

func peer(remote string) *message.Peer {
	return &message.Peer{Remote: netip.MustParseAddrPort(remote), Local: netip.MustParseAddrPort("198.51.100.1:443")}
}

func TestConnectionsBeginWithTheirClientsHeader(t *testing.T) {
	s := newStage(t, 1)
	c := s.cluster(routing.Cluster{ProxyProtocol: 2}, 1)
	from := peer("192.0.2.7:51234")
	s.stream(c, Streams, 1, from)
	s.stream(c, Streams, 1, nil)
	want := string(proxyproto.Append(nil, 2, proxyproto.Header{Source: from.Remote, Destination: from.Local}))
	if got := s.dials[0].first; got != want {
		t.Errorf("a client's connection begins with %q, want %q", got, want)
	}
	if got, want := s.dials[1].first, string(proxyproto.Append(nil, 2, proxyproto.Header{})); got != want {
		t.Errorf("our own connection begins with %q, want %q", got, want)
	}
}

// request sends a request of peer's.
func (s *stage) request(c *Cluster, peer *message.Peer) *try {
	s.t.Helper()
	w := &try{}
	w.Waiter, w.Client = w, peer
	c.Connect(s.loops[0], s.endpoint(c, 1), &w.Wait)
	s.settle()
	if w.client == nil {
		s.t.Fatalf("no connection: %v", w.err)
	}
	return w
}

func TestConnectionsWithAHeaderAreNotSharedBetweenClients(t *testing.T) {
	s := newStage(t, 1)
	c := s.cluster(routing.Cluster{ProxyProtocol: 1}, 1)
	alice, bob := peer("192.0.2.7:1000"), peer("192.0.2.7:1001") // another connection is another client
	first := s.request(c, alice)
	first.client.end()
	if bobs := s.request(c, bob); bobs.client == first.client {
		t.Error("bob's request goes over alice's connection")
	}
	if again := s.request(c, alice); again.client != first.client || !again.reused {
		t.Error("alice's second request does not go over her first connection")
	} else {
		again.client.end()
	}
	if n := len(s.endpoint(c, 1).private[0]); n != 2 {
		t.Errorf("%d clients have connections, want 2", n)
	}
	s.run(privateIdle)
	if !first.client.closed {
		t.Errorf("alice's connection is open after it was idle for %v", privateIdle)
	}
	if n := len(s.endpoint(c, 1).private[0]); n != 1 {
		t.Errorf("%d clients are remembered, want bob, whose request goes on", n)
	}
}

func TestHeadersFollowTheirCluster(t *testing.T) {
	s := newStage(t, 1)
	c := s.cluster(routing.Cluster{ProxyProtocol: 1}, 1)
	s.request(c, peer("192.0.2.7:1000")).client.end()
	s.cluster(routing.Cluster{}, 1)
	s.settle()
	if !s.clients[0].closed {
		t.Error("a connection with a header is kept where none is asked for")
	}
	s.request(c, peer("192.0.2.7:1000")).client.end()
	s.cluster(routing.Cluster{ProxyProtocol: 2}, 1)
	s.settle()
	if !s.clients[1].closed {
		t.Error("a connection without a header is kept where one is asked for")
	}
	if first := s.dials[1].first; first != "" {
		t.Errorf("a connection begins with %q, want no header", first)
	}
}

func TestProbesSayThatTheyAreOurs(t *testing.T) {
	s := newStage(t, 1)
	c := s.cluster(routing.Cluster{ProxyProtocol: 1}, 1)
	s.answer[addr(1)] = loop.ErrRefused
	s.stream(c, Streams, 1, peer("192.0.2.7:1000"))
	delete(s.answer, addr(1))
	s.run(2 * time.Second)
	probe := s.dials[slices.IndexFunc(s.dials, func(d *fakeDial) bool { return d.timeout == probeTimeout })]
	if probe.first != "PROXY UNKNOWN\r\n" {
		t.Errorf("a probe begins with %q", probe.first)
	}
}

func TestClientsShareTheLimitOfConnections(t *testing.T) {
	s := newStage(t, 1)
	c := s.cluster(routing.Cluster{ProxyProtocol: 1, Limits: routing.Limits{Connections: 1}}, 1)
	alice := s.request(c, peer("192.0.2.7:1000"))
	alice.client.end()
	s.request(c, peer("192.0.2.7:1001")) // fails the test unless alice's idle connection is given up for it
	if n := s.stat(1).Connections; n != 1 {
		t.Errorf("%d connections, want 1", n)
	}
}
