package cluster

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/runtime/schema"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

const tlsRoute = `
apiVersion: gateway.networking.k8s.io/v1alpha2
kind: TLSRoute
metadata: {name: db, namespace: shop}
spec:
  parentRefs: [{name: edge}]
  rules: [{backendRefs: [{name: db, port: 5432}]}]
`

var dbKey = key("TLSRoute", "shop", "db")

// undefine takes a kind away, with its objects, as the API server does.
func (a *apiServer) undefine(kind string, objects ...string) {
	for _, name := range objects {
		a.delete(kind, name)
	}
	a.serve(kind)
	a.delete(definitions, "/"+kindNamed(kind).definition().Name)
}

func TestMissingDefinition(t *testing.T) {
	a := newAPIServer(t)
	a.undefine("TLSRoute")
	a.undefine("XBackendTrafficPolicy")
	a.apply(shop)
	o := observe(t, a, Options{})
	if keys := texts(o.start()); !slices.Contains(keys, "HTTPRoute shop/cart") {
		t.Errorf("keys %q, want all others", keys)
	}
	o.waitReady()
	if ready, unfinished := o.Synced(); !ready || unfinished != nil {
		t.Errorf("Synced() = %v, %q", ready, unfinished)
	}
	for _, kind := range []string{"TLSRoute", "XBackendTrafficPolicy"} {
		if n := strings.Count(o.log.String(), "kind is not served: it counts once it is\" origin="+kind+"\n"); n != 1 {
			t.Errorf("%d lines of the log say that there is no %s, want 1:\n%s", n, kind, o.log)
		}
		if _, ok := o.Resource(kind); ok {
			t.Errorf("Resource(%q) says that there is one", kind)
		}
	}
	if n := a.count("WATCH tlsroutes") + a.count("LIST tlsroutes"); n != 0 {
		t.Errorf("what is not served was asked for %d times", n)
	}

	// The definition comes before it is served.
	a.define("TLSRoute")
	o.wait(func(keys []string) bool { return len(keys) > 0 })
	a.serve("TLSRoute", "v1", "v1alpha2")
	a.apply(tlsRoute)
	o.wait(func(keys []string) bool { return slices.Contains(keys, "TLSRoute shop/db") })
	if r := get[gatewayv1.TLSRoute](t, o, dbKey); len(r.Spec.Rules) != 1 {
		t.Errorf("TLSRoute %+v", r)
	}

	// And goes.
	a.undefine("TLSRoute", "shop/db")
	definition := kindNamed("TLSRoute").definition()
	o.wait(func(keys []string) bool {
		return slices.Contains(keys, dbKey.String()) && slices.Contains(keys, definition.String())
	})
	if o.Get(dbKey) != nil || o.Get(definition) != nil {
		t.Error("the World holds what is gone")
	}
	o.goOn()
	o.log.wait(t, func() bool { return strings.Contains(o.log.text.String(), "kind is gone") })
	if _, ok := o.Resource("TLSRoute"); ok {
		t.Error("Resource says that there still is a TLSRoute")
	}
}

// Objects that the API server has not told to be gone go with their kind.
func TestObjectsGoWithTheirDefinition(t *testing.T) {
	a := newAPIServer(t)
	a.apply(tlsRoute)
	o := observe(t, a, Options{})
	o.start()
	a.set(func() { a.refuses["tlsroutes"] = http.StatusInternalServerError })
	a.undefine("TLSRoute")
	o.wait(func([]string) bool { return o.Get(dbKey) == nil })
}

// An API server that begins knows its definitions before it serves them. What
// it does not serve yet is not taken for what there is not.
func TestServerThatBegins(t *testing.T) {
	a := newAPIServer(t)
	a.apply(shop)
	a.serve("HTTPRoute")
	o := observe(t, a, Options{})
	o.waitState(func(states []KindState) bool {
		return !slices.ContainsFunc(states, func(s KindState) bool { return s.Kind != "HTTPRoute" && !s.Synced })
	})
	a.serve("HTTPRoute", "v1")
	if keys := texts(o.next().Keys); !slices.Contains(keys, "HTTPRoute shop/cart") {
		t.Errorf("the first Change has keys %q, want all", keys)
	}
}

// Versions of one shape are read into one type, and whichever is watched the
// objects are the same.
func TestVersions(t *testing.T) {
	a := newAPIServer(t)
	a.serve("TLSRoute", "v1alpha2")
	a.apply(tlsRoute)
	o := observe(t, a, Options{})
	o.start()
	before := get[gatewayv1.TLSRoute](t, o, dbKey)
	check := func(version string) {
		t.Helper()
		want := schema.GroupVersionResource{Group: gatewayGroup, Version: version, Resource: "tlsroutes"}
		if got, ok := o.Resource("TLSRoute"); !ok || got != want {
			t.Errorf("Resource = %v, %v, want %v", got, ok, want)
		}
	}
	check("v1alpha2")
	o.goOn()

	// The definition is replaced by one that serves v1 too.
	a.serve("TLSRoute", "v1", "v1alpha2")
	a.define("TLSRoute")
	o.next()
	o.goOn()
	o.log.wait(t, func() bool {
		return strings.Contains(o.log.text.String(), "kind is served\" origin=\"TLSRoute v1\"")
	})
	a.apply(strings.Replace(tlsRoute, "name: db,", "name: other,", 1))
	keys := o.wait(func(keys []string) bool { return slices.Contains(keys, "TLSRoute shop/other") })
	if slices.Contains(keys, dbKey.String()) {
		t.Errorf("keys %q: the object is the same in both versions", keys)
	}
	if o.Get(dbKey) != any(before) {
		t.Error("the object was replaced by an equal one")
	}
	check("v1")
	if n := o.line("TLSRoute").watches.Load(); n != 2 {
		t.Errorf("%d watches, want one of each version", n)
	}
}

// Without the right to watch definitions, what is served is watched.
func TestDefinitionsRefused(t *testing.T) {
	a := newAPIServer(t)
	a.refuses["customresourcedefinitions"] = http.StatusForbidden
	a.apply(shop)
	o := observe(t, a, Options{Patience: 1})
	if keys := texts(o.start()); !slices.Contains(keys, "HTTPRoute shop/cart") || slices.ContainsFunc(keys, func(k string) bool { return strings.HasPrefix(k, definitions) }) {
		t.Errorf("keys %q, want all but definitions", keys)
	}
}
