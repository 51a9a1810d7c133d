package gatewayapi

import (
	"fmt"
	"strings"
	"testing"

	"fairway.dev/routing"
)

// waypointWith is Gateway shop/edge, a waypoint, with an inbound binding of its
// own and one of its class; empty: none is said.
func waypointWith(own, class, more string) string {
	say := func(value string) string {
		if value == "" {
			return ""
		}
		return ", annotations: {" + inboundBindingAnnotation + ": " + value + "}"
	}
	return `
kind: GatewayClass
metadata: {name: fairway` + say(class) + `}
spec: {controllerName: fairway.dev/gateway-controller}
---
kind: Gateway
metadata: {namespace: shop, name: edge` + say(own) + `}
spec:
  gatewayClassName: fairway
  listeners: [{name: mesh, port: 15008, protocol: HBONE}` + more + `]
---
`
}

// waypoints.go of istiod (makeInboundBinding) and workload.rs of ztunnel
// (ApplicationTunnel) say what the values of waypoint-inbound-binding mean.
func TestInboundBindings(t *testing.T) {
	const http = ", {name: http, port: 8080, protocol: HTTP}"
	tests := []struct {
		name             string
		own, class, more string
		sandwich         uint16
		err              string
	}{
		{name: "none"},
		{name: "the Gateway's", own: "PROXY/15088", sandwich: 15088},
		{name: "its class's", class: "PROXY/15088", sandwich: 15088},
		{name: "the Gateway's beats its class's", own: "PROXY/15099", class: "PROXY/15088", sandwich: 15099},
		{name: "also where its class's is bad", own: "PROXY/15099", class: "odd", sandwich: 15099},
		{name: "and where its own is bad", own: "odd", class: "PROXY/15088", err: `waypoint-inbound-binding "odd": want PROXY/PORT`},
		{name: "a bad one of its class", class: "odd", err: `GatewayClass fairway: ambient.istio.io/waypoint-inbound-binding "odd"`},
		{name: "an empty one", own: "''", class: "PROXY/15088", err: "want PROXY/PORT"},
		{name: "bytes as they are", own: "NONE", err: "without a word about whose they are"},
		{name: "bytes as they are to a port", own: "NONE/8080", err: "without a word about whose they are"},
		{name: "whichever port", own: "PROXY", err: "whichever its client has asked for"},
		{name: "no number", own: "PROXY/", err: `port "": want 1-65535`},
		{name: "zero, which is no port to ztunnel", own: "PROXY/0", err: `port "0": want 1-65535`},
		{name: "too large", own: "PROXY/65536", err: `port "65536"`},
		{name: "another spelling", own: "PROXY/+15088", err: `port "+15088"`},
		{name: "three parts", own: "PROXY/15088/x", err: `port "15088/x"`},
		{name: "lower case", own: "proxy/15088", err: "want PROXY/PORT"},
		{name: "ztunnel's own", own: "PROXY/15008", err: "ztunnel needs it for HBONE"},
		{name: "ztunnel's own for what leaves", own: "PROXY/15001", err: "ztunnel needs it"},
		{name: "the pods' own", own: "PROXY/15021", err: "health checks"},
		{name: "a listener's", own: "PROXY/8080", more: http, err: "listener http has it"},
		{name: "beside a listener", own: "PROXY/15088", more: http, sandwich: 15088},
		{name: "a listener's of datagrams", own: "PROXY/5353", more: ", {name: dns, port: 5353, protocol: UDP}", sandwich: 5353},
	}
	for _, tt := range tests {
		s := isolatedStage(t, waypointWith(tt.own, tt.class, tt.more))
		l := s.Spec.Listeners["shop/edge/mesh"]
		report := s.Reports[routing.ObjectKey{Kind: "Gateway", Namespace: "shop", Name: "edge"}]
		said := ""
		for _, p := range report.Problems {
			said += p.Error() + "\n"
		}
		if tt.err != "" {
			if l != nil || s.Spec.Clusters[routing.WaypointCluster("shop/edge")] != nil {
				t.Errorf("%s: it is a waypoint: %+v", tt.name, l)
			}
			if !strings.Contains(said, tt.err) || len(report.Problems) != 1 {
				t.Errorf("%s: problems %q, want one with %q", tt.name, said, tt.err)
			}
			continue
		}
		if l == nil || l.Mesh.Sandwich != tt.sandwich || said != "" {
			t.Errorf("%s: %+v, problems %q; want sandwich %d", tt.name, l, said, tt.sandwich)
		}
	}
}

// The conditions say what is served, and the finding where it was asked for.
func TestInboundBindingInConditions(t *testing.T) {
	const refused = "want PROXY/PORT"
	for _, tt := range []conditionTest{
		{"a sandwich", waypointWith("PROXY/15088", "", ""), "Gateway shop/edge", "listener mesh", "Accepted=True Accepted", "port 15088"},
		{"a sandwich, in force", waypointWith("PROXY/15088", "", ""), "Gateway shop/edge", "listener mesh", "Programmed=True Programmed", ""},
		{"none", waypointWith("NONE", "", ""), "Gateway shop/edge", "listener mesh", "Accepted=False UnsupportedValue", refused},
		{"none, in force", waypointWith("NONE", "", ""), "Gateway shop/edge", "listener mesh", "Programmed=False Invalid", refused},
		{"none, of all", waypointWith("NONE", "", ""), "Gateway shop/edge", "", "Accepted=False ListenersNotValid", "mesh"},
		{"none, of all, in force", waypointWith("NONE", "", ""), "Gateway shop/edge", "", "Programmed=False Invalid", ""},
		{"none, beside others", waypointWith("NONE", "", ", {name: http, port: 80, protocol: HTTP}"), "Gateway shop/edge", "listener http", "Programmed=True Programmed", ""},
		{"none, of its class", waypointWith("", "NONE", ""), "Gateway shop/edge", "listener mesh", "Accepted=False UnsupportedValue", "GatewayClass fairway"},
	} {
		t.Run(tt.name, func(t *testing.T) { tt.check(t, Options{DefaultClass: "fairway", Isolated: true}) })
	}
	for class, want := range map[string]string{"": "metadata.annotations[" + inboundBindingAnnotation + "]", "NONE": "spec.gatewayClassName"} {
		own := "NONE"
		if class != "" {
			own = ""
		}
		s := isolatedStage(t, waypointWith(own, class, ""))
		report := s.Reports[routing.ObjectKey{Kind: "Gateway", Namespace: "shop", Name: "edge"}]
		if len(report.Problems) != 1 || report.Problems[0].Origin.Field != want {
			t.Errorf("problems %v, want one of field %s", report.Problems, want)
		}
	}
}

// An annotation that comes, changes and goes is followed, the class's too; and who
// is enrolled at what is no waypoint any more is refused (law 15).
func TestInboundBindingIsFollowed(t *testing.T) {
	s := isolatedStage(t, waypointWith("", "", "")+enrolledService("istio.io/use-waypoint: edge", "clusterIP: 10.96.0.5, "))
	for _, tt := range []struct {
		own, class string
		want       string
	}{
		{"", "", "0 shop/edge"}, {"PROXY/15088", "", "15088 shop/edge"}, {"", "PROXY/15099", "15099 shop/edge"},
		{"NONE", "PROXY/15099", "none "}, {"", "", "0 shop/edge"}, {"", "NONE", "none "},
	} {
		s.load(waypointWith(tt.own, tt.class, ""))
		got := "none"
		if l := s.Spec.Listeners["shop/edge/mesh"]; l != nil {
			got = fmt.Sprint(l.Mesh.Sandwich)
		}
		if got += " " + s.Spec.Clusters["shop/cart:80"].Hop.Gateway; got != tt.want {
			t.Errorf("Gateway %q, class %q: %s, want %s", tt.own, tt.class, got, tt.want)
		}
	}
}

// ztunnel has no other port for HBONE.
func TestSandwichIsAtThePortOfHBONE(t *testing.T) {
	s := isolatedStage(t, strings.Replace(waypointWith("PROXY/15088", "", ""), "port: 15008", "port: 15009", 1))
	report := s.Reports[routing.ObjectKey{Kind: "Gateway", Namespace: "shop", Name: "edge"}]
	if len(s.Spec.Listeners) != 0 || len(report.Problems) != 1 || !strings.Contains(report.Problems[0].Error(), "has port 15009: want 15008") {
		t.Errorf("%d listeners, problems %v", len(s.Spec.Listeners), report.Problems)
	}
}

// makeAllowedRoutes in waypoints.go of istiod: a listener at the port of the binding
// says who may use the waypoint, before the one of protocol HBONE does.
func TestListenerOfTheBindingSaysWhoMayUseAWaypoint(t *testing.T) {
	const proxy = ", {name: proxy, port: %d, protocol: istio.io/PROXY, allowedRoutes: {namespaces: {from: %s}}}"
	for _, tt := range []struct {
		port int
		from string
		want routing.ClusterName
	}{
		{15088, "All", routing.WaypointCluster("shop/edge")},
		{15088, "Same", refusedCluster},
		{15099, "All", refusedCluster}, // another port than the binding's
	} {
		s := isolatedStage(t, waypointWith("PROXY/15088", "", fmt.Sprintf(proxy, tt.port, tt.from))+`
kind: Service
metadata: {namespace: bank, name: loans, labels: {istio.io/use-waypoint: edge, istio.io/use-waypoint-namespace: shop}}
spec: {clusterIP: 10.96.0.9, ports: [{name: http, port: 80}]}
---
`)
		c := s.Spec.Clusters["bank/loans:80"]
		if l := s.Spec.Listeners["shop/edge/mesh"]; l == nil || l.Mesh.Sandwich != 15088 {
			t.Errorf("port %d, from %s: %+v", tt.port, tt.from, l)
		}
		if c == nil || c.Hop == nil || c.Hop.Cluster != tt.want {
			t.Errorf("port %d, from %s: %+v, want to go by %s", tt.port, tt.from, c, tt.want)
		}
	}
}

// What other controllers' Gateways say is theirs to judge.
func TestInboundBindingsOfOthersAreTheirs(t *testing.T) {
	s := isolatedStage(t, strings.Replace(istios, "name: istios}", "name: istios, annotations: {"+inboundBindingAnnotation+": NONE}}", 1))
	if s.Spec.Clusters[routing.WaypointCluster("shop/istios")] == nil {
		t.Error("a waypoint of Istio's is none")
	}
}

func FuzzInboundBinding(f *testing.F) {
	for _, seed := range []string{"PROXY/15088", "PROXY", "NONE", "NONE/80", "PROXY/0", "PROXY/+1", ""} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		port, err := parseInboundBinding(value)
		if (err == nil) != (port != 0) || err == nil && value != fmt.Sprintf("PROXY/%d", port) {
			t.Errorf("%q: port %d, %v", value, port, err)
		}
	})
}
