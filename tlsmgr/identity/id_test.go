package identity

import (
	"crypto/x509"
	"net/url"
	"strings"
	"testing"
)

// SPIFFE-ID sections 2.1 to 2.3, and Kubernetes's names.
func TestParse(t *testing.T) {
	long := strings.Repeat("a", 64)
	tests := []struct {
		uri  string
		want ID // zero: refused
	}{
		{"spiffe://cluster.local/ns/shop/sa/edge-fairway", ID{"cluster.local", "shop", "edge-fairway"}},
		{"spiffe://td_1/ns/shop/sa/a.b", ID{"td_1", "shop", "a.b"}}, // service accounts are DNS subdomains
		{"spiffe://cluster.local/ns/shop/sa/edge/", ID{}},
		{"spiffe://cluster.local/ns/shop/sa", ID{}},
		{"spiffe://cluster.local/ns/shop/sa/", ID{}},
		{"spiffe://cluster.local/ns//sa/edge", ID{}},
		{"spiffe://cluster.local//ns/shop/sa/edge", ID{}},
		{"spiffe:///ns/shop/sa/edge", ID{}},
		{"spiffe://cluster.local/sa/edge/ns/shop", ID{}},
		{"spiffe://Cluster.local/ns/shop/sa/edge", ID{}},     // section 2.1: lower case
		{"spiffe://cluster.local:80/ns/shop/sa/edge", ID{}},  // no port
		{"spiffe://me@cluster.local/ns/shop/sa/edge", ID{}},  // no user
		{"spiffe://cluster.local/ns/shop/sa/edge?a=b", ID{}}, // no query
		{"spiffe://cluster.local/ns/shop/sa/edge#a", ID{}},
		{"spiffe://cluster.local/ns/sh%6fp/sa/edge", ID{}}, // no escapes
		{"spiffe://cluster.local/ns/../sa/edge", ID{}},     // section 2.2: no dot segments
		{"spiffe://cluster.local/ns/a.b/sa/edge", ID{}},    // a namespace is a DNS label
		{"spiffe://cluster.local/ns/shop/sa/a..b", ID{}},
		{"spiffe://cluster.local/ns/shop/sa/a.-b", ID{}},
		{"spiffe://cluster.local/ns/shop/sa/a-.b", ID{}},
		{"spiffe://cluster.local/ns/-shop/sa/edge", ID{}},
		{"spiffe://cluster.local/ns/shop-/sa/edge", ID{}},
		{"spiffe://cluster.local/ns/" + long + "/sa/edge", ID{}},
		{"spiffe://" + strings.Repeat(long, 4) + "/ns/shop/sa/edge", ID{}},
		{"SPIFFE://cluster.local/ns/shop/sa/edge", ID{}},
		{"https://cluster.local/ns/shop/sa/edge", ID{}},
		{"", ID{}},
	}
	for _, tt := range tests {
		got, err := Parse(tt.uri)
		if got != tt.want || (err == nil) != (tt.want != ID{}) {
			t.Errorf("Parse(%q) = %v, %v, want %v", tt.uri, got, err, tt.want)
		}
	}
}

// X509-SVID section 2: exactly one URI SAN; section 4.1: a leaf.
func TestOfCertificate(t *testing.T) {
	uri := func(texts ...string) (list []*url.URL) {
		for _, text := range texts {
			u, err := url.Parse(text)
			if err != nil {
				t.Fatal(err)
			}
			list = append(list, u)
		}
		return list
	}
	const edge = "spiffe://cluster.local/ns/shop/sa/edge"
	tests := []struct {
		name string
		cert x509.Certificate
		ok   bool
	}{
		{"one", x509.Certificate{URIs: uri(edge)}, true},
		{"none", x509.Certificate{}, false},
		{"two", x509.Certificate{URIs: uri(edge, edge)}, false},
		{"another scheme", x509.Certificate{URIs: uri("https://cluster.local/ns/shop/sa/edge")}, false},
		{"a CA's", x509.Certificate{URIs: uri(edge), IsCA: true}, false},
	}
	for _, tt := range tests {
		if id, err := OfCertificate(&tt.cert); (err == nil) != tt.ok || tt.ok && id.String() != edge {
			t.Errorf("%s: OfCertificate = %v, %v, want ok %v", tt.name, id, err, tt.ok)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("spiffe://cluster.local/ns/shop/sa/edge")
	f.Add("spiffe://cluster.local/ns/shop/sa/a.b-c")
	f.Add("spiffe://a/ns//sa/")
	f.Fuzz(func(t *testing.T, uri string) {
		id, err := Parse(uri)
		if err != nil {
			return
		}
		if id.String() != uri {
			t.Errorf("Parse(%q).String() = %q", uri, id)
		}
		u, err := url.Parse(uri)
		if err != nil || u.String() != uri || *u != *id.URL() {
			t.Errorf("%q is not the URL %v (%v)", uri, id.URL(), err)
		}
	})
}
