package gatewayapi

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"fairway.dev/routing"
)

// A keyPair is what a Secret comes to. It does not hold the bytes, so that
// a renewed certificate changes the Certificate and nothing else.
type keyPair struct {
	name    routing.CertificateName
	problem string // empty where it is in order
}

// keyPair checks a Secret and makes a Certificate of it.
func (t *Translator) keyPair(r *reading) outcome {
	s := object[corev1.Secret](r, "Secret", r.id.ns, r.id.name)
	if s == nil {
		return outcome{value: keyPair{problem: fmt.Sprintf("Secret %s/%s: not found", r.id.ns, r.id.name)}}
	}
	if err := checkKeyPair(s); err != nil {
		return outcome{value: keyPair{problem: fmt.Sprintf("Secret %s/%s: %v", r.id.ns, r.id.name, err)}}
	}
	name := routing.CertificateName(r.id.ns + "/" + r.id.name)
	return outcome{
		value: keyPair{name: name},
		parts: []any{&routing.Certificate{
			Name:   name,
			Origin: routing.Origin{Kind: "Secret", Namespace: r.id.ns, Name: r.id.name},
			Chain:  s.Data[corev1.TLSCertKey],
			Key:    s.Data[corev1.TLSPrivateKeyKey],
		}},
	}
}

func checkKeyPair(s *corev1.Secret) error {
	if s.Type != corev1.SecretTypeTLS {
		return fmt.Errorf("type %s: want %s", s.Type, corev1.SecretTypeTLS)
	}
	chain, key := s.Data[corev1.TLSCertKey], s.Data[corev1.TLSPrivateKeyKey]
	if len(chain) == 0 || len(key) == 0 {
		return fmt.Errorf("want keys %s and %s", corev1.TLSCertKey, corev1.TLSPrivateKeyKey)
	}
	_, err := tls.X509KeyPair(chain, key)
	return err
}

// checkRoots reports an error unless data is PEM with certificates, all of
// which parse.
func checkRoots(data []byte) error {
	n := 0
	for {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		if _, err := x509.ParseCertificate(block.Bytes); err != nil {
			return err
		}
		n++
	}
	if n == 0 {
		return fmt.Errorf("no certificate found: want PEM")
	}
	return nil
}
