package meshports

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"fairway.dev/discovery/apitest"
	"fairway.dev/routing"
	"fairway.dev/routing/gatewayapi"
)

const namespace, name = "fairway-system", "fairway-mesh-ports"

// A rig is an API server, and who leads.
type rig struct {
	t   *testing.T
	api *apitest.Server
	log *strings.Builder
}

// bubble runs a test whose time is virtual.
func bubble(t *testing.T, test func(r *rig)) {
	synctest.Test(t, func(t *testing.T) { test(&rig{t, apitest.New(t), &strings.Builder{}}) })
}

// keeper is a replica's, which does not lead.
func (r *rig) keeper(captures ...routing.CaptureName) *Keeper {
	r.t.Helper()
	config := r.api.Config()
	config.QPS = -1
	k, err := New(config, Options{Log: slog.New(slog.NewTextHandler(r.log, nil))})
	if err != nil {
		r.t.Fatal(err)
	}
	k.Update(want(captures...))
	return k
}

// lead has it lead until stop is called.
func (r *rig) lead(k *Keeper) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { k.Run(ctx); close(done) }()
	pass(time.Second)
	stop = func() { cancel(); <-done }
	r.t.Cleanup(stop)
	return stop
}

func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func want(captures ...routing.CaptureName) *routing.Delta {
	d := &routing.Delta{}
	for _, c := range captures {
		d.Captures = append(d.Captures, &routing.Capture{Name: c})
	}
	return d
}

func unwant(captures ...routing.CaptureName) *routing.Delta {
	d := &routing.Delta{}
	d.Removed.Captures = captures
	return d
}

// ports is what the ConfigMap says.
func (r *rig) ports() map[string]string {
	ports := map[string]string{}
	data, _ := r.api.Object("ConfigMap", namespace, name)["data"].(apitest.Object)
	for key, value := range data {
		ports[key] = value.(string)
	}
	return ports
}

func (r *rig) wantPorts(when string, ports map[string]string) {
	r.t.Helper()
	if got := r.ports(); !maps.Equal(got, ports) {
		r.t.Errorf("%s: ports %v, want %v", when, got, ports)
	}
}

func (r *rig) writes() (list []string) {
	for _, w := range r.api.Writes() {
		list = append(list, w.Method)
	}
	return list
}

// What a start wants is one write, and what comes later is that alone.
func TestWritesAreFew(t *testing.T) {
	bubble(t, func(r *rig) {
		var all []routing.CaptureName
		for i := range 5000 {
			all = append(all, routing.CaptureName(fmt.Sprintf("shop/svc-%d:80", i)))
		}
		k := r.keeper(all...)
		pass(time.Hour)
		if w := r.writes(); len(w) > 0 {
			t.Errorf("%v by a replica that does not lead", w)
		}
		r.lead(k)
		if w := r.writes(); !slices.Equal(w, []string{http.MethodPost}) || len(r.ports()) != 5000 {
			t.Fatalf("%v for %d ports, want one write for 5000", w, len(r.ports()))
		}
		if s := k.Stats(); s != (Stats{Ports: 5000}) {
			t.Errorf("stats %+v", s)
		}
		before := r.ports()
		k.Update(want("shop/one:80", "shop/svc-7:80"))
		k.Update(want("shop/two:80", "ServiceEntry/shop/out:443"))
		k.Update(&routing.Delta{Routes: []*routing.Route{{}}})
		pass(time.Second)
		after := r.ports()
		for key, port := range before {
			if after[key] != port {
				t.Errorf("%s has %s, want %s as before", key, after[key], port)
			}
		}
		writes := r.api.Writes()
		if len(writes) != 1 || len(writes[0].Body) > 500 || after["one.shop.80"] == "" || after["two.shop.80"] == "" || after["ServiceEntry.out.shop.443"] == "" {
			t.Errorf("writes %+v, want one with three ports", writes)
		}
		pass(5 * time.Minute)
		if n := len(r.api.Writes()); n != 0 {
			t.Errorf("%d writes, want none while nothing changes", n)
		}
	})
}

// A number rests for an hour after its port is not wanted, whoever leads.
func TestNumbersRest(t *testing.T) {
	bubble(t, func(r *rig) {
		k := r.keeper("shop/a:80", "shop/b:80")
		stop := r.lead(k)
		r.wantPorts("at first", map[string]string{"a.shop.80": "20000", "b.shop.80": "20001"})
		k.Update(unwant("shop/a:80"))
		pass(time.Second)
		r.wantPorts("one is not wanted", map[string]string{"b.shop.80": "20001"})
		stop()

		other := r.keeper("shop/b:80", "shop/c:80")
		r.lead(other)
		r.wantPorts("another replica leads", map[string]string{"b.shop.80": "20001", "c.shop.80": "20002"})
		pass(30 * time.Minute)
		other.Update(want("shop/a:80"))
		pass(time.Second)
		r.wantPorts("it is wanted again", map[string]string{"a.shop.80": "20000", "b.shop.80": "20001", "c.shop.80": "20002"})
		other.Update(unwant("shop/a:80"))
		pass(62 * time.Minute)
		text, _ := r.api.Object("ConfigMap", namespace, name)["binaryData"].(apitest.Object)
		if s, _ := text[releasedKey].(string); s != "" {
			t.Errorf("after an hour %q is remembered, want nothing", s)
		}
	})
}

// A replica that has led for a moment longer than it knew undoes nothing.
func TestTwoLeaders(t *testing.T) {
	bubble(t, func(r *rig) {
		a, b := r.keeper("shop/a:80"), r.keeper("shop/b:80", "shop/a:80")
		r.lead(a)
		r.lead(b)
		a.Update(want("shop/b:80", "shop/c:80"))
		pass(time.Second)
		r.wantPorts("both have written", map[string]string{"a.shop.80": "20000", "b.shop.80": "20001", "c.shop.80": "20002"})
	})
}

// What others do to the ConfigMap is mended; the numbers stay what they were.
func TestEditsOfOthers(t *testing.T) {
	bubble(t, func(r *rig) {
		k := r.keeper("shop/a:80", "shop/b:80", "shop/c:80")
		r.lead(k)
		good := r.ports()
		r.api.Edit("people", "ConfigMap", namespace, name, func(o apitest.Object) {
			o["data"] = apitest.Object{"a.shop.80": "20001", "b.shop.80": "20001", "x.shop.80": "80", "y.shop.80": "20009"}
		})
		pass(recheck + time.Second)
		got := r.ports()
		if len(got) != 3 || got["a.shop.80"] != "20001" || got["b.shop.80"] == "20001" || got["c.shop.80"] != good["c.shop.80"] {
			t.Errorf("ports %v, want one for each, and c's as it was", got)
		}
		good = got
		r.api.Delete("ConfigMap", namespace, name)
		k.Seen("")
		pass(time.Second)
		r.wantPorts("it was deleted", good)

		r.api.Requests()
		k.Seen(r.api.Object("ConfigMap", namespace, name)["metadata"].(apitest.Object)["resourceVersion"].(string))
		pass(time.Second)
		if len(r.api.Requests()) > 0 {
			t.Error("its own write is news to it")
		}
	})
}

// While the API server is away, or refuses, nothing is lost.
func TestAPIServerAway(t *testing.T) {
	bubble(t, func(r *rig) {
		r.api.Refuse(func(string, string) int { return http.StatusServiceUnavailable })
		k := r.keeper("shop/a:80")
		r.lead(k)
		pass(10 * time.Minute)
		if n := len(r.api.Requests()); n > 10*60 {
			t.Errorf("%d requests in ten minutes, want a few", n)
		}
		if !strings.Contains(r.log.String(), "ports of waypoints not written, trying again") {
			t.Errorf("the log does not say so: %s", r.log)
		}
		k.Update(want("shop/b:80"))
		r.api.Refuse(nil)
		pass(time.Minute)
		r.wantPorts("it is back", map[string]string{"a.shop.80": "20000", "b.shop.80": "20001"})
		r.api.Refuse(func(method, _ string) int {
			if method == http.MethodPatch {
				return http.StatusForbidden
			}
			return 0
		})
		k.Update(unwant("shop/a:80"))
		k.Update(want("shop/c:80"))
		pass(time.Minute)
		r.api.Refuse(nil)
		pass(time.Minute)
		r.wantPorts("it refuses no more", map[string]string{"b.shop.80": "20001", "c.shop.80": "20002"})
	})
}

// Ports that there is no room for are said to be without a number, once.
func TestTooManyPorts(t *testing.T) {
	bubble(t, func(r *rig) {
		var all []routing.CaptureName
		for i := range maxPorts + 2 {
			all = append(all, routing.CaptureName(fmt.Sprintf("shop/svc-%d:80", i)))
		}
		k := r.keeper(all...)
		r.lead(k)
		pass(2 * time.Minute)
		if s := k.Stats(); s != (Stats{Ports: maxPorts, Without: 2}) {
			t.Errorf("stats %+v, want two without a number", s)
		}
		if n := strings.Count(r.log.String(), "ports without a number"); n != 1 {
			t.Errorf("it is said %d times, want once", n)
		}
		k.Update(unwant(all[:3]...))
		pass(time.Second)
		pass(2 * time.Minute)
		if s := k.Stats(); s != (Stats{Ports: maxPorts - 1}) {
			t.Errorf("stats %+v, want a number for all that are left", s)
		}
	})
}

func TestNew(t *testing.T) {
	for _, name := range []string{"a", "/a", "a/"} {
		if _, err := New(apitest.New(t).Config(), Options{ConfigMap: name}); err == nil {
			t.Errorf("ConfigMap %q is taken", name)
		}
	}
	if gatewayapi.DefaultMeshPorts != namespace+"/"+name {
		t.Errorf("translation reads %s", gatewayapi.DefaultMeshPorts)
	}
}
