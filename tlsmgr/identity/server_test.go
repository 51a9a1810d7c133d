package identity

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"istio.io/api/security/v1alpha1"
)

var control = ID{"cluster.local", "fairway-system", "fairway-control"}

// A site is a control's CA service on a pipe, with TLS.
type site struct {
	ca      *CA
	options ServerOptions
	pipe    *bufconn.Listener
	tokens  atomic.Int64 // times that a token was looked at
}

func newSite(t *testing.T, change func(*ServerOptions)) *site {
	t.Helper()
	s := &site{ca: newTestCA(t), pipe: bufconn.Listen(1 << 16)}
	s.options = ServerOptions{
		CA: func() *CA { return s.ca }, TrustDomain: "cluster.local", Log: quiet,
		Authenticate: func(_ context.Context, token string) (Caller, error) {
			s.tokens.Add(1)
			if token != "edge's token" {
				return Caller{}, errors.New("not a token of ours")
			}
			return Caller{ID: edge, Pod: "edge-1"}, nil
		},
	}
	if change != nil {
		change(&s.options)
	}
	own := s.keeper(t, control)
	server := grpc.NewServer(grpc.Creds(credentials.NewTLS(OpenServerConfig(own, s.roots, Anyone))))
	NewServer(s.options).Register(server)
	go server.Serve(s.pipe)
	t.Cleanup(server.Stop)
	return s
}

func (s *site) roots() *Bundle { return s.ca.Bundle() }

// keeper returns a certificate for id.
func (s *site) keeper(t *testing.T, id ID) Own {
	t.Helper()
	k := NewKeeper(Local(func() *CA { return s.ca }, Claim{ID: id}), quiet)
	if _, err := k.renew(t.Context()); err != nil {
		t.Fatal(err)
	}
	return k.Certificate
}

func (s *site) client(t *testing.T, token string) *Client {
	t.Helper()
	path := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(path, []byte(token+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return &Client{Address: "passthrough:control", TokenFile: path, Roots: s.roots, Server: Only(control), DialOptions: s.dial()}
}

func (s *site) dial() []grpc.DialOption {
	return []grpc.DialOption{grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return s.pipe.DialContext(ctx) })}
}

func TestEachCertificateIsGotByAToken(t *testing.T) {
	s := newSite(t, nil)
	c := s.client(t, "edge's token")
	k := NewKeeper(c.Issue, quiet)
	for range 2 {
		if _, err := k.renew(t.Context()); err != nil {
			t.Fatal(err)
		}
		cert, err := k.Certificate()
		if err != nil {
			t.Fatal(err)
		}
		if id, err := s.roots().Verify([]*x509.Certificate{cert.Leaf}, x509.ExtKeyUsageClientAuth, time.Now()); err != nil || id != edge {
			t.Errorf("issued for %v, %v, want %v", id, err, edge)
		}
	}
	if n := s.tokens.Load(); n != 2 {
		t.Errorf("tokens were looked at %d times, want twice", n)
	}
	os.WriteFile(c.TokenFile, []byte("of a pod that is gone"), 0o600)
	if _, err := k.renew(t.Context()); status.Code(err) != codes.Unauthenticated {
		t.Errorf("renewed without a good token: %v, want Unauthenticated", err)
	}
}

func TestNobodyElseGetsACertificate(t *testing.T) {
	elsewhere := ID{"elsewhere", "shop", "edge"}
	tests := []struct {
		name   string
		change func(*ServerOptions)
		token  string
		code   codes.Code
	}{
		{"another's token", nil, "token", codes.Unauthenticated},
		{"no token", nil, "", codes.Unauthenticated},
		{"a huge token", nil, strings.Repeat("a", maxToken+1), codes.Unauthenticated},
		{"another trust domain", func(o *ServerOptions) {
			o.Authenticate = func(context.Context, string) (Caller, error) { return Caller{ID: elsewhere}, nil }
		}, "token", codes.PermissionDenied},
		{"not allowed", func(o *ServerOptions) {
			o.Allow = func(ID) error { return errors.New("gone") }
		}, "edge's token", codes.PermissionDenied},
		{"nobody can tell", func(o *ServerOptions) {
			o.Authenticate = func(context.Context, string) (Caller, error) {
				return Caller{}, status.Error(codes.Unavailable, "API server away")
			}
		}, "token", codes.Unavailable},
		{"no CA", func(o *ServerOptions) { o.CA = func() *CA { return nil } }, "edge's token", codes.Unavailable},
	}
	for _, tt := range tests {
		s := newSite(t, tt.change)
		chain, err := s.client(t, tt.token).Issue(t.Context(), request(t, newTestKey(t), &x509.CertificateRequest{}))
		if status.Code(err) != tt.code {
			t.Errorf("%s: %s, %v, want %v", tt.name, chain, err, tt.code)
		}
	}
}

func TestBadRequestIsInvalidArgument(t *testing.T) {
	s := newSite(t, nil)
	if _, err := s.client(t, "edge's token").Issue(t.Context(), []byte("x")); status.Code(err) != codes.InvalidArgument {
		t.Errorf("a bad request = %v, want InvalidArgument", err)
	}
}

// Who has stolen a certificate has it for 24 hours, and gets no other by it.
func TestCertificateGetsNoCertificate(t *testing.T) {
	s := newSite(t, nil)
	conn, err := grpc.NewClient("passthrough:control", append(s.dial(),
		grpc.WithTransportCredentials(credentials.NewTLS(ClientConfig(s.keeper(t, edge), s.roots, Only(control)))))...)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ca := v1alpha1.NewIstioCertificateServiceClient(conn)
	in := &v1alpha1.IstioCertificateRequest{Csr: string(request(t, newTestKey(t), &x509.CertificateRequest{})), ValidityDuration: 1 << 62}
	if _, err := ca.CreateCertificate(t.Context(), in); status.Code(err) != codes.Unauthenticated {
		t.Errorf("by the certificate alone: %v, want Unauthenticated", err)
	}
	for _, values := range [][]string{{"Bearer token"}, {"Basic token"}, {"Bearer"}, {""}, {"Bearer edge's token", "Bearer token"}} {
		ctx := t.Context()
		for _, value := range values {
			ctx = metadata.AppendToOutgoingContext(ctx, "authorization", value)
		}
		if _, err := ca.CreateCertificate(ctx, in); status.Code(err) != codes.Unauthenticated {
			t.Errorf("with authorization %q: %v, want Unauthenticated", values, err)
		}
	}
	ctx := metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer edge's token")
	if _, err := ca.CreateCertificate(ctx, in); err != nil {
		t.Errorf("with the token: %v", err)
	}
}

func TestAskingTooOftenIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // signing takes no time, so that nothing is refilled
		server := NewServer(newSite(t, nil).options)
		ctx := metadata.NewIncomingContext(t.Context(), metadata.Pairs("authorization", "Bearer edge's token"))
		in := &v1alpha1.IstioCertificateRequest{Csr: string(request(t, newTestKey(t), &x509.CertificateRequest{}))}
		for i := range burst + 1 {
			want := codes.OK
			if i == burst {
				want = codes.ResourceExhausted
			}
			if _, err := server.CreateCertificate(ctx, in); status.Code(err) != want {
				t.Errorf("the %dth: %v, want %v", i+1, err, want)
			}
		}
	})
}

func TestLimiterRefillsAndForgets(t *testing.T) {
	l := limiter{burst: burst}
	now := time.Unix(0, 0)
	for range burst {
		if !l.allow("a", now) {
			t.Fatal("refused within the burst")
		}
	}
	if l.allow("a", now) || !l.allow("b", now) {
		t.Error("want a refused, and b not")
	}
	if now = now.Add(refill); !l.allow("a", now) || l.allow("a", now) {
		t.Error("want one more after a refill")
	}
	for i := range 2 * maxBuckets {
		l.allow(strconv.Itoa(i), now)
	}
	if len(l.buckets) > maxBuckets {
		t.Errorf("%d addresses are kept, want at most %d", len(l.buckets), maxBuckets)
	}
	if l.forget(now.Add(time.Hour)); len(l.buckets) > 0 {
		t.Errorf("%d addresses are kept after an hour, want none", len(l.buckets))
	}
}

func TestHandshakes(t *testing.T) {
	s := newSite(t, nil)
	stranger := newSite(t, nil)
	own, peer := s.keeper(t, edge), s.keeper(t, control)
	expired := func() (*tls.Certificate, error) { return nil, errors.New("expired") }
	none := func() *Bundle { return nil }
	tests := []struct {
		name           string
		client, server *tls.Config
		ok             bool
	}{
		{"both prove who they are", ClientConfig(own, s.roots, Only(control)), ServerConfig(peer, s.roots, Only(edge)), true},
		{"a client without a certificate", ClientConfig(nil, s.roots, Only(control)), ServerConfig(peer, s.roots, Anyone), false},
		{"the same where it may come for one", ClientConfig(nil, s.roots, Only(control)), OpenServerConfig(peer, s.roots, Anyone), true},
		{"a client whose certificate expired", ClientConfig(expired, s.roots, Only(control)), OpenServerConfig(peer, s.roots, Anyone), false},
		{"a client of another mesh", ClientConfig(stranger.keeper(t, edge), s.roots, Only(control)), OpenServerConfig(peer, s.roots, Anyone), false},
		{"a client that is not known", ClientConfig(own, s.roots, Only(control)), ServerConfig(peer, s.roots, Only(control)), false},
		{"a server of another mesh", ClientConfig(own, s.roots, Only(control)), ServerConfig(stranger.keeper(t, control), s.roots, Anyone), false},
		{"a gateway in control's place", ClientConfig(own, s.roots, Only(control)), ServerConfig(own, s.roots, Anyone), false},
		{"a client that knows nobody", ClientConfig(own, s.roots, nil), ServerConfig(peer, s.roots, Anyone), false},
		{"a server that knows nobody", ClientConfig(own, s.roots, Only(control)), OpenServerConfig(peer, s.roots, nil), false},
		{"a client without roots", ClientConfig(own, none, Only(control)), ServerConfig(peer, s.roots, Anyone), false},
		{"a server without roots", ClientConfig(own, s.roots, Only(control)), ServerConfig(peer, none, Anyone), false},
		{"TLS 1.2", &tls.Config{MaxVersion: tls.VersionTLS12, InsecureSkipVerify: true}, OpenServerConfig(peer, s.roots, Anyone), false},
	}
	for _, tt := range tests {
		if err := handshake(t, tt.client, tt.server); (err == nil) != tt.ok {
			t.Errorf("%s: %v, want ok %v", tt.name, err, tt.ok)
		}
	}
}

// handshake opens TLS over a socket and sends a byte each way: in TLS 1.3 a
// client learns that it was refused when it reads.
func handshake(t testing.TB, client, server *tls.Config) error {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	served := make(chan error, 1)
	go func() {
		raw, err := ln.Accept()
		if err != nil {
			served <- err
			return
		}
		defer raw.Close()
		_, err = tls.Server(raw, server).Write([]byte{1})
		served <- err
	}()
	raw, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	conn := tls.Client(raw, client)
	_, err = conn.Read(make([]byte, 1))
	raw.Close()
	return errors.Join(err, <-served)
}

func TestOfPeerWithoutTLS(t *testing.T) {
	if id, err := OfPeer(t.Context()); err == nil {
		t.Errorf("a call from nobody is of %s", id)
	}
}
