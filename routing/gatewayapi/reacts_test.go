package gatewayapi

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"fairway.dev/routing"
	"fairway.dev/routing/dialecttest"
)

// A stage is a Translator with what has come of a world so far.
type stage struct {
	*dialecttest.Result
	t  *testing.T
	w  world
	tr *Translator
}

func newStage(t *testing.T, text string) *stage {
	s := &stage{Result: dialecttest.NewResult(), t: t, w: world{}}
	s.tr = New(s.w, Options{DefaultClass: "fairway"})
	s.load(text)
	return s
}

// load puts the objects of a text in, in place of those of the same name.
func (s *stage) load(text string) { s.Apply(s.tr.Update(s.w.load(s.t, text))) }

func (s *stage) remove(k routing.ObjectKey) {
	delete(s.w, k)
	s.Apply(s.tr.Update([]routing.ObjectKey{k}))
}

// want checks what the only backend of a route leads to, "" for nothing, and
// why ResolvedRefs is as it is.
func (s *stage) want(when string, route routing.RouteName, cluster routing.ClusterName, reason string) {
	s.t.Helper()
	b := s.Spec.Routes[route].Rules[0].Action.Backends[0]
	if b.Cluster != cluster || (b.Status == 0) != (cluster != "") || (s.Spec.Clusters[cluster] != nil) != (cluster != "") {
		s.t.Errorf("%s: %s leads to %q, status %d; want %q, which is there", when, route, b.Cluster, b.Status, cluster)
	}
	kind, name, _ := strings.Cut(string(route), "/shop/")
	if c := s.Reports[routing.ObjectKey{Kind: kind, Namespace: "shop", Name: name}].Parents[0].Conditions[1]; c.Reason != reason {
		s.t.Errorf("%s: ResolvedRefs %s (%s), want %s", when, c.Status, c.Reason, reason)
	}
}

// A ReferenceGrant that goes takes the reference with it, of any kind of route.
func TestGrantsComeAndGo(t *testing.T) {
	const grant = `
kind: ReferenceGrant
metadata: {namespace: other, name: g}
spec:
  from:
  - {group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: shop}
  - {group: gateway.networking.k8s.io, kind: TCPRoute, namespace: shop}
  to: [{group: "", kind: Service, name: cart}]
`
	s := newStage(t, listeners("{name: http, port: 80, protocol: HTTP}, {name: tcp, port: 81, protocol: TCP}")+
		strings.Replace(cart, "namespace: shop", "namespace: other", 1)+grant+"---"+
		strings.Replace(attachedRoute+stream("TCPRoute", ""), "name: cart", "namespace: other, name: cart", 2))
	for range 2 {
		s.want("with a grant", "HTTPRoute/shop/r", "other/cart:80", "ResolvedRefs")
		s.want("with a grant", "TCPRoute/shop/r", "other/cart:80#tcp", "ResolvedRefs")
		s.remove(routing.ObjectKey{Kind: "ReferenceGrant", Namespace: "other", Name: "g"})
		s.want("without a grant", "HTTPRoute/shop/r", "", "RefNotPermitted")
		s.want("without a grant", "TCPRoute/shop/r", "", "RefNotPermitted")
		s.load(grant)
	}
}

// A BackendTLSPolicy follows its ConfigMap: what it trusts is what stands there.
func TestPoliciesFollowTheirConfigMap(t *testing.T) {
	s := newStage(t, edge+cart+attachedRoute+policy("p", 1, "cart", "", "caCertificateRefs: [{group: '', kind: ConfigMap, name: x}]"))
	key := routing.ObjectKey{Kind: "ConfigMap", Namespace: "shop", Name: "x"}
	put := func(text string) {
		m := &corev1.ConfigMap{Data: map[string]string{"ca.crt": text}}
		m.Namespace, m.Name = key.Namespace, key.Name
		s.w.put(key.Kind, m)
		s.Apply(s.tr.Update([]routing.ObjectKey{key}))
	}
	trusts := func(when string, want []byte) {
		t.Helper()
		s.want(when, "HTTPRoute/shop/r", "shop/cart:80", "ResolvedRefs")
		if tls := s.Spec.Clusters["shop/cart:80"].TLS; string(tls.Roots) != string(want)+"\n" || tls.ServerName != "x.y" {
			t.Errorf("%s: TLS with %d bytes of roots for %s", when, len(tls.Roots), tls.ServerName)
		}
		if c := s.Reports[routing.ObjectKey{Kind: "BackendTLSPolicy", Namespace: "shop", Name: "p"}].Ancestors[0].Conditions; c[0].Status != "True" || c[1].Status != "True" {
			t.Errorf("%s: %+v", when, c)
		}
	}
	s.want("without the ConfigMap", "HTTPRoute/shop/r", "", "InvalidBackendTLSPolicy")
	put(string(pairs()[0].chain))
	trusts("with it", pairs()[0].chain)
	put(string(pairs()[1].chain))
	trusts("after an edit", pairs()[1].chain)
	put("")
	s.want("empty", "HTTPRoute/shop/r", "", "InvalidBackendTLSPolicy")
	put(string(pairs()[0].chain))
	trusts("filled again", pairs()[0].chain)
	s.remove(key)
	s.want("removed", "HTTPRoute/shop/r", "", "InvalidBackendTLSPolicy")
	s.remove(routing.ObjectKey{Kind: "BackendTLSPolicy", Namespace: "shop", Name: "p"})
	s.want("without the policy", "HTTPRoute/shop/r", "shop/cart:80", "ResolvedRefs")
	if tls := s.Spec.Clusters["shop/cart:80"].TLS; tls != nil {
		t.Errorf("without the policy: TLS for %s, want none", tls.ServerName)
	}
}
