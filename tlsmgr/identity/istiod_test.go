package identity

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/types/known/structpb"
	"istio.io/api/security/v1alpha1"
)

// An istiod signs as Istio's does (waypoint-wire C.5): its own certificate has
// names in DNS and no URI, it tells the cluster by a header and the identity by
// the token, and the chain that it answers with ends with the root. strict is
// cert-manager's istio-csr, that wants the request to name the identity.
type istiod struct {
	v1alpha1.UnimplementedIstioCertificateServiceServer
	ca     *CA
	strict bool
}

func (s *istiod) CreateCertificate(ctx context.Context, in *v1alpha1.IstioCertificateRequest) (*v1alpha1.IstioCertificateResponse, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	if got := md.Get("authorization"); len(got) != 1 || got[0] != "Bearer istio's token" {
		return nil, status.Error(codes.Unauthenticated, "request authenticate failure")
	}
	if got := md.Get("ClusterID"); len(got) != 1 || got[0] != "Kubernetes" {
		return nil, status.Errorf(codes.Unauthenticated, "could not get cluster %q's kube client", got)
	}
	block, _ := pem.Decode([]byte(in.GetCsr()))
	csr, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	if s.strict && (len(csr.URIs) != 1 || csr.URIs[0].String() != edge.String()) {
		return nil, status.Errorf(codes.InvalidArgument, "requested %v, want %s", csr.URIs, edge)
	}
	if in.GetValidityDuration() != 24*60*60 {
		return nil, status.Errorf(codes.InvalidArgument, "validity %d", in.GetValidityDuration())
	}
	chain, err := s.ca.Sign([]byte(in.GetCsr()), Claim{ID: edge})
	if err != nil {
		return nil, err
	}
	out := &v1alpha1.IstioCertificateResponse{}
	for _, cert := range chain {
		out.CertChain = append(out.CertChain, strings.TrimSuffix(string(cert), "\n"))
	}
	return out, nil
}

func startIstiod(t *testing.T, s *istiod, names ...string) grpc.DialOption {
	t.Helper()
	own := shown(t, s.ca, control, func(c *x509.Certificate) { c.URIs, c.DNSNames = nil, names })
	config := OpenServerConfig(own, s.ca.Bundle, Anyone)
	server := grpc.NewServer(grpc.Creds(credentials.NewTLS(config)))
	v1alpha1.RegisterIstioCertificateServiceServer(server, s)
	pipe := bufconn.Listen(1 << 16)
	go server.Serve(pipe)
	t.Cleanup(server.Stop)
	return grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return pipe.DialContext(ctx) })
}

func TestCertificatesFromIstiod(t *testing.T) {
	const name = "istiod.istio-system.svc"
	foreign := newTestCA(t)
	tests := []struct {
		name   string
		strict bool
		asks   ID
		server string // its name
		token  string
		roots  Roots // nil: istiod's
		says   string
	}{
		{"as Istio's agents do", false, ID{}, name, "istio's token\n", nil, ""},
		{"with the identity in the request", true, edge, name, "istio's token", nil, ""},
		{"without it", true, ID{}, name, "istio's token", nil, "requested []"},
		{"another server of the mesh", false, ID{}, "cart.shop.svc", "istio's token", nil, "not istiod.istio-system.svc"},
		{"another mesh", false, ID{}, name, "istio's token", foreign.Bundle, "want one that leads to one of 1 roots"},
		{"before there are roots", false, ID{}, name, "istio's token", func() *Bundle { return nil }, "no bundle of roots"},
		{"with another token", false, ID{}, name, "token", nil, "request authenticate failure"},
	}
	for _, tt := range tests {
		s := &istiod{ca: newTestCA(t), strict: tt.strict}
		dial := startIstiod(t, s, tt.server)
		token := filepath.Join(t.TempDir(), "istio-token")
		if err := os.WriteFile(token, []byte(tt.token), 0o600); err != nil {
			t.Fatal(err)
		}
		roots := tt.roots
		if roots == nil {
			roots = s.ca.Bundle
		}
		client, err := Istiod(name+".:15012", token, "Kubernetes", roots)
		if err != nil {
			t.Fatal(err)
		}
		client.Address, client.DialOptions = "passthrough:istiod", []grpc.DialOption{dial}
		k := NewKeeper(client.Issue, quiet)
		k.Asks = tt.asks
		_, err = k.renew(t.Context())
		if (err == nil) != (tt.says == "") || err != nil && !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.says)
		}
		if err != nil {
			continue
		}
		if id, err := Own(k.Certificate).ID(); err != nil || id != edge {
			t.Errorf("%s: is %v, %v, want %v", tt.name, id, err, edge)
		}
	}
	if _, err := Istiod("istiod", "", "", nil); err == nil {
		t.Error("an address without a port is taken")
	}
}

// ztunnel's way (waypoint-wire C.5): a node proxy has certificates of the pods
// of its node, and of nobody else, where that is switched on at all.
func TestImpersonation(t *testing.T) {
	ztunnel := ID{"cluster.local", "istio-system", "ztunnel"}
	cart := ID{"cluster.local", "shop", "cart"}
	runs := func(_ context.Context, id ID, caller Caller) error {
		if id != cart || caller != (Caller{ztunnel, "ztunnel-1", "node-a"}) {
			return errors.New("no such pod there")
		}
		return nil
	}
	unread := func(context.Context, ID, Caller) error { return status.Error(codes.Unavailable, "not read yet") }
	tests := []struct {
		name    string
		caller  ID
		trusted []ID
		runsOn  func(context.Context, ID, Caller) error
		asks    any // nil: for nobody else
		want    codes.Code
		is      ID
	}{
		{"a pod of its node", ztunnel, []ID{ztunnel}, runs, cart.String(), codes.OK, cart},
		{"a pod of another node", ztunnel, []ID{ztunnel}, runs, edge.String(), codes.PermissionDenied, ID{}},
		{"the pods are not known yet", ztunnel, []ID{ztunnel}, unread, cart.String(), codes.Unavailable, ID{}},
		{"nobody knows the pods", ztunnel, []ID{ztunnel}, nil, cart.String(), codes.PermissionDenied, ID{}},
		{"switched off", ztunnel, nil, runs, cart.String(), codes.PermissionDenied, ID{}},
		{"who is trusted with nothing", edge, []ID{ztunnel}, runs, cart.String(), codes.PermissionDenied, ID{}},
		{"another trust domain", ztunnel, []ID{ztunnel}, runs, "spiffe://other/ns/shop/sa/cart", codes.PermissionDenied, ID{}},
		{"no identity", ztunnel, []ID{ztunnel}, runs, "cart", codes.InvalidArgument, ID{}},
		{"a number", ztunnel, []ID{ztunnel}, runs, 1.0, codes.InvalidArgument, ID{}},
		{"its own, that it is not allowed", ztunnel, []ID{ztunnel}, runs, nil, codes.PermissionDenied, ID{}},
		{"a gateway's own", edge, []ID{ztunnel}, runs, nil, codes.OK, edge},
	}
	for _, tt := range tests {
		s := newSite(t, func(o *ServerOptions) {
			o.TrustedNodes, o.RunsOn, o.Allow = tt.trusted, tt.runsOn, Only(edge)
			o.Authenticate = func(context.Context, string) (Caller, error) { return Caller{tt.caller, "ztunnel-1", "node-a"}, nil }
		})
		in := &v1alpha1.IstioCertificateRequest{Csr: string(request(t, newTestKey(t), &x509.CertificateRequest{}))}
		if tt.asks != nil {
			value, err := structpb.NewStruct(map[string]any{impersonated: tt.asks})
			if err != nil {
				t.Fatal(err)
			}
			in.Metadata = value
		}
		ctx := metadata.NewIncomingContext(t.Context(), metadata.Pairs("authorization", "Bearer token"))
		out, err := NewServer(s.options).CreateCertificate(ctx, in)
		if status.Code(err) != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
		if err != nil {
			continue
		}
		certs := parse(t, [][]byte{[]byte(out.CertChain[0])})
		if id, err := OfCertificate(certs[0]); err != nil || id != tt.is {
			t.Errorf("%s: certificate of %v, %v, want %v", tt.name, id, err, tt.is)
		}
	}
}

// What ztunnel makes of a reply (its src/tls/certificate.rs): the first text is
// the leaf, the last has the roots, several while one takes the place of another,
// and nothing but certificates; what is between them is shown to peers.
func TestReplyAsIstiosClientsReadIt(t *testing.T) {
	old := newTestCA(t)
	for _, tt := range []struct {
		name  string
		roots func(*CA) Roots
		want  int
	}{
		{"the CA's own", func(*CA) Roots { return nil }, 1},
		{"none known yet", func(*CA) Roots { return func() *Bundle { return nil } }, 1},
		{"another takes its place, and one list is of revoked ones", func(ca *CA) Roots {
			both, err := ParseBundle(slices.Concat(ca.Bundle().PEM(), old.Bundle().PEM(), pemOf(listBlock, listOf(t, old, 7))))
			if err != nil {
				t.Fatal(err)
			}
			return func() *Bundle { return both }
		}, 2},
	} {
		s := newSite(t, nil)
		s.options.Roots = tt.roots(s.ca)
		ctx := metadata.NewIncomingContext(t.Context(), metadata.Pairs("authorization", "Bearer edge's token", "ClusterID", "any"))
		out, err := NewServer(s.options).CreateCertificate(ctx, &v1alpha1.IstioCertificateRequest{Csr: string(request(t, newTestKey(t), &x509.CertificateRequest{}))})
		if err != nil || len(out.CertChain) != 2 {
			t.Fatalf("%s: %d texts, error %v, want the leaf and the roots", tt.name, len(out.GetCertChain()), err)
		}
		leaf := parse(t, [][]byte{[]byte(out.CertChain[0])})
		roots, err := parseCertificates([]byte(out.CertChain[1]))
		if err != nil || len(roots) != tt.want {
			t.Fatalf("%s: %d roots, error %v, want %d", tt.name, len(roots), err, tt.want)
		}
		bundle, err := NewBundle(roots...)
		if err != nil {
			t.Fatal(err)
		}
		if id, err := bundle.Verify(leaf, x509.ExtKeyUsageServerAuth, time.Now()); err != nil || id != edge {
			t.Errorf("%s: the leaf is of %v by these roots, error %v, want %v", tt.name, id, err, edge)
		}
	}
}

// A node proxy that starts asks for all pods of its node at once.
func TestNodesMayAskMoreOften(t *testing.T) {
	s := newSite(t, func(o *ServerOptions) { o.TrustedNodes = []ID{{"cluster.local", "istio-system", "ztunnel"}} })
	if got := NewServer(s.options).limiter.burst; got != nodeBurst {
		t.Errorf("%d certificates at once, want %d", got, nodeBurst)
	}
}
