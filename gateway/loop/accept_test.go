package loop

import (
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
