package routing

import "strings"

// queryValue returns the value of the first parameter named name in a raw
// query, still encoded.
func queryValue(query, name string) (string, bool) {
	query = strings.TrimPrefix(query, "?")
	for query != "" {
		var param string
		param, query, _ = strings.Cut(query, "&")
		key, value, _ := strings.Cut(param, "=")
		if param != "" && decodesTo(key, name) {
			return value, true
		}
	}
	return "", false
}

// decodesTo reports whether raw, a part of a query, means want. It decodes on
// the way instead of into memory.
func decodesTo(raw, want string) bool {
	if !encoded(raw) {
		return raw == want
	}
	at := 0
	for i := 0; i < len(raw); at++ {
		c, n := decodeAt(raw, i)
		if at == len(want) || want[at] != c {
			return false
		}
		i += n
	}
	return at == len(want)
}

// appendDecoded appends what raw means to b.
func appendDecoded(b []byte, raw string) []byte {
	for i := 0; i < len(raw); {
		c, n := decodeAt(raw, i)
		b = append(b, c)
		i += n
	}
	return b
}

func encoded(raw string) bool {
	return strings.IndexByte(raw, '%') >= 0 || strings.IndexByte(raw, '+') >= 0
}

// decodeAt returns the character at raw[i:] and how long it is there: "%41"
// is 'A', '+' is a space (as forms encode it), and a '%' that encodes nothing
// is itself.
func decodeAt(raw string, i int) (c byte, n int) {
	switch raw[i] {
	case '+':
		return ' ', 1
	case '%':
		if i+2 < len(raw) {
			hi, lo := hexDigit(raw[i+1]), hexDigit(raw[i+2])
			if hi >= 0 && lo >= 0 {
				return byte(hi<<4 | lo), 3
			}
		}
	}
	return raw[i], 1
}

// hexDigit returns the value of a hexadecimal digit, or -1.
func hexDigit(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}
