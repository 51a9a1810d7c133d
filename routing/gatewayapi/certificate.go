package gatewayapi

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"fairway.dev/routing"
	"fairway.dev/routing/dialect"
)

// A keyPair is what a Secret comes to. It does not hold the bytes, so that
// a renewed certificate changes the Certificate and nothing else.
type keyPair struct {
	name    routing.CertificateName
	problem string // empty where it is in order
}

// keyPair checks a Secret and makes a Certificate of it.
func (t *Translator) keyPair(r *reading) outcome {
	s := object[corev1.Secret](r, "Secret", r.ID.NS, r.ID.Name)
	if s == nil {
		return outcome{Value: keyPair{problem: fmt.Sprintf("Secret %s/%s: not found", r.ID.NS, r.ID.Name)}}
	}
	if err := checkKeyPair(s); err != nil {
		return outcome{Value: keyPair{problem: fmt.Sprintf("Secret %s/%s: %v", r.ID.NS, r.ID.Name, err)}}
	}
	name := routing.CertificateName(r.ID.NS + "/" + r.ID.Name)
	return outcome{
		Value: keyPair{name: name},
		Parts: []any{&routing.Certificate{
			Name:   name,
			Origin: routing.Origin{Kind: "Secret", Namespace: r.ID.NS, Name: r.ID.Name},
			Chain:  s.Data[corev1.TLSCertKey],
			Key:    s.Data[corev1.TLSPrivateKeyKey],
		}},
	}
}

// KeyPair has another dialect name a Secret of type kubernetes.io/tls. It returns
// what is wrong with it where it cannot be used.
func KeyPair(r *dialect.Reading, ns, name string) (_ routing.CertificateName, problem string) {
	pair := r.Value(cellID{Kind: keyPairCell, NS: ns, Name: name}).(keyPair)
	return pair.name, pair.problem
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

// certificate finds the key pair that a reference in an object names. reason is
// why one is not in order that may be named.
func (r *reading) certificate(of holder, ref *gatewayv1.SecretObjectReference, reason string) (routing.CertificateName, verdict) {
	ns, name := string(or(ref.Namespace, gatewayv1.Namespace(of.ns))), string(ref.Name)
	if group, kind := or(ref.Group, ""), or(ref.Kind, "Secret"); group != "" || kind != "Secret" {
		return "", no(reason, "%s %s: want a Secret", printKind(group, kind), name)
	}
	if !r.permitted(of.kind, of.ns, "Secret", ns, name) {
		return "", no(string(gatewayv1.ListenerReasonRefNotPermitted),
			"Secret %s/%s: no ReferenceGrant allows %ss of namespace %s", ns, name, of.kind, of.ns)
	}
	pair := r.Value(cellID{Kind: keyPairCell, NS: ns, Name: name}).(keyPair)
	if pair.problem != "" {
		return "", no(reason, "%s", pair.problem)
	}
	return pair.name, yes("")
}

// An identity is the certificate that a Gateway shows to backends that it
// speaks TLS to (GatewayBackendTLS).
type identity struct {
	certificate routing.CertificateName // empty: none
	resolved    verdict                 // ResolvedRefs of the Gateway
	problems    []note
}

// identity finds the certificate that a Gateway shows to backends. One that is
// not in order is not shown: backends that want one turn the Gateway away.
func (t *Translator) identity(r *reading) outcome {
	out := identity{resolved: yes(string(gatewayv1.GatewayReasonResolvedRefs))}
	f := r.frame(parentName{r.ID.NS, r.ID.Name})
	if f != nil && f.client != nil {
		name, v := r.certificate(holder{"Gateway", r.ID.NS, r.ID.Name}, f.client, string(gatewayv1.GatewayReasonInvalidClientCertificateRef))
		if out.certificate = name; !v.ok() {
			out.resolved = v
			out.problems = []note{v.at("spec.tls.backend.clientCertificateRef")}
		}
	}
	return outcome{Value: out}
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
