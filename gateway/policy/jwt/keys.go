package jwt

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/go-jose/go-jose/v4"
)

const (
	maxKeys    = 64
	minRSABits = 2048
)

// algorithms are those that a token may be signed by.
var algorithms = []jose.SignatureAlgorithm{
	jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512, jose.ES256, jose.ES384, jose.ES512, jose.EdDSA,
}

// A keySet is the keys that a source has. It does not change.
type keySet struct {
	keys    []jose.JSONWebKey
	fetched time.Time
}

// parseKeys reads a JSON Web Key Set (RFC 7517 section 5). Keys that are not
// understood are left out, as that section wants it; without any that can be
// used it is an error.
func parseKeys(b []byte) (*keySet, error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(b, &set); err != nil {
		return nil, fmt.Errorf("key set: %w", err)
	}
	if n := len(set.Keys); n > maxKeys {
		return nil, fmt.Errorf("key set of %d keys: want at most %d", n, maxKeys)
	}
	s := &keySet{}
	for _, raw := range set.Keys {
		var k jose.JSONWebKey
		if k.UnmarshalJSON(raw) == nil && usable(&k) {
			s.keys = append(s.keys, k)
		}
	}
	if len(s.keys) == 0 {
		return nil, errors.New("key set without a key for signatures: want one of RSA, EC or OKP at least")
	}
	return s, nil
}

// usable reports whether k is a public key that may verify signatures.
func usable(k *jose.JSONWebKey) bool {
	if k.Use != "" && k.Use != "sig" || !k.Valid() {
		return false
	}
	switch key := k.Key.(type) {
	case *rsa.PublicKey:
		return key.N.BitLen() >= minRSABits
	case *ecdsa.PublicKey, ed25519.PublicKey:
		return true
	}
	return false
}

// errNoKey says that the token's key may be one that is not in the set.
var errNoKey = errors.New("no key for the token")

// verify says why none of the keys has signed t; nil: one has.
func (s *keySet) verify(t *jose.JSONWebSignature) error {
	head := &t.Signatures[0].Protected
	err := errNoKey
	for i := range s.keys {
		k := &s.keys[i]
		if k.KeyID != "" && head.KeyID != "" && k.KeyID != head.KeyID || k.Algorithm != "" && k.Algorithm != head.Algorithm {
			continue
		}
		_, bad := t.Verify(k.Key)
		if bad == nil {
			return nil
		}
		if k.KeyID != "" && head.KeyID != "" {
			err = fmt.Errorf("signature by key %q: %w", k.KeyID, bad)
		}
	}
	return err
}
