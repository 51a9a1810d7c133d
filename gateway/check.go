package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"

	"fairway.dev/discovery"
	"fairway.dev/routing"
	"fairway.dev/routing/analysis"
	"fairway.dev/routing/gatewayapi"
	"fairway.dev/routing/istio"
)

// checkFlags are what `fairway check` can be told.
type checkFlags struct {
	dump       bool
	cluster    bool
	codes      bool
	kubeconfig string
	context    string
	live       bool
	output     string
	level      string
	fail       string
	root       string
	paths      []string
}

func parseCheck(args []string) (*checkFlags, error) {
	f := flags("check", "[flags] PATH... | -live")
	o := &checkFlags{}
	f.BoolVar(&o.dump, "dump", false, "print what would be in force, too")
	f.BoolVar(&o.cluster, "cluster", false, "as on a cluster, where each Gateway has addresses of its own, and selectors of Istio's Gateways count")
	f.BoolVar(&o.codes, "codes", false, "print the codes of all findings, and end")
	f.BoolVar(&o.live, "live", false, "check what a cluster has, in place of files")
	f.StringVar(&o.kubeconfig, "kubeconfig", "", "with -live: the kubeconfig `file` (default: as kubectl finds it)")
	f.StringVar(&o.context, "context", "", "with -live: the `context` of the kubeconfig")
	f.StringVar(&o.output, "o", "text", "the `format`: text or json")
	f.StringVar(&o.level, "level", "info", "the least `level` that is shown: info, warning or error")
	f.StringVar(&o.fail, "fail", "error", "the least `level` that makes the exit status 1: info, warning or error")
	f.StringVar(&o.root, "root-namespace", "istio-system", "the `namespace` of the mesh's own objects, for Istio's API")
	if err := parse(f, args); err != nil {
		return nil, err
	}
	o.paths = f.Args()
	o.live = o.live || o.kubeconfig != "" || o.context != ""
	o.cluster = o.cluster || o.live
	_, known := grades[o.level]
	_, fails := grades[o.fail]
	if !o.codes && o.live == (len(o.paths) > 0) || !known || !fails || o.output != "text" && o.output != "json" {
		f.Usage()
		return nil, errUsage
	}
	return o, nil
}

// grades are the levels by the names that people write, the gravest last.
var grades = map[string]int{"info": 0, "warning": 1, "error": 2}

// levelName is a level as people write it.
func levelName(l routing.Level) string {
	if l == routing.Error {
		return "error"
	}
	return strings.ToLower(string(l))
}

// check says what is wrong with manifests, or with what a cluster has: each
// object's conditions, and all findings. Nothing is served, and nothing is
// written. It returns errFound where there is a finding as grave as -fail.
func check(ctx context.Context, args []string, out io.Writer) error {
	o, err := parseCheck(args)
	if err != nil {
		return err
	}
	if o.codes {
		return analysis.WriteCodes(out)
	}
	s, err := o.survey(ctx)
	if err != nil {
		return err
	}
	shown := s.problems
	if o.output == "json" {
		err = writeFindingsJSON(out, atLeast(shown, o.level))
	} else {
		err = s.write(out, atLeast(shown, o.level), o.dump)
	}
	if err == nil && len(atLeast(s.problems, o.fail)) > 0 {
		return errFound
	}
	return err
}

// atLeast returns the problems of a level, and graver ones.
func atLeast(problems []*routing.Problem, level string) []*routing.Problem {
	return slices.DeleteFunc(slices.Clone(problems), func(p *routing.Problem) bool {
		return grades[levelName(p.Level)] < grades[level]
	})
}

// A survey is what translation, compiling and validation say of all objects.
type survey struct {
	reports  map[routing.ObjectKey]gatewayapi.Report
	snaps    []*routing.Snapshot // of each fleet
	problems []*routing.Problem
}

func (o *checkFlags) survey(ctx context.Context) (*survey, error) {
	if o.live {
		return o.surveyCluster(ctx)
	}
	for _, p := range o.paths {
		if _, err := os.Stat(p); err != nil {
			return nil, err
		}
	}
	c := newConfig(o.paths, gatewayapi.Options{Isolated: o.cluster}, slog.New(slog.DiscardHandler))
	if o.cluster {
		c.translator = gatewayapi.New(c.folder.World(), gatewayapi.Options{Isolated: true, DefaultClass: "fairway"})
		istio.Join(c.translator, istio.Options{RootNamespace: o.root})
	}
	delta := c.apply(c.folder.Load())
	s := &survey{reports: c.reports}
	own := c.problems(append(s.compile(delta, o.cluster), validateAll(c.folder.World())...))
	s.problems = withoutEchoes(own)
	return s, nil
}

// compile compiles what each fleet would get, and returns what is wrong with it.
func (s *survey) compile(delta *routing.Delta, isolated bool) []*routing.Problem {
	parts := []*routing.Delta{delta}
	if isolated {
		parts = perGateway(delta)
	}
	var all []*routing.Problem
	for _, part := range parts {
		snap, problems := compileOffline(part)
		s.snaps, all = append(s.snaps, snap), append(all, problems...)
	}
	return all
}

// validateAll looks at each object of Istio's API by itself.
func validateAll(w *discovery.World) []*routing.Problem {
	var all []*routing.Problem
	for _, kind := range analysis.Kinds {
		w.Each(kind, func(_ routing.ObjectKey, o any) { all = append(all, analysis.Validate(o)...) })
	}
	slices.SortStableFunc(all, func(a, b *routing.Problem) int {
		return cmp.Or(cmp.Compare(a.Origin.Kind, b.Origin.Kind), cmp.Compare(a.Origin.Namespace, b.Origin.Namespace), cmp.Compare(a.Origin.Name, b.Origin.Name))
	})
	return all
}

// withoutEchoes takes out what is said of a field for a second time, at the
// same level and by another code: translation and validation may both have seen it.
func withoutEchoes(problems []*routing.Problem) []*routing.Problem {
	type place struct {
		origin routing.Origin
		level  routing.Level
	}
	first := map[place]routing.Reason{}
	return slices.DeleteFunc(problems, func(p *routing.Problem) bool {
		at := place{p.Origin, p.Level}
		if p.Origin.Field == "" || p.Origin.Name == "" {
			return false
		}
		if reason, ok := first[at]; ok && reason != p.Reason {
			return true
		}
		first[at] = p.Reason
		return false
	})
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
	var shared []*routing.Listener
	callers := map[string]bool{}
	for _, l := range all.Listeners {
		if l.Shared() {
			shared = append(shared, l)
			continue
		}
		callers[l.Gateway] = callers[l.Gateway] || l.Calls()
		gatewayOf[l.Name] = l.Gateway
		if parts[l.Gateway] == nil {
			part := *all
			part.Listeners, part.Routes = nil, nil
			parts[l.Gateway] = &part
		}
		parts[l.Gateway].Listeners = append(parts[l.Gateway].Listeners, l)
	}
	for g, calls := range callers {
		if calls {
			parts[g].Listeners = append(parts[g].Listeners, shared...)
		}
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

// write prints reports, findings, and how many there are of each level.
func (s *survey) write(out io.Writer, shown []*routing.Problem, dump bool) error {
	for _, key := range slices.SortedFunc(maps.Keys(s.reports), compareKeys) {
		r := s.reports[key]
		r.Problems = nil // they come below, with their places
		fmt.Fprint(out, r)
	}
	for _, p := range shown {
		place := p.Origin.Place()
		if place == "" {
			place = "-"
		}
		fmt.Fprintf(out, "%s: %s %s: %v", place, levelName(p.Level), p.Reason, p)
		if p.Fix != "" {
			fmt.Fprintf(out, "; to mend it, %s", p.Fix)
		}
		fmt.Fprintln(out)
	}
	if dump {
		for _, snap := range s.snaps {
			if err := snap.Dump(out); err != nil {
				return err
			}
		}
	}
	n := map[routing.Level]int{}
	for _, p := range s.problems {
		n[p.Level]++
	}
	if len(s.problems) == 0 {
		_, err := fmt.Fprintln(out, "no problems")
		return err
	}
	_, err := fmt.Fprintf(out, "%d errors, %d warnings, %d remarks\n", n[routing.Error], n[routing.Warning], n[routing.Info])
	return err
}
