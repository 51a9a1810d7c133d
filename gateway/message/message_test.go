package message

import (
	"errors"
	"io"
	"strings"
	"testing"
)

func TestArenaKeepsWhatItHolds(t *testing.T) {
	var r Request
	var held []string
	for i := range 100 {
		held = append(held, Text(r.Hold([]byte(strings.Repeat(string(rune('a'+i%26)), i*10)))))
	}
	for i, s := range held {
		if want := strings.Repeat(string(rune('a'+i%26)), i*10); s != want {
			t.Fatalf("string %d became %.20q", i, s)
		}
	}
}

// What was held has no room behind it that an append could write to.
func TestHeldBytesHaveNoRoom(t *testing.T) {
	var a Arena
	b := a.Hold([]byte("one"))
	next := a.Hold([]byte("two"))
	if b = append(b, '!'); string(next) != "two" {
		t.Errorf("appending to %q changed the next to %q", b, next)
	}
}

func TestResetKeepsMemoryButNotMuch(t *testing.T) {
	req := &Request{Method: "GET", Upgrade: "x", Trailers: true}
	small := []byte(strings.Repeat("x", 500))
	if n := testing.AllocsPerRun(100, func() {
		req.Hold(small)
		req.Fields.Add(Via, "1")
		req.Reset()
	}); n != 0 {
		t.Errorf("a request used again allocates %v times, want 0", n)
	}
	req.Hold(make([]byte, 100<<10))
	for range 1000 {
		req.Fields.Add(Via, "1")
	}
	req.Reset()
	if cap(req.arena.b) > keepArena || cap(req.Fields) > 128 {
		t.Errorf("a large request leaves %d bytes and %d fields", cap(req.arena.b), cap(req.Fields))
	}
	if req.Method != "" || req.Upgrade != "" || req.Trailers {
		t.Errorf("Reset leaves %+v", req)
	}
}

func TestErrors(t *testing.T) {
	tests := []struct {
		err  *Error
		want string
	}{
		{&Error{Reason: Gone}, "connection closed"},
		{&Error{Reason: Slow, Err: io.ErrNoProgress}, "deadline passed: " + io.ErrNoProgress.Error()},
		{&Error{}, "unknown"},
	}
	for _, tt := range tests {
		if got := tt.err.Error(); got != tt.want {
			t.Errorf("%+v reads %q, want %q", *tt.err, got, tt.want)
		}
		if tt.err.Err != nil && !errors.Is(tt.err, tt.err.Err) {
			t.Errorf("%v does not unwrap", tt.err)
		}
	}
	for r := Gone; r <= Cancelled; r++ {
		if r.String() == "unknown" || r.String() == "" {
			t.Errorf("reason %d has no words", r)
		}
	}
}

func TestProtos(t *testing.T) {
	for p, want := range map[Proto]string{HTTP10: "HTTP/1.0", HTTP11: "HTTP/1.1", HTTP2: "HTTP/2", HTTP3: "HTTP/3", 0: "unknown"} {
		if got := p.String(); got != want {
			t.Errorf("%d reads %q, want %q", p, got, want)
		}
	}
}
