package interop

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"testing"
	"time"

	"istio.io/istio/pkg/hbone"

	"fairway.dev/gateway/hop"
	"fairway.dev/gateway/hop/hoptest"
)

const (
	edgeID = "spiffe://cluster.local/ns/edge/sa/gateway"
	shopID = "spiffe://cluster.local/ns/shop/sa/waypoint"
	gateID = "spiffe://cluster.local/ns/istio-system/sa/eastwest"
)

// roundTrip sends size bytes and wants them back.
func roundTrip(c net.Conn, size int) error {
	want := make([]byte, size)
	rnd := rand.NewChaCha8([32]byte{1})
	rnd.Read(want)
	sent := make(chan error, 1)
	go func() {
		_, err := c.Write(want)
		sent <- err
	}()
	got := make([]byte, size)
	_, err := io.ReadFull(c, got)
	if err := errors.Join(err, <-sent); err != nil {
		return err
	}
	if !bytes.Equal(got, want) {
		return fmt.Errorf("other bytes came back")
	}
	return nil
}

// Istio's client comes through our server to whom it dials.
func TestClientOfIstio(t *testing.T) {
	m, l := hoptest.NewMesh(t), hoptest.Loop(t)
	at := m.Serve(l, shopID, &hoptest.Relay{}, hop.Native, "h2")
	config := m.Client(m.Own(edgeID), shopID)
	config.NextProtos = []string{"h2"}
	timeout := hoptest.Patience
	d := hbone.NewDialer(hbone.Config{ProxyAddress: at.String(), TLS: config, Timeout: &timeout})
	echo := hoptest.Echo(t).String()
	for _, size := range []int{1, 16 << 10, 4 << 20} {
		c, err := d.Dial("tcp", echo)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.SetDeadline(time.Now().Add(hoptest.Patience)); err != nil {
			t.Fatal(err)
		}
		if err := roundTrip(c, size); err != nil {
			t.Errorf("%d bytes: %v", size, err)
		}
		c.Close()
	}
	if c, err := d.Dial("tcp", "127.0.0.1:1"); err == nil {
		c.Close()
		t.Error("a tunnel to where nobody listens is open, want 503")
	}
}

// We come through Istio's server, as through any stranger's.
func TestServerOfIstio(t *testing.T) {
	m, l := hoptest.NewMesh(t), hoptest.Loop(t)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := hbone.NewServer()
	s.TLSConfig = m.Server(shopID, "h2")
	s.Protocols.SetHTTP2(true) // it is for use without TLS, as it comes
	go s.ServeTLS(ln, "", "")
	t.Cleanup(func() { s.Close() })
	to := hop.Target{
		Addr: ln.Addr().(*net.TCPAddr).AddrPort(), Identity: shopID, Authority: hoptest.Echo(t).String(),
		Client: netip.MustParseAddrPort("192.0.2.1:4711"),
	}
	entry := hoptest.Enter(t, l, m.Dialer(edgeID), to)
	for _, size := range []int{1, 16 << 10, 4 << 20} {
		if err := roundTrip(hoptest.Dial(t, entry), size); err != nil {
			t.Errorf("%d bytes: %v", size, err)
		}
	}
}

// Who does not prove to be of the mesh gets nothing.
func TestClientOfIstioWithoutACertificate(t *testing.T) {
	m, l := hoptest.NewMesh(t), hoptest.Loop(t)
	at := m.Serve(l, shopID, &hoptest.Relay{}, "h2")
	config := &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}}
	if c, err := hbone.NewDialer(hbone.Config{ProxyAddress: at.String(), TLS: config}).Dial("tcp", hoptest.Echo(t).String()); err == nil {
		c.Close()
		t.Error("a tunnel is open for who shows no certificate")
	}
}

// Istio's client of two tunnels, one within the other, comes through our gateway,
// which passes on what it does not read, to our waypoint.
func TestDoubleClientOfIstio(t *testing.T) {
	m, l := hoptest.NewMesh(t), hoptest.Loop(t)
	inner := make(chan *hop.Arrival, 10)
	waypoint := m.Serve(l, shopID, &hoptest.Relay{Asked: func(a *hop.Arrival) { inner <- a }}, hop.Native, "h2")
	gate := m.Serve(l, gateID, &hoptest.Relay{To: waypoint}, hop.Native, "h2")
	timeout := hoptest.Patience
	outer := m.Client(m.Own(edgeID), gateID)
	outer.NextProtos = []string{"h2"}
	within := m.Client(m.Own(edgeID), shopID)
	within.NextProtos = []string{"h2"}
	config := hbone.Config{ProxyAddress: gate.String(), TLS: outer, Timeout: &timeout}
	d := hbone.NewDoubleDialer(config, hbone.Config{ProxyAddress: gate.String(), TLS: within, Timeout: &timeout}, within)
	echo := hoptest.Echo(t).String()
	for _, size := range []int{1, 16 << 10, 4 << 20} {
		c, err := d.Dial("tcp", echo)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.SetDeadline(time.Now().Add(hoptest.Patience)); err != nil {
			t.Fatal(err)
		}
		if err := roundTrip(c, size); err != nil {
			t.Errorf("%d bytes: %v", size, err)
		}
		if a := <-inner; a.Peer.Identity != edgeID || a.Authority != echo {
			t.Errorf("the waypoint was asked for %+v", a)
		}
		c.Close()
	}
}

// We come through Istio's server of two tunnels, one within the other. It takes
// authorities that are names, and no others.
func TestDoubleServerOfIstio(t *testing.T) {
	m, l := hoptest.NewMesh(t), hoptest.Loop(t)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	// Its inner server is for use without ALPN, as it comes: net/http would take h2
	// out of NextProtos.
	within := m.Server(shopID, "h2")
	s := hbone.NewDoubleHBONEServer(&tls.Config{
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return within, nil },
		GetCertificate:     func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return m.Own(shopID)() },
	})
	s.TLSConfig = m.Server(gateID, "h2")
	s.Protocols.SetHTTP2(true)
	go s.ServeTLS(ln, "", "")
	t.Cleanup(func() { s.Close() })
	to := hop.Target{
		Addr: ln.Addr().(*net.TCPAddr).AddrPort(), Identity: gateID, Within: shopID,
		Authority: fmt.Sprintf("localhost:%d", hoptest.Echo(t).Port()), Client: netip.MustParseAddrPort("192.0.2.1:4711"),
	}
	entry := hoptest.Enter(t, l, m.Dialer(edgeID), to)
	for _, size := range []int{1, 16 << 10, 4 << 20} {
		if err := roundTrip(hoptest.Dial(t, entry), size); err != nil {
			t.Errorf("%d bytes: %v", size, err)
		}
	}
}
