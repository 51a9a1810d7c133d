package identity

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
)

type (
	// Own returns the certificate of this end, or why there is none.
	Own func() (*tls.Certificate, error)
	// Roots returns the Bundle that peers are verified with; nil refuses all.
	Roots func() *Bundle
	// Known returns nil for a proven ID that is to be talked to. A nil Known
	// refuses all.
	Known func(ID) error
)

// ID returns who this end is, as its certificate says.
func (own Own) ID() (ID, error) {
	cert, err := own()
	if err != nil {
		return ID{}, err
	}
	return OfCertificate(cert.Leaf)
}

// Anyone is Known for everybody who has proved an ID.
func Anyone(ID) error { return nil }

// Only is Known for a single ID.
func Only(want ID) Known {
	return func(id ID) error {
		if id != want {
			return fmt.Errorf("peer is %s, want %s", id, want)
		}
		return nil
	}
}

// ClientConfig returns how to open TLS to peers of the mesh. Their names in
// DNS do not count; who they prove to be does. The config has no certificate
// of its own where own is nil.
func ClientConfig(own Own, roots Roots, known Known) *tls.Config {
	c := &tls.Config{
		MinVersion: tls.VersionTLS13,
		NextProtos: []string{"h2"},
		// VerifyConnection takes the place of what this leaves out, which
		// compares names.
		InsecureSkipVerify:     true,
		VerifyConnection:       verifier(roots, known, x509.ExtKeyUsageServerAuth),
		SessionTicketsDisabled: true,
	}
	if own != nil {
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return own() }
	}
	return c
}

// ServerConfig returns how to take TLS from peers of the mesh, and from nobody
// else.
func ServerConfig(own Own, roots Roots, known Known) *tls.Config {
	c := OpenServerConfig(own, roots, known)
	c.ClientAuth = tls.RequireAnyClientCert
	return c
}

// OpenServerConfig is ServerConfig that lets peers without a certificate in,
// as those who come for their first one. Handlers have to ask [OfPeer].
func OpenServerConfig(own Own, roots Roots, known Known) *tls.Config {
	verify := verifier(roots, known, x509.ExtKeyUsageClientAuth)
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		NextProtos:             []string{"h2"},
		GetCertificate:         func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return own() },
		ClientAuth:             tls.RequestClientCert,
		SessionTicketsDisabled: true, // a resumed session would bring its peer along unproved
		VerifyConnection: func(state tls.ConnectionState) error {
			if len(state.PeerCertificates) == 0 {
				return nil // ServerConfig does not let it come to this
			}
			return verify(state)
		},
	}
}

func verifier(roots Roots, known Known, use x509.ExtKeyUsage) func(tls.ConnectionState) error {
	return func(state tls.ConnectionState) error {
		id, err := roots().Verify(state.PeerCertificates, use, time.Now())
		if err != nil {
			return err
		}
		if known == nil {
			return fmt.Errorf("peer is %s, want none: nobody is known", id)
		}
		return known(id)
	}
}

// OfPeer returns who the other end of an RPC has proved to be. The server's
// credentials have to be of [ServerConfig] or [OpenServerConfig].
func OfPeer(ctx context.Context) (ID, error) {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return ID{}, errors.New("no peer")
	}
	info, ok := p.AuthInfo.(credentials.TLSInfo)
	if !ok {
		return ID{}, fmt.Errorf("peer %s: no TLS", p.Addr)
	}
	if len(info.State.PeerCertificates) == 0 {
		return ID{}, fmt.Errorf("peer %s: no certificate", p.Addr)
	}
	return OfCertificate(info.State.PeerCertificates[0])
}
