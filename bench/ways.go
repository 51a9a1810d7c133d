package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// A way is how requests get from the client to the backend: by which gateways
// of Fairway. All of them share one core, so that what each costs is told by its
// CPU time, and latency is at its worst.
type way struct {
	name      string
	about     string
	plain     bool    // by one gateway outside the mesh
	waypoints []onWay // those on the way, from the client on
	stranger  bool    // stands between two waypoints
}

// onWay is a waypoint as a way needs it.
type onWay struct {
	namespace string
	protocol  string // http or tcp: what it takes the Service for
}

// ways are measured one after the other in each round. The client's requests
// are always of HTTP/1.1 to a captured port. A waypoint that takes the Service
// for TCP is to the next one as a stranger is, ztunnel say: it opens a tunnel
// by CONNECT for each connection of the client.
var ways = []way{
	{name: "direct", about: "client, backend"},
	{name: "plain", about: "client, a gateway, backend", plain: true},
	{name: "hop1", about: "client, the Service's waypoint, backend", waypoints: []onWay{{"shop", "http"}}},
	{name: "hop2", about: "client, waypoint, mTLS, waypoint, backend: requests go as they are (ALPN fairway-hop/1)", waypoints: []onWay{{"web", "http"}, {"shop", "http"}}},
	{name: "hop2-stranger", about: "the same to a waypoint that speaks h2 alone: HTTP/1.1 in tunnels (CONNECT); a relay between them has it so, whose latency is counted and whose CPU is not", waypoints: []onWay{{"web", "http"}, {"shop", "http"}}, stranger: true},
	{name: "hop2-tunnel", about: "as hop2, the first waypoint hands on bytes in a tunnel for each connection (CONNECT), the second has HTTP in it", waypoints: []onWay{{"web", "tcp"}, {"shop", "http"}}},
	{name: "hop2-tcp", about: "the same, both hand on bytes", waypoints: []onWay{{"web", "tcp"}, {"shop", "tcp"}}},
}

// The mesh is on loopback addresses of its own: clients are the pod at
// 127.0.0.1, in the namespace of the waypoint that captures them.
const (
	hopPort     = 15008
	capturePort = 20001
)

// waypoints are all of the mesh, whether or not a way has them.
var waypoints = []waypoint{
	{Namespace: "web", Addr: "127.77.0.2", ClusterIP: "10.96.1.2"},
	{Namespace: "shop", Addr: "127.77.0.3", ClusterIP: "10.96.1.3"},
}

// A waypoint is one of the mesh.
type waypoint struct{ Namespace, Addr, ClusterIP string }

// meshSetup is what a waypoint's manifests are made of.
type meshSetup struct {
	Waypoints []waypoint
	Client    string // the namespace of the client's pod
	Protocol  string // of the Service
}

// fits reports whether a way has something to tell in a scenario: nobody's memory
// is taken without a gateway, and a relay is too slow to go as fast as it can.
func (w way) fits(s scenario) bool {
	switch s.load.(type) {
	case idle:
		return w.name != "direct" && !w.stranger
	case paced:
		return true
	}
	return !w.stranger
}

// takeWay runs the gateways of a way and measures it once.
func (b *bench) takeWay(ctx context.Context, s scenario, w way) (sample, error) {
	defer b.leaveWay()
	url, err := b.startWay(ctx, s, w)
	if err != nil {
		return sample{}, err
	}
	if err := b.warm(ctx, s, url); err != nil {
		return sample{}, fmt.Errorf("%s: %w", w.name, err)
	}
	x, err := b.sample(ctx, s, url)
	if err != nil {
		return sample{}, fmt.Errorf("%s: %w", w.name, err)
	}
	return x, nil
}

// startWay starts the gateways of a way, the backend's first, and returns where
// the client is to ask.
func (b *bench) startWay(ctx context.Context, s scenario, w way) (url string, err error) {
	if w.plain {
		set, err := b.setup(ctx, s, peers[0])
		if err != nil {
			return "", err
		}
		run, err := b.start(ctx, peers[0], set)
		if err != nil {
			return "", err
		}
		b.running = []*proxy{run}
		return fmt.Sprintf("http://%s:%d/", host, set.Port), nil
	}
	if w.stranger {
		addr, to := fmt.Sprintf("%s:%d", strangerAddr, hopPort), fmt.Sprintf("%s:%d", addrOf("shop"), hopPort)
		if b.stranger, err = b.authority.startStranger(addr, to); err != nil {
			return "", err
		}
	}
	url = fmt.Sprintf("http://%s:%d/", host, b.http1(s).port())
	for i := len(w.waypoints) - 1; i >= 0; i-- {
		addr, run, err := b.startWaypoint(ctx, s, w, i)
		if err != nil {
			return "", err
		}
		b.running = append([]*proxy{run}, b.running...)
		url = fmt.Sprintf("http://%s:%d/", addr, capturePort)
	}
	for i, run := range b.running {
		if err := run.wentAs(ctx, w, i); err != nil {
			return "", fmt.Errorf("%s: %w", w.name, err)
		}
	}
	return url, nil
}

// startWaypoint starts waypoint i of a way, and returns its address too.
func (b *bench) startWaypoint(ctx context.Context, s scenario, w way, i int) (string, *proxy, error) {
	set, err := b.setup(ctx, s, peers[0])
	if err != nil {
		return "", nil, err
	}
	here := w.waypoints[i]
	set.Addr, set.Port = addrOf(here.namespace), capturePort
	set.Mesh = &meshSetup{Waypoints: w.mesh(), Client: w.waypoints[0].namespace, Protocol: here.protocol}
	if err := b.identify(here.namespace, filepath.Join(set.Dir, "identity")); err != nil {
		return "", nil, err
	}
	p := peer{name: peers[0].name, files: map[string]string{"manifests/all.yaml": "fairway-hop.yaml.tmpl"}}
	p.command = func(binary string, s setup) *exec.Cmd {
		cmd := peers[0].command(binary, s)
		cmd.Args = append(cmd.Args, "-gateway", here.namespace+"/waypoint", "-identity", filepath.Join(s.Dir, "identity"))
		return cmd
	}
	run, err := b.start(ctx, p, set)
	return set.Addr, run, err
}

func addrOf(namespace string) string {
	for _, w := range waypoints {
		if w.Namespace == namespace {
			return w.Addr
		}
	}
	panic("bug: no waypoint of namespace " + namespace)
}

// mesh are the waypoints as they find each other.
func (w way) mesh() []waypoint {
	all := slices.Clone(waypoints)
	for i := range all {
		if w.stranger && all[i].Namespace == "shop" {
			all[i].Addr = strangerAddr
		}
	}
	return all
}

// leaveWay stops what startWay has started.
func (b *bench) leaveWay() {
	b.stop()
	if b.stranger != nil {
		b.stranger.stop()
		b.stranger = nil
	}
}

// wentAs looks for a line of the access log that says that gateway i of w has
// done what the way is about: figures of another way would look as good.
func (p *proxy) wentAs(ctx context.Context, w way, i int) error {
	want := w.logged(i)
	path := filepath.Join(filepath.Dir(p.out.Name()), "access.log")
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	for {
		text, err := os.ReadFile(path)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		for line := range strings.Lines(string(text)) {
			if hasAll(line, want) {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the access log of waypoint %d has no line with %s: %s", i+1, strings.Join(want, " and "), lastLines(string(text), 3))
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// logged are what a line of the access log of gateway i has: whose request or
// connection it was, what it was taken for, and for the first of two that it
// went on by a hop.
func (w way) logged(i int) []string {
	source := identity(w.waypoints[0].namespace, "client")
	if w.stranger && i > 0 { // to strangers a waypoint vouches for nobody
		source = identity(w.waypoints[i-1].namespace, "waypoint")
	}
	want := []string{fmt.Sprintf(`"source_principal":%q`, source)}
	if w.waypoints[i].protocol == "http" {
		want = append(want, `"method":"GET"`)
	} else {
		want = append(want, `"protocol":"TCP"`)
	}
	if i+1 < len(w.waypoints) {
		next := addrOf(w.waypoints[i+1].namespace)
		if w.stranger {
			next = strangerAddr
		}
		want = append(want, fmt.Sprintf(`"endpoint":"%s:%d"`, next, hopPort))
	}
	return want
}

func hasAll(line string, want []string) bool {
	for _, text := range want {
		if !strings.Contains(line, text) {
			return false
		}
	}
	return true
}
