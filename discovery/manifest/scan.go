package manifest

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// A stamp tells whether a file may have changed. The time of the inode's
// change is in it too, as a permission that was mended changes nothing else.
type stamp struct {
	dev, ino         uint64
	size             int64
	modified, change syscall.Timespec
}

func stampOf(info fs.FileInfo) stamp {
	s := info.Sys().(*syscall.Stat_t)
	return stamp{s.Dev, s.Ino, info.Size(), s.Mtim, s.Ctim}
}

// A sighting is a manifest that was seen, or one that cannot be.
type sighting struct {
	path  string
	stamp stamp
	err   error
}

// A survey walks all paths of a Folder.
type survey struct {
	found  []sighting
	astray map[string]*fault // paths asked for that are missing, directories that cannot be read

	watcher *watcher           // hears where there is something to watch; may be nil
	seen    map[[2]uint64]bool // files and directories, by device and inode
}

func (s *survey) walk(paths []string) {
	s.astray, s.seen = map[string]*fault{}, map[[2]uint64]bool{}
	for _, p := range paths {
		p = filepath.Clean(p)
		s.watcher.follow(p)
		info, err := os.Stat(p)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			s.astray[p] = &fault{reason: PathMissing, err: errors.New("there is no such file or directory; what was known of it stays")}
		case err != nil:
			s.astray[p] = &fault{reason: Unreadable, err: pathError(err)}
		case info.IsDir():
			s.directory(p, info)
		case info.Mode().IsRegular():
			s.file(p, info)
		default:
			s.astray[p] = &fault{reason: Unreadable, err: errors.New(info.Mode().Type().String() + ": want a file or a directory")}
		}
	}
}

func (s *survey) directory(path string, info fs.FileInfo) {
	if !s.first(info) {
		return // and so no link leads round in a circle
	}
	s.watcher.enter(path) // first: what happens from now on is not missed
	entries, err := os.ReadDir(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.astray[path] = &fault{reason: Unreadable, err: pathError(err)}
	}
	for _, e := range entries {
		if hidden(e.Name()) {
			continue // "..data" of a ConfigMap mount too: links lead there
		}
		s.entry(filepath.Join(path, e.Name()), e)
	}
}

func (s *survey) entry(path string, e fs.DirEntry) {
	link := e.Type()&fs.ModeSymlink != 0
	if !link && !e.IsDir() && !isManifest(path) {
		return
	}
	info, err := os.Stat(path)
	switch {
	case err != nil && !link && errors.Is(err, fs.ErrNotExist):
		return // deleted since the directory was read
	case err != nil:
		if isManifest(path) {
			s.found = append(s.found, sighting{path: path, err: pathError(err)})
		}
		return
	}
	if link {
		s.watcher.follow(path)
	}
	switch {
	case info.IsDir():
		s.directory(path, info)
	case info.Mode().IsRegular() && isManifest(path):
		s.file(path, info)
	}
}

func (s *survey) file(path string, info fs.FileInfo) {
	if s.first(info) {
		s.found = append(s.found, sighting{path: path, stamp: stampOf(info)})
	}
}

func (s *survey) first(info fs.FileInfo) bool {
	st := stampOf(info)
	id := [2]uint64{st.dev, st.ino}
	if s.seen[id] {
		return false
	}
	s.seen[id] = true
	return true
}

// lost reports whether path is, or is below, one that went astray: then
// nobody knows whether it is gone.
func (s *survey) lost(path string) bool {
	for p := range s.astray {
		if rest, ok := strings.CutPrefix(path, p); ok && (rest == "" || rest[0] == filepath.Separator || p == "/") {
			return true
		}
		if p == "." {
			return true
		}
	}
	return false
}

func hidden(name string) bool { return name[0] == '.' }

func isManifest(path string) bool {
	switch filepath.Ext(path) {
	case ".yaml", ".yml", ".json":
		return true
	}
	return false
}

// pathError returns err without the operation and the path, which the Problem
// has already.
func pathError(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}
