package manifest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"
)

// A seen is what the owner of a Folder saw at a Change.
type seen struct{ ports, keys, problems string }

// watching runs Watch until the test ends, and returns how to wait for the
// next Change. When it returns, all is watched.
func watching(t *testing.T, f *Folder) (next func() seen) {
	t.Helper()
	probe := t.TempDir()
	f.Paths = append(slices.Clip(f.Paths), probe)
	const longest = 10 * time.Second // for what takes some 10 ms: the test has hung
	ctx, stop := context.WithCancel(t.Context())
	changes, done := make(chan seen), make(chan struct{})
	go func() {
		defer close(done)
		f.Watch(ctx, func(c Change) {
			select {
			case changes <- seen{ports(f), fmt.Sprint(c.Keys), reasons(c.Problems, filepath.Clean(f.Paths[0]))}:
			case <-ctx.Done():
			}
		})
	}()
	t.Cleanup(func() {
		stop()
		<-done
	})
	next = func() seen {
		t.Helper()
		select {
		case s := <-changes:
			return s
		case <-time.After(longest):
			t.Fatal("no change")
			return seen{}
		}
	}
	write(t, filepath.Join(probe, "probe.yaml"), "{apiVersion: v1, kind: ConfigMap, metadata: {name: probe}}")
	next()
	return next
}

// until waits for the Services to be as wanted.
func until(t *testing.T, next func() seen, want string) {
	t.Helper()
	var got []string
	for {
		s := next()
		got = append(got, s.ports)
		if s.ports == want {
			return
		}
		if len(got) > 10 {
			t.Fatalf("in force one after another %q, want %q", got, want)
		}
	}
}

func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

func TestWatch(t *testing.T) {
	f, dir := folderOf(t, map[string]string{"a.yaml": serviceText("shop", "a", 1)})
	outside := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	out := func(name string) string { return filepath.Join(outside, name) }
	next := watching(t, f)
	steps := []struct {
		name string
		do   func()
		want string
	}{
		{"written in place", func() { write(t, in("a.yaml"), serviceText("shop", "a", 2)) }, "shop/a:2"},
		{"renamed over, as editors save", func() {
			write(t, in("a.yaml.tmp"), serviceText("shop", "a", 3))
			must(t, os.Rename(in("a.yaml.tmp"), in("a.yaml")))
		}, "shop/a:3"},
		{"a new file", func() {
			write(t, in("b.json"), `{"apiVersion":"v1","kind":"Service","metadata":{"name":"b"},"spec":{"ports":[{"port":1}]}}`)
		}, "default/b:1 shop/a:3"},
		{"deleted", func() { must(t, os.Remove(in("b.json"))) }, "shop/a:3"},
		{"new directories", func() {
			must(t, os.MkdirAll(in("x/y"), 0o755))
			write(t, in("x/y/c.yaml"), serviceText("shop", "c", 1))
		}, "shop/a:3 shop/c:1"},
		{"in a new directory", func() { write(t, in("x/y/c.yaml"), serviceText("shop", "c", 2)) }, "shop/a:3 shop/c:2"},
		{"a directory renamed", func() { must(t, os.Rename(in("x"), in("z"))) }, ""}, // no change: the same objects
		{"in a renamed directory", func() { write(t, in("z/y/c.yaml"), serviceText("shop", "c", 3)) }, "shop/a:3 shop/c:3"},
		{"a directory moved out", func() { must(t, os.Rename(in("z"), out("z"))) }, "shop/a:3"},
		{"a directory moved in", func() { must(t, os.Rename(out("z"), in("z"))) }, "shop/a:3 shop/c:3"},
		{"a directory deleted", func() { must(t, os.RemoveAll(in("z"))) }, "shop/a:3"},
		{"a hard link, published at once", func() {
			write(t, out("d"), serviceText("shop", "d", 1))
			must(t, os.Link(out("d"), in("d.yaml")))
		}, "shop/a:3 shop/d:1"},
		{"written through the other link", func() { write(t, in("d.yaml"), serviceText("shop", "d", 2)) }, "shop/a:3 shop/d:2"},
		{"replaced by a link to elsewhere", func() {
			write(t, out("e"), serviceText("shop", "e", 1))
			must(t, os.Remove(in("d.yaml")), os.Symlink(out("e"), in("d.yaml")))
		}, "shop/a:3 shop/e:1"},
		{"written where a link leads", func() { write(t, out("e"), serviceText("shop", "e", 2)) }, "shop/a:3 shop/e:2"},
		{"a link to a directory", func() {
			must(t, os.Mkdir(out("dir"), 0o755))
			write(t, out("dir/f.yaml"), serviceText("shop", "f", 1))
			must(t, os.Symlink(out("dir"), in("linked")))
		}, "shop/a:3 shop/e:2 shop/f:1"},
		{"in the directory where a link leads", func() { write(t, out("dir/f.yaml"), serviceText("shop", "f", 2)) }, "shop/a:3 shop/e:2 shop/f:2"},
		{"links deleted", func() { must(t, os.Remove(in("linked")), os.Remove(in("d.yaml"))) }, "shop/a:3"},
	}
	for _, s := range steps {
		s.do()
		if s.want != "" {
			t.Log(s.name)
			until(t, next, s.want)
		}
	}
}

// A ConfigMap's mount changes by the renaming of one link.
func TestWatchConfigMapMount(t *testing.T) {
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	publish := func(version string, port int) {
		must(t, os.Mkdir(in(version), 0o755))
		write(t, in(version+"/a.yaml"), serviceText("shop", "a", port))
		write(t, in(version+"/b.yaml"), serviceText("shop", "b", port))
		must(t, os.Symlink(version, in("..data_tmp")), os.Rename(in("..data_tmp"), in("..data")))
	}
	publish("..1", 1)
	must(t, os.Symlink("..data/a.yaml", in("a.yaml")), os.Symlink("..data/b.yaml", in("b.yaml")))
	for _, paths := range [][]string{{dir}, {in("a.yaml"), in("b.yaml")}, {in("..data")}} {
		f := &Folder{Paths: paths}
		f.Load()
		t.Run(strings.ReplaceAll(fmt.Sprint(paths), dir, ""), func(t *testing.T) {
			next := watching(t, f)
			before, _ := os.Readlink(in("..data"))
			for i := 2; i < 5; i++ {
				version := fmt.Sprintf("%s%d", before, i)
				publish(version, i)
				// All at once: no Change ever shows one file without the other.
				if s, want := next(), fmt.Sprintf("shop/a:%d shop/b:%d", i, i); s.ports != want || s.problems != "" {
					t.Errorf("in force %q, problems %q, want %q", s.ports, s.problems, want)
				}
				must(t, os.RemoveAll(in(before))) // as kubelet does afterwards
				before = version
			}
		})
		publish("..x"+filepath.Base(t.TempDir())+fmt.Sprint(len(paths), paths[0] == dir), 1)
	}
}

func TestWatchPathsThatComeAndGo(t *testing.T) {
	dir := t.TempDir()
	folder, single := filepath.Join(dir, "deep/down/folder"), filepath.Join(dir, "single.txt")
	f := &Folder{Paths: []string{folder, single}}
	f.Load()
	next := watching(t, f)
	write(t, single, serviceText("shop", "single", 1))
	until(t, next, "shop/single:1")
	must(t, os.MkdirAll(folder, 0o755))
	write(t, filepath.Join(folder, "a.yaml"), serviceText("shop", "a", 1))
	until(t, next, "shop/a:1 shop/single:1")
	must(t, os.Rename(filepath.Join(dir, "deep"), filepath.Join(dir, "away")))
	for s := next(); s.problems != folder+" PathMissing"; s = next() {
		if s.ports != "shop/a:1 shop/single:1" {
			t.Fatalf("in force %q", s.ports)
		}
	}
	must(t, os.Rename(filepath.Join(dir, "away"), filepath.Join(dir, "deep")))
	for s := next(); s.problems != ""; s = next() {
		if s.ports != "shop/a:1 shop/single:1" {
			t.Fatalf("in force %q", s.ports)
		}
	}
	must(t, os.Remove(single))
	next()
	write(t, single, serviceText("shop", "single", 2))
	until(t, next, "shop/a:1 shop/single:2")
}

func TestHalfWrittenFileIsNotRead(t *testing.T) {
	text := serviceText("shop", "a", 1) + "---\n" + serviceText("shop", "b", 1)
	f, dir := folderOf(t, map[string]string{"a.yaml": text, "other.yaml": serviceText("shop", "other", 1)})
	next := watching(t, f)
	write(t, filepath.Join(dir, "other.yaml"), serviceText("shop", "other", 0))
	next()                                               // all is watched
	file, err := os.Create(filepath.Join(dir, "a.yaml")) // truncates it
	must(t, err)
	defer file.Close()
	half, rest, _ := strings.Cut(text, "---\n")
	_, err = file.WriteString(strings.Replace(half, "port: 1", "port: 2", 1))
	must(t, err)
	write(t, filepath.Join(dir, "other.yaml"), serviceText("shop", "other", 2))
	if s := next(); s.ports != "shop/a:1 shop/b:1 shop/other:2" {
		t.Errorf("with a.yaml half written in force %q", s.ports)
	}
	must(t, os.Mkdir(filepath.Join(dir, "sub"), 0o755)) // has all looked at
	write(t, filepath.Join(dir, "sub/more.yaml"), serviceText("shop", "more", 1))
	until(t, next, "shop/a:1 shop/b:1 shop/more:1 shop/other:2")
	_, err = file.WriteString("---\n" + rest)
	must(t, err, file.Close())
	if s := next(); s.ports != "shop/a:2 shop/b:1 shop/more:1 shop/other:2" || s.keys != "[Service shop/a]" {
		t.Errorf("with a.yaml written in force %q, changed %s", s.ports, s.keys)
	}
}

func TestNothingChangedIsNoChange(t *testing.T) {
	f, dir := folderOf(t, map[string]string{"a.yaml": serviceText("shop", "a", 1), "b.yaml": serviceText("shop", "b", 1)})
	next := watching(t, f)
	write(t, filepath.Join(dir, "a.yaml"), serviceText("shop", "a", 1))
	write(t, filepath.Join(dir, "notes.txt"), "text")
	write(t, filepath.Join(dir, ".a.yaml.swp"), serviceText("shop", "c", 1))
	must(t, os.Chmod(filepath.Join(dir, "a.yaml"), 0o600))
	write(t, filepath.Join(dir, "b.yaml"), serviceText("shop", "b", 2))
	if s := next(); s.keys != "[Service shop/b]" {
		t.Errorf("changed %s, want shop/b alone", s.keys)
	}
}

func TestProblemsComeAndGo(t *testing.T) {
	f, dir := folderOf(t, map[string]string{"a.yaml": serviceText("shop", "a", 1)})
	var log bytes.Buffer
	f.Log = slog.New(slog.NewTextHandler(&log, nil))
	next := watching(t, f)
	write(t, filepath.Join(dir, "a.yaml"), "a: b: c")
	if s := next(); s.keys != "[]" || s.problems != "a.yaml:1 SyntaxError" {
		t.Errorf("changed %s, problems %q", s.keys, s.problems)
	}
	write(t, filepath.Join(dir, "a.yaml"), serviceText("shop", "a", 1))
	if s := next(); s.keys != "[]" || s.problems != "" {
		t.Errorf("mended: changed %s, problems %q", s.keys, s.problems)
	}
	for _, want := range []string{`level=WARN msg="manifest not in force"`, "reason=SyntaxError", "last good version", `level=INFO msg="manifest problem gone"`} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("log %q, want %q", log.String(), want)
		}
	}
}

func TestWithoutInotifyFilesArePolled(t *testing.T) {
	f, dir := folderOf(t, map[string]string{"a.yaml": serviceText("shop", "a", 1)})
	var log bytes.Buffer
	f.Log = slog.New(slog.NewTextHandler(&log, nil))
	f.notifier = func() (*notifier, error) { return nil, unix.EMFILE }
	synctest.Test(t, func(t *testing.T) { // time is virtual: nothing really waits
		ctx, stop := context.WithCancel(t.Context())
		start, done := time.Now(), make(chan struct{})
		go func() {
			defer close(done)
			f.Watch(ctx, func(Change) {
				if took := time.Since(start); ports(f) != "shop/a:2" || took != 2*time.Second {
					t.Errorf("in force %q after %v, want shop/a:2 after 2 s", ports(f), took)
				}
				stop()
			})
		}()
		synctest.Wait() // the first look is over
		write(t, filepath.Join(dir, "a.yaml"), serviceText("shop", "a", 2))
		<-done
	})
	if !strings.Contains(log.String(), "every 2 s") {
		t.Errorf("log %q, want a word on polling", log.String())
	}
}

func TestLostEventsHaveAllLookedAt(t *testing.T) {
	w := &watcher{folder: &Folder{}}
	w.note(event{watch: -1, mask: unix.IN_Q_OVERFLOW}, time.Now())
	if !w.pending.all {
		t.Error("an overflow of the queue is not followed by a look at everything")
	}
}

func FuzzParseEvents(f *testing.F) {
	f.Add([]byte("\x01\x00\x00\x00\x08\x00\x00\x00\x00\x00\x00\x00\x08\x00\x00\x00a.yaml\x00\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, e := range parseEvents(b) {
			if strings.Contains(e.name, "\x00") {
				t.Errorf("name %q", e.name)
			}
		}
	})
}

// From the end of a write to the call that tells of it.
func BenchmarkWatchEdit(b *testing.B) {
	dir := b.TempDir()
	path := filepath.Join(dir, "a.yaml")
	write(b, path, serviceText("shop", "a", 1))
	f := &Folder{Paths: []string{dir}}
	f.Load()
	ctx, stop := context.WithCancel(b.Context())
	changes, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		f.Watch(ctx, func(Change) { changes <- struct{}{} })
	}()
	for i := 0; b.Loop(); i++ {
		write(b, path, serviceText("shop", "a", 2+i%1000))
		<-changes
	}
	stop()
	<-done
}
