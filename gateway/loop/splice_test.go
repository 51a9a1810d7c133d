package loop

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"testing"

	"golang.org/x/sys/unix"

	"fairway.dev/gateway/message"
)

// A joint sends on to another socket what its own reads.
type joint struct {
	s, to   *Socket
	copied  int
	spliced int
	closed  chan error
}

func (j *joint) Data(p []byte) {
	j.copied += len(p)
	j.to.Write(p)
	if j.to.Queued() > message.HighWater {
		j.s.Pause()
	}
}
func (j *joint) Spliced(n int)    { j.spliced += n }
func (j *joint) EOF()             { j.to.CloseWrite() }
func (j *joint) Drained()         { j.to.Resume() } // one way only: who feeds s is to
func (j *joint) Closed(err error) { j.closed <- err }

// spliced joins two connections of l, and returns the joint that reads the
// first, the other joint, and the two far ends.
func spliced(t *testing.T, l *Loop) (in, out *joint, from, to *net.TCPConn) {
	t.Helper()
	joints := make(chan *joint, 1)
	addr := serve(t, l, func(s *Socket) {
		j := &joint{s: s, closed: make(chan error, 1)}
		s.Handle(j)
		joints <- j
	})
	dial := func() (*joint, *net.TCPConn) {
		c, err := net.Dial("tcp", addr.String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return <-joints, c.(*net.TCPConn)
	}
	in, from = dial()
	out, to = dial()
	onLoop(l, func() {
		in.to, out.to = out.s, in.s
		in.s.Splice(out.s)
		out.s.Splice(in.s)
	})
	return in, out, from, to
}

func onLoop(l *Loop, f func()) {
	done := make(chan struct{})
	l.Post(func() { f(); close(done) })
	<-done
}

// send writes n bytes that no two runs of the same length share, and returns
// their sum.
func send(t *testing.T, c io.Writer, n int) (sum [sha256.Size]byte) {
	h := sha256.New()
	source := io.LimitReader(rand.NewChaCha8([32]byte{byte(n)}), int64(n))
	if _, err := io.CopyBuffer(struct{ io.Writer }{c}, io.TeeReader(source, h), make([]byte, 1<<20)); err != nil {
		t.Errorf("write: %v", err)
	}
	return [sha256.Size]byte(h.Sum(nil))
}

func TestBulkIsSplicedAndArrivesWhole(t *testing.T) {
	l := startLoop(t)
	in, _, from, to := spliced(t, l)
	const size = 64 << 20
	sum := make(chan [sha256.Size]byte, 1)
	go func() {
		sum <- send(t, from, size)
		from.CloseWrite()
	}()
	h := sha256.New()
	n, err := io.Copy(h, to)
	if err != nil || n != size || <-sum != [sha256.Size]byte(h.Sum(nil)) {
		t.Errorf("%d of %d bytes arrive, or others; %v", n, size, err)
	}
	onLoop(l, func() {
		if in.spliced+in.copied != size || in.spliced == 0 {
			t.Errorf("%d bytes were spliced and %d copied, of %d", in.spliced, in.copied, size)
		}
		if l.pipesMade != len(l.pipes) || l.pipesMade == 0 {
			t.Errorf("%d pipes were made, %d are there", l.pipesMade, len(l.pipes))
		}
	})
}

func TestWhatIsSmallIsCopiedInItsPlace(t *testing.T) {
	l := startLoop(t)
	in, _, from, to := spliced(t, l)
	for range 3 { // bulk, and behind it a little
		const size = 8 << 20
		sum := make(chan [sha256.Size]byte, 1)
		go func() { sum <- send(t, from, size) }()
		h := sha256.New()
		if _, err := io.CopyN(h, to, size); err != nil || <-sum != [sha256.Size]byte(h.Sum(nil)) {
			t.Fatalf("bulk: %v, or other bytes", err)
		}
		for range 3 {
			io.WriteString(from, "ping")
			got := make([]byte, 4)
			if _, err := io.ReadFull(to, got); string(got) != "ping" {
				t.Fatalf("got %q, %v", got, err)
			}
		}
		onLoop(l, func() {
			if in.s.relay.bulk || in.s.relay.pipe != nil {
				t.Error("a connection of small messages holds a pipe")
			}
		})
	}
}

func TestSplicedPeerThatDoesNotReadHoldsTheOtherBack(t *testing.T) {
	l := startLoop(t)
	in, out, from, to := spliced(t, l)
	written := make(chan int, 1)
	go func() {
		n, _ := from.Write(make([]byte, 64<<20))
		written <- n
	}()
	blocked := func() (yes bool) {
		onLoop(l, func() { yes = in.s.relay.held > 0 || out.s.Queued() > message.HighWater })
		return yes
	}
	for !blocked() {
	}
	onLoop(l, func() {
		if in.s.relay.held > pipeSize {
			t.Errorf("the pipe holds %d bytes, want at most %d", in.s.relay.held, pipeSize)
		}
	})
	to.Close() // with bytes unread: a reset
	<-out.closed
	onLoop(l, func() {
		if in.s.relay != nil || l.pipesMade != len(l.pipes) {
			t.Errorf("a pipe is kept for a connection that is gone: %d made, %d there", l.pipesMade, len(l.pipes))
		}
		in.s.Reset()
	})
	<-written
}

func TestResetComesBehindWhatWasSpliced(t *testing.T) {
	l := startLoop(t)
	in, out, from, to := spliced(t, l)
	const size = 16 << 20
	sum := make(chan [sha256.Size]byte, 1)
	go func() { sum <- send(t, from, size) }()
	h := sha256.New()
	if _, err := io.CopyN(h, to, size); err != nil || <-sum != [sha256.Size]byte(h.Sum(nil)) {
		t.Fatalf("bulk: %v, or other bytes", err)
	}
	from.SetLinger(0)
	from.Close()
	if err := <-in.closed; !errors.Is(err, unix.ECONNRESET) {
		t.Errorf("the reset is told as %v", err)
	}
	l.Post(out.s.Abort)
	if rest, err := io.ReadAll(to); len(rest) > 0 || !errors.Is(err, unix.ECONNRESET) {
		t.Errorf("then %d bytes, %v; want a reset", len(rest), err)
	}
}

func TestWithoutAPipeBulkIsCopied(t *testing.T) {
	l := startLoop(t)
	onLoop(l, func() { l.pipesMade = maxPipes }) // all are in use
	in, _, from, to := spliced(t, l)
	const size = 8 << 20
	sum := make(chan [sha256.Size]byte, 1)
	go func() { sum <- send(t, from, size) }()
	h := sha256.New()
	if _, err := io.CopyN(h, to, size); err != nil || <-sum != [sha256.Size]byte(h.Sum(nil)) {
		t.Fatalf("bulk: %v, or other bytes", err)
	}
	onLoop(l, func() {
		if in.spliced != 0 || in.copied != size {
			t.Errorf("%d bytes were spliced and %d copied, want all copied", in.spliced, in.copied)
		}
	})
}

func TestBothDirectionsAreSpliced(t *testing.T) {
	l := startLoop(t)
	in, out, from, to := spliced(t, l)
	go func() {
		io.CopyBuffer(struct{ io.Writer }{to}, struct{ io.Reader }{to}, make([]byte, 1<<20))
		to.CloseWrite()
	}()
	want := bytes.Repeat([]byte("0123456789abcdef"), 2<<20)
	go func() { from.Write(want); from.CloseWrite() }()
	if got, err := io.ReadAll(from); !bytes.Equal(got, want) || err != nil {
		t.Errorf("%d of %d bytes come back, or others; %v", len(got), len(want), err)
	}
	onLoop(l, func() {
		if in.spliced == 0 || out.spliced == 0 {
			t.Errorf("%d bytes were spliced there and %d back, want some each", in.spliced, out.spliced)
		}
	})
}
