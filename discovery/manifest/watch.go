package manifest

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A watcher follows the files of a Folder.
type watcher struct {
	folder   *Folder
	notifier *notifier
	watches  map[int32]*watch
	outdated map[int32]*watch // those of the survey before, during a survey
	followed map[string]bool  // paths that follow has been at, during a survey
	pending  pending
	err      error // why not all can be watched
}

// A watch says what a directory means to the Folder.
type watch struct {
	walked string              // the path by which it was walked, where all manifests in it matter
	names  map[string][]string // names in it that matter, and the paths to which they do
}

// follow is Watch with inotify. It returns an error if that cannot be had.
func (f *Folder) follow(ctx context.Context, changed func(Change)) error {
	open := f.notifier
	if open == nil {
		open = newNotifier
	}
	n, err := open()
	if err != nil {
		return err
	}
	w := &watcher{folder: f, notifier: n}
	ctx, stop := context.WithCancel(ctx)
	events, listening := make(chan []event), make(chan struct{})
	go func() {
		defer close(listening)
		n.listen(ctx, events)
	}()
	err = w.loop(ctx, events, changed)
	stop()
	n.close()
	<-listening
	return err
}

// loop looks at what events tell of, until ctx is done or a directory cannot
// be watched.
func (w *watcher) loop(ctx context.Context, events <-chan []event, changed func(Change)) error {
	w.pending.everything(time.Time{}) // what has changed since Load
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case list := <-events:
			now := time.Now()
			for _, e := range list {
				w.note(e, now)
			}
		case <-timer.C:
			if c, ok := w.look(time.Now()); ok {
				changed(c)
			}
			if w.err != nil {
				return w.err
			}
		}
		if at, ok := w.pending.due(); ok {
			timer.Reset(time.Until(at))
		}
	}
}

// note decides what an event means.
func (w *watcher) note(e event, now time.Time) {
	at := w.watches[e.watch]
	switch {
	case e.mask&unix.IN_Q_OVERFLOW != 0:
		w.pending.everything(now) // events were lost
	case at == nil || e.mask&unix.IN_IGNORED != 0:
		// Of a watch that has ended.
	case e.name == "":
		w.pending.everything(now) // the directory itself moved, or is gone
	default:
		for _, path := range at.names[e.name] {
			if path == "" {
				w.pending.everything(now)
			} else {
				w.noteFile(path, e.mask, now)
			}
		}
		if at.walked != "" {
			w.noteWalked(at, e, now)
		}
	}
}

// noteWalked decides what an event in a directory of manifests means.
func (w *watcher) noteWalked(at *watch, e event, now time.Time) {
	path := filepath.Join(at.walked, e.name)
	switch {
	case strings.HasPrefix(e.name, ".."):
		w.pending.everything(now) // "..data" of a ConfigMap mount: links lead through it
	case hidden(e.name):
	case e.mask&unix.IN_ISDIR != 0:
		w.pending.everything(now)
	case isManifest(e.name):
		w.noteFile(path, e.mask, now)
	case e.mask&(unix.IN_CREATE|unix.IN_MOVED_TO) != 0 && isLink(path):
		w.pending.everything(now) // perhaps to a directory
	}
}

// noteFile decides what an event means to a path of the Folder.
func (w *watcher) noteFile(path string, mask uint32, now time.Time) {
	switch {
	case mask&unix.IN_MODIFY != 0:
		w.pending.written(path, now)
	case mask&unix.IN_CREATE != 0 && isOpened(path):
		w.pending.written(path, now)
	case mask&unix.IN_ATTRIB != 0 && w.busy(path):
		// It will be closed.
	default:
		w.pending.changed(path, now)
	}
}

// isOpened reports whether a new name is of a file that somebody has made to
// write to it. A link is there as a whole at once, and nobody closes it.
func isOpened(path string) bool {
	info, err := os.Lstat(path)
	return err == nil && info.Mode().IsRegular() && info.Sys().(*syscall.Stat_t).Nlink == 1
}

func isLink(path string) bool {
	info, err := os.Lstat(path)
	return err == nil && info.Mode()&fs.ModeSymlink != 0
}

// busy reports whether a file is being written.
func (w *watcher) busy(path string) bool {
	if w == nil {
		return false
	}
	_, ok := w.pending.writing[path]
	return ok
}

// look reads what is due.
func (w *watcher) look(now time.Time) (Change, bool) {
	paths, all := w.pending.take(now)
	if len(paths) == 0 && !all {
		return Change{}, false
	}
	r := reader{folder: w.folder}
	if seen, gone, certain := w.sight(paths); certain && !all {
		for _, s := range seen {
			r.see(s)
		}
		for _, path := range gone {
			r.forget(path)
		}
		return w.folder.settle(r.finish())
	}
	return w.folder.settle(w.folder.lookAtAll(w))
}

// sight looks which of the paths are there. It is not certain where one of
// them means more than a file's new text: a link, a directory, a path that was
// asked for.
func (w *watcher) sight(paths []string) (seen []sighting, gone []string, certain bool) {
	slices.Sort(paths)
	for _, path := range paths {
		known := w.folder.files[path] != nil
		info, err := os.Lstat(path)
		switch {
		case errors.Is(err, fs.ErrNotExist) && known && !w.folder.asksFor(path):
			gone = append(gone, path)
		case err != nil || !info.Mode().IsRegular() || info.Sys().(*syscall.Stat_t).Nlink > 1:
			return nil, nil, false
		case w.folder.astray[path] != nil:
			return nil, nil, false // it was missing
		default:
			seen = append(seen, sighting{path: path, stamp: stampOf(info)})
		}
	}
	return seen, gone, true
}

func (f *Folder) asksFor(path string) bool {
	return slices.ContainsFunc(f.Paths, func(p string) bool { return filepath.Clean(p) == path })
}

// begin and end stand around a survey, which renews all watches.
func (w *watcher) begin() {
	if w != nil {
		w.outdated, w.watches, w.followed = w.watches, map[int32]*watch{}, map[string]bool{}
	}
}

func (w *watcher) end() {
	if w == nil {
		return
	}
	for id := range w.outdated {
		if w.watches[id] == nil {
			w.notifier.remove(id)
		}
	}
	w.outdated, w.followed = nil, nil
}

// enter watches a directory of manifests.
func (w *watcher) enter(dir string) {
	if w == nil {
		return
	}
	if at := w.add(dir, written|moved); at != nil {
		at.walked = dir
	}
}

// follow watches for a path to change into something else: itself, what it
// links to, and all directories and links on the way there.
func (w *watcher) follow(path string) {
	if w != nil {
		w.followTo(path, path)
	}
}

func (w *watcher) followTo(at, path string) {
	if watch := w.add(filepath.Dir(at), written|moved); watch != nil {
		watch.means(filepath.Base(at), path)
	}
	for p := at; !w.followed[p]; p = filepath.Dir(p) {
		w.followed[p] = true
		if watch := w.add(filepath.Dir(p), moved); watch != nil && p != at {
			watch.means(filepath.Base(p), "")
		}
		if target, err := os.Readlink(p); err == nil {
			if !filepath.IsAbs(target) {
				target = filepath.Join(filepath.Dir(p), target)
			}
			w.followTo(target, path)
		}
	}
}

// means says that what happens to a name happens to path, or may change
// anything if path is empty.
func (at *watch) means(name, path string) {
	if !slices.Contains(at.names[name], path) {
		at.names[name] = append(at.names[name], path)
	}
}

// add watches a directory for some events; nil where that cannot be.
func (w *watcher) add(dir string, events uint32) *watch {
	id, err := w.notifier.add(dir, events)
	if err != nil {
		if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.ENOMEM) {
			w.err = cmp.Or(w.err, err)
		}
		return nil // gone or unreadable: the survey finds that too
	}
	at := w.watches[id]
	if at == nil {
		at = &watch{names: map[string][]string{}}
		w.watches[id] = at
	}
	return at
}

// poll is Watch without inotify. It cannot tell that a file is being written,
// only that it is empty or does not parse yet.
func (f *Folder) poll(ctx context.Context, changed func(Change)) {
	const every = 2 * time.Second
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		if c, ok := f.settle(f.lookAtAll(nil)); ok {
			changed(c)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}
