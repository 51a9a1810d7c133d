package upstream

import (
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"fairway.dev/routing"
)

func TestClusterStaysTheSameThroughEdits(t *testing.T) {
	s := newStage(t, 1)
	if s.set.Cluster("c") != nil {
		t.Error("a cluster that nobody put")
	}
	c := s.cluster(routing.Cluster{}, 1)
	if s.cluster(routing.Cluster{ConnectTimeout: time.Second}, 1, 2) != c {
		t.Error("an edit made another Cluster: those who keep it would not see it")
	}
	if c.Name() != "c" || c.Spec().ConnectTimeout != time.Second {
		t.Errorf("Spec() = %+v, want the edited one", c.Spec())
	}
}

func TestEndpointsMayComeFirst(t *testing.T) {
	s := newStage(t, 1)
	s.endpoints(1, 2)
	s.set.Put(&routing.Cluster{Name: "c"})
	if _, err := s.set.Cluster("c").Pick(s.loops[0], &Want{}); err != nil {
		t.Errorf("endpoints that came before their cluster: %v", err)
	}
	s.endpoints(3)
	s.set.Remove("c")
	s.set.Put(&routing.Cluster{Name: "c"})
	if _, err := s.set.Cluster("c").Pick(s.loops[0], &Want{}); err != ErrNoEndpoints {
		t.Errorf("endpoints of a cluster that was removed: %v, want ErrNoEndpoints", err)
	}
	s.set.Remove("c")
	s.endpoints(3)
	s.set.Remove("c")
	s.set.Put(&routing.Cluster{Name: "c"})
	if _, err := s.set.Cluster("c").Pick(s.loops[0], &Want{}); err != ErrNoEndpoints {
		t.Errorf("endpoints that were removed before their cluster came: %v, want ErrNoEndpoints", err)
	}
}

func TestSameAddressCountsOnce(t *testing.T) {
	s := newStage(t, 1)
	c := s.cluster(routing.Cluster{}, 1, 1, 2)
	if got := len(s.set.Stats()[0].Endpoints); got != 2 {
		t.Errorf("%d endpoints, want 2", got)
	}
	s.picks(c, 10, Want{})
}

func TestConnectionsSurviveEdits(t *testing.T) {
	s := newStage(t, 1)
	tls := routing.UpstreamTLS{Insecure: true, ServerName: "a"}
	c := s.cluster(routing.Cluster{TLS: &tls}, 1, 2)
	x := s.connect(c, s.loops[0], s.endpoint(c, 1))
	s.settle()
	x.client.end()
	same := tls // equal, but not the same pointer: a Spec that was read again
	s.cluster(routing.Cluster{TLS: &same, ConnectTimeout: time.Second, Balance: routing.Balance{Kind: routing.RoundRobin}}, 3, 1)
	s.settle()
	y := s.connect(c, s.loops[0], s.endpoint(c, 1))
	if y.client != x.client {
		t.Error("an edit that changed neither address nor TLS cost a connection")
	}
}

func TestConnectionsOfAnotherWayAreDrained(t *testing.T) {
	for _, tt := range []struct {
		name string
		next routing.Cluster
	}{
		{"TLS is asked for", routing.Cluster{TLS: &routing.UpstreamTLS{Insecure: true}}},
		{"another protocol", routing.Cluster{Protocol: routing.UpstreamHTTP2}},
	} {
		s := newStage(t, 2)
		c := s.cluster(routing.Cluster{}, 1)
		idle, busy, far := s.get(c, s.loops[0]), s.get(c, s.loops[0]), s.get(c, s.loops[1])
		idle.client.end()
		far.client.end()
		s.cluster(tt.next, 1)
		s.settle()
		if !idle.client.closed || !far.client.closed {
			t.Errorf("%s: idle connections are open, on one loop or another", tt.name)
		}
		if busy.client.closed {
			t.Errorf("%s: an exchange was cut", tt.name)
		}
		if next := s.get(c, s.loops[0]); next.client == busy.client || next.reused {
			t.Errorf("%s: a request went over an old connection", tt.name)
		}
		busy.client.end()
		s.settle()
		if !busy.client.closed {
			t.Errorf("%s: open after its exchange", tt.name)
		}
		if n := s.stat(1).Connections; n != 1 {
			t.Errorf("%s: %d connections, want 1", tt.name, n)
		}
	}
}

func TestDialOfAnotherWayIsBegunAnew(t *testing.T) {
	s := newStage(t, 1)
	c := s.cluster(routing.Cluster{}, 1)
	x, _ := s.begin(c, s.loops[0])
	s.cluster(routing.Cluster{TLS: &routing.UpstreamTLS{Insecure: true}}, 1)
	s.settle()
	if len(s.dials) != 2 || !s.dials[0].cancelled || s.dials[1].config == nil {
		t.Errorf("%d dials: want the plain one cancelled and one with TLS", len(s.dials))
	}
	if x.heard != 1 || x.client == nil {
		t.Errorf("who waited heard %d times: %v; want a connection", x.heard, x.err)
	}
}

func TestConnectionsToAnAddressThatLeftAreDrained(t *testing.T) {
	s := newStage(t, 2)
	c := s.cluster(routing.Cluster{}, 1)
	idle, busy := s.get(c, s.loops[0]), s.get(c, s.loops[1])
	idle.client.end()
	old := s.endpoint(c, 1)
	s.answer[addr(1)] = nil
	waiting := s.connect(c, s.loops[1], old)
	s.endpoints(2)
	s.settle()
	if !idle.client.closed {
		t.Error("an idle connection to an address that left is open")
	}
	if busy.client.closed {
		t.Error("an exchange was cut")
	}
	if waiting.client == nil {
		t.Errorf("who waited for a connection: %v; want it to get one", waiting.err)
	}
	late := s.connect(c, s.loops[0], old) // picked before, connects now
	s.settle()
	for _, x := range []*try{busy, waiting, late} {
		x.client.end()
	}
	s.settle()
	for i, x := range []*try{busy, waiting, late} {
		if !x.client.closed {
			t.Errorf("number %d is open after its exchange", i)
		}
	}
	if n := old.places.taken.Load(); n != 0 {
		t.Errorf("%d connections are counted, want 0", n)
	}
}

func TestDialToAnAddressThatLeftIsNotKept(t *testing.T) {
	s := newStage(t, 1)
	c := s.cluster(routing.Cluster{}, 1)
	x, _ := s.begin(c, s.loops[0])
	x.Cancel()
	s.endpoints(2)
	s.settle()
	if len(s.clients) != 1 || !s.clients[0].closed {
		t.Error("a connection that nobody waits for is kept to an address that left")
	}
}

func TestRemovedClusterFinishes(t *testing.T) {
	s := newStage(t, 1)
	c := s.cluster(routing.Cluster{}, 1)
	busy, idle := s.get(c, s.loops[0]), s.get(c, s.loops[0])
	idle.client.end()
	s.set.Remove("c")
	s.set.Remove("c")
	s.settle()
	if s.set.Cluster("c") != nil || !idle.client.closed || busy.client.closed {
		t.Error("want the cluster gone, its idle connection closed, its exchange under way")
	}
	straggler := s.get(c, s.loops[0]) // an exchange that began before
	straggler.client.end()
	busy.client.end()
	s.settle()
	if !straggler.client.closed || !busy.client.closed {
		t.Error("connections are open after the last exchange")
	}
}

func TestOverflowingTriesMayTryAgain(t *testing.T) {
	s := newStage(t, 1)
	c := s.cluster(routing.Cluster{}, 1)
	s.answer[addr(1)] = errors.New("no")
	x := &again3{c: c, ep: s.endpoint(c, 1)}
	x.Waiter = x
	c.Connect(s.loops[0], x.ep, &x.Wait)
	s.settle()
	if x.heard != 3 || len(s.dials) != 3 {
		t.Errorf("heard %d times after %d dials, want 3 and 3", x.heard, len(s.dials))
	}
}

// again3 tries again from inside ConnectFailed, three times.
type again3 struct {
	try
	c  *Cluster
	ep *Endpoint
}

func (x *again3) ConnectFailed(err error) {
	if x.heard++; x.heard < 3 {
		x.c.Connect(x.ep.pools[0].loop, x.ep, &x.Wait)
	}
}

func TestStats(t *testing.T) {
	s := newStage(t, 2)
	s.set.Put(&routing.Cluster{Name: "b"})
	c := s.cluster(routing.Cluster{Protocol: routing.UpstreamHTTP1, Limits: routing.Limits{Connections: 1}})
	s.set.Put(&routing.Cluster{Name: "a", TLS: &routing.UpstreamTLS{}})
	s.set.PutEndpoints(&routing.Endpoints{Cluster: "c", List: []routing.Endpoint{
		{Addr: addr(1), Ready: true, Workload: "pod-1", Zone: "east"},
		{Addr: addr(2), Workload: "pod-2"},
	}})
	c.Begin()
	s.begin(c, s.loops[0])
	s.settle()
	s.begin(c, s.loops[1])
	got := s.set.Stats()
	var names []routing.ClusterName
	for _, x := range got {
		names = append(names, x.Name)
	}
	if !slices.Equal(names, []routing.ClusterName{"a", "b", "c"}) {
		t.Fatalf("clusters %v, want a, b, c", names)
	}
	if got[0].Err == nil || got[2].Err != nil {
		t.Errorf("errors %v and %v: want one for the cluster without a name to verify", got[0].Err, got[2].Err)
	}
	if got[2].Active != 1 || got[2].Pending != 1 {
		t.Errorf("active %d, pending %d, want 1 and 1", got[2].Active, got[2].Pending)
	}
	want := []EndpointStats{
		{Addr: addr(1), Workload: "pod-1", Zone: "east", Used: true, Health: Healthy, InFlight: 2, Connections: 1},
		{Addr: addr(2), Workload: "pod-2", Health: Healthy},
	}
	if !slices.Equal(got[2].Endpoints, want) {
		t.Errorf("endpoints %+v\nwant %+v", got[2].Endpoints, want)
	}
}

func TestChangesOfStateAreLogged(t *testing.T) {
	var text strings.Builder
	s := newStage(t, 1)
	s.set.o.Log = slog.New(slog.NewTextHandler(&text, nil))
	c := s.cluster(routing.Cluster{}, 1, 2)
	s.refuse(c, 1)
	s.fail(s.endpoint(c, 2), 100, Failed) // too many are out
	s.cluster(routing.Cluster{TLS: &routing.UpstreamTLS{}}, 1, 2)
	s.cluster(routing.Cluster{TLS: &routing.UpstreamTLS{}}, 1) // the same again
	for _, want := range []string{
		`msg="endpoint ejected" cluster=c endpoint=10.0.0.1:1 reason=refused`,
		`level=WARN msg="cluster closed" cluster=c origin=`,
	} {
		if strings.Count(text.String(), want) != 1 {
			t.Errorf("want one line with %q in\n%s", want, text.String())
		}
	}
	if n := strings.Count(text.String(), "\n"); n != 2 {
		t.Errorf("%d lines, want 2:\n%s", n, text.String())
	}
}

func TestKindsHaveNames(t *testing.T) {
	for limit, want := range map[Limit]string{
		LimitRequests: "requests", LimitPending: "pending", LimitConnections: "connections", LimitWait: "wait",
		LimitRetries: "retries",
	} {
		if got := limit.String(); got != want {
			t.Errorf("limit %d: %q, want %q", limit, got, want)
		}
	}
	for cause, want := range map[Cause]string{CauseRefused: "refused", CauseFailures: "failures", CauseOutlier: "outlier"} {
		if got := cause.String(); got != want {
			t.Errorf("cause %d: %q, want %q", cause, got, want)
		}
	}
}
