package istio

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"fairway.dev/routing"
	"fairway.dev/routing/dialect"
	"fairway.dev/routing/gatewayapi"
)

// authoritySuffix ends the name of the Secret with the CA of clients, beside
// the one with the key pair.
const authoritySuffix = "-cacert"

// Keys of a Secret in Istio's own shape. The other shape is that of type
// kubernetes.io/tls.
const (
	genericChain = "cert"
	genericKey   = "key"
	genericCA    = "cacert"
	genericCRL   = "crl"
	tlsCA        = "ca.crt"
	tlsCRL       = "ca.crl"
	tlsStaple    = "tls.ocsp-staple"
)

// A credential is what a Secret comes to as a key pair. It does not hold the
// bytes, so that a renewed certificate changes the Certificate and nothing else.
type credential struct {
	name    routing.CertificateName
	problem string // empty where it is in order
	staple  bool   // it has an answer of OCSP beside it, which clients are not sent
}

func (c credential) err() error {
	if c.problem == "" {
		return nil
	}
	return errors.New(c.problem)
}

// credential checks a Secret and makes a Certificate of it. One of type
// kubernetes.io/tls is gatewayapi's, whose listeners may name it too.
func (j *joint) credential(r *reading) dialect.Outcome {
	s := object[corev1.Secret](r, "Secret", r.ID.NS, r.ID.Name)
	bad := func(format string, args ...any) dialect.Outcome {
		return dialect.Outcome{Value: credential{problem: fmt.Sprintf("Secret %s/%s: ", r.ID.NS, r.ID.Name) + fmt.Sprintf(format, args...)}}
	}
	if s == nil {
		return bad("not found")
	}
	if s.Type == corev1.SecretTypeTLS {
		name, problem := gatewayapi.KeyPair(r.Reading, r.ID.NS, r.ID.Name)
		return dialect.Outcome{Value: credential{name, problem, len(s.Data[tlsStaple]) > 0}}
	}
	chain, key := s.Data[genericChain], s.Data[genericKey]
	if len(chain) == 0 || len(key) == 0 {
		chain, key = s.Data[corev1.TLSCertKey], s.Data[corev1.TLSPrivateKeyKey]
	}
	if len(chain) == 0 || len(key) == 0 {
		return bad("want keys %s and %s, or %s and %s", corev1.TLSCertKey, corev1.TLSPrivateKeyKey, genericChain, genericKey)
	}
	if _, err := tls.X509KeyPair(chain, key); err != nil {
		return bad("%v", err)
	}
	// gatewayapi has the plain name, should the Secret change its type.
	name := routing.CertificateName(r.ID.NS + "/" + r.ID.Name + "#" + string(corev1.SecretTypeOpaque))
	return dialect.Outcome{
		Value: credential{name: name, staple: len(s.Data[tlsStaple]) > 0},
		Parts: []any{&routing.Certificate{
			Name: name, Origin: routing.Origin{Kind: "Secret", Namespace: r.ID.NS, Name: r.ID.Name}, Chain: chain, Key: key,
		}},
	}
}

// An authority is what a Secret or a ConfigMap comes to as the CA of clients.
type authority struct {
	roots, crl []byte // PEM
	missing    bool   // there is no such object
	problem    string // empty where it is in order
}

func (a authority) err() error {
	if a.problem == "" {
		return nil
	}
	return errors.New(a.problem)
}

// authority reads the CA of clients, and what it has revoked: under cacert and
// crl, or ca.crt and ca.crl.
func (j *joint) authority(r *reading) dialect.Outcome {
	what := fmt.Sprintf("%s %s/%s: ", r.ID.Part, r.ID.NS, r.ID.Name)
	data, found := r.data()
	if !found {
		return dialect.Outcome{Value: authority{missing: true, problem: what + "not found"}}
	}
	a := authority{roots: data[genericCA], crl: data[genericCRL]}
	if len(a.roots) == 0 {
		a = authority{roots: data[tlsCA], crl: data[tlsCRL]}
	}
	if len(a.roots) == 0 {
		a.problem = what + "want key " + tlsCA + " or " + genericCA
	} else if err := checkPEM(a.roots, "CERTIFICATE", parseCertificate); err != nil {
		a.problem = what + err.Error()
	} else if err := checkPEM(a.crl, "X509 CRL", parseRevocations); len(a.crl) > 0 && err != nil {
		a.problem = what + err.Error()
	}
	return dialect.Outcome{Value: a}
}

// data returns what the cell's Secret or ConfigMap holds.
func (r *reading) data() (map[string][]byte, bool) {
	if r.ID.Part == "Secret" {
		s := object[corev1.Secret](r, "Secret", r.ID.NS, r.ID.Name)
		if s == nil {
			return nil, false
		}
		return s.Data, true
	}
	m := object[corev1.ConfigMap](r, "ConfigMap", r.ID.NS, r.ID.Name)
	if m == nil {
		return nil, false
	}
	data := map[string][]byte{}
	for k, v := range m.Data {
		data[k] = []byte(v)
	}
	return data, true
}

func parseCertificate(der []byte) error {
	_, err := x509.ParseCertificate(der)
	return err
}

func parseRevocations(der []byte) error {
	_, err := x509.ParseRevocationList(der)
	return err
}

// checkPEM returns an error unless data is PEM with blocks of a type, all of
// which parse.
func checkPEM(data []byte, kind string, parse func([]byte) error) error {
	n := 0
	for {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			break
		}
		if block.Type != kind {
			continue
		}
		if err := parse(block.Bytes); err != nil {
			return err
		}
		n++
	}
	if n == 0 {
		return fmt.Errorf("no %s found: want PEM", kind)
	}
	return nil
}
