package proxy

import (
	"fmt"
	"testing"

	"fairway.dev/gateway/upstream"
	"fairway.dev/routing"
)

// What endpoints answer reaches their outlier detection: statuses, and gRPC's
// where the response is that alone.
func TestResponsesEject(t *testing.T) {
	for _, tt := range []struct {
		status int
		grpc   int // -1: no gRPC
		want   bool
	}{
		{200, -1, false}, {404, -1, false}, {500, -1, true}, {503, -1, true},
		{200, 0, false}, {200, 5, false}, {200, 13, true}, {200, 14, true}, {503, 0, true},
	} {
		s := newStageWith(t, Options{}, routing.Rule{Action: func() routing.Action {
			a := to("b")
			a.Retry = &routing.Retry{}
			return a
		}()})
		s.set.Put(&routing.Cluster{Name: "b", Outliers: &routing.OutlierDetection{Consecutive5xx: 1}})
		if tt.grpc < 0 {
			s.get("/")
			s.only().reply(tt.status, "")
		} else {
			s.request("POST", "/", "Content-Type: application/grpc").send()
			s.only().head(tt.status, true, "Content-Type: application/grpc", fmt.Sprint("Grpc-Status: ", tt.grpc))
		}
		got := false
		for _, c := range s.set.Stats() {
			for _, ep := range c.Endpoints {
				got = got || ep.Health == upstream.Ejected
			}
		}
		if got != tt.want {
			t.Errorf("status %d, grpc-status %d: ejected = %v, want %v", tt.status, tt.grpc, got, tt.want)
		}
	}
}
