package meshports

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// configMap is what the API server would have of b.
func (b *book) configMap() *corev1.ConfigMap {
	m := &corev1.ConfigMap{Data: map[string]string{}, BinaryData: map[string][]byte{releasedKey: b.releases()}}
	for key, port := range b.ports {
		m.Data[key] = textOf(port)
	}
	return m
}

// check holds that a book agrees with itself.
func (b *book) check(t *testing.T) {
	t.Helper()
	size := 0
	for key, port := range b.ports {
		size += sizeOf(key)
		if b.keys[port] != key || port < b.first || port > b.last {
			t.Fatalf("%s has %d, which is %q's", key, port, b.keys[port])
		}
		if r, ok := b.released[port]; ok {
			t.Fatalf("%s has %d, which %s has given back", key, port, r.key)
		}
	}
	for port, r := range b.released {
		size += sizeOf(r.key)
		if b.returned[r.key] != port {
			t.Fatalf("%s has given back %d and %d", r.key, port, b.returned[r.key])
		}
	}
	if len(b.keys) != len(b.ports) || len(b.returned) != len(b.released) || b.bytes != size {
		t.Fatalf("%d keys of %d ports, %d returned of %d, %d bytes of %d", len(b.keys), len(b.ports), len(b.returned), len(b.released), b.bytes, size)
	}
}

// Whatever comes and goes, and whoever leads: a number is one port's, that port
// keeps it, and no other has it within the hour.
func TestNumbersAreNobodyElses(t *testing.T) {
	for seed := range uint64(50) {
		r := rand.New(rand.NewPCG(seed, 1))
		now := time.Unix(1_800_000_000, 0)
		b := newBook()
		b.last = b.first + 19
		type use struct {
			key  string
			till time.Time // zero: now
		}
		uses := map[uint16]use{}
		for range 500 {
			now = now.Add(time.Duration(r.IntN(900)) * time.Second)
			b.expire(now)
			key := fmt.Sprintf("svc-%d.ns.80", r.IntN(25))
			switch _, has := b.ports[key]; {
			case has:
				port := b.ports[key]
				b.take(key, now)
				uses[port] = use{key, now}
			case b.give(key, 0) == nil:
				port := b.ports[key]
				if before, ok := uses[port]; ok && before.key != key && (before.till.IsZero() || now.Sub(before.till) < time.Hour) {
					t.Fatalf("%s has %d, which was %s's %v ago", key, port, before.key, now.Sub(before.till))
				}
				uses[port] = use{key: key}
			}
			b.check(t)
			if r.IntN(20) == 0 { // another replica leads
				last := b.last
				b = read(b.configMap())
				b.last = last
				b.check(t)
			}
		}
	}
}

func TestNumberComesBack(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	b := newBook()
	for _, key := range []string{"a.ns.80", "b.ns.80"} {
		if err := b.give(key, 0); err != nil {
			t.Fatal(err)
		}
	}
	a := b.ports["a.ns.80"]
	b.take("a.ns.80", now)
	b.expire(now.Add(59 * time.Minute))
	if err := b.give("c.ns.80", a); err != nil || b.ports["c.ns.80"] == a {
		t.Errorf("%d is another's, %v, want it to rest", a, err)
	}
	if err := b.give("a.ns.80", 0); err != nil || b.ports["a.ns.80"] != a {
		t.Errorf("%d came back, %v, want %d", b.ports["a.ns.80"], err, a)
	}
	b.take("a.ns.80", now)
	b.expire(now.Add(61 * time.Minute))
	if err := b.give("d.ns.80", a); err != nil || b.ports["d.ns.80"] != a {
		t.Errorf("after an hour %d is not free, %v", a, err)
	}
	b.check(t)
}

// What breaks the law in the ConfigMap is left out.
func TestRead(t *testing.T) {
	b := read(&corev1.ConfigMap{
		Data: map[string]string{
			"a.ns.80": "20001", "b.ns.80": "20001", // a's, whose name is the first
			"c.ns.80": "80", "d.ns.80": "60000", "e.ns.80": "+20002", "f.ns.80": "020003", "g.ns.80": "", "h.ns.80": "20004",
		},
		BinaryData: map[string][]byte{releasedKey: []byte("20001 1800000000 x.ns.80\n20005 1800000000 y.ns.80\n20006 1800000000 y.ns.80\n20007 z\nno\n\n20009 1800000000 a.ns.80\n20008 1800000000 w.ns.80")},
	})
	b.check(t)
	if want := map[string]uint16{"a.ns.80": 20001, "h.ns.80": 20004}; !maps.Equal(b.ports, want) {
		t.Errorf("ports %v, want %v", b.ports, want)
	}
	if want := map[string]uint16{"y.ns.80": 20005, "w.ns.80": 20008}; !maps.Equal(b.returned, want) {
		t.Errorf("released %v, want %v", b.returned, want)
	}
}

// What an object of Kubernetes has no room for gets no number.
func TestRoom(t *testing.T) {
	b := newBook()
	for i := range maxPorts {
		if err := b.give(fmt.Sprintf("service-%d.namespace-%d.8080", i, i/100), 0); err != nil {
			t.Fatalf("port %d: %v", i, err)
		}
	}
	if err := b.give("one.more.80", 0); !errors.Is(err, errFull) {
		t.Errorf("one more than %d: %v, want that there is no room", maxPorts, err)
	}
	size := 0
	for key, value := range b.configMap().Data {
		size += len(key) + len(value)
	}
	if size > 1<<20 {
		t.Errorf("%d ports of names as people have them are %d bytes, want what an object has room for", maxPorts, size)
	}

	b = newBook()
	long := strings.Repeat("a", 200)
	n := 0
	for ; n < maxPorts; n++ {
		if err := b.give(fmt.Sprintf("%s.%d.80", long, n), 0); err != nil {
			break
		}
	}
	if b.bytes > maxBytes || n < 3000 {
		t.Errorf("%d ports of long names take %d bytes, want at most %d", n, b.bytes, maxBytes)
	}

	b = newBook()
	b.last = b.first + 1
	b.give("a.ns.80", 0)
	b.give("b.ns.80", 0)
	b.take("a.ns.80", time.Unix(1_800_000_000, 0))
	if err := b.give("c.ns.80", 0); !errors.Is(err, errFull) {
		t.Errorf("all numbers are given or rest: %v, want that there is none", err)
	}
	if err := newBook().give(strings.Repeat("a", 254), 0); err == nil {
		t.Error("a key that Kubernetes does not take has a number")
	}
}

// FuzzRead holds that whatever the ConfigMap says is read as a book that keeps
// the law, and reads again as it is.
func FuzzRead(f *testing.F) {
	f.Add("a.ns.80", "20001", "b.ns.80", "20001", "20002 1800000000 c.ns.80\n")
	f.Add("a.ns.80", "20001", "b.ns.80", "99999", "20002 1800000000 a.ns.80\n20001 -1 x\n")
	f.Fuzz(func(t *testing.T, key1, text1, key2, text2, released string) {
		b := read(&corev1.ConfigMap{Data: map[string]string{key1: text1, key2: text2}, BinaryData: map[string][]byte{releasedKey: []byte(released)}})
		b.check(t)
		again := read(b.configMap())
		if !maps.Equal(again.ports, b.ports) || !maps.Equal(again.returned, b.returned) {
			t.Errorf("%v and %v read again as %v and %v", b.ports, b.returned, again.ports, again.returned)
		}
		for key := range maps.Clone(b.ports) {
			b.take(key, time.Unix(0, 0))
		}
		b.check(t)
	})
}

// Pods that come and go leave room for Services: what they have, and what they had
// within the hour, is half of it.
func TestPodsLeaveRoomForServices(t *testing.T) {
	b := newBook()
	pod := func(i int) string { return fmt.Sprintf("Pod.cart-7d9f8b6c5d-%05d.shop.8080", i) }
	most, now := maxPodBytes/sizeOf(pod(0)), time.Unix(1e9, 0)
	for i := range most {
		if err := b.give(pod(i), 0); err != nil {
			t.Fatalf("pod %d: %v", i, err)
		}
	}
	if err := b.give(pod(most), 0); !errors.Is(err, errFull) {
		t.Errorf("a pod more than half of the room: %v, want %v", err, errFull)
	}
	b.take(pod(0), now)
	if err := b.give(pod(most), 0); !errors.Is(err, errFull) {
		t.Errorf("a pod in the place of one that has just gone: %v, want %v", err, errFull)
	}
	if err := b.give("cart.shop.80", 0); err != nil {
		t.Errorf("a Service: %v", err)
	}
	b.expire(now.Add(respite + time.Minute))
	if err := b.give(pod(most), 0); err != nil {
		t.Errorf("an hour later: %v", err)
	}
	if again := read(b.configMap()); again.podBytes != b.podBytes || again.bytes != b.bytes {
		t.Errorf("read again it has %d bytes, %d of pods; want %d, %d", again.bytes, again.podBytes, b.bytes, b.podBytes)
	}
}
