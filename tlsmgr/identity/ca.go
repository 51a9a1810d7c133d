package identity

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"net/url"
	"time"
)

const (
	rootLife = 10 * 365 * 24 * time.Hour
	// MaxTTL bounds the life of what a CA signs.
	MaxTTL    = 24 * time.Hour
	minTTL    = time.Minute
	clockSkew = 10 * time.Minute // how far a peer's clock may be behind
	maxCSR    = 16 << 10         // bytes of PEM
	minRSA    = 2048             // bits of a key that is signed
)

// A CA signs certificates of the mesh. It never changes; any goroutine may use
// it.
type CA struct {
	cert   *x509.Certificate
	key    crypto.Signer
	chain  []*x509.Certificate // from cert to below the root; empty where cert is the root
	bundle *Bundle
}

// CAFiles is a CA as text, in PEM: what Istio keeps in its Secret cacerts.
type CAFiles struct {
	Cert  []byte // ca-cert.pem: of the CA
	Key   []byte // ca-key.pem: its key. Never log it
	Roots []byte // root-cert.pem: what to trust, as ParseBundle takes it; Cert leads to one of them
	Chain []byte // cert-chain.pem: from Cert to the root; may be empty
}

// NewCA makes a root: ECDSA P-256, ten years.
func NewCA(trustDomain string) (*CA, error) {
	if err := ValidTrustDomain(trustDomain); err != nil {
		return nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("key of the CA: %w", err)
	}
	now := time.Now()
	template := &x509.Certificate{
		Subject:               pkix.Name{Organization: []string{trustDomain}, CommonName: "Fairway mesh CA"},
		NotBefore:             now.Add(-clockSkew),
		NotAfter:              now.Add(rootLife),
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("certificate of the CA: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("certificate of the CA: %w", err)
	}
	bundle, err := NewBundle(cert)
	if err != nil {
		return nil, err
	}
	return &CA{cert: cert, key: key, bundle: bundle}, nil
}

// ParseCA returns the CA of f. It is an error if the key is not the
// certificate's, or if that does not lead to a root at this time.
func ParseCA(f CAFiles) (*CA, error) {
	certs, err := parseCertificates(f.Cert)
	if err != nil {
		return nil, fmt.Errorf("ca-cert.pem: %w", err)
	}
	if len(certs) == 0 {
		return nil, errors.New("ca-cert.pem: no certificate")
	}
	chain, err := parseCertificates(f.Chain)
	if err != nil {
		return nil, fmt.Errorf("cert-chain.pem: %w", err)
	}
	bundle, err := ParseBundle(f.Roots)
	if err != nil {
		return nil, fmt.Errorf("root-cert.pem: %w", err)
	}
	key, err := parseKey(f.Key)
	if err != nil {
		return nil, fmt.Errorf("ca-key.pem: %w", err)
	}
	ca := &CA{cert: certs[0], key: key, bundle: bundle}
	if public, ok := ca.cert.PublicKey.(interface{ Equal(crypto.PublicKey) bool }); !ok || !public.Equal(key.Public()) {
		return nil, errors.New("ca-key.pem: not the key of ca-cert.pem")
	}
	return ca, ca.link(append(certs[1:], chain...))
}

// link finds the way from the CA to a root.
func (ca *CA) link(others []*x509.Certificate) error {
	if !ca.cert.IsCA {
		return errors.New("ca-cert.pem: not a CA's certificate")
	}
	o := x509.VerifyOptions{Roots: ca.bundle.pool, Intermediates: x509.NewCertPool(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}
	for _, cert := range others {
		o.Intermediates.AddCert(cert)
	}
	ways, err := ca.cert.Verify(o)
	if err != nil {
		return fmt.Errorf("ca-cert.pem: does not lead to root-cert.pem: %w", err)
	}
	ca.chain = ways[0][:len(ways[0])-1]
	return nil
}

func parseKey(text []byte) (crypto.Signer, error) {
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, errors.New("no PEM block")
	}
	var key any
	var err error
	switch block.Type {
	case "EC PRIVATE KEY":
		key, err = x509.ParseECPrivateKey(block.Bytes)
	case "RSA PRIVATE KEY":
		key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	case "PRIVATE KEY":
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	default:
		return nil, fmt.Errorf("PEM block %q: want a private key", block.Type)
	}
	if err != nil {
		return nil, err
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("%T: want a key that signs", key)
	}
	return signer, nil
}

// Files returns the CA as text, with its key.
func (ca *CA) Files() (CAFiles, error) {
	der, err := x509.MarshalPKCS8PrivateKey(ca.key)
	if err != nil {
		return CAFiles{}, fmt.Errorf("key of the CA: %w", err)
	}
	f := CAFiles{
		Cert:  encodeCertificate(ca.cert.Raw),
		Key:   pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}),
		Roots: ca.bundle.PEM(),
	}
	for _, cert := range ca.chain {
		f.Chain = append(f.Chain, encodeCertificate(cert.Raw)...)
	}
	return f, nil
}

// Bundle returns what has to be trusted for the CA's certificates to verify.
func (ca *CA) Bundle() *Bundle { return ca.bundle }

// Under reports whether the CA leads to a root of b.
func (ca *CA) Under(b *Bundle) bool {
	if b == nil {
		return false
	}
	o := x509.VerifyOptions{Roots: b.pool, Intermediates: x509.NewCertPool(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}
	for _, cert := range ca.chain {
		o.Intermediates.AddCert(cert)
	}
	_, err := ca.cert.Verify(o)
	return err == nil
}

// A Claim is what a certificate says. It comes from who authenticated the
// caller, never from the caller.
type Claim struct {
	ID  ID
	DNS []string // names beside the ID; a gateway needs none
	// TTL from now. If zero, MaxTTL, which also bounds it; at least a minute.
	TTL time.Duration
}

// Sign returns a certificate for the key of csr (PEM), that claims what c
// does, for both ends of TLS: in PEM, the leaf first and a root last. What
// else csr asks for is ignored.
func (ca *CA) Sign(csr []byte, c Claim) ([][]byte, error) {
	chain, err := ca.sign(csr, c)
	if err != nil {
		return nil, err
	}
	if root := ca.root(); root != nil {
		chain = append(chain, encodeCertificate(root.Raw))
	}
	return chain, nil
}

// sign is Sign without the root.
func (ca *CA) sign(csr []byte, c Claim) ([][]byte, error) {
	if err := c.ID.Valid(); err != nil {
		return nil, err
	}
	request, err := parseCSR(csr)
	if err != nil {
		return nil, fmt.Errorf("certificate request: %w", err)
	}
	now := time.Now()
	template := &x509.Certificate{
		NotBefore:             now.Add(-clockSkew),
		NotAfter:              now.Add(ttl(c.TTL)),
		URIs:                  []*url.URL{c.ID.URL()},
		DNSNames:              c.DNS,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true,
	}
	if template.NotAfter.After(ca.cert.NotAfter) {
		template.NotAfter = ca.cert.NotAfter
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca.cert, request.PublicKey, ca.key)
	if err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	chain := [][]byte{encodeCertificate(der)}
	for _, cert := range ca.chain {
		chain = append(chain, encodeCertificate(cert.Raw))
	}
	return chain, nil
}

// root returns the root that the CA leads to; nil where the bundle has it by
// another name.
func (ca *CA) root() *x509.Certificate {
	last := ca.cert
	if n := len(ca.chain); n > 0 {
		last = ca.chain[n-1]
	}
	for _, root := range ca.bundle.roots {
		if bytes.Equal(root.RawSubject, last.RawIssuer) && last.CheckSignatureFrom(root) == nil {
			return root
		}
	}
	return nil
}

func ttl(asked time.Duration) time.Duration {
	if asked <= 0 {
		return MaxTTL
	}
	return max(minTTL, min(asked, MaxTTL))
}

// parseCSR returns a request whose sender has the key that it names, of a kind
// that is strong enough.
func parseCSR(text []byte) (*x509.CertificateRequest, error) {
	if len(text) > maxCSR {
		return nil, fmt.Errorf("%d bytes, want at most %d", len(text), maxCSR)
	}
	block, _ := pem.Decode(text)
	if block == nil || block.Type != "CERTIFICATE REQUEST" {
		return nil, errors.New("no PEM block CERTIFICATE REQUEST")
	}
	request, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return nil, err
	}
	switch key := request.PublicKey.(type) {
	case ed25519.PublicKey:
	case *ecdsa.PublicKey:
		if bits := key.Params().BitSize; bits < 256 {
			return nil, fmt.Errorf("ECDSA key of %d bits, want at least 256", bits)
		}
	case *rsa.PublicKey:
		// Verifying with a huge key would cost more than it proves.
		if bits := key.N.BitLen(); bits < minRSA || bits > 2*minRSA {
			return nil, fmt.Errorf("RSA key of %d bits, want %d-%d", bits, minRSA, 2*minRSA)
		}
	default:
		return nil, fmt.Errorf("key %T: want ECDSA, Ed25519 or RSA", key)
	}
	return request, request.CheckSignature()
}
