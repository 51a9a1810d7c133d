package loop

// A Backlog is bytes that wait for their turn: in a window, or for who takes
// them. They are in pieces that are the loop's while nobody needs them. The zero
// Backlog is empty.
type Backlog struct {
	first, last *Piece
	n           int
}

// A Piece is a part of a Backlog.
type Piece struct {
	next     *Piece
	from, to int
	b        [pieceSize]byte
}

const (
	// pieceSize is that of a DATA frame, which is what mostly comes and goes.
	pieceSize = 16 << 10
	// keepPieces is how many a loop keeps for the next time: 4 MiB, as much as
	// one fast stream in a tunnel may have under way.
	keepPieces = 256
)

// Bytes returns what is in the piece.
func (k *Piece) Bytes() []byte { return k.b[k.from:k.to] }

// Len returns how many bytes wait.
func (q *Backlog) Len() int { return q.n }

// Push puts a copy of p behind what waits.
func (q *Backlog) Push(l *Loop, p []byte) {
	q.n += len(p)
	for len(p) > 0 {
		if q.last == nil || q.last.to == pieceSize {
			k := l.piece()
			if q.last == nil {
				q.first = k
			} else {
				q.last.next = k
			}
			q.last = k
		}
		n := copy(q.last.b[q.last.to:], p)
		q.last.to += n
		p = p[n:]
	}
}

// Front returns the first bytes, as many as stand together, of a Backlog that
// has some. They are valid until Drop.
func (q *Backlog) Front() []byte { return q.first.Bytes() }

// Drop removes the first n bytes, which Front returned.
func (q *Backlog) Drop(l *Loop, n int) {
	q.n -= n
	q.first.from += n
	if q.first.from == q.first.to {
		l.Return(q.unlink())
	}
}

// Take removes the first piece of a Backlog that has some. It is the caller's
// until Return.
func (q *Backlog) Take() *Piece {
	q.n -= len(q.first.Bytes())
	return q.unlink()
}

func (q *Backlog) unlink() *Piece {
	k := q.first
	if q.first = k.next; q.first == nil {
		q.last = nil
	}
	return k
}

// Clear removes all.
func (q *Backlog) Clear(l *Loop) {
	for q.first != nil {
		l.Return(q.Take())
	}
}

// piece returns an empty piece.
func (l *Loop) piece() *Piece {
	k := l.pieces
	if k == nil {
		return new(Piece)
	}
	l.pieces = k.next
	l.nPieces--
	k.next, k.from, k.to = nil, 0, 0
	return k
}

// Return takes a piece back that was taken out of a Backlog of the loop.
func (l *Loop) Return(k *Piece) {
	if l.nPieces < keepPieces {
		k.next = l.pieces
		l.pieces = k
		l.nPieces++
	}
}
