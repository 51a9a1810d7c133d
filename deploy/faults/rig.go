package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	_ "embed"
	"fmt"
	"math/big"
	"os"
	"os/exec"
	"strings"
	"text/template"
	"time"
)

// host is what the load asks for.
const host = "faults.example"

//go:embed rig.yaml
var manifests string

// A cluster is how the API server, and the cluster's own script, are told.
type cluster struct {
	kubectl, script, image, clientImage string
}

// kubectlTime bounds each call of kubectl.
const kubectlTime = 3 * time.Minute

func (c *cluster) command(ctx context.Context, stdin, name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, kubectlTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdin = strings.NewReader(stdin)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(stderr.String()))
	}
	return strings.TrimSpace(string(out)), nil
}

// k runs kubectl.
func (c *cluster) k(ctx context.Context, args ...string) (string, error) {
	return c.command(ctx, "", c.kubectl, args...)
}

func (c *cluster) apply(ctx context.Context, text string) error {
	_, err := c.command(ctx, text, c.kubectl, "apply", "--server-side", "--force-conflicts", "-f", "-")
	return err
}

// A rig is a Gateway with two pods, a route and two sets of backends, on a cluster.
type rig struct {
	*cluster
	authority authority
	address   string
	rate      int
	edits     int    // how many the route has seen
	base      string // everything but the Secret and the route
}

// newRig installs the rig and waits until it serves.
func newRig(ctx context.Context, c *cluster, rate int) (*rig, error) {
	ca, err := newAuthority()
	if err != nil {
		return nil, err
	}
	r := &rig{cluster: c, authority: ca, rate: rate}
	secret, err := r.secret()
	if err != nil {
		return nil, err
	}
	var text strings.Builder
	if err := template.Must(template.New("rig").Parse(manifests)).Execute(&text, map[string]string{"Image": c.image}); err != nil {
		return nil, err
	}
	r.base = text.String()
	if err := r.apply(ctx, r.base+secret+r.route()); err != nil {
		return nil, err
	}
	return r, r.ready(ctx)
}

func (r *rig) remove() { r.removeNamespaces("faults") }

func (c *cluster) removeNamespaces(names ...string) {
	if _, err := c.k(context.Background(), append([]string{"delete", "--wait=false", "namespace"}, names...)...); err != nil {
		fmt.Fprintln(os.Stderr, "faults:", err)
	}
}

// ready waits until all pods are there and the Gateway serves.
func (r *rig) ready(ctx context.Context) error {
	if _, err := r.k(ctx, "-n", "faults", "wait", "--for=condition=Programmed", "gateway/edge", "--timeout=120s"); err != nil {
		return err
	}
	for _, d := range []string{"app-v1", "app-v2", r.fleet()} {
		if err := r.rolledOut(ctx, d); err != nil {
			return err
		}
	}
	address, err := r.k(ctx, "-n", "faults", "get", "gateway", "edge", "-o", "jsonpath={.status.addresses[0].value}")
	if err != nil {
		return err
	}
	r.address = address
	return await(ctx, time.Minute, func() bool { return r.answers(true) && r.answers(false) })
}

// fleet is the name of the Gateway's Deployment.
func (r *rig) fleet() string { return "edge-fairway" }

func (r *rig) rolledOut(ctx context.Context, deployment string) error {
	_, err := r.k(ctx, "-n", "faults", "rollout", "status", "deployment/"+deployment, "--timeout=150s")
	return err
}

func (r *rig) begin(context.Context) (end func() (*tally, error), err error) {
	l := startLoad(r.target(), r.rate)
	return func() (*tally, error) { return l.stop(), nil }, nil
}

func (r *rig) target() target {
	pool := x509.NewCertPool()
	pool.AddCert(r.authority.certificate)
	return target{Address: r.address, Host: host, Roots: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS13}}
}

// answers reports whether a request on a new connection is answered.
func (r *rig) answers(secure bool) bool {
	c := &client{target: r.target(), secure: secure}
	defer c.close()
	_, err := c.do()
	return err == nil
}

// header returns a field of the answer to a request on a new connection.
func (r *rig) header(name string) string {
	c := &client{target: r.target()}
	defer c.close()
	h, err := c.do()
	if err != nil {
		return ""
	}
	return h.Get(name)
}

// await asks until ok says so.
func await(ctx context.Context, most time.Duration, ok func() bool) error {
	ctx, cancel := context.WithTimeoutCause(ctx, most, fmt.Errorf("not so after %v", most))
	defer cancel()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
	return nil
}

// route is the HTTPRoute as of r.edits: every answer carries their number.
func (r *rig) route() string {
	return fmt.Sprintf(`
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: app, namespace: faults}
spec:
  parentRefs: [{name: edge}]
  hostnames: [%s]
  rules:
  - filters:
    - type: ResponseHeaderModifier
      responseHeaderModifier: {set: [{name: x-edit, value: "%d"}]}
    backendRefs: [{name: app, port: 80}]
`, host, r.edits)
}

// edit edits the route. It returns when the API server has taken it.
func (r *rig) edit(ctx context.Context) error {
	r.edits++
	return r.apply(ctx, r.route())
}

// editInForce waits until an answer carries the last edit.
func (r *rig) editInForce(ctx context.Context) error {
	want := fmt.Sprint(r.edits)
	return await(ctx, 2*time.Minute, func() bool { return r.header("x-edit") == want })
}

// An authority signs the certificates of the Gateway's HTTPS listener.
type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
	issued      int64
}

func newAuthority() (authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return authority{}, err
	}
	t := template509("faults", 1)
	t.IsCA, t.BasicConstraintsValid, t.KeyUsage = true, true, x509.KeyUsageCertSign
	der, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	if err != nil {
		return authority{}, err
	}
	cert, err := x509.ParseCertificate(der)
	return authority{certificate: cert, key: key, issued: 1}, err
}

func template509(name string, serial int64) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
	}
}

// secret is the Secret of the HTTPS listener with a certificate that is new.
func (r *rig) secret() (string, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", err
	}
	r.authority.issued++
	t := template509(host, r.authority.issued)
	t.DNSNames, t.KeyUsage = []string{host}, x509.KeyUsageDigitalSignature
	der, err := x509.CreateCertificate(rand.Reader, t, r.authority.certificate, key.Public(), r.authority.key)
	if err != nil {
		return "", err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf(`
---
apiVersion: v1
kind: Secret
metadata: {name: edge, namespace: faults}
type: kubernetes.io/tls
stringData:
  tls.crt: |
%s
  tls.key: |
%s
`, indented("CERTIFICATE", der), indented("PRIVATE KEY", keyDER)), nil
}

// serial is the serial number of the certificate that a new connection is shown.
func (r *rig) serial() int64 {
	c := &client{target: r.target(), secure: true}
	defer c.close()
	if err := c.dial(); err != nil {
		return 0
	}
	s, ok := c.conn.(*tls.Conn)
	if !ok {
		return 0
	}
	return s.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
}
