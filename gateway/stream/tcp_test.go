package stream

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"fairway.dev/gateway/loop"
	"fairway.dev/gateway/message"
	"fairway.dev/gateway/telemetry"
	"fairway.dev/gateway/upstream"
	"fairway.dev/routing"
)

func TestServerMaySpeakFirst(t *testing.T) {
	s := newTCPStage(t, TCPOptions{}, 1)
	client, backend, _ := s.joined()
	backend.conn.Write([]byte("220 ready"))
	s.loop.Settle()
	client.want(t, "the client", "220 ready")
	client.conn.Write([]byte("EHLO"))
	s.loop.Settle()
	backend.want(t, "the backend", "EHLO")
}

func TestWhatComesEarlyWaitsForTheBackend(t *testing.T) {
	s := newTCPStage(t, TCPOptions{}, 1)
	client, st := s.arrive()
	st.Data([]byte("hello "))
	client.conn.Write([]byte("world"))
	client.conn.CloseWrite()
	s.loop.Settle()
	s.back[0].want(t, "the backend", "hello world")
	if !s.back[0].eof {
		t.Error("the end of what the client sends is not passed on")
	}
}

func TestDirectionsEndEachInItsTime(t *testing.T) {
	for _, firstClient := range []bool{true, false} {
		s := newTCPStage(t, TCPOptions{}, 1)
		client, backend, st := s.joined()
		first, second := client, backend
		if !firstClient {
			first, second = backend, client
		}
		first.conn.Write([]byte("question"))
		first.conn.CloseWrite()
		s.loop.Settle()
		if !second.eof || st.pair.over {
			t.Fatalf("client first %v: end passed on %v, over %v; want true, false", firstClient, second.eof, st.pair.over)
		}
		second.conn.Write([]byte("answer"))
		second.conn.CloseWrite()
		s.wantOver(st, 0)
		first.want(t, "who asked", "answer")
		second.want(t, "who was asked", "question")
		if !first.eof || first.err != nil || second.err != nil {
			t.Errorf("client first %v: the last end passed on %v, errors %v and %v; want true and none", firstClient, first.eof, first.err, second.err)
		}
	}
}

func TestResetIsPassedOnBehindWhatCameBefore(t *testing.T) {
	tests := []struct {
		name  string
		flags telemetry.Flags
		from  func(client, backend *end) (from, to *end)
	}{
		{"the client resets", telemetry.DownstreamClosed, func(c, b *end) (*end, *end) { return c, b }},
		{"the backend resets", telemetry.UpstreamClosed, func(c, b *end) (*end, *end) { return b, c }},
	}
	for _, tt := range tests {
		s := newTCPStage(t, TCPOptions{}, 1)
		client, backend, st := s.joined()
		from, to := tt.from(client, backend)
		to.conn.Write([]byte("y")) // so that the backend has answered
		from.conn.Write([]byte("last words"))
		from.conn.Abort()
		s.wantOver(st, tt.flags)
		to.want(t, tt.name+": the other", "last words")
		if to.err == nil || to.eof {
			t.Errorf("%s: the other hears %v, EOF %v; want a reset", tt.name, to.err, to.eof)
		}
	}
}

func TestASideThatDoesNotReadHoldsTheOtherBack(t *testing.T) {
	for _, toBackend := range []bool{true, false} {
		s := newTCPStage(t, TCPOptions{}, 1)
		client, backend, st := s.joined()
		from, to := client, backend
		if !toBackend {
			from, to = backend, client
		}
		ours := st.other.conn.(*loop.PipeConn) // the gateway's connection to `to`
		if !toBackend {
			ours = st.conn.(*loop.PipeConn)
		}
		ours.Block()
		chunk := make([]byte, 48<<10)
		for range 20 {
			from.conn.Write(chunk)
			s.loop.Settle()
		}
		if n := ours.Queued(); n > message.HighWater+2*len(chunk) {
			t.Errorf("to the backend %v: %d bytes are buffered, want the sender held back", toBackend, n)
		}
		ours.Unblock()
		s.loop.Settle()
		if len(to.got) != 20*len(chunk) {
			t.Errorf("to the backend %v: %d bytes arrived, want %d", toBackend, len(to.got), 20*len(chunk))
		}
	}
}

func TestAnotherEndpointIsTriedWhereOneCannotBeReached(t *testing.T) {
	s := newTCPStage(t, TCPOptions{}, 1, 2, 3, 4, 5)
	s.fails[tcpEndpoint(1)], s.fails[tcpEndpoint(2)] = loop.ErrRefused, loop.ErrRefused
	for range 5 {
		client, backend, st := s.joined()
		client.conn.Write([]byte("x"))
		s.loop.Settle()
		backend.want(t, "the backend", "x")
		client.conn.Reset()
		s.wantOver(st, telemetry.DownstreamClosed)
	}
	if n := len(s.dials); n > 5+2 {
		t.Errorf("%d dials for 5 streams: want the endpoints that refuse left out", n)
	}
}

func TestClientsThatNobodyTakesAreClosed(t *testing.T) {
	refused := errors.Join(loop.ErrRefused)
	tests := []struct {
		name   string
		setup  func(s *tcpStage)
		flags  telemetry.Flags
		dialed int
	}{
		{"no route", func(s *tcpStage) { s.to.Cluster, s.to.Flags = nil, telemetry.NoRoute }, telemetry.NoRoute, 0},
		{"a reference that leads nowhere", func(s *tcpStage) { s.to.Cluster, s.to.Flags = nil, telemetry.NoCluster }, telemetry.NoCluster, 0},
		{"no endpoint", func(s *tcpStage) { s.cluster(routing.Cluster{}) }, telemetry.NoHealthyUpstream, 0},
		{"nobody listens", func(s *tcpStage) {
			for port := uint16(1); port <= 4; port++ {
				s.fails[tcpEndpoint(port)] = refused
			}
		}, telemetry.UpstreamFailure, maxTries},
		{"one endpoint, where nobody listens", func(s *tcpStage) {
			s.cluster(routing.Cluster{}, 1)
			s.fails[tcpEndpoint(1)] = refused
		}, telemetry.UpstreamFailure, 1},
		{"TLS that cannot work", func(s *tcpStage) { s.cluster(routing.Cluster{TLS: &routing.UpstreamTLS{}}, 1) }, telemetry.UpstreamFailure, 0},
		{"over the limit of requests", func(s *tcpStage) {
			s.cluster(routing.Cluster{Limits: routing.Limits{Requests: 1}}, 1)
			s.set.Cluster("c").Begin()
			s.t.Cleanup(s.set.Cluster("c").End)
		}, telemetry.UpstreamOverflow, 0},
		{"over the limit of what waits", func(s *tcpStage) {
			s.cluster(routing.Cluster{Limits: routing.Limits{Pending: 1}}, 1)
			s.hold = true
			s.arrive()
		}, telemetry.UpstreamOverflow, 1},
	}
	for _, tt := range tests {
		s := newTCPStage(t, TCPOptions{}, 1, 2, 3, 4)
		tt.setup(s)
		client, st := s.arrive()
		st.Data([]byte("what was read with the ClientHello"))
		s.loop.Settle()
		if !st.pair.over || st.pair.rec.Flags != tt.flags || len(s.dials) != tt.dialed {
			t.Errorf("%s: over %v with %s after %d dials, want true with %s after %d", tt.name, st.pair.over, st.pair.rec.Flags, len(s.dials), tt.flags, tt.dialed)
		}
		if client.err == nil || len(client.got) > 0 {
			t.Errorf("%s: the client has %q, and is closed with %v", tt.name, client.got, client.err)
		}
	}
}

func TestClientThatLeavesBeforeThereIsABackend(t *testing.T) {
	s := newTCPStage(t, TCPOptions{}, 1)
	s.hold = true
	client, st := s.arrive()
	client.conn.Reset()
	s.loop.Settle()
	s.held[0]()
	s.wantOver(st, telemetry.DownstreamClosed)
	if !s.back[0].conn.Closed() && s.back[0].err == nil {
		t.Error("the connection to the endpoint stays open")
	}
}

func TestIdleStreamEnds(t *testing.T) {
	s := newTCPStage(t, TCPOptions{}, 1)
	client, backend, st := s.joined()
	s.loop.Advance(59 * time.Minute)
	backend.conn.Write([]byte("x")) // either direction counts
	s.loop.Advance(59 * time.Minute)
	if st.pair.over {
		t.Fatal("over though something moved an hour ago")
	}
	s.loop.Advance(time.Minute)
	s.wantOver(st, telemetry.StreamIdle)
	if client.err == nil || backend.err == nil {
		t.Errorf("client and backend hear %v and %v, want resets", client.err, backend.err)
	}
}

// ConnectionPoolSettings.TCPSettings: idleTimeout, in place of the process's own.
func TestClusterSaysHowLongStreamsStandStill(t *testing.T) {
	s := newTCPStage(t, TCPOptions{Idle: time.Hour})
	s.cluster(routing.Cluster{IdleTimeout: time.Minute}, 1)
	_, _, st := s.joined()
	s.loop.Advance(time.Minute)
	s.wantOver(st, telemetry.StreamIdle)

	s.cluster(routing.Cluster{IdleTimeout: -1}, 1)
	_, _, st = s.joined()
	s.loop.Advance(1000 * time.Hour)
	if st.pair.over {
		t.Error("an idle stream ends where none shall")
	}
}

// ConnectionPoolSettings.TCPSettings: maxConnectionDuration. What was passed on
// arrives, and nobody takes it for the whole.
func TestStreamEndsWhenItHasLastedLongEnough(t *testing.T) {
	s := newTCPStage(t, TCPOptions{})
	s.cluster(routing.Cluster{ConnectionAge: time.Minute}, 1)
	client, backend, st := s.joined()
	for range 59 {
		client.conn.Write([]byte("q"))
		backend.conn.Write([]byte("a"))
		s.loop.Advance(time.Second)
	}
	client.conn.Write([]byte("!"))
	s.loop.Advance(time.Second)
	s.wantOver(st, telemetry.DurationTimeout)
	backend.want(t, "the backend", strings.Repeat("q", 59)+"!")
	client.want(t, "the client", strings.Repeat("a", 59))
	if client.err == nil || backend.err == nil || client.eof || backend.eof {
		t.Errorf("client and backend hear %v and %v, EOF %v and %v, want resets", client.err, backend.err, client.eof, backend.eof)
	}
}

func TestStreamThatNeverConnectedEndsWithItsAge(t *testing.T) {
	s := newTCPStage(t, TCPOptions{})
	s.cluster(routing.Cluster{ConnectionAge: time.Second}, 1)
	s.hold = true
	_, st := s.arrive()
	s.loop.Advance(time.Second)
	s.held[0]()
	s.wantOver(st, telemetry.DurationTimeout)
}

func TestStreamMayLastForever(t *testing.T) {
	s := newTCPStage(t, TCPOptions{Idle: -1}, 1)
	_, _, st := s.joined()
	s.loop.Advance(1000 * time.Hour)
	if st.pair.over {
		t.Error("an idle stream ends where none shall")
	}
}

func TestStreamOutlivesItsPortForAWhile(t *testing.T) {
	s := newTCPStage(t, TCPOptions{Leave: time.Minute}, 1)
	client, backend, st := s.joined()
	st.Drain()
	s.loop.Advance(59 * time.Second)
	client.conn.Write([]byte("still here"))
	s.loop.Settle()
	backend.want(t, "the backend", "still here")
	s.loop.Advance(time.Second)
	s.wantOver(st, 0)
}

func TestStreamOutlivesItsListenerForAWhile(t *testing.T) {
	s := newTCPStage(t, TCPOptions{Leave: time.Minute}, 1)
	_, _, st := s.joined()
	s.tcp.Retain(func(l routing.ListenerName) bool { return l == "l" })
	s.loop.Advance(time.Minute)
	for range 3 { // edit after edit puts nothing off
		if st.pair.over {
			t.Fatal("over before its time")
		}
		s.tcp.Retain(func(routing.ListenerName) bool { return false })
		s.loop.Advance(20 * time.Second)
	}
	s.wantOver(st, 0)
}

func TestCutEndsAllStreams(t *testing.T) {
	s := newTCPStage(t, TCPOptions{}, 1)
	_, _, a := s.joined()
	_, _, b := s.joined()
	s.hold = true
	_, c := s.arrive() // and one that has no backend yet
	s.tcp.Cut()
	s.loop.Settle()
	for _, finish := range s.held {
		finish()
	}
	for _, st := range []Stream{a, b, c} {
		s.wantOver(st, 0)
	}
}

func TestPassthroughIsOpaque(t *testing.T) {
	for _, tt := range []struct {
		tls  *routing.ListenerTLS
		want upstream.Use
	}{
		{nil, upstream.Streams}, {&routing.ListenerTLS{}, upstream.Streams}, {&routing.ListenerTLS{Passthrough: true}, upstream.Opaque},
	} {
		s := newTCPStage(t, TCPOptions{}, 1)
		s.to.Listener = &routing.Listener{Name: "l", Protocol: routing.TLS, TLS: tt.tls}
		if _, st := s.arrive(); st.pair.wait.Use != tt.want {
			t.Errorf("listener with TLS %+v: use %d, want %d", tt.tls, st.pair.wait.Use, tt.want)
		}
	}
}

func TestEndpointThatTakesConnectionsAndDropsThemIsEjected(t *testing.T) {
	s := newTCPStage(t, TCPOptions{}, 1, 2)
	for range 20 {
		s.arrive()
		s.loop.Settle()
		backend := s.back[len(s.back)-1]
		if s.dials[len(s.dials)-1] == tcpEndpoint(1) {
			backend.conn.Reset()
		} else {
			backend.conn.Write([]byte("hi"))
			backend.conn.Abort()
		}
		s.loop.Settle()
	}
	health := map[uint16]upstream.Health{}
	for _, e := range s.set.Stats()[0].Endpoints {
		health[e.Addr.Port()] = e.Health
	}
	if health[1] != upstream.Ejected || health[2] != upstream.Healthy {
		t.Errorf("endpoints are %v, want the first ejected alone", health)
	}
}

func TestRecordOfAStream(t *testing.T) {
	s := newTCPStage(t, TCPOptions{}, 1, 2)
	s.hold = true
	client, st := s.arrive()
	s.fails[s.dials[0]] = loop.ErrRefused
	s.loop.Advance(time.Second)
	for len(s.held) > 0 { // the second only once the first has failed
		finish := s.held[0]
		s.held = s.held[1:]
		finish()
	}
	s.loop.Advance(time.Second)
	client.conn.Write(bytes.Repeat([]byte("q"), 10))
	s.loop.Settle()
	s.back[0].conn.Write(bytes.Repeat([]byte("a"), 200))
	s.back[0].conn.CloseWrite()
	s.loop.Settle()
	client.conn.CloseWrite()
	s.wantOver(st, 0)
	r := st.pair.rec
	if r.Connect != time.Second || r.Duration != 2*time.Second || r.BytesReceived != 10 || r.BytesSent != 200 ||
		r.Attempts != 2 || r.Endpoint != s.dials[1] || r.Remote.Port() != 51234 {
		t.Errorf("record %+v", r)
	}
}
