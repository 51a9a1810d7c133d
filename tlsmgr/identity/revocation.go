package identity

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"slices"
)

// listBlock is the type of a PEM block with a list (RFC 7468 section 6).
const listBlock = "X509 CRL"

// revocations is a certificate revocation list: what its issuer takes back. One
// that is past its next update holds on: what it takes back is not good again.
type revocations struct {
	raw     []byte
	list    *x509.RevocationList
	serials map[string]bool
}

// splitLists parses the lists that PEM text has, and returns the text without
// them.
func splitLists(text []byte) (others []byte, lists []*revocations, err error) {
	rest := text
	for {
		block, after := pem.Decode(rest)
		if block == nil {
			return append(others, rest...), lists, nil
		}
		if block.Type != listBlock {
			others = append(others, rest[:len(rest)-len(after)]...)
			rest = after
			continue
		}
		rest = after
		list, err := x509.ParseRevocationList(block.Bytes)
		if err != nil {
			return nil, nil, fmt.Errorf("revocation list: %w", err)
		}
		r := &revocations{raw: block.Bytes, list: list, serials: map[string]bool{}}
		for _, e := range list.RevokedCertificateEntries {
			r.serials[string(e.SerialNumber.Bytes())] = true
		}
		lists = append(lists, r)
	}
}

// revoked returns an error if a certificate of way, which leads from a leaf to a
// root, is on a list of its issuer (RFC 5280 section 6.3).
func (b *Bundle) revoked(way []*x509.Certificate) error {
	for i, cert := range way[:len(way)-1] {
		issuer := way[i+1]
		taken := slices.ContainsFunc(b.lists, func(r *revocations) bool {
			return bytes.Equal(r.list.RawIssuer, issuer.RawSubject) && r.serials[string(cert.SerialNumber.Bytes())] &&
				r.list.CheckSignatureFrom(issuer) == nil
		})
		if taken {
			return fmt.Errorf("certificate of %v with serial number %v is revoked by %.300q, want one that is not", cert.URIs, cert.SerialNumber, issuer.Subject.String())
		}
	}
	return nil
}
