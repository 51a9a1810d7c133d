package identity

import (
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// lookAgain is how often a folder is looked at, at most.
const lookAgain = time.Second

// fileNames are what the files of a folder may be called: as Istio's agent
// writes them, and as Kubernetes has them in Secrets and cert-manager's
// csi-driver-spiffe in its volumes.
var fileNames = []struct{ chain, key, roots string }{
	{"cert-chain.pem", "key.pem", "root-cert.pem"},
	{"tls.crt", "tls.key", "ca.crt"},
}

// Files are a certificate, its key and the roots, which somebody else keeps in
// a folder and may replace at any time. Its Certificate is [Own], its Bundle
// [Roots].
type Files struct {
	dir string
	log *slog.Logger

	mu     sync.Mutex
	looked time.Time
	read   string // what the files were when they were read
	failed string // what was last wrong with them
	cert   *tls.Certificate
	bundle *Bundle
}

// NewFiles reads a folder with cert-chain.pem, key.pem and root-cert.pem, or
// tls.crt, tls.key and ca.crt. It is an error if they are of no use; later that
// leaves what was there before.
func NewFiles(dir string, log *slog.Logger) (*Files, error) {
	f := &Files{dir: dir, log: log}
	if err := f.refresh(time.Now()); err != nil {
		return nil, fmt.Errorf("identity %s: %w", dir, err)
	}
	return f, nil
}

// Certificate returns the certificate to show, or an error while it is not
// valid.
func (f *Files) Certificate() (*tls.Certificate, error) {
	cert, _ := f.current()
	if err := inLife(cert); err != nil {
		return nil, err
	}
	return cert, nil
}

// Bundle returns the roots.
func (f *Files) Bundle() *Bundle {
	_, bundle := f.current()
	return bundle
}

// current returns what the folder has, and reads it anew where it has changed.
func (f *Files) current() (*tls.Certificate, *Bundle) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if now := time.Now(); now.Sub(f.looked) >= lookAgain {
		err := f.refresh(now)
		if err != nil && err.Error() != f.failed {
			f.failed = err.Error()
			f.log.Warn("certificate of the mesh not usable, the one before stays", "origin", f.dir, "err", err)
		}
	}
	return f.cert, f.bundle
}

// refresh is called with the lock held, or before anybody else has f.
func (f *Files) refresh(now time.Time) error {
	f.looked = now
	names := fileNames[0]
	for _, n := range fileNames {
		if _, err := os.Stat(filepath.Join(f.dir, n.chain)); err == nil {
			names = n
			break
		}
	}
	state := ""
	for _, name := range []string{names.chain, names.key, names.roots} {
		info, err := os.Stat(filepath.Join(f.dir, name))
		if err != nil {
			return err
		}
		state += fmt.Sprintf("%s %d %d\n", name, info.ModTime().UnixNano(), info.Size())
	}
	if state == f.read {
		return nil
	}
	cert, bundle, err := readFiles(f.dir, names.chain, names.key, names.roots)
	if err != nil {
		return err
	}
	id, err := bundle.Verify(parsed(cert), x509.ExtKeyUsageClientAuth, now)
	if err != nil {
		return fmt.Errorf("%s: %w", names.chain, err)
	}
	f.read, f.failed, f.cert, f.bundle = state, "", cert, bundle
	f.log.Info("certificate of the mesh read", "peer", id.String(), "roots", len(bundle.roots))
	return nil
}

func readFiles(dir, chainName, keyName, rootsName string) (*tls.Certificate, *Bundle, error) {
	var texts [3][]byte
	for i, name := range []string{chainName, keyName, rootsName} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return nil, nil, err
		}
		texts[i] = text
	}
	key, err := parseKey(texts[1])
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", keyName, err)
	}
	cert, err := pair(texts[0], key)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", chainName, err)
	}
	bundle, err := ParseBundle(texts[2])
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", rootsName, err)
	}
	return cert, bundle, nil
}

// pair puts a chain and its key together. A root at the end is left out: peers
// have it.
func pair(chain []byte, key crypto.Signer) (*tls.Certificate, error) {
	certs, err := parseCertificates(chain)
	if err != nil {
		return nil, err
	}
	if len(certs) == 0 {
		return nil, errors.New("no certificate")
	}
	if public, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool }); !ok || !public.Equal(certs[0].PublicKey) {
		return nil, errors.New("a certificate for another key")
	}
	cert := &tls.Certificate{PrivateKey: key, Leaf: certs[0]}
	for i, c := range certs {
		if i > 0 && c.CheckSignatureFrom(c) == nil {
			continue
		}
		cert.Certificate = append(cert.Certificate, c.Raw)
	}
	return cert, nil
}

// parsed returns the certificates that cert shows.
func parsed(cert *tls.Certificate) []*x509.Certificate {
	chain := []*x509.Certificate{cert.Leaf}
	for _, der := range cert.Certificate[1:] {
		if c, err := x509.ParseCertificate(der); err == nil {
			chain = append(chain, c)
		}
	}
	return chain
}

// inLife returns an error if a certificate of our own has expired.
func inLife(cert *tls.Certificate) error {
	if now := time.Now(); now.After(cert.Leaf.NotAfter) {
		return fmt.Errorf("certificate of the mesh expired at %s", cert.Leaf.NotAfter.Format(time.RFC3339))
	}
	return nil
}
