package istio

import (
	"slices"
	"strings"
	"testing"
)

func TestFullHost(t *testing.T) {
	tests := []struct {
		host, want string
	}{
		{"reviews", "reviews.shop.svc.cluster.local"},
		{"Reviews", "reviews.shop.svc.cluster.local"},
		{"shop.Example.com", "shop.example.com"},
		{"shop.example.com.", "shop.example.com"},
		{"*", "*"},
		{"*.example.com", "*.example.com"},
		{"10.1.2.3", "10.1.2.3"},
		{"[::1]", "[::1]"},
		{"", ""},
	}
	for _, tt := range tests {
		if got := fullHost(tt.host, "shop", "cluster.local"); got != tt.want {
			t.Errorf("fullHost(%q) = %q, want %q", tt.host, got, tt.want)
		}
	}
}

func TestHostFlaw(t *testing.T) {
	for host, ok := range map[string]bool{
		"*": true, "a": true, "a.example.com": true, "*.example.com": true, "10.1.2.3": true, "[::1]": true, "_dmarc.example.com": true,
		"": false, "*.": false, "**": false, "*a.example.com": false, "a.*.com": false, "a.example.com:80": false, "a..b": false,
		"a b": false, "a/b": false, strings.Repeat("a", 64): false, strings.Repeat("a.", 127) + "com": false,
	} {
		if flaw := hostFlaw(host); (flaw == "") != ok {
			t.Errorf("hostFlaw(%q) = %q, want ok %t", host, flaw, ok)
		}
	}
}

// VirtualService.gateways, and the forms of old.
func TestGatewayRef(t *testing.T) {
	for name, want := range map[string]string{
		"edge": "shop/edge", "infra/edge": "infra/edge", "./edge": "shop/edge",
		"edge.infra.svc.cluster.local": "infra/edge", "edge.infra": "infra/edge",
	} {
		if got := gatewayRef(name, "shop"); got != want {
			t.Errorf("gatewayRef(%q) = %q, want %q", name, got, want)
		}
	}
}

// VirtualService.exportTo: none at all is all.
func TestExportedTo(t *testing.T) {
	tests := []struct {
		list []string
		to   string
		want bool
	}{
		{nil, "infra", true},
		{[]string{"*"}, "infra", true},
		{[]string{"."}, "infra", false},
		{[]string{"."}, "shop", true},
		{[]string{"infra", "."}, "infra", true},
		{[]string{"infra"}, "shop", false},
		{[]string{"~"}, "shop", false},
	}
	for _, tt := range tests {
		if got := exportedTo(tt.list, "shop", tt.to); got != tt.want {
			t.Errorf("exportedTo(%q) of namespace shop, to %s = %t, want %t", tt.list, tt.to, got, tt.want)
		}
	}
}

// FuzzHostsIn holds that a name is in an intersection if it is in both lists.
func FuzzHostsIn(f *testing.F) {
	f.Add("a.example.com,*.example.com", "*", "a.example.com")
	f.Add("*.a.example.com", "*.example.com,b.example.com", "x.a.example.com")
	f.Fuzz(func(t *testing.T, a, b, name string) {
		list := func(text string) []string {
			return slices.DeleteFunc(strings.Split(text, ","), func(h string) bool { return hostFlaw(h) != "" })
		}
		in := func(hosts []string) bool {
			return slices.ContainsFunc(hosts, func(h string) bool { return hostCovers(h, name) })
		}
		if hostFlaw(name) != "" || strings.HasPrefix(name, "*") {
			return
		}
		x, y := list(a), list(b)
		if got, want := in(hostsIn(x, y)), in(x) && in(y); got != want {
			t.Errorf("%q is in %q, the intersection of %q and %q: %t, want %t", name, hostsIn(x, y), x, y, got, want)
		}
	})
}
