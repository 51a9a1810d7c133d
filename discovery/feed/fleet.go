package feed

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"
)

// grace is how long a pod counts as it was after its stream has ended: it is
// about to come back, to this replica or to another.
const grace = 10 * time.Second

// announceEvery is how often OnFleet is called at most, so that a thousand
// acknowledgements are a few calls.
const announceEvery = 20 * time.Millisecond

// A fleet is what is known of all pods: those of this replica's streams, and
// those that the peers know.
type fleet struct {
	mu    sync.Mutex // guards what follows
	own   map[string]map[uint64]*ownPod
	peers map[*peer]*peerPods
	sets  map[string]int      // listener sets that own pods have, by name
	dirty map[string]struct{} // gateways that OnFleet is owed

	signal chan struct{}
	pods   *collection // the own ones, for the peers
}

// An ownPod is a pod by one of our streams.
type ownPod struct {
	PodState
	set *listenerSet
}

func newFleet() *fleet {
	return &fleet{
		own: map[string]map[uint64]*ownPod{}, peers: map[*peer]*peerPods{}, sets: map[string]int{},
		dirty: map[string]struct{}{}, signal: make(chan struct{}, 1), pods: newCollection(),
	}
}

// set notes how a stream's pod stands.
func (f *fleet) set(stream uint64, p PodState, set *listenerSet) {
	p.Listeners = set.versions
	f.mu.Lock()
	defer f.mu.Unlock()
	pods := f.own[p.Gateway]
	if pods == nil {
		pods = map[uint64]*ownPod{}
		f.own[p.Gateway] = pods
	}
	before := pods[stream]
	pods[stream] = &ownPod{p, set}
	f.pods.mu.Lock()
	f.use(set)
	f.pods.put(newResource(PodStateType, podName(p.Pod, stream), &podState{
		Pod: p.Pod, Node: p.Node, Program: p.Program, Replica: p.Replica, Gateway: p.Gateway, Version: p.Version, Connected: p.Connected,
		Listeners: set.digest.String(), Problems: wireProblems(p.Problems),
	}))
	if before != nil {
		f.unuse(before.set)
	}
	f.pods.mu.Unlock()
	f.pods.wake()
	f.changed(p.Gateway)
}

// leave forgets a stream that has ended: after a while in which the pod may
// come back, if there is anything to remember of it.
func (f *fleet) leave(stream uint64, p *PodState) {
	gateway := p.Gateway
	if p.Version == "" {
		f.drop(stream, gateway)
		return
	}
	time.AfterFunc(grace, func() { f.drop(stream, gateway) })
}

func (f *fleet) drop(stream uint64, gateway string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	p := f.own[gateway][stream]
	if p == nil {
		return
	}
	delete(f.own[gateway], stream)
	if len(f.own[gateway]) == 0 {
		delete(f.own, gateway)
	}
	f.pods.mu.Lock()
	f.pods.remove(podName(p.Pod, stream))
	f.unuse(p.set)
	f.pods.mu.Unlock()
	f.pods.wake()
	f.changed(gateway)
}

// use and unuse keep the sets that pods have among the resources. They are
// called with both locks held.
func (f *fleet) use(set *listenerSet) {
	name := set.name()
	if f.sets[name]++; f.sets[name] == 1 {
		f.pods.put(set.resource())
	}
}

func (f *fleet) unuse(set *listenerSet) {
	name := set.name()
	if f.sets[name]--; f.sets[name] == 0 {
		delete(f.sets, name)
		f.pods.remove(name)
	}
}

// merge changes what a peer knows, by change, which returns the gateways whose
// pods that touched.
func (f *fleet) merge(from *peer, change func(*peerPods) (gateways []string)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	pods := f.peers[from]
	if pods == nil {
		pods = newPeerPods()
		f.peers[from] = pods
	}
	if gateways := change(pods); len(gateways) > 0 {
		f.changed(gateways...)
	}
	if len(pods.versions) == 0 {
		delete(f.peers, from)
	}
}

// changed is called with the lock held.
func (f *fleet) changed(gateways ...string) {
	for _, g := range gateways {
		f.dirty[g] = struct{}{}
	}
	select {
	case f.signal <- struct{}{}:
	default:
	}
}

// of returns a Gateway's pods.
func (f *fleet) of(gateway string) Fleet {
	f.mu.Lock()
	defer f.mu.Unlock()
	var states []PodState
	for _, p := range f.own[gateway] {
		states = append(states, p.PodState)
	}
	for _, p := range f.peers {
		states = p.of(gateway, states)
	}
	return Fleet{Pods: newest(states)}
}

// announce calls say for each Gateway whose fleet changed, until ctx ends.
func (f *fleet) announce(ctx context.Context, say func(gateway string)) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-f.signal:
		}
		f.mu.Lock()
		dirty := slices.Sorted(maps.Keys(f.dirty))
		clear(f.dirty)
		f.mu.Unlock()
		for _, gateway := range dirty {
			say(gateway)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(announceEvery):
		}
	}
}
