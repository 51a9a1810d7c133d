package tlsmgr

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"time"
)

// Revocations are lists of certificates that their issuers have revoked (RFC
// 5280 section 5). They never change.
type Revocations struct {
	lists []revocationList
}

// A revocationList is the list of one issuer.
type revocationList struct {
	*x509.RevocationList
	revoked map[string]bool // by serial number
}

// ParseRevocations reads lists in PEM. There has to be one at least.
func ParseRevocations(text []byte) (*Revocations, error) {
	r := &Revocations{}
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			break
		}
		if block.Type != "X509 CRL" {
			continue
		}
		list, err := x509.ParseRevocationList(block.Bytes)
		if err != nil {
			return nil, err
		}
		l := revocationList{list, make(map[string]bool, len(list.RevokedCertificateEntries))}
		for _, e := range list.RevokedCertificateEntries {
			l.revoked[serial(e.SerialNumber)] = true
		}
		r.lists = append(r.lists, l)
	}
	if len(r.lists) == 0 {
		return nil, errors.New("no PEM block X509 CRL in it")
	}
	return r, nil
}

func serial(n *big.Int) string { return string(n.Bytes()) }

// Check says why a chain, from the leaf to a root, does not hold at a time. As
// in OpenSSL, and so in Envoy, each of its issuers has to have a list, signed
// by it, whose time has not run out.
func (r *Revocations) Check(chain []*x509.Certificate, now time.Time) error {
	for i, cert := range chain[:max(0, len(chain)-1)] {
		if err := r.check(cert, chain[i+1], now); err != nil {
			return err
		}
	}
	return nil
}

func (r *Revocations) check(cert, issuer *x509.Certificate, now time.Time) error {
	found := false
	for _, l := range r.lists {
		if string(l.RawIssuer) != string(issuer.RawSubject) || l.CheckSignatureFrom(issuer) != nil {
			continue
		}
		if now.Before(l.ThisUpdate) || !l.NextUpdate.IsZero() && now.After(l.NextUpdate) {
			continue
		}
		if found = true; l.revoked[serial(cert.SerialNumber)] {
			return fmt.Errorf("certificate %x of %q is revoked", cert.SerialNumber, issuer.Subject)
		}
	}
	if !found {
		return fmt.Errorf("no list of revoked certificates of %q is in force", issuer.Subject)
	}
	return nil
}
