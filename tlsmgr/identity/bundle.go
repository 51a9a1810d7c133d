package identity

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"time"
)

// A Bundle is the roots that are trusted: several while one takes the place of
// another. It never changes.
type Bundle struct {
	roots []*x509.Certificate
	pool  *x509.CertPool
}

const maxRoots = 64

// NewBundle returns the Bundle of roots. It takes CA certificates only, and at
// least one.
func NewBundle(roots ...*x509.Certificate) (*Bundle, error) {
	if len(roots) == 0 || len(roots) > maxRoots {
		return nil, fmt.Errorf("bundle of %d roots: want 1-%d", len(roots), maxRoots)
	}
	b := &Bundle{pool: x509.NewCertPool()}
	for _, root := range roots {
		if !root.IsCA {
			return nil, fmt.Errorf("root %s: not a CA's certificate", root.Subject)
		}
		b.roots = append(b.roots, root)
		b.pool.AddCert(root)
	}
	return b, nil
}

// ParseBundle returns the Bundle of a PEM file.
func ParseBundle(text []byte) (*Bundle, error) {
	roots, err := parseCertificates(text)
	if err != nil {
		return nil, fmt.Errorf("bundle: %w", err)
	}
	return NewBundle(roots...)
}

// PEM returns the roots as text.
func (b *Bundle) PEM() []byte {
	var text []byte
	for _, root := range b.roots {
		text = append(text, encodeCertificate(root.Raw)...)
	}
	return text
}

// Verify returns whose certificate chain[0] is, if it leads to a root by way
// of the others, at that time and for that use.
func (b *Bundle) Verify(chain []*x509.Certificate, use x509.ExtKeyUsage, now time.Time) (ID, error) {
	if b == nil {
		return ID{}, errors.New("no bundle of roots to verify a peer with")
	}
	if len(chain) == 0 {
		return ID{}, errors.New("no certificate, want one of the mesh")
	}
	o := x509.VerifyOptions{Roots: b.pool, Intermediates: x509.NewCertPool(), CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{use}}
	for _, cert := range chain[1:] {
		o.Intermediates.AddCert(cert)
	}
	if _, err := chain[0].Verify(o); err != nil {
		return ID{}, err
	}
	return OfCertificate(chain[0])
}

func encodeCertificate(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// parseCertificates reads PEM text that has certificates and nothing else.
func parseCertificates(text []byte) ([]*x509.Certificate, error) {
	var list []*x509.Certificate
	for {
		var block *pem.Block
		block, text = pem.Decode(text)
		if block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("PEM block %q: want CERTIFICATE", block.Type)
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		list = append(list, cert)
	}
	if len(bytes.TrimSpace(text)) > 0 {
		return nil, errors.New("text that is not PEM after the last certificate")
	}
	return list, nil
}
