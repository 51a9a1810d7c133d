package proxy

import (
	"fmt"
	"testing"
	"time"

	"fairway.dev/gateway/hop"
	"fairway.dev/routing"
)

// waypoint-wire.md, what a waypoint refuses: its other pods would refuse it, too,
// unless it lacks an endpoint.
func TestWhatWaypointsRefuse(t *testing.T) {
	for _, tt := range []struct {
		refused  int
		status   int
		flags    string
		attempts int
	}{
		{400, 503, "NC", 1},
		{401, 403, "UAEX", 1},
		{403, 403, "UAEX", 1},
		{404, 503, "NC", 1},
		{503, 503, "UF,URX", 3},
	} {
		// Without conditions and with one that names it.
		for _, retry := range []*routing.Retry{{Attempts: 2}, {Attempts: 2, On: []routing.RetryOn{routing.RetryOnConnectFailure}}} {
			s := newStage(t, retrying(retry))
			for _, port := range []uint16{1, 2, 3} {
				s.down[port] = fmt.Errorf("tunnel: %w", &hop.Refusal{Status: tt.refused, Reason: "the peer answers"})
			}
			c := s.get("/")
			s.pass(time.Second)
			if c.resp.Status != tt.status {
				t.Errorf("refused with %d: the client got %d, want %d", tt.refused, c.resp.Status, tt.status)
			}
			if r := s.record(); r.Flags != tt.flags || r.Attempts != tt.attempts {
				t.Errorf("refused with %d: flags %q after %d attempts, want %q after %d", tt.refused, r.Flags, r.Attempts, tt.flags, tt.attempts)
			}
		}
	}
}
