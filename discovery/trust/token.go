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

// Audience is what tokens have to be meant for.
const Audience = "fairway"

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
}

// NewTokens returns Tokens for IDs of a trust domain. It needs to create
// TokenReviews.
func NewTokens(config *rest.Config, trustDomain string) (*Tokens, error) {
	if err := identity.ValidTrustDomain(trustDomain); err != nil {
		return nil, err
	}
	r, err := tokenReviews(config)
	if err != nil {
		return nil, err
	}
	return &Tokens{reviews: r, trustDomain: trustDomain}, nil
}

// Authenticate returns who a token of our audience belongs to. It has to be
// bound to a pod: the API server refuses those of pods that are gone, or that
// another of the same name has taken the place of. If the API server cannot be
// asked, the error is a status of code Unavailable.
func (t *Tokens) Authenticate(ctx context.Context, token string) (identity.Caller, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	review := &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token, Audiences: []string{Audience}}}
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
	if !slices.Contains(s.Audiences, Audience) {
		return identity.Caller{}, fmt.Errorf("token of audience %q, want %q", s.Audiences, Audience)
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
