package loop

import (
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// A UDPPath is the two ends between which a datagram travels. It compares.
type UDPPath struct {
	Remote netip.AddrPort
	Local  netip.Addr // the one of our addresses that the client used
	// Scope is the interface of a link-local address, which means nothing
	// without it; 0 otherwise.
	Scope uint32
}

// ErrUnreachable is wrapped by errors of a UDPConn that mean that nobody
// listens at its other end: an ICMP message said so (RFC 1122 section
// 4.1.3.3), or there is no way there.
var ErrUnreachable = errors.New("unreachable")

// ErrQueueFull is wrapped by errors of sending that mean that the kernel's
// queue is full: the datagram is lost, the next may not be.
var ErrQueueFull = errors.New("queue of the socket is full")

// udpShare is the most datagrams that one socket reads in a round, so that a
// fast sender does not keep the others waiting. What is left is told of again.
const udpShare = 32

// A UDPSocket is a port that takes datagrams of many clients. It is used on
// its loop only.
type UDPSocket struct {
	loop  *Loop
	fd    int // -1 once it is closed
	take  func(path *UDPPath, p []byte)
	lost  func(n uint32)
	local netip.AddrPort
	ipv4  bool
	wild  bool   // every address is ours: datagrams say which they came to
	drops uint32 // of the kernel's queue, as last told

	in, out udpMessage
	path    UDPPath
}

// ListenUDP has take called for each datagram that comes to fd, a bound socket
// that does not block; the bytes, and the path, are valid during the call.
// How many the kernel dropped in between, for its queue was full, is told to
// lost. The loop owns fd from now on, also if there is an error.
func (l *Loop) ListenUDP(fd int, take func(path *UDPPath, p []byte), lost func(n uint32)) (*UDPSocket, error) {
	s := &UDPSocket{loop: l, fd: fd, take: take, lost: lost}
	err := s.prepare()
	if err == nil {
		err = l.poll.add(fd, unix.EPOLLIN, s)
	}
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("listen for datagrams: %w", err)
	}
	return s, nil
}

// prepare asks the kernel to tell of each datagram which address it came to,
// where there are many, and how many were dropped before it.
func (s *UDPSocket) prepare() error {
	sa, err := unix.Getsockname(s.fd)
	if err != nil {
		return err
	}
	_, s.ipv4 = sa.(*unix.SockaddrInet4)
	s.local = addrPort(sa)
	s.wild = s.local.Addr().IsUnspecified()
	if err := unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_RXQ_OVFL, 1); err != nil {
		return err
	}
	switch {
	case !s.wild:
		return nil
	case s.ipv4:
		return unix.SetsockoptInt(s.fd, unix.IPPROTO_IP, unix.IP_PKTINFO, 1)
	}
	return unix.SetsockoptInt(s.fd, unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1)
}

// Local returns the address that the socket is bound to.
func (s *UDPSocket) Local() netip.AddrPort { return s.local }

// ready takes some of the datagrams that wait.
func (s *UDPSocket) ready(uint32) {
	for range udpShare {
		n, errno := s.in.receive(s.fd, s.loop.scratch)
		if errno != 0 {
			return // EAGAIN, or what became of an answer
		}
		if path, ok := s.read(&s.in); ok {
			s.take(path, s.loop.scratch[:n])
		}
		if s.fd < 0 {
			return
		}
	}
}

// read returns between whom a datagram travels. It reports false for one that
// nobody could be answered from: sent to a group, or from port 0.
func (s *UDPSocket) read(m *udpMessage) (*UDPPath, bool) {
	path := &s.path
	*path = UDPPath{Remote: m.remote(), Local: s.local.Addr()}
	info := m.info()
	if info.drops != s.drops {
		s.lost(info.drops - s.drops) // the count goes round
		s.drops = info.drops
	}
	if s.wild {
		path.Local = info.local
	}
	if from := path.Remote.Addr(); from.Is6() && from.IsLinkLocalUnicast() {
		path.Scope = m.name.Scope_id
	}
	ok := path.Remote.Port() != 0 && path.Local.IsValid() && !path.Local.IsMulticast() && path.Local != broadcast
	return path, ok
}

var broadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})

// Send sends p back on the path that a datagram came on. The error, where it
// wraps ErrQueueFull, says that p is lost and nothing is wrong.
func (s *UDPSocket) Send(path *UDPPath, p []byte) error {
	if s.fd < 0 {
		return unix.EBADF
	}
	m := &s.out
	m.setRemote(path, s.ipv4)
	m.setSource(path, s.ipv4, s.wild)
	return sendError(m.send(s.fd, p))
}

// Close closes the socket. take is not called again.
func (s *UDPSocket) Close() {
	if s.fd >= 0 {
		s.loop.poll.forget(s.fd)
		unix.Close(s.fd)
		s.fd = -1
	}
}

// A UDPHandler takes what comes to a UDPConn.
type UDPHandler interface {
	// Datagram takes a datagram of the other end. It is valid during the call.
	Datagram(p []byte)
	// Failed tells that what was sent did not arrive; the error wraps
	// ErrUnreachable. The socket can be used on.
	Failed(err error)
}

// A UDPConn is a socket for datagrams with one other end: what comes from
// anybody else the kernel drops. It is used on its loop only.
type UDPConn struct {
	loop    *Loop
	fd      int // -1 once it is closed
	handler UDPHandler
}

// DialUDP returns a socket, with a port of its own, whose other end is addr.
func (l *Loop) DialUDP(addr netip.AddrPort, h UDPHandler) (*UDPConn, error) {
	sa, family := sockaddr(addr)
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open a socket: %w", err)
	}
	if err := unix.Connect(fd, sa); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("connect to %s: %w", addr, unreachable(err))
	}
	c := &UDPConn{loop: l, fd: fd, handler: h}
	if err := l.poll.add(fd, unix.EPOLLIN, c); err != nil {
		unix.Close(fd)
		return nil, err
	}
	return c, nil
}

// ready hands on some of the datagrams that wait.
func (c *UDPConn) ready(uint32) {
	for range udpShare {
		n, errno := sysRead(c.fd, c.loop.scratch)
		switch {
		case errno == unix.EAGAIN:
			return
		case errno != 0:
			if err := unreachable(errno); errors.Is(err, ErrUnreachable) {
				c.handler.Failed(err)
			}
		default:
			c.handler.Datagram(c.loop.scratch[:n])
		}
		if c.fd < 0 {
			return
		}
	}
}

// Send sends p. An error that wraps ErrUnreachable tells of what was sent
// before; p was not sent.
func (c *UDPConn) Send(p []byte) error {
	if c.fd < 0 {
		return unix.EBADF
	}
	_, errno := sysSend(c.fd, p)
	if errno == unix.EMSGSIZE {
		// It may tell of the path, which the kernel knows better now.
		_, errno = sysSend(c.fd, p)
	}
	return sendError(errno)
}

// Close closes the socket. The handler hears nothing more.
func (c *UDPConn) Close() {
	if c.fd >= 0 {
		c.loop.poll.forget(c.fd)
		unix.Close(c.fd)
		c.fd = -1
	}
}

// unreachable wraps ErrUnreachable around what means that nobody is there.
func unreachable(err error) error {
	switch err {
	case unix.ECONNREFUSED, unix.EHOSTUNREACH, unix.ENETUNREACH:
		return fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	return err
}

func sendError(errno unix.Errno) error {
	switch errno {
	case 0:
		return nil
	case unix.EAGAIN, unix.ENOBUFS, unix.ENOMEM:
		return ErrQueueFull
	}
	return unreachable(errno)
}
