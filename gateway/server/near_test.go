package server

import (
	"log/slog"
	"net/netip"
	"testing"

	"fairway.dev/gateway/telemetry"
	"fairway.dev/gateway/upstream"
	"fairway.dev/routing"
)

// What a server knows of its place reaches the clusters, then and later.
func TestServerPrefersEndpointsOfItsPlace(t *testing.T) {
	s, err := New(Options{
		Loops: 1, Bind: netip.MustParseAddr("127.0.0.1"), Node: "a1", Zone: "a",
		Metrics: telemetry.New(telemetry.Options{Loops: 1}), Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	port, release := freePort(t)
	release()
	d := answering(t, port, "a")
	for _, zone := range []string{"b", "c"} {
		there := answering(t, port, zone).Endpoints[0].List[0]
		there.ForZones = []string{zone}
		d.Endpoints[0].List = append(d.Endpoints[0].List, there)
	}
	d.Endpoints[0].List[0].ForZones = []string{"a"}
	s.Update(d)
	for _, zone := range []string{"a", "b", "c", "a"} {
		s.SetPlace(upstream.Place{Zone: zone})
		for range 5 {
			if got := get(t, port); got != zone {
				t.Fatalf("in zone %s: an answer from %s", zone, got)
			}
		}
	}

	next := &routing.Endpoints{Cluster: "a", List: append([]routing.Endpoint(nil), d.Endpoints[0].List...)}
	next.List[2].ForNodes = []string{"a1"}
	s.Update(&routing.Delta{Endpoints: []*routing.Endpoints{next}})
	if got := get(t, port); got != "c" {
		t.Errorf("an answer from %s, want the one for our node", got)
	}
	near := []upstream.Nearness{upstream.SameZone, upstream.Anywhere, upstream.SameNode}
	for i, ep := range s.Clusters()[0].Endpoints {
		if ep.Near != near[i] {
			t.Errorf("endpoint %d is near by %q, want %q", i, ep.Near, near[i])
		}
	}
}
