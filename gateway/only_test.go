package main

import (
	"fmt"
	"slices"
	"testing"

	"fairway.dev/routing"
)

// A process for one Gateway of a folder has the doors that Gateways share as long
// as workloads call through it, as the feed has it.
func TestOnlyWhoCallsHasSharedDoors(t *testing.T) {
	mesh := func(gateway string, calls bool) *routing.Listener {
		return &routing.Listener{Name: routing.ListenerName(gateway + "/mesh"), Gateway: gateway, Protocol: routing.HBONE, Mesh: &routing.Mesh{Calls: calls}}
	}
	door := func(name string) *routing.Listener {
		return &routing.Listener{Name: routing.ListenerName("~/" + name), Gateway: routing.CallingGateways, Inside: true}
	}
	o := newOnly("shop/waypoint")
	steps := []struct {
		name         string
		put          []*routing.Listener
		removed      []routing.ListenerName
		got, dropped string
	}{
		{"nobody calls", []*routing.Listener{mesh("shop/waypoint", false), mesh("bank/waypoint", true), door("cart.shop:80")}, nil, "[shop/waypoint/mesh]", "[]"},
		{"another door", []*routing.Listener{door("pay.shop:80")}, nil, "[]", "[]"},
		{"workloads call", []*routing.Listener{mesh("shop/waypoint", true)}, nil, "[shop/waypoint/mesh ~/cart.shop:80 ~/pay.shop:80]", "[]"},
		{"a door is edited", []*routing.Listener{door("pay.shop:80")}, nil, "[~/pay.shop:80]", "[]"},
		{"a door leaves", nil, []routing.ListenerName{"~/pay.shop:80"}, "[]", "[~/pay.shop:80]"},
		{"nobody calls any longer", []*routing.Listener{mesh("shop/waypoint", false)}, nil, "[shop/waypoint/mesh]", "[~/cart.shop:80]"},
		{"the listener leaves as somebody calls", []*routing.Listener{mesh("shop/waypoint", true)}, nil, "[shop/waypoint/mesh ~/cart.shop:80]", "[]"},
		{"it leaves", nil, []routing.ListenerName{"shop/waypoint/mesh"}, "[]", "[shop/waypoint/mesh ~/cart.shop:80]"},
	}
	for _, tt := range steps {
		d := &routing.Delta{Listeners: tt.put}
		d.Removed.Listeners = tt.removed
		own := o.of(d)
		var got []routing.ListenerName
		for _, l := range own.Listeners {
			got = append(got, l.Name)
		}
		slices.Sort(got)
		slices.Sort(own.Removed.Listeners)
		if fmt.Sprint(got) != tt.got || fmt.Sprint(own.Removed.Listeners) != tt.dropped {
			t.Errorf("%s: put in %v and out %v, want %s and %s", tt.name, got, own.Removed.Listeners, tt.got, tt.dropped)
		}
	}
}

// `fairway check -cluster` compiles what the pods of each Gateway have.
func TestSharedDoorsAreCheckedWhereTheyAreServed(t *testing.T) {
	mesh := func(gateway string, calls bool) *routing.Listener {
		return &routing.Listener{Name: routing.ListenerName(gateway + "/mesh"), Gateway: gateway, Protocol: routing.HBONE, Mesh: &routing.Mesh{Calls: calls}}
	}
	all := &routing.Delta{Listeners: []*routing.Listener{
		{Name: "~/cart.shop:80", Gateway: routing.CallingGateways, Inside: true}, mesh("bank/waypoint", false), mesh("shop/waypoint", true),
	}}
	parts := perGateway(all)
	if len(parts) != 2 || len(parts[0].Listeners) != 1 || len(parts[1].Listeners) != 2 {
		t.Errorf("%d parts, want that of bank with its listener, and that of shop with the door besides", len(parts))
	}
}
