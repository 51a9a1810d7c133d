package hop

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"fairway.dev/gateway/message"
)

// TestRandomTunnels runs tunnels over windows and readers of all kinds: all bytes
// come, in their order, the ends where they were said, and no call calls back.
func TestRandomTunnels(t *testing.T) {
	for seed := range uint64(20) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) { randomTunnels(t, rand.New(rand.NewPCG(seed, 7))) })
	}
}

// A wanderer is one end of a tunnel that does as it likes.
type wanderer struct {
	end
	other   *wanderer
	sent    []byte
	ended   bool
	calling bool // inside one of the Conn's calls
}

func (w *wanderer) call(f func()) {
	w.calling = true
	f()
	w.calling = false
}

func (w *wanderer) step(rnd *rand.Rand) {
	switch rnd.IntN(12) {
	case 0:
		w.call(w.conn.Pause)
	case 1, 2, 3:
		w.call(w.conn.Resume)
	case 4:
		if rnd.IntN(20) == 0 && !w.ended {
			w.ended = true
			w.call(w.conn.CloseWrite)
		}
	default:
		if w.ended || w.conn.Queued() > message.HighWater {
			return
		}
		p := make([]byte, rnd.IntN(1<<rnd.IntN(17)))
		for i := range p {
			p[i] = byte(len(w.sent) + i)
		}
		w.sent = append(w.sent, p...)
		w.call(func() { w.conn.Write(p) })
	}
}

func randomTunnels(t *testing.T, rnd *rand.Rand) {
	r := newRig(t, []string{Native, "h2"}[rnd.IntN(2)])
	var all []*wanderer
	for range 8 {
		near, far := r.tunnel(r.target())
		a, b := &wanderer{end: *near}, &wanderer{end: *far}
		a.other, b.other = b, a
		for _, w := range []*wanderer{a, b} {
			w.conn.(*Conn).Handle(w)
			heard := func() {
				if w.calling {
					t.Error("a call called the Handler back")
				}
			}
			w.onData, w.onEvent = func([]byte) { heard() }, func(string) { heard() }
			all = append(all, w)
		}
	}
	for range 4000 {
		all[rnd.IntN(len(all))].step(rnd)
		if rnd.IntN(3) == 0 {
			r.loop.Settle()
		}
	}
	for _, w := range all {
		w.ended = true
		w.conn.CloseWrite()
		w.conn.Resume()
	}
	r.loop.Settle()
	for i, w := range all {
		events := strings.ReplaceAll(strings.Join(w.events, " "), "drained ", "")
		if !bytes.Equal(w.got.Bytes(), w.other.sent) || strings.TrimSuffix(events, " drained") != "eof" {
			t.Errorf("end %d got %d of %d bytes and heard %v", i, w.got.Len(), len(w.other.sent), w.events)
		}
	}
	if n := r.client(0).Streams(); n != 0 {
		t.Errorf("%d streams are open, want none", n)
	}
}
