package ratelimit

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"fairway.dev/gateway/message"
	"fairway.dev/gateway/policy"
	"fairway.dev/routing"
)

var epoch = time.Unix(1e9, 0)

// at is a time after the epoch.
func at(d time.Duration) time.Time { return epoch.Add(d) }

// from is a request of an address.
func from(addr string, edit ...func(*Attributes)) *Attributes {
	fields := &message.Fields{}
	a := &Attributes{Client: netip.MustParseAddr(addr), Request: &routing.Request{Path: "/a", Method: "GET", Header: fields}}
	for _, f := range edit {
		f(a)
	}
	return a
}

// with adds a field.
func with(name, value string) func(*Attributes) {
	return func(a *Attributes) { a.Request.Header.(*message.Fields).Append(name, value) }
}

func limited(rules ...routing.RateLimitRule) *routing.Policy {
	return &routing.Policy{Name: "RateLimitPolicy/shop/limits", RateLimit: &routing.RateLimit{Rules: rules}}
}

func setOf(policies ...*routing.Policy) *Set { return NewStore(Options{Start: epoch}).Set(policies) }

// A claims is a token.
type claims map[string][]string

func (c claims) Claim(path []string) []string { return c[fmt.Sprint(path)] }

func TestBucketsFillEvenly(t *testing.T) {
	s := setOf(limited(routing.RateLimitRule{Requests: 4, Per: time.Second, Burst: 2}))
	a := from("10.0.0.1")
	steps := []struct {
		at   time.Duration
		pass int           // how many pass now
		wait time.Duration // what the next one is told
	}{
		{0, 6, 250 * time.Millisecond}, // Requests and Burst
		{200 * time.Millisecond, 0, 50 * time.Millisecond},
		{250 * time.Millisecond, 1, 250 * time.Millisecond},
		{time.Second, 3, 250 * time.Millisecond},
		{time.Hour, 6, 250 * time.Millisecond}, // no more than the bucket holds
	}
	for _, step := range steps {
		passed := 0
		d := s.Take(at(step.at), a)
		for ; d.Allowed; d = s.Take(at(step.at), a) {
			if passed++; passed > 100 {
				t.Fatal("no end")
			}
		}
		if passed != step.pass || d.Retry != step.wait || d.Remaining != 0 || d.Status() != 429 || d.Rule != "rules[0]" {
			t.Errorf("at %v: %d pass, then %+v; want %d and %v", step.at, passed, d, step.pass, step.wait)
		}
	}
}

func TestClientsAreToldApart(t *testing.T) {
	token := func(a *Attributes) { a.Request.Claims = claims{"[sub]": {"me"}, "[realm roles]": {"x", "y"}} }
	id := func(s string) func(*Attributes) { return func(a *Attributes) { a.Identity = s } }
	tests := []struct {
		by       string
		one, two *Attributes
		same     bool // they count as one; else each by itself
		counted  bool // the second is counted at all
	}{
		{"", from("10.0.0.1"), from("10.0.0.2"), true, true},
		{"source-ip", from("10.0.0.1"), from("10.0.0.2"), false, true},
		{"source-ip", from("10.0.0.1"), from("::ffff:10.0.0.1"), true, true},
		{"source-ip", from("fd00::1"), from("fd00::2"), true, true}, // of one /64
		{"source-ip", from("fd00::1"), from("fd00:0:0:1::1"), false, true},
		{"source-ip", from("10.0.0.1"), from("10.0.0.1", func(a *Attributes) { a.Client = netip.Addr{} }), false, false},
		{"principal", from("10.0.0.1", id("a")), from("10.0.0.1", id("b")), false, true},
		{"principal", from("10.0.0.1", id("a")), from("10.0.0.1"), false, false},
		{"header:X-User", from("10.0.0.1", with("x-user", "a")), from("10.0.0.2", with("X-USER", "a")), true, true},
		{"header:X-User", from("10.0.0.1", with("x-user", "a")), from("10.0.0.2", with("X-USER", "b")), false, true},
		{"header:X-User", from("10.0.0.1", with("x-user", "a")), from("10.0.0.2"), false, false},
		{"claim:sub", from("10.0.0.1", token), from("10.0.0.1", token), true, true},
		{"claim:realm.roles", from("10.0.0.1", token), from("10.0.0.2", token), true, true},
		{"claim:sub", from("10.0.0.1", token), from("10.0.0.1"), false, false},
	}
	for _, tt := range tests {
		r := routing.RateLimitRule{Requests: 1, Per: time.Minute}
		if tt.by != "" {
			r.By = []string{tt.by}
		}
		s := setOf(limited(r))
		if d := s.Take(epoch, tt.one); !d.Allowed || d.Per == 0 {
			t.Errorf("%s: the first %+v", tt.by, d)
		}
		d := s.Take(epoch, tt.two)
		if d.Allowed == tt.same || (d.Per != 0) != tt.counted {
			t.Errorf("%s: the second %+v, want one client %v, counted %v", tt.by, d, tt.same, tt.counted)
		}
	}
	// Two values are not one that looks like both.
	s := setOf(limited(routing.RateLimitRule{Requests: 1, Per: time.Minute, By: []string{"header:a", "header:b"}}))
	s.Take(epoch, from("10.0.0.1", with("a", "x"), with("b", "yz")))
	if d := s.Take(epoch, from("10.0.0.1", with("a", "xy"), with("b", "z"))); !d.Allowed {
		t.Error("x and yz are xy and z")
	}
}

func TestRulesCountEachByItself(t *testing.T) {
	get := routing.RateLimitRule{Name: "get", Requests: 3, Per: time.Minute, Matches: []routing.Match{{Method: "GET"}}}
	all := routing.RateLimitRule{Name: "all", Requests: 2, Per: time.Minute}
	put := routing.RateLimitRule{Name: "put", Requests: 1, Per: time.Hour, Matches: []routing.Match{{Method: "PUT"}}}
	s := setOf(limited(get, put), &routing.Policy{Name: "RateLimitPolicy/shop/all", RateLimit: &routing.RateLimit{Rules: []routing.RateLimitRule{all}}})
	a := from("10.0.0.1")
	d := s.Take(epoch, a)
	if !d.Allowed || d.Rule != "all" || d.Remaining != 1 || d.Limit != 2 || d.Policy != "RateLimitPolicy/shop/all" {
		t.Errorf("%+v: want the rule of which the least is left", d)
	}
	s.Take(epoch, a)
	for range 5 {
		if d := s.Take(epoch, a); d.Allowed || d.Rule != "all" {
			t.Errorf("%+v: want it refused by all", d)
		}
	}
	// Who was refused has taken nothing: one more is left in get.
	if d := s.local[0].take(epoch, a); !d.Allowed || d.Remaining != 0 {
		t.Errorf("%+v: want the third of get", d)
	}
	s.GiveBack(a)
	if d := s.Take(epoch, a); !d.Allowed {
		t.Errorf("%+v: want the one that was given back", d)
	}
}

func TestFields(t *testing.T) {
	tests := []struct {
		d    Decision
		want []policy.Edit
	}{
		{Decision{Allowed: true}, nil},
		{Decision{Allowed: true, Limit: 10, Per: time.Minute, Remaining: 3, Reset: 1500 * time.Millisecond},
			[]policy.Edit{{Name: "x-ratelimit-limit", Value: "10, 10;w=60"}, {Name: "x-ratelimit-remaining", Value: "3"}, {Name: "x-ratelimit-reset", Value: "2"}}},
		{Decision{Limit: 1, Per: time.Second, Retry: time.Millisecond}, []policy.Edit{
			{Name: "x-ratelimit-limit", Value: "1, 1;w=1"}, {Name: "x-ratelimit-remaining", Value: "0"}, {Name: "x-ratelimit-reset", Value: "0"}, {Name: "retry-after", Value: "1"}}},
	}
	for _, tt := range tests {
		if got := tt.d.Fields(nil); !slices.Equal(got, tt.want) {
			t.Errorf("%+v: %v, want %v", tt.d, got, tt.want)
		}
	}
}

func TestBrokenLimitsCountNothing(t *testing.T) {
	p := limited(routing.RateLimitRule{Requests: 0, Per: time.Second})
	if d := setOf(p).Take(epoch, from("10.0.0.1")); !d.Allowed {
		t.Errorf("%+v: want it to pass", d)
	}
	closed := limited()
	closed.RateLimit.FailClosed = true
	if d := setOf(closed).Take(epoch, from("10.0.0.1")); d.Allowed || d.Status() != 503 || d.Policy == "" {
		t.Errorf("%+v: want 503", d)
	}
	if !setOf(&routing.Policy{Name: "a", Authorization: &routing.Authorization{}}).Empty() {
		t.Error("authorization is a rate limit")
	}
}

// What has been counted stays as long as the policy does.
func TestCountsLiveThroughGenerations(t *testing.T) {
	store := NewStore(Options{Start: epoch})
	p := limited(routing.RateLimitRule{Requests: 1, Per: time.Hour})
	a := from("10.0.0.1")
	if d := store.Set([]*routing.Policy{p}).Take(epoch, a); !d.Allowed {
		t.Fatal(d)
	}
	store.Retain([]*routing.Policy{p})
	if d := store.Set([]*routing.Policy{p}).Take(epoch, a); d.Allowed {
		t.Error("forgotten while in force")
	}
	edited := *p
	if d := store.Set([]*routing.Policy{p}).Take(epoch, a); d.Allowed {
		t.Error("forgotten for the sake of an edit")
	}
	if d := store.Set([]*routing.Policy{&edited}).Take(epoch, a); !d.Allowed {
		t.Error("an edited policy begins anew")
	}
	store.Retain(nil)
	if len(store.limiters) != 0 {
		t.Error("kept though not in force")
	}
}

// Of more clients than there is room for those are forgotten that came first.
func TestClientsAreBounded(t *testing.T) {
	tab, r := newTable(), rate{interval: 10, depth: 10}
	key := func(i int) []byte { return fmt.Append(nil, i) }
	const n = 3 * shards * perShard
	for i := range n {
		if got := tab.take(key(i), &r, 0); !got.ok {
			t.Fatalf("client %d: %+v", i, got)
		}
		if again := tab.take(key(0), &r, 0); i > 0 && again.ok {
			t.Fatalf("client 0 is forgotten, though it came last, before client %d", i)
		}
	}
	known := 0
	for i := range tab.shards {
		s := &tab.shards[i]
		if len(s.buckets) > perShard || len(s.index) != len(s.buckets) {
			t.Errorf("part %d has %d buckets and %d names", i, len(s.buckets), len(s.index))
		}
		known += len(s.buckets)
	}
	if known != shards*perShard {
		t.Errorf("%d clients are known, want %d", known, shards*perShard)
	}
	if tab.take(key(n-1), &r, 0).ok {
		t.Error("the last is forgotten")
	}
	tab.giveBack(key(1), &r) // long forgotten
}

// However many loops there are, the limit is the pod's: of a bucket as much passes
// as one goroutine would have let pass, and in any time no more than it says.
func TestLoopsShareALimit(t *testing.T) {
	for _, by := range [][]string{nil, {"source-ip"}} {
		s := setOf(limited(routing.RateLimitRule{Requests: 1000, Per: time.Second, By: by}))
		var wg sync.WaitGroup
		var mu sync.Mutex
		passed := 0
		for range 8 {
			wg.Go(func() {
				a, n := from("10.0.0.1"), 0
				for i := range 1000 {
					if s.Take(at(time.Duration(i)*time.Millisecond/2), a).Allowed {
						n++
					}
				}
				mu.Lock()
				passed += n
				mu.Unlock()
			})
		}
		wg.Wait()
		if passed != 1000+499 { // what is there, and what comes in 499.5 ms
			t.Errorf("by %v: %d pass, want 1499", by, passed)
		}
	}
}

// An oracle keeps each bucket as a fraction of tokens.
func TestBucketsAreThoseOfTheOracle(t *testing.T) {
	for seed := range uint64(500) {
		c := rand.New(rand.NewPCG(seed, 0))
		spec := routing.RateLimitRule{Requests: 1 + c.Uint32N(9), Burst: c.Uint32N(3), Per: time.Duration(1+c.IntN(4)) * 90 * time.Second}
		s, a := setOf(limited(spec)), from("10.0.0.1")
		// In parts of a token: Per makes Requests of them.
		size := int64(spec.Requests+spec.Burst) * int64(spec.Per)
		tokens, last, now := size, time.Duration(0), time.Duration(0)
		for range 200 {
			now += time.Duration(c.IntN(20)) * spec.Per / 20 / 4
			tokens = min(size, tokens+int64(now-last)*int64(spec.Requests))
			last = now
			want := tokens >= int64(spec.Per)
			if want {
				tokens -= int64(spec.Per)
			}
			near := tokens%int64(spec.Per) < 1000 || tokens%int64(spec.Per) > int64(spec.Per)-1000 // ticks are rounded
			if d := s.Take(at(now), a); d.Allowed != want && !near {
				t.Fatalf("seed %d, %+v at %v: %+v, want %v", seed, spec, now, d, want)
			} else if d.Allowed != want {
				break
			}
		}
	}
}

func TestTakeDoesNotAllocate(t *testing.T) {
	s := setOf(limited(
		routing.RateLimitRule{Requests: 1e6, Per: time.Hour, By: []string{"source-ip", "header:x-user"}, Matches: []routing.Match{{Path: routing.PathMatch{Value: "/a"}}}},
		routing.RateLimitRule{Requests: 1e6, Per: time.Hour},
	))
	a := from("10.0.0.1", with("x-user", "me"))
	if n := testing.AllocsPerRun(100, func() { s.Take(epoch, a) }); n != 0 {
		t.Errorf("Take allocates %v times, want 0", n)
	}
}

func BenchmarkTake(b *testing.B) {
	for _, by := range [][]string{nil, {"source-ip"}} {
		b.Run(fmt.Sprint(by), func(b *testing.B) {
			s := setOf(limited(routing.RateLimitRule{Requests: 1e6, Per: time.Second, By: by}))
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				a := from("10.0.0.1")
				for pb.Next() {
					s.Take(epoch, a)
				}
			})
		})
	}
}
