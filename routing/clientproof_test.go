package routing

import "testing"

// A connection is known for exactly the validation that it has met.
func TestProofIsOfOneValidation(t *testing.T) {
	all := []*ClientValidation{
		{},
		{Roots: []byte("r")},
		{Roots: []byte("rr")},
		{Roots: []byte("r"), SANs: []string{"a"}},
		{Roots: []byte("r"), SANs: []string{"b"}},
		{Roots: []byte("r"), SANs: []string{"a", "b"}},
		{Roots: []byte("r"), SANs: []string{"ab"}},
		{Roots: []byte("r"), SPKI: []string{"a"}},
		{Roots: []byte("r"), Hashes: []string{"a"}},
		{Roots: []byte("r"), SANs: []string{"a"}, Hashes: []string{"b"}},
		{Roots: []byte("r"), CRL: []byte("a")},
		{Roots: []byte("r"), CRL: []byte("b")},
		{Roots: []byte("r"), SANs: []string{"a"}, CRL: []byte("a")},
	}
	for i, v := range all {
		for j, w := range all {
			if got, want := w.ProvedBy(v.Proof()), i == j && len(v.Roots) > 0; got != want {
				t.Errorf("%+v proved by what %+v asks for: %v, want %v", w, v, got, want)
			}
		}
	}
	v := all[9]
	proof := v.Proof()
	if n := testing.AllocsPerRun(100, func() { v.ProvedBy(proof) }); n != 0 {
		t.Errorf("ProvedBy allocates %v times, want 0", n)
	}
}
