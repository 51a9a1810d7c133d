package proxy

import (
	"net/netip"
	"testing"

	"fairway.dev/gateway/telemetry"
	"fairway.dev/routing"
)

func TestStreamDestinations(t *testing.T) {
	good := routing.Action{Backends: []routing.Backend{{Cluster: "a", Weight: 1}}}
	tests := []struct {
		name    string
		rules   []routing.Rule
		cluster routing.ClusterName // empty: none
		flags   telemetry.Flags
	}{
		{"a backend", []routing.Rule{{Action: good}}, "a", 0},
		{"no route", nil, "", telemetry.NoRoute},
		{"a reference that leads nowhere", []routing.Rule{{Action: routing.Action{
			Backends: []routing.Backend{{Weight: 1, Status: 500}},
		}}}, "", telemetry.NoCluster},
		{"no weight at all", []routing.Rule{{Action: routing.Action{
			Backends: []routing.Backend{{Cluster: "a"}},
		}}}, "", telemetry.NoCluster},
	}
	for _, tt := range tests {
		s := newStageWith(t, Options{}, tt.rules...)
		d := s.proxy.Stream(s.loop, s.bind, Arrival{})
		got := routing.ClusterName("")
		if d.Cluster != nil {
			got = d.Cluster.Name()
		}
		if got != tt.cluster || d.Flags != tt.flags {
			t.Errorf("%s: cluster %q, flags %s; want %q, %s", tt.name, got, d.Flags, tt.cluster, tt.flags)
		}
		if d.Listener == nil || d.Tell.Labels().Listener != string(d.Listener.Name) {
			t.Errorf("%s: listener %v is told as %q", tt.name, d.Listener, d.Tell.Labels().Listener)
		}
	}
}

// L4MatchAttributes.sourceSubnet and destinationSubnets; an address of IPv4 is
// one, however it came.
func TestStreamsGoByTheirEnds(t *testing.T) {
	prefix := func(s string) []netip.Prefix { return []netip.Prefix{netip.MustParsePrefix(s)} }
	s := newStageWith(t, Options{}, routing.Rule{
		Matches: []routing.Match{{Sources: prefix("192.0.2.0/24"), Destinations: prefix("198.51.100.1/32")}},
		Action:  to("b"),
	}, routing.Rule{Matches: []routing.Match{{Sources: prefix("2001:db8::/32")}}, Action: to("a")})
	tests := []struct {
		source, destination string
		want                routing.ClusterName
	}{
		{"192.0.2.7", "198.51.100.1", "b"},
		{"::ffff:192.0.2.7", "::ffff:198.51.100.1", "b"},
		{"2001:db8::1", "198.51.100.1", "a"},
		{"192.0.2.7", "198.51.100.2", ""},
		{"203.0.113.1", "198.51.100.1", ""},
	}
	for _, tt := range tests {
		d := s.proxy.Stream(s.loop, s.bind, Arrival{
			Source: netip.MustParseAddr(tt.source), Destination: netip.MustParseAddr(tt.destination),
		})
		got := routing.ClusterName("")
		if d.Cluster != nil {
			got = d.Cluster.Name()
		}
		if got != tt.want {
			t.Errorf("from %s to %s: cluster %q, want %q", tt.source, tt.destination, got, tt.want)
		}
	}
}

func TestStreamsShareByWeight(t *testing.T) {
	s := newStageWith(t, Options{}, routing.Rule{Action: routing.Action{Backends: []routing.Backend{
		{Cluster: "a", Weight: 3}, {Cluster: "b", Weight: 1}, {Cluster: "c", Weight: 0},
	}}})
	count := map[routing.ClusterName]int{}
	const draws = 4000
	for range draws {
		count[s.proxy.Stream(s.loop, s.bind, Arrival{}).Cluster.Name()]++
	}
	if n := count["a"]; n < draws*70/100 || n > draws*80/100 || count["c"] > 0 {
		t.Errorf("%v of %d, want three quarters for a, the rest for b", count, draws)
	}
	if n := testing.AllocsPerRun(100, func() { s.proxy.Stream(s.loop, s.bind, Arrival{}) }); n != 0 {
		t.Errorf("Stream allocates %v times, want 0", n)
	}
}

func TestStreamsGoOnWhileTheirClusterHasAShare(t *testing.T) {
	shares := func(list ...routing.Backend) routing.Rule {
		return routing.Rule{Action: routing.Action{Backends: list}}
	}
	tests := []struct {
		name string
		then []routing.Rule
		want bool
	}{
		{"a smaller share", []routing.Rule{shares(routing.Backend{Cluster: "b", Weight: 9}, routing.Backend{Cluster: "a", Weight: 1})}, true},
		{"no share", []routing.Rule{shares(routing.Backend{Cluster: "a"}, routing.Backend{Cluster: "b", Weight: 1})}, false},
		{"another cluster", []routing.Rule{shares(routing.Backend{Cluster: "b", Weight: 1})}, false},
		{"no route", nil, false},
	}
	for _, tt := range tests {
		s := newStageWith(t, Options{}, shares(routing.Backend{Cluster: "a", Weight: 1}))
		d := s.proxy.Stream(s.loop, s.bind, Arrival{})
		if !s.proxy.Holds(s.bind, Arrival{}, &d) {
			t.Error("does not hold before the edit")
		}
		s.serve(tt.then...)
		for range 2 {
			if got := s.proxy.Holds(s.bind, Arrival{}, &d); got != tt.want {
				t.Errorf("%s: holds %v, want %v", tt.name, got, tt.want)
			}
		}
	}
}
