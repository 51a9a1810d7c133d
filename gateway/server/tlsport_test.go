package server

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"strings"
	"testing"

	"fairway.dev/gateway/loop/looptest"
	"fairway.dev/routing"
)

// tlsPort is the change that makes a port with listeners of protocol TLS, by
// hostname: "pass.example" goes through to a, "end.example" ends here and goes
// to b, "again.example" ends here and is encrypted anew to c, "web.example" is
// HTTPS, and routes of some others lead nowhere.
type tlsPort struct {
	*routing.Delta
	port    uint16
	a, b, c *greetingServer
	roots   *x509.CertPool // of the backends
}

func newTLSPort(t *testing.T) *tlsPort {
	t.Helper()
	server, client := looptest.TLSConfigs(t)
	p := &tlsPort{
		port: openPort(t), roots: client.RootCAs,
		a: newGreetingServer(t, "a", server), b: newGreetingServer(t, "b", nil), c: newGreetingServer(t, "c", server),
	}
	rootsPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificates[0].Certificate[0]})
	d := answering(t, p.port, "web")
	d.Listeners = nil
	for name, l := range map[routing.ListenerName]routing.Listener{
		"pass":  {Hostname: "pass.example", TLS: &routing.ListenerTLS{Passthrough: true}},
		"local": {Hostname: "localhost", TLS: &routing.ListenerTLS{Passthrough: true}},
		"end":   {Hostname: "*.example", TLS: &routing.ListenerTLS{}},
		"l":     {Hostname: "web.example", Protocol: routing.HTTPS, TLS: &routing.ListenerTLS{}},
	} {
		l.Name, l.Gateway, l.Port = name, "g", p.port
		if l.Protocol == "" {
			l.Protocol = routing.TLS
		}
		d.Listeners = append(d.Listeners, &l)
	}
	again := tcpCluster("c")
	again.TLS = &routing.UpstreamTLS{ServerName: "localhost", Roots: rootsPEM}
	d.Clusters = append(d.Clusters, tcpCluster("a"), tcpCluster("b"), again, tcpCluster("empty"))
	d.Endpoints = append(d.Endpoints, p.a.endpoints("a"), p.b.endpoints("b"), p.c.endpoints("c"))
	invalid := streamRoute("invalid", "end", "invalid.example")
	invalid.Rules[0].Action.Backends = []routing.Backend{{Status: 500, Weight: 1}}
	d.Routes = append(d.Routes,
		streamRoute("pass", "pass", "pass.example", "a"), streamRoute("local", "local", "localhost", "a"),
		streamRoute("end", "end", "end.example", "b"), streamRoute("again", "end", "again.example", "c"),
		streamRoute("none", "end", "none.example"), invalid, streamRoute("empty", "end", "empty.example", "empty"),
	)
	p.Delta = d
	return p
}

// handshake opens a TLS connection for a name.
func (p *tlsPort) handshake(t *testing.T, name string) (*tls.Conn, error) {
	t.Helper()
	c := tls.Client(connect(t, p.port), &tls.Config{ServerName: name, InsecureSkipVerify: true, NextProtos: []string{"h2", "imap"}})
	return c, c.Handshake()
}

func TestTLSPortSortsConnectionsByName(t *testing.T) {
	s, log := startLogged(t)
	p := newTLSPort(t)
	update(t, s, p.Delta)
	for name, want := range map[string]string{
		"pass.example": "a", "PASS.example": "a", "end.example": "b", "again.example": "c",
	} {
		c, err := p.handshake(t, name)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		wantLine(t, c, "hello from "+want)
		io.WriteString(c, "ping\n")
		wantLine(t, c, want+": ping")
		c.CloseWrite()
		wantLine(t, c, "goodbye from "+want)
		if rest, err := io.ReadAll(c); len(rest) > 0 || err != nil {
			t.Errorf("%s: then %q, %v; want close_notify", name, rest, err)
		}
		if proto := c.ConnectionState().NegotiatedProtocol; proto != "" {
			t.Errorf("%s: ALPN chose %q for bytes of an unknown protocol", name, proto)
		}
	}
	for i := range 2 {
		if name := <-p.a.sni; !strings.EqualFold(name, "pass.example") {
			t.Errorf("passed through %d: the backend sees the name %q", i, name)
		}
	}
	if name := <-p.c.sni; name != "localhost" {
		t.Errorf("encrypted anew: the backend sees the name %q, want the policy's", name)
	}
	text := log()
	for _, want := range []string{`"server_name":"pass.example"`, `"tls":true,"cluster":"c"`, `"tls":false,"cluster":"a"`} {
		if !strings.Contains(text, want) {
			t.Errorf("access log %s lacks %s", text, want)
		}
	}
}

func TestPassthroughShowsTheBackendsCertificate(t *testing.T) {
	s, _ := startLogged(t)
	p := newTLSPort(t)
	update(t, s, p.Delta)
	c := tls.Client(connect(t, p.port), &tls.Config{ServerName: "localhost", RootCAs: p.roots})
	if err := c.Handshake(); err != nil {
		t.Fatal(err)
	}
	wantLine(t, c, "hello from a")
}

func TestHTTPSSharesItsPortWithTLS(t *testing.T) {
	s, _ := startLogged(t)
	p := newTLSPort(t)
	update(t, s, p.Delta)
	c := tls.Client(connect(t, p.port), &tls.Config{ServerName: "web.example", InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}})
	io.WriteString(c, "GET / HTTP/1.1\r\nHost: web.example\r\nConnection: close\r\n\r\n")
	answer, err := io.ReadAll(c)
	if err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 200 ") || !strings.HasSuffix(string(answer), "web") {
		t.Errorf("got %q, %v; want an answer of HTTP", answer, err)
	}
	// RFC 9110 section 15.5.20: another listener has that host.
	c = tls.Client(connect(t, p.port), &tls.Config{ServerName: "web.example", InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}})
	io.WriteString(c, "GET / HTTP/1.1\r\nHost: end.example\r\nConnection: close\r\n\r\n")
	if answer, err := io.ReadAll(c); err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 421 ") {
		t.Errorf("host of another listener: %q, %v; want 421", answer, err)
	}
}

// Where a connection leads nowhere the client gets FIN, before TLS has begun.
// The end in TLS's own words would be an alert.
func TestTLSThatLeadsNowhereIsClosedWithoutAnAlert(t *testing.T) {
	s, log := startLogged(t)
	p := newTLSPort(t)
	update(t, s, p.Delta)
	for _, name := range []string{"other.org", "unrouted.example", "none.example", "invalid.example", ""} {
		if _, err := p.handshake(t, name); err != io.EOF {
			t.Errorf("%q: %v, want EOF", name, err)
		}
	}
	// Where that shows later, it is the same.
	c, err := p.handshake(t, "empty.example")
	if err != nil {
		t.Fatal(err)
	}
	if err := ended(t, c); err != nil {
		t.Errorf("no endpoint: %v, want an end without an alert", err)
	}
	text := log()
	if nr, nc, uh := strings.Count(text, `"flags":"NR"`), strings.Count(text, `"flags":"NC"`), strings.Count(text, `"flags":"UH"`); nr != 3 || nc != 2 || uh != 1 {
		t.Errorf("%d NR, %d NC, %d UH in %s; want 3, 2, 1", nr, nc, uh, text)
	}
}

// GEP-91: whoever does not show what the listener asks for reaches no backend.
func TestTLSStreamsCheckTheirClients(t *testing.T) {
	s, _ := startLogged(t)
	p := newTLSPort(t)
	i := newIssuer(t)
	for _, l := range p.Listeners {
		if l.Name == "end" {
			l.TLS.Client = &routing.ClientValidation{Roots: i.pem()}
		}
	}
	update(t, s, p.Delta)
	dial := func(cert *tls.Certificate) (string, error) {
		config := &tls.Config{ServerName: "end.example", InsecureSkipVerify: true}
		if cert != nil {
			config.Certificates = []tls.Certificate{*cert}
		}
		line, err := bufio.NewReader(tls.Client(connect(t, p.port), config)).ReadString('\n')
		return line, err
	}
	if line, err := dial(nil); err == nil {
		t.Errorf("without a certificate: %q, want an error", line)
	}
	if line, err := dial(newIssuer(t).client()); err == nil {
		t.Errorf("with a stranger's certificate: %q, want an error", line)
	}
	if line, err := dial(i.client()); line != "hello from b\n" || err != nil {
		t.Errorf("with a certificate: %q, %v", line, err)
	}
}
