package upstream

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"fairway.dev/gateway/message"
	"fairway.dev/routing"
)

// An authority is a throwaway CA.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	key, template := newKey(t), &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"}, IsCA: true,
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign, NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{cert, key, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})}
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// issue makes a certificate for names: URIs where they have a scheme.
func (a *authority) issue(t *testing.T, names ...string) *tls.Certificate {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	for _, name := range names {
		if strings.Contains(name, ":") {
			uri, err := url.Parse(name)
			if err != nil {
				t.Fatal(err)
			}
			template.URIs = append(template.URIs, uri)
			continue
		}
		template.DNSNames = append(template.DNSNames, name)
	}
	key := newKey(t)
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// bufferedPipe is net.Pipe, but writing does not wait for the reader: both
// sides of a handshake may speak at a time.
func bufferedPipe() (a, b net.Conn) {
	a, near := net.Pipe()
	far, b := net.Pipe()
	for _, way := range [][2]net.Conn{{near, far}, {far, near}} {
		queue := make(chan []byte, 1000)
		go func() {
			defer close(queue)
			for {
				p := make([]byte, 4096)
				n, err := way[0].Read(p)
				if err != nil {
					return
				}
				queue <- p[:n]
			}
		}()
		go func() {
			defer way[1].Close()
			for p := range queue {
				way[1].Write(p) // after the reader has gone there is nobody to tell
			}
		}()
	}
	return a, b
}

// shake lets client, the settings of a cluster, shake hands with a server.
func shake(t *testing.T, client, server *tls.Config) (tls.ConnectionState, error) {
	t.Helper()
	a, b := bufferedPipe()
	done := make(chan tls.ConnectionState)
	go func() {
		conn := tls.Server(b, server)
		conn.Handshake()
		done <- conn.ConnectionState()
		b.Close()
	}()
	conn := tls.Client(a, client)
	err := conn.Handshake()
	a.Close()
	return <-done, err
}

func TestEndpointsAreVerified(t *testing.T) {
	const spiffe = "spiffe://cluster.local/ns/shop/sa/cart"
	ours, other := newAuthority(t), newAuthority(t)
	for _, tt := range []struct {
		name string
		tls  routing.UpstreamTLS
		cert *tls.Certificate
		want bool
	}{
		{"the name is in it", routing.UpstreamTLS{ServerName: "cart.shop", Roots: ours.pem}, ours.issue(t, "cart.shop"), true},
		{"another name", routing.UpstreamTLS{ServerName: "cart.shop", Roots: ours.pem}, ours.issue(t, "pay.shop"), false},
		{"another CA", routing.UpstreamTLS{ServerName: "cart.shop", Roots: ours.pem}, other.issue(t, "cart.shop"), false},
		{"the system's CAs", routing.UpstreamTLS{ServerName: "cart.shop"}, ours.issue(t, "cart.shop"), false},
		{"two CAs", routing.UpstreamTLS{ServerName: "cart.shop", Roots: slices.Concat(other.pem, ours.pem)}, ours.issue(t, "cart.shop"), true},
		{"insecure", routing.UpstreamTLS{Insecure: true}, other.issue(t, "x"), true},
		{"SAN instead of the server name", routing.UpstreamTLS{ServerName: "sni", SANs: []string{"cart.shop"}, Roots: ours.pem}, ours.issue(t, "cart.shop"), true},
		{"one SAN of two", routing.UpstreamTLS{ServerName: "sni", SANs: []string{"a", "cart.shop"}, Roots: ours.pem}, ours.issue(t, "cart.shop"), true},
		{"the server name is no SAN", routing.UpstreamTLS{ServerName: "sni", SANs: []string{"cart.shop"}, Roots: ours.pem}, ours.issue(t, "sni"), false},
		{"SAN of another CA", routing.UpstreamTLS{ServerName: "sni", SANs: []string{"cart.shop"}, Roots: ours.pem}, other.issue(t, "cart.shop"), false},
		{"URI", routing.UpstreamTLS{SANs: []string{spiffe}, Roots: ours.pem}, ours.issue(t, spiffe), true},
		{"URI without a host", routing.UpstreamTLS{SANs: []string{"urn:shop:cart"}, Roots: ours.pem}, ours.issue(t, "urn:shop:cart"), true},
		{"URI, longer", routing.UpstreamTLS{SANs: []string{spiffe}, Roots: ours.pem}, ours.issue(t, spiffe+"-canary"), false},
		{"wildcard certificate", routing.UpstreamTLS{SANs: []string{"cart.shop.example"}, Roots: ours.pem}, ours.issue(t, "*.shop.example"), true},
	} {
		s := newStage(t, 1)
		config, err := s.set.clientTLS(&tt.tls, routing.UpstreamHTTP1)
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		state, err := shake(t, config, &tls.Config{Certificates: []tls.Certificate{*tt.cert}})
		if (err == nil) != tt.want {
			t.Errorf("%s: handshake: %v, want ok = %v", tt.name, err, tt.want)
		}
		if state.ServerName != tt.tls.ServerName {
			t.Errorf("%s: SNI %q, want %q", tt.name, state.ServerName, tt.tls.ServerName)
		}
	}
}

func TestALPNOffersWhatTheClusterSpeaks(t *testing.T) {
	ca := newAuthority(t)
	for _, tt := range []struct {
		protocol routing.Upstream
		want     string
	}{
		{routing.UpstreamHTTP1, "http/1.1"},
		{routing.UpstreamHTTP2, "h2"},
		{routing.UpstreamAuto, "h2"}, // the server prefers its first
		{"", "http/1.1"},
	} {
		s := newStage(t, 1)
		config, err := s.set.clientTLS(&routing.UpstreamTLS{Insecure: true}, tt.protocol)
		if err != nil {
			t.Fatal(err)
		}
		server := &tls.Config{Certificates: []tls.Certificate{*ca.issue(t, "x")}, NextProtos: []string{"h2", "http/1.1"}}
		if state, err := shake(t, config, server); state.NegotiatedProtocol != tt.want {
			t.Errorf("%q: agreed on %q (%v), want %q", tt.protocol, state.NegotiatedProtocol, err, tt.want)
		}
	}
}

func TestClientCertificate(t *testing.T) {
	ca := newAuthority(t)
	mine := ca.issue(t, "gateway")
	pool := x509.NewCertPool()
	pool.AddCert(ca.cert)
	server := &tls.Config{
		Certificates: []tls.Certificate{*ca.issue(t, "x")}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool,
	}
	for _, tt := range []struct {
		name  routing.CertificateName
		shown bool
	}{
		{"shop/client", true},
		{"shop/missing", false},
		{"", false},
	} {
		s := newStage(t, 1)
		s.set.o.Certificate = func(name routing.CertificateName) *tls.Certificate {
			if name == "shop/client" {
				return mine
			}
			return nil
		}
		config, err := s.set.clientTLS(&routing.UpstreamTLS{Insecure: true, Certificate: tt.name}, routing.UpstreamHTTP1)
		if err != nil {
			t.Fatal(err)
		}
		state, _ := shake(t, config, server)
		if shown := len(state.PeerCertificates) > 0; shown != tt.shown {
			t.Errorf("certificate %q: shown = %v, want %v", tt.name, shown, tt.shown)
		}
	}
}

func TestTLSThatCannotWorkClosesTheCluster(t *testing.T) {
	for _, tt := range []struct {
		name string
		tls  routing.UpstreamTLS
	}{
		{"roots that are no PEM", routing.UpstreamTLS{ServerName: "a", Roots: []byte("nonsense")}},
		{"no name to verify", routing.UpstreamTLS{}},
	} {
		s := newStage(t, 1)
		c := s.cluster(routing.Cluster{}, 1)
		x := s.get(c, s.loops[0])
		x.client.end()
		s.cluster(routing.Cluster{TLS: &tt.tls}, 1)
		s.settle()
		y, _ := s.begin(c, s.loops[0])
		if y.err == nil || y.client != nil || len(s.dials) != 1 {
			t.Errorf("%s: %v after %d dials, want an error and nothing sent", tt.name, y.err, len(s.dials)-1)
		}
		if got := s.stat(1).Health; got != Healthy {
			t.Errorf("%s: endpoint is %s, want healthy: the fault is not its own", tt.name, got)
		}
		s.cluster(routing.Cluster{TLS: &routing.UpstreamTLS{ServerName: "a"}}, 1)
		s.settle()
		if y, _ = s.begin(c, s.loops[0]); y.err != nil {
			t.Errorf("%s: %v after it was put right", tt.name, y.err)
		}
	}
}

// Who waits when the TLS settings break must not get a plain connection.
func TestTLSThatBreaksClosesTheClusterForWhoWaits(t *testing.T) {
	s := newStage(t, 1)
	s.hold = true
	good := routing.UpstreamTLS{ServerName: "a", Roots: newAuthority(t).pem}
	c := s.cluster(routing.Cluster{TLS: &good}, 1)
	x, _ := s.begin(c, s.loops[0])
	s.cluster(routing.Cluster{TLS: &routing.UpstreamTLS{ServerName: "a", Roots: []byte("none")}}, 1)
	s.settle()
	if x.err == nil || x.heard != 1 {
		t.Errorf("who waited heard %d times, error %v; want that the settings do not work", x.heard, x.err)
	}
	if n := len(s.dials); n != 1 || !s.dials[0].cancelled {
		t.Errorf("%d dials, the first cancelled %v; want the first alone, cancelled", n, s.dials[0].cancelled)
	}
	if n := s.set.Stats()[0].Endpoints[0].Connections; n != 0 {
		t.Errorf("%d connections counted, want none", n)
	}
}

func TestSessionsBelongToAnEndpoint(t *testing.T) {
	s := newStage(t, 1)
	c := s.cluster(routing.Cluster{TLS: &routing.UpstreamTLS{ServerName: "a"}}, 1, 2)
	for _, port := range []uint16{1, 2, 1} {
		s.connect(c, s.loops[0], s.endpoint(c, port))
	}
	a, b, again := s.dials[0].config, s.dials[1].config, s.dials[2].config
	if a.ClientSessionCache == nil || a.ClientSessionCache == b.ClientSessionCache {
		t.Error("two endpoints share a session cache: one's ticket would be offered to the other")
	}
	if a.ClientSessionCache != again.ClientSessionCache {
		t.Error("two connections to one endpoint have two session caches")
	}
}

func TestErrorsOfTLSNameWhatTheyFound(t *testing.T) {
	ca := newAuthority(t)
	s := newStage(t, 1)
	config, err := s.set.clientTLS(&routing.UpstreamTLS{SANs: []string{"cart.shop"}, Roots: ca.pem}, routing.UpstreamHTTP1)
	if err != nil {
		t.Fatal(err)
	}
	_, err = shake(t, config, &tls.Config{Certificates: []tls.Certificate{*ca.issue(t, "pay.shop")}})
	if err == nil || !strings.Contains(err.Error(), "[pay.shop]") || !strings.Contains(err.Error(), "[cart.shop]") {
		t.Errorf("%v: want both what was found and what was wanted", err)
	}
	_, err = shake(t, config, &tls.Config{Certificates: []tls.Certificate{*newAuthority(t).issue(t, "cart.shop")}})
	if unknown := new(x509.UnknownAuthorityError); !errors.As(err, unknown) {
		t.Errorf("%v: want an unknown authority", err)
	}
}

// connectionPool.http.useClientProtocol.
func TestClientsProtocolIsSpoken(t *testing.T) {
	for _, tls := range []*routing.UpstreamTLS{nil, {Insecure: true}} {
		s := newStage(t, 1)
		c := s.cluster(routing.Cluster{Protocol: routing.UpstreamClient, TLS: tls}, 1)
		for _, tt := range []struct {
			use   Use
			proto message.Proto
			want  message.Proto
		}{
			{Requests, message.HTTP11, message.HTTP11}, {Requests, message.HTTP2, message.HTTP2},
			{Requests, message.HTTP10, message.HTTP11}, {Requests, 0, message.HTTP11},
			{Upgrades, message.HTTP2, message.HTTP11}, // few backends take RFC 8441's
		} {
			x := &try{}
			x.Waiter, x.Use, x.Proto = x, tt.use, tt.proto
			c.Connect(s.loops[0], s.endpoint(c, 1), &x.Wait)
			s.settle()
			if x.client == nil || x.client.proto != tt.want {
				t.Errorf("TLS %v, client speaks %v: connection %+v, want %v", tls != nil, tt.proto, x.client, tt.want)
			}
			if d := s.dials[len(s.dials)-1]; tls != nil && d.config.NextProtos[0] != map[message.Proto]string{message.HTTP11: "http/1.1", message.HTTP2: "h2"}[tt.want] {
				t.Errorf("client speaks %v: ALPN %v", tt.proto, d.config.NextProtos)
			}
		}
	}
}
