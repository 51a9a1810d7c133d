package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"fairway.dev/discovery/feed"
	"fairway.dev/routing"
	"fairway.dev/tlsmgr/identity"
)

var (
	controlID = identity.ID{TrustDomain: "cluster.local", Namespace: "fairway-system", ServiceAccount: "fairway-control"}
	edgeID    = identity.ID{TrustDomain: "cluster.local", Namespace: "shop", ServiceAccount: "edge-fairway"}
	quiet     = slog.New(slog.DiscardHandler)
)

// TestMain makes the test binary the load program when it is told to be: the
// pods then have a process of their own, and control's costs can be measured.
func TestMain(m *testing.M) {
	if args := os.Getenv("FEED_LOAD"); args != "" {
		var list []string
		if err := json.Unmarshal([]byte(args), &list); err != nil {
			panic(err)
		}
		ctx, stop := context.WithCancel(context.Background())
		go func() { io.Copy(io.Discard, os.Stdin); stop() }() // until the parent is gone
		if err := load(ctx, list, os.Stdout); err != nil {
			panic(err)
		}
		return
	}
	os.Exit(m.Run())
}

// A control is what the load is for: the feed and the CA on a socket.
type control struct {
	*feed.Server
	ca      *identity.CA
	changed <-chan struct{} // the fleet
	stop    func()
	address string
	roots   string // files
	token   string
}

func startControl(t testing.TB) *control {
	t.Helper()
	ca, err := identity.NewCA("cluster.local")
	if err != nil {
		t.Fatal(err)
	}
	return startReplica(t, ca, "127.0.0.1:0")
}

func startReplica(t testing.TB, ca *identity.CA, address string) *control {
	t.Helper()
	theCA := func() *identity.CA { return ca }
	keeper := identity.NewKeeper(identity.Local(theCA, identity.Claim{ID: controlID}), quiet)
	ctx, cancel := context.WithCancel(context.Background())
	var tasks sync.WaitGroup
	tasks.Go(func() { keeper.Run(ctx) })
	<-keeper.Ready()

	changed := make(chan struct{}, 1)
	c := &control{changed: changed, Server: feed.NewServer(feed.Options{
		Replica: "control", Log: quiet, Authorize: func(identity.ID, string) error { return nil },
		OnFleet: func(string) {
			select {
			case changed <- struct{}{}:
			default: // somebody is about to look
			}
		},
	})}
	g := grpc.NewServer(append(feed.ServerOptions(),
		grpc.Creds(credentials.NewTLS(identity.OpenServerConfig(keeper.Certificate, ca.Bundle, identity.Anyone))))...)
	c.Register(g)
	identity.NewServer(identity.ServerOptions{
		CA: theCA, TrustDomain: "cluster.local", Log: quiet,
		Authenticate: func(context.Context, string) (identity.Caller, error) { return identity.Caller{ID: edgeID}, nil },
	}).Register(g)
	ln, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	tasks.Go(func() { g.Serve(ln) })
	tasks.Go(func() { c.Run(ctx) })
	c.ca, c.stop = ca, sync.OnceFunc(func() { cancel(); g.Stop(); tasks.Wait() })
	t.Cleanup(c.stop)

	c.address = ln.Addr().String()
	dir := t.TempDir()
	c.roots, c.token = filepath.Join(dir, "roots"), filepath.Join(dir, "token")
	for path, text := range map[string][]byte{c.roots: ca.Bundle().PEM(), c.token: []byte("token")} {
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

func (c *control) args(pods int) []string {
	return []string{"-control", c.address, "-gateway", "shop/edge", "-pods", fmt.Sprint(pods), "-roots", c.roots, "-token", c.token}
}

// spec returns a Gateway with as many routes, clusters and endpoints.
func spec(n int) *routing.Delta {
	d := &routing.Delta{Listeners: []*routing.Listener{{
		Name: "shop/edge/http", Gateway: "shop/edge", Port: 80, Protocol: routing.HTTP,
		Origin: routing.Origin{Kind: "Gateway", Namespace: "shop", Name: "edge", Field: "spec.listeners[0]"},
	}}}
	for i := range n {
		d.Routes = append(d.Routes, route(i, 0))
		origin := routing.Origin{Kind: "Service", Namespace: fmt.Sprintf("ns-%d", i/100), Name: fmt.Sprintf("service-%d", i)}
		d.Clusters = append(d.Clusters, &routing.Cluster{
			Name: cluster(i), Origin: origin, Protocol: routing.UpstreamHTTP1, Service: origin.Name, Namespace: origin.Namespace, Port: 8080,
		})
		e := &routing.Endpoints{Cluster: cluster(i)}
		for j := range 2 {
			e.List = append(e.List, routing.Endpoint{
				Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), byte(j)}), 8080), Zone: "zone-a",
				Ready: true, Serving: true, Workload: fmt.Sprintf("service-%d-7d4b9c-%d", i, j),
			})
		}
		d.Endpoints = append(d.Endpoints, e)
	}
	return d
}

func cluster(i int) routing.ClusterName {
	return routing.ClusterName(fmt.Sprintf("ns-%d/service-%d:8080", i/100, i))
}

// route returns a route; edits tell its versions apart.
func route(i, edit int) *routing.Route {
	o := routing.Origin{Kind: "HTTPRoute", Namespace: fmt.Sprintf("ns-%d", i/100), Name: fmt.Sprintf("route-%d", i)}
	return &routing.Route{
		Name: routing.RouteName("HTTPRoute/" + o.Namespace + "/" + o.Name), Origin: o, Created: time.Unix(int64(i), 0),
		Attached: []routing.Attachment{{Listener: "shop/edge/http", Hosts: []string{fmt.Sprintf("h%d.example.com", i)}}},
		Rules: []routing.Rule{{
			Origin:  o.At("spec.rules[0]"),
			Matches: []routing.Match{{Path: routing.PathMatch{Value: fmt.Sprintf("/v%d", edit)}}},
			Action:  routing.Action{Backends: []routing.Backend{{Cluster: cluster(i), Weight: 1, Origin: o.At("spec.rules[0].backendRefs[0]")}}},
		}},
	}
}

// A few pods come into force, and follow an edit.
func TestLoad(t *testing.T) {
	c := startControl(t)
	c.Update(spec(10))
	c.Open()
	r, w := io.Pipe()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- load(ctx, c.args(5), w) }()
	lines := json.NewDecoder(r)
	for range 2 {
		var a arrival
		if err := lines.Decode(&a); err != nil || a.Pods != 5 || a.Version == "" || a.Last.Before(a.First) {
			t.Fatalf("%+v, %v, want five pods with a version", a, err)
		}
		c.Update(&routing.Delta{Routes: []*routing.Route{route(0, 1)}})
	}
	cancel()
	go io.Copy(io.Discard, r)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestTallyIsBounded(t *testing.T) {
	var out bytes.Buffer
	tally := &tally{pods: 2, out: json.NewEncoder(&out), arrivals: map[string]*arrival{}}
	for i := range 3 * most {
		tally.arrived(fmt.Sprint(i), time.Unix(int64(i), 0))
	}
	tally.arrived(fmt.Sprint(3*most-1), time.Unix(1, 0))
	if len(tally.arrivals) != most-1 || bytes.Count(out.Bytes(), []byte("\n")) != 1 {
		t.Errorf("%d versions kept and %q written, want %d and one line", len(tally.arrivals), out.Bytes(), most-1)
	}
}

func TestBadArguments(t *testing.T) {
	for _, args := range [][]string{nil, {"-control", "x"}, {"-control", "x", "-gateway", "a/b", "-roots", "r", "-token", "t", "-control-id", "me"}} {
		if err := load(t.Context(), args, io.Discard); err == nil {
			t.Errorf("%q: no error", args)
		}
	}
}

// usage is what this process has used so far.
func usage() (cpu time.Duration, heap, resident float64) {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()), float64(m.HeapAlloc) / 1e6, float64(m.Sys-m.HeapReleased) / 1e6
}

// BenchmarkThousandPods edits a route of 5,000 and waits until a thousand
// pods, in a process of their own, have acknowledged it. It reports what that
// takes, and what control's process uses for it.
func BenchmarkThousandPods(b *testing.B) {
	const pods, routes = 1000, 5000
	c := startControl(b)
	c.Update(spec(routes))
	args, err := json.Marshal(c.args(pods))
	if err != nil {
		b.Fatal(err)
	}
	_, before, _ := usage()
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), "FEED_LOAD="+string(args))
	child.Stderr = os.Stderr
	stdin, err := child.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	stdout, err := child.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	began := time.Now()
	cpu, _, _ := usage()
	if err := child.Start(); err != nil {
		b.Fatal(err)
	}
	defer child.Wait()
	defer stdin.Close()
	c.Open()
	lines := json.NewDecoder(bufio.NewReader(stdout))
	var a arrival
	if err := lines.Decode(&a); err != nil {
		b.Fatal(err)
	}
	used, heap, resident := usage()
	b.Logf("%d pods have all of 5,000 routes after %s, with %s of control's CPU", pods, time.Since(began).Round(time.Millisecond), (used - cpu).Round(time.Millisecond))
	b.Logf("control's heap: %.0f MB before, %.0f MB with the pods; %.0f MB from the system", before, heap, resident)

	var slowest time.Duration
	edits := 0
	cpu, _, _ = usage()
	for b.Loop() {
		edits++
		began := time.Now()
		c.Update(&routing.Delta{Routes: []*routing.Route{route(edits%5000, edits)}})
		if err := lines.Decode(&a); err != nil {
			b.Fatal(err)
		}
		slowest = max(slowest, time.Since(began))
	}
	used, _, _ = usage()
	restart(b, c, pods, routes)
	b.ReportMetric(float64((used-cpu).Microseconds())/float64(edits)/1000, "control-cpu-ms/op")
	b.ReportMetric(float64(slowest.Microseconds())/1000, "slowest-ms")
}

// restart puts another control in the place of the one that all pods are
// connected to, with the same Spec, and logs what it takes until they are back.
func restart(b *testing.B, c *control, pods, routes int) {
	spec := spec(routes)
	c.stop()
	began := time.Now()
	cpu, _, _ := usage()
	after := startReplica(b, c.ca, c.address)
	after.Update(spec)
	after.Open()
	for range after.changed {
		if in := after.Fleet("shop/edge").Pods; len(in) == pods && !slices.ContainsFunc(in, func(p feed.PodState) bool { return p.Version == "" }) {
			break
		}
	}
	used, heap, resident := usage()
	b.Logf("restarted: all pods back after %s, with %s of control's CPU, %d resources sent; heap %.0f MB, %.0f MB from the system",
		time.Since(began).Round(time.Millisecond), (used - cpu).Round(time.Millisecond), after.Stats().Resources, heap, resident)
}
