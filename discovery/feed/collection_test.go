package feed

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/proto"
)

// A model is a client by the letter of the protocol.
type model struct {
	t       *testing.T
	sub     *subscription
	all     bool
	names   map[string]bool
	has     map[string]string
	closed  string // the version of the last run's end
	pending []string
}

func (m *model) take(r *discoveryv3.DeltaDiscoveryResponse) {
	m.t.Helper()
	seen := map[string]bool{}
	for _, res := range r.Resources {
		if seen[res.Name] {
			m.t.Fatalf("%s twice in a response", res.Name)
		}
		seen[res.Name] = true
		if res.Name == generationName {
			m.closed = res.Version
			continue
		}
		if !m.all && !m.names[res.Name] {
			m.t.Fatalf("%s was sent, which nobody asked for", res.Name)
		}
		m.has[res.Name] = res.Version
	}
	for _, name := range r.RemovedResources {
		if seen[name] {
			m.t.Fatalf("%s is both there and gone", name)
		}
		delete(m.has, name)
	}
	m.pending = append(m.pending, r.Nonce)
}

func (m *model) ack() {
	for _, nonce := range m.pending {
		m.sub.acknowledge(nonce, time.Time{})
	}
	m.pending = nil
}

// drain takes and acknowledges all that there is.
func (m *model) drain() {
	for {
		if r := m.sub.next(time.Time{}); r != nil {
			m.take(r)
			continue
		}
		if len(m.pending) == 0 {
			return
		}
		m.ack()
	}
}

// settled holds that the client has what it asked for, as it is.
func (m *model) settled(c *collection) {
	m.t.Helper()
	m.drain()
	for _, e := range m.sub.entries() {
		want := ""
		if r := c.currentFor(m.sub.scope, e.name); r != nil && (m.all || m.names[e.name]) {
			want = r.version()
		}
		if m.has[e.name] != want {
			m.t.Fatalf("the client has %s as %q, want %q", e.name, m.has[e.name], want)
		}
	}
	for name := range m.has {
		if c.currentFor(m.sub.scope, name) == nil {
			m.t.Fatalf("the client has %s, which is gone, or another's", name)
		}
	}
	if want := c.digestFor(m.sub.scope).String(); m.all && m.closed != want {
		m.t.Fatalf("closed as %q, want %q", m.closed, want)
	}
}

func newModel(t *testing.T, c *collection, scope string, first *request) *model {
	m := &model{t: t, names: map[string]bool{}, has: map[string]string{}}
	m.sub = newSubscription(PartType, c, func() (*resource, mark) {
		return makeResource(PartType, generationName, c.digestFor(scope).String(), nil), mark{}
	}, func() {})
	m.sub.scope = scope
	c.join(m.sub)
	for name, version := range first.InitialResourceVersions {
		if name != generationName {
			m.has[name] = version
		}
	}
	m.subscribe(first)
	if err := m.sub.begin(first); err != nil {
		t.Fatal(err)
	}
	return m
}

func (m *model) subscribe(r *request) {
	for _, name := range r.ResourceNamesSubscribe {
		if name == wildcard {
			m.all = true
		} else {
			m.names[name] = true
		}
	}
	for _, name := range r.ResourceNamesUnsubscribe {
		if name == wildcard {
			m.all = false
		} else {
			delete(m.names, name)
		}
	}
	if !m.all { // it drops what it has lost interest in
		for name := range m.has {
			if !m.names[name] {
				delete(m.has, name)
			}
		}
	}
}

// Whatever changes and whatever clients subscribe to, when all is acknowledged
// they have what there is.
func TestClientsEndUpWithWhatThereIs(t *testing.T) {
	for seed := range uint64(150) {
		r := rand.New(rand.NewPCG(seed, 3))
		c := newCollection()
		scope := func(name string) string { // clusters are for all
			if strings.HasPrefix(name, clusterKind) {
				return ""
			}
			return fmt.Sprint("node-", r.IntN(2))
		}
		name := func() string { return pick(chance{r}, clusterKind, workloadKind) + fmt.Sprint(r.IntN(4)) }
		var models []*model
		for range 200 {
			switch r.IntN(10) {
			case 0, 1, 2:
				c.mu.Lock()
				for range r.IntN(3) {
					name := name()
					c.putFor(scope(name), makeResource(PartType, name, fmt.Sprint(r.IntN(5)), make([]byte, r.IntN(2)*chunkSize/2)))
				}
				c.mu.Unlock()
			case 3, 4:
				c.mu.Lock()
				name := name()
				c.removeFor(scope(name), name)
				c.mu.Unlock()
			case 5:
				if len(models) < 4 {
					scope := scope(workloadKind)
					models = append(models, newModel(t, c, scope, randomFirst(r, c, scope, name)))
				} else {
					m := models[0]
					m.settled(c)
					c.leave(m.sub)
					models = models[1:]
				}
			case 6:
				for _, m := range models {
					if change := randomChange(r, name); r.IntN(2) == 0 {
						m.subscribe(change)
						if err := m.sub.change(change); err != nil {
							t.Fatal(err)
						}
					}
				}
			case 7, 8:
				for _, m := range models {
					if resp := m.sub.next(time.Time{}); resp != nil {
						m.take(resp)
					}
				}
			case 9:
				for _, m := range models {
					m.ack()
				}
			}
		}
		for _, m := range models {
			m.settled(c)
		}
	}
}

// randomFirst begins with nothing, or with what may have been.
func randomFirst(r *rand.Rand, c *collection, scope string, name func() string) *request {
	first := &request{InitialResourceVersions: map[string]string{}}
	if r.IntN(3) > 0 {
		first.ResourceNamesSubscribe = append(first.ResourceNamesSubscribe, wildcard)
	} else {
		first.ResourceNamesSubscribe = append(first.ResourceNamesSubscribe, name(), name())
	}
	for range r.IntN(4) {
		first.InitialResourceVersions[name()] = fmt.Sprint(r.IntN(5))
	}
	if entries := (&subscription{from: c}).entries(); len(entries) > 0 && r.IntN(3) == 0 { // all of it
		for _, e := range entries {
			if r := c.currentFor(scope, e.name); r != nil {
				first.InitialResourceVersions[e.name] = r.version()
			}
		}
		for name := range first.InitialResourceVersions {
			if now := c.currentFor(scope, name); now == nil || first.InitialResourceVersions[name] != now.version() {
				return first
			}
		}
		first.InitialResourceVersions[generationName] = c.digestFor(scope).String()
	}
	return first
}

func randomChange(r *rand.Rand, name func() string) *request {
	change := &request{}
	if r.IntN(4) > 0 {
		change.ResourceNamesSubscribe = append(change.ResourceNamesSubscribe, name())
	}
	switch r.IntN(6) {
	case 0:
		change.ResourceNamesSubscribe = append(change.ResourceNamesSubscribe, wildcard)
	case 1:
		change.ResourceNamesUnsubscribe = append(change.ResourceNamesUnsubscribe, wildcard)
	case 2, 3:
		change.ResourceNamesUnsubscribe = append(change.ResourceNamesUnsubscribe, name())
	}
	return change
}

// A run is made of responses of bounded size, however much there is.
func TestChunks(t *testing.T) {
	c := newCollection()
	const n = 1000
	for i := range n {
		c.put(makeResource(PartType, fmt.Sprint("cluster/", i), "v", make([]byte, 1000)))
	}
	m := newModel(t, c, "", &request{ResourceNamesSubscribe: []string{wildcard}})
	responses := 0
	for r := m.sub.next(time.Time{}); r != nil; r = m.sub.next(time.Time{}) {
		m.take(r)
		size := 0
		for _, res := range r.Resources {
			size += len(res.Resource.GetValue())
		}
		if size > chunkSize+2000 {
			t.Errorf("a response of %d bytes, want about %d", size, chunkSize)
		}
		if responses++; responses == 3 {
			c.put(makeResource(PartType, "cluster/0", "later", nil)) // in the middle of the run
		}
	}
	if len(m.has) != n || m.has["cluster/0"] != "later" || m.closed != c.digest.String() {
		t.Errorf("%d of %d, version %q of the one that changed, closed %q", len(m.has), n, m.has["cluster/0"], m.closed)
	}
	if want := n * 1000 / chunkSize; responses < want || responses > want+5 {
		t.Errorf("%d responses, want about %d", responses, want)
	}
}

// The log stays small, however much changes and however slow somebody is; what
// is gone is forgotten when everybody knows.
func TestTheLogIsBounded(t *testing.T) {
	c := newCollection()
	m := newModel(t, c, "", &request{ResourceNamesSubscribe: []string{wildcard}})
	m.drain()
	for i := range 100_000 {
		c.put(makeResource(PartType, fmt.Sprint("cluster/", i%10), fmt.Sprint(i), nil))
	}
	if len(c.log) > 200 {
		t.Errorf("%d places in the log for 10 resources that change", len(c.log))
	}
	m.settled(c)
	for i := range 1000 {
		c.put(makeResource(PartType, fmt.Sprint("route/", i), "v", nil))
		c.remove(fmt.Sprint("route/", i))
	}
	m.settled(c)
	for i := range 10_000 {
		c.put(makeResource(PartType, "cluster/0", fmt.Sprint(i), nil))
	}
	if len(c.entries) > 200 || c.live != 10 {
		t.Errorf("%d entries and %d of them live, want little more than 10", len(c.entries), c.live)
	}
}

// A pod that comes back after it missed a lot is sent everything, and what is gone.
func TestMuchMissed(t *testing.T) {
	c := newCollection()
	for i := range 2 * maxForced {
		c.put(makeResource(PartType, fmt.Sprint("cluster/", i), "new", nil))
	}
	has := map[string]string{"cluster/gone": "v", generationName: "old"}
	for i := range 2 * maxForced {
		has[fmt.Sprint("cluster/", i)] = "old"
	}
	m := newModel(t, c, "", &request{ResourceNamesSubscribe: []string{wildcard}, InitialResourceVersions: has})
	if len(m.sub.forced) != 1 {
		t.Errorf("%d names are listed, want the one that is gone", len(m.sub.forced))
	}
	m.settled(c)
}

// FuzzRequests holds that no request makes a subscription panic, send a
// resource twice in a response, or send for ever.
func FuzzRequests(f *testing.F) {
	seed, err := proto.Marshal(&request{
		ResourceNamesSubscribe: []string{"*", "cluster/1", "generation"}, ResourceNamesUnsubscribe: []string{"cluster/2"},
		InitialResourceVersions: map[string]string{"cluster/1": "v", "cluster/old": "v", "generation": "v"},
	})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed, seed)
	f.Fuzz(func(t *testing.T, first, second []byte) {
		var a, b request
		if proto.Unmarshal(first, &a) != nil || proto.Unmarshal(second, &b) != nil {
			return
		}
		c := newCollection()
		for i := range 3 {
			c.put(makeResource(PartType, fmt.Sprint("cluster/", i), "v", nil))
		}
		sub := newSubscription(PartType, c, func() (*resource, mark) {
			return makeResource(PartType, generationName, c.digest.String(), nil), mark{}
		}, func() {})
		c.join(sub)
		if sub.begin(&a) != nil || sub.change(&b) != nil {
			return
		}
		for n := 0; ; n++ {
			r := sub.next(time.Time{})
			if r == nil {
				break
			}
			seen := map[string]bool{}
			for _, res := range r.Resources {
				if seen[res.Name] || n > 10 {
					t.Fatalf("response %d: %q", n, summary(r))
				}
				seen[res.Name] = true
			}
			sub.acknowledge(r.Nonce, time.Time{})
		}
	})
}
