// Package cluster is the World from a Kubernetes cluster: reflectors list and
// watch the kinds that Fairway reads, and what arrives goes through one queue
// into one [discovery.World], trimmed to what is read of it.
//
// The law: between two calls of apply the World stands still, and each call
// names every key whose object a translation would read differently from
// before. While the API server is away the World stays as it is; when it is
// back only real differences are reported.
//
// The package decides nothing about routes, and writes nothing.
package cluster

import (
	"context"
	"log/slog"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"

	"fairway.dev/routing"
)

// Options are what a Source may be told.
type Options struct {
	// Wanted says whether anything reads a Secret or a ConfigMap. The content
	// of others is not fetched, and not held. It is called from Run only, and
	// not while apply runs. If nil, none is.
	Wanted func(routing.ObjectKey) bool

	// Version of the program, for the User-Agent: "fairway-control/VERSION".
	Version string

	// Patience is how long, after the first kind is there, the first Change
	// waits for kinds that cannot be listed. If zero, 30 seconds.
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

	// More says that contents of Secrets and ConfigMaps that were asked for
	// are still on their way: what is made of the World now may lack them. The
	// first Change always has it. A Change without it follows, with or without
	// keys.
	More bool
}

// A Source is the World of a cluster.
type Source struct {
}

// New returns a Source of the cluster that config leads to. It does not
// connect yet.
func New(config *rest.Config, opts Options) (*Source, error) {
	return &Source{}, nil
}

// Run watches the cluster until ctx ends, and calls apply for each Change,
// from one goroutine. What gathers while apply runs is one Change.
func (s *Source) Run(ctx context.Context, apply func(Change)) error {
	<-ctx.Done()
	return nil
}

// Get returns the object, a pointer to its API type, or nil where there is
// none. Nobody changes it. A Secret or ConfigMap that there is, but whose
// content is not held, is fetched if it is wanted once apply has returned.
// Any goroutine may call Get.
func (s *Source) Get(k routing.ObjectKey) any { return nil }

// Pending returns how many contents were asked for and are on their way. In
// apply, after a translation, it says what the translation missed.
func (s *Source) Pending() int { return 0 }

// Resource returns where the API server has the objects of a kind, in the
// version that it serves of those that Fairway reads; false where it has none.
func (s *Source) Resource(kind string) (schema.GroupVersionResource, bool) {
	return schema.GroupVersionResource{}, false
}

// Synced reports whether the first Change was given, and what is not there
// yet or cannot be listed, for people.
func (s *Source) Synced() (bool, []string) { return false, nil }

// A KindState is how the watch of one kind goes, for metrics and debug pages.
type KindState struct {
	Kind     string
	Version  string // that is watched; empty while the API server has none
	Synced   bool   // listed once; it stays while the API server is away
	Err      error  // why the watch is down; nil while it is up
	Objects  int
	Events   uint64 // added, modified and deleted ones, since the start
	Restarts uint64 // lists and watches begun, but for the first
}

// Kinds returns the state of each kind, in order of names.
func (s *Source) Kinds() []KindState { return nil }
