package loop

import (
	"io"

	"golang.org/x/sys/unix"
)

const (
	// pipeSize is what a pipe holds, and one splice moves at most. Larger ones
	// gain little, and count against a limit that all processes of the user
	// share (pipe-user-pages-soft).
	pipeSize = 256 << 10
	// maxPipes bounds those of a loop. Who gets none copies.
	maxPipes = 32
)

// A relay moves bulk from one plain socket to another through a pipe, so that
// the process never sees it: the kernel hands pages from one to the other. It
// has a pipe only while that holds something.
//
// It comes in where reads fill their buffer, and goes again where a burst is
// small: then reading and writing costs fewer calls.
type relay struct {
	from, to *Socket
	pipe     *pipe // nil while nothing is held
	held     int   // bytes in the pipe
	burst    int   // bytes since the kernel had no more last
	bulk     bool
}

// A Splicer is a Handler that hears of bytes that it did not see.
type Splicer interface {
	Handler
	// Spliced tells that n bytes more go where Splice said, like Data.
	Spliced(n int)
}

// Splice lets bulk that s reads go to another plain socket of the loop without
// being handed to s's Handler, which is a Splicer. Nobody but that Handler may
// write to the other socket. Where one of them has TLS nothing changes.
func (s *Socket) Splice(to *Socket) {
	if s.tls != nil || to.tls != nil {
		return
	}
	r := &relay{from: s, to: to}
	s.relay, to.feeder = r, r
}

// began is told how much a read brought, and whether it filled its buffer.
func (r *relay) began(full bool) { r.bulk = full && r.to.Queued() == 0 }

// takes reports whether the relay reads what comes next. It has a pipe then.
func (r *relay) takes() bool {
	if r.bulk && r.pipe == nil {
		r.pipe = r.from.loop.takePipe()
		r.bulk = r.pipe != nil
	}
	return r.bulk
}

// read moves what one splice takes out of the socket, like Socket.read.
func (r *relay) read() (n int, err error) {
	if r.held > 0 {
		return 0, nil // the other side has not taken what it was sent
	}
	m, err := unix.Splice(r.from.fd, nil, r.pipe.w, nil, pipeSize, unix.SPLICE_F_NONBLOCK)
	switch {
	case err == unix.EAGAIN:
		r.from.readable = false
		r.bulk = r.burst >= scratchSize
		r.burst = 0
		r.rest()
		return 0, nil
	case err != nil:
		r.rest()
		return 0, err
	case m == 0:
		r.rest()
		return 0, io.EOF
	}
	r.held = int(m)
	r.burst += r.held
	r.from.handler.(Splicer).Spliced(r.held)
	r.drain()
	return int(m), nil
}

// drain sends on what the pipe holds, as far as the other side takes it.
func (r *relay) drain() {
	for r.held > 0 {
		n, err := unix.Splice(r.pipe.r, nil, r.to.fd, nil, r.held, unix.SPLICE_F_NONBLOCK)
		switch err {
		case nil:
			r.held -= int(n)
		case unix.EAGAIN:
			return
		default:
			r.to.failLater(err)
			r.close()
			return
		}
	}
	r.rest()
}

// goOn is called when the other side may take more.
func (r *relay) goOn() {
	r.drain()
	if r.held == 0 && r.from.readable {
		r.from.pumpLater()
	}
}

// rest gives back the pipe, which is empty.
func (r *relay) rest() {
	r.from.loop.putPipe(r.pipe)
	r.pipe = nil
}

// close ends the relay, and loses what it holds.
func (r *relay) close() {
	r.from.relay, r.to.feeder = nil, nil
	if r.pipe != nil {
		r.from.loop.dropPipe(r.pipe)
		r.pipe, r.held = nil, 0
	}
}

// A pipe is one of the kernel's.
type pipe struct{ r, w int }

// takePipe returns an empty pipe, nil where there is none to be had.
func (l *Loop) takePipe() *pipe {
	if n := len(l.pipes); n > 0 {
		p := l.pipes[n-1]
		l.pipes = l.pipes[:n-1]
		return p
	}
	if l.pipesMade == maxPipes {
		return nil
	}
	var fds [2]int
	if unix.Pipe2(fds[:], unix.O_NONBLOCK|unix.O_CLOEXEC) != nil {
		return nil
	}
	p := &pipe{fds[0], fds[1]}
	l.pipesMade++
	if _, err := unix.FcntlInt(uintptr(p.w), unix.F_SETPIPE_SZ, pipeSize); err != nil {
		l.dropPipe(p) // the user has too many: small ones would cost more than copying does
		return nil
	}
	return p
}

func (l *Loop) putPipe(p *pipe) { l.pipes = append(l.pipes, p) }

func (l *Loop) dropPipe(p *pipe) {
	l.pipesMade--
	unix.Close(p.r)
	unix.Close(p.w)
}
