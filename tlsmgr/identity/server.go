package identity

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
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
	// impersonated is the field of the metadata by which a node proxy says for
	// whom it asks.
	impersonated = "ImpersonatedIdentity"

	maxToken    = 16 << 10 // bytes
	maxAtOnce   = 32       // requests that are being authenticated
	longestWait = 5 * time.Second
)

// A Caller is whose a token is.
type Caller struct {
	ID   ID
	Pod  string // the name of the one that the token is bound to
	Node string // where that runs; empty: the API server does not say
}

// ServerOptions are what a Server needs. All but Roots, Allow, TrustedNodes and
// RunsOn are required.
type ServerOptions struct {
	// CA returns the CA that signs, nil while there is none.
	CA func() *CA
	// Roots, if set, are what callers are told to trust. Nil: the root that the
	// CA leads to, which is too little while another takes its place.
	Roots       Roots
	TrustDomain string
	// Authenticate returns whose a bearer token is. An error that is a gRPC
	// status with code Unavailable means that it could not be found out.
	Authenticate func(ctx context.Context, token string) (Caller, error)
	// Allow, if set, returns an error for an authenticated ID that is not to
	// have a certificate (any more).
	Allow Known
	// TrustedNodes are the accounts of node proxies (ztunnel), which may have
	// certificates of others, of pods on their own node. Empty: nobody may.
	TrustedNodes []ID
	// RunsOn returns nil if a pod of that ID runs where the caller does. An error
	// is as Authenticate's. Nil: no pod does.
	RunsOn func(ctx context.Context, id ID, caller Caller) error
	Log    *slog.Logger
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
	s := &Server{options: o, slots: make(chan struct{}, maxAtOnce), limiter: limiter{burst: burst}}
	if len(o.TrustedNodes) > 0 {
		s.limiter.burst = nodeBurst
	}
	return s
}

// Register adds the service to a gRPC server.
func (s *Server) Register(r grpc.ServiceRegistrar) {
	v1alpha1.RegisterIstioCertificateServiceServer(r, s)
}

// CreateCertificate signs the request's key. The reply has the leaf first, and
// in its last text the roots to trust, several where there are several: Istio's
// clients take the one for a chain and the other for what peers have to lead to.
//
// A node proxy asks for a pod's ID by the metadata ImpersonatedIdentity, as
// ztunnel does.
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
	id, err := s.claimed(ctx, in)
	if err != nil {
		s.options.Log.Info("certificate refused", "peer", addressOf(ctx), "err", err)
		return nil, err
	}
	chain, err := ca.sign([]byte(in.GetCsr()), Claim{ID: id, TTL: seconds(in.GetValidityDuration())})
	if err != nil {
		return nil, status.Errorf(codes.InvalidArgument, "%v", err)
	}
	s.options.Log.Debug("certificate issued", "peer", id.String())
	reply := &v1alpha1.IstioCertificateResponse{}
	for _, cert := range chain {
		reply.CertChain = append(reply.CertChain, string(cert))
	}
	if roots := s.roots(ca); roots != "" {
		reply.CertChain = append(reply.CertChain, roots)
	}
	return reply, nil
}

// roots is what the callers of ca are to trust, in PEM: certificates alone, as
// ztunnel takes nothing else.
func (s *Server) roots(ca *CA) string {
	var bundle *Bundle
	if s.options.Roots != nil {
		bundle = s.options.Roots()
	}
	if bundle == nil {
		if root := ca.root(); root != nil {
			return string(encodeCertificate(root.Raw))
		}
		return ""
	}
	var text strings.Builder
	for _, root := range bundle.Roots() {
		text.Write(encodeCertificate(root.Raw))
	}
	return text.String()
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

// claimed returns whom the certificate is to be of: the caller, or for node
// proxies one of the pods of their node.
func (s *Server) claimed(ctx context.Context, in *v1alpha1.IstioCertificateRequest) (ID, error) {
	caller, err := s.authenticate(ctx)
	if err != nil {
		return ID{}, err
	}
	other, ok := in.GetMetadata().GetFields()[impersonated]
	if !ok {
		if s.options.Allow != nil {
			if err := s.options.Allow(caller.ID); err != nil {
				return ID{}, status.Errorf(codes.PermissionDenied, "%v", err)
			}
		}
		return caller.ID, nil
	}
	id, err := Parse(other.GetStringValue())
	switch {
	case err != nil:
		return ID{}, status.Errorf(codes.InvalidArgument, "%s: %v", impersonated, err)
	case !slices.Contains(s.options.TrustedNodes, caller.ID):
		return ID{}, status.Errorf(codes.PermissionDenied, "%s asks for %s: want its own identity, as it is no trusted node's", caller.ID, id)
	case id.TrustDomain != s.options.TrustDomain:
		return ID{}, status.Errorf(codes.PermissionDenied, "%s asks for %s: want trust domain %s", caller.ID, id, s.options.TrustDomain)
	case s.options.RunsOn == nil:
		return ID{}, status.Errorf(codes.PermissionDenied, "%s asks for %s: nobody knows its pods", caller.ID, id)
	}
	if err := s.options.RunsOn(ctx, id, caller); status.Code(err) == codes.Unavailable {
		return ID{}, err
	} else if err != nil {
		return ID{}, status.Errorf(codes.PermissionDenied, "%s asks for %s: want that of a pod on its node: %v", caller.ID, id, err)
	}
	return id, nil
}

// authenticate returns who the caller is, by its token alone: a certificate is
// not renewed by itself, so that a stolen one ends with its 24 hours at the
// latest, and the thief's way to another one with the pod that the token is
// bound to.
func (s *Server) authenticate(ctx context.Context) (Caller, error) {
	token, err := bearer(ctx)
	if err != nil {
		return Caller{}, status.Errorf(codes.Unauthenticated, "%v", err)
	}
	caller, err := s.options.Authenticate(ctx, token)
	switch {
	case status.Code(err) == codes.Unavailable:
		return Caller{}, err
	case err != nil:
		return Caller{}, status.Errorf(codes.Unauthenticated, "%v", err)
	case caller.ID.TrustDomain != s.options.TrustDomain:
		return Caller{}, status.Errorf(codes.PermissionDenied, "%s: want trust domain %s", caller.ID, s.options.TrustDomain)
	}
	return caller, nil
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
