package feed

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"fairway.dev/routing"
	"fairway.dev/tlsmgr/identity"
)

// bubble runs a test whose time is virtual, with a control that has the shop.
func bubble(t *testing.T, change func(*Options), test func(t *testing.T, c *control)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		c := startControl(t, newMesh(t), change)
		c.Update(shop())
		test(t, c)
	})
}

// wildcardStream opens a stream for everything.
func wildcardStream(t *testing.T, c *control) *tap {
	t.Helper()
	p := c.tap(t, edgeID)
	p.send(&request{Node: nodeOf("shop/edge"), ResourceNamesSubscribe: []string{"*"}})
	return p
}

// Nothing is sent before control knows everything; who has waited for a while
// is told to look for a replica that does.
func TestNothingIsSentBeforeOpen(t *testing.T) {
	bubble(t, nil, func(t *testing.T, c *control) {
		p, late := wildcardStream(t, c), c.tap(t, edgeID)
		time.Sleep(startFor - time.Second)
		synctest.Wait()
		if len(p.came)+len(p.ended) > 0 {
			t.Fatalf("before Open: %d responses, %d ends", len(p.came), len(p.ended))
		}
		late.close()
		time.Sleep(time.Hour)
		synctest.Wait()
		if err := p.end(); status.Code(err) != codes.Unavailable || len(p.came) > 0 {
			t.Fatalf("before Open: %d responses, then %v, want Unavailable", len(p.came), err)
		}
		p = wildcardStream(t, c)
		time.Sleep(time.Second)
		c.Open()
		wants(t, p, shopNames)
	})
}

// A pod of a Gateway that is not known yet comes again. It does not wait where
// others have to begin.
func TestUnknownGatewayComesAgain(t *testing.T) {
	var known atomic.Bool
	authorizeLater := func(peer identity.ID, gateway string) error {
		if !known.Load() {
			return fmt.Errorf("%w %s", ErrUnknownGateway, gateway)
		}
		return nil
	}
	bubble(t, func(o *Options) { o.Authorize = authorizeLater }, func(t *testing.T, c *control) {
		c.Open()
		p := wildcardStream(t, c)
		if err := p.end(); status.Code(err) != codes.Unavailable || len(p.came) > 0 {
			t.Fatalf("an unknown Gateway's pod: %d responses, then %v, want Unavailable", len(p.came), err)
		}
		known.Store(true)
		wants(t, wildcardStream(t, c), shopNames)
	})
}

// Streams that begin and say nothing take up the places of their own identity.
func TestSilentStreamsKeepNobodyElseOut(t *testing.T) {
	bubble(t, nil, func(t *testing.T, c *control) {
		c.Open()
		for range 2 * admissions {
			c.tap(t, otherID)
		}
		synctest.Wait()
		began := time.Now()
		wants(t, wildcardStream(t, c), shopNames)
		if took := time.Since(began); took > 0 {
			t.Errorf("a pod of another Gateway waited for %v", took)
		}
		p := c.tap(t, otherID) // its own wait, and not for ever
		time.Sleep(startFor)
		synctest.Wait()
		if err := p.end(); status.Code(err) != codes.Unavailable {
			t.Errorf("one more of the same: %v, want Unavailable", err)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		c.admission.mu.Lock()
		defer c.admission.mu.Unlock()
		if n := len(c.admission.peers) + len(c.admission.all); n > 0 {
			t.Errorf("%d places are taken when all is over", n)
		}
	})
}

// Of a pod that has acknowledged nothing there is nothing to remember, however
// often it comes.
func TestPodThatNeverAcknowledges(t *testing.T) {
	bubble(t, nil, func(t *testing.T, c *control) {
		c.Open()
		for range 20 {
			p := wildcardStream(t, c)
			wants(t, p, shopNames)
			p.close()
		}
		synctest.Wait()
		c.fleet.mu.Lock()
		defer c.fleet.mu.Unlock()
		if n := len(c.fleet.own); n > 0 {
			t.Errorf("%d Gateways have pods, want none", n)
		}
	})
}

// A pod that acknowledges nothing is cut off, and holds nobody else up.
func TestSlowPodIsCutOff(t *testing.T) {
	bubble(t, nil, func(t *testing.T, c *control) {
		c.Open()
		slow, quick := wildcardStream(t, c), wildcardStream(t, c)
		wants(t, slow, shopNames)
		quick.ack(wants(t, quick, shopNames))
		for i := range 3 {
			time.Sleep(9 * time.Second)
			edit(c, fmt.Sprintf("10.0.0.%d:80", 2+i))
			quick.ack(wants(t, quick, cartEndpoints+" generation"))
		}
		if len(slow.came)+len(slow.ended) > 0 {
			t.Fatal("the slow pod was sent more, or cut off too early")
		}
		time.Sleep(20 * time.Second)
		synctest.Wait()
		if err := slow.end(); status.Code(err) != codes.DeadlineExceeded {
			t.Errorf("the slow pod's stream ends with %v, want DeadlineExceeded", err)
		}
		if len(quick.ended) > 0 || c.Stats().Slow != 1 {
			t.Errorf("%d streams were slow, want one", c.Stats().Slow)
		}
	})
}

// A client that opens a stream and says nothing is cut off.
func TestSilentClientIsCutOff(t *testing.T) {
	bubble(t, nil, func(t *testing.T, c *control) {
		c.Open()
		p := c.tap(t, edgeID)
		time.Sleep(2 * firstFor)
		synctest.Wait()
		if err := p.end(); status.Code(err) != codes.DeadlineExceeded {
			t.Errorf("a silent stream ends with %v, want DeadlineExceeded", err)
		}
	})
}

// Streams end after half an hour, give or take a tenth, when nothing is under way.
func TestStreamsGrowOld(t *testing.T) {
	bubble(t, nil, func(t *testing.T, c *control) {
		c.Open()
		p := wildcardStream(t, c)
		p.ack(wants(t, p, shopNames))
		time.Sleep(26 * time.Minute)
		synctest.Wait()
		if len(p.ended) > 0 {
			t.Fatal("the stream ended within 26 minutes")
		}
		time.Sleep(8 * time.Minute)
		synctest.Wait()
		if err := p.end(); status.Code(err) != codes.Unavailable {
			t.Errorf("an old stream ends with %v, want Unavailable", err)
		}
	})
}

// Closing ends all streams, so that pods go elsewhere at once.
func TestClosingEndsStreams(t *testing.T) {
	bubble(t, nil, func(t *testing.T, c *control) {
		waiting := wildcardStream(t, c)
		synctest.Wait()
		c.stop()
		if err := waiting.end(); status.Code(err) != codes.Unavailable {
			t.Errorf("a stream that waits ends with %v, want Unavailable", err)
		}
	})
	bubble(t, nil, func(t *testing.T, c *control) {
		c.Open()
		p := wildcardStream(t, c)
		wants(t, p, shopNames)
		c.stop()
		if err := p.end(); status.Code(err) != codes.Unavailable {
			t.Errorf("a stream ends with %v, want Unavailable", err)
		}
	})
}

// A pod counts as it was for a while after its stream has ended, and then not.
func TestPodThatGoesAway(t *testing.T) {
	bubble(t, nil, func(t *testing.T, c *control) {
		c.Open()
		p := startPod(t, c, nil)
		time.Sleep(time.Second)
		synctest.Wait()
		if f := c.Fleet("shop/edge"); !c.inForce("shop/edge")(f) {
			t.Fatalf("fleet %+v, want the pod in force", f)
		}
		p.stop()
		time.Sleep(grace - time.Second)
		synctest.Wait()
		if f := c.Fleet("shop/edge"); !c.inForce("shop/edge")(f) {
			t.Errorf("fleet %+v just after the pod has gone, want it as it was", f)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if f := c.Fleet("shop/edge"); len(f.Pods) > 0 {
			t.Errorf("fleet %+v, want nobody", f)
		}
		if n := c.fleet.pods.live; n > 0 {
			t.Errorf("%d resources for the peers, want none", n)
		}
	})
}

// A pod that comes back stands as it did until it has acknowledged anew.
func TestPodThatComesBack(t *testing.T) {
	now := time.Now()
	before := PodState{Pod: "a", Version: "v", Connected: now, Replica: "x"}
	silent := PodState{Pod: "a", Connected: now.Add(time.Second), Replica: "y"}
	after := PodState{Pod: "a", Version: "w", Connected: now.Add(time.Second), Replica: "y"}
	other := PodState{Pod: "b"}
	tests := []struct {
		states []PodState
		want   string
	}{
		{[]PodState{other, silent, before}, "a v x, b  "},
		{[]PodState{before, after, other}, "a w y, b  "},
		{[]PodState{silent}, "a  y"},
		{nil, ""},
	}
	for _, tt := range tests {
		got := ""
		for i, s := range newest(tt.states) {
			if i > 0 {
				got += ", "
			}
			got += s.Pod + " " + s.Version + " " + s.Replica
		}
		if got != tt.want {
			t.Errorf("newest(%+v) = %q, want %q", tt.states, got, tt.want)
		}
	}
}

// replicas are three controls that are each other's peers, with a pod each, in
// a bubble.
type replicas struct {
	controls  [3]*control
	pods      [3]*pod
	addresses []string
}

func startReplicas(t *testing.T) *replicas {
	t.Helper()
	m := newMesh(t)
	r := &replicas{addresses: []string{"passthrough:0", "passthrough:1", "passthrough:2"}} // each is its own peer too
	for i, name := range []string{"control-a", "control-b", "control-c"} {
		r.controls[i] = startControl(t, m, func(o *Options) {
			o.Replica, o.PeerCredentials = name, m.client(controlID)
			o.peerOptions = dialByName(&r.controls)
		})
		r.controls[i].Update(shop())
		r.controls[i].Open()
	}
	for i, c := range r.controls {
		c.SetPeers(nil)
		c.SetPeers(r.addresses)
		r.pods[i] = startPod(t, c, func(o *ClientOptions) { o.Pod = fmt.Sprint("shop/edge-", i) })
	}
	settle(time.Second)
	return r
}

func settle(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// wantPods holds that a replica knows as many pods of the shop.
func (r *replicas) wantPods(t *testing.T, when string, replica, pods int) {
	t.Helper()
	if f := r.controls[replica].Fleet("shop/edge"); len(f.Pods) != pods {
		t.Errorf("%s: replica %d knows %d pods, want %d", when, replica, len(f.Pods), pods)
	}
}

// What all replicas know is the fleet, on each of them.
func TestReplicasShareTheirPods(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := startReplicas(t)
		inForce := func(when string, listeners int) {
			t.Helper()
			for i, c := range r.controls {
				r.wantPods(t, when, i, 3)
				if f := c.Fleet("shop/edge"); !c.inForce("shop/edge")(f) || len(f.Pods[0].Listeners) != listeners {
					t.Errorf("%s: replica %d knows %+v, want %d listeners in force", when, i, f, listeners)
				}
			}
		}
		inForce("at first", 1)
		for _, c := range r.controls {
			c.Update(&routing.Delta{Listeners: []*routing.Listener{listener("shop/edge", "more")}})
		}
		settle(time.Second)
		inForce("with another listener", 2)

		problem := &routing.Problem{Origin: routing.Origin{Kind: "Gateway", Namespace: "shop", Name: "edge"}, Reason: "PortUnavailable", Err: errors.New("in use")}
		r.pods[2].Report([]*routing.Problem{problem})
		settle(time.Second)
		if got := r.controls[0].Problems("shop/edge"); len(got) != 1 || got[0].Error() != problem.Error() {
			t.Errorf("replica 0 knows problems %v, want the one that replica 2 was told", got)
		}
	})
}

// A replica that goes away takes its pods along, after a while.
func TestReplicasThatGoAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := startReplicas(t)
		r.pods[2].stop()
		r.controls[2].stop()
		settle(grace / 2)
		r.wantPods(t, "just after a replica was killed", 0, 3)
		settle(grace)
		r.wantPods(t, "a while after a replica was killed", 0, 2)
		r.wantPods(t, "a while after a replica was killed", 1, 2)

		r.controls[0].SetPeers(r.addresses[:1])
		settle(grace / 2)
		r.wantPods(t, "just after a peer was taken off", 0, 2)
		settle(grace)
		r.wantPods(t, "a while after a peer was taken off", 0, 1)
		if n := len(r.controls[0].fleet.peers); n > 0 {
			t.Errorf("%d peers are remembered, want none", n)
		}
	})
}

// A peer whose state we keep is not asked for it again when it comes back.
func TestPeerThatComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t)
		var controls [3]*control
		for i, name := range []string{"control-a", "control-b"} {
			controls[i] = startControl(t, m, func(o *Options) {
				o.Replica, o.PeerCredentials, o.MaxAge = name, m.client(controlID), time.Minute
				o.peerOptions = dialByName(&controls)
			})
			controls[i].Open()
		}
		controls[0].SetPeers([]string{"passthrough:1"})
		startPod(t, controls[1], nil)
		for range 100 { // streams end and begin anew all the time
			time.Sleep(5 * time.Second)
			synctest.Wait()
			if f := controls[0].Fleet("shop/edge"); len(f.Pods) != 1 || f.Pods[0].Version == "" {
				t.Fatalf("the fleet is %+v, want the pod in force at all times", f)
			}
		}
	})
}

// Streams begin and end while the Gateway comes and goes: nobody waits for
// anybody for ever, and in the end all pods have what there is.
func TestStreamsAndUpdatesAtOnce(t *testing.T) {
	c := startControl(t, newMesh(t), nil)
	c.Open()
	var streams, updates sync.WaitGroup
	for range 4 {
		streams.Go(func() {
			for range 30 {
				p := c.tap(t, edgeID)
				p.send(&request{Node: nodeOf("shop/edge"), ResourceNamesSubscribe: []string{"*"}})
				p.ack(p.next())
				p.close()
			}
		})
	}
	gone := &routing.Delta{Removed: removed{
		Listeners: []routing.ListenerName{"shop/edge/http"}, Routes: []routing.RouteName{"HTTPRoute/shop/cart"}, Clusters: []routing.ClusterName{"shop/cart:80"},
	}}
	done := make(chan struct{})
	updates.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
				c.Update(shop())
				c.Update(gone)
			}
		}
	})
	streams.Wait()
	close(done)
	updates.Wait()
	c.Update(shop())
	wants(t, wildcardStream(t, c), shopNames)
}
