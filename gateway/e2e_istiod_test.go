package main

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"istio.io/api/security/v1alpha1"

	"fairway.dev/routing/gatewayapi"
	"fairway.dev/tlsmgr/identity"
)

// An istiod is Istio's CA as gateways see it (waypoint-wire C.5): its root is RSA,
// its own certificate has a name in DNS and no URI, it goes by the token and by
// ClusterID, and its answers end with the root.
type istiod struct {
	v1alpha1.UnimplementedIstioCertificateServiceServer
	t       *testing.T
	address string
	roots   string // the file with its root
	cert    *x509.Certificate
	key     *rsa.PrivateKey
	life    time.Duration // of what it signs
	asked   chan string   // the tokens that were shown, of those that came first

	mu     sync.Mutex
	tokens map[string]identity.ID
	away   bool
}

func startIstiod(t *testing.T, life time.Duration) *istiod {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	i := &istiod{t: t, key: key, life: life, tokens: map[string]identity.ID{}, asked: make(chan string, 1000)}
	root := &x509.Certificate{
		Subject: pkix.Name{Organization: []string{"cluster.local"}}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	i.cert = root
	if i.cert, err = x509.ParseCertificate(i.sign(root, key.Public())); err != nil {
		t.Fatal(err)
	}
	i.roots = i.file("root-cert.pem", string(i.root()))
	own := tls.Certificate{PrivateKey: key, Certificate: [][]byte{i.sign(&x509.Certificate{
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"localhost"},
	}, key.Public())}}
	server := grpc.NewServer(grpc.Creds(credentials.NewServerTLSFromCert(&own)))
	v1alpha1.RegisterIstioCertificateServiceServer(server, i)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go server.Serve(ln)
	t.Cleanup(server.Stop)
	i.address = fmt.Sprintf("localhost:%d", ln.Addr().(*net.TCPAddr).Port)
	return i
}

func (i *istiod) root() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: i.cert.Raw})
}

func (i *istiod) sign(template *x509.Certificate, key any) []byte {
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	der, err := x509.CreateCertificate(rand.Reader, template, i.cert, key, i.key)
	if err != nil {
		i.t.Error(err)
	}
	return der
}

// file writes a file of a folder of its own.
func (i *istiod) file(name, text string) string {
	path := filepath.Join(i.t.TempDir(), name)
	i.replace(path, text)
	return path
}

// replace has another file be at a path, as the kubelet does.
func (i *istiod) replace(path, text string) {
	i.t.Helper()
	if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
		i.t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		i.t.Fatal(err)
	}
}

// CreateCertificate implements IstioCertificateService.
func (i *istiod) CreateCertificate(ctx context.Context, in *v1alpha1.IstioCertificateRequest) (*v1alpha1.IstioCertificateResponse, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	token := strings.TrimPrefix(strings.Join(md.Get("authorization"), " "), "Bearer ")
	i.mu.Lock()
	id, known := i.tokens[token]
	away := i.away
	i.mu.Unlock()
	block, _ := pem.Decode([]byte(in.GetCsr()))
	switch {
	case away:
		return nil, status.Error(codes.Unavailable, "istiod is being restarted")
	case !known || len(md.Get("clusterid")) != 1 || md.Get("clusterid")[0] != "Kubernetes":
		return nil, status.Error(codes.Unauthenticated, "request authenticate failure")
	case block == nil:
		return nil, status.Error(codes.InvalidArgument, "no CSR")
	}
	csr, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	leaf := i.sign(&x509.Certificate{
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(i.life), URIs: []*url.URL{id.URL()},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, csr.PublicKey)
	select {
	case i.asked <- token:
	default:
	}
	return &v1alpha1.IstioCertificateResponse{CertChain: []string{
		string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leaf})), string(i.root()),
	}}, nil
}

// know makes a token that of the waypoint of a namespace, and the only one.
func (i *istiod) know(ns, token string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for old, id := range i.tokens {
		if id == spiffe(ns, "waypoint") {
			delete(i.tokens, old)
		}
	}
	i.tokens[token] = spiffe(ns, "waypoint")
}

// leave has it answer nobody any more, or somebody again.
func (i *istiod) leave(away bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.away = away
}

// await waits until a token was shown that is good.
func (i *istiod) await(token string) {
	i.t.Helper()
	deadline := time.After(patience)
	for {
		select {
		case got := <-i.asked:
			if got == token {
				return
			}
		case <-deadline:
			i.t.Fatalf("nobody has come with token %q", token)
		}
	}
}

// flags are those of the waypoint of a namespace that comes with a token file.
func (i *istiod) flags(ns, token string) []string {
	return []string{"-mesh-ca", i.address, "-mesh-ca-token", token, "-mesh-ca-roots", i.roots, "-mesh-id", spiffe(ns, "waypoint").String()}
}

// serve runs the waypoint of a namespace by the mesh's folder of manifests.
func (i *istiod) serve(m *mesh, ns, token string) *rig {
	i.t.Helper()
	at := map[string]int{"web": webWaypoint, "shop": shopWaypoint}[ns]
	return startRig(i.t, nil, m.manifests, append([]string{"-bind", m.addr(at), "-gateway", ns + "/waypoint"}, i.flags(ns, token)...)...)
}

// shown is what is shown to who opens HBONE to a waypoint.
func (m *mesh) shown(waypoint int) (*x509.Certificate, error) {
	m.t.Helper()
	conn, err := tls.Dial("tcp", m.addr(waypoint)+":15008", &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13, NextProtos: []string{"h2"}})
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	return conn.ConnectionState().PeerCertificates[0], nil
}

// Two waypoints that have their configuration of control, by its CA, and who they
// are of istiod, of another root: the two do not mix.
func TestHopsByIstiod(t *testing.T) {
	t.Parallel()
	m := newMesh(t)
	m.manifests["cart.yaml"] = m.cart("http", startBackend(t, echo))
	i := startIstiod(t, time.Hour)
	control := startControl(t,
		func(peer identity.ID, gateway string) error {
			if gateway != peer.Namespace+"/"+peer.ServiceAccount {
				return fmt.Errorf("%s asks for %s", peer, gateway)
			}
			return nil
		}, identity.Anyone, func(token string) identity.ID { return spiffe(token, "waypoint") })
	folder := t.TempDir()
	for name, text := range m.manifests {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c := newConfig([]string{folder}, gatewayapi.Options{Isolated: true, Reserved: map[uint16]string{}}, slog.New(slog.DiscardHandler))
	control.feed.Update(c.apply(c.folder.Load()))
	control.feed.Open()
	rigs := map[string]*rig{}
	for ns, at := range map[string]int{"web": webWaypoint, "shop": shopWaypoint} {
		i.know(ns, "istio-"+ns)
		r := newRig(t)
		rigs[ns] = r
		r.launch(append([]string{"-control", control.address, "-control-id", agentControlID.String(), "-gateway", ns + "/waypoint", "-bind", m.addr(at),
			"-token", i.file("token", ns), "-roots", control.roots}, i.flags(ns, i.file("istio-token", "istio-"+ns+"\n"))...)...)
		r.await("configuration applied")
		r.awaitLogged("certificate of the mesh issued\" origin=" + i.address)
	}
	a := m.want(200, webPod, webWaypoint, "/a")
	if a.body != "GET cart.shop /a" {
		t.Errorf("the pod of shop saw %q", a.body)
	}
	rigs["shop"].awaitAccess(`"source_principal":"spiffe://cluster.local/ns/web/sa/front"`)
	if cert, err := m.shown(shopWaypoint); err != nil || cert.CheckSignatureFrom(i.cert) != nil {
		t.Errorf("the waypoint shows a certificate that is not istiod's: %v", err)
	}
	// Who is known to control's CA is not for that known to the mesh.
	peer, err := m.hbone(shopWaypoint, m.identifyBy(control.ca, spiffe("web", "front")))
	if err == nil { // TLS 1.3: the server's refusal comes behind the client's handshake
		_, _, _, err = m.tunnel(peer, "10.96.0.5:80")
	}
	if err == nil {
		t.Error("a peer with a certificate of control's CA was let in")
	}
	rigs["shop"].await("want one that leads to one of 1 roots of the mesh")

	var page identityState
	if err := json.Unmarshal([]byte(rigs["shop"].page("/debug/identity")), &page); err != nil {
		t.Fatal(err)
	}
	if page.From != i.address || page.ID != spiffe("shop", "waypoint").String() || page.Error != "" || len(page.Roots) != 1 || page.Roots[0].Subject != "O=cluster.local" {
		t.Errorf("/debug/identity says %+v", page)
	}
	if want := fmt.Sprintf("fairway_mesh_certificate_expiry_timestamp_seconds %g\n", float64(page.Expires.Unix())); !strings.Contains(rigs["shop"].page("/metrics"), want) {
		t.Errorf("/metrics has no %s", want)
	}
}

// A token is read each time. While istiod is away the certificate at hand is
// shown until it expires, and then nothing.
func TestIstiodIsAway(t *testing.T) {
	t.Parallel()
	m := newMesh(t)
	m.manifests["cart.yaml"] = m.cart("http", startBackend(t, echo))
	i := startIstiod(t, 10*time.Second)
	i.know("web", "web-1")
	i.know("shop", "shop-1")
	token := i.file("token", "shop-1")
	shop, web := i.serve(m, "shop", token), i.serve(m, "web", i.file("token", "web-1"))
	for _, r := range []*rig{shop, web} {
		r.awaitLogged("certificate of the mesh issued")
	}
	i.know("shop", "shop-2")
	i.replace(token, "shop-2")
	i.await("shop-2")
	i.leave(true)
	shop.await("istiod is being restarted")
	if _, err := m.shown(shopWaypoint); err != nil {
		t.Errorf("the certificate at hand is not shown while istiod is away: %v", err)
	}
	for _, r := range []*rig{shop, web} {
		r.await("no certificate of the mesh is left")
	}
	if cert, err := m.shown(shopWaypoint); err == nil {
		t.Errorf("a certificate is shown that expired at %s", cert.NotAfter)
	}
	m.want(503, webPod, webWaypoint, "/")
	if page := shop.page("/readyz"); !strings.Contains(page, "identity of the mesh, by "+i.address+": certificate of the mesh expired") {
		t.Errorf("/readyz says %s", page)
	}
	i.leave(false)
	for _, r := range []*rig{shop, web} {
		r.await("certificate of the mesh issued")
	}
	m.want(200, webPod, webWaypoint, "/")
}

// Nothing is shown, and no token, before the roots are there by which istiod is
// verified; they are read again when their file changes.
func TestIstiodBeforeItsRoots(t *testing.T) {
	t.Parallel()
	m := newMesh(t)
	i, stranger := startIstiod(t, time.Hour), startIstiod(t, time.Hour)
	i.know("shop", "shop-1")
	if err := os.Remove(i.roots); err != nil {
		t.Fatal(err)
	}
	shop := i.serve(m, "shop", i.file("token", "shop-1"))
	shop.await("no roots yet to verify the CA by")
	if page := shop.page("/readyz"); !strings.Contains(page, "no certificate of the mesh yet") {
		t.Errorf("/readyz says %s", page)
	}
	if _, err := m.shown(shopWaypoint); err == nil {
		t.Error("a certificate is shown before there is one")
	}
	i.replace(i.roots, string(stranger.root()))
	shop.await("want one that leads to one of 1 roots of the mesh")
	i.replace(i.roots, string(i.root()))
	shop.await("certificate of the mesh issued")
	if cert, err := m.shown(shopWaypoint); err != nil || cert.CheckSignatureFrom(i.cert) != nil {
		t.Errorf("no certificate of istiod's is shown: %v", err)
	}
	if page := shop.page("/readyz"); page != "ok\n" {
		t.Errorf("/readyz says %s", page)
	}
}

// An identity that is another's than the mesh knows the gateway by is not taken.
func TestIstiodOfAnotherTrustDomain(t *testing.T) {
	t.Parallel()
	m := newMesh(t)
	i := startIstiod(t, time.Hour)
	i.tokens["shop-1"] = identity.ID{TrustDomain: "other.example", Namespace: "shop", ServiceAccount: "waypoint"}
	shop := i.serve(m, "shop", i.file("token", "shop-1"))
	shop.await("is of spiffe://other.example/ns/shop/sa/waypoint, want spiffe://cluster.local/ns/shop/sa/waypoint")
}

// Who takes no tunnels serves without istiod.
func TestGatewayBesideIstiod(t *testing.T) {
	t.Parallel()
	i := startIstiod(t, time.Hour)
	i.leave(true)
	r := startRig(t, nil, map[string]string{"edge.yaml": edge}, i.flags("shop", i.file("token", "none"))...)
	r.await("istiod is being restarted")
	if page := r.page("/readyz"); page != "ok\n" {
		t.Errorf("/readyz says %s", page)
	}
	r.want(r.url("/"), 404)
}

func TestFlagsOfIdentity(t *testing.T) {
	for _, tt := range []struct {
		args, says string // empty: they are taken
	}{
		{"-mesh-ca=istiod.istio-system.svc:15012", ""},
		{"-mesh-ca=istiod.istio-system.svc:15012 -mesh-id=spiffe://td/ns/shop/sa/edge", ""},
		{"-mesh-ca=istiod", "-mesh-ca: istiod: address istiod: missing port"},
		{"-mesh-ca=istiod:15012 -mesh-id=edge", "-mesh-id: identity"},
		{"-mesh-ca=istiod:15012 -identity=/etc/identity", "want one of them"},
	} {
		o, err := parseServe(append([]string{"-manifests=" + t.TempDir()}, strings.Fields(tt.args)...))
		if err != nil {
			t.Fatal(err)
		}
		_, _, err = o.identify(&config{}, slog.New(slog.DiscardHandler))
		if (err == nil) != (tt.says == "") || err != nil && !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: %v, want %q", tt.args, err, tt.says)
		}
	}
}
