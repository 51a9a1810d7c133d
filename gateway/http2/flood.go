package http2

import "time"

// Each flood has a budget a connection: a number of frames at once, some more
// a second, and some more for each thing that gives a peer a reason to send
// them. Who overdraws one is told ENHANCE_YOUR_CALM and disconnected.
var floods = [numFloods]struct{ burst, perSecond int32 }{
	FloodResets:        {200, 20}, // and 1 for each request answered
	FloodErrors:        {100, 10}, // and 1 for each request answered
	FloodControl:       {200, 20}, // and 2 for each DATA frame of ours (BDP estimators ping on data), 1 for each stream
	FloodPriority:      {200, 20}, // and 4 for each stream
	FloodWindowUpdates: {500, 50}, // and 4 for each DATA frame of ours that no small window cut short, 4 for each stream; see gaveBack
	FloodEmpty:         {100, 10}, // and 1 for each DATA frame with something in it
}

const numFloods = FloodEmpty + 1

// manyClients is how many times the usual budget of resets and errors a
// connection has whose streams are those of many clients (Limits.ManyClients):
// what a few of them do must not end the requests of all.
const manyClients = 50

// maxContinuations is how many CONTINUATION frames one header block may have.
const maxContinuations = 32

// budgets are what a connection has left of each flood's budget.
type budgets struct {
	left   [numFloods]int32
	filled time.Time // when the last second's share was added
	many   bool      // manyClients holds
}

func newBudgets(now time.Time, many bool) budgets {
	b := budgets{filled: now, many: many}
	for k := range floods {
		b.left[k] = floods[k].burst * b.times(Kind(k))
	}
	return b
}

// times returns how many times the usual budget of k there is.
func (b *budgets) times(k Kind) int32 {
	if b.many && (k == FloodResets || k == FloodErrors) {
		return manyClients
	}
	return 1
}

// spend takes one from a budget and reports whether it was there.
func (b *budgets) spend(k Kind, now time.Time) bool {
	if passed := int32(min(now.Sub(b.filled)/time.Second, time.Hour/time.Second)); passed > 0 {
		b.filled = now
		for k := range floods {
			b.earn(Kind(k), passed*floods[k].perSecond*b.times(Kind(k)))
		}
	}
	b.left[k]--
	return b.left[k] >= 0
}

// earn gives to a budget, which never holds more than its burst.
func (b *budgets) earn(k Kind, n int32) { b.left[k] = min(b.left[k]+n, floods[k].burst*b.times(k)) }
