// Package manifest builds the World from files: a folder of manifests, as
// "kubectl apply -R -f" would take it, is what there is.
//
// A [Folder] reads YAML and JSON, and does to each object what the API server
// does with "kubectl apply": fields that it does not know refuse the object,
// what it would default is defaulted, and what its validation would refuse,
// the rules of Gateway API's definitions among it, is refused. It supplies
// what a cluster has anyway: the GatewayClass "fairway", as our chart installs
// it, and a Namespace for every object's.
//
// The one law: what cannot be used changes nothing. A file that does not
// parse, cannot be read or was emptied keeps its last good version; an object
// that is refused keeps its own, and the rest of its file goes on; a path that
// was asked for and disappears keeps all that was below it. Each is a Problem
// until it is mended. To take an object out, one deletes its file or its text:
// a file that holds only comments has no objects, and one of 0 bytes is an
// accident.
//
// Files are read when their writers have closed them: [Folder.Watch] hears of
// that from inotify, so that nothing half written is ever believed.
package manifest

import (
	"context"
	"log/slog"
	"slices"
	"strings"

	"fairway.dev/discovery"
	"fairway.dev/routing"
)

// A Folder is files and directories of manifests, and the World that they
// make. One goroutine owns it: that which calls Load and then Watch.
type Folder struct {
	// Paths are files and directories; a directory counts with all below it,
	// but for names that begin with a dot and files that are not named .yaml,
	// .yml or .json. A file that is reached twice is read once.
	Paths []string

	// Log hears of Problems that come and of Problems that go. If nil,
	// nobody does.
	Log *slog.Logger

	// MaxFileSize is the size in bytes over which a file is refused unread.
	// If zero, 16 MiB.
	MaxFileSize int64

	world    discovery.World
	files    map[string]*file
	astray   map[string]*fault // paths that cannot be walked
	claims   map[routing.ObjectKey][]claim
	disputed map[routing.ObjectKey]bool // keys of several claims
	faulty   map[*file]bool
	peopled  map[string]int // objects in each namespace
	problems []*routing.Problem
	last     *asked

	notifier func() (*notifier, error) // if nil, newNotifier; tests take it away
}

// A Change is what a load or an edit did.
type Change struct {
	// Keys are the objects that are new, different or gone, by kind,
	// namespace and name.
	Keys []routing.ObjectKey
	// Problems are all that stand now, by file and line, whether this change
	// brought them or not.
	Problems []*routing.Problem
}

func (f *Folder) maxFileSize() int64 {
	if f.MaxFileSize == 0 {
		return 16 << 20
	}
	return f.MaxFileSize
}

func (f *Folder) log() *slog.Logger {
	if f.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return f.Log
}

// World returns what there is. It is read on the owner's goroutine only.
func (f *Folder) World() *discovery.World { return &f.world }

// Load reads everything. It never fails as a whole: what cannot be used is in
// the Change's Problems. Each Problem's Origin names the file and the line,
// and the object where there is one; else its kind is "File".
func (f *Folder) Load() Change {
	f.files = map[string]*file{}
	f.claims = map[routing.ObjectKey][]claim{}
	f.disputed = map[routing.ObjectKey]bool{}
	f.faulty = map[*file]bool{}
	f.peopled = map[string]int{"default": 1} // which is always there
	touched := f.lookAtAll(nil)
	touched = append(append(touched, classKeys...), namespaceKey("default"))
	c, _ := f.settle(touched)
	f.reportOthers()
	return c
}

// settle brings the World and the Problems up to date with the claims to the
// touched keys, and reports whether anything changed.
func (f *Folder) settle(touched []routing.ObjectKey) (Change, bool) {
	f.last = nil
	keys := f.award(touched)
	problems := f.gatherProblems()
	came, mended := newProblems(f.problems, problems), newProblems(problems, f.problems)
	f.problems = problems
	for _, p := range came {
		f.log().Warn("manifest not in force", "origin", strings.TrimSpace(p.Origin.Place()+" "+p.Origin.String()), "reason", p.Reason, "err", p.Err)
	}
	for _, p := range mended {
		f.log().Info("manifest problem gone", "origin", p.Origin.String(), "reason", p.Reason)
	}
	return Change{Keys: keys, Problems: problems}, len(keys)+len(came)+len(mended) > 0
}

// reportOthers says once what is in the folder for others to apply.
func (f *Folder) reportOthers() {
	var kinds []string
	for _, fi := range f.files {
		for _, p := range fi.parts {
			kinds = append(kinds, p.doc.others...)
		}
	}
	if len(kinds) > 0 {
		slices.Sort(kinds)
		f.log().Info("objects of other kinds left alone", "origin", strings.Join(slices.Compact(kinds), ", "))
	}
}

// Place returns the file and the line of a field such as
// "spec.rules[2].matches[0]", or of the closest one around it that the file
// has; an empty field is the object itself. The file is "" where the object
// comes from no file. It reads the file again: it is for Problems and people.
func (f *Folder) Place(k routing.ObjectKey, field string) (file string, line int) {
	claims := f.claims[k]
	if len(claims) == 0 {
		return "", 0
	}
	return f.placeIn(claims[0], field)
}

// Watch keeps the World as the files are, until ctx is done. After each change
// of objects or Problems it calls changed, on the caller's goroutine: the
// World stands still meanwhile. It begins with what has changed since Load.
func (f *Folder) Watch(ctx context.Context, changed func(Change)) {
	if err := f.follow(ctx, changed); err != nil {
		f.log().Warn("files cannot be watched, and are looked at every 2 s", "err", err)
		f.poll(ctx, changed)
	}
}
