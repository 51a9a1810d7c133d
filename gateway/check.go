package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"slices"

	"fairway.dev/routing"
	"fairway.dev/routing/gatewayapi"
)

// check compiles manifests without serving them, and prints each object's
// conditions and each Problem. It returns errFound where there is one.
func check(_ context.Context, args []string, out io.Writer) error {
	f := flags("check", "[flags] PATH...")
	dump := f.Bool("dump", false, "print what would be in force, too")
	cluster := f.Bool("cluster", false, "as on a cluster, where each Gateway has addresses of its own: two may have one port")
	if err := parse(f, args); err != nil {
		return err
	}
	if f.NArg() == 0 {
		f.Usage()
		return errUsage
	}
	c, delta, err := translateOffline(f.Args(), gatewayapi.Options{Isolated: *cluster})
	if err != nil {
		return err
	}
	parts := []*routing.Delta{delta}
	if *cluster {
		parts = perGateway(delta)
	}
	var snaps []*routing.Snapshot
	var compiled []*routing.Problem
	for _, part := range parts {
		snap, problems := compileOffline(part)
		snaps, compiled = append(snaps, snap), append(compiled, problems...)
	}
	problems := c.problems(compiled)
	for _, key := range slices.SortedFunc(maps.Keys(c.reports), compareKeys) {
		r := c.reports[key]
		r.Problems = nil // they come below, with their places
		fmt.Fprint(out, r)
	}
	for _, p := range problems {
		place := p.Origin.Place()
		if place == "" {
			place = "-"
		}
		fmt.Fprintf(out, "%s: %s: %v\n", place, p.Reason, p)
	}
	if *dump {
		for _, snap := range snaps {
			if err := snap.Dump(out); err != nil {
				return err
			}
		}
	}
	if len(problems) > 0 {
		fmt.Fprintf(out, "%d problems\n", len(problems))
		return errFound
	}
	fmt.Fprintln(out, "no problems")
	return nil
}

// translateOffline loads and translates paths.
func translateOffline(paths []string, o gatewayapi.Options) (*config, *routing.Delta, error) {
	for _, p := range paths {
		if _, err := os.Stat(p); err != nil {
			return nil, nil, err
		}
	}
	c := newConfig(paths, o, slog.New(slog.DiscardHandler))
	return c, c.apply(c.folder.Load()), nil
}

// compileOffline compiles what is there at the start.
func compileOffline(delta *routing.Delta) (*routing.Snapshot, []*routing.Problem) {
	empty, _ := routing.Compile(&routing.Spec{})
	return empty.Update(delta)
}

// perGateway splits a Spec as a fleet sees it: the pods of each Gateway have its
// listeners, and routes as far as they are attached to these.
func perGateway(all *routing.Delta) []*routing.Delta {
	parts := map[string]*routing.Delta{}
	gatewayOf := map[routing.ListenerName]string{}
	for _, l := range all.Listeners {
		gatewayOf[l.Name] = l.Gateway
		if parts[l.Gateway] == nil {
			part := *all
			part.Listeners, part.Routes = nil, nil
			parts[l.Gateway] = &part
		}
		parts[l.Gateway].Listeners = append(parts[l.Gateway].Listeners, l)
	}
	for _, r := range all.Routes {
		attached := map[string][]routing.Attachment{}
		for _, a := range r.Attached {
			if g, ok := gatewayOf[a.Listener]; ok {
				attached[g] = append(attached[g], a)
			}
		}
		for g, of := range attached {
			part := *r
			part.Attached = of
			parts[g].Routes = append(parts[g].Routes, &part)
		}
	}
	var split []*routing.Delta
	for _, g := range slices.Sorted(maps.Keys(parts)) {
		split = append(split, parts[g])
	}
	return split
}
