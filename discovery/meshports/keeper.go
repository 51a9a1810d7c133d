package meshports

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"iter"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/rest"

	"fairway.dev/routing"
	"fairway.dev/routing/gatewayapi"
)

const (
	timeout      = 10 * time.Second      // of all requests of one write
	gather       = 20 * time.Millisecond // what comes within it is one write
	firstRetry   = time.Second
	slowestRetry = 30 * time.Second
	recheck      = time.Minute // whether others have edited the ConfigMap
	attempts     = 5           // of one write, when others write too
)

// Options are what a Keeper may be told.
type Options struct {
	// ConfigMap is "namespace/name". If empty, gatewayapi.DefaultMeshPorts.
	ConfigMap string
	// Log gets what happens. If nil, nothing is logged.
	Log *slog.Logger
}

// A Keeper gives the ports that the captures of a Spec want their numbers.
type Keeper struct {
	name  string
	store store
	log   *slog.Logger

	signal chan struct{}

	mu      sync.Mutex // guards what follows
	wanted  map[routing.CaptureName]string
	changed map[string]bool // keys that Run has not seen to: whether they are wanted
	version string          // of the ConfigMap as Run knows it
	stale   bool            // somebody has seen another one
	stats   Stats

	// Of the goroutine of Run.
	book     *book  // nil: to be read
	released []byte // as the ConfigMap has it
	exists   bool   // the ConfigMap
	said     string // the last error
}

// Stats are for metrics.
type Stats struct {
	Ports   int // that have a number
	Without int // that are wanted and have none
}

// New returns a Keeper that wants nothing.
func New(config *rest.Config, o Options) (*Keeper, error) {
	name := cmp.Or(o.ConfigMap, gatewayapi.DefaultMeshPorts)
	namespace, own, ok := strings.Cut(name, "/")
	if !ok || namespace == "" || own == "" {
		return nil, fmt.Errorf("ConfigMap %q for ports of waypoints: want namespace/name", name)
	}
	s, err := newStore(config, namespace, own)
	if err != nil {
		return nil, err
	}
	k := &Keeper{
		name: name, store: s, log: o.Log, signal: make(chan struct{}, 1),
		wanted: map[routing.CaptureName]string{}, changed: map[string]bool{},
	}
	if k.log == nil {
		k.log = slog.New(slog.DiscardHandler)
	}
	return k, nil
}

// Update takes a change of the Spec: each of its captures wants a number. Any
// goroutine may call it; it does not wait.
func (k *Keeper) Update(d *routing.Delta) {
	if len(d.Captures)+len(d.Removed.Captures) == 0 {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, name := range d.Removed.Captures {
		if key, ok := k.wanted[name]; ok {
			delete(k.wanted, name)
			k.changed[key] = false
		}
	}
	for _, c := range d.Captures {
		key := gatewayapi.MeshPortKey(c.Name)
		if _, ok := k.wanted[c.Name]; !ok && key != "" {
			k.wanted[c.Name] = key
			k.changed[key] = true
		}
	}
	if len(k.changed) > 0 {
		k.wake()
	}
}

// Seen says that the ConfigMap is there in a version, or gone where it is empty,
// for Run to look at it if that is news. Any goroutine may call it.
func (k *Keeper) Seen(version string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if version != k.version {
		k.stale = true
		k.wake()
	}
}

func (k *Keeper) wake() {
	select {
	case k.signal <- struct{}{}:
	default:
	}
}

// Stats returns how the ports stand. Any goroutine may call it.
func (k *Keeper) Stats() Stats {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.stats
}

// Run writes the ConfigMap until ctx ends. Only the replica that leads calls it,
// when Update was given the whole Spec: what it was not given is not wanted.
func (k *Keeper) Run(ctx context.Context) {
	k.doubt()
	retry := firstRetry
	for {
		wait := recheck
		if err := k.settle(ctx); err != nil {
			if ctx.Err() != nil {
				return
			}
			k.log.Error("ports of waypoints not written, trying again", "origin", "ConfigMap "+k.name, "err", err)
			wait, retry = retry-retry/10+rand.N(retry/5), min(2*retry, slowestRetry)
		} else {
			retry = firstRetry
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
			k.doubt()
		case <-k.signal:
			select {
			case <-ctx.Done():
				return
			case <-time.After(gather):
			}
		}
	}
}

// doubt has the ConfigMap read anew.
func (k *Keeper) doubt() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.stale = true
}

// settle writes what is to be written.
func (k *Keeper) settle(ctx context.Context) (err error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	for range attempts {
		if err = k.try(ctx); err == nil {
			return nil
		}
		k.doubt()
		if !apierrors.IsConflict(err) && !apierrors.IsAlreadyExists(err) && !apierrors.IsNotFound(err) {
			return err
		}
	}
	return err
}

// try does so once. Where it fails the ConfigMap is another than was thought.
func (k *Keeper) try(ctx context.Context) error {
	began := time.Now()
	due, err := k.due(ctx)
	if err != nil {
		return err
	}
	k.tell(k.enter(due, began))
	e := due.edit(k.book)
	text := k.book.releases()
	if !bytes.Equal(text, k.released) {
		e.BinaryData = map[string][]byte{releasedKey: text}
	}
	if len(e.Data) == 0 && e.BinaryData == nil && (k.exists || len(k.book.ports) == 0) {
		return nil
	}
	version := k.at()
	if k.exists {
		version, err = k.store.change(ctx, version, e)
	} else {
		version, err = k.store.create(ctx, k.book)
	}
	if err != nil {
		return err
	}
	k.released, k.exists = text, true
	k.know(version, false)
	k.log.Info("ports of waypoints written", "origin", "ConfigMap "+k.name, "ports", len(k.book.ports), "took", time.Since(began))
	return nil
}

// A draft is what may have to be written.
type draft struct {
	keys   map[string]bool   // that are looked at, and whether they are wanted
	before map[string]string // what the ConfigMap has of them
	had    *book             // what was known before the ConfigMap was read
}

// due returns what has changed since the last write, and all if the ConfigMap
// may be another than is thought: then it is read.
func (k *Keeper) due(ctx context.Context) (*draft, error) {
	k.mu.Lock()
	stale := k.stale
	d := &draft{keys: k.changed, before: map[string]string{}}
	k.changed = map[string]bool{}
	k.mu.Unlock()
	if !stale && k.book != nil {
		for key := range d.keys {
			if port, ok := k.book.ports[key]; ok {
				d.before[key] = textOf(port)
			}
		}
		return d, nil
	}
	m, err := k.store.get(ctx)
	if err != nil && !apierrors.IsNotFound(err) {
		return nil, err
	}
	d.before, d.had = m.Data, k.book
	if k.exists = err == nil; k.exists || k.book == nil { // else it is written as it was
		k.book = read(m)
	}
	k.released = m.BinaryData[releasedKey]
	k.know(m.ResourceVersion, true)
	k.mu.Lock()
	defer k.mu.Unlock()
	d.keys = make(map[string]bool, len(k.wanted))
	for _, keys := range []iter.Seq[string]{maps.Keys(m.Data), maps.Keys(k.book.ports)} {
		for key := range keys {
			d.keys[key] = false
		}
	}
	for _, key := range k.wanted {
		d.keys[key] = true
	}
	k.changed = map[string]bool{} // wanted has it
	return d, nil
}

// know notes the version that the ConfigMap has.
func (k *Keeper) know(version string, read bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.version = version
	if read {
		k.stale = false
	}
}

func (k *Keeper) at() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.version
}

// enter gives and takes numbers, and returns why keys that are wanted have none.
func (k *Keeper) enter(d *draft, now time.Time) (failed []error) {
	k.book.expire(now)
	keys := slices.Sorted(maps.Keys(d.keys))
	for _, key := range keys {
		if !d.keys[key] {
			k.book.take(key, now)
		}
	}
	for _, key := range keys {
		if _, has := k.book.ports[key]; has || !d.keys[key] {
			continue
		}
		var had uint16
		if d.had != nil {
			had = d.had.ports[key]
		}
		if err := k.book.give(key, had); err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", key, err))
		}
	}
	return failed
}

// edit returns what has to be written of a draft, now that b has its keys.
func (d *draft) edit(b *book) *edit {
	e := &edit{Data: map[string]*string{}}
	for key := range d.keys {
		before, was := d.before[key]
		port, is := b.ports[key]
		switch text := textOf(port); {
		case is && text != before:
			e.Data[key] = &text
		case !is && was:
			e.Data[key] = nil
		}
	}
	return e
}

// tell says that ports are without a number: once while nothing is new.
func (k *Keeper) tell(failed []error) {
	k.mu.Lock()
	k.stats = Stats{Ports: len(k.book.ports), Without: max(0, len(k.wanted)-len(k.book.ports))}
	without := k.stats.Without
	k.mu.Unlock()
	switch {
	case without == 0:
		k.said = ""
	case len(failed) > 0 && failed[0].Error() != k.said:
		k.said = failed[0].Error()
		k.log.Error("ports without a number: connections to them are refused where they are captured",
			"origin", "ConfigMap "+k.name, "ports", without, "err", failed[0])
	}
}
