package hop

import "fairway.dev/gateway/loop"

// held is what has come through a tunnel whose Handler does not take it: a
// stream's window at most.
type held struct {
	first, last *piece
	n           int
}

// A piece is a part of it, as large as a frame is.
type piece struct {
	next     *piece
	from, to int
	b        [16 << 10]byte
}

func (p *piece) bytes() []byte { return p.b[p.from:p.to] }

// pieces are those of a loop that nobody needs now.
type pieces struct {
	free *piece
	n    int
}

// keepPieces is how many are kept for the next time.
const keepPieces = 64

var spare loop.Local[pieces]

func (h *held) push(l *loop.Loop, p []byte) {
	h.n += len(p)
	for len(p) > 0 {
		if h.last == nil || h.last.to == len(h.last.b) {
			h.add(spare.Of(l).get())
		}
		n := copy(h.last.b[h.last.to:], p)
		h.last.to += n
		p = p[n:]
	}
}

func (h *held) add(k *piece) {
	if h.last == nil {
		h.first = k
	} else {
		h.last.next = k
	}
	h.last = k
}

// take removes the first piece. Who has taken it releases it.
func (h *held) take() *piece {
	k := h.first
	h.first = k.next
	if h.first == nil {
		h.last = nil
	}
	h.n -= len(k.bytes())
	return k
}

func (h *held) release(l *loop.Loop, k *piece) { spare.Of(l).put(k) }

func (h *held) clear(l *loop.Loop) {
	for h.first != nil {
		h.release(l, h.take())
	}
}

func (s *pieces) get() *piece {
	k := s.free
	if k == nil {
		return new(piece)
	}
	s.free = k.next
	s.n--
	k.next, k.from, k.to = nil, 0, 0
	return k
}

func (s *pieces) put(k *piece) {
	if s.n < keepPieces {
		k.next = s.free
		s.free = k
		s.n++
	}
}
