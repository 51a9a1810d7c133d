package tlsmgr

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"
)

// A signer signs certificates of clients.
type signer struct {
	t    testing.TB
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
}

func newSigner(t testing.TB, name string) *signer { return (&signer{t: t}).sub(name) }

// sub returns a signer that s vouches for; s without a certificate makes one
// that vouches for itself.
func (s *signer) sub(name string) *signer {
	s.t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, key := s.sign(template)
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		s.t.Fatal(err)
	}
	return &signer{s.t, cert, key, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})}
}

func (s *signer) sign(template *x509.Certificate) ([]byte, *ecdsa.PrivateKey) {
	s.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		s.t.Fatal(err)
	}
	parent, parentKey := template, key
	if s.cert != nil {
		parent, parentKey = s.cert, s.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), parentKey)
	if err != nil {
		s.t.Fatal(err)
	}
	return der, key
}

// client returns a client's certificate, changed by edits.
func (s *signer) client(edits ...func(*x509.Certificate)) *tls.Certificate {
	s.t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "client"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	for _, edit := range edits {
		edit(template)
	}
	der, key := s.sign(template)
	return &tls.Certificate{Certificate: [][]byte{der, s.cert.Raw}, PrivateKey: key}
}

func expired(c *x509.Certificate)    { c.NotAfter = time.Now().Add(-time.Minute) }
func forServers(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }

// A visit is a client's handshake.
type visit struct {
	name    string // asked for
	cert    *tls.Certificate
	version uint16
	cache   tls.ClientSessionCache
}

// An arrival is what the server knows after a visit.
type arrival struct {
	let      bool // in
	asked    bool // for a certificate
	resumed  bool
	verified string // the roots that the client's certificate leads to
}

// noted is a net.Conn that is Verified.
type noted struct {
	net.Conn
	roots []byte
}

func (n *noted) ClientVerified(roots []byte) { n.roots = roots }

func (v visit) to(server *Server) arrival {
	var a arrival
	near, far := sockets()
	n := &noted{Conn: near}
	done := make(chan error, 1)
	go func() {
		conn := tls.Server(n, server.Config())
		err := conn.Handshake()
		if err == nil {
			_, err = conn.Write([]byte("x"))
		}
		a.resumed = err == nil && conn.ConnectionState().DidResume
		near.Close()
		done <- err
	}()
	conn := tls.Client(far, &tls.Config{
		InsecureSkipVerify: true, ServerName: v.name, MaxVersion: v.version, ClientSessionCache: v.cache,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			a.asked = true
			if v.cert == nil {
				return &tls.Certificate{}, nil
			}
			return v.cert, nil
		},
	})
	_, err := conn.Read(make([]byte, 1)) // TLS 1.3's client knows no sooner
	far.Close()
	a.let = <-done == nil && err == nil
	a.verified = string(n.roots)
	return a
}

var versions = []uint16{tls.VersionTLS12, tls.VersionTLS13}

// GEP-91: AllowValidOnly and AllowInsecureFallback.
func TestClientsAreChecked(t *testing.T) {
	root, other := newSigner(t, "root"), newSigner(t, "other")
	roots := append(append([]byte(nil), other.pem...), root.pem...)
	stranger := newSigner(t, "stranger")
	tests := []struct {
		name string
		cert *tls.Certificate
		ok   bool
	}{
		{"none", nil, false},
		{"of a root", root.client(), true},
		{"of another root", other.client(), true},
		{"of what a root vouches for", root.sub("intermediate").client(), true},
		{"of a stranger", stranger.client(), false},
		{"of a stranger with a root's name", newSigner(t, "root").client(), false},
		{"expired", root.client(expired), false},
		{"of a server", root.client(forServers), false},
	}
	s := store(t, nil, pair(t, "shop/tls", ecdsaKey(), "shop.example"))
	for _, insecure := range []bool{false, true} {
		server := serving(s, Listener{Certificates: []string{"shop/tls"}, Clients: &ClientValidation{Roots: roots, AllowInsecure: insecure}})
		for _, tt := range tests {
			for _, version := range versions {
				got := visit{name: "shop.example", cert: tt.cert, version: version}.to(server)
				want := arrival{let: tt.ok || insecure, asked: true}
				if tt.ok {
					want.verified = string(roots)
				}
				if !want.let {
					got.verified = ""
				}
				if got != want {
					t.Errorf("insecure %v, %s, certificate %s: %+v, want %+v", insecure, tls.VersionName(version), tt.name, got, want)
				}
			}
		}
	}
}

// Law 1: what is broken about security is closed, never opened.
func TestRootsThatAreNoneLetNobodyIn(t *testing.T) {
	root := newSigner(t, "root")
	s := store(t, nil, pair(t, "shop/tls", ecdsaKey(), "shop.example"))
	for _, roots := range []string{"", "no PEM", strings.Replace(string(root.pem), "CERTIFICATE", "CERTIFICATE REQUEST", 2)} {
		for _, insecure := range []bool{false, true} {
			server := serving(s,
				Listener{Hostname: "shop.example", Certificates: []string{"shop/tls"}, Clients: &ClientValidation{Roots: []byte(roots), AllowInsecure: insecure}},
				Listener{Certificates: []string{"shop/tls"}})
			if got := (visit{name: "shop.example", cert: root.client()}).to(server); got.let {
				t.Errorf("roots %q, insecure %v: let in", roots, insecure)
			}
			if got := (visit{name: "other.example"}).to(server); !got.let || got.asked {
				t.Errorf("roots %q, insecure %v: another listener's client: %+v, want it let in, and not asked", roots, insecure, got)
			}
		}
	}
}

// The listener that a name leads to decides, and no spelling of the name leads
// to another one's certificate or lack of a check.
func TestEachListenerAsksItsOwnClients(t *testing.T) {
	root := newSigner(t, "root")
	s := store(t, nil, pair(t, "tls", ecdsaKey(), "x"))
	ask := &ClientValidation{Roots: root.pem}
	certificates := []string{"tls"}
	server := serving(s,
		Listener{Hostname: "k.example", Certificates: certificates},
		Listener{Hostname: "*.open.example", Certificates: certificates},
		Listener{Certificates: certificates, Clients: ask},
	)
	tests := []struct {
		name  string
		asked bool
	}{
		{"k.example", false},
		{"K.EXAMPLE", false},
		{"a.open.example", false},
		{"other.example", true},
		{"", true},
		{"open.example", true},
		{".open.example", true}, // a wildcard stands for at least one character
	}
	for _, tt := range tests {
		site := server.table.Load().siteFor(&tls.ClientHelloInfo{ServerName: tt.name})
		if site == nil || (site.clients != nil) != tt.asked {
			t.Errorf("%q leads to %+v, want a listener that asks: %v", tt.name, site, tt.asked)
		}
		if got := (visit{name: tt.name, cert: root.client()}).to(server); tt.name == strings.Trim(tt.name, ".") && (!got.let || got.asked != tt.asked) {
			t.Errorf("%q: %+v, want it let in, asked: %v", tt.name, got, tt.asked)
		}
	}
	// The Kelvin sign, which is a k to strings.ToLower.
	if site := server.table.Load().siteFor(&tls.ClientHelloInfo{ServerName: "\u212a.example"}); site != nil {
		t.Errorf("a name that is not ASCII leads to listener %q", site.hostname)
	}
}

// oneSession is a cache that keeps one session for all names.
type oneSession struct{ session *tls.ClientSessionState }

func (c *oneSession) Get(string) (*tls.ClientSessionState, bool) { return c.session, c.session != nil }
func (c *oneSession) Put(_ string, session *tls.ClientSessionState) {
	if session != nil {
		c.session = session
	}
}

// A session is resumed only with a listener that would take its client now.
func TestSessionsAreCheckedAgain(t *testing.T) {
	root, other := newSigner(t, "root"), newSigner(t, "other")
	both := append(append([]byte(nil), root.pem...), other.pem...)
	require := func(roots []byte) *ClientValidation { return &ClientValidation{Roots: roots} }
	allow := func(roots []byte) *ClientValidation { return &ClientValidation{Roots: roots, AllowInsecure: true} }
	tests := []struct {
		name    string
		from    *ClientValidation // of the listener that the session begins with
		at      *ClientValidation // of the one that it is taken to
		resumed bool
		let     bool
		roots   []byte // that the certificate is known to lead to there
	}{
		{"the same roots", require(root.pem), require(root.pem), true, true, root.pem},
		{"more roots", require(root.pem), require(both), true, true, both},
		{"other roots", require(root.pem), require(other.pem), false, false, nil},
		{"from a listener that asks nobody", nil, require(root.pem), false, true, root.pem},
		{"from one that takes anybody", allow(other.pem), require(root.pem), false, true, root.pem},
		{"from one that takes anybody, to other roots", allow(root.pem), require(other.pem), false, false, nil},
		{"to a listener that asks nobody", require(root.pem), nil, false, true, nil},
		{"verified, to one that takes anybody", require(root.pem), allow(other.pem), true, true, nil},
		{"not verified, to one that takes anybody", allow(other.pem), allow(root.pem), true, true, root.pem},
		{"to roots that are none", require(root.pem), require(nil), false, false, nil},
	}
	s := store(t, nil, pair(t, "tls", ecdsaKey(), "x"))
	for _, tt := range tests {
		for _, version := range versions {
			// A third listener sees to it that the configuration stays the same.
			server := serving(s,
				Listener{Hostname: "from.example", Certificates: []string{"tls"}, Clients: tt.from},
				Listener{Hostname: "at.example", Certificates: []string{"tls"}, Clients: tt.at},
				Listener{Hostname: "third.example", Certificates: []string{"tls"}, Clients: require(root.pem)},
			)
			v := visit{name: "from.example", cert: root.client(), version: version, cache: &oneSession{}}
			if got := v.to(server); !got.let || got.resumed {
				t.Fatalf("%s: the session does not begin: %+v", tt.name, got)
			}
			v.name = "at.example"
			got := v.to(server)
			got.asked = false
			if !got.let {
				got.verified = ""
			}
			if want := (arrival{let: tt.let, resumed: tt.resumed, verified: string(tt.roots)}); got != want {
				t.Errorf("%s, %s: %+v, want %+v", tls.VersionName(version), tt.name, got, want)
			}
		}
	}
}

// The roots of a listener that change take effect on sessions that began
// before.
func TestSessionsDoNotOutliveTheirRoots(t *testing.T) {
	old, renewed := newSigner(t, "old"), newSigner(t, "new")
	s := store(t, nil, pair(t, "tls", ecdsaKey(), "x"))
	listener := Listener{Certificates: []string{"tls"}, Clients: &ClientValidation{Roots: old.pem}}
	for _, version := range versions {
		server := serving(s, listener)
		v := visit{name: "x", cert: old.client(), version: version, cache: &oneSession{}}
		for i, resumed := range []bool{false, true} {
			if got := v.to(server); !got.let || got.resumed != resumed {
				t.Fatalf("visit %d: %+v, want resumed %v", i, got, resumed)
			}
		}
		changed := listener
		changed.Clients = &ClientValidation{Roots: renewed.pem}
		server.Use(s.Table([]Listener{changed}))
		if got := v.to(server); got.let {
			t.Error("let in by a certificate of roots that are out of force")
		}
		v.cert = renewed.client() // the client has been given a new one
		if got := v.to(server); !got.let || got.resumed || !got.asked {
			t.Errorf("with a new certificate: %+v, want a full handshake", got)
		}
	}
}

// A port where nobody is asked has the configuration that it always had.
func TestConfigurationWithoutChecksIsPlain(t *testing.T) {
	s := store(t, nil, pair(t, "tls", ecdsaKey(), "x"))
	server := serving(s, Listener{Certificates: []string{"tls"}})
	if c := server.Config(); c.GetConfigForClient != nil || c.VerifyConnection != nil || c.ClientAuth != tls.NoClientCert {
		t.Error("a handshake pays for checks that nobody asked for")
	}
	server.Use(s.Table([]Listener{
		{Certificates: []string{"tls"}},
		{Hostname: "y", Certificates: []string{"tls"}, Clients: &ClientValidation{Roots: newSigner(t, "root").pem}},
	}))
	if server.Config().GetConfigForClient == nil {
		t.Error("the listener that asks is not asked for")
	}
}
