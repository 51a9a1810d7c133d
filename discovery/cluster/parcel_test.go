package cluster

import (
	"encoding/json"
	"strings"
	"testing"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

func TestParcel(t *testing.T) {
	tests := []struct {
		name, json string
		read       bool   // into its type
		err        string // of the object; the parcel itself has none
	}{
		{"an object", `{"apiVersion":"gateway.networking.k8s.io/v1","kind":"HTTPRoute","metadata":{"name":"a","namespace":"b","resourceVersion":"7"},"spec":{"hostnames":["x"]}}`, true, ""},
		{"an older version", `{"apiVersion":"gateway.networking.k8s.io/v1beta1","kind":"HTTPRoute","metadata":{"name":"a","namespace":"b","resourceVersion":"7"},"spec":{"hostnames":["x"]}}`, true, ""},
		{"a field that is new", `{"apiVersion":"gateway.networking.k8s.io/v1","kind":"HTTPRoute","metadata":{"name":"a","namespace":"b","resourceVersion":"7"},"spec":{"hostnames":["x"],"later":{}}}`, true, ""},
		{"a field of another type", `{"apiVersion":"gateway.networking.k8s.io/v1","kind":"HTTPRoute","metadata":{"name":"a","namespace":"b","resourceVersion":"7"},"spec":{"hostnames":"x"}}`, false, "cannot unmarshal string"},
	}
	for _, tt := range tests {
		var p parcel
		if err := json.Unmarshal([]byte(tt.json), &p); err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		if p.Name != "a" || p.Namespace != "b" || p.ResourceVersion != "7" {
			t.Errorf("%s: metadata %+v", tt.name, p.ObjectMeta)
		}
		if (p.object != nil) != tt.read || tt.err == "" && p.err != nil || tt.err != "" && (p.err == nil || !strings.Contains(p.err.Error(), tt.err)) {
			t.Errorf("%s: object %v, error %v, want one %v, error %q", tt.name, p.object, p.err, tt.read, tt.err)
		}
		if tt.read {
			r := p.object.(*gatewayv1.HTTPRoute)
			if r.Kind != "" || r.APIVersion != "" || r.Spec.Hostnames[0] != "x" {
				t.Errorf("%s: object %+v, want one without TypeMeta", tt.name, r)
			}
		}
	}
}

// One object that the types cannot hold harms no other, and stays as it was.
func TestObjectOfALaterDefinition(t *testing.T) {
	a := newAPIServer(t)
	later := `
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: later, namespace: shop}
spec: {hostnames: {of: another type}}
`
	a.apply(shop)
	a.apply(later)
	o := observe(t, a, Options{})
	keys := texts(o.start())
	if joined := strings.Join(keys, ","); !strings.Contains(joined, "HTTPRoute shop/cart") || strings.Contains(joined, "HTTPRoute shop/later") {
		t.Errorf("keys %q, want the route that can be read", keys)
	}
	if n := o.line("HTTPRoute").unreadable; n != 1 {
		t.Errorf("%d objects are unread, want 1", n)
	}
	before := o.Get(key("HTTPRoute", "shop", "cart"))
	a.apply(strings.ReplaceAll(later, "name: later", "name: cart"))
	a.apply(strings.ReplaceAll(later, "{of: another type}", "[example.com]"))
	for o.Get(key("HTTPRoute", "shop", "later")) == nil {
		o.next()
	}
	if o.Get(key("HTTPRoute", "shop", "cart")) != before {
		t.Error("an edit that cannot be read has changed the object")
	}
	if n := strings.Count(o.log.String(), "object cannot be read: it stays as it was\" origin=\"HTTPRoute shop/later\""); n != 1 {
		t.Errorf("%d lines say so, want 1:\n%s", n, o.log)
	}
	a.delete("HTTPRoute", "shop/cart")
	for o.Get(key("HTTPRoute", "shop", "cart")) != nil {
		o.next()
	}
}

// Whatever comes over the wire, a parcel holds an object or says why not.
func FuzzParcel(f *testing.F) {
	for _, k := range kinds {
		if k.defined() {
			f.Add([]byte(`{"apiVersion":"` + k.group + `/v1","kind":"` + k.apiKind() + `","metadata":{"name":"a","namespace":"b","annotations":{"fairway.dev/a":"b","c":"d"}},"spec":{"hostnames":["x"],"rules":[{"backendRefs":[{"name":"b","port":80,"weight":1}]}]}}`))
		}
	}
	f.Add([]byte(`{"apiVersion":"gateway.networking.k8s.io/v1","kind":"HTTPRoute","metadata":{"resourceVersion":"1","annotations":{"k8s.io/initial-events-end":"true"}}}`))
	f.Add([]byte(`{"apiVersion":"gateway.networking.k8s.io/v1","kind":"HTTPRouteList"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var p parcel
		if json.Unmarshal(data, &p) != nil {
			return
		}
		if (p.object == nil) == (p.err == nil) && p.Name != "" {
			t.Errorf("object %v and error %v", p.object, p.err)
		}
		if p.object != nil && (p.object.GetName() != p.Name || p.object.GetNamespace() != p.Namespace) {
			t.Errorf("object %s/%s in a parcel for %s/%s", p.object.GetNamespace(), p.object.GetName(), p.Namespace, p.Name)
		}
	})
}
