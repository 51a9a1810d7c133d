package meshports

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"fairway.dev/routing/gatewayapi"
)

const (
	// respite is how long a number that was given back is nobody else's.
	respite = time.Hour
	// maxPorts and maxBytes bound what the ConfigMap holds: etcd takes requests
	// of 1.5 MiB, in which each key comes a second time, among the fields that
	// the API server says are managed.
	maxPorts = 15_000
	maxBytes = 1400 << 10
	// maxPodBytes bounds what of it is of pods, those that have gone within the
	// hour too: pods come and go, and Services are not to go without for them.
	maxPodBytes = maxBytes / 2
)

// releasedKey is where the ConfigMap has what was given back.
const releasedKey = "released"

// A book is who has which number.
type book struct {
	first, last uint16
	ports       map[string]uint16 // by key
	keys        map[uint16]string
	released    map[uint16]release
	returned    map[string]uint16 // released, by key
	bytes       int
	podBytes    int    // of these, of pods
	next        uint16 // where to look for a free number
}

// A release is of a number that was given back.
type release struct {
	key string
	at  time.Time
}

func newBook() *book {
	return &book{
		first: gatewayapi.FirstMeshPort, last: gatewayapi.LastMeshPort, next: gatewayapi.FirstMeshPort,
		ports: map[string]uint16{}, keys: map[uint16]string{}, released: map[uint16]release{}, returned: map[string]uint16{},
	}
}

// sizeOf is about what an entry takes, where it is and where it is managed.
func sizeOf(key string) int { return 2*len(key) + 24 }

// read returns what a ConfigMap says. Entries that are no numbers, or another's,
// are left out.
func read(m *corev1.ConfigMap) *book {
	b := newBook()
	for _, key := range slices.Sorted(maps.Keys(m.Data)) {
		port, err := strconv.ParseUint(m.Data[key], 10, 16)
		if err == nil && m.Data[key] == textOf(uint16(port)) && b.isFree(uint16(port)) {
			b.enter(key, uint16(port))
		}
	}
	for line := range bytes.Lines(m.BinaryData[releasedKey]) {
		number, rest, _ := strings.Cut(strings.TrimSuffix(string(line), "\n"), " ")
		seconds, key, ok := strings.Cut(rest, " ")
		port, err := strconv.ParseUint(number, 10, 16)
		at, err2 := strconv.ParseInt(seconds, 10, 64)
		_, had := b.returned[key]
		_, has := b.ports[key]
		if ok && err == nil && err2 == nil && !had && !has && b.isFree(uint16(port)) {
			b.enterReleased(uint16(port), release{key, time.Unix(at, 0)})
		}
	}
	return b
}

func textOf(port uint16) string { return strconv.Itoa(int(port)) }

// releases is what binaryData has, in the order of numbers.
func (b *book) releases() []byte {
	var text []byte
	for _, port := range slices.Sorted(maps.Keys(b.released)) {
		r := b.released[port]
		text = fmt.Appendf(text, "%d %d %s\n", port, r.at.Unix(), r.key)
	}
	return text
}

// isFree reports whether a number may be given to anybody.
func (b *book) isFree(port uint16) bool {
	_, taken := b.keys[port]
	_, resting := b.released[port]
	return !taken && !resting && port >= b.first && port <= b.last
}

func (b *book) enter(key string, port uint16) {
	b.ports[key], b.keys[port] = port, key
	b.weigh(key, 1)
}

// weigh counts what an entry takes, or no longer takes.
func (b *book) weigh(key string, sign int) {
	b.bytes += sign * sizeOf(key)
	if isPod(key) {
		b.podBytes += sign * sizeOf(key)
	}
}

// isPod reports whether a key is of a pod's port. No Service's begins so.
func isPod(key string) bool { return strings.HasPrefix(key, "Pod.") }

func (b *book) enterReleased(port uint16, r release) {
	b.released[port], b.returned[r.key] = r, port
	b.weigh(r.key, 1)
}

func (b *book) forgetReleased(port uint16) {
	key := b.released[port].key
	delete(b.released, port)
	delete(b.returned, key)
	b.weigh(key, -1)
}

var errFull = errors.New("no room for another port")

// give gives a key that has none a number: the one that it had not long ago, or
// the one that it is known to have had, if that is nobody's.
func (b *book) give(key string, had uint16) error {
	if port, ok := b.returned[key]; ok {
		b.forgetReleased(port)
		b.enter(key, port)
		return nil
	}
	if len(b.ports) >= maxPorts || b.bytes+sizeOf(key) > maxBytes {
		return fmt.Errorf("%w: there are %d, want at most %d and %d bytes of keys", errFull, len(b.ports), maxPorts, maxBytes)
	}
	if isPod(key) && b.podBytes+sizeOf(key) > maxPodBytes {
		return fmt.Errorf("%w of a pod: want at most %d bytes of keys, with those given back within %s", errFull, maxPodBytes, respite)
	}
	if faults := validation.IsConfigMapKey(key); len(faults) > 0 {
		return fmt.Errorf("key %.100q: %s", key, strings.Join(faults, "; "))
	}
	if b.isFree(had) {
		b.enter(key, had)
		return nil
	}
	for range int(b.last-b.first) + 1 {
		port := b.next
		if b.next++; port >= b.last {
			b.next = b.first
		}
		if b.isFree(port) {
			b.enter(key, port)
			return nil
		}
	}
	return fmt.Errorf("%w: all of %d-%d are somebody's, or were within %s", errFull, b.first, b.last, respite)
}

// take takes a number back.
func (b *book) take(key string, now time.Time) {
	port, ok := b.ports[key]
	if !ok {
		return
	}
	delete(b.ports, key)
	delete(b.keys, port)
	b.weigh(key, -1)
	b.enterReleased(port, release{key, now.Truncate(time.Second)})
}

// expire forgets what was given back long enough ago.
func (b *book) expire(now time.Time) {
	for port, r := range b.released {
		if now.After(r.at.Add(respite + time.Second)) { // which was cut to seconds
			b.forgetReleased(port)
		}
	}
}
