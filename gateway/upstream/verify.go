package upstream

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"time"

	"fairway.dev/routing"
	"fairway.dev/tlsmgr"
)

// verifyBy makes config verify endpoints as t says, where crypto/tls alone does
// not: by subject alternative names, of which it knows one only, and by lists of
// revoked certificates.
func verifyBy(config *tls.Config, t *routing.UpstreamTLS) error {
	if t.Insecure {
		return nil
	}
	v := verifier{roots: config.RootCAs, sans: t.SANs}
	if len(t.CRL) > 0 {
		var err error
		if v.revoked, err = tlsmgr.ParseRevocations(t.CRL); err != nil {
			return fmt.Errorf("certificates that are revoked: %w", err)
		}
	}
	switch {
	case len(t.SANs) > 0:
		config.InsecureSkipVerify = true // the whole check is ours
		config.VerifyConnection = v.verify
	case v.revoked != nil:
		config.VerifyConnection = func(state tls.ConnectionState) error { return v.notRevoked(state.VerifiedChains) }
	}
	return nil
}

// A verifier checks the chain of a server's certificate, and that one of sans
// is in it: with subject alternative names given, the server name is sent but
// not checked (BackendTLSPolicy, GEP-1897).
type verifier struct {
	roots   *x509.CertPool
	sans    []string
	revoked *tlsmgr.Revocations // nil: nobody says which are
}

func (v verifier) verify(state tls.ConnectionState) error {
	if len(state.PeerCertificates) == 0 {
		return errors.New("endpoint sent no certificate")
	}
	leaf := state.PeerCertificates[0]
	options := x509.VerifyOptions{Roots: v.roots, Intermediates: x509.NewCertPool()}
	for _, cert := range state.PeerCertificates[1:] {
		options.Intermediates.AddCert(cert)
	}
	chains, err := leaf.Verify(options)
	if err != nil {
		return err
	}
	if err := v.notRevoked(chains); err != nil {
		return err
	}
	for _, san := range v.sans {
		if hasSAN(leaf, san) {
			return nil
		}
	}
	return fmt.Errorf("certificate for DNS names %v and URIs %v: want one of %v", leaf.DNSNames, leaf.URIs, v.sans)
}

// hasSAN reports whether cert is for san: a URI, such as a SPIFFE id, where
// it has a scheme, else a DNS name, which has no colon.
func hasSAN(cert *x509.Certificate, san string) bool {
	if !strings.Contains(san, ":") {
		return cert.VerifyHostname(san) == nil
	}
	for _, uri := range cert.URIs {
		if uri.String() == san {
			return true
		}
	}
	return false
}

// notRevoked looks for a chain that holds.
func (v verifier) notRevoked(chains [][]*x509.Certificate) error {
	if v.revoked == nil {
		return nil
	}
	err := errors.New("no chain to a root")
	for _, chain := range chains {
		if err = v.revoked.Check(chain, time.Now()); err == nil {
			return nil
		}
	}
	return err
}
