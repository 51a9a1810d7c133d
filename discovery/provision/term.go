package provision

import (
	"context"
	"errors"
	"maps"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"

	"fairway.dev/routing"
)

// An item is something to look at: a Gateway, or a GatewayClass by its name.
type item struct {
	gateway routing.ObjectKey
	class   string
}

// Pace of the work.
const (
	settle       = 50 * time.Millisecond // from an event of an object to looking at its Gateway
	firstRetry   = 200 * time.Millisecond
	lastRetry    = 30 * time.Second
	lookAgain    = 10 * time.Second // where nothing tells of a change: another's object, a deletion
	patienceOnce = 30 * time.Second // for all requests of one look
)

// A term is one time of leadership: what is watched, and what was written.
type term struct {
	*Reconciler
	kinds   []*kind
	factory informers.SharedInformerFactory
	objects map[string]cache.SharedIndexInformer // by kind
	pods    cache.SharedIndexInformer
	nodes   *nodes
	queue   workqueue.TypedRateLimitingInterface[item]

	mu     sync.Mutex
	fleets map[routing.ObjectKey]*fleet
	bases  map[string]routing.ObjectKey // "namespace/name" of objects: whose pods are whose
}

// A fleet is what was done for one Gateway. Whoever works on the Gateway, one
// at a time, owns it.
type fleet struct {
	written  map[string]written // by kind and name
	reported *State
}

func newTerm(r *Reconciler) *term {
	t := &term{
		Reconciler: r,
		kinds:      kindsOf(r.o.Client),
		objects:    map[string]cache.SharedIndexInformer{},
		nodes:      newNodes(r.o.Client),
		fleets:     map[routing.ObjectKey]*fleet{},
		bases:      map[string]routing.ObjectKey{},
		queue: workqueue.NewTypedRateLimitingQueue(
			workqueue.NewTypedItemExponentialFailureRateLimiter[item](firstRetry, lastRetry)),
	}
	t.factory = informers.NewSharedInformerFactoryWithOptions(r.o.Client, 0,
		informers.WithTransform(trim),
		informers.WithTweakListOptions(func(o *metav1.ListOptions) { o.LabelSelector = ownedObjects }))
	return t
}

// run watches, and works, until ctx ends.
func (t *term) run(ctx context.Context, keys []routing.ObjectKey) error {
	if err := t.watch(); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer t.factory.Shutdown()
	defer cancel()
	t.factory.Start(ctx.Done())
	if !t.sync(ctx) {
		return nil
	}
	t.queue.Add(item{}) // the classes that there are
	for _, key := range keys {
		t.queue.Add(item{gateway: key})
	}
	var done sync.WaitGroup
	done.Go(func() { t.nodes.run(ctx, t.lookAtNodePorts) })
	for range workers {
		done.Go(func() { t.work(ctx) })
	}
	<-ctx.Done()
	t.queue.ShutDown()
	done.Wait()
	return nil
}

// sync waits until what there is was listed; false if ctx ended before.
func (t *term) sync(ctx context.Context) bool {
	synced := []cache.InformerSynced{t.pods.HasSynced}
	for _, informer := range t.objects {
		synced = append(synced, informer.HasSynced)
	}
	for ctx.Err() == nil {
		soon, cancel := context.WithTimeout(ctx, lookAgain)
		ok := cache.WaitForCacheSync(soon.Done(), synced...)
		cancel()
		if ok {
			return true
		}
		if ctx.Err() == nil {
			for kind, informer := range t.objects {
				if !informer.HasSynced() {
					t.o.Log.Warn("objects cannot be listed", "kind", kind)
				}
			}
		}
	}
	return false
}

// fleet returns what was done for w's Gateway until now.
func (t *term) fleet(w *Wanted) *fleet {
	t.mu.Lock()
	defer t.mu.Unlock()
	key := keyOf(w.Gateway)
	t.bases[key.Namespace+"/"+w.name()] = key
	f := t.fleets[key]
	if f == nil {
		f = &fleet{written: map[string]written{}}
		t.fleets[key] = f
	}
	return f
}

// forget drops what is known of a Gateway.
func (t *term) forget(key routing.ObjectKey) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.fleets, key)
	maps.DeleteFunc(t.bases, func(_ string, k routing.ObjectKey) bool { return k == key })
}

// owner is the index of objects by the Gateway that they are of, "namespace/name",
// and of pods by what their Deployment is called.
const owner = "owner"

// watch makes the informers, which say when a Gateway is to be looked at.
func (t *term) watch() error {
	look := cache.ResourceEventHandlerFuncs{
		AddFunc:    func(o any) { t.changed(o) },
		UpdateFunc: func(_, o any) { t.changed(o) },
		DeleteFunc: func(o any) { t.changed(o) },
	}
	for _, k := range t.kinds {
		informer := k.informer(t.factory)
		if err := informer.AddIndexers(cache.Indexers{owner: ownerName}); err != nil {
			return err
		}
		if _, err := informer.AddEventHandler(look); err != nil {
			return err
		}
		t.objects[k.name] = informer
	}
	t.pods = t.factory.Core().V1().Pods().Informer()
	if err := t.pods.AddIndexers(cache.Indexers{owner: podBase}); err != nil {
		return err
	}
	_, err := t.pods.AddEventHandler(look)
	return err
}

// changed looks at the Gateway of an object soon.
func (t *term) changed(o any) {
	if gone, ok := o.(cache.DeletedFinalStateUnknown); ok {
		o = gone.Obj
	}
	object, ok := o.(metav1.Object)
	if !ok {
		return
	}
	if ref := gatewayOf(object); ref != nil {
		t.queue.AddAfter(item{gateway: routing.ObjectKey{Kind: "Gateway", Namespace: object.GetNamespace(), Name: ref.Name}}, settle)
		return
	}
	t.mu.Lock()
	key, ok := t.bases[object.GetNamespace()+"/"+object.GetLabels()[labelInstance]]
	t.mu.Unlock()
	if ok {
		t.queue.AddAfter(item{gateway: key}, settle)
	}
}

// gatewayOf returns the Gateway that is the object's controller; nil if none is.
func gatewayOf(o metav1.Object) *metav1.OwnerReference {
	ref := metav1.GetControllerOfNoCopy(o)
	if ref == nil || ref.Kind != "Gateway" {
		return nil
	}
	return ref
}

func ownerName(o any) ([]string, error) {
	object := o.(metav1.Object)
	if ref := gatewayOf(object); ref != nil {
		return []string{object.GetNamespace() + "/" + ref.Name}, nil
	}
	return nil, nil
}

func podBase(o any) ([]string, error) {
	pod := o.(metav1.Object)
	return []string{pod.GetNamespace() + "/" + pod.GetLabels()[labelInstance]}, nil
}

// trim keeps of an object what is looked at.
func trim(o any) (any, error) {
	m, ok := o.(metav1.Object)
	if !ok {
		return o, nil
	}
	var ours []metav1.ManagedFieldsEntry
	for _, e := range m.GetManagedFields() {
		if isApplied(&e) {
			ours = append(ours, e)
		}
	}
	m.SetManagedFields(ours)
	m.SetAnnotations(nil)
	switch o := o.(type) {
	case *corev1.ConfigMap:
		o.Data, o.BinaryData = nil, nil
	case *appsv1.Deployment:
		o.Spec = appsv1.DeploymentSpec{Replicas: o.Spec.Replicas}
	case *corev1.Pod:
		m.SetOwnerReferences(nil)
		o.Spec = corev1.PodSpec{NodeName: o.Spec.NodeName}
	}
	return o, nil
}

func isApplied(e *metav1.ManagedFieldsEntry) bool {
	return e.Manager == program && e.Operation == metav1.ManagedFieldsOperationApply && e.Subresource == ""
}

// ownedBy returns the objects of a kind whose controller is a Gateway of that
// name: this one, or one that was deleted.
func (t *term) ownedBy(kind string, gateway routing.ObjectKey) []metav1.Object {
	list, err := t.objects[kind].GetIndexer().ByIndex(owner, gateway.Namespace+"/"+gateway.Name)
	if err != nil {
		panic("bug: " + err.Error()) // the index is there
	}
	out := make([]metav1.Object, len(list))
	for i, o := range list {
		out[i] = o.(metav1.Object)
	}
	return out
}

// cached returns an object as it was watched; nil where there is none.
func (t *term) cached(kind, ns, name string) metav1.Object {
	o, ok, err := t.objects[kind].GetStore().GetByKey(ns + "/" + name)
	if err != nil || !ok {
		return nil
	}
	return o.(metav1.Object)
}

// work does what the queue says until it is shut down.
func (t *term) work(ctx context.Context) {
	for {
		it, down := t.queue.Get()
		if down {
			return
		}
		again, err := t.look(ctx, it)
		switch {
		case ctx.Err() != nil:
		case err != nil:
			if !errors.Is(err, errSoon) {
				t.o.Log.Warn("provisioning", "gateway", it.gateway.Namespace+"/"+it.gateway.Name, "err", err)
			}
			t.queue.AddRateLimited(it)
		default:
			t.queue.Forget(it)
			if again > 0 {
				t.queue.AddAfter(it, again)
			}
		}
		t.queue.Done(it)
	}
}

// errSoon says that the cluster has to catch up, and nothing is wrong.
var errSoon = errors.New("the cluster catches up")

// look does what one item needs, and says when to look again at the latest; 0
// means when something changes.
func (t *term) look(ctx context.Context, it item) (again time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, patienceOnce)
	defer cancel()
	switch {
	case it == item{}:
		return 0, t.classes(ctx)
	case it.class != "":
		return 0, t.class(ctx, it.class)
	}
	w, roots := t.get(it.gateway)
	if w == nil {
		return 0, t.release(ctx, it.gateway)
	}
	if len(roots) == 0 {
		return 0, nil // SetRoots comes back to it
	}
	return t.reconcile(ctx, w, roots)
}
