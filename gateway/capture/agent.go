package capture

import (
	"context"
	"log/slog"
	"os"
	"sync"
	"time"

	"fairway.dev/routing"
)

// TableNotChanged is the reason of the Problem that stands while the table in the
// kernel is not what it should be.
const TableNotChanged routing.Reason = "TableNotChanged"

// How often an Agent looks at the table, and tries again.
const (
	checkEvery = time.Minute // unasked
	checkPause = time.Second // at least between two of them
	retryAfter = 5 * time.Second
)

// Options are what an Agent needs.
type Options struct {
	Node  string // the name of the node
	Zone  string // that it is in; empty: nobody knows
	NetNS int    // a file descriptor of the node's network namespace; 0: the process's own
	Log   *slog.Logger
}

// An Agent keeps the table of a node as the State wants it.
type Agent struct {
	log     *slog.Logger
	touched chan struct{} // the table is to be looked at
	kernel  *Kernel
	pause   time.Duration // at least between two looks at the table

	mu    sync.Mutex // of what follows, and of changes of the table
	state State
	have  *Ruleset // what the table was left with; nil: nobody knows
	begun bool     // there is a State to be in force
	heir  bool     // Restore was called: until it has begun the table is that of an agent before
	owed  bool     // it has never been, or not since it changed
	stats Stats
}

// Stats are an Agent's numbers.
type Stats struct {
	Workloads int // of the node that are captured
	Captures  int // ports of Services that are captured
	Elements  int // in the sets of the table
	// InForce says that the table is what it should be, as far as we know.
	InForce bool
	Changes uint64        // of the table
	Took    time.Duration // what they took altogether
	Mended  uint64        // how often somebody else had changed the table
	Errors  uint64        // how often the table could not be changed, or read
	Refused map[Refusal]uint64
}

// NewAgent returns an Agent that leaves the table as it is until Apply is called,
// or Restore where there is none.
func NewAgent(o Options) *Agent {
	return &Agent{
		log: o.Log, touched: make(chan struct{}, 1), kernel: &Kernel{NetNS: o.NetNS}, pause: checkPause,
		state: State{Node: o.Node, Zone: o.Zone},
	}
}

// Apply puts a change in force. Where that fails, the Problem says why, the table
// stays as it was, and Run tries again. Any goroutine may call it.
func (a *Agent) Apply(d *routing.Delta) []*routing.Problem {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.state.Change(d)
	a.begun, a.owed = true, true
	return a.problems(a.put())
}

// Restore takes the state that an agent before this one has kept. The table that
// it left is as new as that, or newer, and stays until Apply is called: what has
// changed since the state was kept is not undone. Where there is no table, as the
// node has started anew, the state is put in force.
func (a *Agent) Restore(d *routing.Delta) []*routing.Problem {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.state.Change(d)
	a.heir = true
	return a.problems(a.inherit())
}

// inherit leaves the table as it is, if there is one, and keeps it so if it is
// what the state wants. The lock is held.
func (a *Agent) inherit() error {
	want := Build(&a.state)
	have, err := a.kernel.Read(want)
	if err != nil || have == nil {
		a.begun, a.owed = true, true
		return a.put()
	}
	d, err := Between(have, want)
	if err == nil && d.Empty() {
		a.begun, a.owed = true, false
	} else if !a.stats.InForce {
		a.log.Info("table is newer than the last good state, and stays until control says what it has to be")
	}
	a.stats.InForce = true
	return nil
}

// SetZone says which zone the node is in.
func (a *Agent) SetZone(zone string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.state.Zone == zone {
		return
	}
	a.state.Zone, a.owed = zone, true
	if a.begun {
		a.put() // what fails is tried again
	}
}

// put makes the table what the state wants. The lock is held.
func (a *Agent) put() error {
	began := time.Now()
	want := Build(&a.state)
	d, err := a.kernel.Put(a.have, want)
	if err != nil {
		a.have, a.stats.InForce = nil, false
		a.stats.Errors++
		a.log.Error("table not changed, trying again", "err", err)
		a.touch()
		return err
	}
	if d.Anew != nil {
		a.log.Warn("table made anew", "err", d.Anew)
	}
	a.have, a.owed, a.stats.InForce = want, false, true
	if !d.Empty() {
		took := time.Since(began)
		a.stats.Changes++
		a.stats.Took += took
		a.log.Debug("table changed", "parts", d.Size(), "took", took)
	}
	return nil
}

func (a *Agent) problems(err error) []*routing.Problem {
	if err == nil {
		return nil
	}
	return []*routing.Problem{{Origin: routing.Origin{Kind: "Node", Name: a.state.Node}, Reason: TableNotChanged, Err: err}}
}

// touch has the table looked at soon.
func (a *Agent) touch() {
	select {
	case a.touched <- struct{}{}:
	default:
	}
}

// Ready reports whether the table is in force. It stays so while the agent is
// away, but who has just begun does not know.
func (a *Agent) Ready() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.stats.InForce
}

// Stats returns the numbers. It asks the kernel.
func (a *Agent) Stats() Stats {
	a.mu.Lock()
	defer a.mu.Unlock()
	s := a.stats
	s.Workloads, s.Captures = a.state.Captured(), a.state.Captures()
	if a.have != nil {
		for _, set := range a.have.Sets {
			s.Elements += len(set.Elements)
		}
		var err error
		if s.Refused, err = a.kernel.Refused(); err != nil {
			a.log.Debug("table not read", "err", err)
		}
	}
	return s
}

// Remove takes the table away. Nothing is captured from then on, and nothing
// refused.
func (a *Agent) Remove() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.have, a.begun, a.heir, a.stats.InForce = nil, false, false, false
	return a.kernel.Remove()
}

// Run keeps the table as it should be, and logs what it refuses, until ctx ends.
// The table stays then.
func (a *Agent) Run(ctx context.Context) {
	for _, bridge := range bypasses(os.DirFS("/")) {
		a.log.Warn("connections between ports of a bridge are not refused: want the module br_netfilter, and net.bridge.bridge-nf-call-iptables and -ip6tables 1", "bridge", bridge)
	}
	var tasks sync.WaitGroup
	defer tasks.Wait()
	tasks.Go(func() {
		a.again(ctx, "changes of the table by others not heard", func() error { return a.kernel.watch(ctx, a.touch) })
	})
	tasks.Go(func() {
		open := func() { a.log.Debug("log of the kernel open") }
		a.again(ctx, "refused connections not logged", func() error { return readRefusals(ctx, a.kernel.NetNS, open, a.logRefusal) })
	})
	every := time.NewTicker(checkEvery)
	defer every.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-a.touched:
		case <-every.C:
		}
		pause := a.pause
		if !a.check() {
			pause = retryAfter
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
	}
}

// again runs task until ctx ends, as long as it takes.
func (a *Agent) again(ctx context.Context, what string, task func() error) {
	for {
		if err := task(); err != nil {
			a.log.Warn(what, "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(retryAfter):
		}
	}
}

// check looks at the table and mends it. It reports whether it is as it should
// be.
func (a *Agent) check() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.begun {
		return !a.heir || a.inherit() == nil
	}
	owed, changes := a.owed, a.stats.Changes
	a.have = nil // ask the kernel
	if a.put() != nil {
		return false
	}
	if !owed && a.stats.Changes != changes {
		a.stats.Mended++
		a.log.Warn("table was changed by somebody else, and is mended")
	}
	return true
}

// logRefusal logs a connection that was refused.
func (a *Agent) logRefusal(r refused) {
	a.mu.Lock()
	defer a.mu.Unlock()
	facts := []any{"reason", r.why, "source", r.from}
	who := r.from.Addr()
	if r.why == WaypointRequired {
		who = r.to.Addr()
	}
	if w := a.state.workload(who); w != nil {
		facts = append(facts, "workload", w.Name)
	}
	facts = append(facts, "destination", r.to)
	if c := a.state.capture(r.to); c != nil {
		facts = append(facts, "service", c.Name)
	}
	if r.why.verdict() == Drop {
		a.log.Warn("connection kept waiting", facts...)
		return
	}
	a.log.Warn("connection refused", facts...)
}
