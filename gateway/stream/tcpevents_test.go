package stream

import (
	"bytes"
	"math/rand/v2"
	"testing"
	"time"

	"fairway.dev/gateway/loop"
)

// TestAnyOrderOfEvents does to both ends of streams what may happen to them,
// in any order. What arrives is what was sent, up to where it ends, and a
// stream that is over has let go of everything.
func TestAnyOrderOfEvents(t *testing.T) {
	noise := make([]byte, 1<<20)
	rand.NewChaCha8([32]byte{}).Read(noise)
	for seed := range uint64(300) {
		rng := rand.New(rand.NewPCG(seed, 1))
		s := newTCPStage(t, TCPOptions{}, 1, 2)
		s.hold = rng.IntN(2) == 0
		if rng.IntN(4) == 0 {
			s.fails[tcpEndpoint(1)] = loop.ErrRefused
		}
		client, st := s.arrive()
		sent := map[*end][]byte{}
		for range 30 {
			var e *end
			if e = client; len(s.back) > 0 && rng.IntN(2) == 0 {
				e = s.back[0]
			}
			switch rng.IntN(12) {
			case 0:
				e.conn.CloseWrite()
			case 1:
				if rng.IntN(4) == 0 {
					e.conn.Abort()
				}
			case 2:
				if rng.IntN(8) == 0 {
					e.conn.Reset()
				}
			case 3:
				e.conn.Pause()
			case 4:
				e.conn.Resume()
			case 5:
				if len(s.held) > 0 {
					s.held[0]()
					s.held = s.held[1:]
				}
			case 6:
				if rng.IntN(10) == 0 {
					s.loop.Advance(time.Hour)
				}
			case 7:
				st.Drain()
			default:
				from := rng.IntN(len(noise) - 100<<10)
				p := noise[from : from+rng.IntN(100<<10)]
				e.conn.Write(p)
				sent[e] = append(sent[e], p...)
			}
			if rng.IntN(2) == 0 {
				s.loop.Settle()
			}
		}
		s.loop.Settle()
		if len(s.back) > 0 {
			checkArrived(t, seed, "the backend", s.back[0].got, sent[client])
			checkArrived(t, seed, "the client", client.got, sent[s.back[0]])
		}
		s.tcp.Cut()
		s.loop.Settle()
		for _, finish := range s.held {
			finish()
		}
		s.wantOver(st, st.pair.rec.Flags)
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

// checkArrived fails the test unless got is what was sent, as far as it goes.
func checkArrived(t *testing.T, seed uint64, who string, got, sent []byte) {
	t.Helper()
	if !bytes.HasPrefix(sent, got) {
		t.Errorf("seed %d: %s got %d bytes that are not the first of the %d sent", seed, who, len(got), len(sent))
	}
}
