package trust

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"fairway.dev/tlsmgr/identity"
)

// The Secrets of the CA, in control's namespace: the user's, by the name that it
// has in Istio's, and where there is none our own.
const (
	UserSecretName = "cacerts"
	SecretName     = "fairway-ca"
)

// The keys of the Secret, which are those of Istio's "cacerts".
const (
	certKey  = "ca-cert.pem"
	keyKey   = "ca-key.pem"
	rootsKey = "root-cert.pem"
	chainKey = "cert-chain.pem"
	listsKey = "ca-crl.pem" // may be missing

	// Those of a Secret of type kubernetes.io/tls, as cert-manager writes it.
	tlsCertKey  = "tls.crt" // with the chain
	tlsKeyKey   = "tls.key"
	tlsRootsKey = "ca.crt"
)

const (
	timeout      = 10 * time.Second // of a request to the API server
	firstRetry   = time.Second
	slowestRetry = 30 * time.Second
	recheck      = time.Minute // whether the Secret has changed
)

// A Store is the CA as the cluster has it, and the roots that are believed.
type Store struct {
	// Changed, if set before Run, is called after the roots or the CA have become
	// others, the first ones too, by the goroutine of Run.
	Changed func()

	core        rest.Interface
	ledger      ledger
	namespace   string
	trustDomain string
	log         *slog.Logger

	ca     atomic.Pointer[identity.CA]
	bundle atomic.Pointer[identity.Bundle]
	ready  chan struct{}
	first  sync.Once

	// Of the goroutine of Run.
	origin  string       // the Secret that read is from, and its version
	read    *identity.CA // the Secret's; it may have to wait until it signs
	listed  []string     // what that Secret says is to be believed
	waiting bool         // and it was said that it does
}

// NewStore returns a Store that has nothing before Run. It needs to get and
// create Secrets and ConfigMaps in namespace, which is control's, and to patch
// the ConfigMap.
func NewStore(config *rest.Config, namespace, trustDomain string, log *slog.Logger) (*Store, error) {
	if err := identity.ValidTrustDomain(trustDomain); err != nil {
		return nil, err
	}
	c, err := core(config)
	if err != nil {
		return nil, err
	}
	return &Store{
		core: c, ledger: ledger{c, namespace}, namespace: namespace, trustDomain: trustDomain, log: log, ready: make(chan struct{}),
	}, nil
}

// CA returns the CA that signs, nil while there is none.
func (s *Store) CA() *identity.CA { return s.ca.Load() }

// Bundle returns what is believed: for peers (identity.Roots), and as PEM for
// ConfigMaps. It is nil before it has been read.
func (s *Store) Bundle() *identity.Bundle { return s.bundle.Load() }

// Ready is closed when the roots are known. The CA may have to wait: see the
// package.
func (s *Store) Ready() <-chan struct{} { return s.ready }

// Run reads the CA, or makes it, and follows the Secret until ctx ends. A
// Secret that cannot be used leaves the CA as it was.
func (s *Store) Run(ctx context.Context) {
	retry := firstRetry
	for {
		wait := recheck
		if err := s.refresh(ctx); err != nil {
			if ctx.Err() != nil {
				return
			}
			s.log.Error("CA not usable, trying again", "origin", "namespace "+s.namespace, "err", err)
			wait, retry = retry, min(2*retry, slowestRetry)
		} else {
			retry = firstRetry
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait - wait/10 + rand.N(wait/5)):
		}
	}
}

func (s *Store) refresh(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	secret, err := s.get(ctx, UserSecretName)
	if apierrors.IsNotFound(err) {
		secret, err = s.ours(ctx)
	}
	if err != nil {
		return err
	}
	if err := s.parse(secret); err != nil {
		return fmt.Errorf("secret %s: %w", secret.Name, err)
	}
	h, err := s.ledger.follow(ctx, s.listed)
	if err != nil {
		return err
	}
	return s.use(h)
}

// ours is the Secret of ours, which is made where there is none.
func (s *Store) ours(ctx context.Context) (*corev1.Secret, error) {
	secret, err := s.get(ctx, SecretName)
	if apierrors.IsNotFound(err) {
		secret, err = s.create(ctx)
		if apierrors.IsAlreadyExists(err) {
			secret, err = s.get(ctx, SecretName) // another replica was first
		}
	}
	return secret, err
}

func (s *Store) get(ctx context.Context, name string) (*corev1.Secret, error) {
	secret := &corev1.Secret{}
	err := s.core.Get().Namespace(s.namespace).Resource("secrets").Name(name).Do(ctx).Into(secret)
	return secret, err
}

// create writes the CA at hand, where somebody has deleted it, or a new one. The
// user's is not ours to keep.
func (s *Store) create(ctx context.Context) (*corev1.Secret, error) {
	ca := s.read
	if ca == nil || !strings.HasPrefix(s.origin, SecretName+" ") {
		var err error
		if ca, err = identity.NewCA(s.trustDomain); err != nil {
			return nil, err
		}
	}
	files, err := ca.Files()
	if err != nil {
		return nil, err
	}
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Name: SecretName, Namespace: s.namespace,
			Labels: map[string]string{"app.kubernetes.io/name": "fairway", "app.kubernetes.io/managed-by": "fairway"},
		},
		Type: corev1.SecretTypeOpaque,
		Data: map[string][]byte{certKey: files.Cert, keyKey: files.Key, rootsKey: files.Roots, chainKey: files.Chain},
	}
	created := &corev1.Secret{}
	err = s.core.Post().Namespace(s.namespace).Resource("secrets").Body(secret).Do(ctx).Into(created)
	return created, err
}

// parse reads the Secret where it is another than before.
func (s *Store) parse(secret *corev1.Secret) error {
	origin := secret.Name + " " + secret.ResourceVersion
	if s.read != nil && origin == s.origin {
		return nil
	}
	files := identity.CAFiles{Cert: secret.Data[certKey], Key: secret.Data[keyKey], Roots: secret.Data[rootsKey], Chain: secret.Data[chainKey]}
	if secret.Data[certKey] == nil && secret.Data[tlsCertKey] != nil {
		files = identity.CAFiles{Cert: secret.Data[tlsCertKey], Key: secret.Data[tlsKeyKey], Roots: secret.Data[tlsRootsKey]}
	}
	files.Roots = slices.Concat(files.Roots, []byte("\n"), secret.Data[listsKey])
	ca, err := identity.ParseCA(files)
	if err != nil {
		if secret.Name == UserSecretName {
			return fmt.Errorf("%w; mend it", err)
		}
		return fmt.Errorf("%w; mend it, or delete it to have it written anew", err)
	}
	s.origin, s.read, s.listed, s.waiting = origin, ca, ca.Bundle().Parts(), false
	s.log.Info("CA read", "origin", "Secret "+s.namespace+"/"+secret.Name)
	return nil
}

// use puts the roots in force, and the CA once everybody knows of its root.
func (s *Store) use(h history) error {
	bundle, err := h.bundle()
	if err != nil {
		return err
	}
	changed := s.Bundle() == nil || !bytes.Equal(bundle.PEM(), s.Bundle().PEM())
	if changed {
		s.bundle.Store(bundle)
		s.log.Info("roots in force", "roots", len(bundle.Parts()))
	}
	switch {
	case s.read == s.CA():
	case s.read.Under(h.known(time.Now())):
		changed = true
		s.ca.Store(s.read)
		s.log.Info("CA signs", "origin", "Secret "+s.namespace+"/"+strings.Fields(s.origin)[0])
	case !s.waiting:
		s.waiting = true
		s.log.Info("CA waits until all know its root", "origin", "Secret "+s.namespace+"/"+strings.Fields(s.origin)[0], "took", spread)
	}
	if changed && s.Changed != nil {
		s.Changed()
	}
	s.first.Do(func() { close(s.ready) })
	return nil
}
