package manifest

import (
	"fmt"
	"testing"
	"time"
)

// Each step is an event or a look at a time in milliseconds.
func TestPending(t *testing.T) {
	type step struct {
		at   int
		do   string // "write", "change", "all", or a look: what it finds
		path string
	}
	tests := []struct {
		name  string
		steps []step
	}{
		{"a change is due when it has been quiet", []step{{0, "change", "a"}, {4, "nothing", ""}, {5, "[a]", ""}, {5, "nothing", ""}}},
		{"a burst is one change", []step{{0, "change", "a"}, {4, "change", "a"}, {6, "nothing", ""}, {9, "[a]", ""}}},
		{"a burst without end is looked at after all", []step{{0, "change", "a"}, {48, "change", "a"}, {49, "nothing", ""}, {50, "[a]", ""}}},
		{"what is written waits for its end", []step{{0, "write", "a"}, {900, "nothing", ""}, {901, "change", "a"}, {906, "[a]", ""}}},
		{"and holds nothing else up", []step{{0, "write", "a"}, {1, "change", "b"}, {6, "[b]", ""}}},
		{"what is written again waits again", []step{{0, "change", "a"}, {1, "write", "a"}, {100, "nothing", ""}, {101, "change", "a"}, {106, "[a]", ""}}},
		{"a writer who never closes is heard after a second", []step{{0, "write", "a"}, {500, "write", "a"}, {1499, "nothing", ""}, {1500, "[a]", ""}}},
		{"all is all", []step{{0, "all", ""}, {5, "[] all", ""}, {10, "nothing", ""}}},
	}
	for _, tt := range tests {
		var p pending
		start := time.Unix(1000, 0)
		for _, s := range tt.steps {
			now := start.Add(time.Duration(s.at) * time.Millisecond)
			switch s.do {
			case "write":
				p.written(s.path, now)
			case "change":
				p.changed(s.path, now)
			case "all":
				p.everything(now)
			default:
				at, due := p.due()
				due = due && !now.Before(at)
				paths, all := p.take(now)
				got := fmt.Sprint(paths)
				if all {
					got += " all"
				}
				if len(paths) == 0 && !all {
					got = "nothing"
				}
				if got != s.do || due != (got != "nothing") {
					t.Errorf("%s: after %d ms %s, due %v, want %s", tt.name, s.at, got, due, s.do)
				}
			}
		}
	}
}
