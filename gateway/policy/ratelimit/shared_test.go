package ratelimit

import (
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	commonv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/common/ratelimit/v3"
	rlsv3 "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"fairway.dev/gateway/loop"
	"fairway.dev/gateway/upstream"
	"fairway.dev/routing"
)

func shared(s routing.SharedLimit, rules ...routing.RateLimitRule) *routing.Policy {
	p := limited(rules...)
	s.Cluster = "limits"
	p.RateLimit.Shared = &s
	return p
}

func question(t *testing.T, p *routing.Policy, a *Attributes) *Question {
	t.Helper()
	list := setOf(p).Questions(nil, epoch, a)
	if len(list) != 1 {
		t.Fatalf("%d questions, want 1", len(list))
	}
	return list[0]
}

func TestServiceIsAskedAsEnvoyAsks(t *testing.T) {
	p := shared(routing.SharedLimit{Domain: "shop"},
		routing.RateLimitRule{Name: "each", Requests: 10, Per: time.Minute, By: []string{"source-ip", "header:X-User", "claim:groups"}},
		routing.RateLimitRule{Requests: 5, Per: 90 * time.Second},
		routing.RateLimitRule{Name: "put", Requests: 5, Per: time.Second, Matches: []routing.Match{{Method: "PUT"}}},
		routing.RateLimitRule{Name: "known", Requests: 5, Per: time.Second, By: []string{"principal"}})
	a := from("10.0.0.1", with("x-user", "m\xffe"), func(a *Attributes) { a.Request.Claims = claims{"[groups]": {"x", "y"}} })
	q := question(t, p, a)
	if !q.OfService() || q.Cluster() != "limits" || q.Timeout() != 20*time.Millisecond {
		t.Errorf("%v %s %v", q.OfService(), q.Cluster(), q.Timeout())
	}
	var got rlsv3.RateLimitRequest
	if err := proto.Unmarshal(q.Message(), &got); err != nil {
		t.Fatal(err)
	}
	entry := func(k, v string) *commonv3.RateLimitDescriptor_Entry {
		return &commonv3.RateLimitDescriptor_Entry{Key: k, Value: v}
	}
	want := &rlsv3.RateLimitRequest{Domain: "shop", Descriptors: []*commonv3.RateLimitDescriptor{
		{
			Entries: []*commonv3.RateLimitDescriptor_Entry{entry("rule", "each"), entry("source-ip", "10.0.0.1"), entry("header:X-User", "m!e"), entry("claim:groups", "x,y")},
			Limit:   &commonv3.RateLimitDescriptor_RateLimitOverride{RequestsPerUnit: 10, Unit: typev3.RateLimitUnit_MINUTE},
		},
		{Entries: []*commonv3.RateLimitDescriptor_Entry{entry("rule", "rules[1]")}},
	}}
	if !proto.Equal(&got, want) {
		t.Errorf("asked %v, want %v", &got, want)
	}
	if list := setOf(p).Questions(nil, epoch, from("10.0.0.1", func(a *Attributes) { a.Client = netip.Addr{} })); len(list) != 1 || len(list[0].counted) != 1 {
		t.Errorf("%+v: want one rule that counts", list)
	}
}

func TestServiceAnswers(t *testing.T) {
	p := shared(routing.SharedLimit{Domain: "shop"}, routing.RateLimitRule{Name: "a", Requests: 10, Per: time.Minute}, routing.RateLimitRule{Name: "b", Requests: 5, Per: time.Second})
	ok, over := rlsv3.RateLimitResponse_OK, rlsv3.RateLimitResponse_OVER_LIMIT
	status := func(code rlsv3.RateLimitResponse_Code, limit, remaining uint32, reset time.Duration) *rlsv3.RateLimitResponse_DescriptorStatus {
		return &rlsv3.RateLimitResponse_DescriptorStatus{
			Code: code, CurrentLimit: &rlsv3.RateLimitResponse_RateLimit{RequestsPerUnit: limit}, LimitRemaining: remaining, DurationUntilReset: durationpb.New(reset),
		}
	}
	tests := []struct {
		resp *rlsv3.RateLimitResponse
		want Decision
		err  string
	}{
		{&rlsv3.RateLimitResponse{OverallCode: ok}, Decision{Allowed: true}, ""},
		{&rlsv3.RateLimitResponse{OverallCode: over}, Decision{}, ""},
		{&rlsv3.RateLimitResponse{OverallCode: ok, Statuses: []*rlsv3.RateLimitResponse_DescriptorStatus{status(ok, 10, 7, time.Second), status(ok, 5, 2, 1500*time.Millisecond)}},
			Decision{Allowed: true, Rule: "b", Limit: 5, Per: time.Second, Remaining: 2, Reset: 1500 * time.Millisecond}, ""},
		{&rlsv3.RateLimitResponse{OverallCode: over, Statuses: []*rlsv3.RateLimitResponse_DescriptorStatus{status(over, 10, 0, time.Second), status(ok, 5, 0, 0)}},
			Decision{Rule: "a", Limit: 10, Per: time.Minute, Reset: time.Second, Retry: time.Second}, ""},
		{&rlsv3.RateLimitResponse{}, Decision{Allowed: true, Failed: true}, "code 0: want 1 or 2"},
		{&rlsv3.RateLimitResponse{OverallCode: ok, Statuses: []*rlsv3.RateLimitResponse_DescriptorStatus{{}, {}, {}}}, Decision{Allowed: true, Failed: true}, "3 statuses: want one of each of 2 descriptors"},
		{&rlsv3.RateLimitResponse{OverallCode: ok, Statuses: []*rlsv3.RateLimitResponse_DescriptorStatus{status(ok, 1, 1, -time.Second)}}, Decision{Allowed: true, Failed: true},
			"a time until the limit is reset that is none: want seconds, and less than one in nanoseconds"},
	}
	for _, tt := range tests {
		b, err := proto.Marshal(tt.resp)
		if err != nil {
			t.Fatal(err)
		}
		got, err := question(t, p, from("10.0.0.1")).Answer(b)
		tt.want.Policy = p.Name
		if text := fmt.Sprint(err); got != tt.want || (tt.err == "") != (err == nil) || err != nil && text != tt.err {
			t.Errorf("%v: %+v, %v; want %+v, %s", tt.resp, got, err, tt.want, tt.err)
		}
	}
}

// What Envoy's own types do not read, or read as a refusal, is not a yes where the
// policy is closed.
func FuzzAnswer(f *testing.F) {
	for _, resp := range []*rlsv3.RateLimitResponse{{OverallCode: 1}, {OverallCode: 2}, {OverallCode: 1, Statuses: []*rlsv3.RateLimitResponse_DescriptorStatus{{Code: 1, LimitRemaining: 4}}}} {
		b, err := proto.Marshal(resp)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	p := shared(routing.SharedLimit{Domain: "shop"}, routing.RateLimitRule{Requests: 10, Per: time.Minute})
	p.RateLimit.FailClosed = true
	q := setOf(p).Questions(nil, epoch, from("10.0.0.1"))[0]
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := q.Answer(b)
		if d.Allowed && err != nil || d.Retry < 0 || d.Reset < 0 {
			t.Fatalf("%x: %+v, %v", b, d, err)
		}
		var resp rlsv3.RateLimitResponse
		if d.Allowed && proto.Unmarshal(b, &resp) == nil && resp.OverallCode != rlsv3.RateLimitResponse_OK {
			t.Fatalf("%x is %v, and passes", b, resp.OverallCode)
		}
	})
}

func TestReplies(t *testing.T) {
	tests := []struct {
		in    string
		value int64
		size  int
		err   string
	}{
		{"", 0, 0, ""},
		{":12", 0, 0, ""},
		{":12\r", 0, 0, ""},
		{":12\r\n:1\r\n", 12, 5, ""},
		{":-1\r\n", -1, 5, ""},
		{"-ERR no\r\n:1", 0, 9, "ERR no"},
		{"-ERR", 0, 0, ""},
		{":1a\r\n", 0, 0, `reply ":1a": want an integer`},
		{"$5\r\n", 0, 0, errUnexpected.Error()},
		{"H", 0, 0, errUnexpected.Error()}, // an HTTP server
		{"-" + strings.Repeat("x", maxReply), 0, 0, "a reply of more than 512 bytes"},
	}
	for _, tt := range tests {
		value, size, err := readReply([]byte(tt.in))
		if value != tt.value || size != tt.size || (err == nil) != (tt.err == "") || err != nil && err.Error() != tt.err {
			t.Errorf("%.20q: %d %d %v, want %d %d %s", tt.in, value, size, err, tt.value, tt.size, tt.err)
		}
	}
}

// A reply is read alike however it is cut into pieces, and never past its end.
func FuzzReply(f *testing.F) {
	f.Add([]byte(":1\r\n:2\r\n-ERR x\r\n"))
	f.Add([]byte("$3\r\nabc\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		value, size, err := readReply(b)
		if size > len(b) || size > maxReply || size > 0 && string(b[size-2:size]) != "\r\n" {
			t.Fatalf("%q: %d bytes", b, size)
		}
		if size == 0 {
			return
		}
		if v, n, e := readReply(b[:size]); v != value || n != size || !reflect.DeepEqual(e, err) {
			t.Fatalf("%q: %d %d %v, alone %d %d %v", b, value, size, err, v, n, e)
		}
		if v, n, e := readReply(b[:size-1]); n != 0 || v != 0 || e != nil {
			t.Fatalf("%q, a byte short: %d %d %v", b, v, n, e)
		}
	})
}

// A stage is a loop, a Redis on it, and what came of questions.
type stage struct {
	t     *testing.T
	loop  *loop.Loop
	store *Store
	set   *Set

	refuse bool        // connections
	mute   bool        // it does not answer
	backs  []*redisEnd // connections that were made
	got    []Decision
}

// A redisEnd is the store's end of a connection: it counts as Redis does.
type redisEnd struct {
	s      *stage
	conn   *loop.PipeConn
	counts map[string]int64
	in     string
	say    string // in place of the next reply
	err    error
}

func newStage(t *testing.T, p *routing.Policy) *stage {
	s := &stage{t: t, loop: loop.NewManual(epoch)}
	clusters := upstream.NewSet(upstream.Options{Loops: []*loop.Loop{s.loop}, Dial: s.dial, Now: s.loop.Now})
	clusters.Put(&routing.Cluster{Name: "limits"})
	clusters.PutEndpoints(&routing.Endpoints{Cluster: "limits", List: []routing.Endpoint{{Addr: netip.MustParseAddrPort("10.0.0.9:6379"), Ready: true, Serving: true}}})
	s.store = NewStore(Options{Start: epoch, Loops: []*loop.Loop{s.loop}, Clusters: clusters})
	s.set = s.store.Set([]*routing.Policy{p})
	return s
}

func (s *stage) dial(l *loop.Loop, _ netip.AddrPort, _ loop.Opening, _ time.Duration, done func(upstream.Conn, string, error)) func() {
	l.Defer(func() {
		if s.refuse {
			done(nil, "", errors.New("nobody is there"))
			return
		}
		ours, theirs := loop.Pipe(l)
		e := &redisEnd{s: s, conn: theirs, counts: map[string]int64{}}
		if n := len(s.backs); n > 0 {
			e.counts = s.backs[n-1].counts
		}
		theirs.Handle(e)
		s.backs = append(s.backs, e)
		done(ours, "", nil)
	})
	return func() {}
}

func (e *redisEnd) EOF()             {}
func (e *redisEnd) Drained()         {}
func (e *redisEnd) Closed(err error) { e.err = err }

// Data answers commands, each of which is whole in one call here.
func (e *redisEnd) Data(p []byte) {
	e.in += string(p)
	if e.s.mute {
		return
	}
	words := strings.Split(string(p), "\r\n")
	for i := 0; i+4 < len(words); {
		switch {
		case e.say != "":
			e.conn.Write([]byte(e.say))
			e.say = ""
		case words[i+2] == "INCR":
			e.counts[words[i+4]]++
			// A byte at a time.
			for _, b := range fmt.Appendf(nil, ":%d\r\n", e.counts[words[i+4]]) {
				e.conn.Write([]byte{b})
			}
		default:
			e.conn.Write([]byte(":1\r\n"))
		}
		if words[i] == "*2" {
			i += 5
		} else {
			i += 7
		}
	}
}

// ask asks about requests of some addresses.
func (s *stage) ask(addresses ...string) {
	for _, addr := range addresses {
		for _, q := range s.set.Questions(nil, s.loop.Now(), from(addr)) {
			called := false
			q.Ask(s.loop, func(d Decision) { called, s.got = true, append(s.got, d) })
			if called {
				s.t.Error("answered before Ask returned")
			}
		}
	}
}

func (s *stage) want(what string, want ...bool) {
	s.t.Helper()
	s.loop.Settle()
	var got []bool
	for _, d := range s.got {
		got = append(got, d.Allowed)
	}
	if !reflect.DeepEqual(got, want) {
		s.t.Errorf("%s: %+v, want %v", what, s.got, want)
	}
	s.got = nil
}

func redisPolicy(closed bool) *routing.Policy {
	p := shared(routing.SharedLimit{Redis: true, Timeout: 50 * time.Millisecond}, routing.RateLimitRule{Name: "each", Requests: 2, Per: time.Minute, By: []string{"source-ip"}}, routing.RateLimitRule{Name: "all", Requests: 100, Per: time.Minute})
	p.RateLimit.FailClosed = closed
	return p
}

func TestRedisCounts(t *testing.T) {
	s := newStage(t, redisPolicy(true))
	s.ask("10.0.0.1", "10.0.0.1", "10.0.0.2", "10.0.0.1")
	s.loop.Settle()
	d := s.got[len(s.got)-1]
	left := time.Unix(1e9, 0).Truncate(time.Minute).Add(time.Minute).Sub(time.Unix(1e9, 0))
	if d.Rule != "each" || d.Limit != 2 || d.Retry != left || d.Reset != left || d.Status() != 429 {
		t.Errorf("refused as %+v, want until the window is over in %v", d, left)
	}
	s.want("three of one address", true, true, true, false)
	s.loop.Advance(left)
	s.ask("10.0.0.1")
	s.want("in the next window", true)
	in := s.backs[0].in
	if len(s.backs) != 1 || !strings.HasPrefix(in, "*2\r\n$4\r\nINCR\r\n$") || !strings.Contains(in, "\r\n*3\r\n$7\r\nPEXPIRE\r\n$") || !strings.Contains(in, "$5\r\n61000\r\n") {
		t.Errorf("%d connections; sent %q", len(s.backs), in)
	}
	if !strings.Contains(in, "fairway:RateLimitPolicy/shop/limits:each:") || strings.Contains(in, "10.0.0.1") {
		t.Errorf("keys %q: want the policy, the rule, and nothing of the client", in)
	}
}

func TestRedisThatDoesNotAnswer(t *testing.T) {
	for _, closed := range []bool{false, true} {
		s := newStage(t, redisPolicy(closed))
		s.mute = true
		s.ask("10.0.0.1")
		s.want("too early")
		s.loop.Advance(50 * time.Millisecond)
		s.want("after Timeout", !closed)
		s.loop.Advance(time.Second)
		if s.backs[0].err == nil {
			t.Error("a silent connection is kept")
		}
		s.mute = false
		s.ask("10.0.0.1")
		s.want("on another connection", true)
	}
}

func TestRedisThatIsNotThere(t *testing.T) {
	s := newStage(t, redisPolicy(true))
	s.refuse = true
	s.ask("10.0.0.1", "10.0.0.2")
	s.want("nobody is there", false, false)
	s.refuse = false
	s.ask("10.0.0.1")
	s.want("it is left alone for a while", false)
	s.loop.Advance(10 * time.Second) // also as long as the endpoint is ejected
	s.ask("10.0.0.1")
	s.want("tried again", true)
}

func TestRedisThatMakesNoSense(t *testing.T) {
	for _, say := range []string{"HTTP/1.1 400 Bad Request\r\n", "$-1\r\n", ":x\r\n", ":1\r\n:1\r\n:1\r\n:1\r\n:1\r\n:1\r\n"} {
		s := newStage(t, redisPolicy(true))
		s.ask("10.0.0.1")
		s.want("before", true)
		s.backs[0].say = say
		s.ask("10.0.0.1")
		s.loop.Settle()
		if s.backs[0].err == nil {
			t.Errorf("%q: the connection is kept", say)
		}
	}
	s := newStage(t, redisPolicy(true))
	s.ask("10.0.0.1")
	s.want("before", true)
	s.backs[0].say = "-READONLY You can't write against a read only replica.\r\n"
	s.ask("10.0.0.1")
	s.want("an error is no count", false)
	s.ask("10.0.0.2")
	s.want("and the connection is good", true)
}

func TestRedisIsAskedByNoMoreThanItsBound(t *testing.T) {
	s := newStage(t, redisPolicy(true))
	s.mute = true
	for range maxWaiting {
		s.ask("10.0.0.1")
	}
	s.want("too early")
	s.ask("10.0.0.1")
	s.want("one too many", false)
	s.loop.Advance(2 * time.Second)
	if len(s.got) != maxWaiting {
		t.Errorf("%d have heard, want %d", len(s.got), maxWaiting)
	}
}

func TestQuestionsCanBeCancelled(t *testing.T) {
	s := newStage(t, redisPolicy(true))
	q := s.set.Questions(nil, epoch, from("10.0.0.1"))[0]
	cancel := q.Ask(s.loop, func(Decision) { t.Error("who has cancelled hears") })
	s.ask("10.0.0.2")
	cancel()
	s.want("the other", true)
	s.refuse = true
	s.store.Retain(nil)
	s.want("nothing")
	if s.backs[0].err == nil {
		t.Error("the connection of a store that nobody counts in is kept")
	}
	cancel = q.Ask(s.loop, func(Decision) { t.Error("who has cancelled hears") })
	cancel()
	s.refuse = false
	s.loop.Advance(time.Minute)
	s.ask("10.0.0.1")
	s.want("of a store that was left", false)
	if len(s.backs) != 1 {
		t.Error("a store that was left is connected to")
	}
}

func TestRedisLosesItsConnection(t *testing.T) {
	s := newStage(t, redisPolicy(true))
	s.ask("10.0.0.1")
	s.want("before", true)
	s.mute = true
	s.ask("10.0.0.1", "10.0.0.2")
	s.loop.Settle()
	s.backs[0].conn.Close()
	s.want("those under way", false, false)
	s.mute = false
	s.ask("10.0.0.3")
	s.want("on another connection", true)
	s.backs[1].conn.CloseWrite()
	s.loop.Settle()
	s.ask("10.0.0.3")
	s.want("after the end of the stream", true)
	if len(s.backs) != 3 {
		t.Errorf("%d connections, want 3", len(s.backs))
	}
}
