package tlsmgr

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"slices"
	"time"
)

// A ClientValidation is how certificates of a listener's clients are checked
// (GEP-91, ServerTLSSettings of Istio).
type ClientValidation struct {
	// Roots are what a client's certificate has to lead to, PEM. Without any
	// certificate in them the listener refuses all handshakes.
	Roots []byte
	// AllowInsecure takes clients without a certificate, or with one that
	// does not verify. A Verified connection tells which do.
	AllowInsecure bool
	// Optional takes clients without a certificate. One that is shown has to
	// verify.
	Optional bool
	// SANs are subject alternative names of which a certificate has to have
	// one: DNS names, URIs, IP addresses or email addresses. One with "*" in
	// front, or at its end, stands for all that end, or begin, like the rest.
	SANs []string
	// SPKI and Hashes are SHA-256 of public keys, in base64, and of
	// certificates, in hexadecimal: one of either has to be the client's.
	SPKI, Hashes []string
	// CRL are lists of revoked certificates, PEM (see Revocations). If it is
	// not valid the listener refuses all handshakes.
	CRL []byte
	// Proof is what a Verified connection hears; nil: Roots.
	Proof []byte
}

func (v *ClientValidation) proof() []byte {
	if v.Proof == nil {
		return v.Roots
	}
	return v.Proof
}

// A Verified is a net.Conn under TLS that hears of the certificate of its
// client: in the handshake, from the goroutine that runs that, once the
// certificate is known to meet the listener's validation, whose proof is as it
// was given. A connection that is taken without a valid one hears nothing.
type Verified interface {
	ClientVerified(proof []byte)
}

// clients checks the certificates of a listener's clients. It never changes.
type clients struct {
	given   ClientValidation
	pool    *x509.CertPool // nil: nobody is let in
	revoked *Revocations   // nil: none
}

func newClients(v *ClientValidation) *clients {
	c := &clients{given: *v}
	c.given.Proof = v.proof()
	if len(v.CRL) > 0 {
		var err error
		if c.revoked, err = ParseRevocations(v.CRL); err != nil {
			return c
		}
	}
	if pool := x509.NewCertPool(); pool.AppendCertsFromPEM(v.Roots) {
		c.pool = pool
	}
	return c
}

func (c *clients) same(v *ClientValidation) bool {
	g := &c.given
	return g.AllowInsecure == v.AllowInsecure && g.Optional == v.Optional && bytes.Equal(g.Roots, v.Roots) && bytes.Equal(g.CRL, v.CRL) &&
		slices.Equal(g.SANs, v.SANs) && slices.Equal(g.SPKI, v.SPKI) && slices.Equal(g.Hashes, v.Hashes) &&
		bytes.Equal(g.Proof, v.proof())
}

// ask makes config, which is for one connection alone, ask for a certificate
// and check it.
func (c *clients) ask(config *tls.Config, conn net.Conn) {
	config.ClientAuth = tls.RequireAndVerifyClientCert
	if c.given.Optional {
		config.ClientAuth = tls.VerifyClientCertIfGiven
	}
	if c.given.AllowInsecure {
		config.ClientAuth = tls.RequestClientCert
	}
	config.ClientCAs = c.pool // and their names are in the request
	config.VerifyConnection = func(state tls.ConnectionState) error {
		if c.given.Optional && len(state.PeerCertificates) == 0 {
			return nil
		}
		err := c.verify(&state)
		if err == nil {
			if v, ok := conn.(Verified); ok {
				v.ClientVerified(c.given.Proof)
			}
			return nil
		}
		if c.given.AllowInsecure {
			return nil
		}
		return err
	}
}

// errNoClientCertificate says that a client showed none.
var errNoClientCertificate = errors.New("client showed no certificate")

// verify checks what a client showed, in this handshake or in the one that its
// session began with. crypto/tls checks a certificate when it is shown; of a
// resumed session it asks whether that led to one of the roots of now, so that
// a signature that has lost its worth since would still count.
func (c *clients) verify(state *tls.ConnectionState) error {
	if len(state.PeerCertificates) == 0 {
		return errNoClientCertificate
	}
	chains := state.VerifiedChains
	if len(chains) == 0 || state.DidResume {
		options := x509.VerifyOptions{
			Roots: c.pool, Intermediates: x509.NewCertPool(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		}
		for _, cert := range state.PeerCertificates[1:] {
			options.Intermediates.AddCert(cert)
		}
		var err error
		if chains, err = state.PeerCertificates[0].Verify(options); err != nil {
			return &tls.CertificateVerificationError{UnverifiedCertificates: state.PeerCertificates, Err: err}
		}
	}
	if err := c.known(state.PeerCertificates[0]); err != nil {
		return err
	}
	return c.unrevoked(chains)
}

// unrevoked says why none of a certificate's chains holds any longer.
func (c *clients) unrevoked(chains [][]*x509.Certificate) error {
	if c.revoked == nil {
		return nil
	}
	var first error
	now := time.Now()
	for _, chain := range chains {
		err := c.revoked.Check(chain, now)
		if err == nil {
			return nil
		}
		if first == nil {
			first = err
		}
	}
	return first
}
