package loop

import (
	"fmt"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A source is a file descriptor in a loop's epoll set.
type source interface {
	// ready takes the events. They are hints: one may be stale or false, so
	// what counts is what the system call that follows says.
	ready(events uint32)
}

// poller is an epoll set with an eventfd to wake it. Sockets are watched for
// everything at once, edge-triggered, so that nothing is changed in the set
// between a connection's first and last event.
type poller struct {
	epfd    int
	wakefd  int
	events  []unix.EpollEvent
	sources []entry // by file descriptor
	seq     int32
}

// entry tells a descriptor's present owner from an earlier one whose events
// are still in the batch.
type entry struct {
	src source
	seq int32
}

const (
	socketEvents = unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLRDHUP | unix.EPOLLET
	maxEvents    = 256
)

func newPoller() (*poller, error) {
	epfd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("create epoll set: %w", err)
	}
	wakefd, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if err != nil {
		unix.Close(epfd)
		return nil, fmt.Errorf("create eventfd: %w", err)
	}
	p := &poller{epfd: epfd, wakefd: wakefd, events: make([]unix.EpollEvent, maxEvents)}
	if err := p.add(wakefd, unix.EPOLLIN, waker(wakefd)); err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

func (p *poller) close() {
	unix.Close(p.epfd)
	unix.Close(p.wakefd)
}

func (p *poller) add(fd int, events uint32, src source) error {
	for fd >= len(p.sources) {
		p.sources = append(p.sources, make([]entry, max(64, len(p.sources)))...)
	}
	p.seq++
	p.sources[fd] = entry{src, p.seq}
	ev := unix.EpollEvent{Events: events, Fd: int32(fd), Pad: p.seq}
	if err := unix.EpollCtl(p.epfd, unix.EPOLL_CTL_ADD, fd, &ev); err != nil {
		p.sources[fd] = entry{}
		return fmt.Errorf("watch descriptor %d: %w", fd, err)
	}
	return nil
}

// forget drops fd's owner. Closing the descriptor takes it out of the set.
func (p *poller) forget(fd int) { p.sources[fd] = entry{} }

// remove takes fd, which stays open, out of the set.
func (p *poller) remove(fd int) {
	p.forget(fd)
	unix.EpollCtl(p.epfd, unix.EPOLL_CTL_DEL, fd, nil)
}

// heldWait is how long a loop waits without giving up its place in the Go
// scheduler. Giving it up and taking it back costs as much as a request, and
// keeps the runtime's monitor awake, so a loop that has something to do some
// hundred times a second does not; one that is idle does. It is less than the
// 10 ms after which the monitor sends a signal to who runs for too long: one
// that comes all the same (a garbage collection begins) ends the wait.
const heldWait = 8 * time.Millisecond

// wait waits for events, at most for d; a negative d waits without end.
func (p *poller) wait(d time.Duration) int {
	held := heldWait
	if 0 <= d && d < held {
		held = d
	}
	// A timeout is counted in whole milliseconds, upwards: a timer that fires
	// early would only be waited for again.
	n, _, errno := syscall.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(p.epfd),
		uintptr(unsafe.Pointer(&p.events[0])), maxEvents, uintptr(millis(held)), 0, 0)
	if n > 0 || errno != 0 || held == d {
		return count(n, errno)
	}
	rest := -1
	if d > 0 {
		rest = millis(d - held)
	}
	n, _, errno = syscall.Syscall6(unix.SYS_EPOLL_PWAIT, uintptr(p.epfd),
		uintptr(unsafe.Pointer(&p.events[0])), maxEvents, uintptr(rest), 0, 0)
	return count(n, errno)
}

func millis(d time.Duration) int { return int((d + time.Millisecond - 1) / time.Millisecond) }

func count(n uintptr, errno syscall.Errno) int {
	if errno != 0 { // EINTR: no other error can come of a valid set
		return 0
	}
	return int(n)
}

// dispatch hands the first n events to their owners.
func (p *poller) dispatch(n int) {
	for i := range p.events[:n] {
		ev := &p.events[i]
		if e := p.sources[ev.Fd]; e.src != nil && e.seq == ev.Pad {
			e.src.ready(ev.Events)
		}
	}
}

func (p *poller) wake() {
	one := [8]byte{1}
	unix.Write(p.wakefd, one[:])
}

// waker is the eventfd's owner: it takes the count, the loop does the rest.
type waker int

func (w waker) ready(uint32) {
	var b [8]byte
	unix.Read(int(w), b[:])
}

// sysRead and sysWrite are for sockets that never block, so they need not tell
// the Go scheduler. recvfrom and sendto cost less than read and write: they
// know that the descriptor is a socket.
func sysRead(fd int, p []byte) (int, syscall.Errno) {
	for {
		n, _, errno := syscall.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)), 0, 0, 0)
		if errno != unix.EINTR {
			return int(n), errno
		}
	}
}

func sysWrite(fd int, p []byte) (int, syscall.Errno) {
	for {
		n, _, errno := syscall.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)), unix.MSG_NOSIGNAL, 0, 0)
		if errno != unix.EINTR {
			return int(n), errno
		}
	}
}
