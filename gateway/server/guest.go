package server

import (
	"crypto/x509"
	"fmt"
	"time"

	"fairway.dev/gateway/hop"
	"fairway.dev/gateway/loop"
	"fairway.dev/gateway/message"
)

// A guest is a connection of a peer: the Host for all that it asks for. TLS looks
// at a certificate once, and connections last for days: one that has expired
// meanwhile, was revoked, or leads to no root any more, gets nothing more. What
// was let in before goes on.
type guest struct {
	*host
	loop  *loop.Loop
	chain []*x509.Certificate
	until time.Time // the first of chain expires
	seen  uint64    // what Server.trusts was when chain was verified
}

// newGuest is of a connection that TLS has verified just now.
func newGuest(h *host, l *loop.Loop, peer *message.Peer) *guest {
	g := &guest{host: h, loop: l, seen: h.s.trusts.Load()}
	if peer.TLS != nil { // else hop.Server refuses all
		g.chain = peer.TLS.PeerCertificates
	}
	for i, cert := range g.chain {
		if i == 0 || cert.NotAfter.Before(g.until) {
			g.until = cert.NotAfter
		}
	}
	return g
}

// believed returns why the peer's certificate is not believed any more.
func (g *guest) believed() error {
	now, trusts := g.loop.Now(), g.s.trusts.Load()
	if now.Before(g.until) && g.seen == trusts {
		return nil
	}
	if _, err := g.s.options.Mesh.Roots().Verify(g.chain, x509.ExtKeyUsageClientAuth, now); err != nil {
		return fmt.Errorf("connection of before: %w", err)
	}
	g.seen = trusts
	return nil
}

// Tunnel implements hop.Host.
func (g *guest) Tunnel(l *loop.Loop, a *hop.Arrival) (func(*hop.Conn), error) {
	if err := g.believed(); err != nil {
		return nil, &hop.Refusal{Status: 401, Reason: err.Error()}
	}
	return g.host.Tunnel(l, a)
}

// Exchange implements hop.Host.
func (g *guest) Exchange(l *loop.Loop, a *hop.Arrival) (*message.Peer, message.Handler, error) {
	if err := g.believed(); err != nil {
		return nil, nil, &hop.Refusal{Status: 401, Reason: err.Error()}
	}
	return g.host.Exchange(l, a)
}

// Generation is another number also when other roots are believed, and when the
// peer's certificate expires. Both that it is the sum of only grow.
func (g *guest) Generation() uint64 {
	if !g.loop.Now().Before(g.until) {
		return 0 // and as what is refused is not remembered, each is asked about
	}
	return g.s.Generation() + g.s.trusts.Load()
}
