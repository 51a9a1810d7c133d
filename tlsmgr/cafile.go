package tlsmgr

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

const (
	keyFile  = "ca.key" // 0600
	rootFile = "ca.crt" // 0644
)

// OpenLocalCA returns the CA that is kept in dir, and makes it where there is
// none. The key is made first and never replaced; a root whose file is gone is
// made anew for it. A file that is damaged is left alone, and an error says
// which it is.
func OpenLocalCA(dir string) (*LocalCA, error) { return openLocalCA(dir, time.Now) }

func openLocalCA(dir string, now func() time.Time) (*LocalCA, error) {
	ca := &LocalCA{dir: dir, now: now, leaves: make(map[string]*tls.Certificate)}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	if err := ca.openKey(); err != nil {
		return nil, err
	}
	if err := ca.openRoot(); err != nil {
		return nil, err
	}
	var err error
	ca.leafKey, err = newKey()
	return ca, err
}

// openKey reads the root's key, or makes it.
func (ca *LocalCA) openKey() error {
	path := filepath.Join(ca.dir, keyFile)
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		_, missing := os.Stat(ca.RootFile())
		if missing != nil {
			if err := makeKey(path); err != nil {
				return err
			}
		}
		// Another process may have made both since: the key comes first.
		text, err = os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) && missing == nil {
			return fmt.Errorf("%s is not there, but %s is: want both, or neither to have a new CA made", path, rootFile)
		}
	}
	if err != nil {
		return err
	}
	der, err := onlyBlock(text, "PRIVATE KEY")
	if err != nil {
		return damaged(path, err)
	}
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return damaged(path, err)
	}
	var ok bool
	if ca.key, ok = key.(*ecdsa.PrivateKey); !ok {
		return damaged(path, fmt.Errorf("a key of type %T, want ECDSA", key))
	}
	return nil
}

func makeKey(path string) error {
	key, err := newKey()
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	return create(path, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600)
}

// openRoot reads the root's certificate, or makes it for the key.
func (ca *LocalCA) openRoot() error {
	path := ca.RootFile()
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		if err := ca.makeRoot(path); err != nil {
			return err
		}
		text, err = os.ReadFile(path)
	}
	if err != nil {
		return err
	}
	der, err := onlyBlock(text, "CERTIFICATE")
	if err != nil {
		return damaged(path, err)
	}
	if ca.root, err = x509.ParseCertificate(der); err != nil {
		return damaged(path, err)
	}
	switch {
	case !ca.key.PublicKey.Equal(ca.root.PublicKey):
		return fmt.Errorf("%s is not for the key in %s: remove it to have it made anew", path, keyFile)
	case !ca.root.IsCA:
		return fmt.Errorf("%s is not the certificate of a CA: remove it to have it made anew", path)
	case ca.now().After(ca.root.NotAfter):
		return fmt.Errorf("%s expired on %s: remove it to have it made anew", path, ca.root.NotAfter.UTC().Format(time.DateOnly))
	}
	return nil
}

func (ca *LocalCA) makeRoot(path string) error {
	now := ca.now()
	template := &x509.Certificate{
		Subject:               pkix.Name{Organization: []string{"Fairway"}, CommonName: "Fairway local CA"},
		NotBefore:             now.Add(-clockSkew),
		NotAfter:              now.Add(rootLife),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, ca.key.Public(), ca.key)
	if err != nil {
		return err
	}
	return create(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644)
}

func damaged(path string, err error) error {
	return fmt.Errorf("%s is damaged: %w; restore it, or remove %s and %s to have a new CA made", path, err, keyFile, rootFile)
}

// onlyBlock returns what the one PEM block in text holds.
func onlyBlock(text []byte, kind string) ([]byte, error) {
	block, rest := pem.Decode(text)
	switch {
	case block == nil:
		return nil, fmt.Errorf("no PEM in %d bytes, want %s", len(text), kind)
	case block.Type != kind:
		return nil, fmt.Errorf("PEM block %s, want %s", block.Type, kind)
	case len(rest) > 0:
		return nil, fmt.Errorf("%d bytes after the PEM block, want none", len(rest))
	}
	return block.Bytes, nil
}

// create makes a file that nobody sees before it is whole. Where there is one
// already, somebody else was faster: theirs stays.
func create(path string, content []byte, mode fs.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(content)
	err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close())
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := os.Link(f.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}
