package proxy

import (
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
		d := s.proxy.Stream(s.loop, s.bind, "")
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

func TestStreamsShareByWeight(t *testing.T) {
	s := newStageWith(t, Options{}, routing.Rule{Action: routing.Action{Backends: []routing.Backend{
		{Cluster: "a", Weight: 3}, {Cluster: "b", Weight: 1}, {Cluster: "c", Weight: 0},
	}}})
	count := map[routing.ClusterName]int{}
	const draws = 4000
	for range draws {
		count[s.proxy.Stream(s.loop, s.bind, "").Cluster.Name()]++
	}
	if n := count["a"]; n < draws*70/100 || n > draws*80/100 || count["c"] > 0 {
		t.Errorf("%v of %d, want three quarters for a, the rest for b", count, draws)
	}
	if n := testing.AllocsPerRun(100, func() { s.proxy.Stream(s.loop, s.bind, "") }); n != 0 {
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
		d := s.proxy.Stream(s.loop, s.bind, "")
		if !s.proxy.Holds(s.bind, "", &d) {
			t.Error("does not hold before the edit")
		}
		s.serve(tt.then...)
		for range 2 {
			if got := s.proxy.Holds(s.bind, "", &d); got != tt.want {
				t.Errorf("%s: holds %v, want %v", tt.name, got, tt.want)
			}
		}
	}
}
