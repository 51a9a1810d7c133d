package identity

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	mathrand "math/rand/v2"
	"net/url"
	"sync"
	"sync/atomic"
	"time"
)

const (
	issueTimeout = 30 * time.Second
	firstRetry   = 200 * time.Millisecond
	slowestRetry = 30 * time.Second
	trustCheck   = 10 * time.Second // whether the certificate at hand still leads to a root
)

// Issue has a certificate request (PEM) signed and returns the chain in PEM,
// the leaf first.
type Issue func(ctx context.Context, csr []byte) ([]byte, error)

// Local returns the Issue of a CA in this process, which always claims c; ca
// returns nil while there is none.
func Local(ca func() *CA, c Claim) Issue {
	return func(_ context.Context, csr []byte) ([]byte, error) {
		signer := ca()
		if signer == nil {
			return nil, errors.New("no CA yet")
		}
		chain, err := signer.Sign(csr, c)
		return bytes.Join(chain, nil), err
	}
}

// A Keeper holds the certificate of this process. Its keys never leave memory.
type Keeper struct {
	// Roots, if set before Run, are those that peers verify with, as far as is
	// known here: a certificate that no longer leads to one of them, as the CA
	// was replaced, is renewed at once.
	Roots Roots
	// Asks, if set before Run, is the identity that requests name, and no other
	// is taken. Most CAs go by the token alone; some (cert-manager's istio-csr)
	// want both to be the same.
	Asks ID

	issue   Issue
	log     *slog.Logger
	current atomic.Pointer[tls.Certificate]
	ready   chan struct{}
	first   sync.Once
}

// NewKeeper returns a Keeper that has nothing before Run.
func NewKeeper(issue Issue, log *slog.Logger) *Keeper {
	return &Keeper{issue: issue, log: log, ready: make(chan struct{})}
}

// Ready is closed when the Keeper has its first certificate.
func (k *Keeper) Ready() <-chan struct{} { return k.ready }

// Certificate returns the certificate to show, or an error while there is
// none that is valid. It is an [Own].
func (k *Keeper) Certificate() (*tls.Certificate, error) {
	cert := k.current.Load()
	if cert == nil {
		return nil, errors.New("no certificate of the mesh yet")
	}
	if err := inLife(cert); err != nil {
		return nil, err
	}
	return cert, nil
}

// Run gets the first certificate and renews it at half of its life, until ctx
// ends. While that does not succeed, the one at hand is served on until it
// expires.
func (k *Keeper) Run(ctx context.Context) {
	expiry := time.AfterFunc(MaxTTL, k.expire)
	expiry.Stop() // there is nothing yet that could expire
	defer expiry.Stop()
	retry := firstRetry
	for {
		wait, err := k.renew(ctx)
		if err != nil {
			if ctx.Err() != nil {
				return
			}
			k.log.Warn("no certificate of the mesh, trying again", "err", err)
			wait = jitter(retry)
			retry = min(2*retry, slowestRetry)
		} else {
			retry = firstRetry
			expiry.Reset(time.Until(k.current.Load().Leaf.NotAfter) + time.Millisecond)
		}
		if !k.rest(ctx, wait) {
			return
		}
	}
}

// expire says that the certificate at hand is of no use any more.
func (k *Keeper) expire() {
	if _, err := k.Certificate(); err != nil {
		k.log.Error("no certificate of the mesh is left: whoever has to be reached by one is not", "err", err)
	}
}

// rest waits for that long, or until peers no longer believe the certificate;
// false if ctx ended before.
func (k *Keeper) rest(ctx context.Context, wait time.Duration) bool {
	end := time.Now().Add(wait)
	// What they never believed does not get better by being issued anew.
	believed := k.believed()
	for left := wait; left > 0; left = time.Until(end) {
		select {
		case <-ctx.Done():
			return false
		case <-time.After(min(left, jitter(trustCheck))):
		}
		if believed && !k.believed() {
			k.log.Info("certificate of the mesh leads to no root any more, renewing it")
			return true
		}
	}
	return true
}

// believed reports whether peers believe the certificate at hand.
func (k *Keeper) believed() bool {
	cert, err := k.Certificate()
	if err != nil || k.Roots == nil {
		return false
	}
	_, err = k.Roots().Verify(parsed(cert), x509.ExtKeyUsageClientAuth, time.Now())
	return err == nil
}

// renew gets a certificate for a new key and returns when to do so again.
func (k *Keeper) renew(ctx context.Context) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, issueTimeout)
	defer cancel()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return 0, err
	}
	asks := &x509.CertificateRequest{}
	if k.Asks != (ID{}) {
		asks.URIs = []*url.URL{k.Asks.URL()}
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, asks, key)
	if err != nil {
		return 0, err
	}
	chain, err := k.issue(ctx, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))
	if err != nil {
		return 0, err
	}
	cert, err := pair(chain, key)
	if err != nil {
		return 0, fmt.Errorf("what was issued: %w", err)
	}
	id, err := OfCertificate(cert.Leaf)
	if err != nil {
		return 0, fmt.Errorf("what was issued: %w", err)
	}
	if k.Asks != (ID{}) && id != k.Asks {
		return 0, fmt.Errorf("what was issued: is of %s, want %s", id, k.Asks)
	}
	left := time.Until(cert.Leaf.NotAfter)
	if left <= 0 {
		return 0, fmt.Errorf("what was issued expired at %s", cert.Leaf.NotAfter.Format(time.RFC3339))
	}
	k.current.Store(cert)
	k.first.Do(func() { close(k.ready) })
	k.log.Info("certificate of the mesh issued", "peer", id.String())
	return jitter(left / 2), nil
}

// jitter returns d give or take a tenth, so that a fleet that began together
// does not come back together.
func jitter(d time.Duration) time.Duration {
	return d - d/10 + mathrand.N(d/5+1)
}
