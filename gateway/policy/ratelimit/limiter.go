package ratelimit

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"

	"fairway.dev/routing"
)

// A Limiter is a policy's rate limits, and what has been counted. It lives as
// long as the policy does.
type Limiter struct {
	policy *routing.Policy
	spec   *routing.RateLimit
	broken bool // it cannot be had as it was written: nothing is counted
	rules  []rule
	start  time.Time // of local clocks; see rate
	redis  *redis    // that is asked; nil: none

	forgotten atomic.Bool // by the Store
}

type rule struct {
	spec    *routing.RateLimitRule
	matches []*routing.Matcher // one of them; none: all requests
	by      []attribute
	rate    rate
	name    string
	one     *single // of local limits without by
	table   *table  // and with it
}

// An attribute is what tells clients apart.
type attribute struct {
	by     string     // as the rule has it: "header:X-User"
	kind   string     // "header"
	header string     // in lower case
	claims [][]string // paths at which the claim may be: a name may have dots in it
}

func (s *Store) newLimiter(p *routing.Policy) *Limiter {
	l := &Limiter{policy: p, spec: p.RateLimit, start: s.o.Start}
	if l.broken = l.spec.Check() != nil; l.broken {
		return l
	}
	for i := range l.spec.Rules {
		l.rules = append(l.rules, newRule(&l.spec.Rules[i], i))
	}
	shared := l.spec.Shared
	for i := range l.rules {
		if r := &l.rules[i]; shared == nil && len(r.by) > 0 {
			r.table = newTable()
		} else if shared == nil {
			r.one = new(single)
		}
	}
	if shared != nil && shared.Redis {
		l.redis = s.redis(shared.Cluster)
	}
	return l
}

func newRule(spec *routing.RateLimitRule, index int) rule {
	r := rule{spec: spec, rate: newRate(spec), name: spec.Name}
	if r.name == "" {
		r.name = fmt.Sprintf("rules[%d]", index)
	}
	for i := range spec.Matches {
		m, err := routing.NewMatcher(&spec.Matches[i])
		if err != nil {
			panic("bug: a rate limit that was checked: " + err.Error())
		}
		r.matches = append(r.matches, m)
	}
	for _, by := range spec.By {
		kind, name, _ := strings.Cut(by, ":")
		r.by = append(r.by, attribute{by: by, kind: kind, header: strings.ToLower(name), claims: [][]string{{name}, strings.Split(name, ".")}})
	}
	return r
}

// matched reports whether one of the matches holds.
func (r *rule) matched(a *Attributes) bool {
	for _, m := range r.matches {
		if m.Holds(a.Request) {
			return true
		}
	}
	return len(r.matches) == 0
}

// counts reports whether the rule counts a request, and by which key.
func (r *rule) counts(a *Attributes) (key []byte, ok bool) {
	if !r.matched(a) {
		return nil, false
	}
	return r.key(a)
}

// key returns who the client is by the rule: each value with its length, so that
// no two clients have the same. It is valid until the next call. False: the
// request lacks one of them, and is not counted.
func (r *rule) key(a *Attributes) ([]byte, bool) {
	key := a.scratch[:0]
	for i := range r.by {
		before := len(key)
		if key = r.by[i].appendTo(key, a); len(key) == before {
			return nil, false
		}
	}
	a.scratch = key
	return key, true
}

// appendTo appends the values of the attribute. Nothing: there is none.
func (x *attribute) appendTo(b []byte, a *Attributes) []byte {
	switch x.kind {
	case "source-ip":
		if a.Client.IsValid() {
			ip := network(a.Client).As16()
			b = append(b, ip[:]...)
		}
		return b
	case "principal", "header":
		if value, there := x.value(a); there {
			b = appendText(b, value)
		}
		return b
	}
	values := x.claim(a)
	if len(values) > 0 {
		b = binary.AppendUvarint(b, uint64(len(values)))
	}
	for _, v := range values {
		b = appendText(b, v)
	}
	return b
}

// value is the text of an attribute that has one.
func (x *attribute) value(a *Attributes) (value string, there bool) {
	if x.kind == "principal" {
		return a.Identity, a.Identity != ""
	}
	if a.Request.Header == nil {
		return "", false
	}
	return a.Request.Header.Value(x.header)
}

func (x *attribute) claim(a *Attributes) []string {
	if a.Request.Claims == nil {
		return nil
	}
	for _, path := range x.claims {
		if values := a.Request.Claims.Claim(path); len(values) > 0 {
			return values
		}
	}
	return nil
}

// text is the attribute as a rate limit service is told.
func (x *attribute) text(a *Attributes) string {
	switch x.kind {
	case "source-ip":
		return network(a.Client).String()
	case "claim":
		return strings.Join(x.claim(a), ",")
	}
	value, _ := x.value(a)
	return value
}

// network is what of an address tells clients apart: of IPv6 the first 64 bits, as
// one client has them all (RFC 6177 section 2).
func network(addr netip.Addr) netip.Addr {
	addr = addr.Unmap()
	if addr.Is4() {
		return addr
	}
	return netip.PrefixFrom(addr.WithZone(""), 64).Masked().Addr()
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// take counts a request by all rules, or by none where one refuses it.
func (l *Limiter) take(now time.Time, a *Attributes) (d Decision) {
	if l.broken {
		return l.failed()
	}
	d.Allowed = true
	clock := ticksOf(max(now.Sub(l.start), 0))
	for i := range l.rules {
		r := &l.rules[i]
		key, ok := r.counts(a)
		if !ok {
			continue
		}
		one := r.decision(r.take(key, clock))
		one.Policy = l.policy.Name
		if d.Tighten(&one); !d.Allowed {
			l.giveBack(i, a)
			return d
		}
	}
	return d
}

// giveBack takes a request out of the counts of the first n rules.
func (l *Limiter) giveBack(n int, a *Attributes) {
	for i := range n {
		r := &l.rules[i]
		if key, ok := r.counts(a); ok {
			r.giveBack(key)
		}
	}
}

func (r *rule) take(key []byte, now ticks) taken {
	if r.table == nil {
		return r.one.take(&r.rate, now)
	}
	return r.table.take(key, &r.rate, now)
}

func (r *rule) giveBack(key []byte) {
	if r.table == nil {
		r.one.giveBack(&r.rate)
	} else {
		r.table.giveBack(key, &r.rate)
	}
}

// decision says what was taken in words of the rule.
func (r *rule) decision(t taken) Decision {
	d := Decision{Allowed: t.ok, Rule: r.name, Limit: r.spec.Requests, Per: r.spec.Per, Reset: t.full.duration()}
	if t.ok {
		d.Remaining = uint32(min(max(r.rate.depth-t.full, 0)/r.rate.interval, 1<<32-1))
	} else {
		d.Retry = (t.full + r.rate.interval - r.rate.depth).duration()
	}
	return d
}

// failed is the Decision about what cannot be counted.
func (l *Limiter) failed() Decision {
	return Decision{Allowed: !l.spec.FailClosed, Failed: true, Policy: l.policy.Name}
}

// ticks are times in parts of a nanosecond, so that the time between two of
// many requests is no whole number of nanoseconds off. They last for four years.
type ticks int64

const tickBits = 6

func ticksOf(d time.Duration) ticks { return ticks(min(d, 1<<(62-tickBits)) << tickBits) }

func (t ticks) duration() time.Duration { return time.Duration(max(t, 0)) >> tickBits }

// A rate is how many requests pass: a bucket of depth that each takes interval
// out of, and that fills as time passes.
type rate struct{ interval, depth ticks }

// newRate has the bucket hold the requests of a whole Per, and the burst.
func newRate(r *routing.RateLimitRule) rate {
	interval := max(ticksOf(r.Per)/ticks(r.Requests), 1)
	over, depth := bits.Mul64(uint64(r.Requests)+uint64(r.Burst), uint64(interval))
	if over != 0 || depth > 1<<60 {
		depth = 1 << 60
	}
	return rate{interval, ticks(depth)}
}
