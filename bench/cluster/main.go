// Command cluster measures Fairway on a cluster: how soon an edit is served,
// what a great number of routes, listeners and gateway pods costs, and what
// clients see meanwhile. `make bench-cluster` runs it.
//
// The scenarios are those of the public gateway-api-bench in our own words, and
// a few more. It looks from outside, as a user can: through the API server,
// through the Gateway's address, and at the metrics of control and of the
// gateway pods. Backends run in this process and are made known by
// EndpointSlices, so that the cluster's nodes are spared and a backend fails when
// it is told to. So gateway pods must be able to reach this machine (-backends).
//
// Everything it makes is in namespaces with a label of its own, which are
// deleted at the end.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// options are what a run can be told.
type options struct {
	class    string
	control  string // namespace
	backends string // address of this machine
	load     string // program
	scale    float64
}

// A scenario measures one thing and returns what it found.
type scenario struct {
	name, about string
	most        time.Duration // it is given up after
	run         func(ctx context.Context, l *lab, t *table) error
}

var scenarios = []scenario{
	{"attached", "attachedRoutes of a Gateway while routes come and go, and routes that are others'", 10 * time.Minute, attachedRoutes},
	{"propagation", "a route added to many: from the API server's answer to the first answered request", 15 * time.Minute, propagation},
	{"change", "requests while their route changes its backend's port and a header filter", 5 * time.Minute, routeChange},
	{"routes", "many routes, Services and EndpointSlices, and churn: memory, CPU, bytes", 20 * time.Minute, manyRoutes},
	{"listenersets", "many routes on many ListenerSets: memory, CPU, time", 45 * time.Minute, manyListenerSets},
	{"failover", "four backends, of which one comes and goes; retries by default", 10 * time.Minute, failover},
	{"fleet", "many gateway pods on one replica of control", 15 * time.Minute, manyPods},
}

func run(ctx context.Context, args []string) error {
	f := flag.NewFlagSet("cluster", flag.ContinueOnError)
	var o options
	only := f.String("scenario", "", "comma-separated `names`; empty means all")
	out := f.String("out", "bench/results", "`directory` for the tables")
	list := f.Bool("list", false, "list the scenarios")
	f.StringVar(&o.class, "class", "fairway", "the GatewayClass")
	f.StringVar(&o.control, "control", "fairway-system", "the `namespace` that control runs in")
	f.StringVar(&o.backends, "backends", "", "the `address` of this machine that gateway pods reach (default: the one that the API server is reached from)")
	f.StringVar(&o.load, "load", ".cache/bench/load", "the `program` that is many gateway pods (discovery/feed/load)")
	f.Float64Var(&o.scale, "scale", 1, "how large scenarios are: 0.1 makes a tenth of the objects and the time")
	if err := f.Parse(args); err != nil {
		return err
	}
	if *list {
		for _, s := range scenarios {
			fmt.Printf("%-12s %s\n", s.name, s.about)
		}
		return nil
	}
	chosen, err := choose(*only)
	if err != nil {
		return err
	}
	if !(o.scale > 0) {
		return fmt.Errorf("-scale %v: want more than 0", o.scale)
	}
	l, err := newLab(ctx, o)
	if err != nil {
		return err
	}
	r := &report{dir: *out, began: time.Now(), about: l.about}
	var failed []string
	for _, s := range chosen {
		if err := l.try(ctx, s, r); err != nil {
			fmt.Fprintf(os.Stderr, "%s: %v\n", s.name, err)
			failed = append(failed, s.name)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	if len(failed) > 0 {
		return fmt.Errorf("not measured: %s", strings.Join(failed, ", "))
	}
	return nil
}

func choose(names string) ([]scenario, error) {
	if names == "" {
		return scenarios, nil
	}
	var chosen []scenario
	for _, name := range strings.Split(names, ",") {
		found := false
		for _, s := range scenarios {
			if s.name == name {
				chosen, found = append(chosen, s), true
			}
		}
		if !found {
			return nil, fmt.Errorf("no scenario %q; -list names them", name)
		}
	}
	return chosen, nil
}

// try runs a scenario and writes down what it found. What it made on the
// cluster is gone afterwards, so that the next one starts from nothing.
func (l *lab) try(ctx context.Context, s scenario, r *report) error {
	fmt.Fprintf(os.Stderr, "%s: %s\n", s.name, s.about)
	if err := l.clear(ctx); err != nil {
		return err
	}
	within, cancel := context.WithTimeoutCause(ctx, s.most, fmt.Errorf("not done after %v", s.most))
	defer cancel()
	t := &table{name: s.name, about: s.about, began: loadAverage()}
	err := s.run(within, l, t)
	t.ended = loadAverage()
	if cause := context.Cause(within); err != nil && cause != nil {
		err = fmt.Errorf("%w: %w", cause, err)
	}
	cleanErr := l.clear(context.WithoutCancel(ctx))
	if err != nil {
		return errors.Join(err, cleanErr)
	}
	return errors.Join(r.add(t), cleanErr)
}

// count is how many of n a run of this size makes.
func (o *options) count(n int) int { return max(1, int(math.Round(float64(n)*o.scale))) }

// period is how long a run of this size takes for what takes d: a second at
// least, and never more than d.
func (o *options) period(d time.Duration) time.Duration {
	return min(d, max(time.Second, time.Duration(float64(d)*o.scale)))
}

// loadAverage is how many tasks have wanted a core of this machine in the last
// minute; empty where that is not to be known.
func loadAverage() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return ""
	}
	first, _, _ := strings.Cut(string(text), " ")
	return first
}
