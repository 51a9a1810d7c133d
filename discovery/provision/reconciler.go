package provision

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/client-go/kubernetes"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	gatewayclient "sigs.k8s.io/gateway-api/pkg/client/clientset/versioned"

	"fairway.dev/routing"
)

// Options are what a Reconciler needs. Only those that say so may be zero.
type Options struct {
	Client         kubernetes.Interface
	Gateways       gatewayclient.Interface
	ControllerName gatewayv1.GatewayController

	// Image of the pods, unless parameters name another.
	Image string
	// ImagePullPolicy of it; may be empty.
	ImagePullPolicy corev1.PullPolicy
	// Control is the address of the control plane's feed, for pods.
	Control string
	// ControlID is the SPIFFE ID that it has to prove.
	ControlID string
	// MeshCA, if not nil, signs who the pods are in the mesh. Nil: control does.
	MeshCA *MeshCA

	// Report, if not nil, is told each new State. Calls for one Gateway come
	// one after the other.
	Report func(State)

	// Patience is how long an address that was asked for may take. If zero,
	// ten seconds.
	Patience time.Duration

	// Log gets what is done. If nil, nothing is logged.
	Log *slog.Logger
}

func (o *Options) patience() time.Duration {
	if o.Patience == 0 {
		return 10 * time.Second
	}
	return o.Patience
}

// workers is how many Gateways are worked on at once.
const workers = 4

// A Reconciler keeps the pods and Services of all Gateways as they are wanted.
// Its methods may be called from any goroutine.
type Reconciler struct {
	o Options

	mu     sync.Mutex
	wanted map[routing.ObjectKey]*Wanted
	roots  []byte
	term   *term // while Run runs
}

// New returns a Reconciler that wants nothing yet.
func New(o Options) *Reconciler {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Reconciler{o: o, wanted: map[routing.ObjectKey]*Wanted{}}
}

// Set says what a Gateway wants. Calling it again with the same costs nothing.
func (r *Reconciler) Set(w Wanted) {
	key := keyOf(w.Gateway)
	w.Ports, w.controller = w.ports(), r.o.ControllerName
	r.mu.Lock()
	defer r.mu.Unlock()
	old := r.wanted[key]
	if old != nil && same(old, &w) {
		return
	}
	r.wanted[key] = &w
	if r.term != nil {
		r.term.queue.Add(item{gateway: key})
		r.term.queue.Add(item{class: w.class()})
		if old != nil {
			r.term.queue.Add(item{class: old.class()})
		}
	}
}

// same reports whether two say the same to provisioning.
func same(a, b *Wanted) bool {
	return a.Gateway.UID == b.Gateway.UID &&
		a.class() == b.class() &&
		slices.Equal(a.Ports, b.Ports) &&
		a.waypoint() == b.waypoint() && a.defaultType() == b.defaultType() &&
		equality.Semantic.DeepEqual(a.Gateway.Spec.Addresses, b.Gateway.Spec.Addresses) &&
		equality.Semantic.DeepEqual(a.Gateway.Spec.Infrastructure, b.Gateway.Spec.Infrastructure) &&
		(a.Parameters == b.Parameters || equality.Semantic.DeepEqual(a.Parameters, b.Parameters))
}

// Remove says that a Gateway is gone, or not ours any longer. It is not for a
// Gateway that is merely not accepted: that keeps what it has.
func (r *Reconciler) Remove(gateway routing.ObjectKey) {
	r.mu.Lock()
	defer r.mu.Unlock()
	old := r.wanted[gateway]
	delete(r.wanted, gateway)
	if r.term != nil {
		r.term.queue.Add(item{gateway: gateway})
		if old != nil {
			r.term.queue.Add(item{class: old.class()})
		}
	}
}

// SetRoots gives the roots, in PEM, that pods verify the control plane with.
// Nothing is made before there are any.
func (r *Reconciler) SetRoots(pem []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if bytes.Equal(r.roots, pem) {
		return
	}
	r.roots = bytes.Clone(pem)
	if r.term != nil {
		for key := range r.wanted {
			r.term.queue.Add(item{gateway: key})
		}
	}
}

// Run does the work until ctx ends: the leader's, one at a time. It begins once
// Set was called for each Gateway that there is, or else the finalizers of
// their classes come and go. It may be called again after it has returned. The
// error says that the cluster's objects could not be read.
func (r *Reconciler) Run(ctx context.Context) error {
	t := newTerm(r)
	r.mu.Lock()
	if r.term != nil {
		r.mu.Unlock()
		return errors.New("provision: Run runs already")
	}
	r.term = t
	keys := slices.Collect(maps.Keys(r.wanted))
	r.mu.Unlock()
	err := t.run(ctx, keys)
	r.mu.Lock()
	r.term = nil
	r.mu.Unlock()
	return err
}

// get returns what a Gateway wants, nil where it is not wanted, and the roots.
func (r *Reconciler) get(key routing.ObjectKey) (*Wanted, []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.wanted[key], r.roots
}

// uses reports whether a wanted Gateway is of the class.
func (r *Reconciler) uses(class string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, w := range r.wanted {
		if w.class() == class {
			return true
		}
	}
	return false
}

func keyOf(g *gatewayv1.Gateway) routing.ObjectKey {
	return routing.ObjectKey{Kind: "Gateway", Namespace: g.Namespace, Name: g.Name}
}

// A State is what provisioning knows of a Gateway.
type State struct {
	Gateway routing.ObjectKey
	// Addresses are those that were assigned.
	Addresses []gatewayv1.GatewayStatusAddress
	// Ready is how many pods are ready.
	Ready int
	// Trouble is why the Gateway cannot be Programmed; nil if nothing is known
	// against it.
	Trouble *Trouble
}

// A Trouble is the reason and the message of a condition that is False.
type Trouble struct {
	Reason  gatewayv1.GatewayConditionReason
	Message string
}

// NameTaken is the reason where an object with the name that a Gateway's
// should have is somebody else's. The API has no word for it.
const NameTaken gatewayv1.GatewayConditionReason = "NameTaken"
