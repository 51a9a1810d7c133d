package tlsmgr

import (
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
	"time"
)

// revoke returns the signer's list of revoked serial numbers, in force until
// a time.
func (s *signer) revoke(until time.Time, serials ...int64) []byte {
	s.t.Helper()
	list := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: until.Add(-48 * time.Hour), NextUpdate: until}
	for _, n := range serials {
		list.RevokedCertificateEntries = append(list.RevokedCertificateEntries, x509.RevocationListEntry{
			SerialNumber: big.NewInt(n), RevocationTime: list.ThisUpdate,
		})
	}
	der, err := x509.CreateRevocationList(rand.Reader, list, s.cert, s.key)
	if err != nil {
		s.t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der})
}

func join(texts ...[]byte) []byte {
	var all []byte
	for _, text := range texts {
		all = append(all, text...)
	}
	return all
}

// RFC 5280 section 6.3, and ServerTLSSettings.caCrl: a client's certificate is
// 2, and that of the intermediate 1.
func TestRevokedCertificatesAreTurnedAway(t *testing.T) {
	root := newSigner(t, "root")
	below := root.sub("below")
	stranger := newSigner(t, "root") // has its name, and not its key
	tomorrow, yesterday := time.Now().Add(24*time.Hour), time.Now().Add(-24*time.Hour)
	tests := []struct {
		name string
		crl  []byte
		cert *tls.Certificate
		let  bool
	}{
		{"nothing is revoked", root.revoke(tomorrow), root.client(), true},
		{"another is revoked", root.revoke(tomorrow, 7), root.client(), true},
		{"it is revoked", root.revoke(tomorrow, 2), root.client(), false},
		{"it is revoked in the second list", join(root.revoke(tomorrow, 7), root.revoke(tomorrow, 2)), root.client(), false},
		{"the list has run out", root.revoke(yesterday), root.client(), false},
		{"the list is another's", stranger.revoke(tomorrow), root.client(), false},
		{"the list is not in force yet", root.revoke(tomorrow.Add(48 * time.Hour)), root.client(), false},
		{"each issuer has a list", join(root.revoke(tomorrow), below.revoke(tomorrow)), below.client(), true},
		{"the issuer has none", root.revoke(tomorrow), below.client(), false},
		{"the issuer is revoked", join(root.revoke(tomorrow, 1), below.revoke(tomorrow)), below.client(), false},
		{"what is no list lets nobody in", []byte("no PEM"), root.client(), false},
	}
	s := store(t, nil, pair(t, "tls", ecdsaKey(), "x"))
	for _, tt := range tests {
		server := serving(s, Listener{Certificates: []string{"tls"}, Clients: &ClientValidation{Roots: root.pem, CRL: tt.crl}})
		if got := (visit{name: "x", cert: tt.cert}).to(server); got.let != tt.let {
			t.Errorf("%s: let in %v, want %v", tt.name, got.let, tt.let)
		}
	}
}

// A session does not outlive the certificate that it began with.
func TestSessionsEndWithTheirCertificates(t *testing.T) {
	root := newSigner(t, "root")
	s := store(t, nil, pair(t, "tls", ecdsaKey(), "x"))
	tomorrow := time.Now().Add(24 * time.Hour)
	listener := Listener{Certificates: []string{"tls"}, Clients: &ClientValidation{Roots: root.pem, CRL: root.revoke(tomorrow)}}
	server := serving(s, listener)
	v := visit{name: "x", cert: root.client(), cache: &oneSession{}}
	for i, resumed := range []bool{false, true} {
		if got := v.to(server); !got.let || got.resumed != resumed {
			t.Fatalf("visit %d: %+v, want resumed %v", i, got, resumed)
		}
	}
	listener.Clients = &ClientValidation{Roots: root.pem, CRL: root.revoke(tomorrow, 2)}
	server.Use(s.Table([]Listener{listener}))
	if got := v.to(server); got.let {
		t.Error("let in by a certificate that is revoked")
	}
}

func FuzzParseRevocations(f *testing.F) {
	root := newSigner(f, "root")
	f.Add(root.revoke(time.Now().Add(time.Hour), 1, 2))
	f.Add([]byte("-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		r, err := ParseRevocations(text)
		if (r == nil) == (err == nil) {
			t.Fatalf("%v and error %v, want one of them", r, err)
		}
		if err == nil {
			if !strings.Contains(string(text), "BEGIN X509 CRL") {
				t.Error("there is no list in it")
			}
			_ = r.Check([]*x509.Certificate{root.cert, root.cert}, time.Now())
		}
	})
}
