package convert

import (
	"fmt"
	"testing"
)

// Many rules by header before many by path, which all have something in common,
// grow by a bounded number of matches; what does not fit is reported.
func TestArrangingIsBounded(t *testing.T) {
	for _, n := range []int{30, 75} {
		var lists [][]match
		for i := range n {
			var l []match
			switch i % 3 {
			case 0:
				l = []match{{path: regexPath(fmt.Sprintf("/r%d/[0-9]+", i))}}
			case 1:
				for _, p := range textPrefix(fmt.Sprintf("/p%d", i)) {
					l = append(l, match{path: p})
				}
			default:
				l = []match{{path: everyPath, headers: []value{{fmt.Sprint("h", i), false, "1"}}}}
			}
			lists = append(lists, l)
		}
		before, after, clashes := 0, 0, 0
		for _, l := range lists {
			before += len(l)
		}
		arrange(lists, func(int, int) { clashes++ })
		for _, l := range lists {
			after += len(l)
		}
		if after > before+maxAdded {
			t.Errorf("%d lists: %d matches have become %d, want at most %d more", n, before, after, maxAdded)
		}
		if fits := n == 30; fits != (clashes == 0) {
			t.Errorf("%d lists: %d clashes, of %d matches that have become %d", n, clashes, before, after)
		}
	}
}
