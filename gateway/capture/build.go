package capture

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"fairway.dev/routing"
)

// A Refusal is why connections are refused: a chain of the table, a label of
// metrics and lines of the log, never reworded.
type Refusal string

const (
	// WaypointNotReady: the workload's waypoint, or the Service's where it has
	// none, has no pod that is ready, or there is none.
	WaypointNotReady Refusal = "WaypointNotReady"
	// PortNotAllocated: no port of waypoints stands for that of the Service yet.
	// It is a matter of a second mostly, and so clients are let wait for it.
	PortNotAllocated Refusal = "PortNotAllocated"
	// WaypointRequired: who is called wants connections that come from waypoints
	// (PeerAuthentication: STRICT), and this one does not.
	WaypointRequired Refusal = "WaypointRequired"
)

var refusals = []Refusal{WaypointNotReady, PortNotAllocated, WaypointRequired}

// chain is the chain that refuses.
func (r Refusal) chain() string { return "refuse-" + string(r) }

// verdict is what becomes of a connection that is refused.
func (r Refusal) verdict() Verdict {
	if r == PortNotAllocated {
		return Drop
	}
	return Reject
}

// label is what the kernel logs of it, and says whose line it is.
func (r Refusal) label() string { return labelPrefix + string(r) }

const labelPrefix = "fairway "

// Chains that are always there. Those of waypoints are named by chainTo.
const (
	chainCheck        = "check"
	chainCheckOwn     = "check-own"     // senders whose own waypoint is ready
	chainCheckNone    = "check-none"    // senders whose own waypoint is not
	chainCheckService = "check-service" // senders that go to the Service's
	chainCapture      = "capture"
	chainToService    = "to-service"
	chainStrict       = "strict"
)

// Sets that are always there, one for each family: "sources4", "sources6".
const (
	setSources   = "sources"   // captured pods that can go somewhere : how they are translated
	setSenders   = "senders"   // all captured pods : how they are checked
	setPorts     = "ports"     // all that is captured : the port of waypoints that stands for it
	setServices  = "services"  // what is captured : the chain of the Service's waypoint
	setUnready   = "unready"   // what is captured and whose waypoint is not ready
	setWaypoints = "waypoints" // pods of waypoints
	setStrict    = "strict"    // pods that want connections from waypoints only
	setOpen      = "open"      // their ports that take others, too
	setClosed    = "closed"    // ports of other pods that want them from waypoints only
)

// of names the set of a family.
func of(set string, f Family) string { return fmt.Sprintf("%s%d", set, f) }

// maxName is how long names of chains and sets are at most, less a prefix.
const maxName = 200

// chainTo names the chain that sends to pods of a waypoint, and setPods the map
// of their addresses.
func chainTo(gateway string) string           { return "to-" + short(gateway) }
func setPods(gateway string, f Family) string { return of("pods", f) + "-" + short(gateway) }

// short is a name that fits, and is another one for another name.
func short(name string) string {
	if len(name) <= maxName {
		return name
	}
	return fmt.Sprintf("%s-%x", name[:maxName-17], sha256.Sum256([]byte(name)))[:maxName]
}

// Build says what the table is to hold for s. Rulesets of one State share sets,
// and are not to be changed; s remembers those of captures, which are large.
func Build(s *State) *Ruleset {
	r := &Ruleset{Chains: map[string]*Chain{}, Sets: map[string]*Set{}}
	b := builder{State: s, Ruleset: r}
	b.skeleton()
	for _, f := range families {
		b.sets(f)
		b.toWaypoints(f)
		b.fillCaptures(f)
		b.fillWorkloads(f)
	}
	return r
}

// A builder builds a Ruleset.
type builder struct {
	*State
	*Ruleset
}

func (b *builder) chain(name string, hook Hook, rules ...Rule) *Chain {
	c := &Chain{Name: name, Hook: hook, Rules: rules}
	b.Chains[name] = c
	return c
}

// skeleton adds the chains that are always there.
func (b *builder) skeleton() {
	known := Rule{Test: Known, Do: Accept}
	check := b.chain(chainCheck, HookCheck, known)
	capture := b.chain(chainCapture, HookCapture)
	strict := b.chain(chainStrict, HookStrict, known)
	own, none := b.chain(chainCheckOwn, ""), b.chain(chainCheckNone, "")
	checkService, toService := b.chain(chainCheckService, ""), b.chain(chainToService, "")
	for _, f := range families {
		check.add(Rule{Family: f, Key: Source, Set: of(setSenders, f), Do: Ask})
		noPort := Rule{Family: f, Key: Service, Set: of(setPorts, f), Test: NoPort, Do: Goto, Chain: PortNotAllocated.chain()}
		own.add(noPort)
		none.add(Rule{Family: f, Key: Service, Set: of(setPorts, f), Test: SomePort, Do: Goto, Chain: WaypointNotReady.chain()})
		checkService.add(noPort, Rule{Family: f, Key: Service, Set: of(setUnready, f), Do: Goto, Chain: WaypointNotReady.chain()})
		capture.add(Rule{Family: f, Key: Source, Set: of(setSources, f), Do: Ask})
		toService.add(Rule{Family: f, Key: Service, Set: of(setServices, f), Do: Ask})
		strict.add(
			Rule{Family: f, Key: Source, Set: of(setWaypoints, f), Do: Accept},
			Rule{Family: f, Key: Service, Set: of(setOpen, f), Do: Accept},
			Rule{Family: f, Key: Destination, Set: of(setStrict, f), Do: Goto, Chain: WaypointRequired.chain()},
			Rule{Family: f, Key: Service, Set: of(setClosed, f), Do: Goto, Chain: WaypointRequired.chain()},
		)
	}
	for _, why := range refusals {
		b.chain(why.chain(), "", Rule{Do: Log, Label: why.label()}, Rule{Do: why.verdict()})
	}
}

func (c *Chain) add(rules ...Rule) { c.Rules = append(c.Rules, rules...) }

func (b *builder) set(name string, f Family, key SetKey, value SetValue) *Set {
	s := &Set{Name: name, Family: f, Key: key, Value: value, Elements: map[Element]Value{}}
	b.Sets[name] = s
	return s
}

// sets adds the sets that are always there.
func (b *builder) sets(f Family) {
	b.set(of(setSources, f), f, ByAddress, ToChain)
	b.set(of(setSenders, f), f, ByAddress, ToChain)
	b.set(of(setPorts, f), f, ByService, ToPort)
	b.set(of(setServices, f), f, ByService, ToChain)
	b.set(of(setUnready, f), f, ByService, ToNothing)
	b.set(of(setWaypoints, f), f, ByAddress, ToNothing)
	b.set(of(setStrict, f), f, ByAddress, ToNothing)
	b.set(of(setOpen, f), f, ByService, ToNothing)
	b.set(of(setClosed, f), f, ByService, ToNothing)
}

// toWaypoints adds the pods of all waypoints, and chains to those that are ready.
func (b *builder) toWaypoints(f Family) {
	known := b.Sets[of(setWaypoints, f)].Elements
	for _, gateway := range slices.Sorted(maps.Keys(b.waypoints)) {
		for _, e := range b.waypoints[gateway] {
			if addr := e.Addr.Addr().Unmap(); e.Host == "" && f.has(addr) {
				known[Element{Addr: addr}] = Value{}
			}
		}
		b.toPods(gateway, b.pods(gateway, f), f)
	}
	for _, c := range b.canaries() {
		if name := b.sharing(c, f); name != c.Waypoint {
			b.toPods(name, b.shared(c, f), f)
		}
	}
}

// toPods adds a chain that sends to pods, each as often as it is there; no pods,
// no chain.
func (b *builder) toPods(gateway string, pods []netip.Addr, f Family) {
	if len(pods) == 0 {
		return
	}
	name := setPods(gateway, f)
	set := b.set(name, f, ByNumber, ToAddress)
	for i, addr := range pods {
		set.Elements[Element{Number: uint32(i)}] = Value{Addr: addr}
	}
	c := b.Chains[chainTo(gateway)]
	if c == nil {
		c = b.chain(chainTo(gateway), "")
	}
	c.add(Rule{Family: f, Key: Service, Set: of(setPorts, f), Do: Translate, Pods: name, Modulus: uint32(len(pods))})
}

// ready reports whether a waypoint has pods to go to.
func (b *builder) ready(gateway string, f Family) bool {
	return b.Sets[setPods(gateway, f)] != nil
}

// A filling is the sets of what is captured.
type filling struct {
	ready                    string // the waypoints that were
	ports, services, unready *Set
}

// sets of a filling, which are filled together.
func (s filling) sets() []*Set { return []*Set{s.ports, s.services, s.unready} }

// fillCaptures fills the sets of what is captured: from those of before where the
// same waypoints are ready, as what is captured is much and changes seldom.
func (b *builder) fillCaptures(f Family) {
	was, filled := b.filled[f]
	now := filling{b.readyWaypoints(f), b.Sets[of(setPorts, f)], b.Sets[of(setServices, f)], b.Sets[of(setUnready, f)]}
	switch {
	case !filled || was.ready != now.ready:
		for key := range b.claims {
			if f.has(key.Addr()) {
				b.fill(now, key, f)
			}
		}
	case len(b.changed[f]) == 0:
		for _, s := range was.sets() {
			b.Sets[s.Name] = s
		}
		return
	default:
		for i, s := range now.sets() {
			s.Elements = maps.Clone(was.sets()[i].Elements)
		}
		for key := range b.changed[f] {
			b.fill(now, key, f)
		}
	}
	if b.filled != nil {
		b.filled[f] = now
		clear(b.changed[f])
	}
}

// fill puts in, or takes out, what is captured under one address and port.
func (b *builder) fill(sets filling, at netip.AddrPort, f Family) {
	key := Element{Addr: at.Addr(), Port: at.Port()}
	for _, s := range sets.sets() {
		delete(s.Elements, key)
	}
	switch c := b.capture(at); {
	case c == nil:
		return
	case b.ready(c.Waypoint, f):
		sets.ports.Elements[key] = Value{Port: c.To}
		sets.services.Elements[key] = Value{Chain: chainTo(b.sharing(c, f))}
	default:
		sets.ports.Elements[key] = Value{Port: c.To}
		sets.unready.Elements[key] = Value{}
	}
}

// readyWaypoints lists the waypoints that have pods to go to.
func (b *builder) readyWaypoints(f Family) string {
	var list strings.Builder
	for _, gateway := range slices.Sorted(maps.Keys(b.waypoints)) {
		if b.ready(gateway, f) {
			list.WriteString(gateway + " ")
		}
	}
	for _, c := range b.canaries() {
		list.WriteString(b.sharing(c, f) + " ")
	}
	return list.String()
}

// fillWorkloads fills the sets of the node's pods. Those of waypoints are
// neither captured nor strict: they are who enforces.
func (b *builder) fillWorkloads(f Family) {
	waypoints := b.Sets[of(setWaypoints, f)].Elements
	taken := map[netip.Addr]bool{}
	for _, w := range b.local() {
		for _, addr := range w.Addresses {
			addr = addr.Unmap()
			_, enforces := waypoints[Element{Addr: addr}]
			if enforces || taken[addr] || !f.has(addr) {
				continue
			}
			taken[addr] = true
			b.capturePod(w, addr, f)
			b.guard(w, addr, f)
		}
	}
}

// capturePod says where connections of a pod go.
func (b *builder) capturePod(w *routing.Workload, addr netip.Addr, f Family) {
	sources, senders, key := b.Sets[of(setSources, f)].Elements, b.Sets[of(setSenders, f)].Elements, Element{Addr: addr}
	switch {
	case !w.Captured:
	case len(w.Gateways) == 0:
		senders[key] = Value{Chain: chainCheckService}
		sources[key] = Value{Chain: chainToService}
	case b.ready(w.Gateways[0], f):
		senders[key] = Value{Chain: chainCheckOwn}
		sources[key] = Value{Chain: chainTo(w.Gateways[0])}
	default:
		senders[key] = Value{Chain: chainCheckNone}
	}
}

// guard says which connections to a pod are refused.
func (b *builder) guard(w *routing.Workload, addr netip.Addr, f Family) {
	if !w.Strict {
		for _, port := range w.StrictPorts {
			b.Sets[of(setClosed, f)].Elements[Element{Addr: addr, Port: port}] = Value{}
		}
		return
	}
	b.Sets[of(setStrict, f)].Elements[Element{Addr: addr}] = Value{}
	for _, port := range w.Open {
		b.Sets[of(setOpen, f)].Elements[Element{Addr: addr, Port: port}] = Value{}
	}
}
