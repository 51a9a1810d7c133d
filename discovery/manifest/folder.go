// Package manifest builds the World from files: a folder of manifests, as
// "kubectl apply -R -f" would take it, is what there is.
package manifest

import (
	"context"
	"log/slog"

	"fairway.dev/discovery"
	"fairway.dev/routing"
)

// A Folder is files and directories of manifests, and the World that they
// make. One goroutine owns it: that which calls Load and then Watch.
type Folder struct {
	// Paths are files and directories; a directory counts with all below it.
	Paths []string

	// Log takes what happens to the files. If nil, nobody is told.
	Log *slog.Logger

	// MaxFileSize is the size in bytes over which a file is refused unread.
	// If zero, 16 MiB.
	MaxFileSize int64

	world discovery.World
}

// A Change is what a load or an edit did.
type Change struct {
	// Keys are the objects that are new, different or gone, in order.
	Keys []routing.ObjectKey
	// Problems are all that stand now, by file and line, whether this change
	// brought them or not.
	Problems []*routing.Problem
}

// World returns what there is. It is read on the owner's goroutine only.
func (f *Folder) World() *discovery.World { return &f.world }

// Load reads everything. It never fails as a whole: what cannot be used is in
// the Change's Problems.
func (f *Folder) Load() Change { return Change{} }

// Watch keeps the World as the files are, until ctx is done. After each
// change it calls changed, on the caller's goroutine: the World stands still
// meanwhile.
func (f *Folder) Watch(ctx context.Context, changed func(Change)) {}

// Place returns the file and the line of a field such as
// "spec.rules[2].matches[0]", or of the closest one around it that the file
// has; an empty field is the object itself. The file is "" where the object
// comes from no file. It reads the file again: it is for Problems and people.
func (f *Folder) Place(k routing.ObjectKey, field string) (file string, line int) { return "", 0 }
