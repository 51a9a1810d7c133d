// Package wire writes and reads fields of protobuf messages, for rooms that send a
// message or two and need no generated types.
package wire

import (
	"encoding/binary"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
)

// replacement stands for what is not UTF-8, as Envoy has it.
const replacement = "!"

// AppendMessage appends a message whose length is known once it is written.
func AppendMessage(b []byte, field protowire.Number, write func([]byte) []byte) []byte {
	b = protowire.AppendTag(b, field, protowire.BytesType)
	start := len(b)
	b = write(b)
	size := len(b) - start
	var length [binary.MaxVarintLen64]byte
	prefix := protowire.AppendVarint(length[:0], uint64(size))
	b = append(b, prefix...)
	copy(b[start+len(prefix):], b[start:start+size])
	copy(b[start:], prefix)
	return b
}

// AppendText appends a string unless it is empty. A string has to be UTF-8, or
// its reader refuses the whole message; fields of requests may be anything.
func AppendText(b []byte, field protowire.Number, s string) []byte {
	if s == "" {
		return b
	}
	if !utf8.ValidString(s) {
		s = strings.ToValidUTF8(s, replacement)
	}
	b = protowire.AppendTag(b, field, protowire.BytesType)
	return protowire.AppendString(b, s)
}

// AppendBytes appends bytes unless there are none.
func AppendBytes(b []byte, field protowire.Number, p []byte) []byte {
	if len(p) == 0 {
		return b
	}
	b = protowire.AppendTag(b, field, protowire.BytesType)
	return protowire.AppendBytes(b, p)
}

// AppendNumber appends a number unless it is 0.
func AppendNumber(b []byte, field protowire.Number, n uint64) []byte {
	if n == 0 {
		return b
	}
	b = protowire.AppendTag(b, field, protowire.VarintType)
	return protowire.AppendVarint(b, n)
}

// EachField calls visit with each field of a message: its number where it is
// one, its bytes, which are b's, where it has some. An error of visit ends it.
func EachField(b []byte, visit func(number protowire.Number, n uint64, b []byte) error) error {
	for len(b) > 0 {
		number, kind, size := protowire.ConsumeTag(b)
		if size < 0 {
			return protowire.ParseError(size)
		}
		b = b[size:]
		var n uint64
		var content []byte
		switch kind {
		case protowire.VarintType:
			n, size = protowire.ConsumeVarint(b)
		case protowire.BytesType:
			content, size = protowire.ConsumeBytes(b)
		default:
			size = protowire.ConsumeFieldValue(number, kind, b)
		}
		if size < 0 {
			return protowire.ParseError(size)
		}
		if err := visit(number, n, content); err != nil {
			return err
		}
		b = b[size:]
	}
	return nil
}
