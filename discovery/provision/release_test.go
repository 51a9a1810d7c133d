package provision

import (
	"slices"
	"testing"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"fairway.dev/discovery/apitest"
)

// What becomes of a fleet whose Gateway is not wanted any more.
func TestRelease(t *testing.T) {
	tests := []struct {
		name string
		do   func(*rig)
		kept bool
	}{
		{"the Gateway has another class", func(r *rig) {
			r.server.Apply(`{kind: Gateway, metadata: {name: edge, namespace: shop}, spec: {gatewayClassName: other}}`)
		}, false},
		{"the class has another controller", func(r *rig) {
			r.server.Apply(`{kind: GatewayClass, metadata: {name: fairway, finalizers: []}, spec: {controllerName: example.com/other}}`)
		}, false},
		{"the class is gone", func(r *rig) { r.server.Delete("GatewayClass", "", "fairway") }, true},
		{"nothing changed", func(r *rig) {}, true},                                                 // it is merely not accepted
		{"the Gateway is gone", func(r *rig) { r.server.Delete("Gateway", "shop", "edge") }, true}, // Kubernetes collects
		{"another Gateway of that name", func(r *rig) {
			r.server.Delete("Gateway", "shop", "edge")
			r.server.Apply(`{kind: Gateway, metadata: {name: edge, namespace: shop}, spec: {gatewayClassName: other}}`)
		}, true}, // the same
	}
	for _, when := range []string{"at once", "by the next leader"} {
		for _, tt := range tests {
			t.Run(tt.name+", "+when, func(t *testing.T) {
				bubble(t, func(r *rig) {
					r.want1("edge")
					if when == "by the next leader" {
						r.stop()
					}
					tt.do(r)
					r.reconciler.Remove(edgeKey)
					if when == "by the next leader" {
						r.run()
					}
					r.settle()
					for _, kind := range allKinds {
						if got := len(r.server.Names(kind, "shop")) == 1; got != tt.kept {
							t.Errorf("%s kept: %v, want %v", kind, got, tt.kept)
						}
					}
				})
			})
		}
	}
}

func TestAnotherClassOfOurs(t *testing.T) {
	bubble(t, func(r *rig) {
		r.want1("edge")
		r.server.Apply(`{kind: GatewayClass, metadata: {name: other}, spec: {controllerName: fairway.dev/gateway-controller}}`)
		r.server.Apply(`{kind: Gateway, metadata: {name: edge, namespace: shop}, spec: {gatewayClassName: other}}`)
		r.reconciler.Set(wanted(r, r.server.Object("Gateway", "shop", "edge"), "{}", http80))
		r.settle()
		for _, kind := range allKinds {
			if got := r.server.Names(kind, "shop"); !slices.Equal(got, []string{"edge-other"}) {
				t.Errorf("%s: %v, want edge-other", kind, got)
			}
		}
	})
}

// GatewayClass: "implementations SHOULD add the finalizer whenever one or more
// Gateways are using a GatewayClass".
func TestFinalizerOfTheClass(t *testing.T) {
	finalizers := func(r *rig) []any {
		list, _ := at(r.server.Object("GatewayClass", "", "fairway"), "metadata.finalizers").([]any)
		return list
	}
	expect := func(r *rig, want ...any) {
		r.Helper()
		if got := finalizers(r); !slices.Equal(got, want) {
			r.Errorf("finalizers %v, want %v", got, want)
		}
	}
	bubble(t, func(r *rig) {
		r.server.Edit("other", "GatewayClass", "", "fairway", func(o apitest.Object) { set(o, "metadata.finalizers", []any{"theirs"}) })
		r.settle()
		expect(r, "theirs")
		r.want1("edge")
		r.want1("inner")
		const ours = gatewayv1.GatewayClassFinalizerGatewaysExist
		expect(r, "theirs", ours)
		r.reconciler.Remove(edgeKey)
		r.settle()
		expect(r, "theirs", ours)
		r.stop()
		inner := edgeKey
		inner.Name = "inner"
		r.reconciler.Remove(inner) // while nobody leads
		r.run()
		expect(r, "theirs")
	})
}

func TestClassOfAnotherController(t *testing.T) {
	bubble(t, func(r *rig) {
		r.server.Apply(`{kind: GatewayClass, metadata: {name: other}, spec: {controllerName: example.com/other}}`)
		r.server.Apply(`{kind: Gateway, metadata: {name: edge, namespace: shop}, spec: {gatewayClassName: other}}`)
		r.reconciler.Set(wanted(r, r.server.Object("Gateway", "shop", "edge"), "{}", http80)) // news travel slowly
		r.settle()
		if got := at(r.server.Object("GatewayClass", "", "other"), "metadata.finalizers"); got != nil {
			t.Errorf("finalizers %v on a foreign class", got)
		}
	})
}
