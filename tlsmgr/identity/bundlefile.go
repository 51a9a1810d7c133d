package identity

import (
	"log/slog"
	"os"
	"sync"
)

// A BundleFile is a Bundle that lives in a file, which may be replaced at any
// time: a mounted ConfigMap. Its Bundle is [Roots].
type BundleFile struct {
	path string
	log  *slog.Logger

	mu     sync.Mutex
	read   os.FileInfo
	failed string // what was last wrong with it, which is logged once
	bundle *Bundle
}

// NewBundleFile returns the Bundle of a PEM file, which is read when it is
// asked for.
func NewBundleFile(path string, log *slog.Logger) *BundleFile {
	return &BundleFile{path: path, log: log}
}

// Bundle returns what the file has now. While it cannot be read or used, that
// is what it had before; nil if it never had anything.
func (f *BundleFile) Bundle() *Bundle {
	f.mu.Lock()
	defer f.mu.Unlock()
	info, err := os.Stat(f.path)
	if err != nil {
		f.keep(nil, err)
		return f.bundle
	}
	if f.read != nil && os.SameFile(info, f.read) && info.ModTime().Equal(f.read.ModTime()) && info.Size() == f.read.Size() {
		return f.bundle
	}
	text, err := os.ReadFile(f.path)
	if err != nil {
		f.keep(nil, err)
		return f.bundle
	}
	bundle, err := ParseBundle(text)
	if err != nil {
		f.keep(info, err)
		return f.bundle
	}
	f.read, f.failed, f.bundle = info, "", bundle
	f.log.Info("root bundle read", "roots", len(bundle.roots))
	return bundle
}

// keep leaves the bundle as it was; info is that of a file not to be read again.
func (f *BundleFile) keep(info os.FileInfo, err error) {
	f.read = info
	if err.Error() == f.failed {
		return // each handshake asks
	}
	f.failed = err.Error()
	f.log.Warn("root bundle not usable, the one before stays", "err", err)
}
