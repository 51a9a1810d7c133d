package gatewayapi

import (
	"fmt"
	"testing"

	"fairway.dev/routing"
	"fairway.dev/routing/dialecttest"
)

// openEdge is a Gateway that lets in the ListenerSets of namespaces.
func openEdge(from, list string) string {
	return gatewayDoc + "  allowedListeners: {namespaces: " + from + "}\n  listeners: [" + list + "]\n---"
}

// setDoc is a ListenerSet of shop/edge.
func setDoc(ns, name string, created int, list string) string {
	return fmt.Sprintf("\nkind: ListenerSet\nmetadata: {namespace: %s, name: %s, generation: 3, creationTimestamp: %s}\n"+
		"spec: {parentRef: {namespace: shop, name: edge}, listeners: [%s]}\n---", ns, name, day(created).Format(`"2006-01-02T15:04:05Z"`), list)
}

func TestListenerSetConditions(t *testing.T) {
	const (
		plain  = "{name: http, port: 80, protocol: HTTP, hostname: gw.example.com}"
		team   = "{name: team, port: 80, protocol: HTTP, hostname: team.example.com}"
		same   = "{name: same, port: 80, protocol: HTTP, hostname: gw.example.com}"
		stream = "{name: stream, port: 80, protocol: TCP}"
		absent = "{name: tls, port: 443, protocol: HTTPS, tls: {certificateRefs: [{namespace: vault, name: x}]}}"
	)
	all := openEdge("{from: All}", plain)
	chosen := openEdge("{from: Selector, selector: {matchLabels: {team: web}}}", plain)
	named := "\nkind: Namespace\nmetadata: {name: web, labels: {team: web}}\n---"
	tests := []conditionTest{
		// GatewaySpec.allowedListeners
		{"not allowed by default", listeners(plain) + setDoc("shop", "s", 1, team), "ListenerSet shop/s", "", "Accepted=False NotAllowed", "spec.allowedListeners"},
		{"not allowed, programmed", listeners(plain) + setDoc("shop", "s", 1, team), "ListenerSet shop/s", "", "Programmed=False NotAllowed", ""},
		{"from None", openEdge("{from: None}", plain) + setDoc("shop", "s", 1, team), "ListenerSet shop/s", "", "Accepted=False NotAllowed", ""},
		{"from Same", openEdge("{from: Same}", plain) + setDoc("shop", "s", 1, team), "ListenerSet shop/s", "", "Accepted=True Accepted", ""},
		{"from Same, another", openEdge("{from: Same}", plain) + setDoc("web", "s", 1, team), "ListenerSet web/s", "", "Accepted=False NotAllowed", "namespace web"},
		{"from All", all + setDoc("web", "s", 1, team), "ListenerSet web/s", "", "Accepted=True Accepted", ""},
		{"from All, programmed", all + setDoc("web", "s", 1, team), "ListenerSet web/s", "", "Programmed=True Programmed", ""},
		{"from a selector", chosen + named + setDoc("web", "s", 1, team), "ListenerSet web/s", "", "Accepted=True Accepted", ""},
		{"not from a selector", chosen + named + setDoc("other", "s", 1, team), "ListenerSet other/s", "", "Accepted=False NotAllowed", ""},
		{"selector that is none", openEdge("{from: Selector, selector: {matchExpressions: [{key: x, operator: Odd}]}}", plain) + setDoc("shop", "s", 1, team), "ListenerSet shop/s", "", "Accepted=False NotAllowed", ""},
		{"from nowhere known", openEdge("{from: Here}", plain) + setDoc("shop", "s", 1, team), "ListenerSet shop/s", "", "Accepted=False NotAllowed", ""},
		{"Gateway with an admission that is none", openEdge("{from: Here}", plain) + setDoc("shop", "s", 1, team), "Gateway shop/edge", "", "Accepted=True Accepted", ""},

		// ListenerSetStatus.conditions
		{"listener", all + setDoc("web", "s", 1, team), "ListenerSet web/s", "listener team", "Programmed=True Programmed", ""},
		{"HBONE is the Gateway's", all + setDoc("web", "s", 1, "{name: mesh, port: 15008, protocol: HBONE}"), "ListenerSet web/s", "listener mesh",
			"Accepted=False UnsupportedProtocol", "in the Gateway itself"},
		{"one bad listener of two", all + setDoc("web", "s", 1, team+","+same), "ListenerSet web/s", "", "Accepted=True ListenersNotValid", "same"},
		{"one bad listener of two, programmed", all + setDoc("web", "s", 1, team+","+same), "ListenerSet web/s", "", "Programmed=True Programmed", ""},
		{"no good listener", all + setDoc("web", "s", 1, same), "ListenerSet web/s", "", "Accepted=False ListenersNotValid", "same"},
		{"no good listener, programmed", all + setDoc("web", "s", 1, same), "ListenerSet web/s", "", "Programmed=False ListenersNotValid", ""},
		{"no good listener, of the Gateway", all + setDoc("web", "s", 1, same), "Gateway shop/edge", "", "Accepted=True Accepted", ""},
		{"Gateway without a good listener", openEdge("{from: All}", "{name: a, port: 1, protocol: SCTP}") + setDoc("web", "s", 1, team), "Gateway shop/edge", "", "Accepted=True ListenersNotValid", "a"},
		{"Gateway without a good listener, programmed", openEdge("{from: All}", "{name: a, port: 1, protocol: SCTP}") + setDoc("web", "s", 1, team), "Gateway shop/edge", "", "Programmed=True Programmed", ""},
		{"Gateway that is not accepted", gatewayDoc + "  addresses: [{type: example.com/x, value: y}]\n  allowedListeners: {namespaces: {from: All}}\n  listeners: [" + plain + "]\n---" + setDoc("web", "s", 1, team), "ListenerSet web/s", "", "Accepted=False ParentNotAccepted", "shop/edge"},
		{"Gateway that is not accepted, programmed", gatewayDoc + "  addresses: [{type: example.com/x, value: y}]\n  allowedListeners: {namespaces: {from: All}}\n  listeners: [" + plain + "]\n---" + setDoc("web", "s", 1, team), "ListenerSet web/s", "", "Programmed=False ParentNotProgrammed", ""},
		{"Gateway without its address", gatewayDoc + "  addresses: [{value: x}]\n  allowedListeners: {namespaces: {from: All}}\n  listeners: [" + plain + "]\n---" + setDoc("web", "s", 1, team), "ListenerSet web/s", "", "Programmed=False ParentNotProgrammed", `"x"`},
		{"certificate that is not granted", all + setDoc("web", "s", 1, absent), "ListenerSet web/s", "listener tls", "ResolvedRefs=False RefNotPermitted", "ListenerSets of namespace web"},
		{"certificate that is not granted, accepted", all + setDoc("web", "s", 1, absent), "ListenerSet web/s", "", "Accepted=False ListenersNotValid", ""},
		{"certificate that Gateways are granted", all + grantDoc("Gateway", "web") + setDoc("web", "s", 1, absent), "ListenerSet web/s", "listener tls", "ResolvedRefs=False RefNotPermitted", ""},
		{"certificate that is granted", all + grantDoc("ListenerSet", "web") + setDoc("web", "s", 1, absent), "ListenerSet web/s", "listener tls", "ResolvedRefs=False InvalidCertificateRef", "not found"},
		{"kinds of routes", all + setDoc("web", "s", 1, "{name: a, port: 443, protocol: TLS, allowedRoutes: {kinds: [{kind: HTTPRoute}]}, tls: {mode: Passthrough}}"), "ListenerSet web/s", "listener a", "ResolvedRefs=False InvalidRouteKinds", "HTTPRoute"},

		// ListenerSetSpec.listeners: precedence
		{"conflict with the Gateway", all + setDoc("web", "s", 1, same), "ListenerSet web/s", "listener same", "Conflicted=True HostnameConflict", "Gateway shop/edge"},
		{"conflict with the Gateway, accepted", all + setDoc("web", "s", 1, same), "ListenerSet web/s", "listener same", "Accepted=False HostnameConflict", ""},
		{"conflict with the Gateway, programmed", all + setDoc("web", "s", 1, same), "ListenerSet web/s", "listener same", "Programmed=False HostnameConflict", ""},
		{"the Gateway wins", all + setDoc("web", "s", 1, same), "Gateway shop/edge", "listener http", "Conflicted=False NoConflicts", ""},
		{"protocol conflict with the Gateway", all + setDoc("web", "s", 1, stream), "ListenerSet web/s", "listener stream", "Accepted=False ProtocolConflict", "port 80"},
		{"protocol conflict beside a good listener", all + setDoc("web", "s", 1, team+","+stream), "ListenerSet web/s", "listener team", "Conflicted=False NoConflicts", ""},
		{"the younger set loses", all + setDoc("web", "a", 2, team) + setDoc("web", "b", 1, team), "ListenerSet web/a", "listener team", "Conflicted=True HostnameConflict", "ListenerSet web/b"},
		{"the older set wins", all + setDoc("web", "a", 2, team) + setDoc("web", "b", 1, team), "ListenerSet web/b", "listener team", "Conflicted=False NoConflicts", ""},
		{"of equal age by name", all + setDoc("web", "a", 1, team) + setDoc("web", "b", 1, team), "ListenerSet web/b", "listener team", "Conflicted=True HostnameConflict", ""},
		{"of equal age by namespace", all + setDoc("web", "a", 1, team) + setDoc("app", "b", 1, team), "ListenerSet web/a", "listener team", "Conflicted=True HostnameConflict", "a ListenerSet that comes first"},
		{"who loses keeps nobody away", all + setDoc("web", "a", 1, stream) + setDoc("web", "b", 2, team), "ListenerSet web/b", "listener team", "Conflicted=False NoConflicts", ""},
		{"twice in one set", all + setDoc("web", "a", 1, team+", {name: twin, port: 80, protocol: HTTP, hostname: TEAM.example.com}"), "ListenerSet web/a", "listener team", "Conflicted=True HostnameConflict", "listener twin"},
		{"twice in one set leaves it to the next", all + setDoc("web", "a", 1, team+", {name: twin, port: 80, protocol: HTTP, hostname: TEAM.example.com}") + setDoc("web", "b", 2, team), "ListenerSet web/b", "listener team", "Conflicted=False NoConflicts", ""},
		{"two protocols in one set", openEdge("{from: All}", "{name: a, port: 81, protocol: HTTP}") + setDoc("web", "a", 1, team+","+stream), "ListenerSet web/a", "listener team", "Conflicted=True ProtocolConflict", "listener stream"},
		{"two protocols in one set leave it to the next", openEdge("{from: All}", "{name: a, port: 81, protocol: HTTP}") + setDoc("web", "a", 1, team+","+stream) + setDoc("web", "b", 2, stream), "ListenerSet web/b", "listener stream", "Conflicted=False NoConflicts", ""},
		{"a port of datagrams beside one of connections", all + setDoc("web", "a", 1, "{name: u, port: 80, protocol: UDP}"), "ListenerSet web/a", "listener u", "Conflicted=False NoConflicts", ""},
		{"a port of connections twice", openEdge("{from: All}", stream) + setDoc("web", "a", 1, stream), "ListenerSet web/a", "listener stream", "Conflicted=True ProtocolConflict", "same port"},
		{"a listener that lost its Secret keeps its hostname", openEdge("{from: All}", "{name: s, port: 443, protocol: HTTPS, tls: {certificateRefs: [{name: gone}]}}") + setDoc("web", "a", 1, "{name: t, port: 443, protocol: HTTPS, tls: {options: {fairway.dev/certificate: local-ca}}}"), "ListenerSet web/a", "listener t", "Conflicted=True HostnameConflict", ""},
		{"overlapping with the Gateway's", openEdge("{from: All}", "{name: s, port: 443, protocol: HTTPS, tls: {options: {fairway.dev/certificate: local-ca}}}") + setDoc("web", "a", 1, "{name: t, port: 443, protocol: HTTPS, hostname: x.y, tls: {options: {fairway.dev/certificate: local-ca}}}"), "ListenerSet web/a", "listener t", "OverlappingTLSConfig=True OverlappingHostnames", ""},

		// Routes: a parentRef reaches the listeners of what it names, and no others.
		{"route of a set", all + setDoc("shop", "s", 1, team) + routeDoc + "  parentRefs: [{kind: ListenerSet, name: s}]\n---", "HTTPRoute shop/r", "parent 0", "Accepted=True Accepted", ""},
		{"route of a set's listener by way of the Gateway", all + setDoc("shop", "s", 1, team) + routeDoc + "  parentRefs: [{name: edge, sectionName: team}]\n---", "HTTPRoute shop/r", "parent 0", "Accepted=False NoMatchingParent", "Gateway shop/edge"},
		{"route of the Gateway's listener by way of a set", all + setDoc("shop", "s", 1, team) + routeDoc + "  parentRefs: [{kind: ListenerSet, name: s, sectionName: http}]\n---", "HTTPRoute shop/r", "parent 0", "Accepted=False NoMatchingParent", "ListenerSet shop/s"},
		{"route from the Gateway's namespace", all + setDoc("web", "s", 1, team) + routeDoc + "  parentRefs: [{kind: ListenerSet, namespace: web, name: s}]\n---", "HTTPRoute shop/r", "parent 0", "Accepted=False NotAllowedByListeners", "ListenerSet web/s"},
		{"route of a set that is not let in", listeners(plain) + setDoc("shop", "s", 1, team) + routeDoc + "  parentRefs: [{kind: ListenerSet, name: s}]\n---", "HTTPRoute shop/r", "parent 0", "Accepted=False NoMatchingParent", "does not allow"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.check(t, Options{DefaultClass: "fairway"})
			tt.check(t, Options{DefaultClass: "fairway", Isolated: true})
		})
	}
}

func grantDoc(kind, ns string) string {
	return "\nkind: ReferenceGrant\nmetadata: {namespace: vault, name: g}\nspec: {from: [{group: gateway.networking.k8s.io, kind: " +
		kind + ", namespace: " + ns + "}], to: [{group: '', kind: Secret}]}\n---"
}

// A ListenerSet without a Gateway, or of somebody else's, is not ours to say
// anything about.
func TestListenerSetOfNobody(t *testing.T) {
	set := routing.ObjectKey{Kind: "ListenerSet", Namespace: "shop", Name: "s"}
	const list = "{name: a, port: 80, protocol: HTTP}"
	tests := []struct {
		name, world string
		want        string // the report; empty for none
	}{
		{"no Gateway", setDoc("shop", "s", 1, list), "ListenerSet shop/s\n  problem spec.parentRef: ParentNotFound: Gateway shop/edge: not found\n"},
		{"foreign class", "kind: Gateway\nmetadata: {namespace: shop, name: edge}\nspec: {gatewayClassName: theirs, listeners: [" + list + "]}\n---" + setDoc("shop", "s", 1, list), ""},
		{"another kind of parent", "kind: ListenerSet\nmetadata: {namespace: shop, name: s}\nspec: {parentRef: {kind: Service, name: edge}, listeners: [" + list + "]}", ""},
	}
	for _, tt := range tests {
		w := world{}
		w.load(t, tt.world)
		r := w.translate(Options{DefaultClass: "fairway"})
		got := ""
		if report, ok := r.Reports[set]; ok {
			got = report.String()
		}
		if got != tt.want || len(r.Spec.Listeners) > 0 {
			t.Errorf("%s: got %q and %d listeners, want %q", tt.name, got, len(r.Spec.Listeners), tt.want)
		}
	}
}

// What the status of a Gateway counts, and by which names its listeners go.
func TestAttachedListenerSets(t *testing.T) {
	w := world{}
	keys := w.load(t, openEdge("{from: Same}", "{name: http, port: 80, protocol: HTTP}")+
		setDoc("shop", "good", 1, "{name: x, port: 81, protocol: HTTP}, {name: y, port: 80, protocol: HTTP}")+
		setDoc("shop", "bad", 1, "{name: x, port: 80, protocol: HTTP}")+
		setDoc("web", "stranger", 1, "{name: x, port: 82, protocol: HTTP}"))
	tr := New(w, Options{DefaultClass: "fairway"})
	r := dialecttest.NewResult().Apply(tr.Update(keys))
	edge := routing.ObjectKey{Kind: "Gateway", Namespace: "shop", Name: "edge"}
	good := routing.ObjectKey{Kind: "ListenerSet", Namespace: "shop", Name: "good"}
	if n := r.Reports[edge].AttachedListenerSets; n == nil || *n != 1 {
		t.Errorf("attached listener sets: got %v, want 1", n)
	}
	if got, want := fmt.Sprint(r.Reports[good].Names), "[ListenerSet/shop/good/x ]"; got != want {
		t.Errorf("names of the listeners: got %s, want %s", got, want)
	}
	if got := r.Reports[good].Gateway; got != edge {
		t.Errorf("the set belongs to %v, want %v", got, edge)
	}
	delete(w, good)
	r.Apply(tr.Update([]routing.ObjectKey{good}))
	if n := r.Reports[edge].AttachedListenerSets; n == nil || *n != 0 {
		t.Errorf("attached listener sets, when there is none: got %v, want 0", n)
	}
	if _, ok := r.Reports[good]; ok || len(r.Spec.Listeners) != 1 {
		t.Errorf("a removed set leaves %d listeners, want the Gateway's", len(r.Spec.Listeners))
	}
}
