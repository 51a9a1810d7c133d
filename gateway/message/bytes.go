package message

import "unsafe"

// Text returns b as a string without a copy: the string is valid, and says
// the same, only as long as nobody writes to b. It is the one place where
// that law of this package comes from.
func Text(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// An Arena is memory that strings of one message point into. The zero Arena
// is ready to use.
type Arena struct{ b []byte }

// What is larger than keepArena is not kept for the next message.
const keepArena = 16 << 10

// Hold copies b to the arena and returns the copy, which stays where it is.
func (a *Arena) Hold(b []byte) []byte {
	if cap(a.b)-len(a.b) < len(b) {
		// What points into the old array keeps it alive.
		a.b = make([]byte, 0, max(2*cap(a.b), len(b), 1024))
	}
	n := len(a.b)
	a.b = append(a.b, b...)
	return a.b[n:len(a.b):len(a.b)]
}

// Reset empties the arena for its next use.
func (a *Arena) Reset() {
	a.b = a.b[:0]
	if cap(a.b) > keepArena {
		a.b = nil
	}
}
