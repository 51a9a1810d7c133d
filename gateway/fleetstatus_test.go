package main

import (
	"errors"
	"strings"
	"testing"

	"fairway.dev/routing"
)

// What is not in force is told from what is odd, and it alone is an error.
func TestStatusOfTheFleet(t *testing.T) {
	page := &fleetPage{
		Replica: "control-a", Version: "v1", Leads: true,
		Gateways: []gatewayState{{Gateway: "shop/edge", Listeners: 2, Pods: []podState{
			{Pod: "shop/edge-1", Program: "v1", Node: "n1", Replica: "control-a", Listeners: 2},
			{Pod: "shop/edge-2", Program: "v0", Node: "n2", Replica: "control-a", Listeners: 1},
		}}},
		Problems: []problemState{
			{"VirtualService shop/a spec.hosts[0]", "HostConflict", routing.Warning, "b has it", "take it out"},
			{"VirtualService shop/c", "MeshOnly", routing.Info, "it names no Gateway", ""},
		},
	}
	var b strings.Builder
	if err := printStatus(&b, []*fleetPage{page}, nil); err != nil {
		t.Errorf("error %v without anything that is not in force", err)
	}
	for _, want := range []string{
		"v0", "in step", "1 of 2 listeners in force",
		"In force, and perhaps not as it was meant:\n    VirtualService shop/a spec.hosts[0]: HostConflict: b has it; take it out\n",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("status\n%s\nwant %q in it", b.String(), want)
		}
	}
	if strings.Contains(b.String(), "Not in force") || strings.Contains(b.String(), "MeshOnly") {
		t.Errorf("status\n%s\nwant no errors and no infos", b.String())
	}
	page.Problems = append(page.Problems, problemState{"Gateway shop/edge", "UnboundGateway", routing.Error, "nobody", ""})
	b.Reset()
	if err := printStatus(&b, []*fleetPage{page}, nil); !errors.Is(err, errFound) || !strings.Contains(b.String(), "Not in force:\n    Gateway shop/edge: UnboundGateway") {
		t.Errorf("error %v, status\n%s", err, b.String())
	}
}
