package main

import (
	"strings"
	"testing"
)

// inZone says in which zone the first endpoint of service's text is.
func inZone(zone, text string) string {
	return strings.Replace(text, "[{addresses: [127.0.0.1]}]", "[{addresses: [127.0.0.1], zone: "+zone+"}]", 1)
}

// KEP-4444: a Service prefers endpoints of the client's zone, which here is the
// gateway's, while one of them is healthy.
func TestServicePrefersTheGatewaysZone(t *testing.T) {
	near, far := startBackend(t, named("near")), startBackend(t, named("far"))
	shop := func(near int) string { return inZone("b", inZone("a", service("a", near, far))) }
	preferring := func(near int) string {
		return strings.Replace(shop(near), "spec: {ports:", "spec: {trafficDistribution: PreferClose, ports:", 1)
	}
	r := startRig(t, nil, map[string]string{
		"gateway.yaml": edge,
		"shop.yaml":    route("shop", "shop.example.com", "  - backendRefs: [{name: a, port: 80}]"),
		"a.yaml":       preferring(near),
	}, "-zone", "a")
	l := r.startLoad(r.url("/"))
	defer l.finish()
	wantOf := func(when string, names ...string) {
		t.Helper()
		seen := l.await(few)
		if len(seen) != len(names) {
			t.Errorf("%s: the backends are %v, want %v", when, seen, names)
		}
		for _, name := range names {
			if seen[name] == 0 {
				t.Errorf("%s: the backends are %v, want %s", when, seen, name)
			}
		}
	}
	wantOf("near", "near")
	if page := r.page("/debug/upstream"); !strings.Contains(page, `"Near": "zone"`) {
		t.Errorf("/debug/upstream does not say what is near:\n%s", page)
	}
	r.edit("a.yaml", preferring(freePort(t))) // which refuses connections
	wantOf("nobody near answers", "far")
	r.edit("a.yaml", preferring(near))
	wantOf("near again", "near")
	r.edit("a.yaml", shop(near))
	wantOf("without a preference", "near", "far")
}
