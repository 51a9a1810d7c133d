package provision

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
)

// nodes are watched from the first Gateway on whose Service is of type NodePort.
type nodes struct {
	factory  informers.SharedInformerFactory
	informer cache.SharedIndexInformer
	wanted   func()        // begins it
	begin    chan struct{} // closed by wanted

	mu   sync.Mutex
	last []string
}

func newNodes(c kubernetes.Interface) *nodes {
	n := &nodes{
		factory: informers.NewSharedInformerFactoryWithOptions(c, 0, informers.WithTransform(trimNode)),
		begin:   make(chan struct{}),
	}
	n.informer = n.factory.Core().V1().Nodes().Informer()
	n.wanted = sync.OnceFunc(func() { close(n.begin) })
	return n
}

// run watches, once somebody wants it, until ctx ends. changed is called when
// the addresses are others.
func (n *nodes) run(ctx context.Context, changed func()) {
	select {
	case <-ctx.Done():
		return
	case <-n.begin:
	}
	look := func() {
		if n.informer.HasSynced() && n.differ() {
			changed()
		}
	}
	handler, err := n.informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { look() },
		UpdateFunc: func(any, any) { look() }, // of which most are heartbeats
		DeleteFunc: func(any) { look() },
	})
	if err != nil {
		panic("bug: " + err.Error()) // it has not begun, so that it has not ended
	}
	n.factory.Start(ctx.Done())
	if cache.WaitForCacheSync(ctx.Done(), handler.HasSynced) {
		look() // the last of the first may have been added before all were known
	}
	<-ctx.Done()
	n.factory.Shutdown()
}

// trimNode keeps of a node what is looked at.
func trimNode(o any) (any, error) {
	node, ok := o.(*corev1.Node)
	if !ok {
		return o, nil
	}
	node.ManagedFields, node.Annotations = nil, nil
	node.Spec = corev1.NodeSpec{}
	node.Status = corev1.NodeStatus{Addresses: node.Status.Addresses, Conditions: node.Status.Conditions}
	return node, nil
}

// differ reports whether the addresses are others than last time.
func (n *nodes) differ() bool {
	now := n.addresses()
	n.mu.Lock()
	defer n.mu.Unlock()
	if slices.Equal(n.last, now) {
		return false
	}
	n.last = now
	return true
}

// addresses are those of the nodes that are ready and take traffic from
// outside: their external ones, or, where no node has any, their internal ones.
func (n *nodes) addresses() []string {
	external, internal := map[string]bool{}, map[string]bool{}
	for _, o := range n.informer.GetStore().List() {
		node := o.(*corev1.Node)
		if _, out := node.Labels[corev1.LabelNodeExcludeBalancers]; out || !isReady(node) {
			continue
		}
		for _, a := range node.Status.Addresses {
			switch a.Type {
			case corev1.NodeExternalIP:
				external[a.Address] = true
			case corev1.NodeInternalIP:
				internal[a.Address] = true
			}
		}
	}
	if len(external) > 0 {
		return slices.Sorted(maps.Keys(external))
	}
	return slices.Sorted(maps.Keys(internal))
}

func isReady(n *corev1.Node) bool {
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// nodeAddresses returns the addresses of nodes, which are watched from now on.
func (t *term) nodeAddresses(ctx context.Context) ([]string, error) {
	t.nodes.wanted()
	if !cache.WaitForCacheSync(ctx.Done(), t.nodes.informer.HasSynced) {
		return nil, errors.New("nodes: no list of them in time")
	}
	return t.nodes.addresses(), nil
}

// lookAtNodePorts looks at the Gateways whose addresses are those of nodes.
func (t *term) lookAtNodePorts() {
	t.Reconciler.mu.Lock()
	defer t.Reconciler.mu.Unlock()
	for key, w := range t.wanted {
		if w.serviceType() == corev1.ServiceTypeNodePort {
			t.queue.AddAfter(item{gateway: key}, settle)
		}
	}
}
