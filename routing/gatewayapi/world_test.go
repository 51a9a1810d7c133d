package gatewayapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	gatewayxv1alpha1 "sigs.k8s.io/gateway-api/apisx/v1alpha1"

	"fairway.dev/routing"
	"fairway.dev/routing/v1alpha1"
)

// kinds makes an empty object of a kind.
var kinds = map[string]func() metav1.Object{
	"GatewayClass":             func() metav1.Object { return &gatewayv1.GatewayClass{} },
	"Gateway":                  func() metav1.Object { return &gatewayv1.Gateway{} },
	"HTTPRoute":                func() metav1.Object { return &gatewayv1.HTTPRoute{} },
	"ListenerSet":              func() metav1.Object { return &gatewayv1.ListenerSet{} },
	"GatewayParameters":        func() metav1.Object { return &v1alpha1.GatewayParameters{} },
	"GRPCRoute":                func() metav1.Object { return &gatewayv1.GRPCRoute{} },
	"ReferenceGrant":           func() metav1.Object { return &gatewayv1.ReferenceGrant{} },
	"TLSRoute":                 func() metav1.Object { return &gatewayv1.TLSRoute{} },
	"TCPRoute":                 func() metav1.Object { return &gatewayv1.TCPRoute{} },
	"UDPRoute":                 func() metav1.Object { return &gatewayv1.UDPRoute{} },
	"BackendTLSPolicy":         func() metav1.Object { return &gatewayv1.BackendTLSPolicy{} },
	"XBackendTrafficPolicy":    func() metav1.Object { return &gatewayxv1alpha1.XBackendTrafficPolicy{} },
	"CustomResourceDefinition": func() metav1.Object { return &metav1.PartialObjectMetadata{} },
	"Namespace":                func() metav1.Object { return &corev1.Namespace{} },
	"Service":                  func() metav1.Object { return &corev1.Service{} },
	"Secret":                   func() metav1.Object { return &corev1.Secret{} },
	"ConfigMap":                func() metav1.Object { return &corev1.ConfigMap{} },
	"EndpointSlice":            func() metav1.Object { return &discoveryv1.EndpointSlice{} },
}

// A world is what a test says there is.
type world map[routing.ObjectKey]any

func (w world) Get(k routing.ObjectKey) any { return w[k] }

func (w world) keys() []routing.ObjectKey {
	return slices.SortedFunc(maps.Keys(w), routing.ObjectKey.Compare)
}

// load puts the documents of a YAML text into the world. It returns their keys.
func (w world) load(t testing.TB, text string) []routing.ObjectKey {
	t.Helper()
	var keys []routing.ObjectKey
	docs := yaml.NewDecoder(strings.NewReader(text))
	for {
		var doc map[string]any
		if err := docs.Decode(&doc); errors.Is(err, io.EOF) {
			return keys
		} else if err != nil {
			t.Fatalf("%v in\n%s", err, text)
		}
		if doc == nil {
			continue
		}
		kind := fmt.Sprint(doc["kind"])
		if kinds[kind] == nil {
			t.Fatalf("kind %s is not known", kind)
		}
		o := kinds[kind]()
		data, err := json.Marshal(doc)
		if err != nil {
			t.Fatal(err)
		}
		d := json.NewDecoder(bytes.NewReader(data))
		d.DisallowUnknownFields()
		if err := d.Decode(o); err != nil {
			t.Fatalf("%s %s: %v", kind, o.GetName(), err)
		}
		keys = append(keys, w.put(kind, o))
	}
}

// put adds an object as the API server would: with a generation.
func (w world) put(kind string, o metav1.Object) routing.ObjectKey {
	if o.GetGeneration() == 0 {
		o.SetGeneration(1)
	}
	k := routing.ObjectKey{Kind: kind, Namespace: o.GetNamespace(), Name: o.GetName()}
	w[k] = o
	return k
}

// A result is what Updates have come to: what a fleet and an API server hold.
type result struct {
	spec    routing.Spec
	reports map[routing.ObjectKey]Report
}

func newResult() *result {
	return &result{
		spec: routing.Spec{
			Listeners:    map[routing.ListenerName]*routing.Listener{},
			Routes:       map[routing.RouteName]*routing.Route{},
			Clusters:     map[routing.ClusterName]*routing.Cluster{},
			Endpoints:    map[routing.ClusterName]*routing.Endpoints{},
			Certificates: map[routing.CertificateName]*routing.Certificate{},
		},
		reports: map[routing.ObjectKey]Report{},
	}
}

// apply does what is to be done with what Update returns.
func (r *result) apply(d *routing.Delta, reports []Report) *result {
	for _, n := range d.Removed.Listeners {
		delete(r.spec.Listeners, n)
	}
	for _, n := range d.Removed.Routes {
		delete(r.spec.Routes, n)
	}
	for _, n := range d.Removed.Clusters {
		delete(r.spec.Clusters, n)
		delete(r.spec.Endpoints, n)
	}
	for _, n := range d.Removed.Certificates {
		delete(r.spec.Certificates, n)
	}
	for _, p := range d.Listeners {
		r.spec.Listeners[p.Name] = p
	}
	for _, p := range d.Routes {
		r.spec.Routes[p.Name] = p
	}
	for _, p := range d.Clusters {
		r.spec.Clusters[p.Name] = p
	}
	for _, p := range d.Endpoints {
		r.spec.Endpoints[p.Cluster] = p
	}
	for _, p := range d.Certificates {
		r.spec.Certificates[p.Name] = p
	}
	for _, report := range reports {
		if report.Gone {
			delete(r.reports, report.Object)
		} else {
			r.reports[report.Object] = report
		}
	}
	return r
}

// translate returns what a fresh Translator makes of the world.
func (w world) translate(opts Options) *result {
	d, reports := New(w, opts).Update(w.keys())
	return newResult().apply(d, reports)
}

// dump prints the Spec, zero values left out, and then the Reports.
func (r *result) dump() string {
	var b strings.Builder
	dumpParts(&b, "listener", r.spec.Listeners)
	dumpParts(&b, "route", r.spec.Routes)
	dumpParts(&b, "cluster", r.spec.Clusters)
	dumpParts(&b, "endpoints", r.spec.Endpoints)
	dumpParts(&b, "certificate", r.spec.Certificates)
	for _, k := range slices.SortedFunc(maps.Keys(r.reports), routing.ObjectKey.Compare) {
		b.WriteString(r.reports[k].String())
	}
	return b.String()
}

func dumpParts[N ~string, P any](b *strings.Builder, kind string, parts map[N]P) {
	for _, n := range slices.Sorted(maps.Keys(parts)) {
		fmt.Fprintf(b, "%s %s\n", kind, n)
		dumpStruct(b, "  ", reflect.ValueOf(parts[n]).Elem())
	}
}

// dumpStruct prints the fields that hold something.
func dumpStruct(b *strings.Builder, indent string, v reflect.Value) {
	for i := range v.NumField() {
		name, f := v.Type().Field(i).Name, v.Field(i)
		if f.IsZero() || name == "Name" && indent == "  " {
			continue
		}
		for f.Kind() == reflect.Pointer {
			f = f.Elem()
		}
		_, prints := f.Interface().(fmt.Stringer)
		switch {
		case prints:
			fmt.Fprintf(b, "%s%s: %v\n", indent, name, f.Interface())
		case f.Type() == reflect.TypeFor[[]byte]():
			fmt.Fprintf(b, "%s%s: %d bytes\n", indent, name, f.Len())
		case f.Kind() == reflect.Struct:
			fmt.Fprintf(b, "%s%s:\n", indent, name)
			dumpStruct(b, indent+"  ", f)
		case f.Kind() == reflect.Slice && f.Type().Elem().Kind() == reflect.Struct && !isFlat(f.Type().Elem()):
			for j := range f.Len() {
				fmt.Fprintf(b, "%s%s[%d]:\n", indent, name, j)
				dumpStruct(b, indent+"  ", f.Index(j))
			}
		default:
			fmt.Fprintf(b, "%s%s: %v\n", indent, name, f.Interface())
		}
	}
}

// isFlat reports whether values of a type print well on one line.
func isFlat(t reflect.Type) bool {
	return t == reflect.TypeFor[routing.Header]() || t.Implements(reflect.TypeFor[fmt.Stringer]())
}

// day is when things in tests are created, so that age is plain to see.
func day(n int) metav1.Time {
	if n == 0 {
		return metav1.Time{}
	}
	return metav1.Time{Time: time.Date(2026, 1, n, 0, 0, 0, 0, time.UTC)}
}
