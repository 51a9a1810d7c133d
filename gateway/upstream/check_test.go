package upstream

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"fairway.dev/gateway/http1"
	"fairway.dev/gateway/http2"
	"fairway.dev/gateway/loop"
	"fairway.dev/gateway/message"
	"fairway.dev/routing"
)

// A clinic is backends that answer health checks through the real codecs.
type clinic struct {
	*stage
	status map[uint16]int   // that a port answers; 0: 200
	errs   map[uint16]error // of dials
	silent bool             // no answers
	reply  []byte           // of gRPC
	grpc   string           // grpc-status
	// asked are the requests, and connections without one, since the last look.
	asked   []string
	at      []time.Time
	open    int
	most    int
	checked map[CheckOutcome]int
}

func newClinic(t *testing.T, loops int, spec routing.Cluster, ports ...uint16) *clinic {
	s := &clinic{
		stage: newStage(t, loops), status: map[uint16]int{}, errs: map[uint16]error{},
		reply: []byte{0, 0, 0, 0, 2, 8, 1}, grpc: "0", checked: map[CheckOutcome]int{},
	}
	s.set.o.Dial, s.set.o.NewClient = s.dial, s.set.o.newClient
	s.set.o.OnCheck = func(_ *Cluster, _ *Endpoint, o CheckOutcome) { s.checked[o]++ }
	s.cluster(spec, ports...)
	return s
}

func (s *clinic) dial(l *loop.Loop, addr netip.AddrPort, how loop.Opening, timeout time.Duration, done func(Conn, string, error)) func() {
	cancelled := false
	s.at = append(s.at, l.Now())
	s.open++
	s.most = max(s.most, s.open)
	alpn := ""
	if how.TLS != nil && len(how.TLS.NextProtos) > 0 {
		alpn = how.TLS.NextProtos[0]
	}
	end := func() {
		if cancelled {
			return
		}
		if err := s.errs[addr.Port()]; err != nil {
			s.open--
			done(nil, "", err)
			return
		}
		ours, theirs := loop.Pipe(l)
		theirs.Handle(&reception{s: s, conn: theirs, port: addr.Port(), tls: how.TLS != nil, alpn: alpn})
		done(ours, alpn, nil)
	}
	l.Defer(end)
	return func() { cancelled = true; s.open-- }
}

// A reception is a backend's connection whose protocol its first byte tells.
type reception struct {
	s    *clinic
	conn *loop.PipeConn
	port uint16
	tls  bool
	alpn string
}

func (r *reception) Data(p []byte) {
	var codec loop.Handler
	if bytes.HasPrefix(p, []byte("PRI")) {
		codec = http2.NewServer(r.conn, &message.Peer{}, r, nil)
	} else {
		codec = http1.NewServer(r.conn, &message.Peer{}, r, nil)
	}
	r.conn.Handle(&ending{codec, r.s})
	codec.Data(p)
}

func (r *reception) EOF()     {}
func (r *reception) Drained() {}
func (r *reception) Closed(error) {
	r.s.asked = append(r.s.asked, fmt.Sprint(r.port, " connection tls=", r.tls, " alpn=", r.alpn))
	r.s.open--
}

// An ending counts a connection that ends.
type ending struct {
	loop.Handler
	s *clinic
}

func (e *ending) Closed(err error) { e.s.open--; e.Handler.Closed(err) }

func (r *reception) Exchange(down message.ServerStream, req *message.Request, _ bool) message.Receiver {
	agent, _ := req.Fields.Value("user-agent")
	team, _ := req.Fields.Value("x-team")
	r.s.asked = append(r.s.asked, strings.Clone(fmt.Sprint(r.port, " ", req.Method, " ", req.Authority, req.Path, req.Query, " ", req.Proto, " ", agent, " ", team)))
	if r.s.silent {
		return nothing{}
	}
	resp := &message.Response{Status: max(r.s.status[r.port], 100)}
	if r.s.status[r.port] == 0 {
		resp.Status = 200
	}
	if !strings.HasPrefix(req.Path, "/grpc.") {
		down.Head(resp, true)
		return nothing{}
	}
	resp.Length = message.Unknown
	down.Head(resp, false)
	down.Data(r.s.reply)
	var trailers message.Fields
	trailers.Add(message.GRPCStatus, r.s.grpc)
	down.End(trailers)
	return nothing{}
}

// health returns the health of the ports from 1 to n.
func (s *clinic) health(n uint16) string {
	var list []string
	for port := range n {
		list = append(list, string(s.stat(port+1).Health))
	}
	return strings.Join(list, " ")
}

func TestHealthCheckRequests(t *testing.T) {
	grpc := "shop.Cart"
	insecure := &routing.UpstreamTLS{Insecure: true}
	for _, tt := range []struct {
		name string
		spec routing.Cluster
		want string
	}{
		{"HTTP/1.1", routing.Cluster{Health: &routing.HealthCheck{HTTP: &routing.HTTPCheck{}}},
			"1 GET 10.0.0.1:1/ HTTP/1.1 Fairway-Health-Check "},
		{"HTTP/2", routing.Cluster{Protocol: routing.UpstreamHTTP2, Health: &routing.HealthCheck{HTTP: &routing.HTTPCheck{}}, Service: "cart"},
			"1 GET cart/ HTTP/2 Fairway-Health-Check "},
		{"all fields", routing.Cluster{Service: "cart", Health: &routing.HealthCheck{Port: 9, HTTP: &routing.HTTPCheck{
			Method: "HEAD", Host: "cart.example", Path: "/healthz?full", Header: []routing.Header{{Name: "X-Team", Value: "a"}, {Name: "User-Agent", Value: "me"}},
		}}}, "9 HEAD cart.example/healthz?full HTTP/1.1 me a"},
		{"TLS, ALPN chooses", routing.Cluster{Protocol: routing.UpstreamAuto, TLS: insecure, Health: &routing.HealthCheck{HTTP: &routing.HTTPCheck{}}, Service: "cart"},
			"1 GET cart/ HTTP/2 Fairway-Health-Check "},
		{"gRPC", routing.Cluster{Protocol: routing.UpstreamHTTP2, Health: &routing.HealthCheck{GRPC: &grpc}, Service: "cart"},
			"1 POST cart/grpc.health.v1.Health/Check HTTP/2 Fairway-Health-Check "},
		{"gRPC where requests are HTTP/1.1", routing.Cluster{TLS: insecure, Health: &routing.HealthCheck{GRPC: &grpc}, Service: "cart"},
			"1 POST cart/grpc.health.v1.Health/Check HTTP/2 Fairway-Health-Check "},
		{"TCP", routing.Cluster{Health: &routing.HealthCheck{}}, "1 connection tls=false alpn="},
		{"TCP with TLS, without ALPN", routing.Cluster{TLS: insecure, Health: &routing.HealthCheck{}}, "1 connection tls=true alpn="},
	} {
		s := newClinic(t, 1, tt.spec, 1)
		s.run(2 * time.Second)
		if want := []string{tt.want}; !slices.Equal(s.asked, want) {
			t.Errorf("%s: asked %q, want %q", tt.name, s.asked, want)
		}
		if s.checked[CheckPassed] != 1 || s.open != 0 || s.stat(1).Check != "" {
			t.Errorf("%s: counted %v, %d connections open, %q; want one that passed, 0", tt.name, s.checked, s.open, s.stat(1).Check)
		}
	}
}

func TestHealthCheckVerdicts(t *testing.T) {
	http := func(statuses ...routing.StatusRange) *routing.HealthCheck {
		return &routing.HealthCheck{HTTP: &routing.HTTPCheck{Statuses: statuses}, Unhealthy: 1}
	}
	grpc := &routing.HealthCheck{GRPC: new(string), Unhealthy: 1}
	for _, tt := range []struct {
		name   string
		check  *routing.HealthCheck
		sicken func(*clinic)
		want   string // a part of why it is unhealthy; empty: it is healthy
	}{
		{"200", http(), func(*clinic) {}, ""},
		{"299", http(), func(s *clinic) { s.status[1] = 299 }, ""},
		{"301", http(), func(s *clinic) { s.status[1] = 301 }, "status 301, want 200-299"},
		{"503", http(), func(s *clinic) { s.status[1] = 503 }, "status 503"},
		{"a status of one's own", http(routing.StatusRange{First: 200, Last: 200}, routing.StatusRange{First: 404, Last: 404}), func(s *clinic) { s.status[1] = 404 }, ""},
		{"none of those", http(routing.StatusRange{First: 200, Last: 200}, routing.StatusRange{First: 404, Last: 404}), func(s *clinic) { s.status[1] = 204 }, "want 200-200 or 404-404"},
		{"refused", http(), func(s *clinic) { s.errs[1] = loop.ErrRefused }, "refused"},
		{"silent", http(), func(s *clinic) { s.silent = true }, "no answer in time"},
		{"TCP", &routing.HealthCheck{Unhealthy: 1}, func(s *clinic) { s.errs[1] = loop.ErrRefused }, "refused"},
		{"gRPC", grpc, func(*clinic) {}, ""},
		{"gRPC: NOT_SERVING", grpc, func(s *clinic) { s.reply[6] = 2 }, "serving status 2, want 1"},
		{"gRPC: no status is UNKNOWN", grpc, func(s *clinic) { s.reply = make([]byte, 5) }, "serving status 0"},
		{"gRPC: unknown service", grpc, func(s *clinic) { s.reply, s.grpc = nil, "5" }, `grpc-status "5"`},
		{"gRPC: large", grpc, func(s *clinic) { s.reply = make([]byte, 2<<10) }, "more than 1024 bytes"},
		{"gRPC: a proxy's answer", grpc, func(s *clinic) { s.status[1] = 502 }, "status 502"},
	} {
		s := newClinic(t, 1, routing.Cluster{Protocol: routing.UpstreamHTTP2, Health: tt.check}, 1)
		tt.sicken(s)
		s.run(3 * time.Second)
		got := s.stat(1)
		if (got.Health == Unhealthy) != (tt.want != "") || !strings.Contains(got.Check, tt.want) || tt.want == "" && got.Check != "" {
			t.Errorf("%s: %s, %q; want %q", tt.name, got.Health, got.Check, tt.want)
		}
		if s.open != 0 {
			t.Errorf("%s: %d connections are open", tt.name, s.open)
		}
	}
}

func TestHealthCheckThresholds(t *testing.T) {
	s := newClinic(t, 1, routing.Cluster{Health: &routing.HealthCheck{HTTP: &routing.HTTPCheck{}, Interval: 10 * time.Second, Unhealthy: 3, Healthy: 2}}, 1, 2)
	c := s.set.Cluster("c")
	if got := s.health(2); got != "healthy healthy" {
		t.Errorf("before anybody was asked: %s, want healthy", got)
	}
	s.run(time.Second)
	s.status[1] = 500
	for _, want := range []Health{Healthy, Healthy, Unhealthy} {
		s.run(10 * time.Second)
		for s.open > 0 {
			s.run(10 * time.Millisecond)
		}
		if got := s.stat(1).Health; got != want {
			t.Errorf("%s, checks %v, want %s", got, s.checked, want)
		}
	}
	if got := s.picks(c, 100, Want{}); got[2] != 100 {
		t.Errorf("%v picked, want the one that is healthy", got)
	}
	s.status[1] = 200
	s.run(11 * time.Second)
	if got := s.stat(1).Health; got != Unhealthy {
		t.Errorf("%s after one check that passed, want unhealthy", got)
	}
	s.run(13 * time.Second)
	if got := s.stat(1).Health; got != Returning && got != Healthy {
		t.Errorf("%s after two checks that passed, want returning, then healthy", got)
	}
	s.run(2 * time.Second)
	if got := s.picks(c, 100, Want{}); got[1] < 20 {
		t.Errorf("%v picked, want both", got)
	}
}

// All that is unhealthy is better than nothing, unless outlier detection is asked for.
func TestUnhealthyWhereNobodyIsHealthy(t *testing.T) {
	for _, o := range []*routing.OutlierDetection{nil, {}} {
		s := newClinic(t, 1, routing.Cluster{Outliers: o, Health: &routing.HealthCheck{HTTP: &routing.HTTPCheck{}, Unhealthy: 1}}, 1, 2)
		s.status[1], s.status[2] = 500, 500
		s.run(2 * time.Second)
		_, err := s.set.Cluster("c").Pick(s.loops[0], &Want{})
		if got := err == nil; got != (o == nil) {
			t.Errorf("outlier detection %v: Pick says %v", o != nil, err)
		}
	}
}

func TestNotReadyEndpointsAreNotAsked(t *testing.T) {
	s := newClinic(t, 1, routing.Cluster{Health: &routing.HealthCheck{HTTP: &routing.HTTPCheck{}, Unhealthy: 1}}, 1)
	s.status[1] = 500
	s.run(2 * time.Second)
	unready := []routing.Endpoint{{Addr: addr(1), Serving: true, Terminating: true}}
	s.set.PutEndpoints(&routing.Endpoints{Cluster: "c", List: unready})
	s.asked = nil
	s.run(30 * time.Second)
	if got := s.stat(1).Health; len(s.asked) != 0 || got == Unhealthy {
		t.Errorf("asked %q, %s; want nobody asked, and nothing known", s.asked, got)
	}
	s.endpoints(1)
	s.run(2 * time.Second)
	if got := s.stat(1).Health; len(s.asked) != 1 || got != Unhealthy {
		t.Errorf("once it is ready: asked %q, %s; want asked and unhealthy", s.asked, got)
	}
}

// Whatever ends the checks ends them at once, and what they found.
func TestHealthChecksStop(t *testing.T) {
	spec := routing.Cluster{Health: &routing.HealthCheck{HTTP: &routing.HTTPCheck{}, Unhealthy: 1}}
	for name, stop := range map[string]func(*clinic){
		"the cluster is removed":       func(s *clinic) { s.set.Remove("c") },
		"the endpoint is":              func(s *clinic) { s.endpoints(2) },
		"nobody wants them any longer": func(s *clinic) { s.cluster(routing.Cluster{}, 1) },
	} {
		s := newClinic(t, 2, spec, 1)
		ep := s.endpoint(s.set.Cluster("c"), 1)
		s.status[1] = 500
		s.run(2 * time.Second)
		s.silent = true
		for s.open == 0 { // in the middle of a question
			s.run(10 * time.Millisecond)
		}
		stop(s)
		s.run(30 * time.Second)
		if ep.check.Load() != nil || ep.health.sick.Load() {
			t.Errorf("%s: still asked, or unhealthy", name)
		}
		for _, q := range s.asked[2:] {
			if strings.HasPrefix(q, "1 ") {
				t.Errorf("%s: asked %q afterwards", name, s.asked)
			}
		}
	}
}

func TestHealthChecksAreSpreadAndBounded(t *testing.T) {
	var ports []uint16
	for port := range uint16(300) {
		ports = append(ports, port+1)
	}
	s := newClinic(t, 2, routing.Cluster{Health: &routing.HealthCheck{HTTP: &routing.HTTPCheck{}, Timeout: 5 * time.Second}}, ports...)
	began := s.loops[0].Now()
	s.silent = true
	s.run(2 * time.Second)
	if s.most > 2*maxChecks {
		t.Errorf("%d asked at a time, want %d on each of two loops at most", s.most, maxChecks)
	}
	s.silent = false
	s.run(30 * time.Second)
	if s.checked[CheckPassed] < 300 || s.checked[CheckTimeout] == 0 {
		t.Errorf("counted %v, want all asked in the end", s.checked)
	}
	early, late := 0, 0
	for _, at := range s.at[:100] {
		if at.Sub(began) < 300*time.Millisecond {
			early++
		} else {
			late++
		}
	}
	if early < 20 || late < 1 {
		t.Errorf("%d of the first 100 in 300 ms, %d later: want them spread over a second", early, late)
	}
	if s.open != 0 {
		t.Errorf("%d connections are open", s.open)
	}
}

func FuzzHealthResponse(f *testing.F) {
	f.Add([]byte{0, 0, 0, 0, 2, 8, 1})
	f.Add([]byte{0, 0, 0, 0, 0})
	f.Add([]byte{0, 0, 0, 0, 4, 16, 1, 8, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		status, err := parseHealthResponse(b)
		if err != nil {
			return
		}
		// A field that nobody knows changes nothing, and the last status counts.
		b = append(slices.Clone(b), 16, 1, 8, 7)
		binary.BigEndian.PutUint32(b[1:], uint32(len(b)-5))
		if again, err := parseHealthResponse(b); err != nil || again != 7 {
			t.Errorf("%x: status %d, then %d, %v; want 7", b, status, again, err)
		}
	})
}

func TestSlowStartSlope(t *testing.T) {
	for _, tt := range []struct {
		least, aggression float64
		part              float64
		want              int64
	}{
		{0, 0, 0, 100}, {0, 0, 0.5, 500}, {0, 0, 1, 1000}, // 10 percent, straight
		{30, 0, 0, 300}, {30, 0, 0.2, 300}, {30, 0, 0.5, 500},
		{0, 2, 0.25, 500}, {0, 0.5, 0.5, 250}, {0.01, 1, 0, 1}, {200, 1, 0, 1000},
	} {
		s := newSlope(&routing.Cluster{SlowStartLeast: tt.least, SlowStartAggression: tt.aggression})
		if got := s.at(tt.part); got != tt.want {
			t.Errorf("minimumPercent %v, aggression %v: share %d after %v of the time, want %d", tt.least, tt.aggression, got, tt.part, tt.want)
		}
	}
}
