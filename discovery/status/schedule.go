package status

import (
	"container/heap"
	"crypto/sha256"
	"encoding/json"
	"strings"
	"time"

	"fairway.dev/routing"
	"fairway.dev/routing/gatewayapi"
)

// An object is one whose status is ours to write, in whole or in part. The
// Writer's lock guards it, but for known, waiting and failures, which are of
// whoever is busy with it.
type object struct {
	key    routing.ObjectKey
	report *gatewayapi.Report

	due   time.Time
	place int  // in its queue; -1 while it is in none
	busy  bool // somebody works on it
	again bool // it was touched since

	settled bool // all of it is Programmed: no acknowledgement makes a difference

	last    time.Time         // when it was written
	spacing time.Duration     // from last to the next
	said    [sha256.Size]byte // what was written: see saidBy
	fought  bool              // somebody else takes it back again and again

	known    known
	waiting  waiting
	failures int
}

// known is the status that the API server has, as far as we know.
type known struct {
	version    version
	generation int64           // of the object
	status     json.RawMessage // nil: none
	sent       json.RawMessage // what was written last, which the answer may differ from
	loaded     bool
	answered   bool // by the API server: not watched
	ours       bool // if answered: status.conditions were written by us last
}

// A version is which state of which object something is about.
type version struct{ uid, number string }

// waiting is for the fleet to answer.
type waiting struct {
	generation int64
	until      time.Time
}

// restart forgets what a writer before us may have changed.
func (o *object) restart() {
	o.known, o.waiting, o.failures = known{}, waiting{}, 0
	o.last, o.spacing, o.settled, o.fought = time.Time{}, 0, false, false
}

// touch has an object looked at soon: at once if it was not written lately.
func (w *Writer) touch(o *object) {
	if !w.running {
		return
	}
	now := time.Now()
	due := now.Add(first)
	if next := o.last.Add(o.spacing); next.After(due) {
		due = next
	}
	w.schedule(o, due)
}

// schedule has an object looked at at due, or before if it already was to be.
func (w *Writer) schedule(o *object, due time.Time) {
	switch q := w.queue(o); {
	case o.busy:
		o.again = true
		return
	case o.place < 0:
		o.due = due
		heap.Push(q, o)
	case due.Before(o.due):
		o.due = due
		heap.Fix(q, o.place)
	default:
		return
	}
	select {
	case w.wake <- struct{}{}:
	default: // it is awake
	}
}

// queue is the one that an object waits in: what many wait for does not stand
// behind thousands of routes.
func (w *Writer) queue(o *object) *queue {
	if shape := shapeOf(o.key.Kind); shape == gatewayShape || shape == classShape {
		return &w.queues[0]
	}
	return &w.queues[1]
}

// due takes the object that is next, or returns nil and how long to wait for one.
func (w *Writer) due() (*object, time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	wait := time.Hour
	for i := range w.queues {
		q := &w.queues[i]
		if len(*q) == 0 {
			continue
		}
		if left := (*q)[0].due.Sub(now); left > 0 {
			wait = min(wait, left)
			continue
		}
		o := heap.Pop(q).(*object)
		o.busy = true
		return o, 0
	}
	return nil, wait
}

// written notes that an object was written, and spaces its writes out: far,
// where the same has to be written again, as somebody else takes it back.
func (o *object) written(now time.Time, said [sha256.Size]byte) {
	since := now.Sub(o.last)
	again := said == o.said && since <= 2*maxFight
	switch {
	case again && o.fought:
		o.spacing = min(2*o.spacing, maxFight)
	case since > quiet:
		o.spacing = spacing
	default:
		o.spacing = min(2*o.spacing, maxSpacing)
	}
	o.last, o.said, o.fought = now, said, again
}

// news says that an object is to have another status than it was to have: that
// does not wait for the end of a fight.
func (o *object) news() {
	o.spacing, o.fought = min(o.spacing, maxSpacing), false
}

// saidBy stands for what a status says; the times of transitions, which are
// now where somebody has taken a condition out, are no part of it.
func saidBy(status json.RawMessage) [sha256.Size]byte {
	var value any
	if json.Unmarshal(status, &value) != nil {
		return sha256.Sum256(status)
	}
	data, err := json.Marshal(timeless(value))
	if err != nil {
		panic("bug: " + err.Error()) // it came out of JSON
	}
	return sha256.Sum256(data)
}

func timeless(value any) any {
	switch value := value.(type) {
	case map[string]any:
		delete(value, "lastTransitionTime")
		for _, v := range value {
			timeless(v)
		}
	case []any:
		for _, v := range value {
			timeless(v)
		}
	}
	return value
}

// A queue is a heap of objects by when they are due.
type queue []*object

func (q queue) Len() int           { return len(q) }
func (q queue) Less(i, j int) bool { return q[i].due.Before(q[j].due) }
func (q queue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].place, q[j].place = i, j
}

// Push is for package heap.
func (q *queue) Push(x any) {
	o := x.(*object)
	o.place = len(*q)
	*q = append(*q, o)
}

// Pop is for package heap.
func (q *queue) Pop() any {
	last := len(*q) - 1
	o := (*q)[last]
	o.place = -1
	(*q)[last] = nil
	*q = (*q)[:last]
	return o
}

// cut splits "namespace/name".
func cut(s string) (ns, name string) {
	ns, name, _ = strings.Cut(s, "/")
	return ns, name
}
