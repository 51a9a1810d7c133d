package loop

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// on runs f on l and waits for it.
func on(l *Loop, f func()) {
	done := make(chan struct{})
	l.Post(func() { f(); close(done) })
	<-done
}

// bindUDP returns a bound descriptor and its port.
func bindUDP(t *testing.T, addr netip.AddrPort) (fd int, port uint16) {
	t.Helper()
	sa, family := sockaddr(addr)
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Bind(fd, sa); err != nil {
		t.Fatalf("bind %s: %v", addr, err)
	}
	bound, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	return fd, addrPort(bound).Port()
}

// echoUDP answers each datagram, and tells its path.
func echoUDP(t *testing.T, l *Loop, bind netip.Addr) (port uint16, paths chan UDPPath) {
	t.Helper()
	fd, port := bindUDP(t, netip.AddrPortFrom(bind, 0))
	paths = make(chan UDPPath, 100)
	on(l, func() {
		var s *UDPSocket
		s, err := l.ListenUDP(fd, func(path *UDPPath, p []byte) {
			paths <- *path
			if err := s.Send(path, p); err != nil {
				t.Errorf("answer %v: %v", path, err)
			}
		}, func(uint32) {})
		if err != nil {
			t.Error(err)
		}
	})
	return port, paths
}

// ipv6 says whether this machine has any.
var ipv6 = sync.OnceValue(func() bool {
	c, err := net.ListenUDP("udp6", &net.UDPAddr{IP: net.IPv6loopback})
	if err == nil {
		c.Close()
	}
	return err == nil
})

// RFC 1122 section 4.1.3.5: who asked one address gets the answer from that one.
func TestUDPAnswersComeFromTheAddressAsked(t *testing.T) {
	tests := []struct{ bind, asked string }{
		{"0.0.0.0", "127.0.0.1"},
		{"0.0.0.0", "127.8.8.8"},
		{"::", "127.0.0.1"},
		{"::", "127.8.8.8"},
		{"::", "::1"},
		{"127.0.0.1", "127.0.0.1"},
		{"::1", "::1"},
	}
	for _, tt := range tests {
		if tt.bind[0] == ':' && !ipv6() {
			continue
		}
		t.Run(tt.bind+" "+tt.asked, func(t *testing.T) {
			l := startLoop(t)
			asked := netip.MustParseAddr(tt.asked)
			port, paths := echoUDP(t, l, netip.MustParseAddr(tt.bind))
			// Connected, the client takes answers from nobody else.
			c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(asked, port)))
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			for _, size := range []int{5, 0, 60000} {
				want := bytes.Repeat([]byte{'x'}, size)
				if _, err := c.Write(want); err != nil {
					t.Fatal(err)
				}
				got := make([]byte, 70000)
				c.SetReadDeadline(time.Now().Add(10 * time.Second))
				n, err := c.Read(got)
				if err != nil || n != size {
					t.Fatalf("%d bytes answered with %d, %v", size, n, err)
				}
				if path := <-paths; path.Local != asked || path.Remote != c.LocalAddr().(*net.UDPAddr).AddrPort() {
					t.Errorf("path %v, want from %s to %s", path, c.LocalAddr(), asked)
				}
			}
		})
	}
}

func TestUDPSocketTakesMoreThanItsShareOfARound(t *testing.T) {
	l := startLoop(t)
	fd, port := bindUDP(t, netip.MustParseAddrPort("127.0.0.1:0"))
	c, err := net.Dial("udp", netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port).String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	const many = 2*udpShare + 1
	for i := range many { // before anybody reads
		if _, err := c.Write([]byte{byte(i)}); err != nil {
			t.Fatal(err)
		}
	}
	got := make(chan byte, many)
	on(l, func() {
		if _, err := l.ListenUDP(fd, func(_ *UDPPath, p []byte) { got <- p[0] }, func(uint32) {}); err != nil {
			t.Error(err)
		}
	})
	for i := range many {
		if b := <-got; b != byte(i) {
			t.Fatalf("datagram %d came as number %d", b, i)
		}
	}
}

// heard is a UDPHandler that tells.
type heard struct {
	data   chan []byte
	failed chan error
}

func newHeard() *heard {
	return &heard{make(chan []byte, 100), make(chan error, 100)}
}

func (h *heard) Datagram(p []byte) { h.data <- bytes.Clone(p) }
func (h *heard) Failed(err error)  { h.failed <- err }

func TestUDPConnHearsItsOtherEnd(t *testing.T) {
	l := startLoop(t)
	server, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	h := newHeard()
	on(l, func() {
		c, err := l.DialUDP(server.LocalAddr().(*net.UDPAddr).AddrPort(), h)
		if err != nil {
			t.Error(err)
			return
		}
		if err := c.Send([]byte("hello")); err != nil {
			t.Error(err)
		}
	})
	buf := make([]byte, 100)
	n, from, err := server.ReadFromUDPAddrPort(buf)
	if err != nil || string(buf[:n]) != "hello" {
		t.Fatalf("the server got %q, %v", buf[:n], err)
	}
	stranger, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(from))
	if err != nil {
		t.Fatal(err)
	}
	defer stranger.Close()
	stranger.Write([]byte("forged"))
	for _, text := range []string{"one", "", "two"} {
		if _, err := server.WriteToUDPAddrPort([]byte(text), from); err != nil {
			t.Fatal(err)
		}
		if got := <-h.data; string(got) != text {
			t.Errorf("got %q, want %q", got, text)
		}
	}
}

// RFC 1122 section 4.1.3.3: ICMP's word that nobody listens is passed on.
func TestUDPConnHearsThatNobodyListens(t *testing.T) {
	l := startLoop(t)
	fd, port := bindUDP(t, netip.MustParseAddrPort("127.0.0.1:0"))
	unix.Close(fd)
	h := newHeard()
	var c *UDPConn
	on(l, func() {
		var err error
		if c, err = l.DialUDP(netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port), h); err != nil {
			t.Error(err)
			return
		}
		if err := c.Send([]byte("hello")); err != nil {
			t.Error(err)
		}
	})
	if err := <-h.failed; !errors.Is(err, ErrUnreachable) {
		t.Errorf("failed with %v, want %v", err, ErrUnreachable)
	}
	on(l, func() {
		if err := c.Send([]byte("hello")); err != nil { // ICMP answers at once on loopback
			t.Error(err)
		}
		if err := c.Send([]byte("hello")); !errors.Is(err, ErrUnreachable) {
			t.Errorf("the datagram after a failed one: %v, want %v", err, ErrUnreachable)
		}
		c.Close()
		if err := c.Send([]byte("hello")); err == nil {
			t.Error("sent on a closed socket")
		}
		c.Close()
	})
}

func TestUDPSocketTellsWhatTheKernelDropped(t *testing.T) {
	l := startLoop(t)
	fd, port := bindUDP(t, netip.MustParseAddrPort("127.0.0.1:0"))
	unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 1) // the least there is
	unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RXQ_OVFL, 1)
	c, err := net.Dial("udp", netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port).String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	const sent = 100
	send := func() {
		for range sent {
			c.Write(make([]byte, 1000))
		}
	}
	send()
	taken, lost := make(chan int, 2*sent+1), make(chan uint32, 10)
	on(l, func() {
		if _, err := l.ListenUDP(fd, func(_ *UDPPath, p []byte) { taken <- len(p) }, func(n uint32) { lost <- n }); err != nil {
			t.Error(err)
		}
	})
	on(l, func() {}) // the first have been read: the queue has room
	c.Write([]byte("last"))
	for n := 0; n != 4; n = <-taken {
	}
	if n := <-lost; n == 0 || n >= sent {
		t.Errorf("%d of %d lost", n, sent)
	}
}

func TestStopClosesUDPSockets(t *testing.T) {
	l, err := New(0)
	if err != nil {
		t.Fatal(err)
	}
	go l.Run()
	fd, port := bindUDP(t, netip.MustParseAddrPort("127.0.0.1:0"))
	on(l, func() {
		if _, err := l.ListenUDP(fd, func(*UDPPath, []byte) {}, func(uint32) {}); err != nil {
			t.Error(err)
		}
		if _, err := l.DialUDP(netip.MustParseAddrPort("127.0.0.1:9"), newHeard()); err != nil {
			t.Error(err)
		}
	})
	l.Stop()
	again, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: int(port)})
	if err != nil {
		t.Fatalf("the port is still held: %v", err)
	}
	again.Close()
}

func TestUDPSendErrors(t *testing.T) {
	tests := []struct {
		errno unix.Errno
		want  error
	}{
		{0, nil},
		{unix.EAGAIN, ErrQueueFull},
		{unix.ENOBUFS, ErrQueueFull},
		{unix.ECONNREFUSED, ErrUnreachable},
		{unix.EHOSTUNREACH, ErrUnreachable},
		{unix.EMSGSIZE, unix.EMSGSIZE},
	}
	for _, tt := range tests {
		if got := sendError(tt.errno); !errors.Is(got, tt.want) {
			t.Errorf("%v is told as %v, want %v", tt.errno, got, tt.want)
		}
	}
}

// Whatever stands in the control messages, reading them ends, and inside them.
func FuzzUDPInfo(f *testing.F) {
	var m udpMessage
	for _, ipv4 := range []bool{true, false} {
		path := &UDPPath{Remote: netip.MustParseAddrPort("192.0.2.1:53"), Local: netip.MustParseAddr("192.0.2.2")}
		m.setSource(path, ipv4, true)
		f.Add(unsafe.Slice(m.header.Control, m.header.Controllen), uint16(m.header.Controllen))
	}
	f.Fuzz(func(t *testing.T, control []byte, length uint16) {
		var m udpMessage
		copy(unsafe.Slice((*byte)(unsafe.Pointer(&m.control)), len(m.control)*8), control)
		m.header.SetControllen(int(length))
		if info := m.info(); info.local.Is4In6() {
			t.Errorf("local address %v, want it as IPv4", info.local)
		}
	})
}
