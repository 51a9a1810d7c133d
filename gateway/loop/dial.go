package loop

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// A Dialed hears how a Dial ended, on the loop: with the socket, whose
// Handler it sets, or with an error. alpn is what TLS agreed on.
type Dialed func(s *Socket, alpn string, err error)

// ErrRefused is wrapped by dial errors that mean that nothing listens there.
var ErrRefused error = unix.ECONNREFUSED

// An Opening is how a connection that we make begins.
type Opening struct {
	// First is sent before all else, TLS too: a header of the PROXY protocol.
	// It is short, and does not change.
	First []byte
	TLS   *tls.Config // nil: plain
	// KeepAlive has the kernel ask whether a silent peer is there; nil: it does not.
	KeepAlive *KeepAlive
}

// KeepAlive is how the kernel asks (RFC 9293 section 3.8.4). What is 0 is as
// the system has it; times are rounded up to seconds.
type KeepAlive struct {
	Probes         int           // without an answer, that end the connection
	Idle, Interval time.Duration // before the first, and between them
}

// Dial connects to addr, and opens the connection as said, within timeout.
// done is called once, from a later event; never after the returned cancel.
func (l *Loop) Dial(addr netip.AddrPort, how Opening, timeout time.Duration, done Dialed) (cancel func()) {
	d := &dial{loop: l, addr: addr, how: how, timeout: timeout, done: done, begun: l.now}
	if err := d.start(); err != nil {
		l.Defer(func() { d.end(nil, "", err) })
	}
	return d.cancel
}

type dial struct {
	loop    *Loop
	addr    netip.AddrPort
	how     Opening
	timeout time.Duration
	begun   time.Time
	done    Dialed
	s       *Socket
}

func (d *dial) start() error {
	sa, family := sockaddr(d.addr)
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open a socket: %w", err)
	}
	unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	d.how.KeepAlive.set(fd)
	if err := unix.Connect(fd, sa); err != nil && !errors.Is(err, unix.EINPROGRESS) {
		unix.Close(fd)
		return err
	}
	s, err := d.loop.newSocket(fd, d.addr)
	if err != nil {
		return err
	}
	d.s = s
	s.handler = d
	s.timer.Fire = func() { s.fail(os.ErrDeadlineExceeded) }
	d.loop.Arm(&s.timer, d.timeout)
	return nil
}

// set asks for k on a socket. Where the system does not do as it is asked the
// connection is as good without.
func (k *KeepAlive) set(fd int) {
	if k == nil {
		return
	}
	unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1)
	for option, n := range map[int]int{
		unix.TCP_KEEPCNT: k.Probes, unix.TCP_KEEPIDLE: seconds(k.Idle), unix.TCP_KEEPINTVL: seconds(k.Interval),
	} {
		if n > 0 {
			unix.SetsockoptInt(fd, unix.IPPROTO_TCP, option, n)
		}
	}
}

func seconds(d time.Duration) int { return int((d + time.Second - 1) / time.Second) }

// finishConnect is called on the first event of a connecting socket. A server
// that speaks first may have spoken already: no other event will tell of that.
func (s *Socket) finishConnect(events uint32) {
	if err := socketError(s.fd); err != nil {
		s.fail(err)
		return
	}
	if _, errno := sysName(unix.SYS_GETPEERNAME, s.fd); errno != 0 {
		return // not connected yet: a stale event
	}
	s.state = open
	s.loop.Disarm(&s.timer)
	s.handler.(*dial).connected()
	if s.state == open && events&^unix.EPOLLOUT != 0 {
		s.readable = true
		s.pumpLater()
	}
}

func (d *dial) connected() {
	if err := d.greet(); err != nil {
		d.s.fail(err)
		return
	}
	if d.how.TLS == nil {
		d.end(d.s, "", nil)
		return
	}
	left := max(d.timeout-d.loop.now.Sub(d.begun), time.Millisecond)
	d.s.connectTLS(d.how.TLS, left, func(state tls.ConnectionState, err error) {
		d.end(d.s, state.NegotiatedProtocol, err)
	})
}

// greet sends what comes first. A connection that is new has room for it.
func (d *dial) greet() error {
	first := d.how.First
	if len(first) == 0 {
		return nil
	}
	n, err := d.s.send(first)
	if err == nil && n < len(first) {
		err = io.ErrShortWrite
	}
	return err
}

func (d *dial) end(s *Socket, alpn string, err error) {
	done := d.done
	if done == nil {
		return
	}
	d.done = nil
	if err != nil {
		done(nil, "", fmt.Errorf("connect to %s: %w", d.addr, err))
		return
	}
	done(s, alpn, nil)
}

func (d *dial) cancel() {
	if d.done == nil {
		return
	}
	d.done = nil
	if d.s != nil {
		d.s.Close()
	}
}

// A dial is its socket's Handler until it has ended.
func (d *dial) Data([]byte)      {}
func (d *dial) EOF()             {}
func (d *dial) Drained()         {}
func (d *dial) Closed(err error) { d.end(nil, "", err) }
