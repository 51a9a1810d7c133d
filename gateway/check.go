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
)

// check compiles manifests without serving them, and prints each object's
// conditions and each Problem. It returns errFound where there is one.
func check(_ context.Context, args []string, out io.Writer) error {
	f := flags("check", "[flags] PATH...")
	dump := f.Bool("dump", false, "print what would be in force, too")
	if err := parse(f, args); err != nil {
		return err
	}
	if f.NArg() == 0 {
		f.Usage()
		return errUsage
	}
	c, snap, problems, err := compileOffline(f.Args())
	if err != nil {
		return err
	}
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
		if err := snap.Dump(out); err != nil {
			return err
		}
	}
	if len(problems) > 0 {
		fmt.Fprintf(out, "%d problems\n", len(problems))
		return errFound
	}
	fmt.Fprintln(out, "no problems")
	return nil
}

// compileOffline loads, translates and compiles paths.
func compileOffline(paths []string) (*config, *routing.Snapshot, []*routing.Problem, error) {
	for _, p := range paths {
		if _, err := os.Stat(p); err != nil {
			return nil, nil, nil, err
		}
	}
	c := newConfig(paths, slog.New(slog.DiscardHandler))
	delta := c.apply(c.folder.Load())
	empty, _ := routing.Compile(&routing.Spec{})
	snap, compiled := empty.Update(delta)
	return c, snap, c.problems(compiled), nil
}
