package tlsmgr

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"net"
	"net/url"
	"strings"
	"testing"
)

func named(c *x509.Certificate) {
	c.DNSNames = []string{"Client.Example.com"}
	c.URIs = []*url.URL{{Scheme: "spiffe", Host: "cluster.local", Path: "/ns/shop/sa/cart"}}
	c.IPAddresses = []net.IP{net.ParseIP("192.0.2.7")}
	c.EmailAddresses = []string{"cart@example.com"}
}

// ServerTLSSettings.subjectAltNames.
func TestOnlyKnownNamesAreLetIn(t *testing.T) {
	root := newSigner(t, "root")
	s := store(t, nil, pair(t, "tls", ecdsaKey(), "x"))
	tests := []struct {
		sans []string
		let  bool
	}{
		{nil, true},
		{[]string{"client.example.com"}, true},
		{[]string{"other.example.com", "spiffe://cluster.local/ns/shop/sa/cart"}, true},
		{[]string{"spiffe://cluster.local/ns/shop/*"}, true},
		{[]string{"*.example.com"}, true},
		{[]string{"192.0.2.7"}, true},
		{[]string{"cart@example.com"}, true},
		{[]string{"*"}, true},
		{[]string{"example.com"}, false},
		{[]string{"client.example.co*", "client"}, true},
		{[]string{"spiffe://cluster.local/ns/other/*"}, false},
		{[]string{"Spiffe://cluster.local/ns/shop/sa/cart"}, false}, // only DNS names ignore case
		{[]string{"client"}, false},                                 // the common name is no name
		{[]string{""}, false},
	}
	for _, tt := range tests {
		server := serving(s, Listener{Certificates: []string{"tls"}, Clients: &ClientValidation{Roots: root.pem, SANs: tt.sans}})
		if got := (visit{name: "x", cert: root.client(named)}).to(server); got.let != tt.let {
			t.Errorf("names %q: let in %v, want %v", tt.sans, got.let, tt.let)
		}
	}
	server := serving(s, Listener{Certificates: []string{"tls"}, Clients: &ClientValidation{Roots: root.pem, SANs: []string{"*"}}})
	if got := (visit{name: "x", cert: root.client()}).to(server); got.let {
		t.Error("a certificate without names is let in")
	}
}

// ServerTLSSettings.verifyCertificateSpki and verifyCertificateHash: either one
// lets a certificate in, and none of them one that does not verify.
func TestOnlyKnownKeysAreLetIn(t *testing.T) {
	root, stranger := newSigner(t, "root"), newSigner(t, "stranger")
	s := store(t, nil, pair(t, "tls", ecdsaKey(), "x"))
	cert := root.client()
	foreign := stranger.client()
	sums := func(cert *tls.Certificate) (spki, hash string) {
		parsed, err := x509.ParseCertificate(cert.Certificate[0])
		if err != nil {
			t.Fatal(err)
		}
		k, w := sha256.Sum256(parsed.RawSubjectPublicKeyInfo), sha256.Sum256(parsed.Raw)
		return base64.StdEncoding.EncodeToString(k[:]), hex.EncodeToString(w[:])
	}
	spki, hash := sums(cert)
	foreignSPKI, _ := sums(foreign)
	other := strings.Repeat("0", 64)
	tests := []struct {
		name         string
		spki, hashes []string
		cert         *tls.Certificate
		let          bool
	}{
		{"its key", []string{spki}, nil, cert, true},
		{"its hash", nil, []string{other, hash}, cert, true},
		{"its key, and another's hash", []string{spki}, []string{other}, cert, true},
		{"another's hash", nil, []string{other}, cert, false},
		{"a key that no root vouches for", []string{foreignSPKI}, nil, foreign, false},
	}
	for _, tt := range tests {
		server := serving(s, Listener{Certificates: []string{"tls"}, Clients: &ClientValidation{Roots: root.pem, SPKI: tt.spki, Hashes: tt.hashes}})
		if got := (visit{name: "x", cert: tt.cert}).to(server); got.let != tt.let {
			t.Errorf("%s: let in %v, want %v", tt.name, got.let, tt.let)
		}
	}
}

// OPTIONAL_MUTUAL: who shows a certificate shows a good one.
func TestCertificatesThatAreOptional(t *testing.T) {
	root, stranger := newSigner(t, "root"), newSigner(t, "stranger")
	s := store(t, nil, pair(t, "tls", ecdsaKey(), "x"))
	v := &ClientValidation{Roots: root.pem, Optional: true, SANs: []string{"client.example.com"}, Proof: []byte("proof")}
	tests := []struct {
		name string
		cert *tls.Certificate
		want arrival
	}{
		{"none", nil, arrival{let: true, asked: true}},
		{"good", root.client(named), arrival{let: true, asked: true, verified: "proof"}},
		{"of another name", root.client(), arrival{asked: true}},
		{"of a stranger", stranger.client(named), arrival{asked: true}},
	}
	for _, tt := range tests {
		for _, version := range versions {
			server := serving(s, Listener{Certificates: []string{"tls"}, Clients: v})
			if got := (visit{name: "x", cert: tt.cert, version: version}).to(server); got != tt.want {
				t.Errorf("%s, certificate %s: %+v, want %+v", tls.VersionName(version), tt.name, got, tt.want)
			}
		}
	}
}
