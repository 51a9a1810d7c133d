package convert

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	networking "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"fairway.dev/routing"
	"fairway.dev/routing/dialecttest"
	"fairway.dev/routing/gatewayapi"
	"fairway.dev/routing/istio"
)

// services are where the rules of a random VirtualService send, each elsewhere.
const services = 5

func pick[T any](r *rand.Rand, list ...T) T { return list[r.IntN(len(list))] }

func randomString(r *rand.Rand, texts ...string) *networking.StringMatch {
	switch s := pick(r, texts...); r.IntN(5) {
	case 0:
		return &networking.StringMatch{MatchType: &networking.StringMatch_Prefix{Prefix: s[:1]}}
	case 1:
		return &networking.StringMatch{}
	default:
		return &networking.StringMatch{MatchType: &networking.StringMatch_Exact{Exact: s}}
	}
}

func randomRequestMatch(r *rand.Rand) *networking.HTTPMatchRequest {
	m := &networking.HTTPMatchRequest{}
	switch r.IntN(6) {
	case 0:
		m.Uri = &networking.StringMatch{MatchType: &networking.StringMatch_Exact{Exact: pick(r, "/", "/a", "/a/b", "/ab")}}
	case 1:
		m.Uri = &networking.StringMatch{MatchType: &networking.StringMatch_Regex{Regex: pick(r, "/a/[bc]", "/b.*", "/ab?")}}
	case 2, 3, 4:
		m.Uri = &networking.StringMatch{MatchType: &networking.StringMatch_Prefix{Prefix: pick(r, "/", "/a", "/a/", "/a/b", "/b")}}
	}
	if r.IntN(4) == 0 {
		m.Method = &networking.StringMatch{MatchType: &networking.StringMatch_Exact{Exact: pick(r, "GET", "POST")}}
	}
	if r.IntN(4) == 0 {
		m.Headers = map[string]*networking.StringMatch{pick(r, "x", "y"): randomString(r, "1", "2")}
	}
	if r.IntN(5) == 0 {
		m.QueryParams = map[string]*networking.StringMatch{"q": randomString(r, "1", "2")}
	}
	return m
}

func randomVirtualService(r *rand.Rand) *networkingv1.VirtualService {
	vs := &networkingv1.VirtualService{ObjectMeta: metav1.ObjectMeta{Name: "v", Namespace: "shop", CreationTimestamp: dialecttest.Day(1)}}
	vs.Spec.Gateways = []string{"edge"}
	vs.Spec.Hosts = pick(r, []string{"a.example"}, []string{"*.example"}, []string{"*"}, []string{"a.example", "b.other"})
	for i := range 1 + r.IntN(services) {
		h := &networking.HTTPRoute{Route: []*networking.HTTPRouteDestination{{Destination: &networking.Destination{Host: fmt.Sprintf("s%d", i)}}}}
		for range r.IntN(3) + r.IntN(2) {
			h.Match = append(h.Match, randomRequestMatch(r))
		}
		vs.Spec.Http = append(vs.Spec.Http, h)
	}
	return vs
}

// inForce translates and compiles objects.
func inForce(t *testing.T, objects map[string][]metav1.Object) *routing.Port {
	t.Helper()
	w := dialecttest.World{}
	for kind, list := range objects {
		for _, o := range list {
			w.Put(kind, o)
		}
	}
	w.Put("Namespace", &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}})
	for i := range services {
		s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("s%d", i), Namespace: "shop"}}
		s.Spec.Ports = []corev1.ServicePort{{Name: "http", Port: 80}}
		w.Put("Service", s)
	}
	translator := gatewayapi.New(w, gatewayapi.Options{DefaultClass: "fairway"})
	istio.Join(translator, istio.Options{AnySelector: true, Fleet: "shop/edge"})
	result := dialecttest.NewResult().Apply(translator.Update(w.Keys()))
	snap, problems := routing.Compile(&result.Spec)
	if len(problems) > 0 || len(snap.Ports()) != 1 {
		t.Fatalf("%d ports, problems %v\n%s", len(snap.Ports()), problems, result.Dump())
	}
	return snap.Ports()[0]
}

type fields map[string]string

func (f fields) Value(name string) (string, bool) {
	v, ok := f[name]
	return v, ok
}

// answer is where a request goes.
func answer(p *routing.Port, q *routing.Request) string {
	res := p.Match(q)
	if res.Target == nil {
		return "404"
	}
	var to []string
	for _, b := range res.Target.Action.Backends {
		to = append(to, string(b.Cluster))
	}
	return strings.Join(to, ",")
}

// A VirtualService and the HTTPRoutes that it becomes send every request to the
// same place.
func TestConvertedRoutesAnswerTheSame(t *testing.T) {
	compared := 0
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 9))
		edge := &networkingv1.Gateway{ObjectMeta: metav1.ObjectMeta{Name: "edge", Namespace: "shop"}}
		edge.Spec.Servers = []*networking.Server{{Port: &networking.Port{Number: 80, Name: "http", Protocol: "HTTP"}, Hosts: []string{"*"}}}
		vs := randomVirtualService(r)
		var in Input
		in.Gateways, in.VirtualServices = []*networkingv1.Gateway{edge}, []*networkingv1.VirtualService{vs}
		for i := range services {
			s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("s%d", i), Namespace: "shop"}}
			s.Spec.Ports = []corev1.ServicePort{{Port: 80}}
			in.Services = append(in.Services, s)
		}
		out := Convert(in, Options{})
		if slices.ContainsFunc(out.Findings, func(p *routing.Problem) bool { return p.Reason == OrderNotKept }) {
			continue // it says so
		}
		converted := map[string][]metav1.Object{}
		for _, o := range out.Objects {
			converted[o.GetObjectKind().GroupVersionKind().Kind] = append(converted[o.GetObjectKind().GroupVersionKind().Kind], o)
			if route, ok := o.(*gatewayv1.HTTPRoute); ok {
				for i, rule := range route.Spec.Rules {
					if len(rule.Matches) > maxRuleMatches {
						t.Fatalf("seed %d: rule %d has %d matches", seed, i, len(rule.Matches))
					}
				}
			}
		}
		before := inForce(t, map[string][]metav1.Object{istio.KindGateway: {edge}, istio.KindVirtualService: {vs}})
		after := inForce(t, converted)
		compared++
		for range 300 {
			header := fields{}
			for _, name := range []string{"x", "y"} {
				if r.IntN(2) == 0 {
					header[name] = pick(r, "1", "2", "12")
				}
			}
			q := &routing.Request{
				Host: pick(r, "a.example", "b.other", "c.example"), Method: pick(r, "GET", "POST"), Header: header,
				Path: pick(r, "/", "/a", "/a/", "/a/b", "/a/bc", "/ab", "/abc", "/b", "/b/c", "/bc", "/c"), Query: pick(r, "", "q=1", "q=2", "q="),
			}
			if want, got := answer(before, q), answer(after, q); got != want {
				text, _ := out.YAML()
				t.Fatalf("seed %d: %s %s%s?%s %v goes to %s, want %s\n%v\n%s", seed, q.Method, q.Host, q.Path, q.Query, header, got, want, vs.Spec.String(), text)
			}
		}
	}
	if compared < 100 {
		t.Errorf("%d conversions were compared, want 100 at least", compared)
	}
}
