package http2

// streams finds the open streams of a connection by their ids. Ids of one
// side come in order, so that their low bits spread them evenly.
type streams struct {
	buckets []*stream // a power of two of chains by stream.next
	n       int
}

func (t *streams) bucket(id uint32) int { return int(id>>1) & (len(t.buckets) - 1) }

// get returns the open stream id, or nil.
func (t *streams) get(id uint32) *stream {
	if t.n == 0 {
		return nil
	}
	for s := t.buckets[t.bucket(id)]; s != nil; s = s.next {
		if s.id == id {
			return s
		}
	}
	return nil
}

func (t *streams) add(s *stream) {
	if t.n == len(t.buckets) {
		t.grow()
	}
	b := &t.buckets[t.bucket(s.id)]
	s.next = *b
	*b = s
	t.n++
}

func (t *streams) grow() {
	old := t.buckets
	t.buckets = make([]*stream, max(8, 2*len(old)))
	for _, s := range old {
		for s != nil {
			next := s.next
			b := &t.buckets[t.bucket(s.id)]
			s.next = *b
			*b = s
			s = next
		}
	}
}

func (t *streams) remove(s *stream) {
	at := &t.buckets[t.bucket(s.id)]
	for *at != s {
		at = &(*at).next
	}
	*at = s.next
	s.next = nil
	t.n--
}

// first and after walk over all streams, none of which may come or go meanwhile.
func (t *streams) first() *stream { return t.from(0) }

func (t *streams) after(s *stream) *stream {
	if s.next != nil {
		return s.next
	}
	return t.from(t.bucket(s.id) + 1)
}

func (t *streams) from(bucket int) *stream {
	if t.n == 0 {
		return nil
	}
	for _, s := range t.buckets[bucket:] {
		if s != nil {
			return s
		}
	}
	return nil
}

// A resetRing remembers the last streams that we reset: what the peer sends
// before it knows is no mistake of its own (RFC 9113 section 5.1, "closed").
type resetRing struct {
	ids       []uint32
	at        int
	forgotten uint32 // the highest id that has been pushed out
}

const resetRingSize = 64

func (r *resetRing) add(id uint32) {
	if len(r.ids) < resetRingSize {
		r.ids = append(r.ids, id)
		return
	}
	r.forgotten = max(r.forgotten, r.ids[r.at])
	r.ids[r.at] = id
	r.at = (r.at + 1) % resetRingSize
}

// may reports whether id may be a stream that we reset.
func (r *resetRing) may(id uint32) bool {
	if id <= r.forgotten {
		return true
	}
	for _, x := range r.ids {
		if x == id {
			return true
		}
	}
	return false
}
