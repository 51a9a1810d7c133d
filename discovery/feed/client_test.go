package feed

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"fairway.dev/routing"
	"fairway.dev/tlsmgr/identity"
)

// A pod is a Client with a Spec in the data plane's place.
type pod struct {
	*Client
	mu       sync.Mutex
	spec     routing.Snapshot
	applied  chan *routing.Delta
	problems []*routing.Problem
	stop     func()
}

func startPod(t testing.TB, c *control, change func(*ClientOptions)) *pod {
	t.Helper()
	p := &pod{applied: make(chan *routing.Delta, 1000)}
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
	snap, problems := p.spec.Update(d)
	p.spec = *snap
	p.applied <- d
	return slices.Concat(problems, p.problems)
}

func (p *pod) next(t testing.TB) *routing.Delta {
	t.Helper()
	select {
	case d := <-p.applied:
		return d
	case <-time.After(patience):
		t.Fatal("nothing was applied")
	}
	return nil
}

func TestPodGetsItsGateway(t *testing.T) {
	var zone string
	c := startControl(t, newMesh(t), func(o *Options) {
		o.Zone = func(node string) string { return "zone of " + node }
	})
	c.Update(shop())
	c.Open()
	p := startPod(t, c, func(o *ClientOptions) { o.Zone = func(z string) { zone = z } })
	d := p.next(t)
	if len(d.Listeners) != 1 || len(d.Routes) != 1 || len(d.Clusters) != 1 || len(d.Endpoints) != 1 {
		t.Errorf("got %+v, want the Gateway", d)
	}
	if zone != "zone of node-a" {
		t.Errorf("zone %q, want the node's", zone)
	}
	_ = identity.Anyone
}
