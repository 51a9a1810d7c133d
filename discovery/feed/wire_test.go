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
func parts() map[string]any {
	return map[string]any{
		listenerKind: &routing.Listener{}, routeKind: &routing.Route{}, clusterKind: &routing.Cluster{},
		endpointsKind: &routing.Endpoints{}, certificateKind: &routing.Certificate{},
	}
}

// fill sets everything that v has, by chance or to something that is not zero.
func fill(r *rand.Rand, v reflect.Value, full bool) {
	switch p := v.Addr().Interface().(type) {
	case *netip.Addr:
		*p = netip.MustParseAddr("fe80::1%eth0")
		return
	case *netip.AddrPort:
		*p = netip.MustParseAddrPort("10.0.0.1:80")
		return
	case *time.Time:
		*p = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
		return
	case *routing.PathKind:
		*p = routing.PathKind(r.IntN(4))
		if full {
			*p = routing.PathExact
		}
		return
	}
	if !full && r.IntN(3) == 0 {
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			fill(r, v.Field(i), full)
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(r, v.Elem(), full)
	case reflect.Slice:
		n := r.IntN(3)
		if full {
			n = 1
		}
		if n == 0 {
			return
		}
		v.Set(reflect.MakeSlice(v.Type(), n, n))
		for i := range n {
			fill(r, v.Index(i), full)
		}
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		fill(r, key, true)
		fill(r, value, true)
		v.SetMapIndex(key, value)
	case reflect.String:
		choices := []string{"text", "a\"b\\c\n<>&", "schön \u2028", ""}
		v.SetString(choices[r.IntN(len(choices))])
		if full {
			v.SetString("text")
		}
	case reflect.Bool:
		v.SetBool(true)
	default:
		n := 1 + r.IntN(100)
		if full {
			n = 1
		}
		if v.CanInt() {
			v.SetInt(int64(n))
		} else {
			v.SetUint(uint64(n))
		}
	}
}

// named gives a part the name that its resource says.
func named(kind string, part any) string {
	switch p := part.(type) {
	case *routing.Listener:
		p.Name = "name"
	case *routing.Route:
		p.Name = "name"
	case *routing.Cluster:
		p.Name = "name"
	case *routing.Endpoints:
		p.Cluster = "name"
	case *routing.Certificate:
		p.Name = "name"
	}
	return kind + "name"
}

// What is sent is what is read, and is what encoding/json says.
func TestPartsSurviveTheWire(t *testing.T) {
	for seed := range uint64(500) {
		r := rand.New(rand.NewPCG(seed, 5))
		for kind, part := range parts() {
			fill(r, reflect.ValueOf(part).Elem(), false)
			name := named(kind, part)
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

// The wire as it is: a change here is one that pods of the version before do
// not understand, unless it is left out where it is not used.
func TestGoldenWire(t *testing.T) {
	var b bytes.Buffer
	for _, kind := range []string{listenerKind, routeKind, clusterKind, endpointsKind, certificateKind} {
		part := parts()[kind]
		fill(rand.New(rand.NewPCG(1, 1)), reflect.ValueOf(part).Elem(), true)
		name := named(kind, part)
		text := marshal(bodyOf(part))
		fmt.Fprintf(&b, "%s %s\n", name, hashOf(text))
		json.Indent(&b, text, "", "  ")
		b.WriteByte('\n')
	}
	for _, body := range []any{
		&generation{Version: "v", Number: 7, Zone: "zone-a"},
		&podState{
			Pod: "shop/edge-1", Node: "node-a", Replica: "control-a", Gateway: "shop/edge", Version: "v", Connected: time.Unix(0, 0), Listeners: "d",
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
	for kind, part := range parts() {
		fill(rand.New(rand.NewPCG(1, 1)), reflect.ValueOf(part).Elem(), true)
		f.Add(named(kind, part), marshal(bodyOf(part)))
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
