package ratelimit

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"time"

	"fairway.dev/gateway/loop"
	"fairway.dev/routing"
)

// defaultTimeout is how long a request waits for a store, where the policy does not
// say.
const defaultTimeout = 20 * time.Millisecond

// A Question is what the store of a shared limit is to be asked about a request.
// It is about one request, and holds none of its memory.
type Question struct {
	limiter *Limiter
	now     time.Time
	counted []counted
	message []byte // for a rate limit service
}

// A counted is a rule that counts the request.
type counted struct {
	rule *rule
	key  string        // of the count in Redis
	left time.Duration // until the count's window is over
}

// question returns what is asked about a request; nil: no rule counts it.
func (l *Limiter) question(now time.Time, a *Attributes) *Question {
	q := &Question{limiter: l, now: now}
	for i := range l.rules {
		r := &l.rules[i]
		key, ok := r.counts(a)
		if !ok {
			continue
		}
		c := counted{rule: r}
		if l.redis != nil {
			c.key, c.left = l.window(r, key, now)
		}
		q.counted = append(q.counted, c)
	}
	if len(q.counted) == 0 {
		return nil
	}
	if l.redis == nil {
		q.message = q.request(a)
	}
	return q
}

// window returns the key of the count of the window that now is in, and how long
// that lasts. Windows begin at multiples of Per since the year 1, in all pods. What
// tells clients apart is hashed: it may be a password.
func (l *Limiter) window(r *rule, client []byte, now time.Time) (key string, left time.Duration) {
	start := now.Truncate(r.spec.Per)
	sum := sha256.Sum256(client)
	return fmt.Sprintf("fairway:%s:%s:%d:%s", l.policy.Name, r.name, start.UnixMilli(), hex.EncodeToString(sum[:16])), start.Add(r.spec.Per).Sub(now)
}

// Cluster is where the store is.
func (q *Question) Cluster() routing.ClusterName { return q.limiter.spec.Shared.Cluster }

// Timeout is how long the request waits at most.
func (q *Question) Timeout() time.Duration {
	return cmp.Or(q.limiter.spec.Shared.Timeout, defaultTimeout)
}

// OfService reports whether a rate limit service is to be asked, by a call of
// ServicePath with Message, and Answer reads what it says. Else Ask asks.
func (q *Question) OfService() bool { return q.limiter.redis == nil }

// Failed is the Decision where the store gives no answer in time.
func (q *Question) Failed() Decision { return q.limiter.failed() }

// Ask asks the store from l. done hears the Decision, from a later event, once; it
// hears Failed where there is no answer within Timeout, and nothing after cancel.
func (q *Question) Ask(l *loop.Loop, done func(Decision)) (cancel func()) {
	return q.limiter.redis.ask(l, q, done)
}

// decide reads the counts that the store has of the rules.
func (q *Question) decide(counts []int64) Decision {
	d := Decision{Allowed: true}
	for i, c := range q.counted {
		limit := c.rule.spec.Requests
		one := Decision{
			Allowed: counts[i] <= int64(limit), Policy: q.limiter.policy.Name, Rule: c.rule.name,
			Limit: limit, Per: c.rule.spec.Per, Remaining: uint32(max(int64(limit)-counts[i], 0)), Reset: c.left,
		}
		if !one.Allowed {
			one.Retry = c.left
		}
		if d.Tighten(&one); !d.Allowed {
			break
		}
	}
	return d
}
