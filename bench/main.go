// Bench measures the whole gateway beside its peers: the same requests through
// Fairway, nginx, HAProxy, Caddy and Traefik, in interleaved rounds, each proxy
// on cores of its own and one at a time. What a hop of the mesh costs is measured
// beside one plain gateway, and none, in the same way.
//
// What counts is the CPU time of the proxy's processes per request, from the
// kernel's scheduler statistics, and its ratio to the peers' in the same round:
// on a shared machine the speed of a core changes from second to second, and
// neighbours in time share it. Medians over the rounds are printed; the rounds
// are written beside them.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
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

func run(ctx context.Context, args []string) error {
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	only := f.String("scenario", "", "comma-separated `names`; empty means all")
	peers := f.String("peers", "fairway,nginx,haproxy,caddy,traefik", "who is measured")
	rounds := f.Int("rounds", 0, "interleaved rounds; 0 means the scenario's own number")
	binary := f.String("fairway", "bin/fairway", "Fairway's `binary`")
	out := f.String("out", "bench/results", "`directory` for the table and the rounds")
	cache := f.String("cache", ".cache/bench", "`directory` for peers that are built here")
	list := f.Bool("list", false, "list the scenarios")
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
	dir, err := os.MkdirTemp("", "fairway-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	tools, err := install(ctx, wanted(strings.Split(*peers, ","), chosen), *binary, *cache)
	if err != nil {
		return err
	}
	b, err := newBench(dir, tools)
	if err != nil {
		return err
	}
	defer b.close()

	started := time.Now()
	var results []result
	for _, s := range chosen {
		n := s.rounds
		if *rounds > 0 {
			n = *rounds
		}
		r, err := b.measure(ctx, s, n)
		if err != nil {
			return fmt.Errorf("scenario %s: %w", s.name, err)
		}
		results = append(results, r...)
		printTable(os.Stdout, s, r)
		if err := save(*out, started, tools, results); err != nil {
			return err
		}
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
			if s.name == name || s.group == name {
				chosen, found = append(chosen, s), true
			}
		}
		if !found {
			return nil, fmt.Errorf("no scenario %q; -list names them", name)
		}
	}
	return chosen, nil
}

// wanted are those of names who take part in a scenario. A name that nobody has
// stays, to be complained of.
func wanted(names []string, chosen []scenario) []string {
	idle := map[string]bool{}
	for _, p := range peers {
		idle[p.name] = !slices.ContainsFunc(chosen, func(s scenario) bool { return s.takesPart(p) })
	}
	return slices.DeleteFunc(names, func(name string) bool { return idle[name] })
}

// write makes a file in the bench's directory.
func (b *bench) write(name, text string) (string, error) {
	path := filepath.Join(b.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return "", err
	}
	return path, os.WriteFile(path, []byte(text), 0o600)
}
