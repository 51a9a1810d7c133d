package istio

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"testing"

	networking "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"fairway.dev/routing"
	"fairway.dev/routing/dialecttest"
)

// A draw makes small, contrary worlds of Gateways: few names, so that objects
// meet.
type draw struct {
	*rand.Rand
	secrets []any // of gw-tls.yaml
}

func newDraw(t testing.TB, seed uint64) draw {
	t.Helper()
	text, err := os.ReadFile("testdata/gw-tls.yaml")
	if err != nil {
		t.Fatal(err)
	}
	w := dialecttest.World{}
	d := draw{Rand: rand.New(rand.NewPCG(seed, 7))}
	for _, k := range load(t, w, string(text)) {
		if k.Kind == "Secret" {
			d.secrets = append(d.secrets, w[k])
		}
	}
	return d
}

func one[T any](d draw, of ...T) T { return of[d.IntN(len(of))] }

func (d draw) meta(ns string, names ...string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: ns, Name: one(d, names...), CreationTimestamp: dialecttest.Day(d.IntN(4)), Generation: int64(1 + d.IntN(3))}
}

func (d draw) server() *networking.Server {
	s := &networking.Server{
		Name: one(d, "", "", "n"),
		Port: &networking.Port{Number: one[uint32](d, 80, 80, 443, 443, 0), Name: "p", Protocol: one(d, "HTTP", "HTTP", "HTTPS", "TLS", "TCP", "SCTP")},
		Bind: one(d, "", "", "", "10.0.0.1"),
	}
	for range 1 + d.IntN(2) {
		s.Hosts = append(s.Hosts, one(d, "*", "x.example.com", "*.example.com", "./y.example.com", "b/x.example.com", "*.local"))
	}
	tls := &networking.ServerTLSSettings{
		Mode: networking.ServerTLSSettings_TLSmode(d.IntN(6)), CredentialName: one(d, "pair", "generic", "missing"),
		CipherSuites: one(d, nil, []string{"AES128-SHA"}),
	}
	switch s.Port.Protocol {
	case "HTTP":
		if tls = nil; d.IntN(3) == 0 {
			tls = &networking.ServerTLSSettings{HttpsRedirect: true}
		}
	case "TCP":
		tls = one(d, nil, tls)
	}
	s.Tls = tls
	return s
}

func (d draw) gateway() (string, metav1.Object) {
	o := &networkingv1.Gateway{ObjectMeta: d.meta(one(d, "a", "b"), "g1", "g2")}
	o.Spec.Selector = one(d, nil, map[string]string{"istio": "x"}, map[string]string{"istio": "y"}, map[string]string{"istio": "x", "team": "t"})
	for range d.IntN(4) {
		o.Spec.Servers = append(o.Spec.Servers, d.server())
	}
	return KindGateway, o
}

func (d draw) fleet() (string, metav1.Object) {
	o := &gatewayv1.Gateway{ObjectMeta: d.meta("istio-system", "f1", "f2")}
	o.Spec.GatewayClassName = one[gatewayv1.ObjectName](d, "fairway", "fairway", "other")
	o.Spec.Infrastructure = &gatewayv1.GatewayInfrastructure{Labels: map[gatewayv1.LabelKey]gatewayv1.LabelValue{
		"istio": one[gatewayv1.LabelValue](d, "x", "y"), "team": one[gatewayv1.LabelValue](d, "t", "u"),
	}}
	for i := range d.IntN(3) {
		l := gatewayv1.Listener{Name: gatewayv1.SectionName(fmt.Sprint("l", i)), Port: one[gatewayv1.PortNumber](d, 80, 443, 99), Protocol: "HTTP"}
		if h := one[gatewayv1.Hostname](d, "", "x.example.com", "*.com"); h != "" {
			l.Hostname = &h
		}
		o.Spec.Listeners = append(o.Spec.Listeners, l)
	}
	return "Gateway", o
}

func (d draw) virtualService() (string, metav1.Object) {
	o := &networkingv1.VirtualService{ObjectMeta: d.meta(one(d, "a", "b"), "v1", "v2")}
	o.Spec.Hosts = []string{one(d, "*", "x.example.com", "y.example.com", "*.example.com")}
	o.Spec.Gateways = []string{one(d, "g1", "a/g2", "b/g1", "b/none")}
	to := &networking.Destination{Host: "s.a.svc.cluster.local"}
	o.Spec.Http = []*networking.HTTPRoute{{Route: []*networking.HTTPRouteDestination{{Destination: to}}}}
	o.Spec.Tcp = []*networking.TCPRoute{{Route: []*networking.RouteDestination{{Destination: to}}}}
	o.Spec.Tls = []*networking.TLSRoute{{
		Match: []*networking.TLSMatchAttributes{{SniHosts: o.Spec.Hosts}}, Route: []*networking.RouteDestination{{Destination: to}},
	}}
	return KindVirtualService, o
}

func (d draw) secret() (string, metav1.Object) {
	s := one(d, d.secrets...).(*corev1.Secret).DeepCopy()
	s.Namespace = "istio-system"
	s.Name = one(d, "pair", "generic", "pair-cacert")
	return "Secret", s
}

func (d draw) configMap() (string, metav1.Object) {
	o := &corev1.ConfigMap{ObjectMeta: d.meta("istio-system", "istio")}
	o.Data = map[string]string{"mesh": one(d, "connectTimeout: 3s", "connectTimeout: x", "a: [", "noSuchField: 1")}
	return "ConfigMap", o
}

func (d draw) service() (string, metav1.Object) {
	o := &corev1.Service{ObjectMeta: d.meta("a", "s")}
	o.Spec.Ports = []corev1.ServicePort{{Name: "http", Port: one[int32](d, 80, 81)}}
	return "Service", o
}

// edit changes one thing in the world and returns its key.
func (d draw) edit(w dialecttest.World) routing.ObjectKey {
	if keys := w.Keys(); len(keys) > 0 && d.IntN(4) == 0 {
		k := one(d, keys...)
		delete(w, k)
		return k
	}
	kind, o := one(d, d.gateway, d.gateway, d.gateway, d.fleet, d.fleet, d.virtualService, d.secret, d.configMap, d.service)()
	return w.Put(kind, o)
}

// TestGatewaysComeToTheSameAsAFreshStart is the law of the sheet for Gateways:
// whatever the history, the Spec, the Reports and the work remembered are those
// of a Translator that sees the objects for the first time. What comes out is
// what Compile takes.
func TestGatewaysComeToTheSameAsAFreshStart(t *testing.T) {
	for seed := range uint64(40) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { checkGatewayHistory(t, seed, 60) })
	}
}

func FuzzGatewaysComeToTheSameAsAFreshStart(f *testing.F) {
	f.Add(uint64(1), uint8(50))
	f.Fuzz(func(t *testing.T, seed uint64, steps uint8) { checkGatewayHistory(t, seed, int(steps)) })
}

func checkGatewayHistory(t *testing.T, seed uint64, steps int) {
	s := one(newDraw(t, seed), inCluster, inFolder)
	d := newDraw(t, seed)
	w, kept := dialecttest.World{}, dialecttest.NewResult()
	tr := newTranslator(w, s)
	for step := range steps {
		var changed []routing.ObjectKey
		for range 1 + d.IntN(3) {
			changed = append(changed, d.edit(w))
		}
		kept.Apply(tr.Update(changed))
		at := fmt.Sprintf("seed %d, step %d, changed %v", seed, step, changed)
		dialecttest.Fresh(t, at, w, tr, kept, newTranslator(w, s))
		for _, spec := range fleetSpecs(&kept.Spec, s) {
			if _, problems := routing.Compile(spec); len(problems) > 0 {
				t.Fatalf("%s: Compile adds %v", at, problems)
			}
		}
	}
}

// fleetSpecs are the Specs of the processes that serve: in a cluster each fleet
// has its own.
func fleetSpecs(all *routing.Spec, s setting) []*routing.Spec {
	if !s.gateway.Isolated {
		return []*routing.Spec{all}
	}
	specs := map[string]*routing.Spec{}
	for name, l := range all.Listeners {
		spec := specs[l.Gateway]
		if spec == nil {
			spec = &routing.Spec{Listeners: map[routing.ListenerName]*routing.Listener{}, Routes: map[routing.RouteName]*routing.Route{}, Clusters: all.Clusters}
			specs[l.Gateway] = spec
		}
		spec.Listeners[name] = l
	}
	for _, spec := range specs {
		for name, r := range all.Routes {
			part := *r
			part.Attached = slices.DeleteFunc(slices.Clone(r.Attached), func(a routing.Attachment) bool { return spec.Listeners[a.Listener] == nil })
			spec.Routes[name] = &part
		}
	}
	return slices.Collect(maps.Values(specs))
}
