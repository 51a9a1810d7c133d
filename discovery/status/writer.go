package status

import (
	"cmp"
	"context"
	"encoding/json"
	"log/slog"
	"reflect"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"fairway.dev/discovery/feed"
	"fairway.dev/discovery/provision"
	"fairway.dev/routing"
	"fairway.dev/routing/gatewayapi"
)

// Options are what a Writer needs. Only those that say so may be zero. The
// functions are called from any goroutine.
type Options struct {
	// Config leads to the API server. Its QPS and Burst are not looked at: the
	// Writer has its own bound.
	Config         *rest.Config
	ControllerName gatewayv1.GatewayController

	// Resource returns where the API server has the objects of a kind, in the
	// version that it serves; false where it has none.
	Resource func(kind string) (schema.GroupVersionResource, bool)
	// Object returns the object as it was last watched, a pointer to its API
	// type with status, or nil. If Object is nil, objects are asked for.
	Object func(routing.ObjectKey) any

	// Status returns the status of an object as it was last watched, and
	// whether Object's types do not hold it. It may be nil.
	Status func(routing.ObjectKey) (status json.RawMessage, apart bool)

	// Wanted, Version and Fleet are the feed's, of the Gateway "namespace/name".
	Wanted  func(gateway string) map[routing.ListenerName]string
	Version func(gateway string) string
	Fleet   func(gateway string) feed.Fleet
	// GatewayOf returns the Gateway "namespace/name" of a listener; "" where
	// there is none.
	GatewayOf func(routing.ListenerName) string

	// Patience is how long a change waits for the fleet's acknowledgement
	// before it is written that it is pending. If zero, 1.5 seconds.
	Patience time.Duration

	// Log gets what is done. If nil, nothing is logged.
	Log *slog.Logger
}

// Pace of the writes.
const (
	first      = 20 * time.Millisecond  // from a change to its write, so that those that come with it are in it
	spacing    = 100 * time.Millisecond // from one write of an object to the next,
	maxSpacing = 500 * time.Millisecond // and that is what it grows to while it changes on,
	maxFight   = 30 * time.Second       // or that, while somebody else takes the same back each time,
	quiet      = time.Second            // until it has not changed for so long
	retry      = 100 * time.Millisecond // after the first failure; doubled with each
	maxRetry   = 30 * time.Second

	writers = 16
	qps     = 400 // of all requests, with as many again at once
	burst   = 800
	timeout = 15 * time.Second // of one request
)

// A Writer writes what is known of objects into their status. Its methods may
// be called from any goroutine.
type Writer struct {
	o      Options
	client *rest.RESTClient
	wake   chan struct{} // room for one: something may be due

	mu        sync.Mutex
	objects   map[routing.ObjectKey]*object
	unsettled map[routing.ObjectKey]*object // Istio's, that pods are to acknowledge
	gateways  map[routing.ObjectKey]*gateway
	queues    [2]queue // Gateways, ListenerSets and classes; the rest
	running   bool
}

// A gateway is what concerns a Gateway besides its Report.
type gateway struct {
	infra *provision.State
	sets  map[routing.ObjectKey]bool // its ListenerSets
}

// New returns a Writer that knows nothing yet. The error is about o.Config.
func New(o Options) (*Writer, error) {
	client, err := newClient(o.Config)
	if err != nil {
		return nil, err
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	o.Patience = cmp.Or(o.Patience, 1500*time.Millisecond)
	return &Writer{
		o: o, client: client, wake: make(chan struct{}, 1),
		objects: map[routing.ObjectKey]*object{}, unsettled: map[routing.ObjectKey]*object{}, gateways: map[routing.ObjectKey]*gateway{},
	}, nil
}

// Report takes the outcome for an object. It is called after the feed has what
// comes with it, so that no older acknowledgement is taken for one of this.
// Nothing in r is changed any more.
func (w *Writer) Report(r gatewayapi.Report) {
	w.mu.Lock()
	defer w.mu.Unlock()
	o := w.objects[r.Object]
	if o == nil {
		if r.Gone && !w.running {
			return
		}
		o = &object{key: r.Object, place: -1}
		w.objects[r.Object] = o
	} else {
		w.leave(o)
	}
	o.report = &r
	o.news()
	if r.Gateway.Name != "" {
		w.gateway(r.Gateway).sets[r.Object] = true
	}
	if g := w.gateways[r.Object]; g != nil && r.Gone {
		g.infra = nil
		w.tidy(r.Object)
	}
	delete(w.unsettled, r.Object)
	if r.Gone && !w.running {
		delete(w.objects, r.Object) // who leads takes out what is ours
		return
	}
	if shapeOf(r.Object.Kind) == meshShape && !r.Gone {
		w.unsettled[r.Object] = o
	}
	w.touch(o)
}

// leave takes a ListenerSet from its Gateway.
func (w *Writer) leave(o *object) {
	if g := w.gateways[o.report.Gateway]; g != nil {
		delete(g.sets, o.key)
		w.tidy(o.report.Gateway)
	}
}

// gateway returns what is kept of a Gateway, which is made where there is none.
func (w *Writer) gateway(key routing.ObjectKey) *gateway {
	g := w.gateways[key]
	if g == nil {
		g = &gateway{sets: map[routing.ObjectKey]bool{}}
		w.gateways[key] = g
	}
	return g
}

// tidy forgets a Gateway of which nothing is kept.
func (w *Writer) tidy(key routing.ObjectKey) {
	if g := w.gateways[key]; g != nil && g.infra == nil && len(g.sets) == 0 {
		delete(w.gateways, key)
	}
}

// Changed says that an object, or its status, is another than it was: somebody
// else may have written it. Of objects without a Report nothing is done.
func (w *Writer) Changed(key routing.ObjectKey) {
	w.mu.Lock()
	defer w.mu.Unlock()
	o := w.objects[key]
	if o == nil || !w.running {
		return
	}
	w.touch(o)
}

// FleetChanged says that Fleet or Wanted return something else for the Gateway
// "namespace/name".
func (w *Writer) FleetChanged(name string) {
	troubled := slices.ContainsFunc(w.o.Fleet(name).Pods, func(p feed.PodState) bool { return len(p.Problems) > 0 })
	ns, name := cut(name)
	w.mu.Lock()
	defer w.mu.Unlock()
	key := routing.ObjectKey{Kind: "Gateway", Namespace: ns, Name: name}
	// Pods that acknowledge what is Programmed already make no difference: with
	// thousands of ListenerSets that is worth knowing.
	w.touchGateway(key, func(o *object) bool { return troubled || !o.settled })
	w.touchUnsettled()
}

// touchUnsettled has Istio's objects looked at that pods are to acknowledge.
func (w *Writer) touchUnsettled() {
	for _, o := range w.unsettled {
		w.touch(o)
	}
}

// Provisioned takes what provisioning knows of a Gateway.
func (w *Writer) Provisioned(s provision.State) {
	w.mu.Lock()
	defer w.mu.Unlock()
	g := w.gateway(s.Gateway)
	all := g.infra == nil || (g.infra.Ready > 0) != (s.Ready > 0) || !reflect.DeepEqual(g.infra.Trouble, s.Trouble)
	g.infra = &s
	if all {
		w.touchUnsettled()
	}
	w.touchGateway(s.Gateway, func(o *object) bool { return all || o.key == s.Gateway })
}

// touchGateway has those of a Gateway and its ListenerSets looked at that
// which says.
func (w *Writer) touchGateway(key routing.ObjectKey, which func(*object) bool) {
	if o := w.objects[key]; o != nil && which(o) {
		w.touch(o)
	}
	if g := w.gateways[key]; g != nil {
		for set := range g.sets {
			if o := w.objects[set]; o != nil && which(o) {
				w.touch(o)
			}
		}
	}
}

// Run writes until ctx ends: the leader's, one at a time. It may be called
// again after it has returned.
func (w *Writer) Run(ctx context.Context) {
	w.mu.Lock()
	w.running = true
	for _, o := range w.objects {
		o.restart() // who led before has written, too
		if shapeOf(o.key.Kind) == meshShape && !o.report.Gone {
			w.unsettled[o.key] = o
		}
		w.touch(o)
	}
	w.mu.Unlock()

	jobs := make(chan *object)
	var done sync.WaitGroup
	for range writers {
		done.Go(func() {
			for o := range jobs {
				w.work(ctx, o)
			}
		})
	}
	w.dispatch(ctx, jobs)
	close(jobs)
	done.Wait()

	w.mu.Lock()
	defer w.mu.Unlock()
	w.running = false
	w.queues = [2]queue{}
	for key, o := range w.objects {
		o.place, o.busy, o.again = -1, false, false
		if o.report.Gone {
			delete(w.objects, key)
		}
	}
}

// dispatch hands out what is due until ctx ends.
func (w *Writer) dispatch(ctx context.Context, jobs chan<- *object) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		o, wait := w.due()
		if o == nil {
			timer.Reset(wait)
			select {
			case <-w.wake:
			case <-timer.C:
			case <-ctx.Done():
				return
			}
			continue
		}
		select {
		case jobs <- o:
		case <-ctx.Done():
			return
		}
	}
}
