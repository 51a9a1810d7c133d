package message

import (
	"strings"
	"testing"
)

// isTokenByte is RFC 9110 section 5.6.2, letter by letter.
func isTokenByte(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || c != 0 && strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0
}

// isValueByte is RFC 9110 section 5.5: VCHAR, obs-text, SP, HTAB.
func isValueByte(c byte) bool { return c >= 0x20 && c != 0x7f || c == '\t' }

func TestEveryByte(t *testing.T) {
	for i := range 256 {
		c := byte(i)
		if got := TokenEnd("a"+string([]byte{c})+"b") == 3; got != isTokenByte(c) {
			t.Errorf("%#02x in a token: %v, want %v", c, got, isTokenByte(c))
		}
		// In each place of a word, and behind the last whole word.
		for at := range 19 {
			s := []byte(strings.Repeat("v", 19))
			s[at] = c
			want := 19
			if !isValueByte(c) {
				want = at
			}
			if got := ValueEnd(string(s)); got != want {
				t.Errorf("%#02x at %d: value ends at %d, want %d", c, at, got, want)
			}
		}
	}
}

func FuzzValueEnd(f *testing.F) {
	f.Add("plain text, \x80 and\ttabs\x7f")
	f.Add("\x1f\x20\x00\xff\x7e\x7f\t\t")
	f.Fuzz(func(t *testing.T, s string) {
		want := 0
		for want < len(s) && isValueByte(s[want]) {
			want++
		}
		if got := ValueEnd(s); got != want {
			t.Errorf("ValueEnd(%q) = %d, want %d", s, got, want)
		}
	})
}

func TestIsToken(t *testing.T) {
	for s, want := range map[string]bool{"": false, "a": true, "x-Y_1": true, "a b": false, "a:": false, "\x00": false, "ä": false} {
		if got := IsToken(s); got != want {
			t.Errorf("IsToken(%q) = %v, want %v", s, got, want)
		}
	}
}

func TestIsValue(t *testing.T) {
	for s, want := range map[string]bool{"": true, "a b": true, "a\tb": true, " a": false, "a\t": false, "a\r": false, "a\nb": false, "\xff": true} {
		if got := IsValue(s); got != want {
			t.Errorf("IsValue(%q) = %v, want %v", s, got, want)
		}
	}
}

func TestIsAuthority(t *testing.T) {
	tests := []struct {
		s    string
		want bool
	}{
		{"shop.example", true},
		{"Shop_1.example.:8080", true},
		{"192.0.2.1:80", true},
		{"a:", true}, // RFC 3986 section 3.2.3 allows an empty port
		{"[2001:db8::1]", true},
		{"[2001:db8::1]:8080", true},
		{"", false},
		{":80", false},
		{"a:b", false},
		{"a:65536", false},
		{"a:000080", false},
		{"a:80:80", false},
		{"u@a", false},
		{"a/b", false},
		{"a?b", false},
		{"a b", false},
		{"%61", false}, // "a" in another dress
		{"[::1", false},
		{"[]", false},
		{"[192.0.2.1]", false},
		{"[::1%25eth0]", false}, // RFC 6874: nothing for the wire
		{"[::1]x", false},
		{"::1", false},
		{"a\x00", false},
	}
	for _, tt := range tests {
		if got := IsAuthority(tt.s); got != tt.want {
			t.Errorf("IsAuthority(%q) = %v, want %v", tt.s, got, tt.want)
		}
	}
}

func TestSplitTarget(t *testing.T) {
	tests := []struct {
		target, path, query string
		ok                  bool
	}{
		{"/", "/", "", true},
		{"/a/b;c=d,e", "/a/b;c=d,e", "", true},
		{"/a?", "/a", "?", true},
		{"/a?b?c", "/a", "?b?c", true},
		{"/%2e%2E/x", "/%2e%2E/x", "", true}, // what it means is for routing to say
		{"/a?b=%", "/a", "?b=%", true},
		{"/a?b\\c", "/a", "?b\\c", true},
		{"", "", "", false},
		{"a", "", "", false},
		{"?a", "", "", false},
		{"/%", "", "", false},
		{"/%4", "", "", false},
		{"/%4g", "", "", false},
		{"/a\\b", "", "", false},
		{"/a#b", "", "", false},
		{"/a?b#c", "", "", false},
		{"/a b", "", "", false},
		{"/a\tb", "", "", false},
		{"/a\x7f", "", "", false},
		{"/ä", "", "", false},
		{"/a?ä", "", "", false},
	}
	for _, tt := range tests {
		path, query, ok := SplitTarget(tt.target)
		if ok != tt.ok || ok && (path != tt.path || query != tt.query) {
			t.Errorf("SplitTarget(%q) = %q, %q, %v; want %q, %q, %v", tt.target, path, query, ok, tt.path, tt.query, tt.ok)
		}
	}
}

func FuzzSplitTarget(f *testing.F) {
	f.Add("/a/%41?b=c")
	f.Add("/\\?\"")
	f.Fuzz(func(t *testing.T, s string) {
		path, query, ok := SplitTarget(s)
		if !ok {
			return
		}
		if path+query != s || strings.ContainsAny(path, "?\\") || query != "" && !IsQuery(query) {
			t.Errorf("SplitTarget(%q) = %q, %q", s, path, query)
		}
		if i := strings.IndexFunc(s, func(r rune) bool { return r <= ' ' || r >= 0x7f || strings.ContainsRune("\"<>#", r) }); i >= 0 {
			t.Errorf("SplitTarget(%q) took byte %d", s, i)
		}
	})
}
