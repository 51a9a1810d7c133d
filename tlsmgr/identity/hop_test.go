package identity

import (
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"math/big"
	"net/url"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

var waypoint = ID{"cluster.local", "shop", "waypoint"}

// shown is the Own of a certificate of id, edited before ca signs it.
func shown(t *testing.T, ca *CA, id ID, edit func(*x509.Certificate)) Own {
	t.Helper()
	key := newTestKey(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(42),
		NotBefore:    time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		URIs:        []*url.URL{id.URL()},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if edit != nil {
		edit(template)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca.cert, key.Public(), ca.key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return func() (*tls.Certificate, error) {
		return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, nil
	}
}

// listOf is a revocation list of ca with those serial numbers.
func listOf(t *testing.T, ca *CA, serials ...int64) []byte {
	t.Helper()
	list := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: time.Now().Add(-48 * time.Hour), NextUpdate: time.Now().Add(-24 * time.Hour)}
	for _, n := range serials {
		list.RevokedCertificateEntries = append(list.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: big.NewInt(n), RevocationTime: time.Now()})
	}
	der, err := x509.CreateRevocationList(rand.Reader, list, ca.cert, ca.key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func withLists(t *testing.T, ca *CA, lists ...[]byte) Roots {
	t.Helper()
	text := ca.Bundle().PEM()
	for _, der := range lists {
		text = append(text, pemOf(listBlock, der)...)
	}
	b, err := ParseBundle(text)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := ParseBundle(b.PEM()); err != nil || len(again.lists) != len(lists) {
		t.Fatalf("PEM does not read back: %v", err)
	}
	return func() *Bundle { return b }
}

// HBONE (waypoint-wire, ztunnel's src/tls): both ends show a certificate that
// leads to the bundle with one URI; a server goes by its trust domain, a client
// by the whole identity. What is refused says what was found and what wanted.
func TestHops(t *testing.T) {
	ca, foreign := newTestCA(t), newTestCA(t)
	roots := Roots(ca.Bundle)
	domains := []string{"cluster.local", "old.local"}
	edit := func(f func(*x509.Certificate)) Own { return shown(t, ca, edge, f) }
	client, server := shown(t, ca, edge, nil), shown(t, ca, waypoint, nil)
	uri := func(text string) *url.URL {
		u, err := url.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		return u
	}
	revoking := withLists(t, ca, listOf(t, ca, 7, 42))
	tests := []struct {
		name           string
		client, server Own
		clientRoots    Roots
		serverRoots    Roots
		wanted         string
		says           string // empty: it works
	}{
		{"as it should be", client, server, roots, roots, waypoint.String(), ""},
		{"one of several", client, server, roots, roots, edge.String() + " " + waypoint.String(), ""},
		{"none of several", client, server, roots, roots, edge.String() + " " + (ID{"cluster.local", "shop", "cart"}).String(), "peer is spiffe://cluster.local/ns/shop/sa/waypoint, want one of [spiffe://"},
		{"several of which one is none", client, server, roots, roots, waypoint.String() + " shop", "identity"},
		{"a trust domain of old", shown(t, ca, ID{"old.local", "shop", "edge"}, nil), server, roots, roots, waypoint.String(), ""},
		{"another trust domain", shown(t, ca, ID{"other.local", "shop", "edge"}, nil), server, roots, roots, waypoint.String(),
			`peer is spiffe://other.local/ns/shop/sa/edge, want one of the trust domains ["cluster.local" "old.local"]`},
		{"an expired client", edit(func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }), server, roots, roots, waypoint.String(),
			"certificate of spiffe://cluster.local/ns/shop/sa/edge: expired at "},
		{"a client of tomorrow", edit(func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Minute) }), server, roots, roots, waypoint.String(), "valid from "},
		{"an expired server", client, shown(t, ca, waypoint, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }), roots, roots, waypoint.String(),
			"certificate of spiffe://cluster.local/ns/shop/sa/waypoint: expired at "},
		{"a client of another mesh", shown(t, foreign, edge, nil), server, roots, roots, waypoint.String(),
			`issued by "CN=Fairway mesh CA,O=cluster.local" (key `},
		{"a server of another mesh", client, shown(t, foreign, waypoint, nil), roots, roots, waypoint.String(), "want one that leads to one of 1 roots of the mesh"},
		{"another service account", client, server, roots, roots, "spiffe://cluster.local/ns/shop/sa/waypoint2",
			"peer is spiffe://cluster.local/ns/shop/sa/waypoint, want spiffe://cluster.local/ns/shop/sa/waypoint2"},
		{"no identity to expect", client, server, roots, roots, "", "identity \"\": another scheme, want spiffe://"},
		{"a client with two URIs", edit(func(c *x509.Certificate) { c.URIs = append(c.URIs, uri("spiffe://cluster.local/ns/a/sa/b")) }), server, roots, roots, waypoint.String(), "2 URIs, want one"},
		{"a client without a URI", edit(func(c *x509.Certificate) { c.URIs, c.DNSNames = nil, []string{"edge"} }), server, roots, roots, waypoint.String(), "0 URIs, want one"},
		{"a CA as a client", edit(func(c *x509.Certificate) { c.IsCA, c.BasicConstraintsValid = true, true }), server, roots, roots, waypoint.String(), "a CA's, want a leaf"},
		{"a client for servers only", edit(func(c *x509.Certificate) { c.ExtKeyUsage = c.ExtKeyUsage[:1] }), server, roots, roots, waypoint.String(), "incompatible key usage"},
		{"a client without a certificate", func() (*tls.Certificate, error) { return &tls.Certificate{}, nil }, server, roots, roots, waypoint.String(), "didn't provide a certificate"},
		{"a client whose own is not there", func() (*tls.Certificate, error) { return nil, errors.New("none yet") }, server, roots, roots, waypoint.String(), "none yet"},
		{"a server without roots", client, server, roots, func() *Bundle { return nil }, waypoint.String(), "no bundle of roots"},
		{"a revoked client", client, server, roots, revoking, waypoint.String(), "with serial number 42 is revoked by"},
		{"a revoked server", client, server, revoking, roots, waypoint.String(), "with serial number 42 is revoked by"},
		{"a list of others", client, server, withLists(t, ca, listOf(t, ca, 7)), withLists(t, ca, listOf(t, ca)), waypoint.String(), ""},
		{"a list of another CA of that name", client, server, roots, withLists(t, ca, listOf(t, foreign, 42)), waypoint.String(), ""},
	}
	for _, tt := range tests {
		in := HopServer(tt.server, tt.serverRoots, func() []string { return domains })
		out := HopClient(tt.client, tt.clientRoots, tt.wanted)
		in.NextProtos, out.NextProtos = []string{"h2"}, []string{"h2"}
		err := handshake(t, out, in)
		if (err == nil) != (tt.says == "") || err != nil && !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.says)
		}
	}
}

// Of an intermediate CA that is revoked nothing is believed.
func TestRevokedIntermediate(t *testing.T) {
	root := newTestCA(t)
	key := newTestKey(t)
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(9), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}, root.cert, key.Public(), root.key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	below := &CA{cert: cert, key: key, chain: []*x509.Certificate{cert}, bundle: root.bundle}
	own := shown(t, below, edge, nil)
	leaf, err := own()
	if err != nil {
		t.Fatal(err)
	}
	chain := []*x509.Certificate{leaf.Leaf, cert}
	for _, tt := range []struct {
		roots Roots
		ok    bool
	}{{root.Bundle, true}, {withLists(t, root, listOf(t, root, 9)), false}} {
		if _, err := tt.roots().Verify(chain, x509.ExtKeyUsageClientAuth, time.Now()); (err == nil) != tt.ok {
			t.Errorf("verify = %v, want ok %v", err, tt.ok)
		}
	}
}

func TestHopsAreNotResumed(t *testing.T) {
	ca := newTestCA(t)
	in := HopServer(shown(t, ca, waypoint, nil), ca.Bundle, func() []string { return []string{"cluster.local"} })
	out := HopClient(shown(t, ca, edge, nil), ca.Bundle, waypoint.String())
	for _, c := range []*tls.Config{in, out} {
		if !c.SessionTicketsDisabled || c.ClientSessionCache != nil || c.MinVersion != tls.VersionTLS13 || c.NextProtos != nil || c.CurvePreferences != nil {
			t.Errorf("tickets disabled %v, cache %v, at least %x, protocols %v, curves %v: want none resumed, TLS 1.3, the caller's protocols, Go's curves",
				c.SessionTicketsDisabled, c.ClientSessionCache, c.MinVersion, c.NextProtos, c.CurvePreferences)
		}
	}
}

// What it costs to be sure who is at both ends: against TLS 1.3 with
// certificates on both sides as crypto/tls checks them. The two take turns, and
// CPU time is counted, of both ends: on a busy machine the clock tells little.
func BenchmarkHop(b *testing.B) {
	ca := newTestCA(b)
	own := func(id ID) Own {
		k := NewKeeper(Local(func() *CA { return ca }, Claim{ID: id, DNS: []string{"waypoint"}}), quiet)
		if _, err := k.renew(b.Context()); err != nil {
			b.Fatal(err)
		}
		return k.Certificate
	}
	client, server := own(edge), own(waypoint)
	bare := func(own Own) *tls.Config {
		cert, err := own()
		if err != nil {
			b.Fatal(err)
		}
		return &tls.Config{
			MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{*cert}, ServerName: "waypoint",
			RootCAs: ca.bundle.pool, ClientCAs: ca.bundle.pool, ClientAuth: tls.RequireAndVerifyClientCert, SessionTicketsDisabled: true,
		}
	}
	bareIn, bareOut := bare(server), bare(client)
	hopIn := HopServer(server, ca.Bundle, func() []string { return []string{"cluster.local"} })
	ways := []func() error{
		func() error { return handshake(b, bareOut, bareIn) },
		func() error { return handshake(b, HopClient(client, ca.Bundle, waypoint.String()), hopIn) },
	}
	var cost [2]time.Duration
	n := 0
	for b.Loop() {
		n += 2
		for _, way := range []int{0, 1, 1, 0} {
			before := cpuTime(b)
			if err := ways[way](); err != nil {
				b.Fatal(err)
			}
			cost[way] += cpuTime(b) - before
		}
	}
	b.ReportMetric(float64(cost[0].Nanoseconds())/float64(n), "bare-cpu-ns")
	b.ReportMetric(float64(cost[1].Nanoseconds())/float64(n), "hop-cpu-ns")
	b.ReportMetric(float64(cost[1])/float64(cost[0]), "hop/bare")
}

// cpuTime is what the process has used.
func cpuTime(b *testing.B) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
