package gatewayapi

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"fairway.dev/routing"
	"fairway.dev/routing/dialect"
)

// twoNamespaces are shop, which has a Service "cart", and bank; each has
// a waypoint, a pod of it, and everything enrolled.
var twoNamespaces = meshOf("", "") + shopNamespace("istio.io/use-waypoint: waypoint", "") + `
kind: Namespace
metadata: {name: bank, labels: {istio.io/use-waypoint: waypoint}}
---
kind: Service
metadata: {namespace: shop, name: cart}
spec:
  clusterIP: 10.96.0.5
  ports:
  - {name: http, port: 80}
  - {name: grpc, port: 81}
  - {name: https, port: 443}
  - {name: redis, port: 6379}
  - {name: dns, port: 53, protocol: UDP}
  - {name: any, port: 9000}
---
kind: Service
metadata: {namespace: bank, name: ledger}
spec: {clusterIP: 10.96.0.6, ports: [{name: http, port: 80}]}
---
`

// meshRouteDoc is a route whose parent is a Service.
func meshRouteDoc(kind, ns, name, parent, fields string) string {
	return fmt.Sprintf(`
kind: %s
metadata: {namespace: %s, name: %s}
spec:
  parentRefs: [{group: "", kind: Service, %s}]
  %s
---
`, kind, ns, name, parent, fields)
}

// GEP-1426: a route in the namespace of its parent Service is a producer route,
// which holds at the Service's waypoint for all; one of another namespace is
// a consumer route, which holds for its own namespace at the waypoint of that.
func TestServicesAsParents(t *testing.T) {
	const rules = "rules: [{backendRefs: [{name: cart, namespace: shop, port: 80}]}]"
	tests := []struct {
		name, kind, ns, parent, world string
		accepted                      string // the reason
		attached                      []routing.ListenerName
	}{
		{"all ports of its kind", "HTTPRoute", "shop", "name: cart", "", "Accepted",
			[]routing.ListenerName{"shop/waypoint/cart.shop:80", "shop/waypoint/cart.shop:81", "shop/waypoint/cart.shop:9000"}},
		{"a port", "HTTPRoute", "shop", "name: cart, port: 80", "", "Accepted", []routing.ListenerName{"shop/waypoint/cart.shop:80"}},
		{"a port by its name", "GRPCRoute", "shop", "name: cart, sectionName: grpc", "", "Accepted", []routing.ListenerName{"shop/waypoint/cart.shop:81"}},
		{"a name and another's number", "GRPCRoute", "shop", "name: cart, sectionName: grpc, port: 80", "", "NoMatchingParent", nil},
		{"a port that is not there", "HTTPRoute", "shop", "name: cart, port: 99", "", "NoMatchingParent", nil},
		{"a Service that is not there", "HTTPRoute", "shop", "name: no", "", "NoMatchingParent", nil},
		{"TLS", "TLSRoute", "shop", "name: cart", "", "Accepted", []routing.ListenerName{"shop/waypoint/cart.shop:443"}},
		{"TCP", "TCPRoute", "shop", "name: cart", "", "Accepted", []routing.ListenerName{"shop/waypoint/cart.shop:6379"}},
		{"TCP for a port of HTTP", "TCPRoute", "shop", "name: cart, port: 80", "", "NotAllowedByListeners", nil},
		{"TCP for a port of which nobody says", "TCPRoute", "shop", "name: cart, port: 9000", "", "Accepted", []routing.ListenerName{"shop/waypoint/cart.shop:9000"}},
		{"HTTP for such a port", "HTTPRoute", "shop", "name: cart, port: 9000", "", "Accepted", []routing.ListenerName{"shop/waypoint/cart.shop:9000"}},
		{"a consumer's TCP for such a port", "TCPRoute", "bank", "namespace: shop, name: cart, port: 9000", "", "NotAllowedByListeners", nil},
		{"a port of UDP", "HTTPRoute", "shop", "name: cart, port: 53", "", "NotEnrolled", nil},
		{"a consumer", "HTTPRoute", "bank", "namespace: shop, name: cart, port: 80", "", "Accepted", []routing.ListenerName{"bank/waypoint/cart.shop:80@bank"}},
		{"a consumer without a waypoint", "HTTPRoute", "poor", "namespace: shop, name: cart, port: 80", "", "NotEnrolled", nil},
		{"not enrolled", "HTTPRoute", "shop", "name: cart", enrolledService("istio.io/use-waypoint: none", "clusterIP: 10.96.0.5, "), "NotEnrolled", nil},
		{"one waypoint for both namespaces", "HTTPRoute", "bank", "namespace: shop, name: cart, port: 80", `
kind: Namespace
metadata: {name: bank, labels: {istio.io/use-waypoint: waypoint, istio.io/use-waypoint-namespace: shop}}
`, "Accepted", []routing.ListenerName{"shop/waypoint/cart.shop:80@bank"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			fields := rules
			if tt.kind == "TLSRoute" {
				fields += "\n  hostnames: [a.example.com]"
			}
			s := isolatedStage(t, twoNamespaces+meshRouteDoc(tt.kind, tt.ns, "r", tt.parent, fields)+tt.world)
			report := s.Reports[routing.ObjectKey{Kind: tt.kind, Namespace: tt.ns, Name: "r"}]
			if len(report.Parents) != 1 || report.Parents[0].Conditions[0].Reason != tt.accepted {
				t.Errorf("got %v, want one parent, Accepted with the reason %s", report, tt.accepted)
			}
			var attached []routing.ListenerName
			if r := s.Spec.Routes[routing.RouteName(tt.kind+"/"+tt.ns+"/r")]; r != nil {
				for _, a := range r.Attached {
					attached = append(attached, a.Listener)
				}
			}
			if !slices.Equal(attached, tt.attached) {
				t.Errorf("attached to %v, want %v", attached, tt.attached)
			}
		})
	}
}

// A route may have a Gateway and a Service as its parents; its hostnames mean
// nothing at the Service (GEP-1426).
func TestHostnamesMeanNothingAtServices(t *testing.T) {
	s := isolatedStage(t, twoNamespaces+edge+`
kind: HTTPRoute
metadata: {namespace: shop, name: r}
spec:
  hostnames: [a.example.com]
  parentRefs: [{name: edge}, {group: "", kind: Service, name: cart, port: 80}, {group: "", kind: Service, name: cart, port: 81}]
  rules: [{backendRefs: [{name: cart, port: 80}]}]
`)
	want := map[routing.ListenerName]string{"shop/edge/http": "a.example.com", "shop/waypoint/cart.shop:80": "*", "shop/waypoint/cart.shop:81": "*"}
	got := map[routing.ListenerName]string{}
	for _, a := range s.Spec.Routes["HTTPRoute/shop/r"].Attached {
		got[a.Listener] = strings.Join(a.Hosts, " ")
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %v, want %v", got, want)
	}
	problems := s.Reports[routing.ObjectKey{Kind: "HTTPRoute", Namespace: "shop", Name: "r"}].Problems
	if len(problems) != 1 || problems[0].Level != routing.Info || problems[0].Reason != reasonHostnamesIgnored {
		t.Errorf("got the findings %v, want %s once", problems, reasonHostnamesIgnored)
	}
}

// Without a waypoint of ours, routes whose parents are Services are another
// mesh's affair.
func TestMeshesOfOthersAreLeftAlone(t *testing.T) {
	const r = "rules: [{backendRefs: [{name: cart, port: 80}]}]"
	s := isolatedStage(t, edge+cart+meshRouteDoc("HTTPRoute", "shop", "r", "name: cart", r))
	if report, ok := s.Reports[routing.ObjectKey{Kind: "HTTPRoute", Namespace: "shop", Name: "r"}]; ok {
		t.Errorf("without a waypoint there is the report %v", report)
	}
	s = isolatedStage(t, meshOf("", "")+istios+shopNamespace("istio.io/use-waypoint: istios", "")+
		enrolledService("", "clusterIP: 10.96.0.5, ")+meshRouteDoc("HTTPRoute", "shop", "r", "name: cart", r))
	if report, ok := s.Reports[routing.ObjectKey{Kind: "HTTPRoute", Namespace: "shop", Name: "r"}]; ok {
		t.Errorf("of a Service of Istio's waypoint there is the report %v", report)
	}
}

// A consumer route may send to the Service that it is for without a ReferenceGrant
// (the suite's MeshConsumerRoute), as its clients do; nowhere else, and not what
// comes in by a Gateway.
func TestConsumersNeedNoGrantForTheirParent(t *testing.T) {
	const parent, other = "{group: \"\", kind: Service, namespace: shop, name: cart, port: 80}", "{group: \"\", kind: Service, name: ledger}"
	tests := []struct {
		parents, to string
		resolved    string
	}{
		{parent, "cart", "ResolvedRefs"},
		{parent + ", " + other, "cart", "ResolvedRefs"},
		{parent, "other", "RefNotPermitted"},
		{other, "cart", "RefNotPermitted"},
		{parent + ", {name: edge, namespace: shop}", "cart", "RefNotPermitted"},
	}
	for _, tt := range tests {
		s := isolatedStage(t, twoNamespaces+`
kind: HTTPRoute
metadata: {namespace: bank, name: r}
spec:
  parentRefs: [`+tt.parents+`]
  rules: [{backendRefs: [{namespace: shop, name: `+tt.to+`, port: 80}]}]
`)
		if got := s.Reports[routing.ObjectKey{Kind: "HTTPRoute", Namespace: "bank", Name: "r"}].Parents[0].Conditions[1].Reason; got != tt.resolved {
			t.Errorf("with the parents %s, to %s: %s, want %s", tt.parents, tt.to, got, tt.resolved)
		}
	}
}

// A consumer's doors are there as long as it has routes to the Service.
func TestDoorsOfConsumersComeAndGo(t *testing.T) {
	const door = "bank/waypoint/cart.shop:80@bank"
	s := isolatedStage(t, twoNamespaces)
	r := meshRouteDoc("HTTPRoute", "bank", "r", "namespace: shop, name: cart, port: 80", "")
	for range 2 {
		if s.Spec.Listeners[door] != nil {
			t.Errorf("the door is there without a route")
		}
		s.load(r)
		if l := s.Spec.Listeners[door]; l == nil || l.From != "bank" || l.Gateway != "bank/waypoint" {
			t.Errorf("with a route the door is %+v", l)
		}
		s.remove(routing.ObjectKey{Kind: "HTTPRoute", Namespace: "bank", Name: "r"})
	}
}

// Law 14: a gateway is believed for workloads of namespaces whose connections go
// through it, and no other: an edge for none, a waypoint at its own doors too.
func TestVouchersAreOfTheirNamespaces(t *testing.T) {
	s := isolatedStage(t, twoNamespaces+edge+istios)
	got := s.Spec.Listeners["shop/waypoint/mesh"].Mesh.Vouchers
	want := []routing.Voucher{
		{Identity: "spiffe://cluster.local/ns/bank/sa/waypoint", Namespaces: []string{"bank"}},
		{Identity: "spiffe://cluster.local/ns/shop/sa/edge"},
		{Identity: "spiffe://cluster.local/ns/shop/sa/waypoint", Namespaces: []string{"shop"}},
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("shop's waypoint believes %+v, want %+v", got, want)
	}
	s.load(`
kind: Namespace
metadata: {name: bank, labels: {istio.io/use-waypoint: waypoint, istio.io/use-waypoint-namespace: shop}}
`)
	want[0].Namespaces, want[2].Namespaces = nil, []string{"bank", "shop"}
	if got := s.Spec.Listeners["shop/waypoint/mesh"].Mesh.Vouchers; fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("without a namespace of its own: %+v, want %+v", got, want)
	}
}

// Who joins is asked about every door: the waypoint's own, and where workloads
// of others come from.
func TestDoorsAreShaped(t *testing.T) {
	w := world{}
	keys := w.load(t, twoNamespaces+meshRouteDoc("HTTPRoute", "bank", "r", "namespace: shop, name: cart, port: 80", ""))
	tr := New(w, Options{DefaultClass: "fairway", Isolated: true})
	asked := map[routing.ListenerName]Door{}
	tr.Join(Shaper{Door: func(_ *dialect.Reading, d Door, labels map[string]string, l *routing.Listener) {
		if (labels["gateway.networking.k8s.io/gateway-name"] != "waypoint") != d.Shared || d.Shared != l.Shared() || l.Name != d.Listener {
			t.Errorf("asked about %s as %s of pods with the labels %v", l.Name, d.Listener, labels)
		}
		asked[d.Listener] = d
	}})
	tr.Update(keys)
	tests := []struct {
		door routing.ListenerName
		own  bool
		from string
	}{
		{"shop/waypoint/cart.shop:80", true, ""},
		{"~/cart.shop:80", false, ""},
		{"bank/waypoint/cart.shop:80@bank", false, "bank"},
		{"bank/waypoint/ledger.bank:80", true, ""},
		{"~/ledger.bank:80", false, ""},
	}
	for _, tt := range tests {
		if d, ok := asked[tt.door]; !ok || d.Own != tt.own || d.From != tt.from {
			t.Errorf("%s: asked %t, own %t, from %q; want %t, %q", tt.door, ok, d.Own, d.From, tt.own, tt.from)
		}
	}
	if len(asked) != 5*3+2 { // five ports of TCP at their waypoint, at others and for bank, and one at its own and others
		t.Errorf("asked about %d doors, want 17", len(asked))
	}
}

// What another dialect has is enrolled by the same rules.
func TestDoorsOfOtherDialects(t *testing.T) {
	const entryCell = dialect.Listeners + dialect.IstioKinds
	const hopCell = dialect.Backends + dialect.IstioKinds
	w := world{}
	keys := w.load(t, twoNamespaces)
	tr := New(w, Options{DefaultClass: "fairway", Isolated: true})
	e := Enrolled{
		Kind: "ServiceEntry", Namespace: "shop", Name: "ext", Addresses: []string{"240.0.0.1"}, Names: []string{"ext.example.com"},
		Ports: []EnrolledPort{{Port: 443, Protocol: routing.TLS, To: "shop/ext:443"}},
	}
	var hop *routing.Hop
	var doors []Door
	tr.Sheet().Define(entryCell, func(r *dialect.Reading) dialect.Outcome {
		var out dialect.Outcome
		doors, out.Parts = tr.Doors(r, e)
		r.Value(dialect.ID{Kind: hopCell})
		return out
	})
	tr.Sheet().Define(hopCell, func(r *dialect.Reading) dialect.Outcome {
		hop = HopOf(r, e, 443)
		return dialect.Outcome{}
	})
	tr.Sheet().Plant("Namespace", func(routing.ObjectKey) []dialect.ID { return []dialect.ID{{Kind: entryCell}} })
	d, _ := tr.Update(keys)
	if len(doors) != 2 || doors[0].Listener != "shop/waypoint/ServiceEntry/ext.shop:443" || !doors[0].Own || doors[1].Own {
		t.Errorf("got the doors %+v, want one at each waypoint", doors)
	}
	if hop == nil || hop.Gateway != "shop/waypoint" || hop.Authority != "240.0.0.1:443" {
		t.Errorf("got the hop %+v", hop)
	}
	if !slices.ContainsFunc(d.Captures, func(c *routing.Capture) bool { return c.Name == "ServiceEntry/shop/ext:443" }) {
		t.Errorf("got the captures %v, want one of the ServiceEntry", d.Captures)
	}
}

// What a waypoint is for has to be known.
func TestWaypointsForWhatNobodyKnows(t *testing.T) {
	s := isolatedStage(t, meshOf(", labels: {istio.io/waypoint-for: everything}", ""))
	problems := s.Reports[routing.ObjectKey{Kind: "Gateway", Namespace: "shop", Name: "waypoint"}].Problems
	if len(problems) != 1 || problems[0].Origin.Field != "metadata.labels[istio.io/waypoint-for]" || !strings.Contains(problems[0].Error(), `"everything": want service`) {
		t.Errorf("got the problems %v", problems)
	}
}

// Pods are wanted once there is a waypoint of ours, or another dialect wants them.
func TestPodsAreWantedForWaypoints(t *testing.T) {
	if s := isolatedStage(t, edge+istios); s.tr.WantsPods() {
		t.Error("without a waypoint of ours pods are wanted")
	}
	if s := isolatedStage(t, meshOf("", "")); !s.tr.WantsPods() {
		t.Error("with a waypoint pods are not wanted")
	}
	s := isolatedStage(t, edge)
	if s.tr.WantPods(); !s.tr.WantsPods() {
		t.Error("another dialect wants pods, and they are not wanted")
	}
}

// Identities and names follow the mesh's domains, and the names that pods run by.
func TestOptionsOfTheMesh(t *testing.T) {
	w := world{}
	keys := w.load(t, twoNamespaces)
	tr := New(w, Options{
		DefaultClass: "fairway", Isolated: true, TrustDomain: "prod.example", TrustDomainAliases: []string{"old.example"}, ClusterDomain: "k8s.example",
		Base: func(gateway, class string) string { return gateway + "-" + class },
	})
	d, _ := tr.Update(keys)
	for _, l := range d.Listeners {
		switch l.Name {
		case "shop/waypoint/mesh":
			if fmt.Sprint(l.Mesh.TrustDomains, l.Mesh.Vouchers) != "[prod.example old.example] [{spiffe://prod.example/ns/bank/sa/waypoint-fairway [bank]} {spiffe://prod.example/ns/shop/sa/waypoint-fairway [shop]}]" {
				t.Errorf("the listener believes %+v", *l.Mesh)
			}
		case "shop/waypoint/cart.shop:80":
			if !slices.Equal(l.Names, []string{"cart.shop.svc.k8s.example"}) {
				t.Errorf("the door has the names %v", l.Names)
			}
		}
	}
	if o := tr.Options(); o.TrustDomain != "prod.example" || o.RootNamespace != "istio-system" {
		t.Errorf("the options are %+v", o)
	}
}

// Who joins has no business at a listener of protocol HBONE.
func TestHBONEIsNoListenerForRoutes(t *testing.T) {
	const cell = dialect.Routes + dialect.IstioKinds
	w := world{}
	keys := w.load(t, listeners("{name: mesh, port: 15008, protocol: HBONE}, {name: http, port: 80, protocol: HTTP}"))
	tr := New(w, Options{DefaultClass: "fairway"})
	var open []OpenListener
	tr.Sheet().Define(cell, func(r *dialect.Reading) dialect.Outcome {
		_, _, open = tr.OpenListeners(r, "Gateway", "shop", "edge")
		return dialect.Outcome{}
	})
	tr.Sheet().Plant("Gateway", func(routing.ObjectKey) []dialect.ID { return []dialect.ID{{Kind: cell}} })
	var shaped []routing.ListenerName
	tr.Join(Shaper{Listener: func(_ *dialect.Reading, _, _ string, _ map[string]string, l *routing.Listener) {
		shaped = append(shaped, l.Name)
	}})
	tr.Update(keys)
	if len(open) != 1 || open[0].Name != "shop/edge/http" {
		t.Errorf("open to routes: %v, want http alone", open)
	}
	if !slices.Equal(shaped, []routing.ListenerName{"shop/edge/http"}) {
		t.Errorf("shaped: %v, want http alone", shaped)
	}
}

// A waypoint that shows a certificate to backends shows it to those that want TLS.
func TestDoorsShowTheWaypointsCertificate(t *testing.T) {
	s := isolatedStage(t, strings.Replace(twoNamespaces, "  gatewayClassName: fairway\n  listeners: [{name: mesh, port: 15008, protocol: HBONE, allowedRoutes",
		"  gatewayClassName: fairway\n  tls: {backend: {clientCertificateRef: {name: pair}}}\n  listeners: [{name: mesh, port: 15008, protocol: HBONE, allowedRoutes", 1)+
		policy("p", 1, "cart", "", "wellKnownCACertificates: System"))
	pair := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "pair"}, Type: corev1.SecretTypeTLS}
	pair.Data = map[string][]byte{corev1.TLSCertKey: pairs()[0].chain, corev1.TLSPrivateKeyKey: pairs()[0].key}
	s.Apply(s.tr.Update([]routing.ObjectKey{s.w.put("Secret", pair)}))
	const marked = "shop/cart:80@shop/pair"
	if to := s.Spec.Listeners["shop/waypoint/cart.shop:80"].To; to != marked || s.Spec.Clusters[marked].TLS.Certificate != "shop/pair" {
		t.Errorf("the door leads to %s, want %s", to, marked)
	}
	if to := s.Spec.Listeners["~/cart.shop:80"].To; to != "shop/cart:80" {
		t.Errorf("another waypoint's door leads to %s, want shop/cart:80", to)
	}
	ancestors := s.Reports[routing.ObjectKey{Kind: "BackendTLSPolicy", Namespace: "shop", Name: "p"}].Ancestors
	if len(ancestors) != 1 || ancestors[0].AncestorRef.Name != "waypoint" {
		t.Errorf("the policy has the ancestors %+v, want the waypoint", ancestors)
	}
}
