package stream

import (
	"errors"
	"net/netip"

	"golang.org/x/sys/unix"
)

// receiveBuffer is what a port's queue in the kernel holds, in bytes; the
// kernel cuts it to net.core.rmem_max.
const receiveBuffer = 4 << 20

// bindUDP binds n sockets to one address, and returns it with the port that was
// given where 0 was asked for. Among them the kernel chooses by the two ends of
// a datagram. The first is bound alone, so that the address is not shared with
// another process of the same user, whose clients it would take half of.
func bindUDP(addr netip.AddrPort, n int) (fds []int, bound netip.AddrPort, err error) {
	defer func() {
		if err != nil {
			for _, fd := range fds {
				unix.Close(fd)
			}
		}
	}()
	for i := range n {
		fd, err := openUDP(addr)
		if errors.Is(err, unix.EAFNOSUPPORT) && addr.Addr() == netip.IPv6Unspecified() {
			addr = netip.AddrPortFrom(netip.IPv4Unspecified(), addr.Port())
			fd, err = openUDP(addr)
		}
		if err != nil {
			return fds, addr, err
		}
		fds = append(fds, fd)
		if i > 0 {
			err = shareUDP(fd)
		}
		if err == nil {
			err = unix.Bind(fd, sockaddr(addr))
		}
		if i == 0 && err == nil {
			addr, err = boundTo(fd, addr)
		}
		if i == 0 && err == nil && n > 1 {
			err = shareUDP(fd)
		}
		if err != nil {
			return fds, addr, err
		}
	}
	return fds, addr, nil
}

func openUDP(addr netip.AddrPort) (int, error) {
	family := unix.AF_INET6
	if addr.Addr().Is4() {
		family = unix.AF_INET
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	if family == unix.AF_INET6 {
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 0); err != nil {
			unix.Close(fd)
			return -1, err
		}
	}
	// What the kernel gives by itself would do too.
	unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, receiveBuffer)
	return fd, nil
}

func shareUDP(fd int) error { return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1) }

func sockaddr(addr netip.AddrPort) unix.Sockaddr {
	if addr.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(addr.Port()), Addr: addr.Addr().As4()}
	}
	return &unix.SockaddrInet6{Port: int(addr.Port()), Addr: addr.Addr().As16()}
}

// boundTo returns addr with the port that fd is bound to.
func boundTo(fd int, addr netip.AddrPort) (netip.AddrPort, error) {
	sa, err := unix.Getsockname(fd)
	if err != nil {
		return addr, err
	}
	port := addr.Port()
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		port = uint16(sa.Port)
	case *unix.SockaddrInet6:
		port = uint16(sa.Port)
	}
	return netip.AddrPortFrom(addr.Addr(), port), nil
}
