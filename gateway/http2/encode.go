package http2

import (
	"hash/maphash"
	"strconv"

	"fairway.dev/gateway/message"
)

// An encoder turns fields into header blocks (RFC 7541). It allocates nothing
// at steady state. A field gets an entry of the table when it comes the second
// time, so that what never comes again pushes nothing out. Strings are written
// as they are: Huffman's code would cost more time than its bytes are worth.
type encoder struct {
	max     uint32 // the table's size: what the peer allows, at most maxDynamicTable
	changed bool   // since the last block
	dynamic *dynamic
	digits  [20]byte
}

// dynamic is the encoder's table with what finds an entry in it.
type dynamic struct {
	table
	index [128]struct{ hash, seq uint32 } // by hash; seq is the entry's number in table.added
	seen  [64]uint32                      // hashes of fields that came once
}

var hashSeed = maphash.MakeSeed()

// indexableBytes bounds the fields that get an entry, so that no single one
// pushes the others out.
const indexableBytes = maxDynamicTable / 8

// sensitive names get no entry in any table, ours or a later hop's (RFC 7541
// section 7.1.3): their values must not be guessed from sizes.
var sensitive = [256]bool{
	message.Authorization: true, message.ProxyAuthorization: true, message.Cookie: true, message.SetCookie: true,
}

// limit honours the peer's SETTINGS_HEADER_TABLE_SIZE. The table only ever
// shrinks: a peer that wants it small once gets one update, which every
// decoder takes at the start of a block, where some trip over two.
func (e *encoder) limit(max uint32) {
	if max >= e.max {
		return
	}
	e.max, e.changed = max, true
	if e.dynamic != nil {
		e.dynamic.resize(max)
	}
}

// begin starts a header block: it tells of a table that has changed its size
// (RFC 7541 section 4.2).
func (e *encoder) begin(dst []byte) []byte {
	if !e.changed {
		return dst
	}
	e.changed = false
	return appendInteger(dst, 0x20, 5, uint64(e.max))
}

// field appends a field. index is that of a field with the same name in the
// static table, or 0.
func (e *encoder) field(dst []byte, index uint8, id message.Name, name, value string) []byte {
	size := len(name) + len(value) + fieldOverhead
	if size > indexableBytes || uint32(size) > e.max {
		return appendLiteral(dst, 0, 4, index, name, value)
	}
	if e.dynamic == nil {
		e.dynamic = &dynamic{table: table{max: e.max}}
	}
	d := e.dynamic
	hash := hashField(id, name, value)
	slot := &d.index[hash%uint32(len(d.index))]
	if age := d.added - 1 - slot.seq; slot.hash == hash && age < uint32(d.len()) && d.holds(int(age), name, value) {
		return appendInteger(dst, 0x80, 7, firstDynamic+uint64(age))
	}
	if once := &d.seen[hash%uint32(len(d.seen))]; *once != hash {
		*once = hash
		return appendLiteral(dst, 0, 4, index, name, value)
	}
	slot.hash, slot.seq = hash, d.added
	d.add(name, value, id, plain, false)
	return appendLiteral(dst, 0x40, 6, index, name, value)
}

// holds reports whether the entry of an age is this field.
func (d *dynamic) holds(age int, name, value string) bool {
	n, v := d.text(d.at(age))
	return v == value && n == name
}

func hashField(id message.Name, name, value string) uint32 {
	h := maphash.String(hashSeed, value)
	if id == message.Other {
		h ^= maphash.String(hashSeed, name) * 3
	}
	h += uint64(id) * 0x9e3779b97f4a7c15
	return max(uint32(h^h>>32), 1) // 0 is an empty slot
}

// fields appends fields of a message, but those that HTTP/2 has no place for.
func (e *encoder) fields(dst []byte, fields message.Fields) []byte {
	for i := range fields {
		f := &fields[i]
		if k := kindOf[f.ID]; k != plain && k != cookie {
			continue
		}
		switch {
		case f.ID == message.Other:
			dst = e.field(dst, 0, f.ID, f.Text, f.Value)
		case sensitive[f.ID]:
			dst = appendLiteral(dst, 0x10, 4, staticNames[f.ID], f.ID.String(), f.Value)
		default:
			dst = e.field(dst, staticNames[f.ID], f.ID, f.ID.String(), f.Value)
		}
	}
	return dst
}

// length appends content-length, unless it is unknown.
func (e *encoder) length(dst []byte, n int64) []byte {
	if n < 0 {
		return dst
	}
	digits := message.Text(strconv.AppendInt(e.digits[:0], n, 10))
	return e.field(dst, staticNames[message.ContentLength], message.ContentLength, "content-length", digits)
}

// standalone appends fields as a block that holds good whatever the table
// says when it is sent.
func standalone(dst []byte, fields message.Fields) []byte {
	for i := range fields {
		f := &fields[i]
		switch k := kindOf[f.ID]; {
		case k != plain && k != cookie:
		case f.ID == message.Other:
			dst = appendLiteral(dst, 0, 4, 0, f.Text, f.Value)
		case sensitive[f.ID]:
			dst = appendLiteral(dst, 0x10, 4, staticNames[f.ID], f.ID.String(), f.Value)
		default:
			dst = appendLiteral(dst, 0, 4, staticNames[f.ID], f.ID.String(), f.Value)
		}
	}
	return dst
}

// appendLiteral appends a field that is spelled out, its name by index where
// that is not 0. Names are written in lower case.
func appendLiteral(dst []byte, pattern byte, prefix uint, index uint8, name, value string) []byte {
	dst = appendInteger(dst, pattern, prefix, uint64(index))
	if index == 0 {
		dst = appendInteger(dst, 0, 7, uint64(len(name)))
		for i := 0; i < len(name); i++ {
			c := name[i]
			if 'A' <= c && c <= 'Z' {
				c |= 0x20
			}
			dst = append(dst, c)
		}
	}
	dst = appendInteger(dst, 0, 7, uint64(len(value)))
	return append(dst, value...)
}

// appendInteger appends an integer behind a prefix of some bits, with the
// bits of pattern before it (RFC 7541 section 5.1).
func appendInteger(dst []byte, pattern byte, prefix uint, n uint64) []byte {
	mask := uint64(1)<<prefix - 1
	if n < mask {
		return append(dst, pattern|byte(n))
	}
	dst = append(dst, pattern|byte(mask))
	for n -= mask; n >= 0x80; n >>= 7 {
		dst = append(dst, byte(n)|0x80)
	}
	return append(dst, byte(n))
}
