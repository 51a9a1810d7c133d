package routing

import (
	"fmt"
	"maps"
	"slices"
)

// Update returns the Snapshot of the Spec that d makes of s's, and all its
// Problems. It is what Compile of that Spec would be, but shares with s all
// that d does not touch. What d removes goes before what it puts in comes; of
// two parts with one name the last counts.
func (s *Snapshot) Update(d *Delta) (*Snapshot, []*Problem) {
	next := *s
	next.fresh, next.edited = nil, nil
	c := change{
		s:      &next,
		stale:  map[RouteName]bool{},
		moved:  map[RouteName]bool{},
		tables: map[ListenerName]*attachedTo{},
		wanted: map[PortKey][]*Listener{},

		defaults: map[ListenerName]bool{},
	}
	c.passive(d)
	c.meshParts(d)
	c.clusters(d)
	c.listeners(d)
	c.routes(d)
	c.finish()
	return &next, next.Problems()
}

// A change is a Snapshot that is being made of an older one.
type change struct {
	s      *Snapshot
	stale  map[RouteName]bool           // routes one of whose clusters came, went or changed its kind
	moved  map[RouteName]bool           // routes one of whose listeners came or went
	tables map[ListenerName]*attachedTo // copies that are being changed
	wanted map[PortKey][]*Listener      // of the ports whose listeners change

	defaults map[ListenerName]bool // doors whose Listener.To is to be compiled anew
}

// edits returns what a delta says about each name: a part, or nil where it
// takes the part out.
func edits[K comparable, T any](removed []K, put []*T, name func(*T) K) map[K]*T {
	m := make(map[K]*T, len(removed)+len(put))
	for _, k := range removed {
		m[k] = nil
	}
	for _, part := range put {
		if part != nil {
			m[name(part)] = part
		}
	}
	return m
}

// set returns t with key set to part, or without it where part is nil.
func set[K ~string, T any](t trie[K, *T], key K, part *T) trie[K, *T] {
	if part == nil {
		return t.without(key)
	}
	return t.with(key, part)
}

// passive takes over the parts that nothing is compiled from.
func (c *change) passive(d *Delta) {
	for name, part := range edits(d.Removed.Certificates, d.Certificates, func(p *Certificate) CertificateName { return p.Name }) {
		c.s.certificates = set(c.s.certificates, name, part)
	}
	for name, part := range edits(d.Removed.Clusters, d.Endpoints, func(p *Endpoints) ClusterName { return p.Cluster }) {
		c.s.endpoints = set(c.s.endpoints, name, part)
		c.s.badNames = c.s.badNames.without(name)
		if part == nil {
			continue
		}
		if err := checkNames(part); err != nil {
			c.s.badNames = c.s.badNames.with(name, err)
		}
	}
}

func (c *change) clusters(d *Delta) {
	for name, part := range edits(d.Removed.Clusters, d.Clusters, func(p *Cluster) ClusterName { return p.Name }) {
		before := c.s.Cluster(name)
		c.s.clusters = set(c.s.clusters, name, part)
		var problem *Problem
		if part != nil {
			problem = checkCluster(part)
		}
		c.s.badClusters = set(c.s.badClusters, name, problem)
		if alike(before, c.s.Cluster(name)) {
			continue
		}
		users, _ := c.s.users.get(name)
		for route := range users.all() {
			if door, ok := ofDefault(route); ok {
				c.defaults[door] = true
			} else {
				c.stale[route] = true
			}
		}
	}
}

// alike reports whether routes make the same of two clusters in force, or of
// none.
func alike(a, b *Cluster) bool {
	return (a == nil) == (b == nil) && (a == nil || (a.Resolve == ResolveHost) == (b.Resolve == ResolveHost))
}

func (c *change) listeners(d *Delta) {
	for name, part := range edits(d.Removed.Listeners, d.Listeners, func(p *Listener) ListenerName { return p.Name }) {
		old, _ := c.s.listeners.get(name)
		if _, bad := c.s.badListeners.get(name); old != nil && !bad {
			for _, key := range old.keys() {
				c.want(key, old, nil)
			}
		}
		c.s.listeners = set(c.s.listeners, name, part)
		c.renameDoor(old, part)
		var problem, shut *Problem
		if part != nil {
			if problem = checkListener(part); problem == nil {
				shut = checkSecurity(part)
			}
		}
		c.s.badListeners = set(c.s.badListeners, name, problem)
		c.s.shutListeners = set(c.s.shutListeners, name, shut)
		c.s.traced = c.s.traced.without(name)
		c.s.demanding = c.s.demanding.without(name)
		if part != nil && problem == nil && (part.Telemetry != nil || len(part.JWT) > 0 || len(part.Policies) > 0) {
			c.s.demanding = c.s.demanding.with(name, part)
		}
		if part != nil && problem == nil && part.Telemetry != nil && part.Telemetry.Tracing != nil {
			c.s.traced = c.s.traced.with(name, part)
		}
		if part != nil && problem == nil {
			for _, key := range part.keys() {
				c.want(key, nil, part)
			}
		}
		if (old == nil) != (part == nil) {
			c.moveRoutesOf(name)
		}
	}
}

// want takes one listener out of those that want a port, and puts one in.
func (c *change) want(key PortKey, out, in *Listener) {
	list, ok := c.wanted[key]
	if p := c.s.Port(key); !ok && p != nil {
		list = slices.Clone(p.wanted)
	}
	if i := slices.Index(list, out); i >= 0 {
		list = slices.Delete(list, i, i+1)
	}
	if in != nil {
		list = append(list, in)
	}
	c.wanted[key] = list
}

func (c *change) moveRoutesOf(name ListenerName) {
	if a, ok := c.s.attached.get(name); ok {
		for route := range a.routes.all() {
			c.moved[route] = true
		}
	}
}

func (c *change) routes(d *Delta) {
	edited := edits(d.Removed.Routes, d.Routes, func(p *Route) RouteName { return p.Name })
	for name := range c.stale {
		if _, ok := edited[name]; !ok {
			old, _ := c.s.routes.get(name)
			edited[name] = old.route
		}
	}
	for _, name := range slices.Sorted(maps.Keys(edited)) {
		var compiled *compiledRoute
		if r := edited[name]; r != nil {
			compiled = compileRoute(r, c.s.Cluster)
			c.s.fresh = append(c.s.fresh, compiled.targets...)
		}
		c.replace(name, compiled)
		c.moved[name] = true
	}
	for name := range c.moved {
		c.report(name)
	}
	c.compileDefaults()
}

// replace puts a route, or nothing where it is nil, in the place of the old one.
func (c *change) replace(name RouteName, r *compiledRoute) {
	if old, ok := c.s.routes.get(name); ok {
		c.detach(old)
	}
	c.s.routes = set(c.s.routes, name, r)
	if r != nil {
		c.attach(r)
	}
}

// table returns the copy of what is attached to a listener.
func (c *change) table(name ListenerName) *attachedTo {
	a, ok := c.tables[name]
	if !ok {
		a = new(attachedTo)
		if old, ok := c.s.attached.get(name); ok {
			*a = *old
		}
		c.tables[name] = a
	}
	return a
}

func (c *change) attach(r *compiledRoute) {
	for _, p := range r.places {
		a := c.table(p.listener)
		t := a.hosts.get(p.host)
		if r.route.Ordered {
			t = t.withOrdered()
		}
		for _, m := range r.candidates {
			t = t.edit(m, insert)
		}
		a.hosts = a.hosts.with(p.host, t)
	}
	for _, name := range r.route.listeners() {
		a := c.table(name)
		a.routes = a.routes.with(r.route.Name, struct{}{})
	}
	c.use(r)
}

// use notes the clusters of a route, and unuse forgets them.
func (c *change) use(r *compiledRoute) {
	for _, name := range r.uses {
		users, _ := c.s.users.get(name)
		c.s.users = c.s.users.with(name, users.with(r.route.Name, struct{}{}))
	}
}

func (c *change) detach(r *compiledRoute) {
	for _, p := range r.places {
		a := c.table(p.listener)
		t := a.hosts.get(p.host)
		for _, m := range r.candidates {
			t = t.edit(m, remove)
		}
		if r.route.Ordered {
			t = t.withoutOrdered()
		}
		a.hosts = a.hosts.with(p.host, t)
	}
	for _, name := range r.route.listeners() {
		a := c.table(name)
		a.routes = a.routes.without(r.route.Name)
	}
	c.unuse(r)
}

func (c *change) unuse(r *compiledRoute) {
	for _, name := range r.uses {
		users, _ := c.s.users.get(name)
		if users = users.without(r.route.Name); users.n == 0 {
			c.s.users = c.s.users.without(name)
		} else {
			c.s.users = c.s.users.with(name, users)
		}
	}
}

// report collects the Problems of a route: its own and its listeners' absence.
func (c *change) report(name RouteName) {
	r, ok := c.s.routes.get(name)
	if !ok {
		c.s.badRoutes = c.s.badRoutes.without(name)
		return
	}
	problems := slices.Clone(r.problems)
	for _, l := range r.route.listeners() {
		if _, ok := c.s.listeners.get(l); !ok {
			problems = append(problems, &Problem{Origin: r.route.Origin, Reason: NoMatchingParent, Err: fmt.Errorf("no listener %q", l)})
		}
	}
	if len(problems) == 0 {
		c.s.badRoutes = c.s.badRoutes.without(name)
	} else {
		c.s.badRoutes = c.s.badRoutes.with(name, problems)
	}
}

// finish puts the changed tables in place and makes the ports that have them.
func (c *change) finish() {
	for name, a := range c.tables {
		if a.routes.n == 0 {
			c.s.attached = c.s.attached.without(name)
		} else {
			c.s.attached = c.s.attached.with(name, a)
		}
	}
	ports := make(map[PortKey]*Port)
	for key, wanted := range c.wanted {
		ports[key] = nil
		if len(wanted) > 0 {
			ports[key] = newPort(key, wanted, c.s)
		}
	}
	for name, a := range c.tables {
		c.rebind(name, a.hosts, ports)
	}
	c.replacePorts(ports)
}

// replacePorts puts ports in force in the place of those with their keys, of
// which nil takes one out.
func (c *change) replacePorts(ports map[PortKey]*Port) {
	var bound bool
	for key, p := range ports {
		if !key.Inside {
			bound = true
			continue
		}
		c.door(key, p)
	}
	if !bound {
		return
	}
	var list []*Port
	for _, p := range c.s.ports {
		if _, ok := ports[p.Key]; !ok {
			list = append(list, p)
		}
	}
	for key, p := range ports {
		if p != nil && !key.Inside {
			list = append(list, p)
		}
	}
	slices.SortFunc(list, func(p, q *Port) int { return p.Key.compare(q.Key) })
	c.s.ports, c.s.waypoints = list, waypointsOf(list)
}

// rebind gives the ports of a listener its tables.
func (c *change) rebind(name ListenerName, h hosts[pathTable], ports map[PortKey]*Port) {
	l, ok := c.s.listeners.get(name)
	if !ok {
		return
	}
	for _, key := range l.keys() {
		p, ok := ports[key]
		if !ok {
			p = c.s.Port(key)
		}
		if p != nil {
			ports[key] = p.withHosts(l, h, c.s.defaultOf(l))
		}
	}
}
