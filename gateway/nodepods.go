package main

import (
	"fmt"
	"sync"

	corev1 "k8s.io/api/core/v1"

	"fairway.dev/routing"
	"fairway.dev/tlsmgr/identity"
)

// nodePods are which service accounts have a pod on which node, for node proxies
// that ask for certificates of these. The zero nodePods know of none.
type nodePods struct {
	mu     sync.Mutex
	places map[routing.ObjectKey]podPlace
	counts map[placed]int // of the pods that a node proxy speaks for
}

// A placed account is one that has a pod on a node.
type placed struct {
	account account
	node    string
}

type podPlace struct {
	placed
	captured bool // by a node proxy, for all that can be seen
}

// labelDataplane says who speaks for a pod, in Istio's words.
const labelDataplane = "istio.io/dataplane-mode"

// put takes over what is known of a pod now, nil where it is gone.
func (n *nodePods) put(k routing.ObjectKey, pod *corev1.Pod) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.places == nil {
		n.places, n.counts = map[routing.ObjectKey]podPlace{}, map[placed]int{}
	}
	if old := n.places[k]; old.captured {
		if n.counts[old.placed]--; n.counts[old.placed] == 0 {
			delete(n.counts, old.placed)
		}
	}
	if pod == nil || pod.Spec.NodeName == "" || pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed {
		delete(n.places, k)
		return
	}
	p := podPlace{
		placed{account{pod.Namespace, pod.Spec.ServiceAccountName}, pod.Spec.NodeName},
		// The network of the node is not taken from it, and who says none speaks
		// for itself: so do gateways, which the feed gives more than their traffic.
		!pod.Spec.HostNetwork && pod.Labels[labelDataplane] != "none",
	}
	n.places[k] = p
	if p.captured {
		n.counts[p.placed]++
	}
}

// runsOn returns nil if a pod of that account runs on the node of the pod that the
// caller's token is bound to.
func (n *nodePods) runsOn(a account, caller identity.Caller) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	node := caller.Node
	if node == "" { // before Kubernetes 1.30 tokens do not say
		node = n.places[routing.ObjectKey{Kind: "Pod", Namespace: caller.ID.Namespace, Name: caller.Pod}].node
	}
	if node == "" {
		return fmt.Errorf("it is not known on which node pod %s/%s is", caller.ID.Namespace, caller.Pod)
	}
	if n.counts[placed{a, node}] == 0 {
		return fmt.Errorf("no pod of service account %s/%s that it could speak for is on node %s", a.namespace, a.name, node)
	}
	return nil
}
