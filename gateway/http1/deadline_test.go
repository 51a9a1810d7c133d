package http1

import (
	"strings"
	"testing"
	"time"

	"fairway.dev/gateway/message"
)

// Law 9: every wait has a deadline. Each row lets time pass until a moment
// before it, and over it.
func TestServerDeadlines(t *testing.T) {
	const second = time.Second
	tests := []struct {
		what   string
		steps  []string // sent with pause between them
		pause  time.Duration
		within time.Duration // of the last step
		want   Refusal       // accepted, Idled: closed without a word
		told   message.Reason
	}{
		{"no request at all", nil, 0, 60 * second, Idled, 0},
		{"no request after the first", []string{"", "GET /ok HTTP/1.1\r\nHost: a\r\n\r\n"}, 30 * second, 60 * second, Idled, 0},
		{"half a head", []string{"GET"}, 0, 10 * second, HeadSlow, 0},
		{"a head by the byte", []string{"G", "E", "T", " "}, 3 * second, second, HeadSlow, 0},
		{"an empty line", []string{"\r\n"}, 0, 10 * second, HeadSlow, 0},
		{"a body that never comes", []string{"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n"}, 0, 30 * second, BodySlow, message.Slow},
		{"a body that stops", []string{"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n", "a", "b"}, 20 * second, 30 * second, BodySlow, message.Slow},
		{"a chunk that stops", []string{chunkedPost, "5\r\na"}, 20 * second, 30 * second, BodySlow, message.Slow},
		{"framing that brings no body", []string{chunkedPost, "5", ";", "a"}, 9 * second, 3 * second, BodySlow, message.Slow},
		{"a dropped body that stops", []string{"PUT /ok HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n", "a"}, 0, 30 * second, accepted, 0},
	}
	for _, tt := range tests {
		d := newDesk(Limits{})
		d.answer = func(u *user) {
			if u.req.Path == "/ok" {
				u.ok("")
			}
		}
		for i, s := range tt.steps {
			if i > 0 {
				d.loop.Advance(tt.pause)
			}
			d.far.send(s)
		}
		d.loop.Advance(tt.within - time.Millisecond)
		early := d.far.over()
		answered := d.far.take()
		d.loop.Advance(2 * time.Millisecond)
		late := d.far.take()
		if early || !d.far.over() {
			t.Errorf("%s: over %v before the deadline and %v after it (%q, then %q)", tt.what, early, d.far.over(), answered, late)
		}
		want := "" // nothing was asked that could be answered
		if tt.want != accepted && tt.want != Idled {
			want = "HTTP/1.1 408 "
		}
		if !strings.HasPrefix(late, want) || want == "" && late != "" || strings.Join(d.refused, ",") != tt.want.String() {
			t.Errorf("%s: answered %q, counted %v, want %q", tt.what, late, d.refused, tt.want)
		}
		if tt.told != 0 && d.user(t).reason() != tt.told {
			t.Errorf("%s: told %v, want %s", tt.what, d.users[0].err, tt.told)
		}
	}
}

// A waiting response is the user's to bound, and a client that is paused by
// us is not slow.
func TestNoDeadlineWhileTheUserIsBusy(t *testing.T) {
	d := newDesk(Limits{})
	d.far.send(begun + "\r\n")
	d.loop.Advance(24 * time.Hour)
	d.user(t).ok("hi")
	if got := d.far.take(); !strings.HasSuffix(got, "hi") {
		t.Errorf("after a day: %q", got)
	}
}

func TestServerWriteStall(t *testing.T) {
	d := newDesk(Limits{})
	d.far.send(begun + "\r\n")
	u := d.user(t)
	d.ours.Block()
	u.s.Head(&message.Response{Status: 200, Length: message.Unknown}, false)
	u.s.Data(make([]byte, 1000))
	d.loop.Advance(29 * time.Second)
	d.ours.Unblock()
	d.loop.Settle()
	d.ours.Block()
	u.s.Data(make([]byte, 1000))
	d.loop.Advance(20 * time.Second) // it took something since
	if u.err != nil || d.far.closed {
		t.Fatalf("told %v, closed %v, want patience with a client that reads", u.err, d.far.closed)
	}
	d.loop.Advance(time.Minute)
	if u.reason() != message.Slow || !d.far.closed || strings.Join(d.refused, ",") != "write_stalled" {
		t.Errorf("told %v, closed %v, counted %v; want Slow, true, write_stalled", u.err, d.far.closed, d.refused)
	}
}

// A client that never reads its last answer does not hold the connection.
func TestWriteStallAfterTheEnd(t *testing.T) {
	for _, in := range []string{begun + "Connection: close\r\n\r\n", "bad\n"} {
		d := newDesk(Limits{})
		d.answer = func(u *user) { u.ok("hi") }
		d.ours.Block()
		d.far.send(in)
		d.loop.Advance(29 * time.Second)
		early := d.far.closed
		d.loop.Advance(2 * time.Second)
		if early || !d.far.closed {
			t.Errorf("%q: closed %v before the deadline, %v after it", in, early, d.far.closed)
		}
	}
}

func TestClientWriteStall(t *testing.T) {
	p := newPhone(Limits{WriteStall: time.Second})
	p.ours.Block()
	u := p.call(&message.Request{Method: "PUT", Authority: "a", Path: "/", Length: message.Unknown}, false)
	u.stream.Data(make([]byte, 1000))
	p.loop.Advance(1500 * time.Millisecond)
	if u.reason() != message.Slow || p.closed != 1 || strings.Join(p.refused, ",") != "write_stalled" {
		t.Errorf("told %v, closed %d, counted %v", u.err, p.closed, p.refused)
	}
}

// HalfClose negative: a client that half-closed is served whatever it takes.
func TestHalfCloseWithoutEnd(t *testing.T) {
	d := newDesk(Limits{HalfClose: -1})
	d.far.send(begun + "\r\n")
	d.far.CloseWrite()
	d.loop.Advance(time.Hour)
	u := d.user(t)
	u.ok("hi")
	if got := d.far.take(); u.err != nil || !strings.HasSuffix(got, "hi") {
		t.Errorf("told %v, sent %q", u.err, got)
	}
}
