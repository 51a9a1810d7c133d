package feed

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"

	"fairway.dev/routing"
)

// A pod is a Client with a Snapshot in the data plane's place.
type pod struct {
	*Client
	mu       sync.Mutex
	snap     *routing.Snapshot
	problems []*routing.Problem // that the data plane has
	applied  chan *routing.Delta
	stop     func()
}

func startPod(t testing.TB, c *control, change func(*ClientOptions)) *pod {
	t.Helper()
	p := &pod{snap: new(routing.Snapshot), applied: make(chan *routing.Delta, 1000)}
	o := ClientOptions{
		Control: "passthrough:control", Credentials: c.mesh.client(edgeID), DialOptions: c.dialOptions(),
		Gateway: "shop/edge", Pod: "shop/edge-1", Node: "node-a", Apply: p.apply, Log: quiet,
	}
	if change != nil {
		change(&o)
	}
	p.Client = NewClient(o)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { p.Run(ctx); close(done) }()
	p.stop = sync.OnceFunc(func() { cancel(); <-done })
	t.Cleanup(p.stop)
	return p
}

func (p *pod) apply(d *routing.Delta) []*routing.Problem {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.snap, _ = p.snap.Update(d)
	p.applied <- d
	return p.problems
}

func (p *pod) spec() *routing.Spec {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.snap.Spec()
}

// next returns the next change that was put in force.
func (p *pod) next(t testing.TB) *routing.Delta {
	t.Helper()
	select {
	case d := <-p.applied:
		return d
	case <-time.After(patience):
		t.Fatal("nothing was put in force")
	}
	return nil
}

// wantDelta holds that a change has as many parts of each kind.
func wantDelta(t *testing.T, what string, d *routing.Delta, listeners, routes, clusters, endpoints, certificates int) {
	t.Helper()
	got := []int{len(d.Listeners), len(d.Routes), len(d.Clusters), len(d.Endpoints), len(d.Certificates)}
	if want := []int{listeners, routes, clusters, endpoints, certificates}; !slices.Equal(got, want) {
		t.Errorf("%s: parts %v, want %v", what, got, want)
	}
}

// fleet returns a channel of a Gateway's fleets as they change.
func watchFleet(o *Options, gateway string, server func() *Server) chan Fleet {
	fleets := make(chan Fleet, 10_000)
	o.OnFleet = func(g string) {
		if g == gateway {
			fleets <- server().Fleet(g)
		}
	}
	return fleets
}

// until returns the first fleet that is as wanted.
func until(t testing.TB, fleets chan Fleet, what string, wanted func(Fleet) bool) Fleet {
	t.Helper()
	timeout := time.After(patience)
	var last Fleet
	for {
		select {
		case last = <-fleets:
			if wanted(last) {
				return last
			}
		case <-timeout:
			t.Fatalf("%s: the fleet is %+v", what, last)
		}
	}
}

// inForce reports whether a Gateway has a pod, and all have what is wanted.
func (c *control) inForce(gateway string) func(Fleet) bool {
	return func(f Fleet) bool {
		for _, pod := range f.Pods {
			if pod.Version == "" || !maps.Equal(pod.Listeners, c.Wanted(gateway)) {
				return false
			}
		}
		return len(f.Pods) > 0
	}
}

func startWatched(t testing.TB, m *mesh, change func(*Options)) (*control, chan Fleet) {
	t.Helper()
	var c *control
	var fleets chan Fleet
	ready := make(chan struct{})
	c = startControl(t, m, func(o *Options) {
		fleets = watchFleet(o, "shop/edge", func() *Server { <-ready; return c.Server })
		if change != nil {
			change(o)
		}
	})
	close(ready)
	return c, fleets
}

func TestPodGetsItsGatewayAndSaysSo(t *testing.T) {
	places := make(chan Place, 10)
	c, fleets := startWatched(t, newMesh(t), func(o *Options) {
		o.Place = func(gateway, node string) Place {
			return Place{Zone: "zone of " + node, Labels: map[string]string{"gateway": gateway}}
		}
	})
	c.Update(shop())
	c.Open()
	p := startPod(t, c, func(o *ClientOptions) { o.Place, o.Program = func(p Place) { places <- p }, "v1.2.3" })
	wantDelta(t, "at first", p.next(t), 1, 1, 1, 1, 0)
	if place := <-places; place.Zone != "zone of node-a" || place.Labels["gateway"] != "shop/edge" {
		t.Errorf("place %+v, want that of the node, with the Gateway's labels", place)
	}
	f := until(t, fleets, "acknowledged", c.inForce("shop/edge"))
	if s := f.Pods[0]; len(f.Pods) != 1 || s.Pod != "shop/edge-1" || s.Node != "node-a" || s.Program != "v1.2.3" || s.Replica != "control-a" || s.Gateway != "shop/edge" {
		t.Errorf("fleet %+v, want the pod", f)
	}
	if got, want := f.Pods[0].Version, c.Version("shop/edge"); got != want || want == "" || c.Version("shop/other") != "" {
		t.Errorf("version %q is in force, want %q", got, want)
	}
	edit(c, "10.0.0.2:80")
	wantDelta(t, "endpoints", p.next(t), 0, 0, 0, 1, 0)
	c.Update(&routing.Delta{Removed: removed{Routes: []routing.RouteName{"HTTPRoute/shop/cart"}}})
	if d := p.next(t); len(d.Removed.Routes) != 1 || len(d.Removed.Clusters) != 1 || len(d.Endpoints) != 0 {
		t.Errorf("a route removed: %+v, want it and its cluster gone", d)
	}
	if s := p.Status(); !s.Loaded || !s.Connected || time.Since(s.InStep) > time.Minute || s.Version == "" {
		t.Errorf("status %+v, want loaded and connected", s)
	}
	if s := c.Stats(); s.Streams != 1 || s.Responses < 3 || s.Resources < 8 || s.Slow+s.Refused != 0 {
		t.Errorf("stats %+v", s)
	}
}

// A pod gets the keys of its own Gateway and no other's.
func TestKeysOfOthersStayAway(t *testing.T) {
	c := startControl(t, newMesh(t), nil)
	d := shop()
	d.Listeners = append(d.Listeners, listener("shop/edge", "https", "shop/tls"), listener("bank/edge", "https", "bank/tls"))
	d.Certificates = append(d.Certificates, pair("shop/tls", "the shop's key"), pair("bank/tls", "the bank's key"))
	c.Update(d)
	c.Open()
	p := startPod(t, c, nil)
	got := p.next(t)
	wantDelta(t, "the shop", got, 2, 1, 1, 1, 1)
	if key := string(got.Certificates[0].Key); key != "the shop's key" {
		t.Errorf("key %q, want the shop's", key)
	}
	c.Update(&routing.Delta{Certificates: []*routing.Certificate{pair("bank/tls", "another"), pair("shop/tls", "renewed")}})
	if got := p.next(t); len(got.Certificates) != 1 || string(got.Certificates[0].Key) != "renewed" {
		t.Errorf("rotated: %+v, want the shop's alone", got.Certificates)
	}
}

// A Gateway without listeners is in force too; and one that is deleted leaves
// its pods with nothing.
func TestEmptyAndDeletedGateways(t *testing.T) {
	c, fleets := startWatched(t, newMesh(t), nil)
	c.Open()
	p := startPod(t, c, nil)
	wantDelta(t, "nothing yet", p.next(t), 0, 0, 0, 0, 0)
	until(t, fleets, "empty", c.inForce("shop/edge"))
	c.Update(shop())
	wantDelta(t, "the Gateway", p.next(t), 1, 1, 1, 1, 0)
	c.Update(&routing.Delta{Removed: removed{
		Listeners: []routing.ListenerName{"shop/edge/http"}, Routes: []routing.RouteName{"HTTPRoute/shop/cart"}, Clusters: []routing.ClusterName{"shop/cart:80"},
	}})
	p.next(t)
	if s := p.spec(); len(s.Listeners)+len(s.Routes)+len(s.Clusters)+len(s.Endpoints) > 0 {
		t.Errorf("a deleted Gateway's pod has %+v", s)
	}
}

// Control that has been restarted says nothing before it knows all, and a pod
// that comes back is sent what it has missed.
func TestControlRestarts(t *testing.T) {
	m := newMesh(t)
	first := startControl(t, m, nil)
	first.Update(shop())
	first.Open()
	second := startControl(t, m, func(o *Options) { o.Replica = "control-b" })
	current := make(chan *control, 1)
	current <- first
	p := startPod(t, first, func(o *ClientOptions) {
		o.DialOptions = dialTo(current)
	})
	wantDelta(t, "at first", p.next(t), 1, 1, 1, 1, 0)
	<-current
	current <- second
	first.stop()

	second.Update(&routing.Delta{Listeners: []*routing.Listener{listener("shop/edge", "http")}}) // it has not seen all
	second.Update(shop())
	edit(second, "10.0.0.2:80")
	second.Open()
	d := p.next(t)
	wantDelta(t, "afterwards", d, 0, 0, 0, 1, 0)
	if len(d.Removed.Routes)+len(d.Removed.Listeners)+len(d.Removed.Clusters) > 0 {
		t.Errorf("the restart removed %+v", d.Removed)
	}
}

// A resource that a pod cannot read is refused by its name; the rest is in
// force, and when it is mended it is in force, too.
func TestOneBadPartHarmsNoOther(t *testing.T) {
	c, fleets := startWatched(t, newMesh(t), nil)
	d := shop()
	d.Listeners = append(d.Listeners, listener("shop/edge", "https", "shop/tls"))
	d.Certificates = append(d.Certificates, pair("shop/tls", "key"))
	c.Update(d)
	c.Open()
	p := startPod(t, c, nil)
	p.next(t)
	until(t, fleets, "all in force", c.inForce("shop/edge"))

	// As if by a newer control, that says what this pod does not know.
	v := c.views.of("shop/edge")
	break1 := func(name, text string) {
		v.mu.Lock()
		v.put(makeResource(PartType, name, hashOf([]byte(text)), []byte(text)))
		v.settle()
		v.mu.Unlock()
	}
	break1(cartCluster, `{"Name":"shop/cart:80","Origin":{"Kind":"Service","Namespace":"shop","Name":"cart"},"Policy":{}}`)
	break1("certificate/shop/tls", `{"Name":"shop/tls","Key":"c2VjcmV0","Policy":{}}`)
	edit(c, "10.0.0.2:80")
	wantDelta(t, "beside a bad part", p.next(t), 0, 0, 0, 1, 0)
	f := until(t, fleets, "refused", func(f Fleet) bool { return len(f.Pods) == 1 && len(f.Pods[0].Problems) == 2 })
	pod := f.Pods[0]
	if pod.Problems[0].Reason != Refused || !strings.Contains(pod.Problems[1].Error(), "Service shop/cart") && !strings.Contains(pod.Problems[0].Error(), "certificate shop/tls") {
		t.Errorf("problems %v, want both parts by their names", pod.Problems)
	}
	if _, ok := pod.Listeners["shop/edge/https"]; ok || len(pod.Listeners) != 1 {
		t.Errorf("listeners in force %v, want not the one whose certificate was refused", pod.Listeners)
	}
	if got := c.Problems("shop/edge"); len(got) != 2 {
		t.Errorf("problems of the Gateway %v, want both", got)
	}
	if s := p.spec(); s.Clusters["shop/cart:80"] == nil || string(s.Certificates["shop/tls"].Key) != "key" {
		t.Error("what was refused is gone, want it as it was")
	}

	c.Update(&routing.Delta{
		Clusters:     []*routing.Cluster{{Name: "shop/cart:80", SlowStart: 1}},
		Certificates: []*routing.Certificate{pair("shop/tls", "renewed")},
	})
	wantDelta(t, "mended", p.next(t), 0, 0, 1, 0, 1)
	f = until(t, fleets, "mended", c.inForce("shop/edge"))
	if len(f.Pods[0].Problems) > 0 {
		t.Errorf("problems %v, want none", f.Pods[0].Problems)
	}
}

// Problems go with the acknowledgement, and anew when they change.
func TestProblemsAreReported(t *testing.T) {
	c, fleets := startWatched(t, newMesh(t), nil)
	c.Update(shop())
	c.Open()
	unbound := &routing.Problem{Origin: listener("shop/edge", "http").Origin, Reason: "PortUnavailable", Err: errors.New("in use")}
	p := startPod(t, c, func(o *ClientOptions) {
		apply := o.Apply
		o.Apply = func(d *routing.Delta) []*routing.Problem { apply(d); return []*routing.Problem{unbound} }
	})
	f := until(t, fleets, "with a problem", func(f Fleet) bool { return len(f.Pods) == 1 && len(f.Pods[0].Problems) == 1 })
	if got := f.Pods[0].Problems[0]; got.Error() != unbound.Error() || got.Reason != unbound.Reason {
		t.Errorf("problem %v, want %v", got, unbound)
	}
	p.Report([]*routing.Problem{unbound, unbound})
	p.Report(nil)
	until(t, fleets, "without", func(f Fleet) bool { return len(f.Pods) == 1 && len(f.Pods[0].Problems) == 0 && f.Pods[0].Version != "" })
}

// A pod whose state is not what control says starts over; once is enough.
func TestPodThatDiffersStartsOver(t *testing.T) {
	c := startControl(t, newMesh(t), nil)
	c.Update(shop())
	c.Open()
	p := startPod(t, c, nil)
	p.next(t)
	// A change that no pod is told of: the log says nothing of it.
	v := c.views.of("shop/edge")
	v.mu.Lock()
	e := v.entries[cartCluster]
	lost := newResource(PartType, cartCluster, &routing.Cluster{Name: "shop/cart:80", SlowStart: 7})
	v.digest = v.digest.minus(e.resource.digest).plus(lost.digest)
	e.resource = lost
	v.mu.Unlock()
	edit(c, "10.0.0.2:80")
	wantDelta(t, "the edit", p.next(t), 0, 0, 0, 1, 0)
	d := p.next(t)
	wantDelta(t, "what was lost", d, 0, 0, 1, 0, 0)
	if d.Clusters[0].SlowStart != 7 {
		t.Errorf("cluster %+v, want the one that was lost", d.Clusters[0])
	}
}

// Initial versions beyond what a message may have are left out: those parts
// are sent again, or go.
func TestVersionsThatDoNotFit(t *testing.T) {
	s := newClientState()
	long := strings.Repeat("a", 1000)
	n := 2 * maxVersions / 1000
	for i := range n {
		s.parts[fmt.Sprint("cluster/", i, long)] = held{"v", &routing.Cluster{}}
	}
	versions := s.versions()
	if len(versions)+len(s.unconfirmed) != n || len(versions) == 0 || len(s.unconfirmed) == 0 || versions[generationName] != "" {
		t.Fatalf("%d versions and %d left out of %d", len(versions), len(s.unconfirmed), n)
	}
	kept := ""
	for name := range s.unconfirmed {
		kept = name
	}
	s.run[kept] = arrival{version: "w", part: &routing.Cluster{}}
	if d := s.close(); len(d.Clusters) != 1 || len(s.parts) != len(versions)+1 {
		t.Errorf("%d parts left, want the %d that were named and the one that came", len(s.parts), len(versions))
	}
}

func TestLastGoodState(t *testing.T) {
	m := newMesh(t)
	c := startControl(t, m, nil)
	d := shop()
	d.Listeners = append(d.Listeners, listener("shop/edge", "https", "shop/tls"))
	d.Certificates = append(d.Certificates, pair("shop/tls", "key"))
	c.Update(d)
	c.Open()
	dir := filepath.Join(t.TempDir(), "state")
	withDir := func(o *ClientOptions) { o.Dir = dir }
	p := startPod(t, c, withDir)
	p.next(t)
	version := waitConnected(t, p)
	p.stop()
	info, err := os.Stat(filepath.Join(dir, stateName))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("the file is %v (%v), want it private", info, err)
	}

	// Control is away: the pod serves what it had.
	c.stop()
	p = startPod(t, c, withDir)
	got := p.next(t)
	wantDelta(t, "from the file", got, 2, 1, 1, 1, 1)
	if string(got.Certificates[0].Key) != "key" {
		t.Error("the key is not the one that was")
	}
	p.stop()
	if s := p.Status(); !s.Loaded || s.Connected || !s.InStep.IsZero() || s.Version != version {
		t.Errorf("status %+v, want loaded and not connected, of version %s", s, version)
	}

	// Control is back, and has something new.
	c = startControl(t, m, nil)
	c.Update(d)
	edit(c, "10.0.0.2:80")
	c.Open()
	p = startPod(t, c, withDir)
	wantDelta(t, "from the file again", p.next(t), 2, 1, 1, 1, 1)
	wantDelta(t, "what is new", p.next(t), 0, 0, 0, 1, 0)
	p.stop()

	// A damaged file is as good as none.
	path := filepath.Join(dir, stateName)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	text[len(text)/2] ^= 1
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	p = startPod(t, c, withDir)
	wantDelta(t, "all from control", p.next(t), 2, 1, 1, 1, 1)
}

// waitConnected returns the version of a pod that is in step.
func waitConnected(t testing.TB, p *pod) string {
	t.Helper()
	for range int(patience / time.Millisecond) {
		if s := p.Status(); s.Connected {
			return s.Version
		}
		<-time.After(time.Millisecond)
	}
	t.Fatal("the pod is not connected")
	return ""
}

func TestClientRefusesDoubles(t *testing.T) {
	s := newClientState()
	a := makeResource(PartType, "cluster/a", "1", []byte(`{"Name":"a"}`)).message
	if _, err := s.take(&discoveryv3.DeltaDiscoveryResponse{Resources: []*discoveryv3.Resource{a, a}}); err == nil {
		t.Error("a resource twice in a response is taken")
	}
	bad := makeResource(PartType, generationName, "1", []byte(`{`)).message
	if end, err := s.take(&discoveryv3.DeltaDiscoveryResponse{Resources: []*discoveryv3.Resource{bad}}); err == nil || end != nil {
		t.Errorf("a generation that is not JSON closes the run: %v, %v", end, err)
	}
	later := makeResource(PartType, generationName, "1", []byte(`{"Version":"v","Later":1}`)).message
	if end, err := s.take(&discoveryv3.DeltaDiscoveryResponse{Resources: []*discoveryv3.Resource{later}}); err != nil || end == nil {
		t.Errorf("a generation of a newer control: %v, %v, want it to close the run", end, err)
	}
}
