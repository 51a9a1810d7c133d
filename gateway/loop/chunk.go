package loop

// Output waits in chunks, which belong to the loop and are lent to a socket
// while it has something to send: an idle connection holds none.
const (
	smallChunk = 4 << 10
	largeChunk = 64 << 10
	hugeChunk  = 256 << 10 // for a peer that is slower than its source

	keepChunks = 256 // small and large ones
	keepHuge   = 16
)

// chunk returns an empty buffer with room for n bytes.
func (l *Loop) chunk(n int) []byte {
	switch {
	case n <= smallChunk:
		return takeChunk(&l.small, smallChunk)
	case n <= largeChunk:
		return takeChunk(&l.large, largeChunk)
	case n <= hugeChunk:
		return takeChunk(&l.huge, hugeChunk)
	}
	return make([]byte, 0, n)
}

func takeChunk(list *[][]byte, size int) []byte {
	if n := len(*list); n > 0 {
		b := (*list)[n-1]
		*list = (*list)[:n-1]
		return b
	}
	return make([]byte, 0, size)
}

// release takes a buffer back.
func (l *Loop) release(b []byte) {
	switch cap(b) {
	case smallChunk:
		if len(l.small) < keepChunks {
			l.small = append(l.small, b[:0])
		}
	case largeChunk:
		if len(l.large) < keepChunks {
			l.large = append(l.large, b[:0])
		}
	case hugeChunk:
		if len(l.huge) < keepHuge {
			l.huge = append(l.huge, b[:0])
		}
	}
}

// extend appends p to b, moving b to a larger chunk where it must.
func (l *Loop) extend(b, p []byte) []byte {
	if cap(b)-len(b) >= len(p) {
		return append(b, p...)
	}
	if b == nil {
		return append(l.chunk(len(p)), p...)
	}
	need := len(b) + len(p)
	if need > hugeChunk {
		need = max(need, 2*cap(b))
	}
	larger := append(append(l.chunk(need), b...), p...)
	l.release(b)
	return larger
}
