// Package cluster is the World from a Kubernetes cluster: reflectors list and
// watch the kinds that Fairway reads, and what arrives goes through one queue
// into one [discovery.World], trimmed to what is read of it.
//
// The law: while apply runs the World stands still, and each call of it names
// every key whose object a translation would read differently from before.
// While the API server is away the World stays as it is; when it is back only
// real differences are reported.
//
// Gateway API's kinds and Istio's are there when their definitions are: a line of the log
// says which are not, and one that appears later is watched from then on. Of
// the versions of a kind the best that the API server serves is read, older
// ones into the types of the first. An object that the types cannot hold, of a
// definition newer than they are, is left as it was before; others around it
// are read.
//
// Of Secrets and ConfigMaps only those that somebody reads are fetched and
// held; of all others it is known that there are such objects. Pods, of which
// it is held who and where they are, are watched only while there is an object
// that selects some (a DestinationRule with subsets, a ServiceEntry with a
// workloadSelector) or [Options.WantsPods] says so.
//
// The package decides nothing about routes, and writes nothing.
package cluster

import (
	"cmp"
	"encoding/json"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"

	"fairway.dev/discovery"
	"fairway.dev/routing"
)

// Options are what a Source may be told.
type Options struct {
	// Wanted says whether anything reads a Secret or a ConfigMap. The content
	// of others is not fetched, and not held for longer than a minute. It is
	// called from Run's goroutine only: between calls of apply, and by
	// Pending. If nil, none is.
	Wanted func(routing.ObjectKey) bool

	// WantsPods says whether Pods are read, beside for objects that select some.
	// It is asked after each call of apply, from the same goroutine. If nil, they
	// are not.
	WantsPods func() bool

	// Version of the program, for the User-Agent: "fairway-control/VERSION".
	Version string

	// Patience is how long a content that cannot be fetched is waited for; and,
	// once it is known what is served and the first kind is there, how long the first Change waits for kinds
	// that one can do without and that we may not list, and ten times as long
	// for those that the API server fails to list. Other kinds, without which
	// what is served would be taken for what is not wanted, are waited for
	// however long it takes, and so is an API server that cannot be reached. If
	// zero, 30 seconds.
	Patience time.Duration

	// Log gets what happens. If nil, nothing is logged.
	Log *slog.Logger
}

// A Change names what is different from the last one.
type Change struct {
	// Keys of objects that a translation reads differently, in order: added,
	// edited and removed ones. The first Change names all that there are.
	Keys []routing.ObjectKey

	// Statuses are keys of objects that changed in nothing but their status
	// or resourceVersion: no translation reads that, who writes statuses does.
	Statuses []routing.ObjectKey

	// More says that contents of Secrets and ConfigMaps that were asked for, or
	// the Pods that are wanted, are still on their way: what is made of the World
	// now may lack them. The first Change always has it. A Change without it
	// follows, with or without keys.
	More bool
}

// A Source is the World of a cluster.
type Source struct {
	opts    Options
	log     *slog.Logger
	backoff wait.Backoff
	wire    *wire
	inbox   *inbox
	work    sync.WaitGroup // all goroutines but that of Run

	mu       sync.RWMutex // of these, which only Run's goroutine changes
	world    discovery.World
	statuses map[routing.ObjectKey]json.RawMessage // of kinds that keep theirs apart

	missed struct { // contents that Get did not find
		mu   sync.Mutex
		keys map[routing.ObjectKey]bool
	}

	now struct { // fetching while apply runs
		mu    sync.Mutex
		until time.Time // zero while apply does not run
	}

	// Of Run's goroutine; contents of who holds now.mu while apply runs.
	started  time.Time
	lines    []*line
	lookout  lookout
	contents contents
	demand   demand
	listed   bool // some kind was
	counting bool // patience began
	patience int  // how often it has run out
	begun    bool // the first Change was given
	owed     bool // a Change without More is to follow

	state sync.Mutex // of what Kinds, Synced and Resource say
	ready bool       // a Change without More was given
	away  bool       // the API server cannot be reached
}

// New returns a Source of the cluster that config leads to. It does not
// connect yet.
func New(config *rest.Config, opts Options) (*Source, error) {
	wire, err := newWire(config, "fairway-control/"+cmp.Or(opts.Version, "unknown"))
	if err != nil {
		return nil, fmt.Errorf("client of the API server: %w", err)
	}
	s := &Source{opts: opts, log: opts.Log, backoff: backoff, wire: wire, inbox: newInbox(), contents: newContents(), statuses: map[routing.ObjectKey]json.RawMessage{}}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	for _, k := range kinds {
		s.lines = append(s.lines, &line{kind: k})
	}
	return s, nil
}

// Get returns the object, a pointer to its API type, or nil where there is
// none; of a Node and a CustomResourceDefinition it is a
// *metav1.PartialObjectMetadata. Nobody changes it. Any goroutine may call Get.
//
// A Secret or ConfigMap that there is, but whose content is not held, is
// fetched. In apply Get waits for it, so that an edit that names another
// certificate takes no listener down: a quarter of a second at most, for all
// that one apply asks for. What has not come by then, and what the translation
// of the first Change asks for, comes with a later Change.
//
// Objects have no TypeMeta, and of their metadata what identifies and selects
// them; annotations only of fairway.dev, gateway.networking.k8s.io,
// service.kubernetes.io, istio.io, networking.istio.io, proxy.istio.io,
// ambient.istio.io and topology.istio.io. Of a Pod there is besides its
// controller's kind and name, its service account, its node, whether it has the
// network of that, its addresses and its phase. Of the status of Istio's objects
// only a WorkloadEntry's condition Healthy is there: see Status.
func (s *Source) Get(k routing.ObjectKey) any {
	s.mu.RLock()
	o := s.world.Get(k)
	s.mu.RUnlock()
	if o == nil && (k.Kind == "Secret" || k.Kind == "ConfigMap") {
		if o := s.fetchNow(k); o != nil {
			return o
		}
		s.missed.mu.Lock()
		if s.missed.keys == nil {
			s.missed.keys = map[routing.ObjectKey]bool{}
		}
		s.missed.keys[k] = true
		s.missed.mu.Unlock()
	}
	return o
}

// Status returns the status of an object as the API server has it, and whether
// its kind is one whose types do not hold it: Istio's. Any goroutine may call it.
func (s *Source) Status(k routing.ObjectKey) (status json.RawMessage, apart bool) {
	kind := kindNamed(k.Kind)
	if kind == nil || !kind.apart {
		return nil, false
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.statuses[k], true
}

// Pending returns how many contents were asked for and are on their way. In
// apply, from where alone it may be called, it counts what a translation has
// missed a moment ago; a Change without More follows when all have come.
func (s *Source) Pending() int {
	s.now.mu.Lock()
	defer s.now.mu.Unlock()
	n := s.contents.waiting
	s.missed.mu.Lock()
	defer s.missed.mu.Unlock()
	for k := range s.missed.keys {
		if s.contents.held[k] == nil && s.contents.version(k) != "" && s.wanted(k) {
			n++
		}
	}
	return n
}

func (s *Source) wanted(k routing.ObjectKey) bool { return s.opts.Wanted != nil && s.opts.Wanted(k) }

// Resource returns where the API server has the objects of a kind, in the
// version that it serves of those that Fairway reads; false where it has none.
// Any goroutine may call it.
func (s *Source) Resource(kind string) (schema.GroupVersionResource, bool) {
	l := s.line(kind)
	if l == nil {
		return schema.GroupVersionResource{}, false
	}
	s.state.Lock()
	defer s.state.Unlock()
	return l.kind.resource(l.version), l.version != ""
}

// line returns the line of a kind, or nil.
func (s *Source) line(kind string) *line {
	for _, l := range s.lines {
		if l.kind.name == kind {
			return l
		}
	}
	return nil
}

// Synced reports whether a Change without More was given, and what is not
// there yet or cannot be watched, for people. Any goroutine may call it.
func (s *Source) Synced() (ready bool, unfinished []string) {
	s.state.Lock()
	defer s.state.Unlock()
	for _, l := range s.lines {
		switch {
		case l.version == "" || l.synced && l.err == nil:
		case l.err != nil:
			unfinished = append(unfinished, l.kind.name+": "+l.err.Error())
		default:
			unfinished = append(unfinished, l.kind.name+": not listed yet")
		}
	}
	if !s.ready && unfinished == nil {
		unfinished = []string{"objects are being read"}
	}
	return s.ready, unfinished
}

// A KindState is how the watch of one kind goes, for metrics and debug pages.
type KindState struct {
	Kind     string
	Version  string // that is watched; empty while the API server has none
	Synced   bool   // listed once; it stays while the API server is away
	Err      error  // why the watch is down; nil while it is up
	Objects  int    // that are held, or known of
	Unread   int    // that the types cannot hold as they are now
	Events   uint64 // objects that were added, modified and deleted
	Restarts uint64 // watches that followed another one
}

// Kinds returns the state of each kind, in order of names; that of Pods only
// while they are watched. Any goroutine may call it.
func (s *Source) Kinds() []KindState {
	s.state.Lock()
	defer s.state.Unlock()
	states := make([]KindState, 0, len(s.lines))
	for _, l := range s.lines {
		if l.kind.onDemand && l.version == "" {
			continue
		}
		states = append(states, KindState{
			Kind: l.kind.name, Version: l.version, Synced: l.synced, Err: l.err, Objects: l.objects, Unread: l.unreadable,
			Events: l.events.Load(), Restarts: max(l.watches.Load(), 1) - 1,
		})
	}
	return states
}
