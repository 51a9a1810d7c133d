package capture

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"

	"fairway.dev/routing"
)

// lines is a log whose lines a test waits for.
type lines chan string

func newLog() (*slog.Logger, lines) {
	ch := make(lines, 1000)
	return slog.New(slog.NewTextHandler(ch, &slog.HandlerOptions{
		Level: slog.LevelDebug,
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr { // no times
			if a.Key == slog.TimeKey || a.Key == "took" {
				return slog.Attr{}
			}
			return a
		},
	})), ch
}

func (l lines) Write(b []byte) (int, error) {
	l <- strings.TrimSpace(string(b))
	return len(b), nil
}

// wait returns the next line with a text.
func (l lines) wait(t testing.TB, text string) string {
	t.Helper()
	late := time.After(20 * time.Second)
	for {
		select {
		case line := <-l:
			if strings.Contains(line, text) {
				return line
			}
		case <-late:
			t.Fatalf("no line with %q in the log", text)
		}
	}
}

// everything is the Delta from nothing to s.
func everything(s *State) *routing.Delta {
	d := &routing.Delta{}
	for _, c := range s.captures {
		d.Captures = append(d.Captures, c)
	}
	for _, w := range s.workloads {
		d.Workloads = append(d.Workloads, w)
	}
	for gateway, list := range s.waypoints {
		d.Endpoints = append(d.Endpoints, &routing.Endpoints{Cluster: routing.WaypointCluster(gateway), List: list})
	}
	return d
}

// agent runs an Agent for the node, with all that the world's state has.
func (w *world) agent() (*Agent, lines) {
	w.t.Helper()
	log, out := newLog()
	a := NewAgent(Options{Node: "n1", Zone: "a", NetNS: int(w.ns), Log: log})
	a.pause = 0
	if problems := a.Apply(everything(w.state)); problems != nil {
		w.t.Fatal(problems)
	}
	ctx, cancel := context.WithCancel(w.t.Context())
	var run sync.WaitGroup
	run.Go(func() { a.Run(ctx) })
	w.t.Cleanup(func() { cancel(); run.Wait() })
	out.wait(w.t, "log of the kernel open")
	return a, out
}

func TestRefusalsAreLogged(t *testing.T) {
	w := newWorld(t)
	a, out := w.agent()
	strict := *w.cartWorkload
	strict.Strict = true
	change := &routing.Delta{Workloads: []*routing.Workload{&strict}}
	change.Removed.Clusters = []routing.ClusterName{"mesh/bank/waypoint"}
	a.Apply(change)
	for _, f := range families {
		tests := []struct {
			from *pod
			to   netip.AddrPort
			want string
		}{
			{w.plain, netip.AddrPortFrom(w.cart.addr(f), 8080), "reason=WaypointRequired source=%s workload=shop/cart destination=%s"},
			{w.client, netip.AddrPortFrom(w.otherVIP[f], otherPort), "reason=WaypointNotReady source=%s workload=a/client destination=%s service=bank/other:81"},
		}
		for _, tt := range tests {
			w.want(tt.from, tt.to.Addr(), tt.to.Port(), "refused")
			line := out.wait(t, "connection refused")
			source := ""
			for _, word := range strings.Fields(line) {
				if s, ok := strings.CutPrefix(word, "source="); ok {
					source = strings.Trim(s, `"`)
				}
			}
			from, err := netip.ParseAddrPort(source)
			if err != nil || from.Addr() != tt.from.addr(f) {
				t.Errorf("source %q in the log, want %s", source, tt.from.addr(f))
			}
			want := `level=WARN msg="connection refused" ` + fmt.Sprintf(tt.want, from, tt.to)
			if got := strings.ReplaceAll(line, `"[`, "["); strings.ReplaceAll(got, `"`, "") != strings.ReplaceAll(want, `"`, "") {
				t.Errorf("log line\n%s, want\n%s", line, want)
			}
		}
	}
	if got := a.Stats().Refused; got[WaypointNotReady] != 2 || got[PortNotAllocated] != 0 || got[WaypointRequired] != 2 {
		t.Errorf("refused %v, want two for each reason", got)
	}
}

// Who dials what has been enrolled a moment ago waits for its number, and gets
// through: by the Service's waypoint, or its own. Who is not captured need not.
func TestConnectionsWaitForTheNumber(t *testing.T) {
	for _, own := range []bool{false, true} {
		w := newWorld(t)
		w.kubeProxy(nftables.TableFamilyIPv4)
		w.kubeProxy(nftables.TableFamilyIPv6)
		a, out := w.agent()
		client, unported, to := *w.clientWorkload, *w.cartCapture, w.shop
		if unported.To = 0; own {
			client.Gateways, to = []string{"bank/waypoint"}, w.bank
		}
		a.Apply(&routing.Delta{Workloads: []*routing.Workload{&client}, Captures: []*routing.Capture{&unported}})
		for _, f := range families {
			answer := make(chan string)
			go func() {
				defer close(answer)
				answer <- w.client.ask(w.cartVIP[f], cartPort)
			}()
			line := out.wait(t, "connection kept waiting")
			if want := "reason=PortNotAllocated"; !strings.Contains(line, want) {
				t.Errorf("log line %s, want %s", line, want)
			}
			w.want(w.plain, w.cartVIP[f], cartPort, from(w.cart, w.plain, f))
			a.Apply(&routing.Delta{Captures: []*routing.Capture{w.cartCapture}})
			if got, want := <-answer, from(to, w.client, f); got != want {
				t.Errorf("%q answers who has waited, want %q", got, want)
			}
			a.Apply(&routing.Delta{Captures: []*routing.Capture{&unported}})
		}
		if got := a.Stats().Refused; got[PortNotAllocated] < 2 || got[WaypointNotReady]+got[WaypointRequired] != 0 {
			t.Errorf("refused %v, want two that had no number", got)
		}
	}
}

// Who is refused a thousand times is counted a thousand times, and logged as often
// as anybody can read.
func TestTheLogIsBounded(t *testing.T) {
	w := newWorld(t)
	a, out := w.agent()
	gone := &routing.Delta{}
	gone.Removed.Clusters = []routing.ClusterName{"mesh/shop/waypoint"}
	a.Apply(gone)
	began := time.Now()
	const many = 300
	for range many {
		w.want(w.client, w.cartVIP[IPv4], cartPort, "refused")
	}
	most := logBurst + 1 + int(logRate*time.Since(began).Seconds())
	if got := a.Stats().Refused[WaypointNotReady]; got != many {
		t.Errorf("refused %d, want %d", got, many)
	}
	out.wait(t, "connection refused")
	logged := 1
	for len(out) > 0 {
		if strings.Contains(<-out, "connection refused") {
			logged++
		}
	}
	if logged > most {
		t.Errorf("%d lines in the log, want at most %d", logged, most)
	}
}

// Whatever somebody does to the table by hand is undone.
func TestTheTableIsMended(t *testing.T) {
	t1 := table()
	edits := map[string]func(*nftables.Conn, *Ruleset){
		"the table is deleted": func(c *nftables.Conn, _ *Ruleset) { c.DelTable(t1) },
		"a chain is flushed":   func(c *nftables.Conn, _ *Ruleset) { c.FlushChain(&nftables.Chain{Table: t1, Name: chainStrict}) },
		"a set is flushed":     func(c *nftables.Conn, r *Ruleset) { c.FlushSet(r.Sets["ports4"].declare(t1)) },
		"an element is added": func(c *nftables.Conn, r *Ruleset) {
			s := r.Sets["open4"]
			c.SetAddElements(s.declare(t1), []nftables.SetElement{s.encode(Element{Addr: netip.MustParseAddr("10.244.3.2"), Port: 8080}, Value{})})
		},
		"an element leads elsewhere": func(c *nftables.Conn, r *Ruleset) {
			s, key := r.Sets["services4"], Element{Addr: netip.MustParseAddr("10.96.0.5"), Port: 80}
			c.SetDeleteElements(s.declare(t1), []nftables.SetElement{s.encode(key, s.Elements[key])})
			c.SetAddElements(s.declare(t1), []nftables.SetElement{s.encode(key, Value{Chain: chainTo("bank/waypoint")})})
		},
		"a rule is put first": func(c *nftables.Conn, _ *Ruleset) {
			c.InsertRule(&nftables.Rule{Table: t1, Chain: &nftables.Chain{Table: t1, Name: chainStrict}, Exprs: []expr.Any{&expr.Verdict{Kind: expr.VerdictAccept}}})
		},
		"a chain is added": func(c *nftables.Conn, _ *Ruleset) {
			chain := c.AddChain(&nftables.Chain{Table: t1, Name: "mine"})
			c.AddRule(&nftables.Rule{Table: t1, Chain: chain, Exprs: []expr.Any{&expr.Verdict{Kind: expr.VerdictAccept}}})
		},
		"a set is added": func(c *nftables.Conn, _ *Ruleset) {
			c.AddSet(&nftables.Set{Table: t1, Name: "mine", KeyType: nftables.TypeIPAddr}, []nftables.SetElement{{Key: []byte{1, 2, 3, 4}}})
		},
		"a base chain is added, and others lead there": func(c *nftables.Conn, _ *Ruleset) {
			chain := c.AddChain(&nftables.Chain{Table: t1, Name: "mine", Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookForward, Priority: nftables.ChainPriorityFilter})
			c.AddRule(&nftables.Rule{Table: t1, Chain: chain, Exprs: []expr.Any{&expr.Verdict{Kind: expr.VerdictGoto, Chain: WaypointRequired.chain()}}})
		},
	}
	w := newWorld(t)
	a, out := w.agent()
	want := Build(w.state)
	for name, edit := range edits {
		t.Run(name, func(t *testing.T) {
			c, err := nftables.New(nftables.WithNetNSFd(int(w.ns)))
			must(t, err)
			edit(c, want)
			must(t, c.Flush())
			out.wait(t, "table was changed by somebody else, and is mended")
			have, err := a.kernel.Read(want)
			must(t, err)
			if have == nil || have.String() != want.String() {
				t.Errorf("the table is\n%v\nwant\n%s", have, want)
			}
		})
	}
	if got := a.Stats().Mended; got != uint64(len(edits)) {
		t.Errorf("mended %d times, want %d", got, len(edits))
	}
}

// An agent's own changes are no reason to look at the table.
func TestOwnChangesAreNotOthers(t *testing.T) {
	w := newWorld(t)
	k, touched := &Kernel{NetNS: int(w.ns)}, make(chan bool, 100)
	ctx, cancel := context.WithCancel(t.Context())
	var run sync.WaitGroup
	run.Go(func() {
		if err := k.watch(ctx, func() { touched <- true }); err != nil {
			t.Error(err)
		}
	})
	defer func() { cancel(); run.Wait() }()
	<-touched // as it began
	must(t, k.Remove())
	_, err := k.Put(nil, w.have)
	must(t, err)
	for _, chain := range []string{"one", "two"} { // somebody else's
		c, err := nftables.New(nftables.WithNetNSFd(int(w.ns)))
		must(t, err)
		c.AddChain(&nftables.Chain{Table: table(), Name: chain})
		must(t, c.Flush())
		<-touched
	}
	select {
	case <-touched:
		t.Error("touched by our own changes, too")
	default:
	}
}

func TestTheTableStaysWhenTheAgentEnds(t *testing.T) {
	w := newWorld(t)
	log, _ := newLog()
	a := NewAgent(Options{Node: "n1", NetNS: int(w.ns), Log: log})
	a.Apply(everything(w.state))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	a.Run(ctx)
	w.want(w.client, w.cartVIP[IPv4], cartPort, from(w.shop, w.client, IPv4))
	// The next one knows nothing yet, and leaves it alone.
	next := NewAgent(Options{Node: "n1", NetNS: int(w.ns), Log: log})
	next.check()
	next.SetZone("a")
	if next.Ready() {
		t.Error("ready, want it not to be before there is a state")
	}
	w.want(w.client, w.cartVIP[IPv4], cartPort, from(w.shop, w.client, IPv4))
	must(t, next.Remove())
	w.kubeProxy(nftables.TableFamilyIPv4)
	w.want(w.client, w.cartVIP[IPv4], cartPort, from(w.cart, w.client, IPv4))
}

// What an agent has kept may be older than the table that it left: what has been
// captured since then stays captured.
func TestAnHeirUndoesNothing(t *testing.T) {
	w := newWorld(t) // with its table
	log, out := newLog()
	old := everything(w.state)
	old.Workloads = nil
	a := NewAgent(Options{Node: "n1", Zone: "a", NetNS: int(w.ns), Log: log})
	if problems := a.Restore(old); problems != nil {
		t.Fatal(problems)
	}
	out.wait(t, "table is newer than the last good state")
	a.SetZone("b")
	a.SetZone("a")
	if !a.check() || !a.Ready() {
		t.Error("not ready, want it to be: there is a table")
	}
	w.want(w.client, w.cartVIP[IPv4], cartPort, from(w.shop, w.client, IPv4))

	// Somebody takes it away: then what was kept is better than nothing.
	must(t, w.kernel.Remove())
	if !a.check() {
		t.Error("the table is not made")
	}
	has := func(s *State) {
		t.Helper()
		want := Build(s)
		if have, err := a.kernel.Read(want); err != nil || have == nil || have.String() != want.String() {
			t.Errorf("the table is\n%v\nwith %v, want\n%s", have, err, want)
		}
	}
	kept := &State{Node: "n1", Zone: "a"}
	kept.Change(old)
	has(kept)

	// And then control says what it has to be.
	a.Apply(&routing.Delta{Workloads: everything(w.state).Workloads})
	has(w.state)
}

// Where the table is what an agent has kept it is mended from the beginning,
// without control.
func TestAnHeirMendsTheTableThatItKnows(t *testing.T) {
	w := newWorld(t)
	log, _ := newLog()
	a := NewAgent(Options{Node: "n1", Zone: "a", NetNS: int(w.ns), Log: log})
	if problems := a.Restore(everything(w.state)); problems != nil {
		t.Fatal(problems)
	}
	c, err := nftables.New(nftables.WithNetNSFd(int(w.ns)))
	must(t, err)
	c.FlushChain(&nftables.Chain{Table: table(), Name: chainStrict})
	must(t, c.Flush())
	if !a.check() || a.Stats().Mended != 1 {
		t.Errorf("%+v: want the table mended", a.Stats())
	}
}

// A table that cannot be changed is a Problem, and the agent is not ready.
func TestFailureIsAProblem(t *testing.T) {
	notNS, err := os.Open(os.DevNull)
	must(t, err)
	defer notNS.Close()
	log, out := newLog()
	a := NewAgent(Options{Node: "n1", NetNS: int(notNS.Fd()), Log: log})
	problems := a.Apply(everything(smallState()))
	if len(problems) != 1 || problems[0].Reason != TableNotChanged || problems[0].Origin.String() != "Node n1" {
		t.Errorf("problems %v, want one of Node n1: %s", problems, TableNotChanged)
	}
	out.wait(t, "table not changed, trying again")
	if s := a.Stats(); a.Ready() || s.Errors != 1 || s.Workloads != 3 || s.Captures != 3 {
		t.Errorf("ready %v, %+v: want it not ready, with one error", a.Ready(), s)
	}
	if len(a.touched) != 1 {
		t.Error("nobody tries again")
	}
}

func TestAZoneMovesPods(t *testing.T) {
	w := newWorld(t)
	a, _ := w.agent()
	here, there := waypoint("shop", "n2", "a", w.shop), waypoint("shop", "n3", "b", w.shop2)
	here.List = append(here.List, there.List...)
	a.Apply(&routing.Delta{Endpoints: []*routing.Endpoints{here}})
	w.want(w.client, w.cartVIP[IPv4], cartPort, from(w.shop, w.client, IPv4))
	a.SetZone("b")
	w.want(w.client, w.cartVIP[IPv4], cartPort, from(w.shop2, w.client, IPv4))
}
