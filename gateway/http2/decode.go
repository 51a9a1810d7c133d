package http2

import (
	"errors"

	"fairway.dev/gateway/message"
)

// Errors of header compression end the connection (RFC 9113 section 4.3).
var (
	errTruncated    = errors.New("header block: ends in the middle of a field")
	errInteger      = errors.New("header block: integer too large")
	errIndex        = errors.New("header block: index of no entry")
	errHuffman      = errors.New("header block: invalid Huffman code")
	errLateUpdate   = errors.New("header block: table size update after a field")
	errUpdateTooBig = errors.New("header block: table size update over our limit")
)

// A decoder turns header blocks into fields (RFC 7541).
type decoder struct {
	dynamic table
}

// A block is one decoded header block. Its text is copied from the decoder's
// table and stays as it is until the block is used again.
type block struct {
	buf    []byte
	fields []span

	maxBytes, maxFields int

	size    int // as RFC 9113 section 6.5.2 counts it
	count   int // of fields; all cookies together are one
	cookies int
	excess  excess
}

// excess says which limit a block passed. Fields beyond it are not kept.
type excess uint8

const (
	fits excess = iota
	tooLong
	tooMany
)

// A span is a field in a block: where in buf its name (for names that are not
// well known) and its value are.
type span struct {
	name, value slice
	id          message.Name
	kind        kind
}

type slice struct{ off, end uint32 }

func (b *block) reset(lim *Limits) {
	*b = block{buf: b.buf[:0], fields: b.fields[:0], maxBytes: lim.headerBytes(), maxFields: lim.headerFields()}
}

// decode reads a whole header block into b. After an error the decoder is of
// no more use.
func (d *decoder) decode(p []byte, b *block) error {
	begun := false
	for len(p) > 0 {
		var err error
		switch c := p[0]; {
		case c >= 0x80:
			p, err = d.indexed(p, b)
		case c >= 0x40:
			p, err = d.literal(p, b, 6, true)
		case c >= 0x20:
			if begun {
				return errLateUpdate
			}
			if p, err = d.update(p); err != nil {
				return err
			}
			continue
		default: // without indexing, or never indexed
			p, err = d.literal(p, b, 4, false)
		}
		if err != nil {
			return err
		}
		begun = true
	}
	return nil
}

func (d *decoder) update(p []byte) ([]byte, error) {
	n, p, err := integer(p, 5)
	if err != nil {
		return p, err
	}
	if n > maxDynamicTable {
		return p, errUpdateTooBig
	}
	d.dynamic.resize(uint32(n))
	return p, nil
}

// entry returns the dynamic table's entry with an index of the wire.
func (d *decoder) entry(index uint64) *entry {
	if index < firstDynamic || index-firstDynamic >= uint64(d.dynamic.len()) {
		return nil
	}
	return d.dynamic.at(int(index - firstDynamic))
}

func (d *decoder) indexed(p []byte, b *block) ([]byte, error) {
	i, p, err := integer(p, 7)
	if err != nil {
		return p, err
	}
	if i-1 < uint64(len(staticTable)) {
		b.add(&staticTable[i-1])
		return p, nil
	}
	e := d.entry(i)
	if e == nil {
		return p, errIndex
	}
	f := staticField{id: e.id, kind: e.kind}
	f.name, f.value = d.dynamic.text(e)
	if e.bad {
		f.kind = forbidden
	}
	b.add(&f)
	return p, nil
}

// literal reads a field whose value, and maybe name, is spelled out, behind a
// prefix of some bits.
func (d *decoder) literal(p []byte, b *block, prefix uint, index bool) ([]byte, error) {
	i, p, err := integer(p, prefix)
	if err != nil {
		return p, err
	}
	// The text is decoded to the end of b.buf, and taken away again where it
	// is not kept.
	start := len(b.buf)
	var f staticField
	switch {
	case i == 0:
		if p, err = b.readString(p); err != nil {
			return p, err
		}
		f.id, f.kind = classify(b.buf[start:])
		f.name = message.Text(b.buf[start:])
	case i <= uint64(len(staticTable)):
		f = staticTable[i-1]
		if f.id == message.Other {
			b.buf = append(b.buf, f.name...)
		}
	default:
		e := d.entry(i)
		if e == nil {
			return p, errIndex
		}
		name, _ := d.dynamic.text(e)
		b.buf = append(b.buf, name...) // the new entry may push this one out (section 4.4)
		f.name, f.id, f.kind = message.Text(b.buf[start:]), e.id, e.kind
	}
	mid := len(b.buf)
	if p, err = b.readString(p); err != nil {
		return p, err
	}
	value := b.buf[mid:]
	bad := !message.IsValue(message.Text(value))
	if index {
		d.dynamic.add(f.name, message.Text(value), f.id, f.kind, bad)
	}
	if bad {
		f.kind = forbidden
	}
	if !b.keeps(len(f.name)+len(value), f.kind) {
		b.buf = b.buf[:start]
		return p, nil
	}
	b.spanned(start, mid, &f)
	return p, nil
}

// readString appends a string literal (RFC 7541 section 5.2) to b.buf.
func (b *block) readString(p []byte) ([]byte, error) {
	if len(p) == 0 {
		return p, errTruncated
	}
	coded := p[0] >= 0x80
	n, p, err := integer(p, 7)
	if err != nil {
		return p, err
	}
	if n > uint64(len(p)) {
		return p, errTruncated
	}
	if !coded {
		b.buf = append(b.buf, p[:n]...)
		return p[n:], nil
	}
	var ok bool
	if b.buf, ok = appendHuffman(b.buf, p[:n]); !ok {
		return p, errHuffman
	}
	return p[n:], nil
}

// add appends a field from a table.
func (b *block) add(f *staticField) {
	if !b.keeps(len(f.name)+len(f.value), f.kind) {
		return
	}
	start := len(b.buf)
	if f.id == message.Other {
		b.buf = append(b.buf, f.name...)
	}
	mid := len(b.buf)
	b.buf = append(b.buf, f.value...)
	b.spanned(start, mid, f)
}

// spanned records a field with its name at buf[start:mid], which may be empty
// for a well-known one, and its value behind it.
func (b *block) spanned(start, mid int, f *staticField) {
	b.fields = append(b.fields, span{
		name:  slice{uint32(start), uint32(mid)},
		value: slice{uint32(mid), uint32(len(b.buf))},
		id:    f.id,
		kind:  f.kind,
	})
}

// keeps counts a field of so many bytes and reports whether the limits leave
// room for it.
func (b *block) keeps(n int, k kind) bool {
	b.size += n + fieldOverhead
	if k == cookie {
		b.cookies++
	}
	if k != cookie || b.cookies == 1 {
		b.count++
	}
	if b.excess == fits {
		switch {
		case b.size > b.maxBytes:
			b.excess = tooLong
		case b.count > b.maxFields:
			b.excess = tooMany
		}
	}
	return b.excess == fits
}

// integer reads an integer behind a prefix of some bits, which p begins with
// (RFC 7541 section 5.1).
func integer(p []byte, prefix uint) (uint64, []byte, error) {
	mask := uint64(1)<<prefix - 1
	n := uint64(p[0]) & mask
	p = p[1:]
	if n < mask {
		return n, p, nil
	}
	for shift := uint(0); shift < 63; shift += 7 {
		if len(p) == 0 {
			return 0, p, errTruncated
		}
		c := p[0]
		p = p[1:]
		n += uint64(c&0x7f) << shift
		if c < 0x80 {
			return n, p, nil
		}
	}
	return 0, p, errInteger
}
