package upstream

import (
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"testing"
	"time"

	"fairway.dev/routing"
)

// revoke makes a list of the certificates with these serial numbers.
func (a *authority) revoke(t *testing.T, until time.Time, serials ...int64) []byte {
	t.Helper()
	list := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: time.Now().Add(-2 * time.Hour), NextUpdate: until}
	for _, serial := range serials {
		list.RevokedCertificateEntries = append(list.RevokedCertificateEntries,
			x509.RevocationListEntry{SerialNumber: big.NewInt(serial), RevocationTime: time.Now()})
	}
	der, err := x509.CreateRevocationList(rand.Reader, list, a.cert, a.key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der})
}

// ClientTLSSettings.caCrl, through handshakes. Certificates of the test's CA
// have the serial number 2.
func TestRevokedEndpointsAreNotTrusted(t *testing.T) {
	ca, other := newAuthority(t), newAuthority(t)
	later := time.Now().Add(time.Hour)
	for _, tt := range []struct {
		name string
		tls  routing.UpstreamTLS
		want bool
	}{
		{"another is revoked", routing.UpstreamTLS{ServerName: "cart", CRL: ca.revoke(t, later, 3)}, true},
		{"it is revoked", routing.UpstreamTLS{ServerName: "cart", CRL: ca.revoke(t, later, 2)}, false},
		{"with SANs", routing.UpstreamTLS{SANs: []string{"cart"}, CRL: ca.revoke(t, later, 2)}, false},
		{"another, with SANs", routing.UpstreamTLS{SANs: []string{"cart"}, CRL: ca.revoke(t, later, 3)}, true},
		{"the list of another CA", routing.UpstreamTLS{ServerName: "cart", CRL: other.revoke(t, later)}, false},
		{"a list that is old", routing.UpstreamTLS{ServerName: "cart", CRL: ca.revoke(t, time.Now().Add(-time.Hour))}, false},
		{"nothing is verified", routing.UpstreamTLS{Insecure: true, CRL: ca.revoke(t, later, 2)}, true},
	} {
		s := newStage(t, 1)
		tt.tls.Roots = ca.pem
		config, err := s.set.clientTLS(&tt.tls, routing.UpstreamHTTP1)
		if err != nil {
			t.Fatal(err)
		}
		_, err = shake(t, config, &tls.Config{Certificates: []tls.Certificate{*ca.issue(t, "cart")}})
		if (err == nil) != tt.want {
			t.Errorf("%s: handshake: %v, want ok = %v", tt.name, err, tt.want)
		}
	}
}

func TestBrokenRevocationListClosesTheCluster(t *testing.T) {
	s := newStage(t, 1)
	c := s.cluster(routing.Cluster{TLS: &routing.UpstreamTLS{ServerName: "cart", CRL: []byte("x")}}, 1)
	if x, _ := s.begin(c, s.loops[0]); x.err == nil || len(s.dials) != 0 {
		t.Errorf("connect: %v, %d dials; want an error and none", x.err, len(s.dials))
	}
}

// hosted asks for a connection for a request's host.
func (s *stage) hosted(c *Cluster, use Use, host string) *try {
	x := &try{}
	x.Waiter, x.Use, x.Host = x, use, host
	c.Connect(s.loops[0], s.endpoint(c, 1), &x.Wait)
	s.settle()
	return x
}

// ClientTLSSettings.sni: (!) where it is empty the request's host is sent, and
// without subjectAltNames the certificate is checked for it.
func TestServerNameFromHost(t *testing.T) {
	ca := newAuthority(t)
	for _, tt := range []struct {
		name string
		tls  routing.UpstreamTLS
		host string
		cert string
		sni  string
		want bool
	}{
		{"the host is in it", routing.UpstreamTLS{}, "API.example.com:8443", "api.example.com", "api.example.com", true},
		{"another is", routing.UpstreamTLS{}, "api.example.com", "www.example.com", "api.example.com", false},
		{"SANs count instead", routing.UpstreamTLS{SANs: []string{"www.example.com"}}, "api.example.com", "www.example.com", "api.example.com", true},
		{"and not the host", routing.UpstreamTLS{SANs: []string{"www.example.com"}}, "api.example.com", "api.example.com", "api.example.com", false},
		{"nothing is verified", routing.UpstreamTLS{Insecure: true}, "api.example.com", "x", "api.example.com", true},
		{"sni is given", routing.UpstreamTLS{ServerName: "www.example.com"}, "api.example.com", "www.example.com", "www.example.com", true},
	} {
		s := newStage(t, 1)
		tt.tls.Roots, tt.tls.NameFromHost = ca.pem, true
		c := s.cluster(routing.Cluster{TLS: &tt.tls}, 1)
		if x := s.hosted(c, Requests, tt.host); x.client == nil {
			t.Errorf("%s: no connection: %v", tt.name, x.err)
			continue
		}
		state, err := shake(t, s.dials[0].config, &tls.Config{Certificates: []tls.Certificate{*ca.issue(t, tt.cert)}})
		if (err == nil) != tt.want || state.ServerName != tt.sni {
			t.Errorf("%s: SNI %q, handshake: %v; want %q, ok = %v", tt.name, state.ServerName, err, tt.sni, tt.want)
		}
	}
}

// A connection that was made for one name is not used for another.
func TestConnectionsByHostAreApart(t *testing.T) {
	s := newStage(t, 1)
	c := s.cluster(routing.Cluster{Protocol: routing.UpstreamHTTP2, TLS: &routing.UpstreamTLS{NameFromHost: true}}, 1)
	a, b := s.hosted(c, Requests, "a.example"), s.hosted(c, Requests, "b.example")
	again := s.hosted(c, Requests, "A.example:443")
	if a.client == b.client || again.client != a.client || len(s.dials) != 2 {
		t.Errorf("%d connections for three requests to two hosts, want one for each", len(s.dials))
	}
	if x := s.hosted(c, Requests, ""); !errors.Is(x.err, errNoName) {
		t.Errorf("a request without a host: %v, want %v", x.err, errNoName)
	}
	for _, x := range []*try{a, b, again} {
		x.client.end()
	}
	s.run(80 * time.Second)
	if s.stat(1).Connections != 2 {
		t.Errorf("%d connections before the idle timeout, want 2", s.stat(1).Connections)
	}
	s.run(20 * time.Second)
	if got := len(s.endpoint(c, 1).private[0]); got != 0 || s.stat(1).Connections != 0 {
		t.Errorf("%d pools and %d connections after the idle timeout, want none left", got, s.stat(1).Connections)
	}
}

func TestHostsOfConnectionsAreBounded(t *testing.T) {
	s := newStage(t, 1)
	s.hold = true
	c := s.cluster(routing.Cluster{TLS: &routing.UpstreamTLS{NameFromHost: true}}, 1)
	for i := range maxHostPools {
		if x := s.hosted(c, Requests, string(rune('a'+i%26))+big.NewInt(int64(i)).String()+".example"); x.err != nil {
			t.Fatal(x.err)
		}
	}
	if x := s.hosted(c, Requests, "more.example"); !errors.Is(x.err, ErrOverflow) {
		t.Errorf("one host more: %v, want ErrOverflow", x.err)
	}
}
