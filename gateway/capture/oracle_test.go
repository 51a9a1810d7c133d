package capture

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"fairway.dev/routing"
)

// A packet is the first one of a connection that comes in at a node.
type packet struct{ from, to netip.AddrPort }

// outcome is what the table does with a packet, by its rules as they are written:
// the addresses and ports that the connection may go to, or why it is refused.
// Forward says that it would leave for a pod of the node.
func (r *Ruleset) outcome(p packet) (to []netip.AddrPort, why Refusal) {
	if why := r.walk(chainCheck, p).refused; why != "" {
		return nil, why
	}
	to = []netip.AddrPort{p.to}
	if way := r.walk(chainCapture, p); way.to != nil {
		to = way.to
	}
	for _, end := range to {
		if why := r.walk(chainStrict, packet{p.from, end}).refused; why != "" {
			return nil, why
		}
	}
	return to, ""
}

// An end is where the rules of a hook lead.
type end struct {
	decided bool
	refused Refusal
	to      []netip.AddrPort
}

// walk is what the kernel does, rule by rule.
func (r *Ruleset) walk(chain string, p packet) end {
	c := r.Chains[chain]
	if c == nil {
		panic("bug: no chain " + chain)
	}
	for _, rule := range c.Rules {
		key := Element{}
		family := IPv4
		if p.from.Addr().Is6() {
			family = IPv6
		}
		if rule.Key != NoKey && rule.Family != family || rule.Test == Known {
			continue
		}
		switch rule.Key {
		case Source:
			key.Addr = p.from.Addr()
		case Destination:
			key.Addr = p.to.Addr()
		case Service:
			key.Addr, key.Port = p.to.Addr(), p.to.Port()
		}
		var value Value
		if rule.Set != "" {
			v, ok := r.Sets[rule.Set].Elements[key]
			if !ok || rule.Test == NoPort && v.Port != 0 {
				continue
			}
			value = v
		}
		switch rule.Do {
		case Accept:
			return end{decided: true}
		case Goto:
			return r.walk(rule.Chain, p)
		case Ask:
			return r.walk(value.Chain, p)
		case Translate:
			var to []netip.AddrPort
			for i := range rule.Modulus {
				to = append(to, netip.AddrPortFrom(r.Sets[rule.Pods].Elements[Element{Number: i}].Addr, value.Port))
			}
			return end{decided: true, to: to}
		case Reject, Drop:
			return end{decided: true, refused: Refusal(strings.TrimPrefix(chain, "refuse-"))}
		}
	}
	return end{}
}

// oracle is the slow, literal reading of what node agents do: routing.Capture and
// routing.Workload, field by field.
func oracle(s *State, p packet) (to []netip.AddrPort, why Refusal) {
	isWaypoint := func(addr netip.Addr) bool {
		for _, list := range s.waypoints {
			for _, e := range list {
				if e.Addr.Addr() == addr {
					return true
				}
			}
		}
		return false
	}
	who := func(addr netip.Addr) *routing.Workload { // the first by name, of the node
		var found *routing.Workload
		for _, w := range s.workloads {
			if w.Node == s.Node && slices.Contains(w.Addresses, addr) && (found == nil || w.Name < found.Name) {
				found = w
			}
		}
		return found
	}
	allowed := func(from, to netip.AddrPort) bool {
		w := who(to.Addr())
		if w == nil || isWaypoint(to.Addr()) || isWaypoint(from.Addr()) {
			return true
		}
		if w.Strict {
			return slices.Contains(w.Open, to.Port())
		}
		return !slices.Contains(w.StrictPorts, to.Port())
	}
	direct := func() ([]netip.AddrPort, Refusal) {
		if !allowed(p.from, p.to) {
			return nil, WaypointRequired
		}
		return []netip.AddrPort{p.to}, ""
	}
	w := who(p.from.Addr())
	if w == nil || !w.Captured || isWaypoint(p.from.Addr()) {
		return direct()
	}
	var c *routing.Capture // the cluster's word, and the first by name
	for _, other := range s.captures {
		if other.Port == p.to.Port() && slices.Contains(other.Addresses, p.to.Addr()) && (c == nil || c.Claimed && !other.Claimed || c.Claimed == other.Claimed && other.Name < c.Name) {
			c = other
		}
	}
	if c == nil {
		return direct()
	}
	gateway := c.Waypoint
	if len(w.Gateways) > 0 {
		gateway = w.Gateways[0]
	}
	ready := nearest(s, gateway, p.from.Addr().Is6())
	switch {
	case len(w.Gateways) > 0 && len(ready) == 0:
		return nil, WaypointNotReady
	case c.To == 0:
		return nil, PortNotAllocated
	case len(ready) == 0:
		return nil, WaypointNotReady
	}
	for _, addr := range ready {
		to = append(to, netip.AddrPortFrom(addr, c.To))
	}
	return to, ""
}

// nearest is the ready pods of a waypoint that are the nearest.
func nearest(s *State, gateway string, six bool) (out []netip.Addr) {
	best := 3
	for _, e := range s.waypoints[gateway] {
		if gateway == "" || !e.Ready || e.Addr.Addr().Is6() != six {
			continue
		}
		distance := 2
		if e.Zone == s.Zone && s.Zone != "" {
			distance = 1
		}
		if e.Node == s.Node {
			distance = 0
		}
		if distance < best {
			best, out = distance, nil
		}
		if distance == best && !slices.Contains(out, e.Addr.Addr()) {
			out = append(out, e.Addr.Addr())
		}
	}
	slices.SortFunc(out, netip.Addr.Compare)
	return out
}

// chance makes random states, of few names so that they meet.
type chance struct{ *rand.Rand }

func (c chance) addr() netip.Addr {
	if c.IntN(3) == 0 {
		return netip.AddrFrom16([16]byte{0: 0xfd, 15: byte(c.IntN(8))})
	}
	return netip.AddrFrom4([4]byte{10, 0, 0, byte(c.IntN(8))})
}

// waypointAddr is seldom that of a workload.
func (c chance) waypointAddr() netip.Addr {
	b := c.addr().AsSlice()
	b[len(b)-1] += 7
	addr, _ := netip.AddrFromSlice(b)
	return addr
}

func (c chance) addrs() (out []netip.Addr) {
	for range 1 + c.IntN(2) {
		out = append(out, c.addr())
	}
	return out
}

func (c chance) port() uint16 { return uint16(80 + c.IntN(3)) }

func (c chance) ports() (out []uint16) {
	for range c.IntN(3) {
		out = append(out, c.port())
	}
	return out
}

func (c chance) waypoint() string { return []string{"", "a/w", "b/w", "c/w"}[c.IntN(4)] }
func (c chance) place() string    { return []string{"n1", "n2", ""}[c.IntN(3)] }
func (c chance) name(kind string) string {
	return fmt.Sprintf("%s%d", kind, c.IntN(5))
}

// delta is a random change, of anything.
func (c chance) delta() *routing.Delta {
	d := &routing.Delta{}
	for range c.IntN(4) {
		switch c.IntN(6) {
		case 0:
			d.Removed.Captures = append(d.Removed.Captures, routing.CaptureName(c.name("capture")))
		case 1:
			d.Removed.Workloads = append(d.Removed.Workloads, routing.WorkloadName(c.name("workload")))
		case 2:
			d.Removed.Clusters = append(d.Removed.Clusters, routing.WaypointCluster(c.waypoint()))
		}
	}
	for range c.IntN(4) {
		d.Captures = append(d.Captures, &routing.Capture{
			Name: routing.CaptureName(c.name("capture")), Addresses: c.addrs(), Port: c.port(), Waypoint: c.waypoint(), To: []uint16{0, 20001, 20002}[c.IntN(3)],
			Claimed: c.IntN(3) == 0,
		})
	}
	for range c.IntN(4) {
		w := &routing.Workload{
			Name: routing.WorkloadName(c.name("workload")), Addresses: c.addrs(), Node: "n1", Captured: c.IntN(3) > 0,
			Strict: c.IntN(3) == 0, Open: c.ports(), StrictPorts: c.ports(),
		}
		if c.IntN(2) == 0 {
			w.Gateways = []string{c.waypoint(), c.waypoint()}[:1]
		}
		if c.IntN(5) == 0 {
			w.Node = "n2"
		}
		d.Workloads = append(d.Workloads, w)
	}
	for range c.IntN(3) {
		e := &routing.Endpoints{Cluster: routing.WaypointCluster(c.waypoint())}
		for range c.IntN(4) {
			e.List = append(e.List, routing.Endpoint{Addr: netip.AddrPortFrom(c.waypointAddr(), 15008), Node: c.place(), Zone: c.place(), Ready: c.IntN(3) > 0})
		}
		d.Endpoints = append(d.Endpoints, e)
	}
	return d
}

// packet is a random one, half of them from a workload to what is captured.
func (c chance) packet(s *State) packet {
	p := packet{netip.AddrPortFrom(c.addr(), 40000), netip.AddrPortFrom(c.addr(), c.port())}
	w, ok := s.workloads[routing.WorkloadName(c.name("workload"))]
	to := s.captures[routing.CaptureName(c.name("capture"))]
	if ok && to != nil && c.IntN(2) == 0 {
		p.from = netip.AddrPortFrom(w.Addresses[0], 40000)
		p.to = netip.AddrPortFrom(to.Addresses[0], to.Port)
	}
	return p
}

func newChance(seed uint64) chance { return chance{rand.New(rand.NewPCG(seed, 15008))} }

// Whatever there is, a packet goes where the words of routing's contract say.
func TestPacketsGoWhereTheOracleSays(t *testing.T) {
	seen := map[string]int{}
	for seed := range uint64(400) {
		c := newChance(seed)
		s := &State{Node: "n1", Zone: c.place()}
		for range 4 {
			s.Change(c.delta())
			rules := Build(s)
			for range 100 {
				p := c.packet(s)
				if p.from.Addr().Is6() != p.to.Addr().Is6() {
					continue
				}
				got, gotWhy := rules.outcome(p)
				want, wantWhy := oracle(s, p)
				if !slices.Equal(got, want) || gotWhy != wantWhy {
					t.Fatalf("seed %d, %v: table %v %s, oracle %v %s\n%s", seed, p, got, gotWhy, want, wantWhy, rules)
				}
				seen[cmp.Or(string(wantWhy), map[bool]string{true: "direct", false: "captured"}[len(want) == 1 && want[0] == p.to])]++
			}
		}
	}
	if len(seen) != 5 || slices.Min(slices.Collect(maps.Values(seen))) < 100 {
		t.Errorf("outcomes %v, want many of each of five", seen)
	}
}

// What the kernel has after any history of changes is what the last state wants,
// and each was one transaction that it took.
func TestKernelFollowsAnyHistory(t *testing.T) {
	for seed := range uint64(6) {
		ns, _ := newNS(t)
		k, c := &Kernel{NetNS: int(ns)}, newChance(seed)
		s := &State{Node: "n1", Zone: "n1"}
		var have *Ruleset
		for step := range 25 {
			s.Change(c.delta())
			want := Build(s)
			if c.IntN(4) == 0 {
				have = nil // a restart
			}
			d, err := k.Put(have, want)
			must(t, err)
			if d.Anew != nil {
				t.Errorf("seed %d, step %d: made anew: %v", seed, step, d.Anew)
			}
			have = want
			read, err := k.Read(want)
			must(t, err)
			if got := read.String(); got != want.String() {
				t.Fatalf("seed %d, step %d: the kernel has\n%s\nwant\n%s", seed, step, got, want)
			}
		}
	}
}

// The same state comes to the same table, whatever was before, and whatever order
// its maps are in.
func TestBuildIsPure(t *testing.T) {
	for seed := range uint64(100) {
		c := newChance(seed)
		s := &State{Node: "n1", Zone: "n1"}
		for step := range 10 {
			s.Change(c.delta())
			fresh := &State{Node: "n1", Zone: "n1"}
			fresh.Change(everything(s))
			if got, want := Build(s).String(), Build(fresh).String(); got != want {
				t.Fatalf("seed %d, step %d: the table is\n%s\nfrom nothing it is\n%s", seed, step, got, want)
			}
		}
	}
}

func FuzzOutcome(f *testing.F) {
	f.Add(uint64(1), []byte{10, 0, 0, 1, 10, 0, 0, 2, 0, 80})
	f.Fuzz(func(t *testing.T, seed uint64, b []byte) {
		if len(b) < 10 {
			return
		}
		c := newChance(seed)
		s := &State{Node: "n1", Zone: "n2"}
		for range 6 {
			s.Change(c.delta())
		}
		p := packet{
			netip.AddrPortFrom(netip.AddrFrom4([4]byte(b)), 40000),
			netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[4:])), binary.BigEndian.Uint16(b[8:])),
		}
		got, gotWhy := Build(s).outcome(p)
		want, wantWhy := oracle(s, p)
		if !slices.Equal(got, want) || gotWhy != wantWhy {
			t.Errorf("%v: table %v %s, oracle %v %s", p, got, gotWhy, want, wantWhy)
		}
	})
}
