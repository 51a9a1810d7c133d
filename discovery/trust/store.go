package trust

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"fairway.dev/tlsmgr/identity"
)

// SecretName is the Secret of the CA, in control's namespace.
const SecretName = "fairway-ca"

// The keys of the Secret, which are those of Istio's "cacerts".
const (
	certKey  = "ca-cert.pem"
	keyKey   = "ca-key.pem"
	rootsKey = "root-cert.pem"
	chainKey = "cert-chain.pem"
)

const (
	timeout      = 10 * time.Second // of a request to the API server
	firstRetry   = time.Second
	slowestRetry = 30 * time.Second
	recheck      = time.Minute // whether the Secret has changed
)

// A Store is the CA as the cluster has it.
type Store struct {
	// Changed, if set before Run, is called after the CA has become another,
	// the first one too, by the goroutine of Run.
	Changed func()

	secrets     rest.Interface
	namespace   string
	trustDomain string
	log         *slog.Logger

	ca      atomic.Pointer[identity.CA]
	ready   chan struct{}
	first   sync.Once
	version string // of the Secret that ca is from
}

// NewStore returns a Store that has nothing before Run. It needs to get and
// create Secrets in namespace, which is control's.
func NewStore(config *rest.Config, namespace, trustDomain string, log *slog.Logger) (*Store, error) {
	if err := identity.ValidTrustDomain(trustDomain); err != nil {
		return nil, err
	}
	s, err := secrets(config)
	if err != nil {
		return nil, err
	}
	return &Store{secrets: s, namespace: namespace, trustDomain: trustDomain, log: log, ready: make(chan struct{})}, nil
}

// CA returns the CA, nil before it has been read.
func (s *Store) CA() *identity.CA { return s.ca.Load() }

// Bundle returns what to trust: for peers (identity.Roots), and as PEM for
// ConfigMaps. It is nil before the CA has been read.
func (s *Store) Bundle() *identity.Bundle {
	ca := s.ca.Load()
	if ca == nil {
		return nil
	}
	return ca.Bundle()
}

// Ready is closed when the CA has been read.
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
			s.log.Error("CA not usable, trying again", "origin", "Secret "+s.namespace+"/"+SecretName, "err", err)
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
	secret, err := s.read(ctx)
	if apierrors.IsNotFound(err) {
		secret, err = s.create(ctx)
		if apierrors.IsAlreadyExists(err) {
			secret, err = s.read(ctx) // another replica was first
		}
	}
	if err != nil {
		return err
	}
	return s.use(secret)
}

func (s *Store) read(ctx context.Context) (*corev1.Secret, error) {
	secret := &corev1.Secret{}
	err := s.secrets.Get().Namespace(s.namespace).Resource("secrets").Name(SecretName).Do(ctx).Into(secret)
	return secret, err
}

// create writes the CA at hand, where somebody has deleted it, or a new one.
func (s *Store) create(ctx context.Context) (*corev1.Secret, error) {
	ca := s.ca.Load()
	if ca == nil {
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
	err = s.secrets.Post().Namespace(s.namespace).Resource("secrets").Body(secret).Do(ctx).Into(created)
	return created, err
}

func (s *Store) use(secret *corev1.Secret) error {
	if s.CA() != nil && secret.ResourceVersion == s.version {
		return nil
	}
	ca, err := identity.ParseCA(identity.CAFiles{
		Cert: secret.Data[certKey], Key: secret.Data[keyKey], Roots: secret.Data[rootsKey], Chain: secret.Data[chainKey],
	})
	if err != nil {
		return fmt.Errorf("%w; mend the Secret, or delete it to have it written anew", err)
	}
	s.ca.Store(ca)
	s.version = secret.ResourceVersion
	s.log.Info("CA read", "origin", "Secret "+s.namespace+"/"+SecretName)
	if s.Changed != nil {
		s.Changed()
	}
	s.first.Do(func() { close(s.ready) })
	return nil
}
