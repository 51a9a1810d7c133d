package feed

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"fairway.dev/routing"
)

// A Fleet is a Gateway's pods.
type Fleet struct {
	Pods []PodState // by name
}

// PodState is what a pod has in force.
type PodState struct {
	Pod       string // "namespace/name"
	Node      string // of Kubernetes
	Program   string // its version
	Replica   string // of control, that the pod is connected to
	Gateway   string // "namespace/name"
	Version   string // of the view in force; "" before the first acknowledgement
	Connected time.Time
	// Listeners are the versions in force, to be compared with those of
	// Wanted. The map is shared: do not change it.
	Listeners map[routing.ListenerName]string
	// Problems are what the pod reported: ports that it could not bind,
	// certificates that it could not use, resources that it could not read.
	Problems []*routing.Problem
}

// newest returns the states of a Gateway's pods, each once: a pod that came
// back is known by its last stream too, and stands as it did until it has
// acknowledged something on the new one.
func newest(states []PodState) []PodState {
	silent := func(s PodState) int {
		if s.Version == "" {
			return 1
		}
		return 0
	}
	slices.SortFunc(states, func(a, b PodState) int {
		return cmp.Or(cmp.Compare(a.Pod, b.Pod), silent(a)-silent(b), b.Connected.Compare(a.Connected), cmp.Compare(a.Replica, b.Replica))
	})
	return slices.CompactFunc(states, func(a, b PodState) bool { return a.Pod == b.Pod })
}

// The kinds of resources of PodStateType.
const (
	podKind       = "pod/"       // a stream of a pod: "pod/shop/edge-abc/17"
	listenersKind = "listeners/" // a set of versions, by its digest: most pods have the same
)

// podState is PodState on the wire.
type podState struct {
	Pod       string
	Node      string
	Program   string
	Replica   string
	Gateway   string
	Version   string
	Connected time.Time
	Listeners string // the digest of a set
	Problems  []problem
}

type listenerVersion struct {
	Listener routing.ListenerName
	Version  string
}

// listenerSetWire is listenerSet on the wire, in the order of names.
type listenerSetWire struct{ Versions []listenerVersion }

func podName(pod string, stream uint64) string {
	return podKind + pod + "/" + strconv.FormatUint(stream, 10)
}

func (s *listenerSet) name() string { return listenersKind + s.digest.String() }

func (s *listenerSet) resource() *resource {
	var w listenerSetWire
	for name, version := range s.versions {
		w.Versions = append(w.Versions, listenerVersion{name, version})
	}
	slices.SortFunc(w.Versions, func(a, b listenerVersion) int { return cmp.Compare(a.Listener, b.Listener) })
	return newResource(PodStateType, s.name(), &w)
}

// decodePodState returns what a resource of PodStateType is: *podState or
// map[routing.ListenerName]string. What a newer replica says beyond that is
// left out.
func decodePodState(name string, body []byte) (any, error) {
	switch {
	case strings.HasPrefix(name, podKind):
		p := &podState{}
		return p, json.Unmarshal(body, p)
	case strings.HasPrefix(name, listenersKind):
		var w listenerSetWire
		if err := json.Unmarshal(body, &w); err != nil {
			return nil, err
		}
		set := make(map[routing.ListenerName]string, len(w.Versions))
		for _, v := range w.Versions {
			set[v.Listener] = v.Version
		}
		return set, nil
	}
	return nil, fmt.Errorf("resource %.100q: not of a kind that is known", name)
}
