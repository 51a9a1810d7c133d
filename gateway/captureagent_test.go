package main

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"fairway.dev/discovery/feed"
	"fairway.dev/gateway/capture"
	"fairway.dev/routing"
	"fairway.dev/tlsmgr/identity"
)

// alone says to the test binary that it is in a network namespace of its own.
const alone = "FAIRWAY_E2E_ALONE"

// inOwnNetwork runs the rest of a test in a network namespace of its own, in
// which it is root: by the same binary, started anew.
func inOwnNetwork(t *testing.T) {
	t.Helper()
	if os.Getenv(alone) != "" {
		lo, err := netlink.LinkByName("lo")
		if err == nil {
			err = netlink.LinkSetUp(lo)
		}
		if err != nil {
			t.Fatal(err)
		}
		return
	}
	cmd := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v", "-test.timeout=5m")
	cmd.Env = append(os.Environ(), alone+"=1", builtBinary+"="+binary)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET}
	if os.Geteuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= unix.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Geteuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getegid(), Size: 1}}
	}
	out, err := cmd.CombinedOutput()
	t.Logf("in a network of its own:\n%s", out)
	if err != nil {
		t.Fatal(err)
	}
}

// agentControl is what a node agent asks: a CA, and the feed.
type agentControl struct {
	ca                   *identity.CA
	feed                 *feed.Server
	address, roots, auth string
	stop                 func()
}

var (
	agentControlID = identity.ID{TrustDomain: "cluster.local", Namespace: "fairway-system", ServiceAccount: "fairway-control"}
	agentID        = identity.ID{TrustDomain: "cluster.local", Namespace: "fairway-system", ServiceAccount: captureAccount}
)

func startAgentControl(t *testing.T) *agentControl {
	t.Helper()
	gateways := &fleets{trustDomain: "cluster.local", agents: account{"fairway-system", captureAccount}}
	return startControl(t, gateways.authorize, gateways.known, func(string) identity.ID { return agentID })
}

// startControl serves the feed and a CA of its own to those whom authorize and
// allow say, who are known by their tokens.
func startControl(t *testing.T, authorize func(identity.ID, string) error, allow identity.Known, whose func(token string) identity.ID) *agentControl {
	t.Helper()
	quiet := slog.New(slog.DiscardHandler)
	ca, err := identity.NewCA("cluster.local")
	if err != nil {
		t.Fatal(err)
	}
	theCA := func() *identity.CA { return ca }
	keeper := identity.NewKeeper(identity.Local(theCA, identity.Claim{ID: agentControlID}), quiet)
	ctx, cancel := context.WithCancel(context.Background())
	var tasks sync.WaitGroup
	tasks.Go(func() { keeper.Run(ctx) })
	<-keeper.Ready()
	c := &agentControl{ca: ca, feed: feed.NewServer(feed.Options{Replica: "control", Control: agentControlID, Authorize: authorize, Log: quiet,
		Place: func(string, string) feed.Place { return feed.Place{Zone: "a"} }})}
	server := grpc.NewServer(append(feed.ServerOptions(),
		grpc.Creds(credentials.NewTLS(identity.OpenServerConfig(keeper.Certificate, ca.Bundle, identity.Anyone))))...)
	c.feed.Register(server)
	identity.NewServer(identity.ServerOptions{
		CA: theCA, TrustDomain: "cluster.local", Allow: allow, Log: quiet,
		Authenticate: func(_ context.Context, token string) (identity.Caller, error) {
			return identity.Caller{ID: whose(token), Pod: "agent", Node: "n1"}, nil
		},
	}).Register(server)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	tasks.Go(func() { server.Serve(ln) })
	tasks.Go(func() { c.feed.Run(ctx) })
	c.stop = sync.OnceFunc(func() { cancel(); server.Stop(); tasks.Wait() })
	t.Cleanup(c.stop)
	dir := t.TempDir()
	c.address, c.roots, c.auth = ln.Addr().String(), filepath.Join(dir, "roots"), filepath.Join(dir, "token")
	for path, text := range map[string][]byte{c.roots: ca.Bundle().PEM(), c.auth: []byte("token")} {
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

// agentProcess is the real `fairway capture`.
type agentProcess struct {
	cmd   *exec.Cmd
	admin string
	lines chan string
}

func (c *agentControl) agent(t *testing.T, state string, args ...string) *agentProcess {
	t.Helper()
	p := &agentProcess{lines: make(chan string, 1000)}
	p.cmd = exec.Command(binary, append([]string{"capture", "-control", c.address, "-control-id", agentControlID.String(), "-node", "n1",
		"-token", c.auth, "-roots", c.roots, "-state", state, "-admin", "127.0.0.1:0", "-log-level", "debug"}, args...)...)
	stderr, err := p.cmd.StderrPipe()
	if err == nil {
		err = p.cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.cmd.Process.Kill() })
	go func() {
		for s := bufio.NewScanner(stderr); s.Scan(); {
			p.lines <- s.Text()
		}
		close(p.lines)
	}()
	_, p.admin, _ = strings.Cut(p.await(t, "admin port open"), "listener=")
	return p
}

func (p *agentProcess) await(t *testing.T, text string) string {
	t.Helper()
	late := time.After(patience)
	for {
		select {
		case line, ok := <-p.lines:
			if !ok {
				t.Fatalf("the agent has ended without a line with %q", text)
			}
			t.Log(line)
			if strings.Contains(line, text) {
				return line
			}
		case <-late:
			t.Fatalf("no line with %q in the agent's log", text)
		}
	}
}

// end sends SIGTERM, and waits.
func (p *agentProcess) end(t *testing.T) {
	t.Helper()
	p.cmd.Process.Signal(syscall.SIGTERM)
	for range p.lines {
	}
	if err := p.cmd.Wait(); err != nil {
		t.Errorf("fairway capture: %v", err)
	}
}

func (p *agentProcess) get(t *testing.T, path string) (int, string) {
	t.Helper()
	r, err := http.Get("http://" + p.admin + path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r.StatusCode, string(b)
}

// An agent has in force what control sends it, what it had when control is away,
// and leaves it in force when it goes, unless it is told to take it away.
func TestCaptureAgent(t *testing.T) {
	inOwnNetwork(t)
	if os.Getenv(alone) == "" {
		return // it was run there
	}
	c := startAgentControl(t)
	addr := netip.MustParseAddr
	state := &capture.State{Node: "n1", Zone: "a"}
	d := &routing.Delta{
		// Whose pods take what is captured.
		Listeners: []*routing.Listener{{
			Name: "shop/waypoint/mesh", Gateway: "shop/waypoint", Port: routing.HBONEPort, Protocol: routing.HBONE,
			Mesh: &routing.Mesh{TrustDomains: []string{"cluster.local"}},
		}},
		Captures: []*routing.Capture{{Name: "shop/cart:80", Addresses: []netip.Addr{addr("10.96.0.5")}, Port: 80, Waypoint: "shop/waypoint", To: 20001}},
		Workloads: []*routing.Workload{
			{Name: "shop/web", Addresses: []netip.Addr{addr("10.244.1.2")}, Node: "n1", Captured: true, Strict: true},
			{Name: "shop/far", Addresses: []netip.Addr{addr("10.244.2.2")}, Node: "n2", Captured: true},
		},
		Clusters: []*routing.Cluster{{Name: "mesh/shop/waypoint", Protocol: routing.UpstreamHTTP2}},
		Endpoints: []*routing.Endpoints{{Cluster: "mesh/shop/waypoint", List: []routing.Endpoint{
			{Addr: netip.MustParseAddrPort("10.244.2.9:15008"), Node: "n2", Zone: "a", Ready: true},
			{Addr: netip.MustParseAddrPort("10.244.3.9:15008"), Node: "n3", Zone: "b", Ready: true},
		}}},
	}
	c.feed.Update(d)
	c.feed.Open()
	state.Change(d)
	want := capture.Build(state)
	kernel := &capture.Kernel{}
	has := func(when string) {
		t.Helper()
		have, err := kernel.Read(want)
		if err != nil || have == nil || have.String() != want.String() {
			t.Errorf("%s: the table is\n%v\nwith %v, want\n%s", when, have, err, want)
		}
	}
	gone := func(when string) {
		t.Helper()
		if have, err := kernel.Read(want); err != nil || have != nil {
			t.Errorf("%s: the table is\n%v\nwith %v, want none", when, have, err)
		}
	}

	dir := t.TempDir()
	p := c.agent(t, dir)
	p.await(t, "table changed")
	if status, body := p.get(t, "/readyz"); status != http.StatusOK {
		t.Errorf("/readyz = %d, %s", status, body)
	}
	has("with control")
	_, metrics := p.get(t, "/metrics")
	for _, line := range []string{
		"fairway_capture_workloads 1", "fairway_capture_service_ports 1", "fairway_capture_in_force 1", "fairway_capture_table_errors_total 0",
		`fairway_capture_refused_total{reason="WaypointRequired"} 0`,
	} {
		if !strings.Contains(metrics, line+"\n") {
			t.Errorf("/metrics has no line %q", line)
		}
	}
	p.end(t)
	has("after SIGTERM")

	c.stop()
	if err := kernel.Remove(); err != nil { // as after the node has started anew
		t.Fatal(err)
	}
	p = c.agent(t, dir)
	p.await(t, "last good state in force")
	has("without control")
	if status, body := p.get(t, "/readyz"); status != http.StatusOK {
		t.Errorf("/readyz without control = %d, %s", status, body)
	}
	p.cmd.Process.Kill()
	for range p.lines {
	}
	p.cmd.Wait()
	has("after a crash")

	// The agent of another node with the same folder leaves ours alone.
	p = c.agent(t, dir, "-node", "n2")
	p.await(t, "control away")
	p.end(t)
	has("beside another node's")

	p = c.agent(t, dir, "-remove-on-exit")
	p.await(t, "last good state in force")
	has("after a restart")
	p.end(t)
	gone("after SIGTERM with -remove-on-exit")

	if _, err := kernel.Put(nil, want); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if out, err := exec.Command(binary, "capture", "-cleanup").CombinedOutput(); err != nil {
			t.Errorf("fairway capture -cleanup: %v, %s", err, out)
		}
		gone("after -cleanup")
	}
}

func TestCaptureFlags(t *testing.T) {
	t.Setenv("NODE_NAME", "")
	for _, tt := range []struct {
		args []string
		want string // empty: they are good
	}{
		{[]string{"-cleanup"}, ""},
		{[]string{"-control", "c:1", "-node", "n1"}, ""},
		{[]string{"-control", "c:1"}, "-node: want the name of the node, or NODE_NAME in the environment"},
		{[]string{"-control", "c:1", "-node", "n1", "-cleanup"}, errUsage.Error()},
		{[]string{"-node", "n1"}, errUsage.Error()},
		{[]string{"-cleanup", "x"}, errUsage.Error()},
	} {
		got := ""
		if _, err := parseCapture(tt.args); err != nil {
			got = err.Error()
		}
		if got != tt.want {
			t.Errorf("parseCapture(%q) = %q, want %q", tt.args, got, tt.want)
		}
	}
}
