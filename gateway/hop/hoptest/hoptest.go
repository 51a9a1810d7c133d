// Package hoptest has what tests of hops need over real sockets: a mesh with its
// certificates, a gateway at either end of a tunnel, and strangers.
package hoptest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"net"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"fairway.dev/gateway/hop"
	"fairway.dev/gateway/loop"
	"fairway.dev/gateway/message"
	"fairway.dev/tlsmgr/identity"
)

// Patience bounds what a test waits for.
const Patience = 30 * time.Second

// A Mesh is a CA and those who trust it.
type Mesh struct {
	t  testing.TB
	ca *identity.CA
}

// NewMesh returns a mesh of the trust domain cluster.local.
func NewMesh(t testing.TB) *Mesh {
	t.Helper()
	ca, err := identity.NewCA("cluster.local")
	if err != nil {
		t.Fatal(err)
	}
	return &Mesh{t, ca}
}

// Own returns the certificate of an identity.
func (m *Mesh) Own(id string) identity.Own {
	m.t.Helper()
	who, err := identity.Parse(id)
	if err != nil {
		m.t.Fatal(err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		m.t.Fatal(err)
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		m.t.Fatal(err)
	}
	chain, err := m.ca.Sign(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: csr}), identity.Claim{ID: who})
	if err != nil {
		m.t.Fatal(err)
	}
	cert := &tls.Certificate{PrivateKey: key}
	for _, text := range chain {
		block, _ := pem.Decode(text)
		cert.Certificate = append(cert.Certificate, block.Bytes)
	}
	return func() (*tls.Certificate, error) { return cert, nil }
}

// Roots returns what to trust.
func (m *Mesh) Roots() *identity.Bundle { return m.ca.Bundle() }

// Server returns how somebody takes TLS of the mesh.
func (m *Mesh) Server(id string, protocols ...string) *tls.Config {
	c := identity.HopServer(m.Own(id), m.Roots, func() []string { return []string{"cluster.local"} })
	c.NextProtos = protocols
	return c
}

// Client returns how somebody opens TLS to peer.
func (m *Mesh) Client(own identity.Own, peer string) *tls.Config {
	return identity.HopClient(own, m.Roots, peer)
}

// Dialer returns a Dialer of somebody's.
func (m *Mesh) Dialer(id string) *hop.Dialer {
	own := m.Own(id)
	return hop.NewDialer(hop.DialerOptions{TLS: func(peer string) *tls.Config { return m.Client(own, peer) }})
}

// Loop returns a loop that runs as long as the test, and holds a processor.
func Loop(t testing.TB) *loop.Loop {
	t.Helper()
	procs := runtime.GOMAXPROCS(0)
	runtime.GOMAXPROCS(procs + 1)
	t.Cleanup(func() { runtime.GOMAXPROCS(procs) })
	l, err := loop.New(0)
	if err != nil {
		t.Fatal(err)
	}
	go l.Run()
	t.Cleanup(l.Stop)
	return l
}

// Accept listens on loopback and hands the sockets to take, on the loop.
func Accept(t testing.TB, l *loop.Loop, take func(*loop.Socket)) netip.AddrPort {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	file, err := ln.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close(); ln.Close() })
	fd := int(file.Fd()) // Fd makes it blocking
	if err := unix.SetNonblock(fd, true); err != nil {
		t.Fatal(err)
	}
	started := make(chan error)
	l.Post(func() {
		_, err := l.Accept(fd, func(fd int, remote netip.AddrPort) {
			if s, err := l.Adopt(fd, remote); err == nil {
				take(s)
			}
		}, func(error) {})
		started <- err
	})
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	return ln.Addr().(*net.TCPAddr).AddrPort()
}

// Serve has somebody take HBONE for host, and returns where.
func (m *Mesh) Serve(l *loop.Loop, id string, host hop.Host, protocols ...string) netip.AddrPort {
	config := m.Server(id, protocols...)
	return Accept(m.t, l, func(s *loop.Socket) {
		s.ServeTLS(config, nil, Patience, func(state tls.ConnectionState, err error) {
			if err != nil {
				return
			}
			peer := &message.Peer{Remote: s.Remote(), RemoteIP: s.Remote().Addr().String(), TLS: &state}
			s.Handle(hop.NewServer(s, peer, hop.ServerOptions{Host: host}))
		})
	})
}

// A Relay is a Host whose tunnels lead to the address that they ask for, or all to
// one, and whose requests are Handler's.
type Relay struct {
	Handler message.Handler
	To      netip.AddrPort
	Asked   func(*hop.Arrival) // hears of tunnels; may be nil
}

// Tunnel connects to the address, and opens the tunnel once that is done.
func (r *Relay) Tunnel(l *loop.Loop, a *hop.Arrival) (func(*hop.Conn), error) {
	if r.Asked != nil {
		r.Asked(a)
	}
	to, err := netip.ParseAddrPort(a.Authority)
	if r.To.IsValid() {
		to, err = r.To, nil
	}
	if err != nil {
		return nil, &hop.Refusal{Status: 400, Reason: err.Error()}
	}
	return func(c *hop.Conn) {
		w := &waiting{conn: c}
		c.Handle(w)
		w.cancel = l.Dial(to, loop.Opening{}, Patience, func(s *loop.Socket, _ string, err error) {
			if err != nil {
				c.Close()
				return
			}
			c.Accept()
			Join(c, s)
		})
	}, nil
}

// waiting is the Handler of a tunnel that is not joined yet.
type waiting struct {
	conn   *hop.Conn
	cancel func()
}

func (w *waiting) Data([]byte)  {}
func (w *waiting) EOF()         {}
func (w *waiting) Drained()     {}
func (w *waiting) Closed(error) { w.cancel() }

// Exchange has Handler take requests, as those of the peer's word.
func (r *Relay) Exchange(_ *loop.Loop, a *hop.Arrival) (*message.Peer, message.Handler, error) {
	return &message.Peer{Remote: a.Client, RemoteIP: a.Client.Addr().String(), Identity: a.Source, Gateway: a.Peer.Identity}, r.Handler, nil
}

// Generation is always the same.
func (r *Relay) Generation() uint64 { return 1 }

// Join passes on what comes from either connection to the other.
func Join(a, b hop.Conner) {
	x, y := &half{conn: a}, &half{conn: b}
	x.other, y.other = y, x
	a.Handle(x)
	b.Handle(y)
}

// A half is one side of two connections that are joined.
type half struct {
	conn  hop.Conner
	other *half
	ended bool
}

func (h *half) Data(p []byte) {
	h.other.conn.Write(p)
	if h.other.conn.Queued() > message.HighWater {
		h.conn.Pause()
	}
}

func (h *half) Drained() { h.other.conn.Resume() }

func (h *half) EOF() {
	h.ended = true
	h.other.conn.CloseWrite()
	if h.other.ended {
		h.conn.Finish()
		h.other.conn.Finish()
	}
}

func (h *half) Closed(err error) {
	if err != nil {
		h.other.conn.Abort()
	}
}

// Enter listens on loopback and has each connection go through a tunnel of d,
// and returns where.
func Enter(t testing.TB, l *loop.Loop, d *hop.Dialer, to hop.Target) netip.AddrPort {
	return Accept(t, l, func(s *loop.Socket) {
		s.Pause()
		s.Handle(idle{})
		d.Dial(l, to, Patience, func(c hop.Conner, _ bool, err error) {
			if err != nil {
				s.Reset()
				return
			}
			Join(s, c)
			s.Resume()
		})
	})
}

// idle is the Handler of who waits for a tunnel.
type idle struct{}

func (idle) Data([]byte)  {}
func (idle) EOF()         {}
func (idle) Drained()     {}
func (idle) Closed(error) {}

// Echo returns the address of a server that sends back what it reads, and the
// end of the stream.
func Echo(t testing.TB) netip.AddrPort {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				io.Copy(c, c)
				c.Close()
			}()
		}
	}()
	return ln.Addr().(*net.TCPAddr).AddrPort()
}

// Dial connects to addr, for as long as the test has patience.
func Dial(t testing.TB, addr netip.AddrPort) *net.TCPConn {
	t.Helper()
	c, err := net.DialTimeout("tcp", addr.String(), Patience)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(Patience)); err != nil {
		t.Fatal(err)
	}
	return c.(*net.TCPConn)
}
