package http2

import "fairway.dev/gateway/message"

// A table is a dynamic table of header compression (RFC 7541 section 2.3.2),
// a decoder's or an encoder's. It holds its text in one buffer, which grows
// with use up to a little over the table's size, so that entries come and go
// without allocation.
type table struct {
	buf   []byte // names and values in the order of entries, old ones first
	ents  []entry
	head  int    // the oldest entry in ents that is not evicted
	size  uint32 // as section 4.1 counts
	max   uint32
	added uint32 // entries ever added, modulo 2^32
}

// An entry is one field of a table. What its name and value mean is found out
// once, when it comes.
type entry struct {
	off         uint32 // in buf; the value follows the name
	name, value uint16 // their lengths
	id          message.Name
	kind        kind
	bad         bool // the value is not a field value
}

const slack = 1 << 10 // bytes that a full table's buffer has beyond the table's size

// len returns the number of entries.
func (t *table) len() int { return len(t.ents) - t.head }

// at returns the i-th entry; 0 is the newest.
func (t *table) at(i int) *entry { return &t.ents[len(t.ents)-1-i] }

// text returns an entry's name and value, which are valid until the next add.
func (t *table) text(e *entry) (name, value string) {
	b := t.buf[e.off:]
	return message.Text(b[:e.name]), message.Text(b[e.name:][:e.value])
}

// add puts a field in, evicting others for it. The field must not point into
// the table. One that is larger than the table empties it (section 4.4).
func (t *table) add(name, value string, id message.Name, k kind, bad bool) {
	size := uint64(len(name)+len(value)) + fieldOverhead
	if size > uint64(t.max) {
		t.evict(t.max)
		return
	}
	t.evict(uint32(size))
	t.reserve(len(name) + len(value))
	off := len(t.buf)
	t.buf = append(append(t.buf, name...), value...)
	if len(t.ents) == cap(t.ents) && t.head > len(t.ents)/2 {
		t.ents = t.ents[:copy(t.ents, t.ents[t.head:])]
		t.head = 0
	}
	t.ents = append(t.ents, entry{uint32(off), uint16(len(name)), uint16(len(value)), id, k, bad})
	t.size += uint32(size)
	t.added++
}

// evict drops the oldest entries until there is room for size.
func (t *table) evict(size uint32) {
	for t.head < len(t.ents) && t.size+size > t.max {
		e := &t.ents[t.head]
		t.size -= uint32(e.name) + uint32(e.value) + fieldOverhead
		t.head++
	}
	if t.head == len(t.ents) {
		t.ents, t.buf, t.head = t.ents[:0], t.buf[:0], 0
	}
}

// resize changes the table's size.
func (t *table) resize(max uint32) {
	t.max = max
	t.evict(0)
}

// reserve makes room for n bytes, moving what lives to the front.
func (t *table) reserve(n int) {
	if len(t.buf)+n <= cap(t.buf) {
		return
	}
	dead := 0
	if t.head < len(t.ents) {
		dead = int(t.ents[t.head].off)
	}
	live := t.buf[dead:]
	to := t.buf[:0]
	full := int(t.max) + slack
	if cap(to) < full && dead < cap(to)/2 || cap(to) < len(live)+n {
		to = make([]byte, 0, min(full, max(2*(len(live)+n), 512)))
	}
	t.buf = append(to, live...)
	for i := t.head; i < len(t.ents); i++ {
		t.ents[i].off -= uint32(dead)
	}
}
