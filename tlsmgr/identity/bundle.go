package identity

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"time"
)

// A Bundle is the roots that are trusted: several while one takes the place of
// another, and the lists of what is not believed any more although it leads to
// one. It never changes.
type Bundle struct {
	roots []*x509.Certificate
	pool  *x509.CertPool
	lists []*revocations
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

// ParseBundle returns the Bundle of a PEM file: its certificates, and the
// certificate revocation lists (RFC 5280) that may stand among them.
func ParseBundle(text []byte) (*Bundle, error) {
	certificates, lists, err := splitLists(text)
	if err != nil {
		return nil, fmt.Errorf("bundle: %w", err)
	}
	roots, err := parseCertificates(certificates)
	if err != nil {
		return nil, fmt.Errorf("bundle: %w", err)
	}
	b, err := NewBundle(roots...)
	if err != nil {
		return nil, err
	}
	b.lists = lists
	return b, nil
}

// Parts returns the PEM of each root and each list.
func (b *Bundle) Parts() []string {
	var parts []string
	for _, root := range b.roots {
		parts = append(parts, string(encodeCertificate(root.Raw)))
	}
	for _, l := range b.lists {
		parts = append(parts, string(pemOf(listBlock, l.raw)))
	}
	return parts
}

// Roots returns the roots. Nobody changes them.
func (b *Bundle) Roots() []*x509.Certificate { return b.roots }

// PEM returns the roots and the lists as text.
func (b *Bundle) PEM() []byte { return []byte(strings.Join(b.Parts(), "")) }

// Verify returns whose certificate chain[0] is, if it leads to a root by way
// of the others, at that time and for that use, and is on no list. The error
// says what was found and what was wanted.
func (b *Bundle) Verify(chain []*x509.Certificate, use x509.ExtKeyUsage, now time.Time) (ID, error) {
	if err := b.lead(chain, x509.VerifyOptions{CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{use}}); err != nil {
		return ID{}, err
	}
	return OfCertificate(chain[0])
}

// VerifyName returns nil if chain[0] is a certificate of a server of that name
// in DNS, as the other CAs' own servers have it.
func (b *Bundle) VerifyName(chain []*x509.Certificate, name string, now time.Time) error {
	return b.lead(chain, x509.VerifyOptions{
		CurrentTime: now, DNSName: name, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
}

// lead returns nil if a way leads from chain[0] to a root, with nothing revoked
// on it.
func (b *Bundle) lead(chain []*x509.Certificate, o x509.VerifyOptions) error {
	if b == nil {
		return errors.New("no bundle of roots to verify a peer with")
	}
	if len(chain) == 0 {
		return errors.New("no certificate, want one of the mesh")
	}
	o.Roots, o.Intermediates = b.pool, x509.NewCertPool()
	for _, cert := range chain[1:] {
		o.Intermediates.AddCert(cert)
	}
	ways, err := chain[0].Verify(o)
	if err != nil {
		return b.explained(chain[0], o.CurrentTime, err)
	}
	for _, way := range ways {
		if err = b.revoked(way); err == nil {
			return nil
		}
	}
	return err
}

// explained says of whose certificate it is that the library does not believe,
// and what was wanted of it.
func (b *Bundle) explained(leaf *x509.Certificate, now time.Time, err error) error {
	of := leaf.Subject.String()
	if len(leaf.URIs) == 1 {
		of = leaf.URIs[0].String()
	}
	of = fmt.Sprintf("certificate of %.300s", of)
	var invalid x509.CertificateInvalidError
	var foreign x509.UnknownAuthorityError
	switch {
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired && now.After(leaf.NotAfter):
		return fmt.Errorf("%s: expired at %s, want one that is valid at %s: %w",
			of, leaf.NotAfter.Format(time.RFC3339), now.UTC().Format(time.RFC3339), err)
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired && now.Before(leaf.NotBefore):
		return fmt.Errorf("%s: valid from %s on, want one that is valid at %s: %w",
			of, leaf.NotBefore.Format(time.RFC3339), now.UTC().Format(time.RFC3339), err)
	case errors.As(err, &foreign):
		return fmt.Errorf("%s: issued by %.300q (key %.16x), want one that leads to one of %d roots of the mesh: %w",
			of, leaf.Issuer.String(), leaf.AuthorityKeyId, len(b.roots), err)
	}
	return fmt.Errorf("%s: %w", of, err)
}

func encodeCertificate(der []byte) []byte {
	return pemOf("CERTIFICATE", der)
}

func pemOf(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
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
