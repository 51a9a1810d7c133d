// Package listen owns the sockets that clients connect to, and hands each
// connection to who speaks its protocol: by the name in its ClientHello and by
// ALPN on TLS, by the first bytes on a plain port, or as the port says.
//
// A PROXY protocol header in front of all that says who the client is. It is
// looked for only where the port says so. Where it may be missing
// (routing.ProxyProtocolOptional), a client that waits for the server to speak
// is one without a header, after HandshakeTimeout.
//
// What comes out of a tunnel is a connection of a port too (Set.Adopt), without a
// socket of its own; and so is one whose header says where it leads (Port.Lead),
// on its socket.
//
// The one law: a change of the set touches only the sockets that it names.
// One that stays keeps its queue and its connections; one that leaves stops
// accepting at once, and its connections finish what they have begun.
package listen

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"fairway.dev/gateway/loop"
	"fairway.dev/gateway/message"
	"fairway.dev/gateway/proxyproto"
	"fairway.dev/routing"
)

// A Codec speaks a protocol on a connection. Drain makes it take no new work,
// finish what is under way, and close.
type Codec interface {
	loop.Handler
	Drain()
}

// Codecs makes the codec of a new connection.
type Codecs func(conn loop.Conn, peer *message.Peer) Codec

// A Port is a socket to listen on and what is spoken there.
type Port struct {
	Addr netip.AddrPort // ::, port means every address, IPv4 too
	// TLS, where set, is how every connection's TLS ends, and HTTP is spoken in
	// it. Where neither TLS nor Choose is set, plain HTTP is.
	TLS *tls.Config
	// Choose, where set, decides instead: with Peek by the name in the
	// ClientHello, which no one has answered yet; else at once.
	Choose Choose
	Peek   bool
	// Detect has Choose decide, without a name, about those connections only that
	// do not begin as HTTP does, or have not within DetectTimeout: their servers
	// may be the first to speak. All others are plain HTTP. It goes neither with
	// TLS nor with Peek.
	Detect bool
	// DetectTimeout, if zero, is 1 second.
	DetectTimeout time.Duration
	// Codecs, where set and Choose is not, takes all connections, after their TLS
	// where TLS is set.
	Codecs Codecs
	// Peer, where set, says more about who the client is, by its address: before
	// anything else is asked about a connection, but not for adopted ones.
	Peer func(*message.Peer)
	// Refuse, where set, says why a connection is closed that may not come in:
	// before anybody speaks on it.
	Refuse func(*message.Peer) error
	// ProxyProtocol says whether connections begin with a header.
	ProxyProtocol routing.ProxyProtocol
	// Lead, where set, says by the header that each connection has to begin with
	// what port it is one of from then on, and makes peer its client; or why it is
	// closed. err is why there is no header that could be read. Nothing else but
	// Mark, Opened and Closed counts on such a port.
	Lead func(peer *message.Peer, said proxyproto.Header, err error) (*Port, error)
	// Mark goes to Peer.Listener of the port's connections.
	Mark any
	// Opened and Closed count connections, on the loop with that index. They
	// may be nil.
	Opened, Closed func(loop int)
}

// Options are a Set's. Loops, HTTP1 and HTTP2 are required.
type Options struct {
	Loops []*loop.Loop
	HTTP1 Codecs
	HTTP2 Codecs
	Log   *slog.Logger

	// MaxConnections bounds what clients may open on all ports together. If
	// zero, there is no bound but the process's file descriptors.
	MaxConnections int
	// HandshakeTimeout bounds a TLS handshake, and before it, each by itself,
	// the waits for a PROXY protocol header and for a ClientHello that is
	// looked at. If zero, 10 seconds.
	HandshakeTimeout time.Duration
	// FirstByteTimeout bounds the wait for the first byte of a plain
	// connection, and of a TLS one after its handshake. If zero, 60 seconds.
	FirstByteTimeout time.Duration

	// Events hears what happens to connections, on their loops.
	Events Events
}

// Events are hooks for metrics; all may be nil. They must not block.
type Events struct {
	Handshake func(loop int, err error) // a TLS handshake has ended
	Refused   func(loop int, why Refusal)
}

// A Set is the sockets in force.
type Set struct {
	opt   Options
	loops []*perLoop
	open  atomic.Int64 // client connections
	going atomic.Int64 // sockets that have left and are not closed yet

	mu      sync.Mutex
	sockets map[netip.AddrPort]*socket
}

// perLoop is what belongs to one loop, and is touched there only, but for count.
type perLoop struct {
	set   *Set
	loop  *loop.Loop
	count atomic.Int64 // connections that belong here, or are on their way
	conns *conn        // the list of them
}

// socket is one listening descriptor.
type socket struct {
	set       *Set
	fd        int
	port      atomic.Pointer[Port]
	acceptors []*loop.Acceptor // by loop; each touched on its loop only
	left      atomic.Int32     // loops that still accept
	closing   atomic.Bool      // what is taken from its queue now is drained
}

// New returns an empty Set.
func New(o Options) *Set {
	if o.HandshakeTimeout == 0 {
		o.HandshakeTimeout = 10 * time.Second
	}
	if o.FirstByteTimeout == 0 {
		o.FirstByteTimeout = 60 * time.Second
	}
	s := &Set{opt: o, sockets: map[netip.AddrPort]*socket{}}
	for _, l := range o.Loops {
		s.loops = append(s.loops, &perLoop{set: s, loop: l})
	}
	return s
}

// Apply makes ports the set in force. A port that cannot be bound is told in
// the errors, by its place in ports, and the others are served; Apply with
// the same ports tries it again. Of ports with one address the first is served.
func (s *Set) Apply(ports []Port) []error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.change(ports, slices.Collect(maps.Keys(s.sockets)))
}

// Change puts ports in force and leaves the addresses of gone, but for those of
// ports; all others stay as they are. Its errors are those of Apply.
func (s *Set) Change(ports []Port, gone []netip.AddrPort) []error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.change(ports, gone)
}

func (s *Set) change(ports []Port, gone []netip.AddrPort) []error {
	errs := make([]error, len(ports))
	wanted := make(map[netip.AddrPort]bool, len(ports))
	for i := range ports {
		if wanted[ports[i].Addr] {
			errs[i] = fmt.Errorf("listen on %s: another port has this address, want one", ports[i].Addr)
		}
		wanted[ports[i].Addr] = true
	}
	// First those that leave: what comes may need their addresses.
	for _, addr := range gone {
		if sock := s.sockets[addr]; sock != nil && !wanted[addr] {
			delete(s.sockets, addr)
			sock.close()
		}
	}
	for i := range ports {
		p := &ports[i]
		if errs[i] != nil {
			continue
		}
		if sock := s.sockets[p.Addr]; sock != nil {
			sock.port.Store(p)
			continue
		}
		sock, err := s.bind(p)
		if err != nil {
			errs[i] = err
			continue
		}
		s.sockets[p.Addr] = sock
	}
	return errs
}

// Addrs returns the addresses that are bound: with port 0 asked for, the port
// that was given.
func (s *Set) Addrs() []netip.AddrPort {
	s.mu.Lock()
	defer s.mu.Unlock()
	var addrs []netip.AddrPort
	for _, sock := range s.sockets {
		addrs = append(addrs, sock.addr())
	}
	return addrs
}

// Open returns how many client connections there are.
func (s *Set) Open() int { return int(s.open.Load()) }

// Leaving reports whether sockets that have left may still hold their addresses.
func (s *Set) Leaving() bool { return s.going.Load() > 0 }

// Drained reports whether nothing is left of the sockets that have left, nor
// of any connection.
func (s *Set) Drained() bool { return s.going.Load() == 0 && s.open.Load() == 0 }

// Drain stops accepting and lets every connection finish.
func (s *Set) Drain() {
	s.Apply(nil)
	for _, l := range s.loops {
		l.loop.Post(func() { l.drain(nil) })
	}
}

func (s *Set) bind(p *Port) (*socket, error) {
	fd, err := listenOn(p.Addr)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", p.Addr, err)
	}
	sock := &socket{set: s, fd: fd, acceptors: make([]*loop.Acceptor, len(s.loops))}
	sock.port.Store(p)
	sock.left.Store(int32(len(s.loops)))
	for i, l := range s.loops {
		l.loop.Post(func() { sock.accept(i, l) })
	}
	return sock, nil
}

// accept starts taking connections on one loop.
func (k *socket) accept(i int, l *perLoop) {
	failed := func(err error) {
		if err == nil {
			k.set.opt.Log.Info("connections are accepted again", "listener", k.port.Load().Addr)
			return
		}
		k.set.opt.Log.Error("connections are not accepted", "listener", k.port.Load().Addr, "err", err)
	}
	a, err := l.loop.Accept(k.fd, func(fd int, remote netip.AddrPort) { k.take(l, fd, remote) }, failed)
	if err != nil {
		failed(err)
		return
	}
	k.acceptors[i] = a
}

// close takes what waits in the queue and stops accepting on every loop,
// closes the descriptor when the last has stopped, and drains the connections.
func (k *socket) close() {
	k.closing.Store(true)
	k.set.going.Add(1)
	for i, l := range k.set.loops {
		stop := func() {
			if a := k.acceptors[i]; a != nil {
				a.Close()
			}
			k.leave()
			l.drain(k)
		}
		if !l.loop.Post(stop) {
			k.leave() // the loop has ended, and accepts no more
		}
	}
}

// leave closes the descriptor when the last loop has stopped accepting.
func (k *socket) leave() {
	if k.left.Add(-1) == 0 {
		unix.Close(k.fd)
		k.set.going.Add(-1)
	}
}

func (k *socket) addr() netip.AddrPort {
	sa, err := unix.Getsockname(k.fd)
	if err != nil {
		return k.port.Load().Addr
	}
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port))
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(sa.Addr), uint16(sa.Port))
	}
	return k.port.Load().Addr
}

// hasRoom reports whether one more connection may be open.
func (s *Set) hasRoom() bool {
	limit := s.opt.MaxConnections
	return limit <= 0 || s.open.Load() < int64(limit)
}

// turnAway counts one for which there is no room.
func (s *Set) turnAway(l *perLoop) {
	if f := s.opt.Events.Refused; f != nil {
		f(l.loop.Index(), TooMany)
	}
}

// take gives an accepted connection to the loop that has the fewest.
func (k *socket) take(l *perLoop, fd int, remote netip.AddrPort) {
	s := k.set
	if !s.hasRoom() {
		unix.Close(fd)
		s.turnAway(l)
		return
	}
	s.open.Add(1)
	to := l
	for _, other := range s.loops {
		if other.count.Load() < to.count.Load() {
			to = other
		}
	}
	to.count.Add(1)
	if to == l {
		to.begin(k, fd, remote)
		return
	}
	if !to.loop.Post(func() { to.begin(k, fd, remote) }) {
		unix.Close(fd)
		to.count.Add(-1)
		s.open.Add(-1)
	}
}

// listenBacklog is cut by the kernel to net.core.somaxconn.
const listenBacklog = 65535

func listenOn(addr netip.AddrPort) (int, error) {
	family := unix.AF_INET6
	if addr.Addr().Is4() {
		family = unix.AF_INET
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if errors.Is(err, unix.EAFNOSUPPORT) && addr.Addr() == netip.IPv6Unspecified() {
		return listenOn(netip.AddrPortFrom(netip.IPv4Unspecified(), addr.Port()))
	}
	if err != nil {
		return -1, err
	}
	if err := bindAndListen(fd, addr); err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

func bindAndListen(fd int, addr netip.AddrPort) error {
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		return err
	}
	var sa unix.Sockaddr
	if addr.Addr().Is4() {
		sa = &unix.SockaddrInet4{Port: int(addr.Port()), Addr: addr.Addr().As4()}
	} else {
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 0); err != nil {
			return err
		}
		sa = &unix.SockaddrInet6{Port: int(addr.Port()), Addr: addr.Addr().As16()}
	}
	if err := unix.Bind(fd, sa); err != nil {
		return err
	}
	return unix.Listen(fd, listenBacklog)
}
