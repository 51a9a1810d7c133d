package loop

import (
	"net"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
)

func TestAcceptorTriesAgainUntilItCanWatch(t *testing.T) {
	l, err := New(0)
	if err != nil {
		t.Fatal(err)
	}
	defer l.poll.close()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	var failure error
	a, err := l.Accept(fd, func(int, netip.AddrPort) {}, func(err error) { failure = err })
	if err != nil {
		t.Fatal(err)
	}
	a.goOn() // it is watched already: the kernel refuses
	if failure == nil || !a.rest.Armed() {
		t.Errorf("told %v, tries again: %v; want an error and true", failure, a.rest.Armed())
	}
}

// Ten times a second is no news: a process without descriptors may stay so.
func TestFailingToAcceptIsToldOnce(t *testing.T) {
	l, err := New(0)
	if err != nil {
		t.Fatal(err)
	}
	defer l.poll.close()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	var told []error
	a, err := l.Accept(fd, func(fd int, _ netip.AddrPort) { unix.Close(fd) }, func(err error) { told = append(told, err) })
	if err != nil {
		t.Fatal(err)
	}
	for range 3 { // it does not listen yet
		a.ready(unix.EPOLLIN)
		a.goOn()
	}
	if len(told) != 1 || told[0] == nil {
		t.Fatalf("told %v, want one error", told)
	}
	if err := unix.Listen(fd, 10); err != nil {
		t.Fatal(err)
	}
	bound, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		c, err := net.Dial("tcp", addrPort(bound).String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		a.ready(unix.EPOLLIN)
	}
	if len(told) != 2 || told[1] != nil {
		t.Errorf("told %v, want that it is over, once", told)
	}
}
