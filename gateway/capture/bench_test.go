package capture

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"testing"

	"fairway.dev/routing"
)

// largeState is as large as the table is meant to become: 20,000 captures of 200
// waypoints, 500 pods of the node.
func largeState() *State {
	const captures, waypoints, pods = 20_000, 200, 500
	d := &routing.Delta{}
	at := func(net uint32, i int) netip.Addr {
		return netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, net+uint32(i))))
	}
	gateway := func(i int) string { return fmt.Sprintf("ns%d/waypoint", i%waypoints) }
	for i := range captures {
		d.Captures = append(d.Captures, &routing.Capture{
			Name:      routing.CaptureName(fmt.Sprintf("ns%d/service%d:80", i%waypoints, i)),
			Addresses: []netip.Addr{at(0x0a600000, i)}, Port: 80, Waypoint: gateway(i), To: uint16(20_000 + i),
		})
	}
	for i := range waypoints {
		d.Endpoints = append(d.Endpoints, &routing.Endpoints{Cluster: routing.WaypointCluster(gateway(i)), List: []routing.Endpoint{
			endpoint(at(0x0af50000, 2*i).String(), "n2", "a"), endpoint(at(0x0af50000, 2*i+1).String(), "n3", "b"),
		}})
	}
	for i := range pods {
		w := &routing.Workload{Name: routing.WorkloadName(fmt.Sprintf("ns%d/pod%d", i%waypoints, i)), Addresses: []netip.Addr{at(0x0af40000, i)}, Node: "n1", Captured: true, Strict: i%2 == 0}
		if i%3 == 0 {
			w.Gateways = []string{gateway(i)}
		}
		d.Workloads = append(d.Workloads, w)
	}
	s := &State{Node: "n1", Zone: "a"}
	s.Change(d)
	return s
}

func BenchmarkBuild(b *testing.B) {
	s := largeState()
	b.ReportAllocs()
	for b.Loop() {
		Build(s)
	}
}

// The first time that an agent runs on a node.
func BenchmarkWholeTable(b *testing.B) {
	ns, _ := newNS(b)
	k, s := &Kernel{NetNS: int(ns)}, largeState()
	for b.Loop() {
		b.StopTimer()
		must(b, k.Remove())
		b.StartTimer()
		_, err := k.Put(nil, Build(s))
		must(b, err)
	}
}

// An agent that comes back, and the check that it makes each minute.
func BenchmarkReadTable(b *testing.B) {
	ns, _ := newNS(b)
	k, s := &Kernel{NetNS: int(ns)}, largeState()
	_, err := k.Put(nil, Build(s))
	must(b, err)
	for b.Loop() {
		d, err := k.Put(nil, Build(s))
		if must(b, err); !d.Empty() {
			b.Fatalf("%d things differ, want none", d.Size())
		}
	}
}

// A pod of a waypoint goes, and another comes.
func BenchmarkOneWaypointPod(b *testing.B) {
	ns, _ := newNS(b)
	k, s := &Kernel{NetNS: int(ns)}, largeState()
	have := Build(s)
	_, err := k.Put(nil, have)
	must(b, err)
	for i := 0; b.Loop(); i++ {
		pod := endpoint(fmt.Sprintf("10.245.200.%d", 1+i%2), "n2", "a")
		s.Change(&routing.Delta{Endpoints: []*routing.Endpoints{{Cluster: "mesh/ns7/waypoint", List: []routing.Endpoint{pod}}}})
		want := Build(s)
		d, err := k.Put(have, want)
		if must(b, err); d.Size() > 10 {
			b.Fatalf("%d things changed, want few", d.Size())
		}
		have = want
	}
}

// A Service comes, and goes.
func BenchmarkOneCapture(b *testing.B) {
	ns, _ := newNS(b)
	k, s := &Kernel{NetNS: int(ns)}, largeState()
	have := Build(s)
	_, err := k.Put(nil, have)
	must(b, err)
	for i := 0; b.Loop(); i++ {
		d := &routing.Delta{}
		if i%2 == 0 {
			d.Captures = []*routing.Capture{{Name: "shop/one:80", Addresses: addrs("10.97.0.1"), Port: 80, Waypoint: "ns7/waypoint", To: 50_000}}
		} else {
			d.Removed.Captures = []routing.CaptureName{"shop/one:80"}
		}
		s.Change(d)
		want := Build(s)
		_, err := k.Put(have, want)
		must(b, err)
		have = want
	}
}
