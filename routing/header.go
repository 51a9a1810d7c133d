package routing

import (
	"fmt"
	"slices"
	"strings"
)

// framing are the fields that say where a message ends or belong to one
// connection (RFC 9110 section 7.6.1): the codecs write them, and a route that
// did would let requests be smuggled.
var framing = []string{
	"connection", "content-length", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade",
}

// headers leaves edits of framing fields out of h, and closes the rule where
// an edit is not valid at all.
func (k *actionCheck) headers(h HeaderChange) HeaderChange {
	h.Set = k.edits(h.Set)
	h.Add = k.edits(h.Add)
	h.Remove = slices.DeleteFunc(slices.Clone(h.Remove), func(name string) bool { return !k.mayEdit(name, "") })
	return h
}

func (k *actionCheck) edits(list []Header) []Header {
	return slices.DeleteFunc(slices.Clone(list), func(h Header) bool { return !k.mayEdit(h.Name, h.Value) })
}

func (k *actionCheck) mayEdit(name, value string) bool {
	if slices.Contains(framing, strings.ToLower(name)) {
		k.report(k.rule.Origin, InvalidAction, fmt.Errorf("edit of header %q, which the gateway writes itself", name))
		return false
	}
	if !isToken(name) {
		k.close(fmt.Errorf("header %q: want a token", name))
	}
	if strings.ContainsAny(value, "\x00\r\n") {
		k.close(fmt.Errorf("header %q: a value of more than one line", name))
	}
	return true
}

// tokenChars are the characters of a token (RFC 9110 section 5.6.2).
var tokenChars = func() (t [256]bool) {
	for c := range t {
		t[c] = '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
	}
	for _, c := range "!#$%&'*+-.^_`|~" {
		t[c] = true
	}
	return t
}()

func isToken(s string) bool {
	for i := range len(s) {
		if !tokenChars[s[i]] {
			return false
		}
	}
	return s != ""
}
