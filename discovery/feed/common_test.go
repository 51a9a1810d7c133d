package feed

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"fairway.dev/routing"
)

// calling is the HBONE listener of a Gateway through which workloads call, or do
// not.
func calling(gateway string, calls bool) *routing.Listener {
	l := listener(gateway, "mesh")
	l.Protocol, l.Port, l.Mesh = routing.HBONE, routing.HBONEPort, &routing.Mesh{TrustDomains: []string{"cluster.local"}, Calls: calls}
	return l
}

// cartDoors is a Service with a waypoint, and the doors that lead to it.
func cartDoors() *routing.Delta {
	return &routing.Delta{
		Listeners: []*routing.Listener{
			calling("shop/waypoint", false), calling("bank/waypoint", true),
			door("shop/waypoint", "cart.shop:80", "shop/cart:80"), sharedDoor("cart.shop:80", "shop/cart:80"),
		},
		Clusters:  []*routing.Cluster{behind("shop/cart:80", "shop/waypoint"), cluster("mesh/shop/waypoint"), cluster("mesh/bank/waypoint")},
		Endpoints: []*routing.Endpoints{endpoints("shop/cart:80", "10.0.0.1:80"), endpoints("mesh/shop/waypoint", "10.0.0.2:15008")},
	}
}

func sharedDoor(name string, to routing.ClusterName) *routing.Listener {
	l := door("shop/waypoint", name, to)
	l.Name, l.Gateway = routing.ListenerName(routing.CallingGateways+"/"+name), routing.CallingGateways
	return l
}

// What Gateways share goes to those through which workloads call, as long as they
// do, and where one has parts of its own it has them besides.
func TestSharedDoorsGoToWhoeverCalls(t *testing.T) {
	s := NewServer(Options{Log: quiet})
	s.Update(cartDoors())
	shop, bank := s.views.of("shop/waypoint"), s.views.of("bank/waypoint")
	own := []string{"cluster/shop/cart:80", "endpoints/shop/cart:80", "listener/shop/waypoint/cart.shop:80", "listener/shop/waypoint/mesh"}
	far := []string{"cluster/mesh/shop/waypoint", "cluster/shop/cart:80", "endpoints/mesh/shop/waypoint", "listener/bank/waypoint/mesh", "listener/~/cart.shop:80"}
	both := []string{"cluster/mesh/shop/waypoint", "cluster/shop/cart:80", "endpoints/mesh/shop/waypoint", "endpoints/shop/cart:80",
		"listener/shop/waypoint/cart.shop:80", "listener/shop/waypoint/mesh", "listener/~/cart.shop:80"}
	unowned := []string{"cluster/mesh/shop/waypoint", "cluster/shop/cart:80", "endpoints/mesh/shop/waypoint", "listener/shop/waypoint/mesh", "listener/~/cart.shop:80"}
	steps := []struct {
		name       string
		change     *routing.Delta
		shop, bank []string
	}{
		{"at first", nil, own, far},
		{"workloads call through the Service's waypoint, too", &routing.Delta{Listeners: []*routing.Listener{calling("shop/waypoint", true)}}, both, far},
		{"it is the Service's no longer", &routing.Delta{Removed: removed{Listeners: []routing.ListenerName{"shop/waypoint/cart.shop:80"}}}, unowned, far},
		{"it is again", &routing.Delta{Listeners: []*routing.Listener{door("shop/waypoint", "cart.shop:80", "shop/cart:80")}}, both, far},
		{"nothing calls through bank's", &routing.Delta{Listeners: []*routing.Listener{calling("bank/waypoint", false)}}, both, []string{"listener/bank/waypoint/mesh"}},
		{"nor through shop's", &routing.Delta{Listeners: []*routing.Listener{calling("shop/waypoint", false)}}, own, []string{"listener/bank/waypoint/mesh"}},
	}
	for _, tt := range steps {
		if tt.change != nil {
			s.Update(tt.change)
		}
		if got := shop.names(""); !slices.Equal(got, tt.shop) {
			t.Errorf("%s: shop/waypoint has %q, want %q", tt.name, got, tt.shop)
		}
		if got := bank.names(""); !slices.Equal(got, tt.bank) {
			t.Errorf("%s: bank/waypoint has %q, want %q", tt.name, got, tt.bank)
		}
	}
}

// A hundred waypoints have what they share once: a door more is one change, and
// a waypoint more is none.
func TestSharedDoorsAreHeldOnce(t *testing.T) {
	s := NewServer(Options{Log: quiet})
	s.Update(cartDoors())
	d := &routing.Delta{}
	for i := range 100 {
		d.Listeners = append(d.Listeners, calling(fmt.Sprintf("ns%d/waypoint", i), true))
	}
	s.Update(d)
	common, one := s.views.common, s.views.of("ns7/waypoint")
	before, own := common.number, one.number
	s.Update(&routing.Delta{Listeners: []*routing.Listener{calling("late/waypoint", true)}})
	if common.number != before || one.number != own {
		t.Errorf("a waypoint more made %d changes in common and %d at another, want none", common.number-before, one.number-own)
	}
	version := s.Version("ns7/waypoint")
	s.Update(&routing.Delta{Listeners: []*routing.Listener{sharedDoor("pay.shop:80", "shop/cart:80")}})
	if common.number != before+1 || one.number != own {
		t.Errorf("a door more made %d changes in common and %d at a waypoint, want 1 and none", common.number-before, one.number-own)
	}
	if one.live != 1 {
		t.Errorf("a waypoint has %d parts of its own, want its listener", one.live)
	}
	if s.Version("ns7/waypoint") == version {
		t.Error("the version of what a waypoint's pods should have does not tell of a shared door")
	}
	if got := s.Wanted("ns7/waypoint"); len(got) != 1 {
		t.Errorf("wanted are %v, want the listener that is bound", got)
	}
}

// A certificate that a bound listener names, and a shared door's cluster, is in
// the listener's version.
func TestSharedCertificatesAreInVersions(t *testing.T) {
	s := NewServer(Options{Log: quiet})
	d := cartDoors()
	d.Clusters[0].TLS = &routing.UpstreamTLS{ServerName: "cart", Certificate: "bank/tls"}
	d.Listeners = append(d.Listeners, listener("bank/waypoint", "https", "bank/tls"))
	d.Certificates = []*routing.Certificate{pair("bank/tls", "one")}
	s.Update(d)
	before := s.Wanted("bank/waypoint")["bank/waypoint/https"]
	s.Update(&routing.Delta{Certificates: []*routing.Certificate{pair("bank/tls", "two")}})
	if after := s.Wanted("bank/waypoint")["bank/waypoint/https"]; after == before || before == "" {
		t.Errorf("with another certificate the version is %q, and was %q", after, before)
	}
}

// Whatever comes to be shared, or is no longer, and whoever begins to call, or
// ends: pods that follow have what there is.
func TestClientsFollowWhatIsShared(t *testing.T) {
	for seed := range uint64(150) {
		c := chance{rand.New(rand.NewPCG(seed, 11))}
		w := newWorld(newViewSet(), quiet)
		models := map[string]*model{}
		for range 120 {
			w.update(c.delta())
			for _, gateway := range []string{"ns/a", "ns/b", "ns/c"} {
				m := models[gateway]
				switch {
				case m == nil && c.IntN(4) == 0:
					v := w.views.acquire(gateway)
					name := func() string { return listenerKind + c.name("listener") }
					models[gateway] = newModel(t, v.collection, "", randomFirst(c.Rand, v.collection, "", name))
				case m == nil:
				case c.IntN(12) == 0:
					m.settled(m.sub.from)
					m.sub.from.leave(m.sub)
					w.views.release(w.views.of(gateway))
					delete(models, gateway)
				case c.IntN(3) == 0:
					m.ack()
				case c.IntN(2) == 0:
					if r := m.sub.next(time.Time{}); r != nil {
						m.take(r)
					}
				}
			}
		}
		for _, m := range models {
			m.settled(m.sub.from)
		}
		if n := len(w.views.common.readers); n > len(models) {
			t.Errorf("seed %d: %d follow what is shared, of %d pods", seed, n, len(models))
		}
	}
}
