package istio

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"reflect"
	"strings"
	"testing"
	"time"

	networking "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"fairway.dev/routing"
	"fairway.dev/routing/dialecttest"
)

// newAuthority returns a certificate that signs itself, its key, and a list of
// what it has revoked, which is nothing, all as PEM.
func newAuthority(t *testing.T) (chain, key, crl string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "client"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCRLSign | x509.KeyUsageCertSign, SubjectKeyId: []byte{1},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	list, err := x509.CreateRevocationList(rand.Reader, &x509.RevocationList{Number: big.NewInt(1), NextUpdate: time.Now().Add(time.Hour)}, template, private)
	if err != nil {
		t.Fatal(err)
	}
	text := func(kind string, der []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	return text("CERTIFICATE", der), text("PRIVATE KEY", pkcs8), text("X509 CRL", list)
}

func secretOf(name string, kind corev1.SecretType, data map[string]string) *corev1.Secret {
	s := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "infra", Name: name}, Type: kind, Data: map[string][]byte{}}
	for k, v := range data {
		s.Data[k] = []byte(v)
	}
	return s
}

// TestCredentialName is ClientTLSSettings.credentialName: Secrets in the
// namespace of the gateway pods, in all shapes that Istio documents.
func TestCredentialName(t *testing.T) {
	chain, key, crl := newAuthority(t)
	const simple, mutual = networking.ClientTLSSettings_SIMPLE, networking.ClientTLSSettings_MUTUAL
	pair := func(more ...string) map[string]string {
		m := map[string]string{"tls.crt": chain, "tls.key": key}
		for i := 0; i < len(more); i += 2 {
			m[more[i]] = more[i+1]
		}
		return m
	}
	tests := []struct {
		name    string
		mode    networking.ClientTLSSettings_TLSmode
		secrets []*corev1.Secret
		want    routing.UpstreamTLS // but NameFromHost
		wrong   string              // part of the message; empty: it is in order
	}{
		{"none", mutual, nil, routing.UpstreamTLS{}, "Secret infra/client: not found"},
		{"of Kubernetes", mutual, []*corev1.Secret{secretOf("client", corev1.SecretTypeTLS, pair("ca.crt", chain, "ca.crl", crl))},
			routing.UpstreamTLS{Certificate: "infra/client", Roots: []byte(chain), CRL: []byte(crl)}, ""},
		{"of Istio", mutual, []*corev1.Secret{secretOf("client", corev1.SecretTypeOpaque, map[string]string{"cert": chain, "key": key, "cacert": chain, "crl": crl})},
			routing.UpstreamTLS{Certificate: "infra/client#Opaque", Roots: []byte(chain), CRL: []byte(crl)}, ""},
		{"without roots, those of the system", mutual, []*corev1.Secret{secretOf("client", corev1.SecretTypeTLS, pair())},
			routing.UpstreamTLS{Certificate: "infra/client"}, ""},
		{"roots in another", mutual, []*corev1.Secret{
			secretOf("client", corev1.SecretTypeTLS, pair()), secretOf("client-cacert", corev1.SecretTypeOpaque, map[string]string{"cacert": chain})},
			routing.UpstreamTLS{Certificate: "infra/client", Roots: []byte(chain)}, ""},
		{"SIMPLE shows nothing", simple, []*corev1.Secret{secretOf("client", corev1.SecretTypeTLS, pair("ca.crt", chain))},
			routing.UpstreamTLS{Roots: []byte(chain)}, ""},
		{"SIMPLE without roots", simple, []*corev1.Secret{secretOf("client", corev1.SecretTypeTLS, pair())},
			routing.UpstreamTLS{}, "want key ca.crt or cacert"},
		{"SIMPLE with the other alone", simple, []*corev1.Secret{secretOf("client-cacert", corev1.SecretTypeOpaque, map[string]string{"cacert": chain})},
			routing.UpstreamTLS{Roots: []byte(chain)}, ""},
		{"no key", mutual, []*corev1.Secret{secretOf("client", corev1.SecretTypeOpaque, map[string]string{"cert": chain})},
			routing.UpstreamTLS{}, "want keys tls.crt and tls.key, or cert and key"},
		{"roots that are none", mutual, []*corev1.Secret{secretOf("client", corev1.SecretTypeTLS, pair("ca.crt", "what"))},
			routing.UpstreamTLS{}, "no CERTIFICATE found"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := dialecttest.World{}
			load(t, w, reviewsService)
			rule := &networkingv1.DestinationRule{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "reviews"}}
			rule.Spec.Host = "reviews"
			rule.Spec.TrafficPolicy = &networking.TrafficPolicy{Tls: &networking.ClientTLSSettings{Mode: tt.mode, CredentialName: "client"}}
			w.Put(KindDestinationRule, rule)
			for _, s := range tt.secrets {
				w.Put("Secret", s)
			}
			result := dialecttest.NewResult().Apply(newSender(w, inCluster).Update(w.Keys()))
			checkClusters(t, result)
			c := result.Spec.Clusters["shop/reviews:80~infra"]
			if said := result.Dump(); tt.wrong != "" {
				if c != nil || !strings.Contains(said, tt.wrong) {
					t.Errorf("cluster %+v, want none, and %q in\n%s", c, tt.wrong, said)
				}
				return
			}
			tt.want.NameFromHost = true
			if c == nil || !reflect.DeepEqual(c.TLS, &tt.want) {
				t.Fatalf("cluster %+v, want TLS %+v", c, tt.want)
			}
			if name := tt.want.Certificate; name != "" && result.Spec.Certificates[name] == nil {
				t.Errorf("no certificate %s", name)
			}
		})
	}
}

// TestCredentialNameWithoutClient holds that nothing goes in plain text, or to
// nobody in particular, where all gateways share a cluster and TLS needs a Secret
// of each.
func TestCredentialNameWithoutClient(t *testing.T) {
	w := dialecttest.World{}
	load(t, w, reviewsService+`---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {namespace: shop, name: reviews}
spec: {host: reviews, trafficPolicy: {tls: {mode: MUTUAL, credentialName: client}}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {namespace: infra, name: edge}
spec:
  gatewayClassName: fairway
  listeners: [{name: http, port: 80, protocol: HTTP, allowedRoutes: {namespaces: {from: All}}}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {namespace: shop, name: reviews}
spec:
  parentRefs: [{namespace: infra, name: edge}]
  rules: [{backendRefs: [{name: reviews, port: 80}]}]
`)
	result := translate(w, inCluster)
	if c := result.Spec.Clusters["shop/reviews:80"]; c != nil {
		t.Errorf("cluster %+v, want none", c)
	}
	if result.Spec.Routes["HTTPRoute/shop/reviews"] == nil {
		t.Errorf("the route is not there: want one that answers 500, in\n%s", result.Dump())
	}
}

const reviewsService = `
apiVersion: v1
kind: Service
metadata: {namespace: shop, name: reviews}
spec: {ports: [{name: http, port: 80}]}
---
apiVersion: v1
kind: ConfigMap
metadata: {namespace: shop, name: send}
data: {lines: reviews from shop by infra}
`
