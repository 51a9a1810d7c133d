package gatewayapi

import (
	"slices"
	"strings"
	"testing"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

func TestHostsAt(t *testing.T) {
	tests := []struct {
		listener string
		route    []gatewayv1.Hostname
		want     []string
	}{
		{"", nil, []string{"*"}},
		{"", []gatewayv1.Hostname{"a.example.com", "A.example.com"}, []string{"a.example.com"}}, // case means nothing
		{"a.example.com", nil, []string{"*"}},                                                   // the listener cuts it
		{"a.example.com", []gatewayv1.Hostname{"*.example.com", "b.example.com"}, []string{"*.example.com"}},
		{"*.example.com", []gatewayv1.Hostname{"example.com", "a.example.com", "x.a.example.com", "example.net"}, []string{"a.example.com", "x.a.example.com"}},
		{"*.example.com", []gatewayv1.Hostname{"*.com", "*.a.example.com"}, []string{"*.com", "*.a.example.com"}},
		{"*.example.com", []gatewayv1.Hostname{"notexample.com"}, nil}, // whole labels only
		{"a.example.com", []gatewayv1.Hostname{"b.example.com"}, nil},
	}
	for _, tt := range tests {
		if got := hostsAt(pattern(tt.listener), tt.route); !slices.Equal(got, tt.want) {
			t.Errorf("hostsAt(%q, %v) = %v, want %v", tt.listener, tt.route, got, tt.want)
		}
	}
}

// FuzzOverlap compares with a search for a host that both patterns match, and
// wider with a try of every pattern that there is above a host.
func FuzzOverlap(f *testing.F) {
	for _, seed := range [][2]string{{"*.a.b", "x.a.b"}, {"*", "a"}, {"*.a", "*.b.a"}, {"a.b", "*.a.b"}, {"*.a", "a"}} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		if !isPattern(a) || !isPattern(b) {
			return
		}
		if got, want := overlap(a, b), inCommon(a, b); got != want {
			t.Errorf("overlap(%q, %q) = %t, want %t", a, b, got, want)
		}
		if got, want := slices.Contains(slices.Collect(wider(b)), a), a != b && covers(a, b); got != want {
			t.Errorf("%q is among those wider than %q: %t, want %t", a, b, got, want)
		}
	})
}

// isPattern reports whether s has the form that the API wants of a Hostname,
// or is "*".
func isPattern(s string) bool {
	if s == "*" {
		return true
	}
	for label := range strings.SplitSeq(strings.TrimPrefix(s, "*."), ".") {
		if label == "" || strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
			return false
		}
	}
	return true
}
