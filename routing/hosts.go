package routing

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// anyHost is the pattern that covers every host.
const anyHost = "*"

// maxHost is the length of the longest DNS name (RFC 1035 section 2.3.4).
// Longer ones fall under "*" only, which bounds the work on a hostile one.
const maxHost = 253

// hosts maps host patterns ("shop.example.com", "*.example.com", "*") to
// values. It is immutable, as a trie is.
type hosts[T any] struct {
	exact trie[string, *T]
	wild  trie[string, *T] // by what follows the asterisk: ".example.com"
	any   *T
}

// get returns the value of a pattern, or nil.
func (h hosts[T]) get(pattern string) *T {
	var v *T
	if pattern == anyHost {
		v = h.any
	} else if suffix, ok := strings.CutPrefix(pattern, "*"); ok {
		v, _ = h.wild.get(suffix)
	} else {
		v, _ = h.exact.get(pattern)
	}
	return v
}

// with returns h with a pattern set to v; nil takes it out.
func (h hosts[T]) with(pattern string, v *T) hosts[T] {
	suffix, wild := strings.CutPrefix(pattern, "*")
	switch {
	case pattern == anyHost:
		h.any = v
	case wild && v == nil:
		h.wild = h.wild.without(suffix)
	case wild:
		h.wild = h.wild.with(suffix, v)
	case v == nil:
		h.exact = h.exact.without(pattern)
	default:
		h.exact = h.exact.with(pattern, v)
	}
	return h
}

// Where find begins, and what it returns when nothing is left.
const (
	fromExact = -1
	exhausted = -2
)

// find returns the value of the most specific pattern that covers host, from
// a place on, and the place from which a call finds the next one: the exact
// host, then its suffixes from the longest, then "*". It returns nil when
// there is none; and no call follows one that returned exhausted.
func (h *hosts[T]) find(host string, from int) (v *T, next int) {
	if from == fromExact {
		from = 1 // a wildcard stands for at least one character
		if v, ok := h.exact.get(host); ok {
			return v, from
		}
	}
	if h.wild.n > 0 && len(host) <= maxHost {
		for i := from; i < len(host); i++ {
			if host[i] != '.' {
				continue
			}
			if v, ok := h.wild.get(host[i:]); ok {
				return v, i + 1
			}
		}
	}
	return h.any, exhausted
}

// patterns returns all patterns, the more specific one first: exact ones, then
// wildcards from the longest, then "*"; equals by name.
func (h hosts[T]) patterns() []string {
	var list []string
	for host := range h.exact.all() {
		list = append(list, host)
	}
	slices.Sort(list)
	exact := len(list)
	for suffix := range h.wild.all() {
		list = append(list, "*"+suffix)
	}
	slices.SortFunc(list[exact:], func(a, b string) int {
		return cmp.Or(cmp.Compare(len(b), len(a)), cmp.Compare(a, b))
	})
	if h.any != nil {
		list = append(list, anyHost)
	}
	return list
}

// absolute takes the root's dot off a name: "example.com." is "example.com".
func absolute(host string) string {
	if len(host) > 1 && host[len(host)-1] == '.' {
		return host[:len(host)-1]
	}
	return host
}

// checkPattern says what is wrong with a host pattern.
func checkPattern(pattern string) error {
	if pattern == anyHost {
		return nil
	}
	return checkHost(strings.TrimPrefix(pattern, "*."))
}

// checkHost says what is wrong with a host name. It takes what DNS takes, and
// underscores: some people's names have them.
func checkHost(host string) error {
	if len(host) > maxHost {
		return fmt.Errorf("host of %d bytes: want at most %d", len(host), maxHost)
	}
	for label := range strings.SplitSeq(host, ".") {
		if label == "" || len(label) > 63 {
			return fmt.Errorf("host %q: want labels of 1 to 63 characters", host)
		}
		for i := range len(label) {
			c := label[i]
			if !('a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-' || c == '_') {
				return fmt.Errorf("host %q: character %q, want a-z, 0-9, '-', '_' and '.'", host, c)
			}
		}
	}
	return nil
}
