package main

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"runtime/debug"
	"slices"
	"strings"

	"fairway.dev/discovery/manifest"
	"fairway.dev/gateway/server"
	"fairway.dev/routing"
	"fairway.dev/routing/gatewayapi"
	"fairway.dev/routing/istio"
	"fairway.dev/tlsmgr/identity"
)

// A config is a folder of manifests on its way to the data plane: files, then
// objects, then parts of a Spec. One goroutine owns it.
type config struct {
	folder     *manifest.Folder
	translator *gatewayapi.Translator
	reports    map[routing.ObjectKey]gatewayapi.Report
	troubled   map[routing.ObjectKey]bool // those of reports that have Problems
	unread     []*routing.Problem         // files of the folder that are not
	// places remembers where Problems stand: finding out reads a file. A
	// Problem that stays keeps its line, though the file may have grown above it.
	places map[*routing.Problem]*routing.Problem
	// exact is for how many Problems at once the line of their field is found
	// out; others have that of their object. 0 means all.
	exact int
	only  *only           // nil: all Gateways are served
	files *identity.Files // of who the gateway is in the mesh; nil: nobody
}

func newConfig(paths []string, o gatewayapi.Options, log *slog.Logger) *config {
	c := &config{
		folder:   &manifest.Folder{Paths: paths, Log: log},
		reports:  map[routing.ObjectKey]gatewayapi.Report{},
		troubled: map[routing.ObjectKey]bool{},
	}
	o.DefaultClass = "fairway"
	c.translator = gatewayapi.New(c.folder.World(), o)
	// A folder has no pods to select; where each Gateway has its process, those of
	// Gateway API stand for them.
	istio.Join(c.translator, istio.Options{AnySelector: !o.Isolated})
	return c
}

// run serves the folder, and its changes until ctx ends.
func (c *config) run(ctx context.Context, g *gateway) {
	put := func(ch manifest.Change) { g.apply(change{c.apply(ch), summary(ch.Keys)}) }
	put(c.folder.Load())
	debug.FreeOSMemory() // what reading manifests took, and the schemas for them, is not needed again
	c.folder.Watch(ctx, put)
}

func (c *config) logged() []*routing.Problem { return c.unread }

// mesh is who the gateway is by the files that it was given.
func (c *config) mesh() *server.Mesh {
	if c.files == nil {
		return nil
	}
	return &server.Mesh{Own: c.files.Certificate, Roots: c.files.Bundle}
}

// stand does nothing: nobody but the gateway asks a folder for its Problems.
func (c *config) stand([]*routing.Problem) {}

// apply takes what changed in the folder and returns what changes in the Spec.
func (c *config) apply(change manifest.Change) *routing.Delta {
	c.unread = change.Problems
	delta, reports := c.translator.Update(change.Keys)
	for _, r := range reports {
		delete(c.reports, r.Object)
		delete(c.troubled, r.Object)
		if !r.Gone {
			c.reports[r.Object] = r
		}
		if len(r.Problems) > 0 {
			c.troubled[r.Object] = true
		}
	}
	if c.only != nil {
		delta = c.only.of(delta)
	}
	return delta
}

// problems returns all that stand: of files, of translation, and those of
// compiling, each with the place in a file that its author has to look at.
func (c *config) problems(compiled []*routing.Problem) []*routing.Problem {
	var all []*routing.Problem
	all = append(all, c.unread...)
	for _, key := range slices.SortedFunc(maps.Keys(c.troubled), compareKeys) {
		all = append(all, c.reports[key].Problems...)
	}
	all = append(all, compiled...)
	places := make(map[*routing.Problem]*routing.Problem, len(all))
	seen := map[string]bool{}
	kept := all[:0]
	found := 0
	for _, p := range all {
		placed := c.places[p]
		if placed == nil {
			placed = c.placed(p, c.exact == 0 || found < c.exact)
			found++
		}
		places[p] = placed
		// Translation and compiling may find the same thing.
		if text := string(p.Reason) + placed.Origin.String() + placed.Origin.Place(); !seen[text] {
			seen[text] = true
			kept = append(kept, placed)
		}
	}
	c.places = places
	return kept
}

// placed returns p with its file and line: that of its field, or of its object.
func (c *config) placed(p *routing.Problem, exact bool) *routing.Problem {
	o := p.Origin
	if o.File != "" || o.Name == "" {
		return p
	}
	field := ""
	if exact {
		field = o.Field
	}
	o.File, o.Line = c.folder.Place(routing.ObjectKey{Kind: o.Kind, Namespace: o.Namespace, Name: o.Name}, field)
	return &routing.Problem{Origin: o, Reason: p.Reason, Err: p.Err, Level: p.Level, Fix: p.Fix}
}

// summary names what changed, in few words where it is much.
func summary(keys []routing.ObjectKey) string {
	names := make([]string, len(keys))
	for i, k := range keys {
		names[i] = k.String()
	}
	return listed(names)
}

// listed returns names as a text, and how many more there are.
func listed(names []string) string {
	const most = 5
	text := strings.Join(names[:min(len(names), most)], ", ")
	if more := len(names) - most; more > 0 {
		text += fmt.Sprintf(", and %d more", more)
	}
	return text
}

func compareKeys(a, b routing.ObjectKey) int {
	return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
}
