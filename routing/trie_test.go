package routing

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"testing"
)

// checkTrie compares t with the map that it should be.
func checkTrie(t *testing.T, got trie[string, int], want map[string]int) {
	t.Helper()
	if got.n != len(want) || !maps.Equal(maps.Collect(got.all()), want) {
		t.Fatalf("trie of %d entries %v, want %v", got.n, maps.Collect(got.all()), want)
	}
	for k, v := range want {
		if value, ok := got.get(k); !ok || value != v {
			t.Fatalf("get(%q) = %d, %v; want %d", k, value, ok, v)
		}
	}
	if _, ok := got.get("absent"); ok {
		t.Fatal(`get("absent") found something`)
	}
}

func TestTrieIsAMap(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	var list trie[string, int]
	want := map[string]int{}
	for i := range 5000 {
		key := fmt.Sprint(random.IntN(60))
		before, wasBefore := list, maps.Clone(want)
		if random.IntN(2) == 0 {
			list = list.with(key, i)
			want[key] = i
		} else {
			list = list.without(key)
			delete(want, key)
		}
		checkTrie(t, list, want)
		checkTrie(t, before, wasBefore) // it did not change
	}
}

// With so many keys the 30 bits of a round do not tell all apart.
func TestTrieOfManyKeys(t *testing.T) {
	const n = 120_000
	var list trie[string, int]
	for i := range n {
		list = list.with(fmt.Sprint(i), i)
	}
	for i := range n {
		if v, ok := list.get(fmt.Sprint(i)); !ok || v != i {
			t.Fatalf("get(%d) = %d, %v", i, v, ok)
		}
	}
	for i := range n {
		list = list.without(fmt.Sprint(i))
	}
	if list.root != nil || list.n != 0 {
		t.Errorf("%d entries left, want none", list.n)
	}
}

func TestTrieStopsWhenToldTo(t *testing.T) {
	var list trie[string, int]
	for i := range 100 {
		list = list.with(fmt.Sprint(i), i)
	}
	seen := 0
	for range list.all() {
		if seen++; seen == 7 {
			break
		}
	}
	for range list.values() {
		if seen++; seen == 14 {
			break
		}
	}
	if seen != 14 {
		t.Errorf("saw %d entries, want 14", seen)
	}
}
