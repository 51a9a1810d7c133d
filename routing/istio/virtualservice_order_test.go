package istio

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"

	networking "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"fairway.dev/routing"
	"fairway.dev/routing/dialecttest"
)

// The oracle reads Istio's documentation literally: of the VirtualServices that
// share a host of a Gateway the rules stand one behind the other, those of older
// objects first; a rule that takes every request hides what comes behind it in
// its object, and comes last of all; the first that matches counts.

// An oracleRequest is a request, and where it comes in.
type oracleRequest struct {
	gateway            string // of the dialect
	port               uint32
	host, path, method string
	query              map[string]string
	header             fields
}

type fields map[string]string

func (f fields) Value(name string) (string, bool) { v, ok := f[name]; return v, ok }

// An oracleRule is a match of a rule, and where it stands.
type oracleRule struct {
	service *networkingv1.VirtualService
	rule    int
	match   *networking.HTTPMatchRequest // nil: every request
}

// answer names the rule that takes a request: "name/index", or nothing.
func oracleAnswer(services []*networkingv1.VirtualService, gateways map[string][]string, r *oracleRequest) string {
	hosts := map[string][]*networkingv1.VirtualService{}
	for _, vs := range services {
		own, all := oracleRules(vs, r)
		if !slices.Contains(vs.Spec.Gateways, r.gateway) || len(own)+len(all) == 0 {
			continue // without a rule that applies there it has no host there
		}
		for _, h := range oracleHosts(vs.Spec.Hosts, gateways[r.gateway]) {
			if !slices.Contains(hosts[h], vs) {
				hosts[h] = append(hosts[h], vs)
			}
		}
	}
	var best string
	for h := range hosts {
		if oracleCovers(h, r.host) && (best == "" || oracleNearer(h, best)) {
			best = h
		}
	}
	sharing := slices.Clone(hosts[best])
	slices.SortFunc(sharing, func(a, b *networkingv1.VirtualService) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), strings.Compare(a.Name, b.Name))
	})
	var rules, last []oracleRule
	for _, vs := range sharing {
		own, all := oracleRules(vs, r)
		rules, last = append(rules, own...), append(last, all...)
	}
	for _, x := range append(rules, last...) {
		if x.match == nil || oracleMatches(x.match, r) {
			return fmt.Sprintf("%s/%d", x.service.Name, x.rule)
		}
	}
	return ""
}

// oracleHosts is the intersection of a VirtualService's hosts and a Gateway's.
func oracleHosts(hosts, served []string) (both []string) {
	for _, h := range hosts {
		for _, s := range served {
			if oracleCovers(s, h) {
				both = append(both, h)
			} else if oracleCovers(h, s) {
				both = append(both, s)
			}
		}
	}
	return both
}

func oracleCovers(pattern, host string) bool {
	return pattern == "*" || pattern == host ||
		strings.HasPrefix(pattern, "*.") && strings.HasSuffix(host, pattern[1:]) && len(host) >= len(pattern)
}

// oracleNearer reports whether a is the more specific of two patterns of a host.
func oracleNearer(a, b string) bool {
	wildA, wildB := strings.HasPrefix(a, "*"), strings.HasPrefix(b, "*")
	return !wildA && wildB || wildA == wildB && len(a) > len(b)
}

// oracleRules lists the matches of an object that apply where a request comes
// in, up to the first for every request, which is returned apart.
func oracleRules(vs *networkingv1.VirtualService, r *oracleRequest) (rules, all []oracleRule) {
	for i, http := range vs.Spec.Http {
		if len(http.Match) == 0 {
			return rules, []oracleRule{{vs, i, nil}}
		}
		for _, m := range http.Match {
			if m.Port != 0 && m.Port != r.port || len(m.Gateways) > 0 && !slices.Contains(m.Gateways, r.gateway) {
				continue
			}
			path := m.Uri.GetPrefix() + m.Uri.GetRegex() + m.Uri.GetExact()
			anyPath := m.Uri == nil || m.Uri.GetPrefix() == "/" || m.Uri.GetRegex() == ".*" || path == ""
			if anyPath && m.Method == nil && len(m.Headers)+len(m.WithoutHeaders)+len(m.QueryParams) == 0 {
				return rules, []oracleRule{{vs, i, m}}
			}
			rules = append(rules, oracleRule{vs, i, m})
		}
	}
	return rules, nil
}

func oracleMatches(m *networking.HTTPMatchRequest, r *oracleRequest) bool {
	if m.Uri != nil && !oracleText(m.Uri, r.path, m.IgnoreUriCase && m.Uri.GetRegex() == "") {
		return false
	}
	if m.Method != nil && !oracleText(m.Method, r.method, false) {
		return false
	}
	for name, want := range m.Headers {
		if v, ok := r.header[name]; !ok || !oracleText(want, v, false) {
			return false
		}
	}
	for name, want := range m.WithoutHeaders {
		v, ok := r.header[name] // absent is empty, but for presence
		present := want.MatchType == nil || want.GetRegex() == "*"
		if present && ok || !present && oracleText(want, v, false) {
			return false
		}
	}
	for name, want := range m.QueryParams {
		if v, ok := r.query[name]; !ok || !oracleText(want, v, false) {
			return false
		}
	}
	return true
}

func oracleText(m *networking.StringMatch, v string, fold bool) bool {
	if fold {
		v = strings.ToLower(v)
	}
	as := func(want string) string {
		if fold {
			return strings.ToLower(want)
		}
		return want
	}
	switch t := m.MatchType.(type) {
	case *networking.StringMatch_Exact:
		return v == as(t.Exact)
	case *networking.StringMatch_Prefix:
		return strings.HasPrefix(v, as(t.Prefix))
	case *networking.StringMatch_Regex:
		return t.Regex == "*" || regexp.MustCompile("^(?:"+t.Regex+")$").MatchString(v)
	}
	return true
}

// A dice makes objects and requests of few words, so that they meet.
type dice struct{ *rand.Rand }

func pick[T any](d dice, list ...T) T { return list[d.IntN(len(list))] }

var oracleNames = []string{"a.example.com", "b.example.com", "c.a.example.com", "d.example.org"}

func (d dice) text(exact, prefix, regex []string) *networking.StringMatch {
	switch d.IntN(3) {
	case 0:
		return &networking.StringMatch{MatchType: &networking.StringMatch_Exact{Exact: pick(d, exact...)}}
	case 1:
		return &networking.StringMatch{MatchType: &networking.StringMatch_Prefix{Prefix: pick(d, prefix...)}}
	}
	return &networking.StringMatch{MatchType: &networking.StringMatch_Regex{Regex: pick(d, regex...)}}
}

func (d dice) value() *networking.StringMatch {
	if d.IntN(5) == 0 {
		return &networking.StringMatch{}
	}
	return d.text([]string{"", "1", "12"}, []string{"1", "2"}, []string{"*", "1*", "[0-9]+"})
}

func (d dice) match() *networking.HTTPMatchRequest {
	m := &networking.HTTPMatchRequest{IgnoreUriCase: d.IntN(4) == 0}
	if d.IntN(4) > 0 {
		m.Uri = d.text([]string{"/a", "/A/b", "/"}, []string{"/", "/a", "/A", "/a/", "/ab"}, []string{".*", "/a.*", "/a/?", "/[A-B]/b"})
	}
	if d.IntN(5) == 0 {
		m.Method = d.text([]string{"GET", "PUT"}, []string{"P", "G"}, []string{"GET|PUT"})
	}
	if d.IntN(4) == 0 {
		m.Headers = map[string]*networking.StringMatch{"x": d.value()}
	}
	if d.IntN(4) == 0 {
		m.WithoutHeaders = map[string]*networking.StringMatch{pick(d, "x", "y"): d.value()}
	}
	if d.IntN(5) == 0 {
		m.QueryParams = map[string]*networking.StringMatch{"q": d.value()}
	}
	if d.IntN(6) == 0 {
		m.Port = pick(d, uint32(80), 8080)
	}
	if d.IntN(6) == 0 {
		m.Gateways = []string{pick(d, "wide", "narrow")}
	}
	return m
}

// service makes a VirtualService. A rule answers with its name: "name/index".
func (d dice) service(name string) *networkingv1.VirtualService {
	o := &networkingv1.VirtualService{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, CreationTimestamp: dialecttest.Day(1 + d.IntN(4))}}
	for range 1 + d.IntN(2) {
		if h := pick(d, "*", "*.example.com", "*.a.example.com", "a.example.com", "b.example.com", "d.example.org"); !slices.Contains(o.Spec.Hosts, h) {
			o.Spec.Hosts = append(o.Spec.Hosts, h)
		}
	}
	o.Spec.Gateways = pick(d, []string{"wide"}, []string{"narrow"}, []string{"wide", "narrow"})
	for i := range 1 + d.IntN(5) {
		rule := &networking.HTTPRoute{DirectResponse: &networking.HTTPDirectResponse{
			Status: 200, Body: &networking.HTTPBody{Specifier: &networking.HTTPBody_String_{String_: fmt.Sprintf("%s/%d", name, i)}},
		}}
		for range d.IntN(4) {
			rule.Match = append(rule.Match, d.match())
		}
		o.Spec.Http = append(o.Spec.Http, rule)
	}
	return o
}

func (d dice) request() *oracleRequest {
	r := &oracleRequest{host: pick(d, oracleNames...), path: pick(d, "/", "/a", "/a/", "/ab", "/A/b", "/a/b", "/B/b", "/x"), method: pick(d, "GET", "PUT", "POST")}
	r.gateway, r.port = pick(d, "wide", "narrow"), 80
	if r.gateway == "narrow" {
		r.port = 8080
	}
	r.header, r.query = fields{}, map[string]string{}
	for _, name := range []string{"x", "y"} {
		if d.IntN(2) == 0 {
			r.header[name] = pick(d, "", "1", "12", "z")
		}
	}
	if d.IntN(2) == 0 {
		r.query["q"] = pick(d, "", "1", "12")
	}
	return r
}

const oracleWorld = `
kind: Gateway
metadata: {namespace: istio-system, name: ingress, creationTimestamp: "2026-01-01T00:00:00Z"}
spec: {gatewayClassName: fairway, infrastructure: {labels: {istio: ingressgateway}}, listeners: []}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {namespace: shop, name: wide, creationTimestamp: "2026-01-01T00:00:00Z"}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"]}]
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {namespace: shop, name: narrow, creationTimestamp: "2026-01-01T00:00:00Z"}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 8080, name: http, protocol: HTTP}, hosts: ["*.example.com", "b.example.com"]}]
`

func TestVirtualServicesMatchAsTheOracleSays(t *testing.T) {
	for seed := range uint64(300) {
		checkOrder(t, seed)
	}
}

func FuzzVirtualServicesMatchAsTheOracleSays(f *testing.F) {
	f.Add(uint64(1))
	f.Fuzz(checkOrder)
}

func checkOrder(t *testing.T, seed uint64) {
	d := dice{rand.New(rand.NewPCG(seed, 1))}
	w := dialecttest.World{}
	load(t, w, oracleWorld)
	var services []*networkingv1.VirtualService
	for i := range 1 + d.IntN(5) {
		vs := d.service(string(rune('a' + i)))
		services = append(services, vs)
		w.Put(KindVirtualService, vs)
	}
	result := translate(w, inCluster)
	snap, problems := routing.Compile(&result.Spec)
	if len(problems) > 0 {
		t.Fatalf("seed %d: %v", seed, problems)
	}
	unreachable := rulesOutOfReach(services, result)
	served := map[string][]string{"wide": {"*"}, "narrow": {"*.example.com", "b.example.com"}}
	for range 60 {
		r := d.request()
		want := oracleAnswer(services, served, r)
		got := answerOf(snap, r)
		if got != want {
			t.Fatalf("seed %d: %+v is taken by %q, want %q\n%s", seed, *r, got, want, result.Dump())
		}
		if slices.Contains(unreachable, got) {
			t.Fatalf("seed %d: %+v gets to %s, which is said to be out of reach\n%s", seed, *r, got, result.Dump())
		}
	}
}

// rulesOutOfReach are the rules of which the Reports say that no request gets
// to any match.
func rulesOutOfReach(services []*networkingv1.VirtualService, result *dialecttest.Result) (list []string) {
	for _, vs := range services {
		said := map[string]bool{}
		for _, p := range result.Reports[routing.ObjectKey{Kind: KindVirtualService, Namespace: vs.Namespace, Name: vs.Name}].Problems {
			if p.Reason == reasonUnreachable || p.Reason == reasonNeverMatches {
				said[p.Origin.Field] = true
			}
		}
		for i, rule := range vs.Spec.Http {
			field, n := fmt.Sprintf("spec.http[%d]", i), 0
			for j := range rule.Match {
				if said[fmt.Sprintf("%s.match[%d]", field, j)] {
					n++
				}
			}
			if said[field] || len(rule.Match) > 0 && n == len(rule.Match) {
				list = append(list, fmt.Sprintf("%s/%d", vs.Name, i))
			}
		}
	}
	return list
}

// answerOf returns the rule that takes a request.
func answerOf(snap *routing.Snapshot, r *oracleRequest) string {
	port := snap.Port(routing.PortKey{Port: uint16(r.port)})
	if port == nil {
		return ""
	}
	query := ""
	for name, v := range r.query {
		query = name + "=" + v
	}
	res := port.Match(&routing.Request{
		Host: r.host, Authority: r.host, Path: r.path, Query: query, Method: r.method, Scheme: "http", Header: r.header,
		Source: netip.MustParseAddr("192.0.2.1"),
	})
	if res.Target == nil {
		return ""
	}
	return res.Target.Action.Body
}
