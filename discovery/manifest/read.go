package manifest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"fairway.dev/routing"
)

// batch is how many bytes of documents are decoded at once: it bounds the
// memory of a large folder's first load.
const batch = 8 << 20

// A version is a file as it is now, until it is decided whether that counts.
type version struct {
	file  *file
	text  []byte
	parts []filed
	fresh []int       // the parts that the last version does not have
	errs  []error     // of those that do not parse
	gone  []*document // of the last version
}

// A reader takes what was seen of files into the Folder. It collects the keys
// that are touched by it.
type reader struct {
	folder  *Folder
	pending []version
	bytes   int
	touched []routing.ObjectKey
}

// lookAtAll surveys all paths and reads what is new, and returns the keys that
// are touched by it. If w is not nil, it watches from then on what the survey
// has seen, and files that it knows to be half written are left alone.
func (f *Folder) lookAtAll(w *watcher) []routing.ObjectKey {
	s := survey{watcher: w}
	w.begin()
	s.walk(f.Paths)
	w.end()
	f.astray = s.astray
	r := reader{folder: f}
	there := map[string]bool{}
	for _, seen := range s.found {
		there[seen.path] = true
		if !w.busy(seen.path) {
			r.see(seen)
		}
	}
	for path := range f.files {
		if !there[path] && !s.lost(path) {
			r.forget(path)
		}
	}
	return r.finish()
}

// see reads a file if it may have changed.
func (r *reader) see(s sighting) {
	fi := r.folder.files[s.path]
	switch {
	case fi == nil:
		fi = &file{path: s.path}
		r.folder.files[s.path] = fi
	case s.err == nil && fi.stamp == s.stamp:
		return
	}
	fi.stamp, fi.lost = s.stamp, nil
	switch limit := r.folder.maxFileSize(); {
	case s.err != nil:
		fi.lost = &fault{reason: Unreadable, err: s.err}
	case s.stamp.size > limit:
		fi.lost = tooLarge(s.stamp.size, limit)
	default:
		text, err := readFile(s.path, limit)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			r.forget(s.path)
			return
		case err != nil:
			fi.lost = &fault{reason: Unreadable, err: pathError(err)}
			fi.stamp = stamp{} // to try again
		case int64(len(text)) > limit:
			fi.lost = tooLarge(int64(len(text)), limit)
		default:
			r.consider(fi, text)
		}
	}
	r.mark(fi)
}

func tooLarge(size, limit int64) *fault {
	return &fault{reason: FileTooLarge, err: fmt.Errorf("%d bytes: want at most %d", size, limit)}
}

// readFile reads a file, and no more than one byte over the limit of it.
func readFile(path string, limit int64) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	var text bytes.Buffer
	if info, err := file.Stat(); err == nil {
		text.Grow(int(min(info.Size(), limit)) + bytes.MinRead)
	}
	_, err = io.Copy(&text, io.LimitReader(file, limit+1))
	return text.Bytes(), err
}

// consider compares a file's text with its last version, and queues what is to
// be decoded.
func (r *reader) consider(fi *file, text []byte) {
	sum := sumOfText(text)
	if sum == fi.sum {
		return
	}
	fi.sum = sum
	if len(bytes.TrimSpace(text)) == 0 && fi.hasObjects() {
		fi.bad = &fault{reason: FileEmpty, err: errors.New("the file is empty: want comments at least, if it is to have no objects")}
		return
	}
	v := version{file: fi, text: text}
	parts := split(text)
	if len(parts) > maxObjects {
		fi.bad = &fault{reason: TooComplex, err: fmt.Errorf("%w: %d documents: want at most %d", errTooComplex, len(parts), maxObjects)}
		return
	}
	for _, p := range parts {
		v.parts = append(v.parts, filed{part: p, sum: sumOfText(p.of(text))})
	}
	v.recognise()
	r.pending = append(r.pending, v)
	for _, i := range v.fresh {
		r.bytes += v.parts[i].length
	}
	if r.bytes >= batch {
		r.decode()
	}
}

// recognise finds the documents of the last version in this one. Most are at
// the place where they were, counted from the start or from the end.
func (v *version) recognise() {
	was := v.file.parts
	from, end := 0, len(v.parts)
	for from < end && from < len(was) && v.parts[from].sum == was[from].sum {
		v.parts[from].doc = was[from].doc
		from++
	}
	for end > from && len(was) > from && v.parts[end-1].sum == was[len(was)-1].sum {
		v.parts[end-1].doc = was[len(was)-1].doc
		was = was[:len(was)-1]
		end--
	}
	left := map[uint64][]*document{}
	for _, p := range was[from:] {
		left[p.sum] = append(left[p.sum], p.doc)
	}
	for i := from; i < end; i++ {
		p := &v.parts[i]
		if same := left[p.sum]; len(same) > 0 {
			p.doc, left[p.sum] = same[0], same[1:]
		} else {
			v.fresh = append(v.fresh, i)
		}
	}
	for _, p := range was[from:] {
		if rest := left[p.sum]; len(rest) > 0 && rest[0] == p.doc {
			v.gone, left[p.sum] = append(v.gone, p.doc), rest[1:]
		}
	}
}

// known returns where to find the objects of documents that are gone.
func (v *version) known() func(uint64) *entry {
	entries := map[uint64]*entry{}
	for _, d := range v.gone {
		for _, e := range d.entries {
			entries[e.sum] = e
		}
	}
	return func(sum uint64) *entry { return entries[sum] }
}

// decode decodes what is queued, on all cores, and puts it in force.
func (r *reader) decode() {
	type job struct {
		v     *version
		i     int
		known func(uint64) *entry
	}
	var jobs []job
	for n := range r.pending {
		v := &r.pending[n]
		known := v.known()
		v.errs = make([]error, len(v.parts))
		for _, i := range v.fresh {
			jobs = append(jobs, job{v, i, known})
		}
	}
	parallel(len(jobs), func(n int) {
		j := jobs[n]
		p := &j.v.parts[j.i]
		p.doc, j.v.errs[j.i] = decode(p.of(j.v.text), j.known)
	})
	for i := range r.pending {
		r.install(&r.pending[i])
	}
	r.pending, r.bytes = nil, 0
}

// parallel calls f with 0 to n-1, on all cores, and returns when all is done.
func parallel(n int, f func(int)) {
	var next atomic.Int64
	var workers sync.WaitGroup
	for range min(n, runtime.GOMAXPROCS(0)) {
		workers.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				f(i)
			}
		})
	}
	workers.Wait()
}

// install puts a version in the place of the last one, unless a part of it
// does not parse.
func (r *reader) install(v *version) {
	fi := v.file
	defer r.mark(fi)
	fi.bad = nil
	for i, err := range v.errs {
		if err != nil {
			fi.bad = syntaxFault(err)
			fi.bad.line += v.parts[i].line
			return
		}
	}
	before := fi.parts
	fi.parts = v.parts
	v.keep(before)
	fi.number()
	for _, d := range v.gone {
		r.touched = append(r.touched, r.folder.retract(d)...)
	}
	for _, i := range v.fresh {
		r.touched = append(r.touched, r.folder.claim(fi, v.parts[i].doc)...)
	}
}

// keep gives new documents the last good versions of what is refused in them.
// An object that does not even say which it is, stands for what was in the
// same place before.
func (v *version) keep(before []filed) {
	good, named := map[routing.ObjectKey]*entry{}, map[routing.ObjectKey]bool{}
	for _, d := range v.gone {
		for e := range d.objects() {
			good[e.key] = e
		}
	}
	if len(good) == 0 {
		return
	}
	for _, i := range v.fresh {
		for _, e := range v.parts[i].doc.entries {
			named[e.key] = true
		}
	}
	for _, i := range v.fresh {
		d := v.parts[i].doc
		for _, e := range d.entries {
			if old := good[e.key]; old != nil && e.object == nil {
				d.kept = append(d.kept, old.asKept(e))
			}
			if !e.isNameless() || len(before) != len(v.parts) {
				continue
			}
			for old := range before[i].doc.objects() {
				if good[old.key] == old && !named[old.key] {
					d.kept = append(d.kept, old.asKept(e))
				}
			}
		}
	}
}

// isNameless reports whether an entry is refused and names no object that the
// World could hold.
func (e *entry) isNameless() bool {
	unknown := func(f fault) bool { return f.reason == UnknownKind }
	return e.object == nil && (e.key.Name == "" || slices.ContainsFunc(e.faults, unknown))
}

// asKept returns the entry that keeps e where now is refused.
func (e *entry) asKept(now *entry) *entry {
	return &entry{key: e.key, item: now.item, line: now.line, object: e.object}
}

// forget takes a file out with all that it says.
func (r *reader) forget(path string) {
	fi := r.folder.files[path]
	if fi == nil {
		return
	}
	delete(r.folder.files, path)
	delete(r.folder.faulty, fi)
	for _, p := range fi.parts {
		r.touched = append(r.touched, r.folder.retract(p.doc)...)
	}
}

// mark notes whether there is anything to say of the file.
func (r *reader) mark(fi *file) {
	if fi.isFaulty() {
		r.folder.faulty[fi] = true
	} else {
		delete(r.folder.faulty, fi)
	}
}

// finish decodes the rest and returns the touched keys.
func (r *reader) finish() []routing.ObjectKey {
	r.decode()
	for k := range r.folder.disputed {
		r.touched = append(r.touched, k) // documents may have changed places in a file
	}
	return r.touched
}
