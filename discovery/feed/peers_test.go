package feed

import (
	"reflect"
	"testing"
	"time"

	"fairway.dev/routing"
)

// What a pod says of itself is known of the pods of other replicas, too.
func TestPodOfAPeerIsKnownAsAnOwnOne(t *testing.T) {
	p := newPeerPods()
	p.pods["pod/shop/edge-1/7"] = &podState{
		Pod: "shop/edge-1", Node: "node-a", Program: "v1.2.3", Replica: "control-b", Gateway: "shop/edge", Version: "v", Connected: time.Unix(1, 0),
		Listeners: "d", Problems: []problem{{Reason: "PortUnavailable"}},
	}
	p.sets[listenersKind+"d"] = map[routing.ListenerName]string{"shop/edge/http": "v"}
	states := p.of("shop/edge", nil)
	if len(states) != 1 {
		t.Fatalf("%d pods, want 1", len(states))
	}
	s := reflect.ValueOf(states[0])
	for i := range s.NumField() {
		if s.Field(i).IsZero() {
			t.Errorf("%s is not known", s.Type().Field(i).Name)
		}
	}
}
