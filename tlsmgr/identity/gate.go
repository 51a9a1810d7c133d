package identity

import (
	"container/list"
	"fmt"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc/credentials"
)

const (
	maxStrangers  = 1024             // connections whose peer has proved nothing
	maxAtAddress  = maxStrangers / 2 // of those from one address
	strangerLife  = time.Minute      // twice as long as a certificate may take to be issued
	maxOfIdentity = 4096             // connections of one ID: a large fleet's pods
)

// A Gate bounds the connections of a server that strangers reach. Those whose
// peer has proved no ID are few and short: beyond maxStrangers the oldest gives
// way to a new one, of an address that has many its own oldest. Whoever floods
// the gate closes his own connections, and those of the others are through it
// in milliseconds. The zero Gate is ready.
type Gate struct {
	// Known, if set before use, is who is no stranger once he has proved his ID.
	// Nil: everybody. It is for a CA that signs for many more than come to stay.
	Known Known

	mu        sync.Mutex
	strangers list.List      // of *visit, the oldest first
	addresses map[string]int // how many strangers
	proven    map[ID]int
	sent      uint64 // strangers who had to go for others, or stayed too long
}

// Strangers returns how many connections are of peers that have proved
// nothing, and how many such were closed for another, or as they stayed too
// long. Any goroutine may call it.
func (g *Gate) Strangers() (now int, sentAway uint64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.strangers.Len(), g.sent
}

// A visit is a connection.
type visit struct {
	net.Conn
	gate    *Gate
	address string

	// Guarded by gate.mu.
	place *list.Element // among the strangers; nil for others
	id    ID            // zero while nobody has proved anything
	over  bool
	timer *time.Timer // ends the visit of a stranger
}

// Listener returns ln behind the gate. The server's credentials have to be
// the gate's, too, or everybody is a stranger.
func (g *Gate) Listener(ln net.Listener) net.Listener { return gateListener{ln, g} }

type gateListener struct {
	net.Listener
	gate *Gate
}

func (l gateListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return l.gate.enter(conn), nil
}

// enter lets a stranger in, in the place of an older one where there are many.
func (g *Gate) enter(conn net.Conn) *visit {
	v := &visit{Conn: conn, gate: g, address: hostOf(conn.RemoteAddr())}
	g.mu.Lock()
	if g.addresses == nil {
		g.addresses, g.proven = map[string]int{}, map[ID]int{}
	}
	var out *visit
	if g.addresses[v.address] >= maxAtAddress {
		out = g.oldest(v.address)
	} else if g.strangers.Len() >= maxStrangers {
		out = g.strangers.Front().Value.(*visit)
	}
	if out != nil {
		g.sent++
		g.forget(out)
	}
	v.place = g.strangers.PushBack(v)
	g.addresses[v.address]++
	v.timer = time.AfterFunc(strangerLife, func() { g.expire(v) })
	g.mu.Unlock()
	if out != nil {
		out.Conn.Close()
	}
	return v
}

// expire closes the connection of a visitor who is a stranger still.
func (g *Gate) expire(v *visit) {
	g.mu.Lock()
	still := v.place != nil
	if still {
		g.sent++
		g.forget(v)
	}
	g.mu.Unlock()
	if still {
		v.Conn.Close()
	}
}

// oldest returns the oldest stranger from an address. The lock is held.
func (g *Gate) oldest(address string) *visit {
	for e := g.strangers.Front(); e != nil; e = e.Next() {
		if v := e.Value.(*visit); v.address == address {
			return v
		}
	}
	return nil
}

// forget takes a visit out of the counts. The lock is held.
func (g *Gate) forget(v *visit) {
	if v.place != nil {
		g.strangers.Remove(v.place)
		v.place = nil
		v.timer.Stop()
		if g.addresses[v.address]--; g.addresses[v.address] == 0 {
			delete(g.addresses, v.address)
		}
	}
	if v.id != (ID{}) {
		if g.proven[v.id]--; g.proven[v.id] == 0 {
			delete(g.proven, v.id)
		}
		v.id = ID{}
	}
	v.over = true
}

// prove notes who a visitor has turned out to be.
func (g *Gate) prove(v *visit, id ID) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if v.over {
		return net.ErrClosed
	}
	if g.proven[id] >= maxOfIdentity {
		return fmt.Errorf("%s has %d connections, want at most as many", id, maxOfIdentity)
	}
	g.forget(v)
	g.proven[id]++
	v.id, v.over = id, false
	return nil
}

// Close ends the visit.
func (v *visit) Close() error {
	v.gate.mu.Lock()
	v.gate.forget(v)
	v.gate.mu.Unlock()
	return v.Conn.Close()
}

// Credentials returns inner, of [OpenServerConfig], that tell the gate who is
// no stranger.
func (g *Gate) Credentials(inner credentials.TransportCredentials) credentials.TransportCredentials {
	return gateCredentials{inner, g}
}

type gateCredentials struct {
	credentials.TransportCredentials
	gate *Gate
}

func (c gateCredentials) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, info, err := c.TransportCredentials.ServerHandshake(raw)
	v, ok := raw.(*visit)
	if err != nil || !ok {
		return conn, info, err
	}
	state := info.(credentials.TLSInfo).State
	if len(state.PeerCertificates) == 0 {
		return conn, info, nil
	}
	id, err := OfCertificate(state.PeerCertificates[0])
	if err == nil && c.gate.Known != nil && c.gate.Known(id) != nil {
		return conn, info, nil // who may have come for another certificate
	}
	if err == nil {
		err = c.gate.prove(v, id)
	}
	if err != nil {
		conn.Close()
		return nil, nil, err
	}
	return conn, info, nil
}

func (c gateCredentials) Clone() credentials.TransportCredentials {
	return gateCredentials{c.TransportCredentials.Clone(), c.gate}
}

func hostOf(a net.Addr) string {
	host, _, err := net.SplitHostPort(a.String())
	if err != nil {
		return a.String()
	}
	return host
}
