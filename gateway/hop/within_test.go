package hop_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"fairway.dev/gateway/hop"
	"fairway.dev/gateway/hop/hoptest"
	"fairway.dev/gateway/loop"
)

const gateID = "spiffe://cluster.local/ns/istio-system/sa/eastwest"

// within is a gateway between networks, behind which somebody takes HBONE for host.
func within(m *hoptest.Mesh, l *loop.Loop, gate *hoptest.Relay, host hop.Host, protocols ...string) netip.AddrPort {
	gate.To = m.Serve(l, shopID, host, protocols...)
	return m.Serve(l, gateID, gate, hop.Native, "h2")
}

// ztunnel's src/proxy/outbound.rs, proxy_to_double_hbone: the same authority twice,
// whoever is within knows the caller by his own certificate, and of both tunnels
// nothing is left behind the last byte.
func TestTunnelsWithinOthers(t *testing.T) {
	m, near, far := hoptest.NewMesh(t), hoptest.Loop(t), hoptest.Loop(t)
	echo := hoptest.Echo(t).String()
	outer, inner := make(chan *hop.Arrival, 100), make(chan *hop.Arrival, 100)
	at := within(m, far, &hoptest.Relay{Asked: func(a *hop.Arrival) { outer <- a }},
		&hoptest.Relay{Asked: func(a *hop.Arrival) { inner <- a }}, hop.Native, "h2")
	to := hop.Target{
		Addr: at, Identity: gateID, Authority: echo, Within: cartID + " " + shopID, Source: cartID,
		Client: netip.MustParseAddrPort("192.0.2.1:4711"), Requests: true,
	}
	entry := hoptest.Enter(t, near, m.Dialer(edgeID), to)
	before := far.Sockets()
	for _, size := range []int{0, 1, 16 << 10, 4 << 20} {
		c := hoptest.Dial(t, entry)
		if err := roundTrip(c, c.CloseWrite, size); err != nil {
			t.Errorf("%d bytes: %v", size, err)
		}
		for name, a := range map[string]*hop.Arrival{"outer": <-outer, "inner": <-inner} {
			if a.Authority != echo || a.Peer.Identity != edgeID || a.Source != "" || a.Native || a.Abroad != (name == "inner") {
				t.Errorf("the %s tunnel is for %+v", name, a)
			}
		}
	}
	// The outer connection stays for the next, and no inner one does.
	for deadline := time.Now().Add(hoptest.Patience); far.Sockets() > before+1; {
		if time.Now().After(deadline) {
			t.Fatalf("%d sockets are open at the far end, want %d", far.Sockets(), before+1)
		}
		settled := make(chan bool)
		far.Post(func() { close(settled) })
		<-settled
	}
}

func TestTunnelsWithinOthersThatFail(t *testing.T) {
	m, foreign, l := hoptest.NewMesh(t), hoptest.NewMesh(t), hoptest.Loop(t)
	echo := hoptest.Echo(t).String()
	dumb, err := net.Listen("tcp", "127.0.0.1:0") // who says nothing
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dumb.Close() })
	dumbAt := dumb.Addr().(*net.TCPAddr).AddrPort()
	at := within(m, l, &hoptest.Relay{}, &hoptest.Relay{}, "h2")
	good := hop.Target{Addr: at, Identity: gateID, Authority: echo, Within: shopID}
	if err := dial(t, l, m.Dialer(edgeID), good, nil); err != nil {
		t.Fatalf("as it should be: %v", err)
	}
	for name, tt := range map[string]struct {
		edit    func(to *hop.Target)
		refusal int // 0: it is no answer
	}{
		"another identity within":         {func(to *hop.Target) { to.Within = cartID }, 0},
		"one of several that is none":     {func(to *hop.Target) { to.Within = shopID + " shop" }, 0},
		"none but spaces":                 {func(to *hop.Target) { to.Within = " " }, 0},
		"another identity of the gateway": {func(to *hop.Target) { to.Identity = shopID }, 0},
		"another mesh within": {func(to *hop.Target) {
			to.Addr = m.Serve(l, gateID, &hoptest.Relay{To: foreign.Serve(l, shopID, &hoptest.Relay{}, "h2")}, "h2")
		}, 0},
		"a protocol within that is not h2": {func(to *hop.Target) { to.Addr = within(m, l, &hoptest.Relay{}, &hoptest.Relay{}, "http/1.1") }, 0},
		"an echo within":                   {func(to *hop.Target) { to.Addr = m.Serve(l, gateID, &hoptest.Relay{To: hoptest.Echo(t)}, "h2") }, 0},
		"nobody within": {func(to *hop.Target) {
			to.Addr = m.Serve(l, gateID, &hoptest.Relay{To: netip.MustParseAddrPort("127.0.0.1:1")}, "h2")
		}, 503},
		"an authority that is refused there": {func(to *hop.Target) { to.Authority = "cart.shop:80" }, 400},
		"nobody at the authority":            {func(to *hop.Target) { to.Authority = "127.0.0.1:1" }, 503},
	} {
		to := good
		tt.edit(&to)
		err := dial(t, l, m.Dialer(edgeID), to, nil)
		var why *hop.Refusal
		switch refused := errors.As(err, &why); {
		case err == nil:
			t.Errorf("%s: a tunnel is open", name)
		case refused != (tt.refusal != 0), refused && why.Status != tt.refusal:
			t.Errorf("%s: error %v, want status %d (0: none)", name, err, tt.refusal)
		}
	}

	slow := good
	slow.Addr = m.Serve(l, gateID, &hoptest.Relay{To: dumbAt}, "h2")
	done, cancelled := make(chan error, 2), make(chan bool)
	d := m.Dialer(edgeID)
	l.Post(func() {
		d.Dial(l, slow, 100*time.Millisecond, func(_ hop.Conner, _ bool, err error) { done <- err })
		cancel := d.Dial(l, slow, hoptest.Patience, func(hop.Conner, bool, error) { done <- fmt.Errorf("heard of it after cancel") })
		cancel()
		close(cancelled)
	})
	<-cancelled
	if err := <-done; !errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.Canceled) {
		t.Errorf("who says nothing within: %v, want %v", err, os.ErrDeadlineExceeded)
	}
	select {
	case err := <-done:
		t.Error(err)
	default:
	}
}
