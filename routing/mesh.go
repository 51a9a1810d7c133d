package routing

import (
	"cmp"
	"fmt"
	"iter"
	"maps"
	"net/netip"
	"slices"
	"strings"
)

// HBONE is what a waypoint's listener speaks: HTTP/2 over TLS of the mesh, in
// which CONNECT opens a tunnel to an address, and what goes through the tunnel
// is for the door that has that address.
//
// A door is a listener that is not bound (Listener.Inside): its Addresses and
// Port are those that clients dial, a Service's. What comes to it comes out of
// tunnels, or by the port on which node agents put what they have captured.
const HBONE Protocol = "HBONE"

// HBONEPort is where waypoints, and the pods that ztunnel captures, take tunnels.
const HBONEPort = 15008

// A WorkloadName is that of a pod, or of another workload: "shop/cart-7f9c".
type WorkloadName string

// Namespace returns the namespace in the name.
func (n WorkloadName) Namespace() string {
	namespace, _, _ := strings.Cut(string(n), "/")
	return namespace
}

// A CaptureName is that of a port of a Service, "shop/cart:80", or of something
// of another kind: "Pod/shop/cart-7f9c:8080".
type CaptureName string

// A PolicyName is that of an object: "AuthorizationPolicy/shop/viewers".
type PolicyName string

// A Mesh is whom an HBONE listener believes what. A peer has to show a
// certificate of the mesh's in any case, with an identity of one of the trust
// domains.
type Mesh struct {
	TrustDomains []string // the first is the gateway's own
	// Vouchers are the other gateways of the fleet. What they say of the client
	// is believed: X-Forwarded-For and the like, and for the workloads of their
	// namespaces who it is. What everybody else says is not.
	Vouchers []Voucher
	// PassOn says that the gateway is an east-west gateway: who it knows its client
	// to be, by proof or by a voucher's word, it tells the next gateway.
	PassOn bool
	// Sandwich is the port by which tunnels come where a node proxy ends HBONE for
	// the gateway's pods, and Listener.Port is its own: each is a connection from
	// the pod to itself, and begins with a PROXY protocol header that says who the
	// client has proved to be and what it asked for. 0: the gateway speaks HBONE.
	Sandwich uint16
	// Calls says that workloads call through the gateway: it has the doors that
	// all such gateways share (CallingGateways).
	Calls bool
}

// A Voucher is a gateway that vouches for others.
type Voucher struct {
	Identity   string   // "spiffe://cluster.local/ns/shop/sa/waypoint"
	Namespaces []string // of the workloads that it may vouch for; none: only for itself
}

// EveryNamespace among a Voucher's Namespaces stands for all of the mesh: an
// east-west gateway speaks for whoever calls from another network.
const EveryNamespace = "*"

// A Hop is how gateways reach the endpoints of a cluster: by way of one, which
// enforces what there is to enforce. What doors of that gateway send to the
// cluster goes straight to its endpoints.
type Hop struct {
	Gateway string // "shop/waypoint"
	// Inside is for doors alone: listeners that are bound send straight to the
	// endpoints (istio.io/ingress-use-waypoint of Istio, turned off).
	Inside bool
	// Cluster is that of the gateway's pods. Where there is none in force nobody
	// else reaches the endpoints.
	Cluster ClusterName
	// Authority is what the far end is asked for: the address and the port that a
	// client would dial, "10.96.0.5:80", or where the far end is in another
	// network a host and a port. Empty: what the client has dialled.
	Authority string
	// Canary takes a share of what would go to the pods of Gateway, and is as much
	// the endpoints' waypoint as that is; nil: there is none.
	Canary *Canary
	// Beyond is how those reach the endpoints whom this hop is not for, where these
	// are in another network: then nobody goes straight.
	Beyond *FarHop
	// Within is a FarHop's, where Cluster is a NetworkCluster.
	Within string
}

// Serves reports whether a gateway is one that the endpoints are reached by: it
// goes straight there.
func (h *Hop) Serves(gateway string) bool {
	return gateway == h.Gateway || h.Canary != nil && gateway == h.Canary.Gateway
}

// A Canary is a second waypoint: istio.io/use-waypoint-canary of Istio.
type Canary struct {
	Gateway string // "shop/next", whose pods are the endpoints of its WaypointCluster
	Percent uint8  // of requests, and of connections that are no requests
}

// A FarHop is how endpoints in another network are reached, by whoever it is.
type FarHop struct {
	Cluster   ClusterName // the NetworkCluster
	Authority string      // what its gateways are asked for: a host and a port
	// Within, if not empty, says that these are Istio's, which pass on what is in
	// their tunnels: there begin TLS and HBONE anew, with whoever proves one of
	// these identities, with spaces between.
	Within string
}

// A Workload is who is behind an address.
type Workload struct {
	Name      WorkloadName
	Addresses []netip.Addr
	Identity  string // "spiffe://cluster.local/ns/shop/sa/cart"
	// Gateways are the waypoints that vouch for it, "shop/waypoint": those that
	// its own connections go through. One at most is in force; none: they go
	// straight to the waypoint of who is called.
	Gateways []string
	Node     string
	// Captured says that node agents send what it dials to waypoints.
	Captured bool
	// Strict refuses connections to it that do not come from a waypoint, but on
	// the ports of Open; of StrictPorts where it is not set.
	Strict            bool
	Open, StrictPorts []uint16
	// App, Version, Service and Kind are for telemetry: Istio's labels app,
	// version and canonical-name, and what runs it ("cart", a Deployment).
	App, Version, Service, Owner string
}

// A Capture is what node agents do with connections that captured workloads
// open to a port of a Service, or of a pod: they go to a pod of a waypoint
// instead, the workload's own where it has one.
type Capture struct {
	Name      CaptureName
	Addresses []netip.Addr
	Port      uint16
	Claimed   bool // see Listener.Claimed
	// Waypoint is the Gateway of who is called, for workloads that have none. Its
	// pods are the endpoints of its WaypointCluster. Empty: those are refused.
	Waypoint string
	// Canary takes a share of what would go to the pods of Waypoint; nil: there is
	// none.
	Canary *Canary
	// To is the port of waypoints that stands for this one (Listener.Capture). 0:
	// there is none yet, and all wait (law 15: fail closed).
	To uint16
}

// WaypointCluster is the name of the cluster of a gateway's pods, as other
// gateways and node agents reach them: "mesh/shop/waypoint".
func WaypointCluster(gateway string) ClusterName { return ClusterName(waypointPrefix + gateway) }

const waypointPrefix = "mesh/"

// NetworkCluster is the name of the cluster of another network's east-west
// gateways: "mesh/~/west". No namespace is called so.
func NetworkCluster(network string) ClusterName { return WaypointCluster("~/" + network) }

// Waypoint returns the gateway whose WaypointCluster has the name, if it is one.
// A Service's has a colon: "mesh/cart:80" is one of the namespace mesh.
func (n ClusterName) Waypoint() (gateway string, ok bool) {
	gateway, ok = strings.CutPrefix(string(n), waypointPrefix)
	return gateway, ok && strings.Contains(gateway, "/") && !strings.Contains(gateway, ":")
}

// A Policy is one object about who may pass.
type Policy struct {
	Name          PolicyName
	Origin        Origin
	Authorization *Authorization
	RateLimit     *RateLimit
}

// String prints the policy for people, on one line.
func (p *Policy) String() string {
	text := string(p.Name)
	if p.Authorization != nil {
		text += ": " + details(p.Authorization)
	}
	if p.RateLimit != nil {
		text += ": " + details(p.RateLimit)
	}
	return text
}

// Door returns the port of the doors that what is dialled at an address leads
// to, for clients of a namespace; nil where there is none. One for that
// namespace alone comes before the one for all, and one for that port before the
// one for any; but what is only claimed (Listener.Claimed) comes after all others.
func (s *Snapshot) Door(addr netip.AddrPort, namespace string) *Port {
	if addr.Port() == 0 {
		return nil // nobody dials that
	}
	var claimed *Port
	key := PortKey{Addr: addr.Addr().Unmap(), Inside: true}
	for _, key.Port = range [...]uint16{addr.Port(), 0} {
		for _, key.From = range [...]string{namespace, ""} {
			switch p := s.Port(key); {
			case p == nil:
			case !p.listeners[0].Claimed:
				return p
			case claimed == nil:
				claimed = p
			}
		}
	}
	return claimed
}

// Sandwich returns the port by which tunnels come in place of this one
// (Mesh.Sandwich); 0: they come here, or p is not for tunnels.
func (p *Port) Sandwich() uint16 {
	if p.Protocol != HBONE {
		return 0
	}
	return p.listeners[0].Mesh.Sandwich
}

// DoorNamed is Door by a name in place of an address (Listener.Names).
func (s *Snapshot) DoorNamed(host string, port uint16, namespace string) *Port {
	claims, _ := s.doorNames.get(doorName(fmt.Sprintf("%s:%d", host, port)))
	for _, l := range claims {
		if p := s.Port(l.keys()[0]); p != nil && slices.Contains(p.listeners, l) {
			return s.Door(netip.AddrPortFrom(p.Key.Addr, p.Key.Port), namespace)
		}
	}
	return nil
}

// A doorName is a name of a door and its port: "cart.shop.svc.cluster.local:80".
type doorName string

// Workload returns who has an address, or nil.
func (s *Snapshot) Workload(addr netip.Addr) *Workload {
	if list, ok := s.addresses.get(addressKey(addr)); ok {
		return list[0]
	}
	return nil
}

// An addressText is the key of an address.
type addressText string

func addressKey(addr netip.Addr) addressText {
	b := addr.Unmap().As16()
	return addressText(b[:])
}

// Workloads returns how many workloads are known.
func (s *Snapshot) Workloads() int { return s.workloads.n }

// Captures returns what node agents redirect, in the order of names.
func (s *Snapshot) Captures() []*Capture {
	m := make(map[CaptureName]*Capture, s.captures.n)
	for name, r := range s.captures.all() {
		m[name] = r
	}
	return byName(m)
}

// WorkloadsByName returns the workloads that are known, in the order of names.
func (s *Snapshot) WorkloadsByName() []*Workload {
	m := make(map[WorkloadName]*Workload, s.workloads.n)
	for name, w := range s.workloads.all() {
		m[name] = w
	}
	return byName(m)
}

// Policy returns a policy, or nil. Whoever names one that is not there lets
// nobody in. One that has a Problem is there: an Authorization that cannot be had
// refuses all (Authorization.Check), and a RateLimit counts nothing, and refuses
// all where it is FailClosed (RateLimit.Check).
func (s *Snapshot) Policy(name PolicyName) *Policy {
	p, _ := s.policies.get(name)
	return p
}

// RateLimits yields the policies that have one, in no order.
func (s *Snapshot) RateLimits() iter.Seq[*Policy] { return s.counting.values() }

// meshParts takes over what waypoints and node agents need.
func (c *change) meshParts(d *Delta) {
	for name, part := range edits(d.Removed.Policies, d.Policies, func(p *Policy) PolicyName { return p.Name }) {
		c.policy(name, part)
	}
	for name, part := range edits(d.Removed.Captures, d.Captures, func(p *Capture) CaptureName { return p.Name }) {
		c.s.captures = set(c.s.captures, name, part)
	}
	for name, part := range edits(d.Removed.Workloads, d.Workloads, func(p *Workload) WorkloadName { return p.Name }) {
		if old, ok := c.s.workloads.get(name); ok {
			c.address(old, false)
		}
		c.s.workloads = set(c.s.workloads, name, part)
		if part != nil {
			c.address(part, true)
		}
	}
}

// policy takes a policy over, in order or not: who names it relies on its being
// there.
func (c *change) policy(name PolicyName, part *Policy) {
	c.s.policies = set(c.s.policies, name, part)
	c.s.badPolicies = c.s.badPolicies.without(name)
	c.s.counting = c.s.counting.without(name)
	if part == nil {
		return
	}
	if err := checkPolicy(part); err != nil && !part.excused() {
		c.s.badPolicies = c.s.badPolicies.with(name, &Problem{Origin: part.Origin, Reason: InvalidPolicy, Err: err})
	}
	if part.RateLimit != nil {
		c.s.counting = c.s.counting.with(name, part)
	}
}

// excused reports whether who made the policy has told its author already that it
// cannot be had, and left nothing of it to be judged.
func (p *Policy) excused() bool {
	return p.Authorization != nil && p.Authorization.Broken != "" || p.RateLimit != nil && len(p.RateLimit.Rules) == 0
}

// address puts a workload in under its addresses, or takes it out. Two may claim
// one for a moment, when a pod follows another: then the order of their names
// decides, so that all gateways say the same.
func (c *change) address(w *Workload, in bool) {
	for _, addr := range w.Addresses {
		key := addressKey(addr)
		at, _ := c.s.addresses.get(key)
		at = slices.DeleteFunc(slices.Clone(at), func(o *Workload) bool { return o.Name == w.Name })
		if in {
			at = append(at, w)
			slices.SortFunc(at, func(a, b *Workload) int { return cmp.Compare(a.Name, b.Name) })
		}
		if len(at) > 0 {
			c.s.addresses = c.s.addresses.with(key, at)
		} else {
			c.s.addresses = c.s.addresses.without(key)
		}
	}
}

// defaultPrefix begins the names of routes that stand for Listener.To. No
// object's begins so.
const defaultPrefix = "Door/"

// ofDefault returns the door that a route is the default of.
func ofDefault(name RouteName) (ListenerName, bool) {
	door, ok := strings.CutPrefix(string(name), defaultPrefix)
	return ListenerName(door), ok
}

// defaultOf returns where l sends requests while no route is attached to it.
func (s *Snapshot) defaultOf(l *Listener) *Target {
	if a, ok := s.attached.get(l.Name); ok && a.routes.n > 0 {
		return nil
	}
	if r, ok := s.defaults.get(l.Name); ok && len(r.targets) > 0 {
		return r.targets[0]
	}
	return nil
}

// renameDoor follows a listener's names, and has its default compiled.
func (c *change) renameDoor(old, now *Listener) {
	if old != nil {
		c.nameDoors(old, false)
		c.defaults[old.Name] = true
	}
	if now != nil {
		c.nameDoors(now, true)
		c.defaults[now.Name] = true
	}
}

// compileDefaults makes routes of the Listener.To that have changed, or whose
// clusters have.
func (c *change) compileDefaults() {
	for _, name := range slices.Sorted(maps.Keys(c.defaults)) {
		if old, ok := c.s.defaults.get(name); ok {
			c.unuse(old)
			c.s.defaults = c.s.defaults.without(name)
			c.s.badRoutes = c.s.badRoutes.without(old.route.Name)
		}
		l, ok := c.s.listeners.get(name)
		if !ok || l.To == "" {
			continue
		}
		r := compileRoute(&Route{
			Name: RouteName(defaultPrefix + name), Origin: l.Origin, Created: l.Created,
			Attached: []Attachment{{Listener: name}}, // so that it is told of; it is found without hosts
			Rules:    []Rule{{Origin: l.Origin, Action: Action{Backends: []Backend{{Cluster: l.To, Weight: 1, Origin: l.Origin}}}}},
		}, c.s.Cluster)
		c.s.defaults = c.s.defaults.with(name, r)
		if len(r.problems) > 0 {
			c.s.badRoutes = c.s.badRoutes.with(r.route.Name, r.problems)
		}
		c.use(r)
		c.s.fresh = append(c.s.fresh, r.targets...)
		c.table(name) // the port has it from there
	}
}

// nameDoors puts the names of a door in, or takes them out. Of several that claim
// one the first that is in force has it.
func (c *change) nameDoors(l *Listener, in bool) {
	if !l.Inside || len(l.Addresses) == 0 {
		return
	}
	for _, host := range l.Names {
		key := doorName(fmt.Sprintf("%s:%d", host, l.Port))
		claims, _ := c.s.doorNames.get(key)
		claims = slices.DeleteFunc(slices.Clone(claims), func(o *Listener) bool { return o.Name == l.Name })
		if in {
			claims = append(claims, l)
			slices.SortFunc(claims, (*Listener).compare)
		}
		if len(claims) > 0 {
			c.s.doorNames = c.s.doorNames.with(key, claims)
		} else {
			c.s.doorNames = c.s.doorNames.without(key)
		}
	}
}

// checkInside says what is wrong with what only doors and waypoints have.
func (l *Listener) checkInside() error {
	switch {
	case l.Shared() && !l.Inside:
		return fmt.Errorf("gateway %q of a listener that is no door: want the Gateway whose pods serve it", l.Gateway)
	case l.Inside && len(l.Addresses) == 0:
		return fmt.Errorf("a door without an address: want those that clients dial")
	case l.Inside && l.Protocol != HTTP && l.Protocol != TCP && !(l.Protocol == TLS && l.TLS != nil && l.TLS.Passthrough):
		return fmt.Errorf("a door of protocol %s: want HTTP, TCP, or TLS that is passed through", l.Protocol)
	case !l.Inside && (l.From != "" || l.Detect || l.To != "" || l.Capture != 0 || l.Strict || len(l.Names) > 0 || l.Claimed):
		return fmt.Errorf("what is of doors alone (From, Detect, To, Capture, Strict, Names, Claimed) on a listener that is none")
	case l.Port == 0 && (l.Capture != 0 || len(l.Names) > 0 || l.Claimed):
		return fmt.Errorf("a door for any port with Capture or Names: these stand for one port")
	case l.Detect && l.Protocol != HTTP:
		return fmt.Errorf("protocol %s to be detected: want HTTP", l.Protocol)
	case l.Protocol == HBONE && (l.Mesh == nil || len(l.Mesh.TrustDomains) == 0):
		return fmt.Errorf("protocol HBONE without a trust domain")
	case l.Protocol != HBONE && l.Mesh != nil:
		return fmt.Errorf("protocol %s with a mesh: want HBONE", l.Protocol)
	case l.Mesh != nil && l.Mesh.Sandwich == l.Port:
		return fmt.Errorf("tunnels that come by port %d, which is the node proxy's: want another", l.Port)
	case slices.Contains(l.Policies, ""):
		return fmt.Errorf("a policy without a name")
	}
	return nil
}
