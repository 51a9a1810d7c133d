package routing

import "testing"

// FuzzQuery compares queryValue and decodesTo with the slow reading.
func FuzzQuery(f *testing.F) {
	for _, query := range append(someQueries, "?&&=&k=%zz%", "%3d=%26", "+=+") {
		f.Add(query, "k")
	}
	f.Fuzz(func(t *testing.T, query, name string) {
		if name == "" {
			return // Compile refuses it
		}
		raw, ok := queryValue(query, name)
		want, wanted := judgeQuery(query, name)
		if got := string(appendDecoded(nil, raw)); ok != wanted || got != want {
			t.Fatalf("query %q, name %q: fast %q %v, oracle %q %v", query, name, got, ok, want, wanted)
		}
		if ok && (!decodesTo(raw, want) || decodesTo(raw, want+"x") || want != "" && decodesTo(raw, want[1:])) {
			t.Fatalf("decodesTo(%q) does not say that it is %q", raw, want)
		}
	})
}
