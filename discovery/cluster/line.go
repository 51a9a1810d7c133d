package cluster

import (
	"context"
	"errors"
	"net/url"
	"sync/atomic"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	"fairway.dev/routing"
)

// A line is what leads to the objects of one kind.
type line struct {
	kind    *kind
	events  atomic.Uint64
	watches atomic.Uint64 // begun

	// Of the goroutine that owns the World.
	watcher *watcher                     // nil while the kind is not served
	unread  map[routing.ObjectKey]string // resourceVersions that the types cannot hold

	// For all, under Source.state.
	version    string
	synced     bool
	objects    int
	unreadable int
	err        error
}

// A watcher keeps one line up, in one version of the kind.
type watcher struct {
	*line
	source *Source
	inbox  *inbox
	stop   context.CancelFunc
}

// backoff is how long a line that is down waits between tries: the API server
// is found again seconds after it is back.
var backoff = wait.Backoff{Duration: 200 * time.Millisecond, Factor: 2, Jitter: 0.5, Steps: 5, Cap: 3 * time.Second}

// watch begins to watch a line's kind in a version, in place of another one
// that may be watched.
func (s *Source) watch(ctx context.Context, l *line, version string) {
	if l.watcher != nil {
		l.watcher.stop()
	}
	s.state.Lock()
	l.version = version
	s.state.Unlock()
	ctx, stop := context.WithCancel(ctx)
	w := &watcher{line: l, source: s, inbox: s.inbox, stop: stop}
	l.watcher = w
	silent := klog.Logger{} // what happens is logged here, once
	r := cache.NewReflectorWithOptions(w.listWatch(s.wire.listWatch(l.kind, version)), nil, delivery{w}, cache.ReflectorOptions{
		Name: l.kind.name, TypeDescription: l.kind.name, Backoff: &s.backoff, Logger: &silent,
	})
	s.work.Go(func() { r.RunWithContext(klog.NewContext(ctx, silent)) })
}

// listWatch is lw, with an eye on how it goes.
func (w *watcher) listWatch(lw *cache.ListWatch) *cache.ListWatch {
	return &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			list, err := lw.ListWithContext(ctx, o)
			w.met(ctx, err)
			return list, err
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			stream, err := lw.WatchWithContext(ctx, o)
			if err == nil {
				w.watches.Add(1)
			}
			// A server that does not stream lists says so, and is asked for one.
			if o.SendInitialEvents == nil || err == nil || isAway(err) {
				w.met(ctx, err)
			}
			return stream, err
		},
	}
}

// isAway reports whether err says that the API server was not reached.
func isAway(err error) bool {
	var transport *url.Error
	return errors.As(err, &transport)
}

// met takes note of how a list or the beginning of a watch went.
func (w *watcher) met(ctx context.Context, err error) {
	if ctx.Err() != nil || apierrors.IsResourceExpired(err) || apierrors.IsGone(err) {
		return // it is stopped; or it asks for what is too old, and lists next
	}
	s := w.source
	s.state.Lock()
	before, wasAway := w.err, s.away
	w.err = err
	s.away = isAway(err)
	s.state.Unlock()

	w.tell(before, err, wasAway)
}

// tell logs what is new: once for all lines that the API server is away, and
// for each line what else there is.
func (w *watcher) tell(before, err error, wasAway bool) {
	all := w.source.log
	log := all.With("origin", w.kind.name)
	switch {
	case isAway(err) && !wasAway:
		all.Warn("API server away: what there was stays in force", "err", err)
	case !isAway(err) && wasAway:
		all.Info("API server back")
	}
	switch {
	case before == nil && err == nil, before != nil && err != nil && before.Error() == err.Error():
	case isAway(err) || apierrors.IsNotFound(err):
		log.Debug("kind is not watched", "err", err)
	case err != nil:
		log.Warn("kind cannot be watched", "err", err)
	case isAway(before) || apierrors.IsNotFound(before):
		log.Debug("kind is watched again")
	default:
		log.Info("kind is watched again")
	}
}
