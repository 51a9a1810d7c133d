package server

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"fairway.dev/gateway/loop/looptest"
	"fairway.dev/gateway/proxyproto"
	"fairway.dev/routing"
)

func TestPROXYHeadersAreReadAndWritten(t *testing.T) {
	heads := make(chan string, 1)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				line, _ := bufio.NewReader(c).ReadString('\n')
				heads <- line
			}()
		}
	}()
	s, log := startLogged(t)
	port := openPort(t)
	d := connections(port, &greetingServer{ln: ln, name: "a"})
	d.Listeners[0].ProxyProtocol = routing.ProxyProtocolRequired
	d.Clusters[0].ProxyProtocol = 1
	update(t, s, d)
	const header = "PROXY TCP4 192.0.2.7 198.51.100.1 51234 443\r\n"
	c := connect(t, port)
	io.WriteString(c, header)
	if got := <-heads; got != header {
		t.Errorf("the backend gets %q, want %q", got, header)
	}
	io.ReadAll(c)
	refused := connect(t, port)
	io.WriteString(refused, "GET / HTTP/1.1\r\n\r\n")
	io.ReadAll(refused)
	if text := log(); !strings.Contains(text, `"remote":"192.0.2.7:51234"`) || strings.Count(text, "\n") != 1 {
		t.Errorf("access log %s, want one stream of the header's client", text)
	}
}

// backendOfHTTP is an HTTP backend whose connections begin with PROXY protocol
// headers. It answers with the header's client, the number of the connection,
// and what the gateway says about the client.
func backendOfHTTP(t *testing.T) netip.AddrPort {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, r.RemoteAddr, " ", r.Header.Get("X-Forwarded-For"))
	}))
	s.Listener.Close()
	s.Listener = &proxyListener{Listener: ln}
	s.Start()
	t.Cleanup(s.Close)
	return netip.MustParseAddrPort(ln.Addr().String())
}

// A proxyListener takes connections that begin with a header, and makes their
// remote address what it says, with the number of the connection.
type proxyListener struct {
	net.Listener
	n int
}

func (l *proxyListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	l.n++
	r := bufio.NewReader(c)
	first, err := r.Peek(28) // a header of version 2 with two IPv4 addresses
	h, size, parseErr := proxyproto.Parse(first)
	if err != nil || parseErr != nil || size != len(first) {
		return nil, fmt.Errorf("a connection begins with %q: %w, %w", first, err, parseErr)
	}
	r.Discard(size)
	return &proxyConn{c, r, proxyAddr(fmt.Sprint(h.Source, " on ", l.n))}, nil
}

type proxyConn struct {
	net.Conn
	r      *bufio.Reader
	remote proxyAddr
}

func (c *proxyConn) Read(p []byte) (int, error) { return c.r.Read(p) }
func (c *proxyConn) RemoteAddr() net.Addr       { return c.remote }

type proxyAddr string

func (a proxyAddr) Network() string { return "tcp" }
func (a proxyAddr) String() string  { return string(a) }

// The client of the header is the one that X-Forwarded-For, the backend's own
// header and the access log tell of.
func TestPROXYHeadersOfHTTP(t *testing.T) {
	s, log := startLogged(t)
	port := openPort(t)
	d := answering(t, port, "web")
	d.Listeners[0].ProxyProtocol = routing.ProxyProtocolOptional
	d.Clusters[0].ProxyProtocol = 2
	d.Endpoints[0].List[0].Addr = backendOfHTTP(t)
	update(t, s, d)
	get := func(c net.Conn, header string) string {
		t.Helper()
		io.WriteString(c, header+"GET / HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 203.0.113.9\r\n\r\n")
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		return string(body)
	}
	const alice, bob = "PROXY TCP4 192.0.2.7 198.51.100.1 1000 80\r\n", "PROXY TCP4 192.0.2.8 198.51.100.1 1000 80\r\n"
	a, b, plain := connect(t, port), connect(t, port), connect(t, port)
	for _, tt := range []struct {
		name string
		got  string
		want string
	}{
		{"alice", get(a, alice), "192.0.2.7:1000 on 1 192.0.2.7"},
		{"bob, on a connection of his own", get(b, bob), "192.0.2.8:1000 on 2 192.0.2.8"},
		{"alice again, on hers", get(a, ""), "192.0.2.7:1000 on 1 192.0.2.7"},
		{"who sends no header", get(plain, ""), plain.LocalAddr().String() + " on 3 127.0.0.1"},
	} {
		if tt.got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, tt.got, tt.want)
		}
	}
	if text := log(); strings.Count(text, `"remote":"192.0.2.7:1000"`) != 2 {
		t.Errorf("access log %s, want 2 lines of alice's", text)
	}
}

func TestPROXYHeadersComeBeforeTLSTowardsBackends(t *testing.T) {
	server, _ := looptest.TLSConfigs(t)
	heads := make(chan string, 1)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	g := &greetingServer{ln: ln, name: "a", sni: make(chan string, 1)}
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			r := bufio.NewReaderSize(c, 16)
			line, _ := r.ReadString('\n')
			heads <- line
			go g.serve(&proxyConn{c, r, ""}, server)
		}
	}()
	s, _ := startLogged(t)
	port := openPort(t)
	d := connections(port, g)
	d.Clusters[0].ProxyProtocol = 1
	d.Clusters[0].TLS = &routing.UpstreamTLS{Insecure: true}
	update(t, s, d)
	c := connect(t, port)
	wantLine(t, c, "hello from a")
	local, remote := c.LocalAddr().(*net.TCPAddr), c.RemoteAddr().(*net.TCPAddr)
	if got, want := <-heads, fmt.Sprintf("PROXY TCP4 127.0.0.1 127.0.0.1 %d %d\r\n", local.Port, remote.Port); got != want {
		t.Errorf("the backend gets %q, want %q", got, want)
	}
}
