package identity

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"istio.io/api/security/v1alpha1"
)

const (
	maxToken    = 16 << 10 // bytes
	maxAtOnce   = 32       // requests that are being authenticated
	longestWait = 5 * time.Second
)

// ServerOptions are what a Server needs. All but Allow are required.
type ServerOptions struct {
	// CA returns the CA that signs, nil while there is none.
	CA          func() *CA
	TrustDomain string
	// Authenticate returns whose a bearer token is. An error that is a gRPC
	// status with code Unavailable means that it could not be found out.
	Authenticate func(ctx context.Context, token string) (ID, error)
	// Allow, if set, returns an error for an authenticated ID that is not to
	// have a certificate (any more).
	Allow Known
	Log   *slog.Logger
}

// A Server is istio.v1.auth.IstioCertificateService: it signs for the ID that
// the caller has proved by a bearer token.
type Server struct {
	v1alpha1.UnimplementedIstioCertificateServiceServer
	options ServerOptions
	limiter limiter
	slots   chan struct{}
}

// NewServer returns a Server.
func NewServer(o ServerOptions) *Server {
	return &Server{options: o, slots: make(chan struct{}, maxAtOnce)}
}

// Register adds the service to a gRPC server.
func (s *Server) Register(r grpc.ServiceRegistrar) {
	v1alpha1.RegisterIstioCertificateServiceServer(r, s)
}

// CreateCertificate signs the request's key. The reply has the leaf first and
// a root last.
func (s *Server) CreateCertificate(ctx context.Context, in *v1alpha1.IstioCertificateRequest) (*v1alpha1.IstioCertificateResponse, error) {
	if address := addressOf(ctx); !s.limiter.allow(address, time.Now()) {
		return nil, status.Errorf(codes.ResourceExhausted, "%s asks too often: want one certificate in %s", address, refill)
	}
	release, err := s.acquire(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	ca := s.options.CA()
	if ca == nil {
		return nil, status.Error(codes.Unavailable, "no CA yet")
	}
	id, err := s.authenticate(ctx)
	if err != nil {
		s.options.Log.Info("certificate refused", "peer", addressOf(ctx), "err", err)
		return nil, err
	}
	chain, err := ca.Sign([]byte(in.GetCsr()), Claim{ID: id, TTL: seconds(in.GetValidityDuration())})
	if err != nil {
		return nil, status.Errorf(codes.InvalidArgument, "%v", err)
	}
	s.options.Log.Debug("certificate issued", "peer", id.String())
	reply := &v1alpha1.IstioCertificateResponse{}
	for _, cert := range chain {
		reply.CertChain = append(reply.CertChain, string(cert))
	}
	return reply, nil
}

// seconds avoids overflow: any huge duration is as good as MaxTTL.
func seconds(n int64) time.Duration {
	return time.Duration(min(n, int64(MaxTTL/time.Second))) * time.Second
}

// acquire waits for a place among those that are served.
func (s *Server) acquire(ctx context.Context) (release func(), err error) {
	timeout := time.NewTimer(longestWait)
	defer timeout.Stop()
	select {
	case s.slots <- struct{}{}:
		return func() { <-s.slots }, nil
	case <-timeout.C:
		return nil, status.Error(codes.ResourceExhausted, "too many requests for certificates, try again")
	case <-ctx.Done():
		return nil, status.FromContextError(ctx.Err()).Err()
	}
}

// authenticate returns who the caller is, by its token alone: a certificate is
// not renewed by itself, so that a stolen one ends with its 24 hours at the
// latest, and the thief's way to another one with the pod that the token is
// bound to.
func (s *Server) authenticate(ctx context.Context) (ID, error) {
	token, err := bearer(ctx)
	if err != nil {
		return ID{}, status.Errorf(codes.Unauthenticated, "%v", err)
	}
	id, err := s.options.Authenticate(ctx, token)
	switch {
	case status.Code(err) == codes.Unavailable:
		return ID{}, err
	case err != nil:
		return ID{}, status.Errorf(codes.Unauthenticated, "%v", err)
	case id.TrustDomain != s.options.TrustDomain:
		return ID{}, status.Errorf(codes.PermissionDenied, "%s: want trust domain %s", id, s.options.TrustDomain)
	}
	if s.options.Allow != nil {
		if err := s.options.Allow(id); err != nil {
			return ID{}, status.Errorf(codes.PermissionDenied, "%v", err)
		}
	}
	return id, nil
}

// bearer returns the token of the call (RFC 6750 section 2.1).
func bearer(ctx context.Context) (token string, err error) {
	md, _ := metadata.FromIncomingContext(ctx)
	if values := md.Get("authorization"); len(values) == 1 {
		kind, token, _ := strings.Cut(values[0], " ")
		if strings.EqualFold(kind, "Bearer") && token != "" && len(token) <= maxToken {
			return token, nil
		}
	}
	return "", fmt.Errorf("authorization: want one bearer token of at most %d bytes", maxToken)
}

func addressOf(ctx context.Context) string {
	p, ok := peer.FromContext(ctx)
	if !ok || p.Addr == nil {
		return ""
	}
	return hostOf(p.Addr)
}
