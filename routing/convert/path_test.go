package convert

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

func TestTextPrefix(t *testing.T) {
	tests := []struct {
		prefix, path string
		want         bool
	}{
		{"/shop", "/shop", true},
		{"/shop", "/shop/cart", true},
		{"/shop", "/shopping", true}, // of the text (StringMatch.prefix)
		{"/shop", "/sho", false},
		{"/shop/", "/shop", false},
		{"/shop/", "/shop/", true},
		{"/shop/", "/shop/cart", true},
		{"/", "/", true},
		{"/", "/x", true},
		{"", "/x", true},
		{"shop", "/shop", false}, // no path begins so
		{"/a b", "/a b/c", true}, // not plain: written as an expression
		{"/a b", "/a bc", true},
	}
	for _, tt := range tests {
		got := false
		for _, p := range textPrefix(tt.prefix) {
			got = got || p.has(tt.path)
		}
		if got != tt.want {
			t.Errorf("textPrefix(%q) has %q: %v, want %v", tt.prefix, tt.path, got, tt.want)
		}
	}
}

// Paths of few letters, so that they have to do with each other.
func allPaths(n int) []string {
	paths := []string{"/"}
	for last := paths; n > 1; n-- {
		var next []string
		for _, p := range last {
			next = append(next, p+"a", p+"b", p+"/")
		}
		paths = append(paths, next...)
		last = next
	}
	return paths
}

// What and says of two sets is so, over all short paths.
func TestAndIsTheIntersection(t *testing.T) {
	paths := allPaths(5)
	var sets []path
	for _, p := range allPaths(3) {
		sets = append(sets, path{kind: exact, value: p})
		if p[len(p)-1] != '/' {
			sets = append(sets, path{kind: under, value: p}, path{kind: branch, value: p}, path{kind: glued, value: p}, path{kind: below, value: p}, regexPath(p+".*"), regexPath(p+"[ab]"))
		}
	}
	sets = append(sets, everyPath, regexPath(".*a"))
	for _, p := range sets {
		for _, q := range sets {
			both, r := p.and(q)
			if r == unclear {
				if p.kind != regex && q.kind != regex {
					t.Fatalf("%v and %v: not clear, with no expression", p, q)
				}
				continue
			}
			for _, s := range paths {
				want := p.has(s) && q.has(s)
				if got := r == something && both.has(s); got != want {
					t.Fatalf("%v and %v = %v, %v: %q is in it: %v, want %v", p, q, both, r, s, got, want)
				}
			}
		}
	}
}

// How a set is written holds for the paths that are in it.
func TestExpressionsSayTheSame(t *testing.T) {
	for _, p := range []path{{kind: glued, value: "/a"}, {kind: below, value: "/a"}, {kind: branch, value: "/a"}, underPath("/a b"), exactPath("/a b"), {kind: glued, value: "/a.b"}} {
		for _, s := range append(allPaths(5), "/a b", "/a b/c", "/a bc", "/a.b", "/a.bc", "/axbc") {
			if p.isRegex() && wholly(p.expression(), s) != p.has(s) {
				t.Errorf("%v is written %q, which is wrong about %q", p, p.expression(), s)
			}
		}
	}
}

func randomMatch(r *rand.Rand) match {
	pick := func(list ...string) string { return list[r.IntN(len(list))] }
	var m match
	switch r.IntN(5) {
	case 0:
		m.path = exactPath(pick("/", "/a", "/a/b", "/b"))
	case 1:
		m.path = regexPath(pick("/a.*", "/a/[ab]", ".*b", ".*"))
	default:
		m.path = everyPath
		if list := textPrefix(pick("/", "/a", "/a/", "/a/b", "/b")); r.IntN(4) > 0 {
			m.path = list[r.IntN(len(list))]
		}
	}
	if r.IntN(3) == 0 {
		m.method = pick("GET", "POST")
	}
	for _, name := range []string{"x", "y"} {
		if r.IntN(3) == 0 {
			m.headers = append(m.headers, value{name, r.IntN(3) == 0, pick("1", "2", anyValue)})
		}
	}
	return m
}

// A request, of which as much counts as the matches above look at.
type request struct{ path, method, x, y string }

func (m match) holds(q request) bool {
	if m.method != "" && m.method != q.method {
		return false
	}
	header := map[string]string{"x": q.x, "y": q.y}
	for _, v := range m.headers {
		got := header[v.name]
		if got == "" || v.regex && !wholly(v.text, got) || !v.regex && got != v.text {
			return false
		}
	}
	return m.path.has(q.path)
}

// The first list with a match that holds, or the list of the most specific one.
func firstOf(lists [][]match, q request) int {
	for i, l := range lists {
		for _, m := range l {
			if m.holds(q) {
				return i
			}
		}
	}
	return -1
}

func mostSpecificOf(lists [][]match, q request) int {
	best, at := match{}, -1
	for i, l := range lists {
		for _, m := range l {
			if m.holds(q) && (at < 0 || m.compare(best) < 0) {
				best, at = m, i
			}
		}
	}
	return at
}

// Arranged lists come to the same by precedence as the lists before did by their
// order, wherever no clash was reported.
func TestArrangedListsKeepTheirOrder(t *testing.T) {
	for seed := range uint64(100) {
		r := rand.New(rand.NewPCG(seed, 4))
		before := make([][]match, 1+r.IntN(5))
		for i := range before {
			for range 1 + r.IntN(3) {
				before[i] = append(before[i], randomMatch(r))
			}
		}
		after := make([][]match, len(before))
		for i := range before {
			after[i] = append([]match(nil), before[i]...)
		}
		clashes := map[[2]int]bool{}
		arrange(after, func(i, j int) { clashes[[2]int{i, j}] = true })
		for _, p := range allPaths(3) {
			for _, method := range []string{"GET", "POST"} {
				for _, x := range []string{"", "1", "2"} {
					for _, y := range []string{"", "1", "2"} {
						q := request{p, method, x, y}
						want, got := firstOf(before, q), mostSpecificOf(after, q)
						if want != got && !clashes[[2]int{want, got}] {
							t.Fatalf("seed %d: %+v goes to %d, want %d\nbefore %v\nafter %v\nclashes %v", seed, q, got, want, before, after, clashes)
						}
					}
				}
			}
		}
	}
}

func (p path) String() string { return fmt.Sprintf("%d:%s", p.kind, p.expression()) }
