package provision

import (
	"net/netip"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/util/validation"
)

func TestName(t *testing.T) {
	long := strings.Repeat("a", 60)
	tests := []struct{ gateway, class, want string }{
		{"edge", "fairway", "edge-fairway"},                                  // GEP-1762
		{"edge.example.com", "fairway", "edge-example-com-fairway-ffdffa98"}, // a Service's name has no dots
		{"1st", "fairway", "gw-1st-fairway-750df779"},                        // and no digit first
		{long, "fairway", strings.Repeat("a", 54) + "-01522a8e"},
		{long, "other", strings.Repeat("a", 54) + "-360e853c"}, // what is cut off makes a difference
	}
	for _, tt := range tests {
		if got := Name(tt.gateway, tt.class); got != tt.want {
			t.Errorf("Name(%q, %q) = %q, want %q", tt.gateway, tt.class, got, tt.want)
		}
	}
}

func TestServiceName(t *testing.T) {
	tests := []struct{ base, addr, want string }{
		{"edge-fairway", "192.0.2.1", "edge-fairway-192-0-2-1"},
		{"edge-fairway", "2001:db8::1", "edge-fairway-2001-0db8-0000-0000-0000-0000-0000-0001"},
		{strings.Repeat("a", 63), "192.0.2.1", strings.Repeat("a", 54) + "-b7074ff6"},
	}
	for _, tt := range tests {
		if got := serviceName(tt.base, netip.MustParseAddr(tt.addr)); got != tt.want {
			t.Errorf("serviceName(%q, %s) = %q, want %q", tt.base, tt.addr, got, tt.want)
		}
	}
}

// Whatever an object is called, what comes of it is taken by the API server,
// and no two names come to one.
func FuzzLabel(f *testing.F) {
	f.Add("edge", "edge2")
	f.Add("a.b", "a-b")
	f.Add("9", "gw-9")
	f.Add(strings.Repeat("x", 253), strings.Repeat("x", 252))
	f.Add("", "-")
	f.Fuzz(func(t *testing.T, a, b string) {
		for _, s := range []string{a, b} {
			if errs := validation.IsDNS1035Label(label(s)); errs != nil {
				t.Errorf("label(%q) = %q: %v", s, label(s), errs)
			}
			if len(validation.IsDNS1123Subdomain(s)) > 0 {
				continue // no name of an object
			}
			if errs := validation.IsValidLabelValue(labelValue(s)); errs != nil {
				t.Errorf("labelValue(%q) = %q: %v", s, labelValue(s), errs)
			}
		}
		if a != b && label(a) == label(b) {
			t.Errorf("label(%q) = label(%q) = %q", a, b, label(a))
		}
	})
}
