package istio

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"fairway.dev/routing"
	"fairway.dev/routing/dialect"
	"fairway.dev/routing/gatewayapi"
)

// A credential is what a client's credentialName stands for: a Secret, or two.
type credential struct {
	certificate routing.CertificateName // empty: there is none
	pair        string                  // why the key pair cannot be used; empty where it can
	roots, crl  []byte
	problem     string // why nothing of it can be used
}

// The keys of Secrets, those of type kubernetes.io/tls first, and the suffix of
// a second Secret's name, which has roots alone.
var (
	certKeys = []string{corev1.TLSCertKey, "cert"}
	keyKeys  = []string{corev1.TLSPrivateKeyKey, "key"}
	rootKeys = []string{"ca.crt", "cacert"}
	crlKeys  = []string{"ca.crl", "crl"}
)

const rootsSuffix = "-cacert"

// clientCredential reads the Secrets that a credentialName stands for.
func (j *joint) clientCredential(r *reading) dialect.Outcome {
	ns, name := r.ID.NS, r.ID.Name
	own := object[corev1.Secret](r, "Secret", ns, name)
	second := object[corev1.Secret](r, "Secret", ns, name+rootsSuffix)
	if own == nil && second == nil {
		return dialect.Outcome{Value: credential{problem: fmt.Sprintf("Secret %s/%s: not found", ns, name)}}
	}
	var c credential
	for _, s := range []*corev1.Secret{second, own} {
		if c.roots == nil {
			c.roots, c.crl = dataOf(s, rootKeys), dataOf(s, crlKeys)
		}
	}
	if c.roots != nil && !x509.NewCertPool().AppendCertsFromPEM(c.roots) {
		c.problem = fmt.Sprintf("Secret %s/%s: no certificate in %s: want PEM", ns, name, rootKeys)
	}
	out := dialect.Outcome{}
	switch chain, key := dataOf(own, certKeys), dataOf(own, keyKeys); {
	case chain == nil || key == nil:
		c.pair = fmt.Sprintf("Secret %s/%s: want keys tls.crt and tls.key, or cert and key", ns, name)
	case own.Type == corev1.SecretTypeTLS:
		c.certificate, c.pair = gatewayapi.KeyPair(r.Reading, ns, name)
	default:
		if _, err := tls.X509KeyPair(chain, key); err != nil {
			c.pair = fmt.Sprintf("Secret %s/%s: %v", ns, name, err)
			break
		}
		c.certificate = routing.CertificateName(ns + "/" + name)
		origin := routing.Origin{Kind: "Secret", Namespace: ns, Name: name}
		out.Parts = []any{&routing.Certificate{Name: c.certificate, Origin: origin, Chain: chain, Key: key}}
	}
	out.Value = c
	return out
}

// dataOf returns the first of the keys that a Secret has.
func dataOf(s *corev1.Secret, keys []string) []byte {
	if s == nil {
		return nil
	}
	for _, k := range keys {
		if data := s.Data[k]; len(data) > 0 {
			return data
		}
	}
	return nil
}

// credential returns what a client has for TLS: with MUTUAL a key pair, and
// roots where the Secret has any.
func (r *reading) credential(client, name string, mutual bool) (credential, error) {
	c := r.Value(dialect.ID{Kind: clientCredentialCell, NS: client, Name: name}).(credential)
	switch {
	case c.problem != "":
		return credential{}, errors.New(c.problem)
	case mutual && c.pair != "":
		return credential{}, errors.New(c.pair)
	case !mutual:
		c.certificate = "" // SIMPLE shows none
	}
	return c, nil
}
