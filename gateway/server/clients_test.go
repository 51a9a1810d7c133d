package server

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"fairway.dev/routing"
)

// An issuer signs certificates, of clients and of listeners.
type issuer struct {
	t    testing.TB
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newIssuer(t testing.TB) *issuer {
	t.Helper()
	i := &issuer{t: t}
	i.cert, i.key = i.sign(&x509.Certificate{Subject: pkix.Name{CommonName: "issuer"}, IsCA: true, BasicConstraintsValid: true})
	return i
}

func (i *issuer) sign(template *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	i.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		i.t.Fatal(err)
	}
	template.SerialNumber = big.NewInt(1)
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent, parentKey := template, key
	if i.cert != nil {
		parent, parentKey = i.cert, i.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), parentKey)
	if err != nil {
		i.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		i.t.Fatal(err)
	}
	return cert, key
}

// pem returns the issuer's certificate: what listeners are told to trust.
func (i *issuer) pem() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: i.cert.Raw})
}

func (i *issuer) client() *tls.Certificate {
	cert, key := i.sign(&x509.Certificate{
		Subject: pkix.Name{CommonName: "client"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	return &tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key}
}

// listenerPair returns a key pair for a name.
func (i *issuer) listenerPair(name routing.CertificateName, host string) *routing.Certificate {
	cert, key := i.sign(&x509.Certificate{Subject: pkix.Name{CommonName: string(name)}, DNSNames: []string{host}})
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		i.t.Fatal(err)
	}
	return &routing.Certificate{
		Name:  name,
		Chain: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw}),
		Key:   pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}),
	}
}

// checking returns the change that makes a port have HTTPS listeners, by their
// hostnames, that check their clients as is said. All answer 204.
func checking(i *issuer, port uint16, hosts map[string]*routing.ClientValidation) *routing.Delta {
	route := &routing.Route{Name: "r", Rules: []routing.Rule{{Action: routing.Action{Status: 204}}}}
	d := &routing.Delta{Certificates: []*routing.Certificate{i.listenerPair("ns/tls", "x.example")}, Routes: []*routing.Route{route}}
	for host, v := range hosts {
		l := &routing.Listener{
			Name: routing.ListenerName("ns/gw/" + host), Gateway: "ns/gw", Port: port, Protocol: routing.HTTPS, Hostname: host,
			TLS: &routing.ListenerTLS{Client: v, Certificates: []routing.CertificateName{"ns/tls"}},
		}
		d.Listeners = append(d.Listeners, l)
		route.Attached = append(route.Attached, routing.Attachment{Listener: l.Name, Hosts: []string{"*"}})
	}
	return d
}

// A browser is a client of one port that keeps its connections.
type browser struct {
	http.Client
	port uint16
}

// newBrowser returns a browser that connects by a name, whatever the host that
// it asks for.
func newBrowser(t *testing.T, port uint16, name string, cert *tls.Certificate, edit ...func(*tls.Config)) *browser {
	config := &tls.Config{InsecureSkipVerify: true, ServerName: name, NextProtos: []string{"h2", "http/1.1"}}
	if cert != nil {
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return cert, nil }
	}
	for _, f := range edit {
		f(config)
	}
	transport := &http.Transport{
		TLSClientConfig: config, ForceAttemptHTTP2: config.NextProtos[0] == "h2",
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", port))
		},
	}
	t.Cleanup(transport.CloseIdleConnections)
	return &browser{http.Client{Transport: transport, Timeout: 10 * time.Second}, port}
}

func http1Only(c *tls.Config) { c.NextProtos = []string{"http/1.1"} }

// status returns what is answered to a request for host; 0 where nothing is.
func (b *browser) status(host string) int {
	req, _ := http.NewRequest("GET", "https://gateway.example/", nil)
	req.Host = host
	resp, err := b.Do(req)
	if err != nil {
		return 0
	}
	resp.Body.Close()
	return resp.StatusCode
}

// GEP-91: each listener lets in whom its own roots vouch for.
func TestListenersCheckTheirClients(t *testing.T) {
	s := start(t)
	port, release := freePort(t)
	release()
	ours, others := newIssuer(t), newIssuer(t)
	problems := s.Update(checking(newIssuer(t), port, map[string]*routing.ClientValidation{
		"open.example":   nil,
		"valid.example":  {Roots: ours.pem()},
		"others.example": {Roots: others.pem()},
		"any.example":    {Roots: ours.pem(), AllowInsecure: true},
		"shut.example":   {Roots: []byte("no PEM")},
	}))
	if len(problems) != 1 || problems[0].Reason != routing.InvalidListener {
		t.Errorf("problems %v, want one: of the listener whose roots are none", problems)
	}
	tests := []struct {
		host string
		cert *tls.Certificate
		want int // 0: no connection
	}{
		{"open.example", nil, 204},
		{"open.example", ours.client(), 204},
		{"valid.example", nil, 0},
		{"valid.example", ours.client(), 204},
		{"valid.example", others.client(), 0},
		{"others.example", ours.client(), 0},
		{"others.example", others.client(), 204},
		{"any.example", nil, 204},
		{"any.example", others.client(), 204},
		{"shut.example", nil, 0},
		{"shut.example", ours.client(), 0},
	}
	for _, tt := range tests {
		for _, edit := range []func(*tls.Config){func(*tls.Config) {}, http1Only, func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 }} {
			if got := newBrowser(t, port, tt.host, tt.cert, edit).status(tt.host); got != tt.want {
				t.Errorf("%s, with a certificate: %v: status %d, want %d", tt.host, tt.cert != nil, got, tt.want)
			}
		}
	}
}

// ServerTLSSettings of Istio: what is asked of clients besides roots, and
// listeners that are closed.
func TestListenersAskForMoreThanRoots(t *testing.T) {
	s := start(t)
	port, release := freePort(t)
	release()
	ours, others := newIssuer(t), newIssuer(t)
	known := ours.client()
	hash := sha256.Sum256(known.Certificate[0])
	d := checking(newIssuer(t), port, map[string]*routing.ClientValidation{
		"optional.example": {Roots: ours.pem(), Optional: true},
		"named.example":    {Roots: ours.pem(), SANs: []string{"somebody.example"}},
		"known.example":    {Roots: ours.pem(), Hashes: []string{hex.EncodeToString(hash[:])}},
		"closed.example":   nil,
		"new.example":      nil,
	})
	for _, l := range d.Listeners {
		switch l.Hostname {
		case "closed.example":
			l.TLS = &routing.ListenerTLS{Closed: true}
		case "new.example":
			l.TLS.MinVersion = tls.VersionTLS13
		}
	}
	if problems := s.Update(d); len(problems) > 0 {
		t.Fatal(problems)
	}
	old := func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 }
	tests := []struct {
		host string
		cert *tls.Certificate
		edit func(*tls.Config)
		want int // 0: no connection
	}{
		{"optional.example", nil, http1Only, 204},
		{"optional.example", known, http1Only, 204},
		{"optional.example", others.client(), http1Only, 0},
		{"named.example", known, http1Only, 0},
		{"known.example", known, http1Only, 204},
		{"known.example", ours.client(), http1Only, 0},
		{"closed.example", nil, http1Only, 0},
		{"new.example", nil, http1Only, 204},
		{"new.example", nil, old, 0},
	}
	for _, tt := range tests {
		if got := newBrowser(t, port, tt.host, tt.cert, tt.edit).status(tt.host); got != tt.want {
			t.Errorf("%s, with a certificate: %v: status %d, want %d", tt.host, tt.cert != nil, got, tt.want)
		}
	}
	if got := newBrowser(t, port, "", nil).status("closed.example"); got != 421 && got != 0 {
		t.Errorf("a request for a closed listener, of a client that names none, gets status %d", got)
	}
}

// A listener that closes takes no more requests on open connections.
func TestListenersCloseForOpenConnections(t *testing.T) {
	s := start(t)
	port, release := freePort(t)
	release()
	d := checking(newIssuer(t), port, map[string]*routing.ClientValidation{"x.example": nil})
	s.Update(d)
	b := newBrowser(t, port, "x.example", nil)
	if got := b.status("x.example"); got != 204 {
		t.Fatalf("status %d, want 204", got)
	}
	closed := *d.Listeners[0]
	closed.TLS = &routing.ListenerTLS{Closed: true}
	s.Update(&routing.Delta{Listeners: []*routing.Listener{&closed}})
	if got := b.status("x.example"); got != 421 {
		t.Errorf("status %d, want 421", got)
	}
}

// RFC 9110 section 15.5.20: what a connection was let in for by one listener
// opens no other one, whatever host its requests name.
func TestConnectionsOfOneListenerDoNotOpenAnother(t *testing.T) {
	s := start(t)
	port, release := freePort(t)
	release()
	ours := newIssuer(t)
	s.Update(checking(newIssuer(t), port, map[string]*routing.ClientValidation{
		"":              {Roots: ours.pem()},
		"open.example":  nil,
		"valid.example": {Roots: ours.pem()},
		"any.example":   {Roots: ours.pem(), AllowInsecure: true},
	}))
	for _, edit := range []func(*tls.Config){func(*tls.Config) {}, http1Only} {
		for _, from := range []string{"open.example", "any.example"} {
			b := newBrowser(t, port, from, nil, edit)
			if got := b.status(from); got != 204 {
				t.Fatalf("%s: status %d, want 204", from, got)
			}
			for _, host := range []string{"valid.example", "VALID.example.", "other.example"} {
				if got := b.status(host); got != 421 {
					t.Errorf("from %s, host %s: status %d, want 421", from, host, got)
				}
			}
		}
	}
}

// A session that began with one listener's client is none with another's.
func TestSessionsOfOneListenerDoNotOpenAnother(t *testing.T) {
	s := start(t)
	port, release := freePort(t)
	release()
	ours, others := newIssuer(t), newIssuer(t)
	s.Update(checking(newIssuer(t), port, map[string]*routing.ClientValidation{
		"open.example":   nil,
		"others.example": {Roots: others.pem()},
		"any.example":    {Roots: ours.pem(), AllowInsecure: true},
		"valid.example":  {Roots: ours.pem()},
	}))
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		for from, cert := range map[string]*tls.Certificate{"open.example": nil, "others.example": others.client(), "any.example": others.client()} {
			cache := &oneSession{}
			edit := func(c *tls.Config) { c.ClientSessionCache, c.MaxVersion = cache, version }
			if got := newBrowser(t, port, from, cert, edit).status(from); got != 204 || cache.session == nil {
				t.Fatalf("%s: status %d, session %v", from, got, cache.session)
			}
			if got := newBrowser(t, port, "valid.example", cert, edit).status("valid.example"); got != 0 {
				t.Errorf("%s: a session of %s gets status %d, want no connection", tls.VersionName(version), from, got)
			}
		}
	}
}

// oneSession keeps one session for all names.
type oneSession struct{ session *tls.ClientSessionState }

func (c *oneSession) Get(string) (*tls.ClientSessionState, bool) { return c.session, c.session != nil }
func (c *oneSession) Put(_ string, session *tls.ClientSessionState) {
	if session != nil {
		c.session = session
	}
}

// What a listener asks now counts for connections that are open too.
func TestChecksHoldForOpenConnections(t *testing.T) {
	s := start(t)
	port, release := freePort(t)
	release()
	own, ours, renewed := newIssuer(t), newIssuer(t), newIssuer(t)
	ask := func(v *routing.ClientValidation) {
		t.Helper()
		if problems := s.Update(checking(own, port, map[string]*routing.ClientValidation{"x.example": v})); len(problems) > 0 {
			t.Fatal(problems)
		}
	}
	ask(nil)
	early := newBrowser(t, port, "x.example", nil)
	if got := early.status("x.example"); got != 204 {
		t.Fatalf("status %d, want 204", got)
	}
	ask(&routing.ClientValidation{Roots: ours.pem()})
	if got := early.status("x.example"); got != 421 {
		t.Errorf("without a certificate, from before: status %d, want 421", got)
	}
	verified := newBrowser(t, port, "x.example", ours.client())
	for range 2 {
		if got := verified.status("x.example"); got != 204 {
			t.Fatalf("verified: status %d, want 204", got)
		}
		ask(&routing.ClientValidation{Roots: ours.pem()}) // says nothing new
	}
	ask(&routing.ClientValidation{Roots: renewed.pem()})
	if got := verified.status("x.example"); got != 421 {
		t.Errorf("verified against the roots before: status %d, want 421", got)
	}
	if got := newBrowser(t, port, "x.example", renewed.client()).status("x.example"); got != 204 {
		t.Errorf("verified against the roots of now: status %d, want 204", got)
	}
	ask(nil)
	if got := verified.status("x.example"); got != 204 {
		t.Errorf("where nobody is asked any more: status %d, want 204", got)
	}
}

// The listener that decides about a handshake is the one that the requests
// belong to, however the name is spelled: what it asks of clients hangs on it.
func FuzzNamesLeadToOneListener(f *testing.F) {
	i := newIssuer(f)
	c := newCertificates(nil)
	d := new(routing.Delta)
	for n, host := range []string{"", "a.example", "k.example", "*.example", "*.a.example", "*.b.example", "xn--a.example"} {
		name := routing.CertificateName(fmt.Sprint("ns/", n))
		pair := i.listenerPair(name, "x")
		d.Certificates = append(d.Certificates, pair)
		d.Listeners = append(d.Listeners, &routing.Listener{
			Name: routing.ListenerName(name), Port: 443, Protocol: routing.HTTPS, Hostname: host,
			TLS: &routing.ListenerTLS{Certificates: []routing.CertificateName{name}},
		})
	}
	snap, problems := new(routing.Snapshot).Update(d)
	if len(problems) > 0 {
		f.Fatal(problems)
	}
	c.put(d)
	port := snap.Ports()[0]
	table := c.table(port, routing.HTTPS)
	for _, name := range []string{"", "a.example", "A.Example", ".example", ".a.example", "..b.example", "\u212a.example", "x.k.example",
		"*.example", "example", "a.b.example", "xn--A.example", "\u0130.example", "a\x00.example", strings.Repeat("a.", 125) + "example"} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if strings.HasSuffix(name, ".") {
			return // crypto/tls refuses it
		}
		cert, err := table.Certificate(&tls.ClientHelloInfo{ServerName: name})
		if err != nil {
			t.Fatal(err)
		}
		if cert == nil {
			return // refused
		}
		l := port.ListenerFor(lowered(name))
		if l == nil || string(l.Name) != cert.Leaf.Subject.CommonName {
			t.Errorf("%q: the handshake is with %s, requests belong to %v", name, cert.Leaf.Subject.CommonName, l)
		}
	})
}

// lowered is how the proxy has names: it knows ASCII only.
func lowered(name string) string {
	b := []byte(name)
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c | 0x20
		}
	}
	return string(b)
}
