package main

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/structpb"
	"istio.io/api/security/v1alpha1"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"fairway.dev/discovery/apitest"
	"fairway.dev/discovery/cluster"
	"fairway.dev/routing"
	"fairway.dev/tlsmgr/identity"
)

// An istioControl is a replica of control that Istio's proxies have for their CA:
// with an API server that knows its Secret and their tokens.
type istioControl struct {
	t       *testing.T
	replica *replica
	ca      *identity.CA
	client  v1alpha1.IstioCertificateServiceClient

	mu  sync.Mutex
	log bytes.Buffer
}

// Write implements io.Writer, for the log.
func (c *istioControl) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.log.Write(p)
}

// said returns the log, and begins another one.
func (c *istioControl) said() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	defer c.log.Reset()
	return c.log.String()
}

// istioTokens are the pods that tokens are bound to: NAMESPACE/ACCOUNT/POD, and
// the node where the API server says that.
var istioTokens = map[string]string{
	"a":       "istio-system/ztunnel/ztunnel-a/node-a",
	"b":       "istio-system/ztunnel/ztunnel-b",
	"lost":    "istio-system/ztunnel/ztunnel-lost",
	"cart":    "shop/cart/cart-1/node-a",
	"control": "fairway-system/fairway-control/control-1/node-a",
}

// api answers what the API server of tests has no kinds for.
type api struct {
	next   http.RoundTripper
	secret map[string][]byte
}

// RoundTrip implements http.RoundTripper.
func (a api) RoundTrip(r *http.Request) (*http.Response, error) {
	reply := func(code int, o any) (*http.Response, error) {
		b, err := json.Marshal(o)
		return &http.Response{StatusCode: code, Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(bytes.NewReader(b)), Request: r}, err
	}
	switch {
	case strings.HasSuffix(r.URL.Path, "/secrets/fairway-ca"):
		return reply(200, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "fairway-ca", ResourceVersion: "1"}, Data: a.secret})
	case strings.HasSuffix(r.URL.Path, "/secrets/cacerts"):
		return reply(404, metav1.Status{Status: metav1.StatusFailure, Reason: metav1.StatusReasonNotFound, Code: 404})
	case strings.HasSuffix(r.URL.Path, "/tokenreviews"):
		var review authenticationv1.TokenReview
		if err := json.NewDecoder(r.Body).Decode(&review); err != nil {
			return nil, err
		}
		if parts := strings.Split(istioTokens[review.Spec.Token], "/"); len(parts) > 1 && strings.Contains(strings.Join(review.Spec.Audiences, " "), "istio-ca") {
			extra := map[string]authenticationv1.ExtraValue{"authentication.kubernetes.io/pod-name": {parts[2]}}
			if len(parts) > 3 {
				extra["authentication.kubernetes.io/node-name"] = authenticationv1.ExtraValue{parts[3]}
			}
			review.Status = authenticationv1.TokenReviewStatus{
				Authenticated: true, Audiences: []string{"istio-ca"},
				User: authenticationv1.UserInfo{Username: "system:serviceaccount:" + parts[0] + ":" + parts[1], Extra: extra},
			}
		}
		return reply(201, review)
	}
	return a.next.RoundTrip(r)
}

func startIstioControl(t *testing.T, args ...string) *istioControl {
	t.Helper()
	c := &istioControl{t: t}
	var err error
	if c.ca, err = identity.NewCA("cluster.local"); err != nil {
		t.Fatal(err)
	}
	files, err := c.ca.Files()
	if err != nil {
		t.Fatal(err)
	}
	o, err := parseControl(append([]string{"-image", "fairway:test", "-grpc", fmt.Sprintf("127.0.0.1:%d", freePort(t))}, args...))
	if err != nil {
		t.Fatal(err)
	}
	config := apitest.New(t).Config()
	config.Transport = api{config.Transport, map[string][]byte{"ca-cert.pem": files.Cert, "ca-key.pem": files.Key, "root-cert.pem": files.Roots}}
	if c.replica, err = newReplica(o, config, slog.New(slog.NewTextHandler(c, nil))); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var tasks sync.WaitGroup
	t.Cleanup(func() { cancel(); tasks.Wait() })
	tasks.Go(func() { c.replica.trust.Run(ctx) })
	tasks.Go(func() { c.replica.keeper.Run(ctx) })
	tasks.Go(func() { c.replica.serveGRPC(ctx) })
	// As ztunnel does: by the name that it was told, and by the roots.
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(files.Roots)
	conn, err := grpc.NewClient(o.grpc, grpc.WithDefaultCallOptions(grpc.WaitForReady(true)), grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{
		RootCAs: roots, ServerName: "fairway-control.fairway-system.svc",
	})))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	c.client = v1alpha1.NewIstioCertificateServiceClient(conn)
	return c
}

// ask asks for a certificate as ztunnel does, for somebody else where that is not
// empty.
func (c *istioControl) ask(token string, key crypto.Signer, forWhom string) (*v1alpha1.IstioCertificateResponse, error) {
	c.t.Helper()
	template, in := &x509.CertificateRequest{}, &v1alpha1.IstioCertificateRequest{ValidityDuration: 86400}
	if forWhom != "" {
		uri, err := url.Parse(forWhom)
		if err == nil {
			in.Metadata, err = structpb.NewStruct(map[string]any{"ImpersonatedIdentity": forWhom})
		}
		if err != nil {
			c.t.Fatal(err)
		}
		template.URIs = []*url.URL{uri}
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, template, key)
	if err != nil {
		c.t.Fatal(err)
	}
	in.Csr = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))
	ctx, cancel := context.WithTimeout(c.t.Context(), patience)
	defer cancel()
	return c.client.CreateCertificate(metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token, "ClusterID", "Kubernetes"), in)
}

// is returns whose certificate a reply has, as ztunnel reads it: leaf first, roots
// last.
func (c *istioControl) is(reply *v1alpha1.IstioCertificateResponse) (identity.ID, error) {
	chain := reply.GetCertChain()
	if len(chain) != 2 || chain[1] != string(c.ca.Bundle().PEM()) {
		return identity.ID{}, fmt.Errorf("%d texts, want the leaf and the root", len(chain))
	}
	block, _ := pem.Decode([]byte(chain[0]))
	leaf, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return identity.ID{}, err
	}
	return c.ca.Bundle().Verify([]*x509.Certificate{leaf}, x509.ExtKeyUsageServerAuth, time.Now())
}

// have says that a pod is on a node, with changes to it.
func (c *istioControl) have(ns, account, name, node string, changes ...func(*corev1.Pod)) {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name},
		Spec:       corev1.PodSpec{ServiceAccountName: account, NodeName: node}, Status: corev1.PodStatus{Phase: corev1.PodRunning},
	}
	for _, change := range changes {
		change(pod)
	}
	c.replica.nodePods.put(routing.ObjectKey{Kind: "Pod", Namespace: ns, Name: name}, pod)
}

// ztunnel has certificates of the pods of its node, whatever key it brings, and
// of nobody else.
func TestZtunnelByOurCA(t *testing.T) {
	c := startIstioControl(t, "-istio-clients", "-trusted-nodes", "istio-system/ztunnel")
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	cart := spiffe("shop", "cart")
	c.have("istio-system", "ztunnel", "ztunnel-a", "node-a")
	c.have("istio-system", "ztunnel", "ztunnel-b", "node-b")
	c.have("shop", "cart", "cart-1", "node-a")
	if _, err := c.ask("a", ecKey, cart.String()); status.Code(err) != codes.Unavailable {
		t.Errorf("before the cluster is read: %v, want Unavailable", err)
	}
	close(c.replica.complete)
	for _, key := range []crypto.Signer{rsaKey, ecKey, edKey} {
		reply, err := c.ask("a", key, cart.String())
		if err != nil {
			t.Fatalf("%T: %v", key, err)
		}
		if id, err := c.is(reply); err != nil || id != cart {
			t.Errorf("%T: is %v, error %v, want %v", key, id, err, cart)
		}
	}

	c.have("shop", "far", "far-1", "node-b")
	c.have("shop", "own", "own-1", "node-a", func(p *corev1.Pod) { p.Labels = map[string]string{"istio.io/dataplane-mode": "none"} })
	c.have("shop", "host", "host-1", "node-a", func(p *corev1.Pod) { p.Spec.HostNetwork = true })
	c.have("shop", "done", "done-1", "node-a", func(p *corev1.Pod) { p.Status.Phase = corev1.PodSucceeded })
	c.have("shop", "waits", "waits-1", "")
	c.have("shop", "moved", "moved-1", "node-a")
	c.have("shop", "moved", "moved-1", "node-b")
	c.have("fairway-system", "fairway-control", "control-1", "node-a")
	c.have("fairway-system", captureAccount, "capture-1", "node-a")
	for _, tt := range []struct {
		name, token string
		asks        identity.ID
		says        string // in the log; empty: it is given
	}{
		{"its node is its pod's where the token says none", "b", spiffe("shop", "far"), ""},
		{"a pod on another node", "a", spiffe("shop", "far"), "no pod of service account shop/far that it could speak for is on node node-a"},
		{"the same by a token without a node", "b", cart, "no pod of service account shop/cart that it could speak for is on node node-b"},
		{"no node in the token, and no such pod", "lost", cart, "it is not known on which node pod istio-system/ztunnel-lost is"},
		{"an account without a pod", "a", spiffe("shop", "none"), "no pod of service account shop/none"},
		{"a pod that speaks for itself", "a", spiffe("shop", "own"), "no pod of service account shop/own"},
		{"a pod in its node's network", "a", spiffe("shop", "host"), "no pod of service account shop/host"},
		{"a pod that has ended", "a", spiffe("shop", "done"), "no pod of service account shop/done"},
		{"a pod that has no node yet", "a", spiffe("shop", "waits"), "no pod of service account shop/waits"},
		{"a pod that was there", "a", spiffe("shop", "moved"), "no pod of service account shop/moved"},
		{"control", "a", spiffe("fairway-system", "fairway-control"), "control and node agents speak for themselves"},
		{"a node agent", "a", spiffe("fairway-system", captureAccount), "control and node agents speak for themselves"},
		{"a pod that asks for another", "cart", spiffe("shop", "far"), "as it is no trusted node's"},
	} {
		c.said()
		reply, err := c.ask(tt.token, ecKey, tt.asks.String())
		if tt.says == "" {
			if id, err := c.is(reply); err != nil || id != tt.asks {
				t.Errorf("%s: is %v, error %v, want %v", tt.name, id, err, tt.asks)
			}
			continue
		}
		if log := c.said(); status.Code(err) != codes.PermissionDenied || !strings.Contains(log, "certificate refused") || !strings.Contains(log, tt.says) {
			t.Errorf("%s: %v, and the log says %q; want PermissionDenied, and %q", tt.name, err, log, tt.says)
		}
	}
	// The cluster has none of these pods, and says so as one is edited.
	c.replica.apply(cluster.Change{Keys: []routing.ObjectKey{{Kind: "Pod", Namespace: "shop", Name: "cart-1"}}})
	if _, err := c.ask("a", ecKey, cart.String()); status.Code(err) != codes.PermissionDenied {
		t.Errorf("for a pod that is gone: %v, want PermissionDenied", err)
	}
	if !strings.Contains(c.said(), "no pod of service account shop/cart") {
		t.Error("the log does not say why")
	}
}

// Istio's proxies have certificates of their own identity where they may, and
// nobody has control's.
func TestIstiosProxiesByOurCA(t *testing.T) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, token string
		args        []string
		want        codes.Code
	}{
		{"a pod", "cart", []string{"-istio-clients"}, codes.OK},
		{"a pod, where they may not", "cart", nil, codes.Unauthenticated},
		{"control", "control", []string{"-istio-clients"}, codes.PermissionDenied},
		{"nobody", "none", []string{"-istio-clients"}, codes.Unauthenticated},
	} {
		c := startIstioControl(t, tt.args...)
		if open := c.replica.gate.Known == nil || c.replica.gate.Known(spiffe("shop", "cart")) == nil; open == (len(tt.args) > 0) {
			t.Errorf("%s: who has a certificate stays for the feed: %v", tt.name, open)
		}
		reply, err := c.ask(tt.token, key, "")
		if status.Code(err) != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
		if err != nil {
			continue
		}
		if id, err := c.is(reply); err != nil || id != spiffe("shop", "cart") {
			t.Errorf("%s: is %v, error %v, want its own", tt.name, id, err)
		}
	}
}

func TestFlagsOfAMesh(t *testing.T) {
	for _, tt := range []struct {
		args, says string // empty: they are taken
	}{
		{"-mesh-ca=istiod.istio-system.svc:15012 -mesh-trust-domain=td -trust-domain-aliases=old,older", ""},
		{"-istio-clients -trusted-nodes=istio-system/ztunnel,kube-system/ztunnel", ""},
		{"-mesh-ca=istiod", "missing port"},
		{"-mesh-ca=istiod:15012 -istio-clients", "want one of them"},
		{"-mesh-trust-domain=td", "want -mesh-ca, too"},
		{"-trusted-nodes=istio-system/ztunnel", "want -istio-clients, too"},
		{"-istio-clients -trusted-nodes=ztunnel", `"ztunnel": want NAMESPACE/ACCOUNT`},
		{"-istio-clients -trusted-nodes=istio-system/*", `want NAMESPACE/ACCOUNT`},
		{"-trust-domain-aliases=Old", `"Old": trust domain`},
	} {
		o, err := parseControl(append([]string{"-image=i"}, strings.Fields(tt.args)...))
		if (err == nil) != (tt.says == "") || err != nil && !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: %v, want %q", tt.args, err, tt.says)
		}
		if err == nil && o.mesh.ca != "" && (o.meshTrustDomain() != "td" || o.meshCA().TrustDomain != "td" || len(o.mesh.aliases) != 2) {
			t.Errorf("%s: %+v", tt.args, o.mesh)
		}
	}
}
