package routing

import (
	"net/netip"
	"testing"
	"time"
)

// stream is a route of connections: one rule without matches.
func stream(name string, created int64, attached ...Attachment) *Route {
	return &Route{
		Name: RouteName(name), Created: time.Unix(created, 0), Attached: attached,
		Rules: []Rule{{Action: Action{Backends: []Backend{{Cluster: "c", Weight: 1}}}}},
	}
}

func streamSpec(listeners []*Listener, routes ...*Route) *Spec {
	s := &Spec{
		Listeners: map[ListenerName]*Listener{}, Routes: map[RouteName]*Route{},
		Clusters: map[ClusterName]*Cluster{"c": {Name: "c", Protocol: UpstreamTCP}},
	}
	for _, l := range listeners {
		l.Port = 443
		s.Listeners[l.Name] = l
	}
	for _, r := range routes {
		s.Routes[r.Name] = r
	}
	return s
}

var port443 = PortKey{Port: 443}

// wantStreams fails the test unless connections with these names go to these
// listeners and routes, "listener route".
func wantStreams(t *testing.T, spec *Spec, want map[string]string) {
	t.Helper()
	snap, problems := Compile(spec)
	for _, p := range problems {
		t.Errorf("problem: %v", p)
	}
	for name, place := range want {
		res, got := snap.Port(port443).MatchStream(name, "", netip.Addr{}, netip.Addr{}), "- -"
		if res.Misdirected {
			t.Errorf("%q is misdirected: a stream says its name once", name)
		}
		switch {
		case res.Target != nil:
			got = string(res.Listener.Name) + " " + string(res.Target.Route.Name)
		case res.Listener != nil:
			got = string(res.Listener.Name) + " -"
		}
		if got != place {
			t.Errorf("%q goes to %s, want %s", name, got, place)
		}
	}
}

// Listener.hostname: "the most specific match", and what is attached to other
// listeners does not count. Passthrough, Terminate and HTTPS share a port.
func TestStreamsGoToTheListenerWithTheMostSpecificName(t *testing.T) {
	pass := &ListenerTLS{Passthrough: true}
	wantStreams(t, streamSpec([]*Listener{
		{Name: "exact", Protocol: TLS, Hostname: "a.example", TLS: pass},
		{Name: "wild", Protocol: TLS, Hostname: "*.example", TLS: &ListenerTLS{}},
		{Name: "web", Protocol: HTTPS, Hostname: "web.example", TLS: &ListenerTLS{}},
	},
		stream("a", 1, Attachment{"exact", []string{"a.example"}}),
		stream("w", 1, Attachment{"wild", []string{"*.example"}}),
		stream("b", 2, Attachment{"wild", []string{"b.example"}}),
		stream("lost", 1, Attachment{"wild", []string{"a.example", "web.example"}}), // names of other listeners
	), map[string]string{
		"a.example": "exact a", "b.example": "wild b", "c.example": "wild w", "x.y.example": "wild w",
		"web.example": "web -", "example": "- -", "other.org": "- -", "": "- -",
	})
}

func TestStreamsWithoutANameGoToTheListenerWithoutOne(t *testing.T) {
	wantStreams(t, streamSpec([]*Listener{
		{Name: "any", Protocol: TLS, TLS: &ListenerTLS{Passthrough: true}},
		{Name: "a", Protocol: TLS, Hostname: "a.example", TLS: &ListenerTLS{Passthrough: true}},
	},
		stream("any", 1, Attachment{"any", []string{"*"}}), stream("named", 1, Attachment{"any", []string{"b.example"}}),
	), map[string]string{"": "any any", "b.example": "any named", "c.example": "any any", "a.example": "a -"})
}

// Of several routes of one listener the oldest takes all; of equals the first
// by name.
func TestOldestStreamRouteTakesAll(t *testing.T) {
	for _, protocol := range []Protocol{TCP, UDP} {
		listener := &Listener{Name: "l", Protocol: protocol, Hostname: ""}
		at := Attachment{"l", []string{"*"}}
		spec := streamSpec([]*Listener{listener}, stream("b", 1, at), stream("a", 2, at), stream("c", 1, at))
		snap, _ := Compile(spec)
		res := snap.Port(PortKey{Port: 443, UDP: protocol == UDP}).MatchStream("", "", netip.Addr{}, netip.Addr{})
		if res.Target == nil || res.Target.Route.Name != "b" {
			t.Errorf("%s: goes to %+v, want b: older than a, before c by name", protocol, res.Target)
		}
	}
}

func TestStreamRouteWithoutBackendsIsClosed(t *testing.T) {
	r := stream("r", 1, Attachment{"l", []string{"*"}})
	r.Rules[0].Action.Backends = nil
	snap, _ := Compile(streamSpec([]*Listener{{Name: "l", Protocol: TCP}}, r))
	if res := snap.Port(port443).MatchStream("", "", netip.Addr{}, netip.Addr{}); res.Target == nil || len(res.Target.Action.Backends) > 0 || res.Target.Action.Status != 500 {
		t.Errorf("got %+v, want an action that is closed", res.Target)
	}
}

// The listener with precedence decides what the port's connections begin with.
func TestProxyProtocolIsThePorts(t *testing.T) {
	old := &Listener{Name: "z", Protocol: HTTP, Hostname: "a.example", Created: time.Unix(1, 0), ProxyProtocol: ProxyProtocolRequired}
	young := &Listener{Name: "a", Protocol: HTTP, Created: time.Unix(2, 0), ProxyProtocol: ProxyProtocolOptional}
	snap, _ := Compile(streamSpec([]*Listener{old, young}))
	if got := snap.Port(port443).ProxyProtocol(); got != ProxyProtocolRequired {
		t.Errorf("got %q, want that of the older listener", got)
	}
}

func TestListenerThatCannotSpeakTLS(t *testing.T) {
	for name, l := range map[string]*Listener{
		"TLS without TLS":      {Name: "l", Protocol: TLS},
		"HTTPS passed through": {Name: "l", Protocol: HTTPS, TLS: &ListenerTLS{Passthrough: true}},
	} {
		snap, problems := Compile(streamSpec([]*Listener{l}))
		if len(problems) != 1 || problems[0].Reason != InvalidListener || len(snap.Ports()) > 0 {
			t.Errorf("%s: problems %v and ports %v, want %s and none", name, problems, snap.Ports(), InvalidListener)
		}
	}
}

func TestMatchStreamDoesNotAllocate(t *testing.T) {
	snap, _ := Compile(streamSpec(
		[]*Listener{{Name: "l", Protocol: TLS, Hostname: "*.example", TLS: &ListenerTLS{}}},
		stream("r", 1, Attachment{"l", []string{"a.example"}}),
	))
	port := snap.Port(port443)
	if n := testing.AllocsPerRun(100, func() { port.MatchStream("a.example", "", netip.Addr{}, netip.Addr{}) }); n != 0 {
		t.Errorf("MatchStream allocates %v times, want 0", n)
	}
}
