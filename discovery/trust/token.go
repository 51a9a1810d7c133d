package trust

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	authenticationv1 "k8s.io/api/authentication/v1"
	"k8s.io/client-go/rest"

	"fairway.dev/tlsmgr/identity"
)

// Audiences are what tokens are meant for: those of our own pods, and those of
// Istio's proxies for their CA.
const (
	Audience      = "fairway"
	IstioAudience = "istio-ca"
)

// podName and nodeName are where a TokenReview says to which pod a token is
// bound, and where that runs.
const (
	podName  = "authentication.kubernetes.io/pod-name"
	nodeName = "authentication.kubernetes.io/node-name"
)

// Tokens says whose service account tokens are, by TokenReview.
type Tokens struct {
	reviews     rest.Interface
	trustDomain string
	audiences   []string
}

// NewTokens returns Tokens for IDs of a trust domain, of tokens that are meant
// for one of the audiences. It needs to create TokenReviews.
func NewTokens(config *rest.Config, trustDomain string, audiences ...string) (*Tokens, error) {
	if err := identity.ValidTrustDomain(trustDomain); err != nil {
		return nil, err
	}
	r, err := tokenReviews(config)
	if err != nil {
		return nil, err
	}
	return &Tokens{reviews: r, trustDomain: trustDomain, audiences: audiences}, nil
}

// Authenticate returns who a token of our audiences belongs to. It has to be
// bound to a pod: the API server refuses those of pods that are gone, or that
// another of the same name has taken the place of. If the API server cannot be
// asked, the error is a status of code Unavailable.
func (t *Tokens) Authenticate(ctx context.Context, token string) (identity.Caller, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	review := &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token, Audiences: t.audiences}}
	answer := &authenticationv1.TokenReview{}
	if err := t.reviews.Post().Resource("tokenreviews").Body(review).Do(ctx).Into(answer); err != nil {
		return identity.Caller{}, status.Errorf(codes.Unavailable, "token review: %v", err)
	}
	return t.caller(&answer.Status)
}

func (t *Tokens) caller(s *authenticationv1.TokenReviewStatus) (identity.Caller, error) {
	if !s.Authenticated {
		return identity.Caller{}, fmt.Errorf("token refused: %.200s", s.Error)
	}
	ours := func(audience string) bool { return slices.Contains(t.audiences, audience) }
	if !slices.ContainsFunc(s.Audiences, ours) {
		return identity.Caller{}, fmt.Errorf("token of audience %q, want one of %q", s.Audiences, t.audiences)
	}
	if len(s.User.Extra[podName]) == 0 {
		return identity.Caller{}, errors.New("token that is bound to no pod")
	}
	name, ok := strings.CutPrefix(s.User.Username, "system:serviceaccount:")
	namespace, account, found := strings.Cut(name, ":")
	if !ok || !found {
		return identity.Caller{}, fmt.Errorf("token of %q, want a service account's", s.User.Username)
	}
	id := identity.ID{TrustDomain: t.trustDomain, Namespace: namespace, ServiceAccount: account}
	caller := identity.Caller{ID: id, Pod: s.User.Extra[podName][0]}
	if nodes := s.User.Extra[nodeName]; len(nodes) > 0 {
		caller.Node = nodes[0]
	}
	return caller, id.Valid()
}
