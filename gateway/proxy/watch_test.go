package proxy

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"slices"
	"testing"

	"fairway.dev/gateway/telemetry"
	"fairway.dev/gateway/tracing"
	"fairway.dev/routing"
)

// newWatchedStage serves cluster "a" on a listener with telemetry of its own.
// What it sends to a collector is in the buffer.
func newWatchedStage(t *testing.T, told *routing.Telemetry) (*stage, *tracing.Exporter, *bytes.Buffer) {
	var sent bytes.Buffer
	m := telemetry.New(telemetry.Options{})
	spans := tracing.New(tracing.Options{
		Loops: 1, Spans: m.Spans, Log: slog.New(slog.DiscardHandler),
		Dial: func(_ context.Context, cluster routing.ClusterName, _ string) (net.Conn, error) {
			near, far := net.Pipe()
			go func() { // one write is the request; there is no answer
				b := make([]byte, 64<<10)
				n, _ := far.Read(b)
				sent.WriteString(string(cluster) + " ")
				sent.Write(b[:n])
				far.Close()
			}()
			return near, nil
		},
	})
	s := newStageWith(t, Options{Spans: spans}, routing.Rule{Action: to("a")})
	s.watch(told)
	return s, spans, &sent
}

// watch puts telemetry in force.
func (s *stage) watch(told *routing.Telemetry) {
	l := listener
	l.Telemetry = told
	s.serveOn([]*routing.Listener{&l}, routing.Rule{Matches: []routing.Match{{Path: routing.PathMatch{Value: "/a"}}}, Action: to("a")})
}

func TestAccessLogOfAListener(t *testing.T) {
	s, _, _ := newWatchedStage(t, &routing.Telemetry{AccessLog: &routing.AccessLog{Filter: "response.code >= 400 || request.headers['x-log'] == 'me'"}})
	ask := func(path string, lines ...string) {
		c := s.get(path, lines...)
		if !c.done() {
			s.call(len(s.calls)-1).reply(200, "")
		}
	}
	ask("/a/plain")
	ask("/a/asked-for", "X-Log: me")
	ask("/none/1")
	s.watch(&routing.Telemetry{AccessLog: &routing.AccessLog{Off: true}})
	ask("/none/2")
	s.watch(&routing.Telemetry{AccessLog: &routing.AccessLog{Filter: "response.code >"}})
	ask("/a/no-filter")
	if p := s.proxy.Problems(); len(p) != 1 || p[0].Level != routing.Warning {
		t.Errorf("problems %v, want one warning of the filter", p)
	}
	s.watch(nil)
	ask("/a/nothing-asked")
	if p := s.proxy.Problems(); len(p) != 0 {
		t.Errorf("problems %v of what is not asked for any more", p)
	}
	var got []string
	for _, r := range s.records() {
		got = append(got, r.Path)
	}
	if want := []string{"/a/asked-for", "/none/1", "/a/no-filter", "/a/nothing-asked"}; !slices.Equal(got, want) {
		t.Errorf("logged are %v, want %v", got, want)
	}
}

// W3C Trace Context section 3.2: the trace goes on, and the parent is who sends
// the request.
func TestTrace(t *testing.T) {
	const trace, span = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
	s, _, _ := newWatchedStage(t, &routing.Telemetry{Tracing: &routing.Tracing{Cluster: "b", Service: "edge.shop"}})
	for name, tt := range map[string]struct {
		sent  string
		known bool
		flags string
	}{
		"begun and sampled":     {"00-" + trace + "-" + span + "-01", true, "01"},
		"begun and not sampled": {"00-" + trace + "-" + span + "-00", true, "00"},
		"begun here":            {"", false, "00"},
		"nonsense":              {"00-x", false, "00"},
	} {
		c := s.get("/a", "Traceparent: "+tt.sent)
		b := s.call(len(s.calls) - 1)
		got, ok := tracing.ParseTraceparent(b.header("traceparent"))
		text := b.header("traceparent")
		if !ok || (text[3:35] == trace) != tt.known || text[36:52] == span || text[53:] != tt.flags {
			t.Errorf("%s: the backend is sent %q (%+v)", name, text, got)
		}
		b.reply(200, "")
		if c.resp.Status != 200 {
			t.Errorf("%s: status %d", name, c.resp.Status)
		}
	}
}

// TestSpan holds that a sampled exchange's span is sent to the listener's
// collector, also that of a request that no rule takes.
func TestSpan(t *testing.T) {
	s, spans, sent := newWatchedStage(t, &routing.Telemetry{Tracing: &routing.Tracing{Cluster: "b", Path: "/v1/traces", Service: "edge.shop", Percent: 100}})
	s.get("/none")
	s.get("/a")
	s.only().reply(503, "")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	spans.Run(ctx)
	for _, want := range []string{"b POST /v1/traces", "edge.shop", "/none", "HTTPRoute/ns/r"} {
		if !bytes.Contains(sent.Bytes(), []byte(want)) {
			t.Errorf("%q is not in what was sent: %q", want, sent)
		}
	}
}
