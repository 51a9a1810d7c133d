package loop

import (
	"bytes"
	"math/rand/v2"
	"testing"
	"time"
)

// Whatever is done to it, a Backlog has what a slice of bytes would.
func TestBacklogKeepsBytesInOrder(t *testing.T) {
	l := NewManual(time.Unix(1e9, 0))
	random := rand.New(rand.NewPCG(1, 2))
	var q Backlog
	var want []byte
	check := func(did string, got []byte) {
		t.Helper()
		if !bytes.Equal(got, want[:len(got)]) {
			t.Fatalf("%s returns other bytes than were pushed", did)
		}
		want = want[len(got):]
	}
	for range 5000 {
		switch op := random.IntN(20); {
		case op < 9:
			p := make([]byte, random.IntN(2*pieceSize))
			for i := range p {
				p[i] = byte(random.Uint32())
			}
			q.Push(l, p)
			want = append(want, p...)
		case len(want) == 0:
		case op < 15:
			p := q.Front()
			p = p[:1+random.IntN(len(p))]
			check("Front", p)
			q.Drop(l, len(p))
		case op < 19:
			k := q.Take()
			check("Take", k.Bytes())
			l.Return(k)
		default:
			q.Clear(l)
			want = nil
		}
		if q.Len() != len(want) {
			t.Fatalf("%d bytes wait, want %d", q.Len(), len(want))
		}
	}
}

func TestBacklogUsesItsPiecesAgain(t *testing.T) {
	l := NewManual(time.Unix(1e9, 0))
	var q Backlog
	p := make([]byte, keepPieces*pieceSize)
	turn := func() {
		q.Push(l, p)
		l.Return(q.Take())
		q.Drop(l, len(q.Front()))
		q.Clear(l)
	}
	turn()
	if n := testing.AllocsPerRun(3, turn); n != 0 {
		t.Errorf("%d bytes in and out allocate %v times, want 0", len(p), n)
	}
	q.Push(l, append(p, p...))
	q.Clear(l)
	if l.nPieces != keepPieces {
		t.Errorf("a loop keeps %d pieces that nobody needs, want %d", l.nPieces, keepPieces)
	}
}
