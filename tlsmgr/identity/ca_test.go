package identity

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"net"
	"net/url"
	"testing"
	"time"
)

var edge = ID{"cluster.local", "shop", "edge"}

func newTestCA(t testing.TB) *CA {
	t.Helper()
	ca, err := NewCA("cluster.local")
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

func newTestKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func request(t testing.TB, key crypto.Signer, asks *x509.CertificateRequest) []byte {
	t.Helper()
	der, err := x509.CreateCertificateRequest(rand.Reader, asks, key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})
}

func parse(t testing.TB, chain [][]byte) []*x509.Certificate {
	t.Helper()
	certs, err := parseCertificates(bytes.Join(chain, nil))
	if err != nil {
		t.Fatal(err)
	}
	return certs
}

func TestSignClaimsOnlyWhatWasAuthenticated(t *testing.T) {
	ca := newTestCA(t)
	evil, _ := url.Parse("spiffe://cluster.local/ns/kube-system/sa/admin")
	key := newTestKey(t)
	csr := request(t, key, &x509.CertificateRequest{
		Subject:     pkix.Name{CommonName: "evil", Organization: []string{"system:masters"}},
		URIs:        []*url.URL{evil},
		DNSNames:    []string{"fairway-control.fairway-system.svc"},
		IPAddresses: []net.IP{{10, 0, 0, 1}},
	})
	chain, err := ca.Sign(csr, Claim{ID: edge})
	if err != nil {
		t.Fatal(err)
	}
	certs := parse(t, chain)
	leaf := certs[0]
	if id, err := ca.Bundle().Verify(certs, x509.ExtKeyUsageClientAuth, time.Now()); err != nil || id != edge {
		t.Errorf("as a client it is %v, %v, want %v", id, err, edge)
	}
	if _, err := ca.Bundle().Verify(certs, x509.ExtKeyUsageServerAuth, time.Now()); err != nil {
		t.Errorf("as a server: %v", err)
	}
	if len(leaf.DNSNames)+len(leaf.IPAddresses) > 0 || len(leaf.Subject.Names) > 0 || leaf.IsCA {
		t.Errorf("claims %v %v %v, CA %v, want the ID alone", leaf.DNSNames, leaf.IPAddresses, leaf.Subject, leaf.IsCA)
	}
	if !key.PublicKey.Equal(leaf.PublicKey) {
		t.Error("another key than the request's")
	}
	if leaf.KeyUsage != x509.KeyUsageDigitalSignature {
		t.Errorf("key usage %v", leaf.KeyUsage)
	}
	if len(certs) != 2 || !bytes.Equal(certs[1].Raw, ca.cert.Raw) {
		t.Errorf("chain of %d, want the leaf and the root", len(certs))
	}
}

func TestSignBoundsTheLife(t *testing.T) {
	ca := newTestCA(t)
	key := newTestKey(t)
	tests := []struct{ asked, want time.Duration }{
		{0, 24 * time.Hour},
		{-time.Hour, 24 * time.Hour},
		{time.Hour, time.Hour},
		{time.Second, time.Minute},
		{365 * 24 * time.Hour, 24 * time.Hour},
	}
	for _, tt := range tests {
		chain, err := ca.Sign(request(t, key, &x509.CertificateRequest{}), Claim{ID: edge, TTL: tt.asked})
		if err != nil {
			t.Fatal(err)
		}
		leaf := parse(t, chain)[0]
		if got := time.Until(leaf.NotAfter); got > tt.want || got < tt.want-time.Minute {
			t.Errorf("asked for %v: lives %v, want %v", tt.asked, got, tt.want)
		}
		if skew := time.Since(leaf.NotBefore); skew < clockSkew {
			t.Errorf("valid since %v ago, want %v for clocks that are behind", skew, clockSkew)
		}
	}
}

func TestSignRefusesBadRequests(t *testing.T) {
	ca := newTestCA(t)
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	small, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	good := request(t, newTestKey(t), &x509.CertificateRequest{})
	block, _ := pem.Decode(good)
	forged := bytes.Clone(block.Bytes)
	forged[len(forged)-1] ^= 1
	tests := []struct {
		name string
		csr  []byte
		id   ID
	}{
		{"empty", nil, edge},
		{"garbage", []byte("-----BEGIN CERTIFICATE REQUEST-----\n"), edge},
		{"a certificate", encodeCertificate(ca.cert.Raw), edge},
		{"bytes that are no request", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: []byte{1, 2}}), edge},
		{"a signature that is not right", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: forged}), edge},
		{"too long", append(good, bytes.Repeat([]byte("a"), maxCSR)...), edge},
		{"a weak RSA key", request(t, weak, &x509.CertificateRequest{}), edge},
		{"a weak ECDSA key", request(t, small, &x509.CertificateRequest{}), edge},
		{"an ID that is none", good, ID{"cluster.local", "shop", ""}},
	}
	for _, tt := range tests {
		if chain, err := ca.Sign(tt.csr, Claim{ID: tt.id}); err == nil {
			t.Errorf("%s: signed %s", tt.name, chain[0])
		}
	}
}

func TestSignTakesStrongKeys(t *testing.T) {
	ca := newTestCA(t)
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []crypto.Signer{rsaKey, edKey} {
		if _, err := ca.Sign(request(t, key, &x509.CertificateRequest{}), Claim{ID: edge}); err != nil {
			t.Errorf("%T: %v", key, err)
		}
	}
}

// broughtCA is what a user may bring: an intermediate below a root, with keys
// of other kinds (Istio's make target writes RSA).
func broughtCA(t *testing.T) (files CAFiles, root *x509.Certificate) {
	t.Helper()
	rootKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	template := func(name string) *x509.Certificate {
		return &x509.Certificate{
			Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(2 * time.Hour),
			IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
		}
	}
	sign := func(name string, parent *x509.Certificate, key, parentKey crypto.Signer) *x509.Certificate {
		c := template(name)
		if parent == nil {
			parent = c
		}
		der, err := x509.CreateCertificate(rand.Reader, c, parent, key.Public(), parentKey)
		if err != nil {
			t.Fatal(err)
		}
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		return cert
	}
	root = sign("root", nil, rootKey, rootKey)
	key := newTestKey(t)
	below := sign("below", root, key, rootKey)
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return CAFiles{
		Cert:  encodeCertificate(below.Raw),
		Key:   pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}),
		Roots: encodeCertificate(root.Raw),
		Chain: append(encodeCertificate(below.Raw), encodeCertificate(root.Raw)...),
	}, root
}

func TestParseCATakesIstioCacerts(t *testing.T) {
	files, root := broughtCA(t)
	ca, err := ParseCA(files)
	if err != nil {
		t.Fatal(err)
	}
	chain, err := ca.Sign(request(t, newTestKey(t), &x509.CertificateRequest{}), Claim{ID: edge, TTL: 24 * time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	certs := parse(t, chain)
	if len(certs) != 3 || !bytes.Equal(certs[2].Raw, root.Raw) {
		t.Errorf("chain of %d, want leaf, intermediate, root", len(certs))
	}
	if _, err := ca.Bundle().Verify(certs[:2], x509.ExtKeyUsageClientAuth, time.Now()); err != nil {
		t.Error(err)
	}
	if certs[0].NotAfter.After(certs[1].NotAfter) {
		t.Errorf("the leaf lives until %v, its CA until %v", certs[0].NotAfter, certs[1].NotAfter)
	}
}

func TestCAFilesAreTheCA(t *testing.T) {
	ca := newTestCA(t)
	files, err := ca.Files()
	if err != nil {
		t.Fatal(err)
	}
	again, err := ParseCA(files)
	if err != nil {
		t.Fatal(err)
	}
	chain, err := again.Sign(request(t, newTestKey(t), &x509.CertificateRequest{}), Claim{ID: edge})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ca.Bundle().Verify(parse(t, chain), x509.ExtKeyUsageClientAuth, time.Now()); err != nil {
		t.Errorf("what the CA signs after a restart: %v", err)
	}
}

func TestParseCARefusesDamage(t *testing.T) {
	good, _ := broughtCA(t)
	other, _ := broughtCA(t)
	leafChain, err := newTestCA(t).Sign(request(t, newTestKey(t), &x509.CertificateRequest{}), Claim{ID: edge})
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name   string
		damage func(f *CAFiles)
	}{
		{"no certificate", func(f *CAFiles) { f.Cert = nil }},
		{"no key", func(f *CAFiles) { f.Key = nil }},
		{"no root", func(f *CAFiles) { f.Roots = nil }},
		{"garbage after the certificate", func(f *CAFiles) { f.Cert = append(bytes.Clone(f.Cert), "garbage"...) }},
		{"a cut certificate", func(f *CAFiles) { f.Cert = f.Cert[:len(f.Cert)/2] }},
		{"another's key", func(f *CAFiles) { f.Key = other.Key }},
		{"a key in the certificate's place", func(f *CAFiles) { f.Cert = f.Key }},
		{"a certificate in the key's place", func(f *CAFiles) { f.Key = f.Cert }},
		{"another's root", func(f *CAFiles) { f.Roots = other.Roots }},
		{"a leaf as the root", func(f *CAFiles) { f.Roots = leafChain[0] }},
	}
	for _, tt := range tests {
		f := good
		tt.damage(&f)
		if _, err := ParseCA(f); err == nil {
			t.Errorf("%s: taken", tt.name)
		} else if bytes.Contains([]byte(err.Error()), []byte("PRIVATE KEY-----")) {
			t.Errorf("%s: the error shows the key: %v", tt.name, err)
		}
	}
}

func FuzzParseCA(f *testing.F) {
	files, err := newTestCA(f).Files()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(files.Cert, files.Key, files.Roots, files.Chain)
	f.Fuzz(func(t *testing.T, cert, key, roots, chain []byte) {
		ca, err := ParseCA(CAFiles{cert, key, roots, chain})
		if err == nil && ca.Bundle() == nil {
			t.Error("a CA without a bundle")
		}
	})
}

func FuzzParseCSR(f *testing.F) {
	f.Add(request(f, newTestKey(f), &x509.CertificateRequest{}))
	f.Fuzz(func(t *testing.T, text []byte) {
		if r, err := parseCSR(text); err == nil && r == nil {
			t.Error("neither a request nor an error")
		}
	})
}
