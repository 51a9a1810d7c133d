package feed

import (
	"bytes"
	"compress/flate"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"fairway.dev/routing"
)

// segments is how many pieces the file has, of which only those that changed
// are made anew: a pod whose endpoints come and go must not compress five
// thousand routes every ten seconds.
const segments = 64

func segmentOf(name string) int {
	h := fnv.New32a()
	h.Write([]byte(name))
	return int(h.Sum32() % segments)
}

const (
	stateName  = "last-good"
	stateMagic = "fairway last good state 1\n"
	// maxState bounds what is believed of a file, packed and unpacked.
	maxState   = 1 << 30
	maxSegment = maxState / segments
)

// A stateFile is where the last good state is kept:
//
//	magic, then for each segment its length (uint32, big endian)
//	where the pod is, as JSON, after its length (uint16)
//	the segments: deflate of entries, each name, version, and JSON after their lengths (uvarint)
//	SHA-256 of all that
//
// It is replaced as a whole, so that it is always good; segments that have not
// changed are copied as they are.
type stateFile struct {
	dir    string
	places [segments]place // in the file that was written or read last
	whole  bool            // places are right
}

// A place is where a segment is in the file.
type place struct{ offset, length int64 }

func newStateFile(dir string) *stateFile { return &stateFile{dir: dir} }

func (f *stateFile) path() string { return filepath.Join(f.dir, stateName) }

var errDamaged = errors.New("the file is damaged")

// load returns what was saved; nil if nothing was. A part that cannot be read,
// as it was written by another version of Fairway, is left out.
func (f *stateFile) load() (parts map[string]held, at Place, err error) {
	f.tidy()
	info, err := os.Stat(f.path())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, Place{}, nil
	}
	if err != nil {
		return nil, Place{}, err
	}
	if info.Size() > maxState {
		return nil, Place{}, fmt.Errorf("%w: %d bytes, want at most %d", errDamaged, info.Size(), maxState)
	}
	text, err := os.ReadFile(f.path())
	if err != nil {
		return nil, Place{}, err
	}
	return f.parse(text)
}

// tidy removes what processes that were killed have left half written: it holds
// keys, and the room is a pod's memory.
func (f *stateFile) tidy() {
	entries, err := os.ReadDir(f.dir)
	if err != nil {
		return // nothing has been written there
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), stateName+".") {
			os.Remove(filepath.Join(f.dir, e.Name()))
		}
	}
}

func (f *stateFile) parse(text []byte) (parts map[string]held, at Place, err error) {
	body, sum := text[:max(0, len(text)-sha256.Size)], text[max(0, len(text)-sha256.Size):]
	if want := sha256.Sum256(body); !bytes.Equal(want[:], sum) {
		return nil, Place{}, fmt.Errorf("%w: another checksum", errDamaged)
	}
	rest, ok := bytes.CutPrefix(body, []byte(stateMagic))
	if !ok || len(rest) < 4*segments+2 {
		return nil, Place{}, fmt.Errorf("%w: no header", errDamaged)
	}
	lengths := rest[:4*segments]
	rest = rest[4*segments:]
	n := int(binary.BigEndian.Uint16(rest))
	if rest = rest[2:]; len(rest) < n {
		return nil, Place{}, fmt.Errorf("%w: no place", errDamaged)
	}
	at, rest = placeOf(rest[:n]), rest[n:]
	parts = map[string]held{}
	for i := range segments {
		length := int(binary.BigEndian.Uint32(lengths[4*i:]))
		if length > len(rest) {
			return nil, Place{}, fmt.Errorf("%w: segment %d ends too early", errDamaged, i)
		}
		f.places[i] = place{int64(len(body) - len(rest)), int64(length)}
		if err := readSegment(rest[:length], parts); err != nil {
			return nil, Place{}, fmt.Errorf("%w: segment %d: %w", errDamaged, i, err)
		}
		rest = rest[length:]
	}
	f.whole = true
	return parts, at, nil
}

func readSegment(packed []byte, parts map[string]held) error {
	text, err := io.ReadAll(io.LimitReader(flate.NewReader(bytes.NewReader(packed)), maxSegment))
	if err != nil {
		return err
	}
	for len(text) > 0 {
		var entry [3][]byte // name, version, JSON
		for i := range entry {
			n, size := binary.Uvarint(text)
			if size <= 0 || n > uint64(len(text)-size) {
				return errors.New("an entry ends too early")
			}
			entry[i], text = text[size:size+int(n)], text[size+int(n):]
		}
		name := string(entry[0])
		if part, err := decodePart(name, entry[2]); err == nil {
			parts[name] = held{string(entry[1]), part}
		}
	}
	return nil
}

// save writes the state.
func (f *stateFile) save(s *clientState) error {
	if err := os.MkdirAll(f.dir, 0o700); err != nil {
		return err
	}
	old := f.open(s)
	if old != nil {
		defer old.Close()
	}
	// The temporary file is private from its beginning: it holds keys.
	file, err := os.CreateTemp(f.dir, stateName+".*")
	if err != nil {
		return err
	}
	defer os.Remove(file.Name())
	places, err := writeState(file, old, f.places, s)
	if err == nil {
		err = file.Sync()
	}
	if err = errors.Join(err, file.Close()); err != nil {
		return err
	}
	if err := os.Rename(file.Name(), f.path()); err != nil {
		return err
	}
	f.places, f.whole = places, true
	clear(s.dirty)
	return nil
}

// open returns the file as it is, nil if all of it has to be made anew.
func (f *stateFile) open(s *clientState) *os.File {
	if !f.whole || len(s.dirty) == segments {
		return nil
	}
	old, err := os.Open(f.path())
	if err != nil {
		return nil
	}
	last := f.places[segments-1]
	info, err := old.Stat()
	if err != nil || info.Size() != last.offset+last.length+sha256.Size {
		old.Close()
		return nil
	}
	return old
}

// writeState writes the file, and returns where the segments are in it. Those
// that have not changed are taken from old, where they are at those places.
func writeState(file, old *os.File, at [segments]place, s *clientState) (places [segments]place, err error) {
	packed, err := packSegments(s, old == nil)
	if err != nil {
		return places, err
	}
	where := s.place.text()
	offset := int64(len(stateMagic) + 4*segments + 2 + len(where))
	header := []byte(stateMagic)
	for i := range segments {
		length := int64(len(packed[i]))
		if packed[i] == nil {
			length = at[i].length
		}
		places[i] = place{offset, length}
		offset += length
		header = binary.BigEndian.AppendUint32(header, uint32(length))
	}
	header = binary.BigEndian.AppendUint16(header, uint16(len(where)))
	header = append(header, where...)

	sum := sha256.New()
	w := io.MultiWriter(file, sum)
	_, err = w.Write(header)
	for i := 0; i < segments && err == nil; i++ {
		if packed[i] != nil {
			_, err = w.Write(packed[i])
		} else {
			_, err = io.Copy(w, io.NewSectionReader(old, at[i].offset, at[i].length))
		}
	}
	if err != nil {
		return places, err
	}
	_, err = file.Write(sum.Sum(nil))
	return places, err
}

// packSegments makes the segments that have changed, or all; the others are nil.
func packSegments(s *clientState, all bool) (packed [segments][]byte, err error) {
	var names [segments][]string
	for name := range s.parts {
		i := segmentOf(name)
		names[i] = append(names[i], name)
	}
	w, err := flate.NewWriter(nil, flate.BestSpeed)
	if err != nil {
		return packed, err
	}
	for i := range segments {
		if _, changed := s.dirty[i]; !all && !changed {
			continue
		}
		var b bytes.Buffer
		w.Reset(&b)
		for _, name := range names[i] {
			if _, err := w.Write(entryOf(name, s.parts[name])); err != nil {
				return packed, err
			}
		}
		if err := w.Close(); err != nil {
			return packed, err
		}
		packed[i] = b.Bytes()
	}
	return packed, nil
}

func entryOf(name string, h held) []byte {
	var entry []byte
	for _, field := range [][]byte{[]byte(name), []byte(h.version), marshal(bodyOf(h.part))} {
		entry = binary.AppendUvarint(entry, uint64(len(field)))
		entry = append(entry, field...)
	}
	return entry
}

// bodyOf returns a part as it is on the wire.
func bodyOf(part any) any {
	if c, ok := part.(*routing.Certificate); ok {
		return certificateOf(c)
	}
	return part
}
