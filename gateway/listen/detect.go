package listen

import "bytes"

// maxMethod bounds what may be the method of a request. The longest that is
// registered has 17 bytes.
const maxMethod = 32

// beginsRequest reports whether p begins an HTTP/1 request (RFC 9112 section 3):
// a method, a space, and a target as section 3.2 has it. Sure is false while
// more bytes might tell. A name alone that is followed by a space is no sign of
// HTTP, as in "EHLO mail.example": of a CONNECT it is one.
func beginsRequest(p []byte) (is, sure bool) {
	n := bytes.IndexFunc(p[:min(len(p), maxMethod+1)], func(r rune) bool { return r >= 0x80 || !tokenByte[r] })
	switch {
	case n < 0 && len(p) <= maxMethod:
		return false, false
	case n <= 0 || n > maxMethod || p[n] != ' ':
		return false, true
	}
	method, target := string(p[:n]), p[n+1:]
	if method == "CONNECT" {
		return true, true
	}
	if len(target) == 0 {
		return false, false
	}
	if target[0] == '/' || target[0] == '*' {
		return true, true
	}
	for _, scheme := range [...]string{"http://", "https://"} {
		k := min(len(target), len(scheme))
		if bytes.EqualFold(target[:k], []byte(scheme[:k])) {
			return k == len(scheme), k == len(scheme)
		}
	}
	return false, true
}

// tokenByte are the bytes of a token (RFC 9110 section 5.6.2).
var tokenByte = func() (t [0x80]bool) {
	for c := range t {
		t[c] = c > ' ' && c < 0x7f && !bytes.ContainsRune([]byte("\"(),/:;<=>?@[\\]{}"), rune(c))
	}
	return t
}()
