package stream

import (
	"cmp"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"fairway.dev/gateway/loop"
	"fairway.dev/gateway/proxy"
	"fairway.dev/gateway/telemetry"
)

// UDP is the ports that take datagrams, and the sessions on them.
//
// What one client's address and port sends to one of ours is a session. Its
// first datagram decides where it goes, by proxy.Stream; one endpoint takes all
// of them, over a socket of the session's own, and what the endpoint sends back
// goes to the client, from the address that it used. Nothing is queued but in
// the kernel's buffers: what does not fit there is dropped and counted.
//
// A session ends when nothing was sent either way for Idle, when its port
// leaves, and when the route sends nothing to its cluster any more. It lives
// through all other edits. Its endpoint is another one from the next datagram
// on where the first has left the cluster, or ICMP says that nobody listens
// there; an endpoint that is unreachable is left out for the sessions after it.
//
// Over MaxSessions the session that was idle for longest makes room, before
// all others one whose client has not come back after an answer: who forges
// addresses opens many of those, and puts out none that are in use.
//
// The gateway answers nothing by itself, not even that there is no route. So
// towards a client whose address is forged it sends what the backend sends,
// and no more: to keep answers smaller than questions is the backend's part.
type UDP struct {
	o     UDPOptions
	dial  dialUDP
	going atomic.Int64 // ports that have left and are not closed yet

	mu    sync.Mutex
	ports map[netip.AddrPort]*udpPort
}

// UDPOptions are what UDP needs. Loops, Proxy, Metrics and Log are required.
type UDPOptions struct {
	Loops     []*loop.Loop
	Proxy     *proxy.Proxy // says where sessions go
	Metrics   *telemetry.Metrics
	AccessLog *telemetry.AccessLog // takes a line for each session; nil is off
	Log       *slog.Logger

	// Idle ends a session on which nothing was sent either way for that long.
	// If zero, 60 seconds.
	Idle time.Duration

	// MaxSessions bounds the sessions on one port, each loop having its share.
	// If zero, 16384.
	MaxSessions int
}

// A UDPPort is where datagrams are taken.
type UDPPort struct {
	Addr netip.AddrPort // ::, port means every address, IPv4 too
	Bind *proxy.Bind    // says to the proxy which port it is
	// Opened and Closed count sessions, on the loop with that index. They may
	// be nil.
	Opened, Closed func(loop int)
}

// udpPort is a port that is bound, once for each loop. The kernel gives all
// datagrams with the same two ends to the same loop (SO_REUSEPORT).
type udpPort struct {
	owner   *UDP
	spec    atomic.Pointer[UDPPort]
	addr    netip.AddrPort // as it is bound
	tables  []*udpTable    // by loop; each touched on its loop only
	open    atomic.Int32   // tables that are not closed yet
	leaving bool           // under UDP.mu
}

// NewUDP returns a UDP without ports.
func NewUDP(o UDPOptions) *UDP {
	o.Idle = cmp.Or(o.Idle, time.Minute)
	o.MaxSessions = cmp.Or(o.MaxSessions, 16384)
	return &UDP{o: o, dial: dialLoop, ports: map[netip.AddrPort]*udpPort{}}
}

// Apply makes ports the set in force. A port that cannot be bound is told in
// the errors, by its place in ports, and the others are served; Apply with the
// same ports tries it again. Of ports with one address the first is served.
// The sessions of ports that stay are not touched.
func (u *UDP) Apply(ports []UDPPort) []error {
	u.mu.Lock()
	defer u.mu.Unlock()
	errs := make([]error, len(ports))
	wanted := make(map[netip.AddrPort]bool, len(ports))
	for i := range ports {
		if wanted[ports[i].Addr] {
			errs[i] = fmt.Errorf("listen on %s: another port has this address, want one", ports[i].Addr)
		}
		wanted[ports[i].Addr] = true
	}
	for addr, p := range u.ports {
		if !wanted[addr] {
			delete(u.ports, addr)
			p.leave((*udpTable).close)
		}
	}
	for i := range ports {
		spec := &ports[i]
		if errs[i] != nil {
			continue
		}
		if p := u.ports[spec.Addr]; p != nil {
			p.spec.Store(spec)
			continue
		}
		p, err := u.bind(spec)
		if err != nil {
			errs[i] = fmt.Errorf("listen on %s: %w", spec.Addr, err)
			continue
		}
		u.ports[spec.Addr] = p
	}
	return errs
}

// bind opens a port on all loops.
func (u *UDP) bind(spec *UDPPort) (*udpPort, error) {
	fds, addr, err := bindUDP(spec.Addr, len(u.o.Loops))
	if err != nil {
		return nil, err
	}
	p := u.newPort(spec, addr)
	for i, t := range p.tables {
		if !t.loop.Post(func() { t.listen(fds[i]) }) {
			unix.Close(fds[i]) // the loop has ended
		}
	}
	return p, nil
}

func (u *UDP) newPort(spec *UDPPort, addr netip.AddrPort) *udpPort {
	p := &udpPort{owner: u, addr: addr}
	p.spec.Store(spec)
	for _, l := range u.o.Loops {
		p.tables = append(p.tables, newUDPTable(p, l))
	}
	p.open.Store(int32(len(p.tables)))
	return p
}

// leave has f, which closes it soon, called for each table.
func (p *udpPort) leave(f func(*udpTable)) {
	if !p.leaving {
		p.leaving = true
		p.owner.going.Add(1)
	}
	for _, t := range p.tables {
		if !t.loop.Post(func() { f(t) }) {
			t.closed.Do(p.left) // the loop has ended, and has closed its sockets
		}
	}
}

// left tells that a table is closed.
func (p *udpPort) left() {
	if p.open.Add(-1) == 0 {
		p.owner.going.Add(-1)
	}
}

// quiet is how long no datagram may have come before a port that drains closes.
const quiet = time.Second

// Drain serves each port until nothing was sent there for a second, and closes
// it: datagrams have no end to wait for. Nothing but Apply without ports, which
// closes at once what is left, may follow.
func (u *UDP) Drain() {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, p := range u.ports {
		p.leave((*udpTable).drain)
	}
}

// Leaving reports whether ports that have left, or drain, may still hold their
// addresses.
func (u *UDP) Leaving() bool { return u.going.Load() > 0 }

// Addrs returns the addresses that are bound: with port 0 asked for, the port
// that was given.
func (u *UDP) Addrs() []netip.AddrPort {
	u.mu.Lock()
	defer u.mu.Unlock()
	var addrs []netip.AddrPort
	for _, p := range u.ports {
		addrs = append(addrs, p.addr)
	}
	return addrs
}
