package identity

import (
	"sync"
	"time"
)

const (
	burst      = 30              // certificates that one address may ask for at once
	nodeBurst  = 300             // the same where a node proxy asks for all pods of its node
	refill     = 2 * time.Second // for one more
	maxBuckets = 1 << 14
)

// A limiter bounds how often each address asks.
type limiter struct {
	burst   int // at once
	mu      sync.Mutex
	buckets map[string]*bucket
}

type bucket struct {
	left int
	at   time.Time // when left was right
}

// allow reports whether address may ask now.
func (l *limiter) allow(address string, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.buckets[address]
	if b == nil {
		b = l.add(address, now)
	}
	if n := int(now.Sub(b.at) / refill); n > 0 {
		b.left = min(l.burst, b.left+n)
		b.at = b.at.Add(time.Duration(n) * refill)
	}
	if b.left == 0 {
		return false
	}
	b.left--
	return true
}

func (l *limiter) add(address string, now time.Time) *bucket {
	if l.buckets == nil {
		l.buckets = map[string]*bucket{}
	}
	if len(l.buckets) >= maxBuckets {
		l.forget(now)
	}
	b := &bucket{left: l.burst, at: now}
	l.buckets[address] = b
	return b
}

// forget drops those that are full again, and then any until there is room for
// as many new ones as make the walk worth it.
func (l *limiter) forget(now time.Time) {
	for address, b := range l.buckets {
		if now.Sub(b.at) >= time.Duration(l.burst)*refill {
			delete(l.buckets, address)
		}
	}
	for address := range l.buckets {
		if len(l.buckets) <= maxBuckets/2 {
			return
		}
		delete(l.buckets, address)
	}
}
