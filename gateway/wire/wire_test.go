package wire

import (
	"strings"
	"testing"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
)

// What is written is read again by protowire, whatever the length of a message
// and the bytes of a text.
func FuzzAppend(f *testing.F) {
	f.Add("text", []byte("bytes"), uint64(1))
	f.Add(strings.Repeat("x", 200), []byte(nil), uint64(1<<63)) // a length of two bytes
	f.Add("\xff\xfe", []byte{0}, uint64(0))
	f.Fuzz(func(t *testing.T, text string, p []byte, n uint64) {
		b := AppendMessage([]byte("before"), 7, func(b []byte) []byte {
			return AppendNumber(AppendBytes(AppendText(b, 1, text), 2, p), 3, n)
		})
		if string(b[:6]) != "before" {
			t.Fatalf("what was there is %q", b[:6])
		}
		number, kind, size := protowire.ConsumeTag(b[6:])
		inner, length := protowire.ConsumeBytes(b[6+size:])
		if number != 7 || kind != protowire.BytesType || length < 0 || 6+size+length != len(b) {
			t.Fatalf("field %d of kind %d, %d of %d bytes", number, kind, 6+size+length, len(b))
		}
		for len(inner) > 0 {
			number, _, size := protowire.ConsumeTag(inner)
			inner = inner[size:]
			switch number {
			case 1:
				value, size := protowire.ConsumeBytes(inner)
				if !utf8.Valid(value) || utf8.ValidString(text) && string(value) != text {
					t.Errorf("%q is read as %q", text, value)
				}
				inner = inner[size:]
			case 2:
				value, size := protowire.ConsumeBytes(inner)
				if string(value) != string(p) {
					t.Errorf("%q is read as %q", p, value)
				}
				inner = inner[size:]
			case 3:
				value, size := protowire.ConsumeVarint(inner)
				if value != n {
					t.Errorf("%d is read as %d", n, value)
				}
				inner = inner[size:]
			default:
				t.Fatalf("field %d", number)
			}
		}
	})
}

// What is read is what protowire reads: all fields of a message that is one, and
// an error of one that is not.
func FuzzEachField(f *testing.F) {
	f.Add(AppendText(AppendNumber(nil, 1, 300), 2, "text"))
	f.Add([]byte{0x0a, 0x05, 'x'})
	f.Add([]byte{0x0d, 1, 2, 3, 4, 0x08})
	f.Fuzz(func(t *testing.T, b []byte) {
		fields := 0
		err := EachField(b, func(protowire.Number, uint64, []byte) error { fields++; return nil })
		want, rest := 0, b
		for len(rest) > 0 {
			_, _, size := protowire.ConsumeField(rest)
			if size < 0 {
				break
			}
			want, rest = want+1, rest[size:]
		}
		if (err == nil) != (len(rest) == 0) || fields != want {
			t.Errorf("%x: %d fields, %v; want %d, and %d bytes that are none", b, fields, err, want, len(rest))
		}
	})
}
