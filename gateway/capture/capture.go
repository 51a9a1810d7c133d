// Package capture is the node agent: it sends the connections that enrolled pods
// open to Services, or to ports of pods that have a waypoint, to the pods of
// waypoints, and refuses those that come round the waypoints of pods that want
// none such.
//
// It is no proxy: no byte of a connection passes through it. It keeps one table
// of nftables, inet fairway-mesh, in the node's network namespace, and packets
// go by that. [Build] says what is to be in the table, as a pure function of a
// [State]; a [Kernel] changes what is there into it, in one transaction of the
// few elements that differ. An [Agent] does both whenever the State changes, and
// puts right what somebody else has done to the table.
//
// The one law: it fails closed. Without a waypoint that is ready a captured
// connection is refused, and an agent that stops, crashes or is replaced leaves
// the table in force. Only [Kernel.Remove] takes it away.
//
// What the table does, by hook:
//
//   - prerouting, at dstnat-6 (filter): connections of captured pods that have
//     no waypoint to go to are refused, before anybody translates them; those
//     to a Service whose port has no number yet wait, as their packets are dropped.
//   - prerouting, at dstnat-5 (nat): those that have go to a pod of it. That is
//     before kube-proxy, in whatever mode it is: the first to translate a
//     connection is the only one.
//   - forward, at filter-5: connections to strict pods that do not come from a
//     pod of a waypoint are refused. What is in the node's own network goes
//     through output, and passes, as the kubelet's probes have to.
//
// Only the first packet of a connection is looked at: what was open before stays
// as it is. A pod may dial before the agent has heard of it, and goes by no
// waypoint then: that those it calls are strict is what refuses it. A network whose packets do not pass the node's netfilter hooks is
// not enforced on: pods behind one bridge want the module br_netfilter, as
// kube-proxy does.
package capture

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	"fairway.dev/routing"
)

// A State is what the table is made of. The zero State knows of nothing.
type State struct {
	Node string // whose pods are captured
	Zone string // that the node is in; empty: nobody knows

	captures  map[routing.CaptureName]*routing.Capture
	split     map[routing.CaptureName]*routing.Capture // those with a canary
	claims    map[netip.AddrPort][]*routing.Capture    // by what is dialled; the first holds
	workloads map[routing.WorkloadName]*routing.Workload
	waypoints map[string][]routing.Endpoint // by Gateway: "shop/waypoint"

	filled  map[Family]filling                     // what claims came to in the table
	changed map[Family]map[netip.AddrPort]struct{} // claims, since then
}

// Change puts d in. What it does not need of it is left out.
func (s *State) Change(d *routing.Delta) {
	if s.captures == nil {
		s.captures = map[routing.CaptureName]*routing.Capture{}
		s.workloads = map[routing.WorkloadName]*routing.Workload{}
		s.waypoints = map[string][]routing.Endpoint{}
		s.split = map[routing.CaptureName]*routing.Capture{}
		s.claims = map[netip.AddrPort][]*routing.Capture{}
		s.filled = map[Family]filling{}
		s.changed = map[Family]map[netip.AddrPort]struct{}{IPv4: {}, IPv6: {}}
	}
	for _, name := range d.Removed.Captures {
		s.claim(s.captures[name], false)
		delete(s.captures, name)
		delete(s.split, name)
	}
	for _, name := range d.Removed.Workloads {
		delete(s.workloads, name)
	}
	for _, name := range d.Removed.Clusters {
		if gateway, ok := gatewayOf(name); ok {
			delete(s.waypoints, gateway)
		}
	}
	for _, c := range d.Captures {
		s.claim(s.captures[c.Name], false)
		s.claim(c, true)
		s.captures[c.Name] = c
		if delete(s.split, c.Name); c.Canary != nil {
			s.split[c.Name] = c
		}
	}
	for _, w := range d.Workloads {
		s.workloads[w.Name] = w
	}
	for _, e := range d.Endpoints {
		if gateway, ok := gatewayOf(e.Cluster); ok {
			s.waypoints[gateway] = e.List
		}
	}
}

// claim puts c in under what it is dialled by, or takes it out; nil is nothing.
func (s *State) claim(c *routing.Capture, in bool) {
	if c == nil {
		return
	}
	for _, addr := range c.Addresses {
		key := netip.AddrPortFrom(addr.Unmap(), c.Port)
		list := slices.DeleteFunc(slices.Clone(s.claims[key]), func(o *routing.Capture) bool { return o.Name == c.Name })
		if in {
			list = append(list, c)
			slices.SortFunc(list, compareClaims)
		}
		if len(list) > 0 {
			s.claims[key] = list
		} else {
			delete(s.claims, key)
		}
		for _, f := range families {
			if f.has(key.Addr()) {
				s.changed[f][key] = struct{}{}
			}
		}
	}
}

// compareClaims puts the capture first that holds where both have one address: as
// for listeners (routing.Listener.Claimed), the cluster's word comes first.
func compareClaims(a, b *routing.Capture) int {
	if a.Claimed != b.Claimed {
		if a.Claimed {
			return 1
		}
		return -1
	}
	return cmp.Compare(a.Name, b.Name)
}

// gatewayOf returns the waypoint whose WaypointCluster has a name.
func gatewayOf(cluster routing.ClusterName) (string, bool) {
	gateway, ok := strings.CutPrefix(string(cluster), string(routing.WaypointCluster("")))
	return gateway, ok && gateway != ""
}

// local yields the workloads of the node in the order of their names, so that of
// two that claim one address the same comes first everywhere.
func (s *State) local() []*routing.Workload {
	var list []*routing.Workload
	for _, w := range s.workloads {
		if w.Node == s.Node {
			list = append(list, w)
		}
	}
	slices.SortFunc(list, func(a, b *routing.Workload) int { return cmp.Compare(a.Name, b.Name) })
	return list
}

// Captured returns how many workloads of the node are captured.
func (s *State) Captured() int {
	n := 0
	for _, w := range s.workloads {
		if w.Node == s.Node && w.Captured {
			n++
		}
	}
	return n
}

// Captures returns how many ports of Services are captured.
func (s *State) Captures() int { return len(s.captures) }

// workload returns who of the node has an address, or nil.
func (s *State) workload(addr netip.Addr) *routing.Workload {
	for _, w := range s.local() {
		for _, a := range w.Addresses {
			if a.Unmap() == addr {
				return w
			}
		}
	}
	return nil
}

// capture returns what is done with connections to an address, or nil.
func (s *State) capture(to netip.AddrPort) *routing.Capture {
	if list := s.claims[to]; len(list) > 0 {
		return list[0]
	}
	return nil
}

// pods returns where connections for a waypoint go to, by addresses of a family:
// its ready pods of the node, else of the zone, else all. None: it is not ready.
func (s *State) pods(gateway string, f Family) []netip.Addr {
	var near, zone, all []netip.Addr
	for _, e := range s.waypoints[gateway] {
		addr := e.Addr.Addr().Unmap()
		if !e.Ready || e.Host != "" || !f.has(addr) {
			continue
		}
		all = append(all, addr)
		if s.Node != "" && e.Node == s.Node {
			near = append(near, addr)
		}
		if s.Zone != "" && e.Zone == s.Zone {
			zone = append(zone, addr)
		}
	}
	for _, list := range [][]netip.Addr{near, zone, all} {
		if len(list) > 0 {
			slices.SortFunc(list, netip.Addr.Compare)
			return slices.Compact(list)
		}
	}
	return nil
}
