package feed

import (
	"maps"
	"slices"
	"sync"

	"fairway.dev/routing"
)

// CaptureGateway is what node agents say that they are pods of. Their view has
// what they need to send connections to waypoints, and for those of each node
// the workloads that run there.
const CaptureGateway = "capture"

// A view is what the pods of one Gateway get. The goroutine of Server.Update
// changes it, under the lock of its collection.
type view struct {
	*collection
	gateway   string
	callers   int                                        // HBONE listeners by which workloads call
	listeners map[routing.ListenerName]*routing.Listener // without doors: see Server.Wanted
	wanted    *listenerSet                               // of the listeners as they are
	stale     map[routing.ListenerName]struct{}          // those of which wanted is not up to date
}

// viewSet is the views that somebody uses: Gateways with listeners, and streams.
// Its lock is taken after all others.
type viewSet struct {
	mu    sync.Mutex
	views map[string]*view
	users map[*view]int

	common *view // what Gateways have in common: see collection.follow
}

func newViewSet() *viewSet {
	return &viewSet{views: map[string]*view{}, users: map[*view]int{}, common: newView(routing.CallingGateways, nil)}
}

// acquire returns the view of a Gateway, which stays until it is released; of
// CallingGateways the common one.
func (s *viewSet) acquire(gateway string) *view {
	if gateway == routing.CallingGateways {
		return s.common
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	v := s.views[gateway]
	if v == nil {
		v = newView(gateway, s.common.collection)
		s.views[gateway] = v
	}
	s.users[v]++
	return v
}

func (s *viewSet) release(v *view) {
	if v == s.common {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.users[v]--; s.users[v] == 0 {
		delete(s.users, v)
		delete(s.views, v.gateway)
	}
}

// of returns the view of a Gateway if there is one.
func (s *viewSet) of(gateway string) *view {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.views[gateway]
}

// A listenerSet is the versions of a Gateway's listeners, with what they use
// themselves: their certificates. It never changes.
type listenerSet struct {
	versions map[routing.ListenerName]string
	digest   digest
}

var noListeners = &listenerSet{}

func newView(gateway string, common *collection) *view {
	v := &view{
		collection: newCollection(), gateway: gateway, wanted: noListeners,
		listeners: map[routing.ListenerName]*routing.Listener{}, stale: map[routing.ListenerName]struct{}{},
	}
	v.common = common
	return v
}

func (v *view) put(r *resource) {
	v.collection.put(r)
	v.touched(r.message.Name)
}

func (v *view) remove(name string) {
	v.collection.remove(name)
	v.touched(name)
}

// scopeOf returns for which of its pods a node is: in the agents' view a
// workload is for those where it runs.
func (v *view) scopeOf(n *node) string {
	if v.gateway == CaptureGateway {
		return n.at
	}
	return ""
}

// show makes the view have a node's resource as it is.
func (v *view) show(n *node) {
	switch scope := v.scopeOf(n); {
	case n.common && v.follows:
		v.hide(n)
	case n.resource != nil && scope != "":
		v.putFor(scope, n.resource)
	case n.resource != nil:
		v.put(n.resource)
	default:
		v.hide(n)
	}
}

// hide takes a node's resource out.
func (v *view) hide(n *node) {
	if scope := v.scopeOf(n); scope != "" {
		v.removeFor(scope, n.name)
	} else {
		v.remove(n.name)
	}
}

// touched notes the listeners whose versions a resource changes.
func (v *view) touched(resource string) {
	switch kind, name := splitName(resource); kind {
	case listenerKind:
		v.stale[routing.ListenerName(name)] = struct{}{}
	case certificateKind:
		for name, l := range v.listeners {
			if slices.Contains(certificatesOf(l), resource) {
				v.stale[name] = struct{}{}
			}
		}
	}
}

// settle brings wanted up to date after changes. Doors, of which there may be
// ten thousand, are not in it.
func (v *view) settle() {
	maps.DeleteFunc(v.stale, func(name routing.ListenerName, _ struct{}) bool {
		_, had := v.wanted.versions[name]
		return !had && v.listeners[name] == nil
	})
	if len(v.stale) == 0 {
		return
	}
	set := &listenerSet{versions: maps.Clone(v.wanted.versions), digest: v.wanted.digest}
	if set.versions == nil {
		set.versions = map[routing.ListenerName]string{}
	}
	for name := range v.stale {
		if version, had := set.versions[name]; had {
			set.digest = set.digest.minus(digestOf(string(name), version))
			delete(set.versions, name)
		}
		if l := v.listeners[name]; l != nil {
			version := v.listenerVersion(l)
			set.versions[name] = version
			set.digest = set.digest.plus(digestOf(string(name), version))
		}
	}
	clear(v.stale)
	v.wanted = set
}

func (v *view) listenerVersion(l *routing.Listener) string {
	r := v.current(listenerName(l.Name))
	if r == nil {
		return ""
	}
	certificates := certificatesOf(l)
	if len(certificates) == 0 {
		return r.version()
	}
	text := []byte(r.version())
	for _, name := range certificates {
		text = append(text, ' ')
		if c := v.current(name); c != nil {
			text = append(text, c.version()...)
		}
	}
	return hashOf(text)
}

// without returns set without the listeners that cannot be in force, as
// resources of those names are not; "*" is any name.
func (v *view) without(set *listenerSet, refused []string) *listenerSet {
	bad := make(map[string]bool, len(refused))
	for _, name := range refused {
		bad[name] = true
	}
	if bad[wildcard] {
		return noListeners
	}
	v.mu.RLock()
	defer v.mu.RUnlock()
	left := &listenerSet{versions: maps.Clone(set.versions), digest: set.digest}
	for name, version := range set.versions {
		l := v.listeners[name]
		if bad[listenerName(name)] || l != nil && slices.ContainsFunc(certificatesOf(l), func(c string) bool { return bad[c] }) {
			delete(left.versions, name)
			left.digest = left.digest.minus(digestOf(string(name), version))
		}
	}
	return left
}
