package jwt

import (
	"testing"

	"github.com/go-jose/go-jose/v4"

	"fairway.dev/routing"
)

// BenchmarkProve is what a token costs a loop; a request without one next to
// nothing.
func BenchmarkProve(b *testing.B) {
	for _, alg := range []jose.SignatureAlgorithm{jose.RS256, jose.ES256, jose.EdDSA} {
		b.Run(string(alg), func(b *testing.B) {
			p := newPair(b, "k1", alg)
			r := rulesFor(b, routing.JWTRule{Issuer: "https://issuer.example", Keys: set(p.public())})
			req := request("Host: shop.example", "Accept: */*", "Authorization: Bearer "+p.sign(b, claims(m{"realm": m{"role": "admin"}})))
			b.ReportAllocs()
			for b.Loop() {
				if token, _, err := r.Prove(req, nil); token == nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(string(alg)+" again", func(b *testing.B) {
			p := newPair(b, "k1", alg)
			r := rulesFor(b, routing.JWTRule{Issuer: "https://issuer.example", Keys: set(p.public())})
			req := request("Host: shop.example", "Accept: */*", "Authorization: Bearer "+p.sign(b, claims(m{"realm": m{"role": "admin"}})))
			var cache Cache
			b.ReportAllocs()
			for b.Loop() {
				if token, _, err := r.Prove(req, &cache); token == nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("no token", func(b *testing.B) {
		r := rulesFor(b, routing.JWTRule{Issuer: "https://issuer.example", Keys: set(newPair(b, "k1", jose.ES256).public())})
		req := request("Host: shop.example", "Accept: */*")
		req.Query = "?a=1"
		b.ReportAllocs()
		for b.Loop() {
			r.Prove(req, nil)
		}
	})
}

// A request without a token costs a look at its fields.
func TestProveWithoutATokenDoesNotAllocate(t *testing.T) {
	r := rulesFor(t, routing.JWTRule{Issuer: "https://issuer.example", Keys: set(newPair(t, "k1", jose.ES256).public())})
	req := request("Host: shop.example", "Accept: */*")
	req.Query = "?a=1&b=2"
	if n := testing.AllocsPerRun(100, func() { r.Prove(req, nil) }); n != 0 {
		t.Errorf("Prove allocates %v times, want 0", n)
	}
}
