package feed

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"fairway.dev/routing"
)

var atHome = Place{Region: "region-1", Zone: "zone-a", SubZone: "rack-7", Labels: map[string]string{"istio": "ingressgateway"}}

// someState returns a state with parts of all kinds, all of them new to a file.
func someState(n int) *clientState {
	s := newClientState()
	s.place = atHome
	for i := range n {
		s.edit(fmt.Sprint("cluster/c", i), &routing.Cluster{Name: routing.ClusterName(fmt.Sprint("c", i))})
		s.edit(fmt.Sprint("certificate/t", i), pair(routing.CertificateName(fmt.Sprint("t", i)), fmt.Sprint("key", i)))
	}
	return s
}

func (s *clientState) edit(name string, part any) {
	s.arrive(&routing.Delta{}, name, arrival{version: hashOf(marshal(bodyOf(part))), part: part})
}

// load reads a directory as a process that has just begun.
func load(t *testing.T, dir string) (map[string]held, Place) {
	t.Helper()
	parts, place, err := newStateFile(dir).load()
	if err != nil {
		t.Fatal(err)
	}
	return parts, place
}

// However a state changes between saves, the file has it as it is.
func TestStateFileFollowsTheState(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	s, f := someState(100), newStateFile(dir)
	if parts, _ := load(t, dir); parts != nil {
		t.Fatalf("%d parts from no file", len(parts))
	}
	r := rand.New(rand.NewPCG(1, 1))
	for step := range 50 {
		for range r.IntN(5) {
			i := r.IntN(150)
			name := fmt.Sprint("cluster/c", i)
			if r.IntN(3) == 0 {
				s.arrive(&routing.Delta{}, name, arrival{})
			} else {
				s.edit(name, &routing.Cluster{Name: routing.ClusterName(fmt.Sprint("c", i)), Port: uint16(r.IntN(100))})
			}
		}
		switch r.IntN(10) {
		case 0:
			f = newStateFile(dir) // as after a restart that has not read it
		case 1:
			os.Remove(f.path())
		case 2:
			os.WriteFile(f.path(), []byte("something else"), 0o600)
		}
		if err := f.save(s); err != nil {
			t.Fatal(err)
		}
		if s.changed() {
			t.Fatal("changed after it was saved")
		}
		parts, place := load(t, dir)
		if !place.Equal(atHome) || !reflect.DeepEqual(parts, s.parts) {
			t.Fatalf("step %d: %d parts of %v, want %d", step, len(parts), place, len(s.parts))
		}
		if r.IntN(3) == 0 {
			again := newStateFile(dir)
			again.load()
			f = again // as after a restart
		}
	}
	if files, _ := os.ReadDir(dir); len(files) != 1 {
		t.Errorf("files %v, want the state alone", files)
	}
}

// A change makes one segment anew, and not the others.
func TestStateFileCopiesWhatStays(t *testing.T) {
	dir := t.TempDir()
	s, f := someState(100), newStateFile(dir)
	if err := f.save(s); err != nil {
		t.Fatal(err)
	}
	s.edit("cluster/c0", &routing.Cluster{Name: "c0", Port: 9})
	packed, err := packSegments(s, false)
	if err != nil {
		t.Fatal(err)
	}
	for i := range packed {
		if (packed[i] != nil) != (i == segmentOf("cluster/c0")) {
			t.Errorf("segment %d made anew: %v", i, packed[i] != nil)
		}
	}
}

func TestStateFileIsPrivate(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	f := newStateFile(dir)
	if err := f.save(someState(1)); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]os.FileMode{dir: 0o700, f.path(): 0o600} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s has mode %v (%v), want %v", path, info.Mode().Perm(), err, want)
		}
	}
}

// A container that is killed again and again does not fill the pod's memory.
func TestHalfWrittenStateFilesAreRemoved(t *testing.T) {
	f := newStateFile(t.TempDir())
	if err := f.save(someState(1)); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{stateName + ".123", stateName + ".4"} {
		if err := os.WriteFile(filepath.Join(f.dir, name), []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if parts, _, err := f.load(); err != nil || len(parts) == 0 {
		t.Errorf("the whole one has %d parts, %v", len(parts), err)
	}
	if left, err := os.ReadDir(f.dir); err != nil || len(left) != 1 || left[0].Name() != stateName {
		t.Errorf("left are %v, %v, want the whole one", left, err)
	}
}

func TestStateFileThatCannotBeWritten(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s := someState(1)
	if err := newStateFile(file).save(s); err == nil || !s.changed() {
		t.Errorf("saved below a file: %v", err)
	}
}

// Each byte counts.
func TestDamagedStateFile(t *testing.T) {
	dir := t.TempDir()
	f := newStateFile(dir)
	if err := f.save(someState(3)); err != nil {
		t.Fatal(err)
	}
	good, err := os.ReadFile(f.path())
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(good); i += 7 {
		bad := bytes.Clone(good)
		bad[i] ^= 0x10
		if _, _, err := newStateFile(dir).parse(bad); err == nil {
			t.Fatalf("byte %d is another, and nobody sees it", i)
		}
		if _, _, err := newStateFile(dir).parse(good[:i]); err == nil {
			t.Fatalf("cut at %d, and nobody sees it", i)
		}
	}
}

// What another version of Fairway has written, and this one does not
// understand, is left out: control sends it again.
func TestStateFileOfAnotherVersion(t *testing.T) {
	s := someState(1)
	s.parts["cluster/later"] = held{"v", &struct{ Name, Policy string }{"later", "x"}}
	s.dirty[segmentOf("cluster/later")] = struct{}{}
	dir := t.TempDir()
	if err := newStateFile(dir).save(s); err != nil {
		t.Fatal(err)
	}
	parts, _ := load(t, dir)
	delete(s.parts, "cluster/later")
	if !maps.EqualFunc(parts, s.parts, func(a, b held) bool { return a.version == b.version }) {
		t.Errorf("parts %v, want those that are understood", parts)
	}
}

func TestPlaceInAFile(t *testing.T) {
	many := map[string]string{}
	for i := range 10_000 {
		many[fmt.Sprint("label-", i)] = "value"
	}
	tests := []struct {
		text []byte
		want Place
	}{
		{atHome.text(), atHome},
		{Place{}.text(), Place{}},
		{[]byte("zone-a"), Place{Zone: "zone-a"}}, // as files had it before
		{nil, Place{}},
		{[]byte(`{"Zone":`), Place{}},
		{Place{Zone: "zone-a", Labels: many}.text(), Place{Zone: "zone-a"}}, // no room
	}
	for _, tt := range tests {
		if got := placeOf(tt.text); !got.Equal(tt.want) {
			t.Errorf("placeOf(%.100s) = %+v, want %+v", tt.text, got, tt.want)
		}
	}
}

func FuzzStateFile(f *testing.F) {
	dir := f.TempDir()
	file := newStateFile(dir)
	if err := file.save(someState(1)); err != nil {
		f.Fatal(err)
	}
	good, err := os.ReadFile(file.path())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good[:len(good)-sha256.Size])
	f.Add([]byte(stateMagic))
	f.Fuzz(func(t *testing.T, body []byte) {
		sum := sha256.Sum256(body)
		parts, place, err := newStateFile("").parse(append(bytes.Clone(body), sum[:]...))
		if err != nil && (parts != nil || !place.Equal(Place{})) {
			t.Error("both parts and an error")
		}
	})
}
