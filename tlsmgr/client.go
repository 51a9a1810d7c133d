package tlsmgr

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
)

// A ClientValidation is how certificates of a listener's clients are checked
// (GEP-91).
type ClientValidation struct {
	// Roots are what a client's certificate has to lead to, PEM. Without any
	// certificate in them the listener refuses all handshakes.
	Roots []byte
	// AllowInsecure takes clients without a certificate, or with one that
	// does not verify. A Verified connection tells which do.
	AllowInsecure bool
}

// A Verified is a net.Conn under TLS that hears of the certificate of its
// client: in the handshake, from the goroutine that runs that, once the
// certificate is known to lead to roots, which are the listener's as they were
// given. A connection that is taken without a valid one hears nothing.
type Verified interface {
	ClientVerified(roots []byte)
}

// clients checks the certificates of a listener's clients. It never changes.
type clients struct {
	roots         []byte
	pool          *x509.CertPool // nil: nobody is let in
	allowInsecure bool
}

func newClients(v *ClientValidation) *clients {
	c := &clients{roots: v.Roots, allowInsecure: v.AllowInsecure}
	if pool := x509.NewCertPool(); pool.AppendCertsFromPEM(v.Roots) {
		c.pool = pool
	}
	return c
}

func (c *clients) same(v *ClientValidation) bool {
	return c.allowInsecure == v.AllowInsecure && bytes.Equal(c.roots, v.Roots)
}

// ask makes config, which is for one connection alone, ask for a certificate
// and check it.
func (c *clients) ask(config *tls.Config, conn net.Conn) {
	config.ClientAuth = tls.RequireAndVerifyClientCert
	if c.allowInsecure {
		config.ClientAuth = tls.RequestClientCert
	}
	config.ClientCAs = c.pool // and their names are in the request
	config.VerifyConnection = func(state tls.ConnectionState) error {
		err := c.verify(&state)
		if err == nil {
			if v, ok := conn.(Verified); ok {
				v.ClientVerified(c.roots)
			}
			return nil
		}
		if c.allowInsecure {
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
	if len(state.VerifiedChains) > 0 && !state.DidResume {
		return nil
	}
	options := x509.VerifyOptions{
		Roots: c.pool, Intermediates: x509.NewCertPool(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	for _, cert := range state.PeerCertificates[1:] {
		options.Intermediates.AddCert(cert)
	}
	if _, err := state.PeerCertificates[0].Verify(options); err != nil {
		return &tls.CertificateVerificationError{UnverifiedCertificates: state.PeerCertificates, Err: err}
	}
	return nil
}
