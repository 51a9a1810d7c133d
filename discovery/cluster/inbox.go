package cluster

import (
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"

	"fairway.dev/routing"
)

// An inbox is the queue between those who talk to the API server and the
// goroutine that owns the World. It holds the last word on each object, so it
// never holds more than there are objects.
type inbox struct {
	wake chan struct{} // of capacity 1: there is mail

	mu   sync.Mutex
	mail mail
}

// mail is what has arrived since somebody looked.
type mail struct {
	batches map[*watcher]*batch
	fetched []fetched
	looked  *looked // what the API server serves
	alarms  alarms
}

// A batch is what a watcher has seen.
type batch struct {
	whole   bool // objects are all that there are: others are gone
	objects map[routing.ObjectKey]object
}

// alarms are times that have come.
type alarms struct {
	look, sweep, patience, supply bool
}

func newInbox() *inbox {
	b := &inbox{wake: make(chan struct{}, 1)}
	b.mail.batches = map[*watcher]*batch{}
	return b
}

// put adds to the mail and wakes the owner.
func (b *inbox) put(add func(*mail)) {
	b.mu.Lock()
	add(&b.mail)
	b.mu.Unlock()
	select {
	case b.wake <- struct{}{}:
	default: // it is awake already
	}
}

// take empties the inbox.
func (b *inbox) take() mail {
	b.mu.Lock()
	defer b.mu.Unlock()
	m := b.mail
	b.mail = mail{batches: map[*watcher]*batch{}}
	return m
}

func (m *mail) batch(w *watcher) *batch {
	bt := m.batches[w]
	if bt == nil {
		bt = &batch{objects: map[routing.ObjectKey]object{}}
		m.batches[w] = bt
	}
	return bt
}

// delivery is the store of a reflector: it sends all on to the inbox.
type delivery struct{ *watcher }

func (d delivery) Add(o any) error    { return d.set(o) }
func (d delivery) Update(o any) error { return d.set(o) }
func (d delivery) Resync() error      { return nil }

func (d delivery) set(o any) error {
	arrived := d.unpack(o)
	d.events.Add(1)
	d.inbox.put(func(m *mail) { m.batch(d.watcher).objects[d.kind.key(arrived)] = arrived })
	return nil
}

func (d delivery) Delete(o any) error {
	k := d.kind.key(o.(metav1.Object))
	d.events.Add(1)
	d.inbox.put(func(m *mail) { m.batch(d.watcher).objects[k] = nil })
	return nil
}

// Replace takes a list of all objects.
func (d delivery) Replace(list []any, _ string) error {
	all := make(map[routing.ObjectKey]object, len(list))
	for _, o := range list {
		arrived := d.unpack(o)
		all[d.kind.key(arrived)] = arrived
	}
	d.inbox.put(func(m *mail) { m.batches[d.watcher] = &batch{whole: true, objects: all} })
	return nil
}

// Transformer trims objects as they are streamed, before the list of them is
// complete.
func (d delivery) Transformer() cache.TransformFunc {
	return func(o any) (any, error) { return d.unpack(o), nil }
}

// unpack trims what arrived. What has come in a parcel is trimmed already.
func (d delivery) unpack(o any) object {
	arrived := o.(object)
	if _, ok := o.(*parcel); !ok {
		d.kind.tidy(arrived)
	}
	return arrived
}
