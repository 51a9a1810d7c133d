package gatewayapi

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"fairway.dev/routing"
)

// A merged listener is one of a Gateway and its ListenerSets, as the slow,
// literal reading of GatewaySpec.listeners and ListenerSetSpec.listeners sees it.
type mergedListener struct {
	object int // its place in the order of precedence
	name   string
	gatewayv1.Listener
}

// indistinctFrom says why a flow cannot be told to be for one of two listeners:
// "The set of listeners that all share a protocol value MUST have different
// values for at least one of these fields: HTTP, HTTPS, TLS: Port, Hostname;
// TCP, UDP: Port", and a port speaks one protocol of those that nothing tells
// apart before the first byte is read.
func (a *mergedListener) indistinctFrom(b *mergedListener) string {
	family := func(l *mergedListener) string {
		return map[gatewayv1.ProtocolType]string{"HTTP": "HTTP", "HTTPS": "TLS", "TLS": "TLS", "TCP": "TCP", "UDP": "UDP"}[l.Protocol]
	}
	udp := (a.Protocol == "UDP") == (b.Protocol == "UDP")
	named := a.Protocol != "TCP" && a.Protocol != "UDP"
	switch {
	case a.Port != b.Port || !udp:
		return ""
	case family(a) != family(b):
		return "ProtocolConflict"
	case named && or(a.Hostname, "") != or(b.Hostname, ""):
		return ""
	case a.Protocol == b.Protocol && named:
		return "HostnameConflict"
	}
	return "ProtocolConflict"
}

// conflictsOf goes through the merged list in order of precedence: what cannot
// be told from a listener of an earlier object that is served loses; of what is
// left of an object, all that cannot be told from one another.
func conflictsOf(list []mergedListener) map[string]string {
	out := map[string]string{}
	var served []*mergedListener
	for object := range list[len(list)-1].object + 1 {
		var left []*mergedListener
		for i := range list {
			l := &list[i]
			if l.object != object {
				continue
			}
			if j := slices.IndexFunc(served, func(m *mergedListener) bool { return l.indistinctFrom(m) != "" }); j >= 0 {
				// The protocol of the port comes before its hostnames.
				out[l.name] = l.indistinctFrom(served[j])
			} else {
				left = append(left, l)
			}
		}
		var distinct []*mergedListener
		for _, l := range left {
			reason := ""
			for _, m := range left {
				if r := l.indistinctFrom(m); l != m && r != "" && reason != "ProtocolConflict" {
					reason = r
				}
			}
			if out[l.name] = reason; reason == "" {
				distinct = append(distinct, l)
			}
		}
		served = append(served, distinct...)
	}
	return out
}

func TestConflictsByALiteralReading(t *testing.T) {
	for seed := range uint64(400) {
		checkConflicts(t, seed)
	}
}

func FuzzConflictsByALiteralReading(f *testing.F) {
	f.Add(uint64(646)) // three of one hostname, one of another protocol
	f.Fuzz(func(t *testing.T, seed uint64) { checkConflicts(t, seed) })
}

func checkConflicts(t *testing.T, seed uint64) {
	c := chance{rand.New(rand.NewPCG(seed, 5))}
	w := world{}
	var merged []mergedListener
	draw := func(object int, holder string) (list []gatewayv1.Listener) {
		for i := range 1 + c.IntN(4) {
			l := gatewayv1.Listener{
				Name: gatewayv1.SectionName(fmt.Sprintf("l%d", i)), Port: pick[gatewayv1.PortNumber](c, 1, 1, 2),
				Protocol: pick[gatewayv1.ProtocolType](c, "HTTP", "HTTP", "HTTPS", "TLS", "TCP", "UDP"),
				Hostname: some[gatewayv1.Hostname](c, "x.y", "*.y"),
			}
			if l.Protocol == "HTTPS" || l.Protocol == "TLS" {
				l.TLS = &gatewayv1.ListenerTLSConfig{Options: map[gatewayv1.AnnotationKey]gatewayv1.AnnotationValue{certificateOption: localCA}}
			}
			list = append(list, l)
			merged = append(merged, mergedListener{object, holder + " " + string(l.Name), l})
		}
		return list
	}
	gw := &gatewayv1.Gateway{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "g", CreationTimestamp: day(9)}}
	all := gatewayv1.NamespacesFromAll
	gw.Spec.GatewayClassName = "fairway"
	gw.Spec.AllowedListeners = &gatewayv1.AllowedListeners{Namespaces: &gatewayv1.ListenerNamespaces{From: &all}}
	gw.Spec.Listeners = draw(0, "Gateway a/g")
	w.put("Gateway", gw)
	for i := range c.IntN(4) {
		// Sets are older by number, two of one age by name.
		set := &gatewayv1.ListenerSet{ObjectMeta: metav1.ObjectMeta{Namespace: "b", Name: fmt.Sprintf("s%d", i), CreationTimestamp: day(1 + i/2)}}
		ns := gatewayv1.Namespace("a")
		set.Spec.ParentRef = gatewayv1.ParentGatewayReference{Namespace: &ns, Name: "g"}
		for _, l := range draw(i+1, "ListenerSet b/"+set.Name) {
			set.Spec.Listeners = append(set.Spec.Listeners, gatewayv1.ListenerEntry(l))
		}
		w.put("ListenerSet", set)
	}
	got := map[string]string{}
	for k, report := range w.translate(Options{DefaultClass: "fairway", Isolated: c.IntN(2) == 0}).Reports {
		for _, l := range report.Listeners {
			i := slices.IndexFunc(l.Conditions, func(c metav1.Condition) bool { return c.Type == "Conflicted" })
			got[k.String()+" "+string(l.Name)] = strings.TrimPrefix(l.Conditions[i].Reason, "NoConflicts")
		}
	}
	for name, want := range conflictsOf(merged) {
		if got[name] != want {
			t.Errorf("seed %d: %s has %q, want %q, of %v", seed, name, got[name], want, merged)
		}
	}
}

// FuzzTarget holds that the part of a cluster's cell says all of a target.
func FuzzTarget(f *testing.F) {
	f.Add(uint16(80), "", "", "")
	f.Add(uint16(8443), "#tcp", "|v1~infra", "infra/client")
	f.Fuzz(func(t *testing.T, port uint16, as, mark, client string) {
		if as != "" && (as[0] != '#' || strings.ContainsAny(as, "@|~")) {
			return // no use
		}
		if mark != "" && (mark[0] != '|' && mark[0] != '~' || strings.ContainsAny(mark, "@#")) {
			return // no mark
		}
		want := target{port, use(as), mark, routing.CertificateName(client)}
		if got := parseTarget(want.part()); got != want {
			t.Errorf("parseTarget(%q) = %+v, want %+v", want.part(), got, want)
		}
	})
}
