package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"

	"fairway.dev/discovery/apitest"
	"fairway.dev/routing"
	"fairway.dev/routing/analysis"
	"fairway.dev/tlsmgr/identity"
)

// virtualServiceJSON is one that sends to some destinations, by their weights.
func virtualServiceJSON(label string, weights ...int) []byte {
	var routes []string
	for i, w := range weights {
		routes = append(routes, fmt.Sprintf(`{"destination":{"host":"reviews-%d"},"weight":%d}`, i, w))
	}
	return fmt.Appendf(nil, `{"apiVersion":"networking.istio.io/v1","kind":"VirtualService","metadata":{"name":"reviews","namespace":"shop","labels":{"l":%q}},
		"spec":{"hosts":["reviews"],"http":[{"route":[%s]}]}}`, label, strings.Join(routes, ","))
}

func reviewOf(operation admissionv1.Operation, kind string, object, old []byte) *admissionv1.AdmissionReview {
	return &admissionv1.AdmissionReview{
		TypeMeta: metav1.TypeMeta{APIVersion: "admission.k8s.io/v1", Kind: "AdmissionReview"},
		Request: &admissionv1.AdmissionRequest{
			UID: "uid-1", Kind: metav1.GroupVersionKind{Group: "networking.istio.io", Version: "v1", Kind: kind}, Operation: operation,
			Object: runtime.RawExtension{Raw: object}, OldObject: runtime.RawExtension{Raw: old},
		},
	}
}

func TestReview(t *testing.T) {
	good, bad := virtualServiceJSON("a", 90, 10), virtualServiceJSON("a", 0, 0) // a sum of 0: nobody gets anything
	deleted := bytes.Replace(bad, []byte(`"labels"`), []byte(`"deletionTimestamp":"2026-01-02T03:04:05Z","labels"`), 1)
	tests := []struct {
		name        string
		review      *admissionv1.AdmissionReview
		allowed     bool
		says, warns string
	}{
		{"a good one", reviewOf(admissionv1.Create, "VirtualService", good, nil), true, "", ""},
		{"a bad one", reviewOf(admissionv1.Create, "VirtualService", bad, nil), false, "spec.http[0].route", ""},
		{"an edit that makes it bad", reviewOf(admissionv1.Update, "VirtualService", bad, good), false, "spec.http[0].route", ""},
		{"a label of a bad one", reviewOf(admissionv1.Update, "VirtualService", bad, virtualServiceJSON("b", 0, 0)), true, "", "spec.http[0].route"},
		{"a finalizer of a bad one that is deleted", reviewOf(admissionv1.Update, "VirtualService", deleted, nil), true, "", "spec.http[0].route"},
		{"what is newer than the types", reviewOf(admissionv1.Create, "VirtualService", []byte(`{"spec":{"hosts":{}}}`), nil), true, "", "cannot read it"},
		{"another kind", reviewOf(admissionv1.Create, "Sidecar", bad, nil), true, "", ""},
		{"a deletion", reviewOf(admissionv1.Delete, "VirtualService", nil, bad), true, "", ""},
	}
	w := newWebhook(slog.New(slog.DiscardHandler))
	for _, tt := range tests {
		got := w.review(tt.review.Request)
		if got.Allowed != tt.allowed || (got.Result == nil) != tt.allowed {
			t.Errorf("%s: allowed %v, result %v", tt.name, got.Allowed, got.Result)
		}
		if got.Result != nil && !strings.Contains(got.Result.Message, tt.says) {
			t.Errorf("%s: refused with %q, want %q", tt.name, got.Result.Message, tt.says)
		}
		if warnings := strings.Join(got.Warnings, "\n"); !strings.Contains(warnings, tt.warns) || tt.warns == "" && warnings != "" {
			t.Errorf("%s: warnings %q, want %q", tt.name, warnings, tt.warns)
		}
	}
}

// The kinds that are looked at are those that there are checks for, and that
// the chart has the API server ask about.
func TestReviewedKinds(t *testing.T) {
	wrong := map[string]string{ // of those that may be empty
		"AuthorizationPolicy":   `{"spec": {"rules": [{"when": [{"key": "no.such.key", "values": ["x"]}]}]}}`,
		"RequestAuthentication": `{"spec": {"jwtRules": [{"issuer": ""}]}}`,
		"PeerAuthentication":    `{"spec": {"portLevelMtls": {"80": {"mode": "STRICT"}}}}`,
	}
	for kind, empty := range reviewed {
		object, ok := empty().(metav1.Object)
		if !ok || object == nil {
			t.Fatalf("%s: want an object of the API", kind)
		}
		if text := wrong[kind.Kind]; text != "" {
			if err := json.Unmarshal([]byte(text), object); err != nil {
				t.Fatal(err)
			}
		}
		problems := analysis.Validate(object)
		if !slices.ContainsFunc(problems, func(p *routing.Problem) bool { return p.Level == routing.Error }) {
			t.Errorf("%s: nothing is wrong with %s", kind, cmp.Or(wrong[kind.Kind], "an empty one"))
		}
	}
}

// The API server verifies the webhook by its name as a Service, and says no to
// who has no bundle of the mesh.
func TestWebhookOverTLS(t *testing.T) {
	ca, err := identity.NewCA("cluster.local")
	if err != nil {
		t.Fatal(err)
	}
	const name = "fairway-control.fairway-system.svc"
	id := identity.ID{TrustDomain: "cluster.local", Namespace: "fairway-system", ServiceAccount: "fairway-control"}
	keeper := identity.NewKeeper(identity.Local(func() *identity.CA { return ca }, identity.Claim{ID: id, DNS: []string{name}}), slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(t.Context())
	kept := make(chan struct{})
	go func() { defer close(kept); keeper.Run(ctx) }()
	<-keeper.Ready()
	opened := newLines("listener=")
	served := make(chan error, 1)
	go func() {
		served <- newWebhook(slog.New(slog.NewTextHandler(opened, nil))).serve(ctx, "127.0.0.1:0", keeper.Certificate)
	}()
	defer func() {
		cancel()
		<-kept
		if err := <-served; err != nil {
			t.Error(err)
		}
	}()
	address := <-opened.found
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca.Bundle().PEM())
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, ServerName: name}}}
	defer client.CloseIdleConnections()

	body, err := json.Marshal(reviewOf(admissionv1.Create, "VirtualService", virtualServiceJSON("a", 0, 0), nil))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := client.Post("https://"+address+"/validate?timeout=3s", "application/json", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var answer admissionv1.AdmissionReview
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		t.Fatal(err)
	}
	if answer.Kind != "AdmissionReview" || answer.Response == nil || answer.Response.UID != "uid-1" || answer.Response.Allowed {
		t.Errorf("answer %+v, want a refusal", answer)
	}
}

// lines is a log that hands out the word behind a key.
type lines struct {
	key   string
	found chan string
}

func newLines(key string) *lines { return &lines{key, make(chan string, 1)} }

// Write implements io.Writer.
func (l *lines) Write(p []byte) (int, error) {
	if _, rest, ok := strings.Cut(string(p), l.key); ok {
		l.found <- strings.Fields(rest)[0]
	}
	return len(p), nil
}

// What is no review is told so, and too many at once are sent away: the API
// server lets the objects pass.
func TestWebhookRefusesOthers(t *testing.T) {
	w := newWebhook(slog.New(slog.DiscardHandler))
	ask := func(method, path string, body io.Reader) int {
		out := httptest.NewRecorder()
		w.ServeHTTP(out, httptest.NewRequest(method, path, body))
		return out.Code
	}
	tests := []struct {
		method, path, body string
		want               int
	}{
		{"GET", "/validate", "", http.StatusNotFound},
		{"POST", "/", "{}", http.StatusNotFound},
		{"POST", "/validate", "{}", http.StatusBadRequest},
		{"POST", "/validate", "no JSON", http.StatusBadRequest},
		{"POST", "/validate", strings.Repeat(" ", maxReview+1), http.StatusBadRequest},
	}
	for _, tt := range tests {
		if got := ask(tt.method, tt.path, strings.NewReader(tt.body)); got != tt.want {
			t.Errorf("%s %s with %.20q: %d, want %d", tt.method, tt.path, tt.body, got, tt.want)
		}
	}
	for range maxReviews {
		w.places <- struct{}{}
	}
	if got := ask("POST", "/validate", strings.NewReader("{}")); got != http.StatusServiceUnavailable {
		t.Errorf("one too many: %d, want 503", got)
	}
}

func TestCutText(t *testing.T) {
	tests := []struct {
		text string
		most int
		want string
	}{
		{"short", 5, "short"},
		{"too long", 6, "too..."},
		{"ééé", 5, "é..."}, // between characters
	}
	for _, tt := range tests {
		if got := cutText(tt.text, tt.most); got != tt.want {
			t.Errorf("cutText(%q, %d) = %q, want %q", tt.text, tt.most, got, tt.want)
		}
	}
}

// The caBundle is written where there is another, and nothing else is.
func TestBundleIsKept(t *testing.T) {
	server := apitest.New(t)
	const c = `{apiVersion: admissionregistration.k8s.io/v1, kind: ValidatingWebhookConfiguration, metadata: {name: fairway},
		webhooks: [{name: validate.fairway.dev, clientConfig: {service: {name: fairway-control, namespace: fairway-system}}, failurePolicy: Ignore}]}`
	core, err := kubernetes.NewForConfig(server.Config())
	if err != nil {
		t.Fatal(err)
	}
	bundle := []byte("roots")
	k := &bundleKeeper{core: core, name: "fairway", bundle: func() []byte { return bundle }, changed: make(chan struct{}, 1), log: slog.New(slog.DiscardHandler)}
	if err := k.keep(t.Context()); err == nil {
		t.Error("no error without a configuration")
	}
	server.Apply(c)
	for _, want := range []string{"roots", "other roots"} {
		bundle = []byte(want)
		for range 2 {
			if err := k.keep(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		hook := server.Object("ValidatingWebhookConfiguration", "", "fairway")["webhooks"].([]any)[0].(apitest.Object)
		config := hook["clientConfig"].(apitest.Object)
		if config["caBundle"] != base64.StdEncoding.EncodeToString([]byte(want)) || config["service"] == nil || hook["failurePolicy"] != "Ignore" {
			t.Errorf("webhook %v, want caBundle %q and the rest as it was", hook, want)
		}
	}
	if n := len(server.Writes()); n != 2 {
		t.Errorf("%d writes, want one for each bundle", n)
	}
}

// Somebody may change the list while it is patched: the place has to be the
// webhook's.
func TestBundlePatchTestsTheName(t *testing.T) {
	c := &admissionregistrationv1.ValidatingWebhookConfiguration{Webhooks: []admissionregistrationv1.ValidatingWebhook{
		{Name: "a", ClientConfig: admissionregistrationv1.WebhookClientConfig{CABundle: []byte("x")}}, {Name: "b"},
	}}
	want := `[{"op":"test","path":"/webhooks/1/name","value":"b"},{"op":"add","path":"/webhooks/1/clientConfig/caBundle","value":"eA=="}]`
	if got := string(bundlePatch(c, []byte("x"))); got != want {
		t.Errorf("patch %s, want %s", got, want)
	}
}
