package loop

import (
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// acceptBatch is how many connections one event takes, so that loops that
// share a listening socket share its connections.
const acceptBatch = 16

// lastBatches bounds what Close takes, where connections come faster than they
// can be taken: as much as the kernel's usual queue holds.
const lastBatches = 4096 / acceptBatch

// restAfterError is how long accepting rests when the process is out of
// descriptors or memory.
const restAfterError = 100 * time.Millisecond

// An Acceptor takes connections from a listening socket that it shares with
// other loops. It does not own the descriptor.
type Acceptor struct {
	loop   *Loop
	fd     int
	take   func(fd int, remote netip.AddrPort)
	failed func(error)
	rest   Timer
	last   error // what accepting failed of since it last did not
	closed bool
}

// Accept hands each connection that listening descriptor fd has to take, as a
// descriptor that does not block. That accepting fails, and is tried again, is
// told to failed: once for each cause, however long it lasts, and with nil once
// a connection is accepted again.
func (l *Loop) Accept(fd int, take func(fd int, remote netip.AddrPort), failed func(error)) (*Acceptor, error) {
	a := &Acceptor{loop: l, fd: fd, take: take, failed: failed}
	a.rest.Fire = a.goOn
	return a, a.watch()
}

// goOn accepts again after a rest.
func (a *Acceptor) goOn() {
	if err := a.watch(); err != nil {
		a.fail(err)
	}
}

// fail tells of err, unless it is known, and rests.
func (a *Acceptor) fail(err error) {
	if a.last == nil || a.last.Error() != err.Error() {
		a.failed(err)
	}
	a.last = err
	a.loop.Arm(&a.rest, restAfterError)
}

func (a *Acceptor) watch() error {
	return a.loop.poll.add(a.fd, unix.EPOLLIN|unix.EPOLLEXCLUSIVE, a)
}

// Close takes the connections that wait, and stops accepting. Those would be
// reset if the descriptor were closed on them.
func (a *Acceptor) Close() {
	if a.closed {
		return
	}
	for range lastBatches {
		if a.rest.Armed() || !a.batch() {
			break
		}
	}
	a.closed = true
	if a.rest.Armed() {
		a.loop.Drop(&a.rest)
		return
	}
	a.loop.poll.remove(a.fd)
}

func (a *Acceptor) ready(uint32) { a.batch() }

// batch takes some of the connections that wait, and reports whether there may
// be more.
func (a *Acceptor) batch() (more bool) {
	for range acceptBatch {
		if a.closed {
			return false
		}
		fd, remote, errno := sysAccept(a.fd)
		switch errno {
		case 0:
			if a.last != nil {
				a.last = nil
				a.failed(nil)
			}
			a.take(fd, remote)
		case unix.EAGAIN:
			return false
		case unix.EINTR, unix.ECONNABORTED:
			continue
		default:
			a.loop.poll.remove(a.fd)
			a.fail(fmt.Errorf("accept: %w", errno))
			return false
		}
	}
	return true
}

// Adopt makes an accepted descriptor a socket of l. It is called on l.
func (l *Loop) Adopt(fd int, remote netip.AddrPort) (*Socket, error) {
	unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	s, err := l.newSocket(fd, remote)
	if err != nil {
		return nil, err
	}
	s.state = open
	return s, nil
}
