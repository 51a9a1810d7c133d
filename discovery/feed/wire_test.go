package feed

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"fairway.dev/routing"
)

var update = flag.Bool("update", false, "rewrite golden files")

// parts is one of each kind.
func parts() []any {
	return []any{
		&routing.Listener{}, &routing.Route{}, &routing.Cluster{}, &routing.Endpoints{}, &routing.Certificate{},
		&routing.Policy{}, &routing.Workload{}, &routing.Capture{},
	}
}

// fill sets what v has, by chance.
func fill(r *rand.Rand, v reflect.Value) {
	switch p := v.Addr().Interface().(type) {
	case *netip.Addr:
		*p = netip.MustParseAddr("fe80::1%eth0")
		return
	case *netip.AddrPort:
		*p = netip.MustParseAddrPort("10.0.0.1:80")
		return
	case *netip.Prefix:
		*p = netip.MustParsePrefix("10.0.0.0/8")
		return
	case *time.Time:
		*p = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
		return
	case *routing.PathKind:
		*p = routing.PathKind(r.IntN(5))
		return
	case *routing.TextKind:
		*p = routing.TextKind(r.IntN(4))
		return
	}
	if r.IntN(3) == 0 {
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			fill(r, v.Field(i))
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(r, v.Elem())
	case reflect.Slice:
		n := 1 + r.IntN(2)
		v.Set(reflect.MakeSlice(v.Type(), n, n))
		for i := range n {
			fill(r, v.Index(i))
		}
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		fill(r, key)
		fill(r, value)
		v.SetMapIndex(key, value)
	case reflect.String:
		choices := []string{"text", "a\"b\\c\n<>&", "schön \u2028", ""}
		v.SetString(choices[r.IntN(len(choices))])
	case reflect.Bool:
		v.SetBool(true)
	default:
		switch n := 1 + r.IntN(100); {
		case v.CanInt():
			v.SetInt(int64(n))
		case v.CanFloat():
			v.SetFloat(float64(n))
		default:
			v.SetUint(uint64(n))
		}
	}
}

// What is sent is what is read, and is what encoding/json says.
func TestPartsSurviveTheWire(t *testing.T) {
	for seed := range uint64(500) {
		r := rand.New(rand.NewPCG(seed, 5))
		for _, part := range parts() {
			fill(r, reflect.ValueOf(part).Elem())
			name := nameOf(part)
			text := marshal(bodyOf(part))
			got, err := decodePart(name, text)
			if err != nil {
				t.Fatalf("%s: %v", text, err)
			}
			if !reflect.DeepEqual(got, part) {
				t.Fatalf("%s reads as %+v, want %+v", text, got, part)
			}
			plain, err := json.Marshal(bodyOf(part))
			if err != nil {
				t.Fatal(err)
			}
			if again, err := decodePart(name, plain); err != nil || !bytes.Equal(marshal(bodyOf(again)), text) {
				t.Fatalf("encoding/json's %s comes to another text than %s (%v)", plain, text, err)
			}
		}
	}
}

// someParts uses most fields of each part.
func someParts() []any {
	text := func(s string) *string { return &s }
	o := routing.Origin{Kind: "HTTPRoute", Namespace: "shop", Name: "cart"}
	return []any{
		&routing.Listener{
			Name: "shop/edge/https", Origin: routing.Origin{Kind: "Gateway", Namespace: "shop", Name: "edge", Field: "spec.listeners[0]", File: "shop.yaml", Line: 7},
			Created: time.Date(2026, 1, 2, 3, 4, 5, 0, time.FixedZone("", 3600)), Gateway: "shop/edge",
			Addresses: []netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("fe80::1%eth0")},
			Port:      443, Protocol: routing.HTTPS, Hostname: "*.example.com", ProxyProtocol: routing.ProxyProtocolRequired,
			TLS: &routing.ListenerTLS{Client: &routing.ClientValidation{Roots: []byte("roots"), AllowInsecure: true}, Certificates: []routing.CertificateName{"shop/tls"}},
		},
		&routing.Listener{Name: "shop/edge/tls", Gateway: "shop/edge", Port: 443, Protocol: routing.TLS, TLS: &routing.ListenerTLS{Passthrough: true}},
		&routing.Route{
			Name: "HTTPRoute/shop/cart", Origin: o, Created: time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC),
			Attached: []routing.Attachment{{Listener: "shop/edge/https", Hosts: []string{"shop.example.com"}}},
			Rules: []routing.Rule{{
				Name: "all", Origin: o.At("spec.rules[0]"),
				Matches: []routing.Match{{
					Path: routing.PathMatch{Kind: routing.PathExact, Value: "/cart"}, Method: "GET",
					Headers: []routing.ValueMatch{{Name: "x-env", Value: "a|b", Kind: routing.TextRegex}}, Query: []routing.ValueMatch{{Name: "q", Value: "<&>\"\u2028ö"}},
				}},
				Action: routing.Action{
					Backends: []routing.Backend{{
						Cluster: "shop/cart:80", Weight: 1, Origin: o.At("spec.rules[0].backendRefs[0]"),
						Request: routing.HeaderChange{Set: []routing.Header{{Name: "A", Value: "b"}}, Add: []routing.Header{{Name: "C", Value: "d"}}, Remove: []string{"e"}},
					}, {Status: 500, Reason: routing.BackendNotFound, Weight: 2}},
					Rewrite:  &routing.Rewrite{Host: "a.example.com", Path: routing.PathEdit{Prefix: text("")}},
					Mirrors:  []routing.Mirror{{Cluster: "shop/log:80", Numerator: 1, Denominator: 100}},
					CORS:     &routing.CORS{AllowOrigins: []string{"*"}, AllowCredentials: true, MaxAge: time.Hour},
					Timeouts: routing.Timeouts{Request: time.Second, Backend: -1},
					Retry:    &routing.Retry{Attempts: 2, Codes: []int{503}, Backoff: time.Millisecond},
					Session:  &routing.Session{Name: "s", Path: "/", Absolute: time.Hour, Permanent: true},
				},
			}, {Action: routing.Action{Redirect: &routing.Redirect{Scheme: "https", Port: 443, Status: 301, Path: routing.PathEdit{Full: text("/new")}}}}},
		},
		&routing.Cluster{
			Name: "shop/cart:80", Protocol: routing.UpstreamAuto, Balance: routing.Balance{Kind: routing.Maglev, HashOn: "source-ip"},
			TLS:    &routing.UpstreamTLS{ServerName: "cart", SANs: []string{"cart.shop"}, Roots: []byte("roots"), Certificate: "shop/client"},
			Limits: routing.Limits{Connections: 1, Requests: -1}, Ejection: routing.Ejection{Off: true, Base: time.Second},
			SlowStart: time.Minute, ProxyProtocol: 2, Service: "cart", Namespace: "shop", Port: 80,
		},
		&routing.Endpoints{Cluster: "shop/cart:80", List: []routing.Endpoint{
			{Addr: netip.MustParseAddrPort("10.0.0.1:80"), Weight: 2, Zone: "zone-a", Ready: true, Serving: true, Workload: "cart-1"},
			{Addr: netip.MustParseAddrPort("[::1]:80"), Terminating: true},
		}},
		&routing.Certificate{Name: "shop/tls", Origin: routing.Origin{Kind: "Secret", Namespace: "shop", Name: "tls"}, Chain: []byte("chain"), Key: []byte("key")},
		&routing.Listener{
			Name: "shop/waypoint/cart:80", Gateway: "shop/waypoint", Port: 80, Protocol: routing.HTTP, Policies: []routing.PolicyName{"AuthorizationPolicy/shop/viewers"},
			Addresses: []netip.Addr{netip.MustParseAddr("10.96.0.5")}, Inside: true, Names: []string{"cart.shop.svc.cluster.local"}, From: "shop",
			To: "shop/cart:80", Detect: true, Capture: 20001, Strict: true,
		},
		&routing.Listener{Name: "shop/waypoint/mesh", Gateway: "shop/waypoint", Port: routing.HBONEPort, Protocol: routing.HBONE, Mesh: &routing.Mesh{
			TrustDomains: []string{"cluster.local"}, Vouchers: []routing.Voucher{{Identity: "spiffe://cluster.local/ns/bank/sa/waypoint", Namespaces: []string{"bank"}}}, PassOn: true,
		}},
		&routing.Cluster{Name: "bank/teller:80", Hop: &routing.Hop{Gateway: "bank/waypoint", Inside: true, Cluster: "mesh/bank/waypoint", Authority: "10.96.0.6:80",
			Beyond: &routing.FarHop{Cluster: "mesh/~/west", Authority: "teller.bank:80"}}},
		&routing.Endpoints{Cluster: "mesh/bank/waypoint", List: []routing.Endpoint{
			{Addr: netip.MustParseAddrPort("10.0.0.3:15008"), Node: "node-a", Identity: "spiffe://cluster.local/ns/bank/sa/waypoint", Ready: true},
		}},
		&routing.Policy{Name: "AuthorizationPolicy/shop/viewers", Origin: routing.Origin{Kind: "AuthorizationPolicy", Namespace: "shop", Name: "viewers"}, Authorization: &routing.Authorization{
			Action: routing.Custom, DryRun: true, External: &routing.ExternalAuth{Cluster: "shop/judge:80"}, Broken: "why",
			Rules: []routing.AuthorizationRule{{
				From: []routing.AuthorizationSource{{Principals: routing.Patterns{In: []string{"*/sa/cart"}, Out: []string{"a"}}, IPBlocks: routing.Prefixes{In: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}}},
				To:   []routing.AuthorizationOperation{{Ports: routing.PortSet{In: []uint16{80}}, Paths: routing.Patterns{In: []string{"/a/{*}"}}}},
				When: []routing.AuthorizationCondition{{Key: "source.ip", Values: routing.Patterns{Out: []string{"10.0.0.1"}}}},
			}},
		}},
		&routing.Policy{Name: "RateLimitPolicy/shop/most", RateLimit: &routing.RateLimit{
			Rules:  []routing.RateLimitRule{{Name: "all", Requests: 10, Per: time.Second, Burst: 5, By: []string{"principal"}, Matches: []routing.Match{{Method: "GET"}}}},
			Shared: &routing.SharedLimit{Cluster: "shop/redis:6379", Redis: true, Domain: "shop", Timeout: time.Millisecond}, FailClosed: true,
		}},
		&routing.Workload{
			Name: "shop/cart-1", Addresses: []netip.Addr{netip.MustParseAddr("10.0.0.1")}, Identity: "spiffe://cluster.local/ns/shop/sa/cart",
			Gateways: []string{"shop/waypoint"}, Node: "node-a", Captured: true, Strict: true, Open: []uint16{9090}, App: "cart", Version: "v1", Service: "cart", Owner: "cart",
		},
		&routing.Capture{Name: "shop/cart:80", Addresses: []netip.Addr{netip.MustParseAddr("10.96.0.5")}, Port: 80, Waypoint: "shop/waypoint", To: 20001},
	}
}

// nameOf returns the name of a part's resource.
func nameOf(part any) string {
	switch p := part.(type) {
	case *routing.Listener:
		return listenerName(p.Name)
	case *routing.Route:
		return routeName(p.Name)
	case *routing.Cluster:
		return clusterName(p.Name)
	case *routing.Endpoints:
		return endpointsName(p.Cluster)
	case *routing.Policy:
		return policyName(p.Name)
	case *routing.Workload:
		return workloadName(p.Name)
	case *routing.Capture:
		return captureName(p.Name)
	}
	return certificateName(part.(*routing.Certificate).Name)
}

// The wire as it is. Fields may be added to parts, and those that are not used
// change nothing here. What does change is not understood by pods and replicas
// of the version before.
func TestGoldenWire(t *testing.T) {
	var b bytes.Buffer
	for _, part := range someParts() {
		text := marshal(bodyOf(part))
		fmt.Fprintf(&b, "%s %s\n", nameOf(part), hashOf(text))
		json.Indent(&b, text, "", "  ")
		b.WriteByte('\n')
	}
	for _, body := range []any{
		&generation{Version: "v", Number: 7, Region: "region-1", Zone: "zone-a", SubZone: "rack-7", Labels: atHome.Labels},
		&podState{
			Pod: "shop/edge-1", Node: "node-a", Program: "v1.2.3", Replica: "control-a", Gateway: "shop/edge", Version: "v", Connected: time.Unix(0, 0), Listeners: "d",
			Problems: []problem{{routing.Origin{Kind: "Gateway", Namespace: "shop", Name: "edge", Field: "spec.listeners[0]"}, "PortUnavailable", "bind: in use"}},
		},
		&listenerSetWire{[]listenerVersion{{"shop/edge/http", "v"}}},
	} {
		fmt.Fprintf(&b, "%T\n", body)
		json.Indent(&b, marshal(body), "", "  ")
		b.WriteByte('\n')
	}
	golden := filepath.Join("testdata", "wire.golden")
	if *update {
		if err := os.WriteFile(golden, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	got, wanted := strings.Split(b.String(), "\n"), strings.Split(string(want), "\n")
	for i := range min(len(got), len(wanted)) {
		if got[i] != wanted[i] {
			t.Fatalf("%s:%d: the wire is %q, want %q; if it is meant so: go test -update", golden, i+1, got[i], wanted[i])
		}
	}
	if len(got) != len(wanted) {
		t.Errorf("%s: %d lines, want %d", golden, len(got), len(wanted))
	}
}

func TestWhatIsNotAPart(t *testing.T) {
	tests := []struct{ name, text string }{
		{"cluster/a", ``},
		{"cluster/a", `{`},
		{"cluster/a", `[]`},
		{"cluster/a", `{"Name":"a"} x`},
		{"cluster/a", `{"Name":"b"}`},             // another's name
		{"cluster/a", `{"Name":"a","Policy":{}}`}, // a policy that this pod does not know
		{"cluster/a", `{"Name":"a","Port":70000}`},
		{"endpoints/a", `{"Cluster":"a","List":[{"Addr":"10.0.0.1"}]}`},
		{"route/a", `{"Name":"a","Rules":[{"Matches":[{"Path":{"Kind":"Suffix"}}]}]}`},
		{"certificate/a", `{"Name":"a","Key":"!"}`},
		{"secret/a", `{"Name":"a"}`},
		{"cluster", `{"Name":"a"}`},
		{"", `{}`},
	}
	for _, tt := range tests {
		if part, err := decodePart(tt.name, []byte(tt.text)); err == nil {
			t.Errorf("%s %s reads as %+v, want an error", tt.name, tt.text, part)
		}
	}
}

func TestErrorsShowNoKey(t *testing.T) {
	const key = "c2VjcmV0"
	for _, text := range []string{`{"Name":"a","Key":"` + key + `","X":1}`, `{"Name":"a","Key":"` + key + `!"}`, `{"Name":"b","Key":"` + key} {
		if _, err := decodePart("certificate/a", []byte(text)); err == nil || strings.Contains(err.Error(), key) {
			t.Errorf("%s: %v, want an error without the key", text, err)
		}
	}
}

func FuzzDecodePart(f *testing.F) {
	for _, part := range someParts() {
		f.Add(nameOf(part), marshal(bodyOf(part)))
	}
	f.Fuzz(func(t *testing.T, name string, text []byte) {
		part, err := decodePart(name, text)
		if err != nil {
			return
		}
		// What reads once has one form.
		form := marshal(bodyOf(part))
		again, err := decodePart(name, form)
		if err != nil || !bytes.Equal(marshal(bodyOf(again)), form) {
			t.Errorf("%s reads again as %+v, %v", form, again, err)
		}
		new(routing.Snapshot).Update(deltaOf(part))
	})
}

func deltaOf(part any) *routing.Delta {
	d := &routing.Delta{}
	put(d, part)
	return d
}

func FuzzDecodePodState(f *testing.F) {
	f.Add("pod/shop/edge-1/1", []byte(`{"Pod":"shop/edge-1","Problems":[{"Reason":"x"}]}`))
	f.Add("listeners/x", []byte(`{"Versions":[{"Listener":"a","Version":"b"}]}`))
	f.Fuzz(func(t *testing.T, name string, text []byte) {
		known := newPeerPods()
		r := makeResource(PodStateType, name, "v", text)
		known.take(&discoveryv3.DeltaDiscoveryResponse{Resources: []*discoveryv3.Resource{r.message}})
		known.of("shop/edge", nil)
		if known.forget(); len(known.pods)+len(known.sets)+len(known.versions) > 0 {
			t.Errorf("%s %s is not forgotten", name, text)
		}
	})
}

func TestProblemsSurviveTheWire(t *testing.T) {
	long := strings.Repeat("ä", maxText)
	var many []*routing.Problem
	for i := range 2 * maxProblems {
		many = append(many, &routing.Problem{Origin: routing.Origin{Kind: "Gateway", Name: fmt.Sprint(i), Field: "f"}, Reason: "R", Err: fmt.Errorf("%s", long)})
	}
	got, refused, ok := problemsOf(metadataOf(many, []string{"cluster/a"}))
	if !ok || len(got) != maxProblems || len(refused) != 1 || refused[0] != "cluster/a" {
		t.Fatalf("%d problems, %q refused, want %d and the cluster", len(got), refused, maxProblems)
	}
	if p := got[1]; p.Origin != many[1].Origin || p.Reason != "R" || len(p.Err.Error()) > maxText || !strings.HasPrefix(long, p.Err.Error()) {
		t.Errorf("%v, want the beginning of %v", p, many[1])
	}
	if _, refused, _ = problemsOf(metadataOf(nil, make([]string, maxProblems+1))); len(refused) != 1 || refused[0] != wildcard {
		t.Errorf("%q refused, want that all may be", refused)
	}
	if _, _, ok := problemsOf(nodeOf("a").Metadata); ok {
		t.Error("problems where none are said")
	}
}

func FuzzProblems(f *testing.F) {
	text, err := proto.Marshal(metadataOf([]*routing.Problem{{Reason: "R", Err: os.ErrExist}}, []string{"a"}))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Fuzz(func(t *testing.T, text []byte) {
		var m structpb.Struct
		if proto.Unmarshal(text, &m) != nil {
			return
		}
		problems, refused, _ := problemsOf(&m)
		if len(problems) > maxProblems || len(refused) > maxProblems {
			t.Errorf("%d problems and %d names, want at most %d", len(problems), len(refused), maxProblems)
		}
		for _, p := range problems {
			if len(p.Err.Error()) > maxText || len(p.Origin.Name) > maxText {
				t.Errorf("a problem of %d bytes", len(p.Err.Error()))
			}
		}
	})
}
