package trust

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"

	"fairway.dev/tlsmgr/identity"
)

var quiet = slog.New(slog.DiscardHandler)

// An apiServer has the Secrets, the ConfigMap, and an answer to TokenReviews.
type apiServer struct {
	mu     sync.Mutex
	secret *corev1.Secret // fairway-ca
	users  *corev1.Secret // cacerts
	roots  *corev1.ConfigMap
	writes int // of Secrets

	rootWrites int
	review     func(authenticationv1.TokenReviewSpec) authenticationv1.TokenReviewStatus
	before     func() // called before the next write: another replica's turn
	down       bool
	revision   int
}

// start returns the way to the server: without a network, for tests in a bubble.
func (a *apiServer) start(t *testing.T) *rest.Config {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /api/v1/namespaces/fairway-system/secrets/{name}", a.get)
	mux.HandleFunc("POST /api/v1/namespaces/fairway-system/secrets", a.create)
	mux.HandleFunc("GET /api/v1/namespaces/fairway-system/configmaps/fairway-roots", a.getRoots)
	mux.HandleFunc("POST /api/v1/namespaces/fairway-system/configmaps", a.createRoots)
	mux.HandleFunc("PATCH /api/v1/namespaces/fairway-system/configmaps/fairway-roots", a.patchRoots)
	mux.HandleFunc("POST /apis/authentication.k8s.io/v1/tokenreviews", a.tokenReview)
	return &rest.Config{Host: "http://api", QPS: -1, Transport: direct(func(w http.ResponseWriter, r *http.Request) {
		if a.down {
			http.Error(w, "away", http.StatusServiceUnavailable)
			return
		}
		mux.ServeHTTP(w, r)
	})}
}

// direct answers requests itself.
type direct http.HandlerFunc

func (d direct) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	rec := httptest.NewRecorder()
	if r.Body == nil {
		r.Body = http.NoBody
	}
	d(rec, r)
	return rec.Result(), nil
}

func answer(w http.ResponseWriter, code int, o any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	json.NewEncoder(w).Encode(o)
}

func refuse(w http.ResponseWriter, err *apierrors.StatusError) {
	s := err.Status()
	s.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}
	answer(w, int(s.Code), s)
}

var secretResource = schema.GroupResource{Resource: "secrets"}

func (a *apiServer) get(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	secret := map[string]*corev1.Secret{SecretName: a.secret, UserSecretName: a.users}[r.PathValue("name")]
	if secret == nil {
		refuse(w, apierrors.NewNotFound(secretResource, r.PathValue("name")))
		return
	}
	answer(w, http.StatusOK, secret)
}

var mapResource = schema.GroupResource{Resource: "configmaps"}

func (a *apiServer) getRoots(w http.ResponseWriter, _ *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.roots == nil {
		refuse(w, apierrors.NewNotFound(mapResource, RootsName))
		return
	}
	answer(w, http.StatusOK, a.roots)
}

func (a *apiServer) createRoots(w http.ResponseWriter, r *http.Request) {
	a.othersTurn()
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.roots != nil {
		refuse(w, apierrors.NewAlreadyExists(mapResource, RootsName))
		return
	}
	o := &corev1.ConfigMap{}
	if err := json.NewDecoder(r.Body).Decode(o); err != nil || o.Kind != "ConfigMap" || o.Name != RootsName {
		refuse(w, apierrors.NewBadRequest("no ConfigMap"))
		return
	}
	a.putRoots(o)
	answer(w, http.StatusCreated, o)
}

func (a *apiServer) patchRoots(w http.ResponseWriter, r *http.Request) {
	a.othersTurn()
	a.mu.Lock()
	defer a.mu.Unlock()
	o := &corev1.ConfigMap{}
	if err := json.NewDecoder(r.Body).Decode(o); err != nil || a.roots == nil || r.Header.Get("Content-Type") != "application/merge-patch+json" {
		refuse(w, apierrors.NewBadRequest("no merge patch of what is there"))
		return
	}
	if o.ResourceVersion != a.roots.ResourceVersion {
		refuse(w, apierrors.NewConflict(mapResource, RootsName, errors.New("somebody was first")))
		return
	}
	a.putRoots(&corev1.ConfigMap{ObjectMeta: a.roots.ObjectMeta, Data: o.Data})
	answer(w, http.StatusOK, a.roots)
}

// putRoots is called with a.mu held.
func (a *apiServer) putRoots(o *corev1.ConfigMap) {
	a.revision++
	a.rootWrites++
	o.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"}
	o.ResourceVersion = strconv.Itoa(a.revision)
	a.roots = o
}

// othersTurn lets another replica write first.
func (a *apiServer) othersTurn() {
	if before := a.before; before != nil {
		a.before = nil
		before()
	}
}

func (a *apiServer) create(w http.ResponseWriter, r *http.Request) {
	a.othersTurn()
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.secret != nil {
		refuse(w, apierrors.NewAlreadyExists(secretResource, SecretName))
		return
	}
	secret := &corev1.Secret{}
	body, _ := io.ReadAll(r.Body)
	if err := json.Unmarshal(body, secret); err != nil || secret.Kind != "Secret" {
		refuse(w, apierrors.NewBadRequest(string(body)))
		return
	}
	a.put(secret)
	a.writes++
	answer(w, http.StatusCreated, a.secret)
}

// put is called with a.mu held, or while nobody uses the server.
func (a *apiServer) put(secret *corev1.Secret) { a.secret = a.stamped(secret, SecretName) }

// bring puts the user's Secret.
func (a *apiServer) bring(secret *corev1.Secret) { a.users = a.stamped(secret, UserSecretName) }

func (a *apiServer) stamped(secret *corev1.Secret, name string) *corev1.Secret {
	a.revision++
	secret.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"}
	secret.Name, secret.ResourceVersion = name, strconv.Itoa(a.revision)
	return secret
}

func (a *apiServer) tokenReview(w http.ResponseWriter, r *http.Request) {
	review := &authenticationv1.TokenReview{}
	if err := json.NewDecoder(r.Body).Decode(review); err != nil {
		refuse(w, apierrors.NewBadRequest(err.Error()))
		return
	}
	review.Status = a.review(review.Spec)
	answer(w, http.StatusCreated, review)
}

func newTestStore(t *testing.T, config *rest.Config) *Store {
	t.Helper()
	s, err := NewStore(config, "fairway-system", "cluster.local", quiet)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestStoreMakesTheCAOnce(t *testing.T) {
	a := &apiServer{}
	config := a.start(t)
	var roots [][]byte
	for range 2 {
		s := newTestStore(t, config)
		if s.CA() != nil || s.Bundle() != nil {
			t.Fatal("a CA before it was read")
		}
		if err := s.refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
		roots = append(roots, s.Bundle().PEM())
	}
	if a.writes != 1 || !bytes.Equal(roots[0], roots[1]) {
		t.Errorf("%d writes, want one, and the same root for both replicas", a.writes)
	}
	for _, key := range []string{certKey, keyKey, rootsKey} {
		if len(a.secret.Data[key]) == 0 {
			t.Errorf("the Secret has no %s", key)
		}
	}
}

func TestTheFirstOfTwoReplicasWins(t *testing.T) {
	a := &apiServer{}
	config := a.start(t)
	other := newTestStore(t, config)
	a.before = func() {
		if err := other.refresh(context.Background()); err != nil {
			t.Error(err)
		}
	}
	s := newTestStore(t, config)
	if err := s.refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	if a.writes != 1 || !bytes.Equal(s.Bundle().PEM(), other.Bundle().PEM()) {
		t.Errorf("%d writes, want one, and the first one's root for both", a.writes)
	}
}

func secretOf(t *testing.T) *corev1.Secret {
	t.Helper()
	ca, err := identity.NewCA("cluster.local")
	if err != nil {
		t.Fatal(err)
	}
	f, err := ca.Files()
	if err != nil {
		t.Fatal(err)
	}
	return &corev1.Secret{Data: map[string][]byte{certKey: f.Cert, keyKey: f.Key, rootsKey: f.Roots, chainKey: f.Chain}}
}

func TestDamagedSecretIsNeverOverwritten(t *testing.T) {
	tests := []struct {
		name   string
		damage func(*corev1.Secret)
		says   string
	}{
		{"empty", func(s *corev1.Secret) { s.Data = nil }, certKey},
		{"without its key", func(s *corev1.Secret) { delete(s.Data, keyKey) }, keyKey},
		{"another's key", func(s *corev1.Secret) { s.Data[keyKey] = secretOf(t).Data[keyKey] }, keyKey},
		{"another's root", func(s *corev1.Secret) { s.Data[rootsKey] = secretOf(t).Data[rootsKey] }, rootsKey},
		{"a cut certificate", func(s *corev1.Secret) { s.Data[certKey] = s.Data[certKey][:50] }, certKey},
	}
	for _, tt := range tests {
		a := &apiServer{}
		secret := secretOf(t)
		tt.damage(secret)
		a.put(secret)
		s := newTestStore(t, a.start(t))
		err := s.refresh(t.Context())
		if err == nil || !strings.Contains(err.Error(), tt.says) || strings.Contains(err.Error(), "PRIVATE") {
			t.Errorf("%s: %v, want an error that names %s and shows no key", tt.name, err, tt.says)
		}
		if a.writes > 0 || s.CA() != nil {
			t.Errorf("%s: %d writes, a CA %v, want neither", tt.name, a.writes, s.CA() != nil)
		}
		a.put(secretOf(t))
		if err := s.refresh(t.Context()); err != nil {
			t.Errorf("%s: mended: %v", tt.name, err)
		}
		select {
		case <-s.Ready():
		default:
			t.Errorf("%s: mended, and not ready", tt.name)
		}
	}
}

func TestStoreFollowsTheSecret(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &apiServer{}
		a.put(secretOf(t))
		s := newTestStore(t, a.start(t))
		changes := 0
		s.Changed = func() { changes++ }
		// Once for the roots, and again when all know them, for the CA.
		refresh := func() error {
			return errors.Join(s.refresh(t.Context()), wait(spread), s.refresh(t.Context()))
		}
		if err := s.refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
		first := s.CA()
		if refresh(); s.CA() != first {
			t.Error("the same Secret was read as another CA")
		}
		a.put(secretOf(t))
		if err := refresh(); err != nil || s.CA() == first {
			t.Errorf("another Secret: %v, the CA before it", err)
		}
		second := s.CA()
		a.put(&corev1.Secret{})
		if err := refresh(); err == nil || s.CA() != second {
			t.Error("a damaged Secret: want an error and the CA before it")
		}
		a.down = true
		if err := refresh(); err == nil || s.CA() != second {
			t.Error("API server away: want an error and the CA before it")
		}
		a.down, a.secret = false, nil
		if err := refresh(); err != nil || !bytes.Equal(s.CA().Bundle().PEM(), second.Bundle().PEM()) || a.writes != 1 {
			t.Errorf("deleted: %v, %d writes, want the CA at hand written again", err, a.writes)
		}
		if changes != 4 { // first both, then the roots and the CA; at last the Secret alone
			t.Errorf("%d changes, want one for each that was of use", changes)
		}
	})
}

// wait lets that much time pass.
func wait(d time.Duration) error {
	time.Sleep(d)
	return nil
}

func TestStoreRunEndsWithItsContext(t *testing.T) {
	a := &apiServer{}
	s := newTestStore(t, a.start(t))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { s.Run(ctx); close(done) }()
	<-s.Ready()
	cancel()
	<-done
}

func TestTokens(t *testing.T) {
	good := func() authenticationv1.TokenReviewStatus {
		return authenticationv1.TokenReviewStatus{
			Authenticated: true,
			Audiences:     []string{Audience},
			User: authenticationv1.UserInfo{
				Username: "system:serviceaccount:shop:edge-fairway",
				Extra:    map[string]authenticationv1.ExtraValue{podName: {"edge-fairway-abc"}, nodeName: {"node-a"}},
			},
		}
	}
	tests := []struct {
		name   string
		change func(*authenticationv1.TokenReviewStatus)
		ok     bool
	}{
		{"a gateway's", nil, true},
		{"expired, or of a pod that is gone", func(s *authenticationv1.TokenReviewStatus) {
			*s = authenticationv1.TokenReviewStatus{Error: "pod is gone"}
		}, false},
		{"of another audience", func(s *authenticationv1.TokenReviewStatus) { s.Audiences = []string{"vault"} }, false},
		{"of an Istio proxy, whom nothing is given unless it is asked for", func(s *authenticationv1.TokenReviewStatus) { s.Audiences = []string{IstioAudience} }, false},
		{"of a server that knows no audiences", func(s *authenticationv1.TokenReviewStatus) { s.Audiences = nil }, false},
		{"bound to no pod", func(s *authenticationv1.TokenReviewStatus) { s.User.Extra = nil }, false},
		{"a user's", func(s *authenticationv1.TokenReviewStatus) { s.User.Username = "admin" }, false},
		{"a node's", func(s *authenticationv1.TokenReviewStatus) { s.User.Username = "system:node:a" }, false},
		{"of a name that is none", func(s *authenticationv1.TokenReviewStatus) { s.User.Username = "system:serviceaccount:shop:a/b" }, false},
		{"of no name", func(s *authenticationv1.TokenReviewStatus) { s.User.Username = "system:serviceaccount:shop" }, false},
	}
	for _, tt := range tests {
		var asked authenticationv1.TokenReviewSpec
		a := &apiServer{review: func(spec authenticationv1.TokenReviewSpec) authenticationv1.TokenReviewStatus {
			asked = spec
			s := good()
			if tt.change != nil {
				tt.change(&s)
			}
			return s
		}}
		tokens, err := NewTokens(a.start(t), "cluster.local", Audience)
		if err != nil {
			t.Fatal(err)
		}
		caller, err := tokens.Authenticate(t.Context(), "secret-token")
		want := identity.Caller{
			ID:  identity.ID{TrustDomain: "cluster.local", Namespace: "shop", ServiceAccount: "edge-fairway"},
			Pod: "edge-fairway-abc", Node: "node-a",
		}
		if (err == nil) != tt.ok || tt.ok && caller != want {
			t.Errorf("%s: %v, %v, want ok %v", tt.name, caller, err, tt.ok)
		}
		if err != nil && (strings.Contains(err.Error(), "secret-token") || status.Code(err) == codes.Unavailable) {
			t.Errorf("%s: %v: shows the token, or asks to try again", tt.name, err)
		}
		if asked.Token != "secret-token" || len(asked.Audiences) != 1 || asked.Audiences[0] != Audience {
			t.Errorf("%s: asked for audiences %q", tt.name, asked.Audiences)
		}
	}
}

// Istio's proxies come with a token for their own CA (waypoint-wire C.5).
func TestTokensOfTwoAudiences(t *testing.T) {
	for _, audience := range []string{Audience, IstioAudience, "vault"} {
		a := &apiServer{review: func(spec authenticationv1.TokenReviewSpec) authenticationv1.TokenReviewStatus {
			return authenticationv1.TokenReviewStatus{
				Authenticated: true, Audiences: slices.DeleteFunc(spec.Audiences, func(asked string) bool { return asked != audience }),
				User: authenticationv1.UserInfo{
					Username: "system:serviceaccount:istio-system:ztunnel", Extra: map[string]authenticationv1.ExtraValue{podName: {"ztunnel-x"}},
				},
			}
		}}
		tokens, err := NewTokens(a.start(t), "cluster.local", Audience, IstioAudience)
		if err != nil {
			t.Fatal(err)
		}
		caller, err := tokens.Authenticate(t.Context(), "token")
		want := identity.Caller{ID: identity.ID{TrustDomain: "cluster.local", Namespace: "istio-system", ServiceAccount: "ztunnel"}, Pod: "ztunnel-x"}
		if ok := audience != "vault"; (err == nil) != ok || ok && caller != want {
			t.Errorf("of audience %s: %v, %v, want ok %v", audience, caller, err, ok)
		}
	}
}

func TestTokensWhileTheAPIServerIsAway(t *testing.T) {
	a := &apiServer{down: true}
	tokens, err := NewTokens(a.start(t), "cluster.local", Audience)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("the caller is gone"))
	if _, err := tokens.Authenticate(ctx, "token"); status.Code(err) != codes.Unavailable {
		t.Errorf("API server away: %v, want Unavailable", err)
	}
}

func TestBadTrustDomain(t *testing.T) {
	if _, err := NewStore(&rest.Config{}, "a", "Cluster", quiet); err == nil {
		t.Error("NewStore takes a trust domain in upper case")
	}
	if _, err := NewTokens(&rest.Config{}, "", Audience); err == nil {
		t.Error("NewTokens takes no trust domain")
	}
}
