package tlsmgr

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// A Pair is a key pair as it was given. It does not print.
type Pair struct {
	Name  string // "shop/tls"
	Chain []byte // PEM: the certificate, then those that vouch for it
	Key   []byte `json:"-"` // PEM
}

// String returns the name: a Pair that is logged by mistake gives nothing away.
func (p Pair) String() string { return p.Name }

// GoString is what %#v shows.
func (p Pair) GoString() string { return "tlsmgr.Pair{" + p.Name + "}" }

// A Problem is what is wrong with a pair.
type Problem struct {
	Name string
	Err  error
	// InForce says that the pair is used all the same: it has expired, say,
	// and clients will tell its owner.
	InForce bool
}

func (p *Problem) Error() string { return "key pair " + p.Name + ": " + p.Err.Error() }

func (p *Problem) Unwrap() error { return p.Err }

// A Store keeps key pairs, parsed. Any goroutine may use it.
type Store struct {
	ca  *LocalCA
	now func() time.Time

	mu       sync.RWMutex
	pairs    map[string]*stored
	problems map[string]*Problem // of pairs that are not in force
}

// stored is a pair that was parsed, and the digest of what it was parsed from.
type stored struct {
	sum  [sha256.Size]byte
	cert *tls.Certificate
}

// NewStore returns a Store without pairs. The ca issues for listeners that
// name no certificates; if nil, such listeners refuse handshakes.
func NewStore(ca *LocalCA) *Store {
	return &Store{ca: ca, now: time.Now, pairs: make(map[string]*stored), problems: make(map[string]*Problem)}
}

// Put adds a pair, or replaces the one of its name, and returns what is wrong
// with it, or nil. A pair that cannot be used does not replace one that can:
// the old one stays in force until it is removed. The same bytes again cost
// a digest.
func (s *Store) Put(p Pair) *Problem {
	sum := digest(p)
	s.mu.RLock()
	old := s.pairs[p.Name]
	s.mu.RUnlock()
	if old == nil || old.sum != sum {
		// Without the lock: a large RSA key takes a millisecond.
		cert, err := parse(p)
		if err != nil {
			return s.refuse(p.Name, err, old != nil)
		}
		old = &stored{sum, cert}
	}
	s.mu.Lock()
	s.pairs[p.Name] = old
	delete(s.problems, p.Name)
	s.mu.Unlock()
	return s.warning(p.Name, old.cert)
}

func (s *Store) refuse(name string, err error, replaces bool) *Problem {
	if replaces {
		err = fmt.Errorf("%w; the one before it is still served", err)
	}
	problem := &Problem{Name: name, Err: err}
	s.mu.Lock()
	s.problems[name] = problem
	s.mu.Unlock()
	return problem
}

// digest tells whether two pairs are the same.
func digest(p Pair) [sha256.Size]byte {
	h := sha256.New()
	fmt.Fprintf(h, "%d\n", len(p.Chain)) // so that no byte can change sides
	h.Write(p.Chain)
	h.Write(p.Key)
	return [sha256.Size]byte(h.Sum(nil))
}

// parse reads a pair and checks that its halves belong together.
func parse(p Pair) (*tls.Certificate, error) {
	if !hasBlock(p.Chain, "CERTIFICATE") {
		if hasBlock(p.Chain, "PRIVATE KEY") {
			return nil, errors.New("certificate: there is a private key in its place")
		}
		return nil, errors.New("certificate: no PEM block CERTIFICATE in it")
	}
	if !hasBlock(p.Key, "PRIVATE KEY") {
		if hasBlock(p.Key, "CERTIFICATE") {
			return nil, errors.New("key: there is a certificate in its place")
		}
		return nil, errors.New("key: no PEM block PRIVATE KEY in it")
	}
	cert, err := tls.X509KeyPair(p.Chain, p.Key)
	if err != nil {
		return nil, errors.New(strings.TrimPrefix(err.Error(), "tls: "))
	}
	return &cert, nil
}

// hasBlock reports whether there is a PEM block whose type ends in kind.
func hasBlock(text []byte, kind string) bool {
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			return false
		}
		if strings.HasSuffix(block.Type, kind) {
			return true
		}
	}
}

// warning returns what clients will have against a certificate.
func (s *Store) warning(name string, cert *tls.Certificate) *Problem {
	var err error
	leaf, now := cert.Leaf, s.now()
	switch {
	case now.After(leaf.NotAfter):
		err = fmt.Errorf("certificate expired on %s", leaf.NotAfter.UTC().Format(time.DateTime))
	case now.Before(leaf.NotBefore):
		err = fmt.Errorf("certificate is not valid before %s", leaf.NotBefore.UTC().Format(time.DateTime))
	case len(leaf.DNSNames) == 0 && len(leaf.IPAddresses) == 0:
		err = errors.New("certificate has no subject alternative name: no client takes it for any host")
	case len(cert.Certificate) > 1 && bytes.Equal(cert.Certificate[0], cert.Certificate[1]):
		err = errors.New("certificate is there twice: want it once, then those that vouch for it")
	default:
		return nil
	}
	return &Problem{Name: name, Err: err, InForce: true}
}

// Remove forgets a pair. Tables made before keep what they have of it.
func (s *Store) Remove(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.pairs, name)
	delete(s.problems, name)
}

// Certificate returns a pair in force, or nil. Do not change it.
func (s *Store) Certificate(name string) *tls.Certificate {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if p, ok := s.pairs[name]; ok {
		return p.cert
	}
	return nil
}

// Problems returns what is wrong with pairs now, by name: those that cannot be
// used, and those that clients will refuse.
func (s *Store) Problems() []*Problem {
	s.mu.RLock()
	all := slices.Collect(maps.Values(s.problems))
	for name, p := range s.pairs {
		if w := s.warning(name, p.cert); w != nil && s.problems[name] == nil {
			all = append(all, w)
		}
	}
	s.mu.RUnlock()
	slices.SortFunc(all, func(a, b *Problem) int { return cmp.Compare(a.Name, b.Name) })
	return all
}

// Expiry returns how many pairs are in force and when the first of them
// expires; zero without any.
func (s *Store) Expiry() (n int, first time.Time) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, p := range s.pairs {
		if end := p.cert.Leaf.NotAfter; first.IsZero() || end.Before(first) {
			first = end
		}
	}
	return len(s.pairs), first
}
