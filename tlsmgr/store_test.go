package tlsmgr

import (
	"bytes"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestPutSaysWhatIsWrong(t *testing.T) {
	good, otherKey := pair(t, "shop/tls", ecdsaKey(), "shop.example"), pair(t, "x", rsaKey(), "shop.example")
	junk := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("junk")})
	expired := pairUntil(t, "shop/tls", ecdsaKey(), time.Now().Add(-time.Hour), "shop.example")
	early := pairUntil(t, "shop/tls", ecdsaKey(), time.Now().Add(96*time.Hour), "shop.example")
	nameless := pair(t, "shop/tls", ecdsaKey())
	tests := []struct {
		name       string
		chain, key []byte
		want       string
		inForce    bool
	}{
		{"a good pair", good.Chain, good.Key, "", true},
		{"text around the PEM", append([]byte("subject=shop\n"), good.Chain...), good.Key, "", true},
		{"no certificate", nil, good.Key, "certificate: no PEM block CERTIFICATE in it", false},
		{"no PEM", []byte("shop"), good.Key, "certificate: no PEM block CERTIFICATE in it", false},
		{"the two exchanged", good.Key, good.Chain, "certificate: there is a private key in its place", false},
		{"no key", good.Chain, []byte("shop"), "key: no PEM block PRIVATE KEY in it", false},
		{"a certificate for a key", good.Chain, good.Chain, "key: there is a certificate in its place", false},
		{"another key", pair(t, "y", ecdsaKey(), "a").Chain, otherKey.Key, "private key type does not match public key type", false},
		{"a damaged certificate", junk, good.Key, "x509: malformed certificate", false},
		{"expired", expired.Chain, expired.Key, "certificate expired on ", true},
		{"not yet valid", early.Chain, early.Key, "certificate is not valid before ", true},
		{"without names", nameless.Chain, nameless.Key, "certificate has no subject alternative name", true},
		{"twice in its chain", append(bytes.Clone(good.Chain), good.Chain...), good.Key, "certificate is there twice", true},
	}
	for _, tt := range tests {
		s := NewStore(nil)
		problem := s.Put(Pair{Name: "shop/tls", Chain: tt.chain, Key: tt.key})
		if tt.want == "" {
			if problem != nil {
				t.Errorf("%s: %v, want nothing wrong", tt.name, problem)
			}
		} else if problem == nil || !strings.HasPrefix(problem.Error(), "key pair shop/tls: "+tt.want) || problem.InForce != tt.inForce {
			t.Errorf("%s: %v, want %q, in force %v", tt.name, problem, "key pair shop/tls: "+tt.want, tt.inForce)
		}
		if all := s.Problems(); (len(all) == 1) != (tt.want != "") || len(all) == 1 && all[0].Error() != problem.Error() {
			t.Errorf("%s: Problems() = %v, Put said %v", tt.name, all, problem)
		}
		if (s.Certificate("shop/tls") != nil) != tt.inForce {
			t.Errorf("%s: in force %v, want %v", tt.name, !tt.inForce, tt.inForce)
		}
	}
}

func TestABadPairDoesNotReplaceAGoodOne(t *testing.T) {
	good := pair(t, "shop/tls", ecdsaKey(), "shop.example")
	s := store(t, nil, good)
	before := s.Certificate("shop/tls")
	bad := good
	bad.Key = []byte("not a key")
	problem := s.Put(bad)
	if problem == nil || problem.InForce || !strings.Contains(problem.Error(), "the one before it is still served") {
		t.Errorf("Put of a bad pair: %v, want that the old one is still served", problem)
	}
	if s.Certificate("shop/tls") != before {
		t.Error("the old pair is gone")
	}
	if got := s.Problems(); len(got) != 1 || got[0] != problem {
		t.Errorf("Problems() = %v, want %v", got, problem)
	}
	if problem := s.Put(good); problem != nil || len(s.Problems()) != 0 {
		t.Errorf("after the good one again: %v, Problems() = %v; want nothing", problem, s.Problems())
	}
	s.Put(bad)
	s.Remove("shop/tls")
	if s.Certificate("shop/tls") != nil || len(s.Problems()) != 0 {
		t.Error("something is left after Remove")
	}
}

func TestTheSameBytesAreParsedOnce(t *testing.T) {
	p := pair(t, "shop/tls", ecdsaKey(), "shop.example")
	s := store(t, nil, p)
	before := s.Certificate("shop/tls")
	s.Put(Pair{Name: p.Name, Chain: bytes.Clone(p.Chain), Key: bytes.Clone(p.Key)})
	if s.Certificate("shop/tls") != before {
		t.Error("the same bytes were parsed again")
	}
	s.Put(pair(t, "shop/tls", ecdsaKey(), "shop.example"))
	if s.Certificate("shop/tls") == before {
		t.Error("other bytes did not replace the pair")
	}
}

func TestExpiryIsThatOfTheFirst(t *testing.T) {
	if n, first := NewStore(nil).Expiry(); n != 0 || !first.IsZero() {
		t.Errorf("empty: %d, %v; want nothing", n, first)
	}
	soon := time.Now().Add(time.Hour).Truncate(time.Second)
	s := store(t, nil, pair(t, "a", ecdsaKey(), "a.example"), pairUntil(t, "b", ecdsaKey(), soon, "b.example"))
	if n, first := s.Expiry(); n != 2 || !first.Equal(soon) {
		t.Errorf("Expiry() = %d, %v; want 2, %v", n, first, soon)
	}
}

// A pair turns bad by itself: the warnings are those of now.
func TestProblemsFollowTheClock(t *testing.T) {
	s := store(t, nil, pair(t, "shop/tls", ecdsaKey(), "shop.example"))
	s.now = func() time.Time { return time.Now().Add(48 * time.Hour) }
	got := s.Problems()
	if len(got) != 1 || !got[0].InForce || !strings.Contains(got[0].Error(), "expired") {
		t.Errorf("Problems() = %v, want that shop/tls has expired", got)
	}
}

func TestPairsDoNotPrintTheirKeys(t *testing.T) {
	p := pair(t, "shop/tls", ecdsaKey(), "shop.example")
	p.Key = []byte("-----BEGIN PRIVATE KEY-----\nc3VwZXJzZWNyZXQ=\n-----END PRIVATE KEY-----\n")
	encoded, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	problem := NewStore(nil).Put(p)
	if problem == nil {
		t.Fatal("a key of junk is taken")
	}
	for _, text := range []string{
		fmt.Sprint(p), fmt.Sprintf("%v %+v %#v %s", p, p, p, p), fmt.Sprintf("%+v", []Pair{p}), string(encoded), problem.Error(),
	} {
		for _, secret := range []string{"PRIVATE", "supersecret", "c3VwZXJzZWNyZXQ", "LS0tLS1CRUdJTiBQUklWQVRF"} {
			if strings.Contains(text, secret) {
				t.Errorf("%q shows the key", text)
			}
		}
	}
}
