package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"reflect"
	"strings"
	"time"
	"unicode/utf8"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"
	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"fairway.dev/routing"
	"fairway.dev/routing/analysis"
	"fairway.dev/tlsmgr/identity"
)

// Bounds of the webhook, which anybody in the cluster can reach.
const (
	maxReview    = 8 << 20 // bytes: an object as it is and as it was, at most 1.5 MiB each, and JSON's marks
	maxReviews   = 16      // at once; the API server lets pass what is sent away
	reviewTime   = 5 * time.Second
	maxWarning   = 256 // bytes: the API server cuts longer ones
	maxWarnings  = 10
	maxObjection = 4 << 10 // bytes of a refusal
)

// reviewed are the kinds that the webhook looks at, in version v1: the API
// server sends other versions as that one.
var reviewed = map[metav1.GroupKind]func() any{
	{Group: "networking.istio.io", Kind: "VirtualService"}:      func() any { return new(networkingv1.VirtualService) },
	{Group: "networking.istio.io", Kind: "DestinationRule"}:     func() any { return new(networkingv1.DestinationRule) },
	{Group: "networking.istio.io", Kind: "Gateway"}:             func() any { return new(networkingv1.Gateway) },
	{Group: "networking.istio.io", Kind: "ServiceEntry"}:        func() any { return new(networkingv1.ServiceEntry) },
	{Group: "networking.istio.io", Kind: "WorkloadEntry"}:       func() any { return new(networkingv1.WorkloadEntry) },
	{Group: "security.istio.io", Kind: "AuthorizationPolicy"}:   func() any { return new(securityv1.AuthorizationPolicy) },
	{Group: "security.istio.io", Kind: "RequestAuthentication"}: func() any { return new(securityv1.RequestAuthentication) },
	{Group: "security.istio.io", Kind: "PeerAuthentication"}:    func() any { return new(securityv1.PeerAuthentication) },
}

// A webhook answers the API server's questions whether an object may be stored
// (ValidatingAdmissionWebhook). It looks at the object alone: what is wrong
// with it whatever else there is refuses it, what is odd comes as warnings.
type webhook struct {
	log    *slog.Logger
	places chan struct{}
}

func newWebhook(log *slog.Logger) *webhook {
	return &webhook{log: log, places: make(chan struct{}, maxReviews)}
}

// serve serves until ctx ends, with the certificate of control, which the
// ValidatingWebhookConfiguration's caBundle leads to.
func (w *webhook) serve(ctx context.Context, address string, own identity.Own) error {
	ln, err := net.Listen("tcp", address)
	if err != nil {
		return fmt.Errorf("-webhook: %w", err)
	}
	server := &http.Server{
		Handler: w, ReadHeaderTimeout: reviewTime, ReadTimeout: reviewTime, WriteTimeout: 2 * reviewTime, IdleTimeout: 2 * time.Minute,
		MaxHeaderBytes: 16 << 10, ErrorLog: slog.NewLogLogger(w.log.Handler(), slog.LevelDebug),
		TLSConfig: &tls.Config{
			MinVersion:     tls.VersionTLS12,
			GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return own() },
		},
	}
	ended := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(ended)
		ctx, cancel := context.WithTimeout(context.Background(), reviewTime)
		defer cancel()
		server.Shutdown(ctx)
	})
	w.log.Info("webhook open", "listener", ln.Addr())
	if err := server.ServeTLS(ln, "", ""); !errors.Is(err, http.ErrServerClosed) {
		stop()
		return fmt.Errorf("-webhook: %w", err)
	}
	<-ended
	return nil
}

// ServeHTTP implements http.Handler.
func (w *webhook) ServeHTTP(out http.ResponseWriter, r *http.Request) {
	select {
	case w.places <- struct{}{}:
		defer func() { <-w.places }()
	default:
		http.Error(out, "too many reviews at once", http.StatusServiceUnavailable)
		return
	}
	if r.Method != http.MethodPost || r.URL.Path != "/validate" {
		http.NotFound(out, r)
		return
	}
	text, err := io.ReadAll(http.MaxBytesReader(out, r.Body, maxReview))
	if err != nil {
		http.Error(out, "review: "+err.Error(), http.StatusBadRequest)
		return
	}
	var review admissionv1.AdmissionReview
	if err := json.Unmarshal(text, &review); err != nil || review.Request == nil {
		http.Error(out, "want an AdmissionReview with a request", http.StatusBadRequest)
		return
	}
	answer := admissionv1.AdmissionReview{TypeMeta: review.TypeMeta, Response: w.review(review.Request)}
	answer.Response.UID = review.Request.UID
	out.Header().Set("Content-Type", "application/json")
	json.NewEncoder(out).Encode(&answer)
}

// review says whether an object may be stored.
func (w *webhook) review(r *admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
	answer := &admissionv1.AdmissionResponse{Allowed: true}
	empty := reviewed[metav1.GroupKind{Group: r.Kind.Group, Kind: r.Kind.Kind}]
	if empty == nil || len(r.Object.Raw) == 0 {
		return answer
	}
	object := empty()
	if err := json.Unmarshal(r.Object.Raw, object); err != nil {
		// The definition has let it pass, which is newer than the types here.
		answer.Warnings = []string{cutText("fairway cannot read it, and has not checked it: "+err.Error(), maxWarning)}
		return answer
	}
	var objections []string
	for _, p := range analysis.Validate(object) {
		text := explained(p)
		if p.Level == routing.Error {
			objections = append(objections, text)
		} else {
			answer.Warnings = append(answer.Warnings, cutText(text, maxWarning))
		}
	}
	if len(objections) > 0 && mayStay(r, object) {
		for _, text := range objections {
			answer.Warnings = append(answer.Warnings, cutText(text, maxWarning))
		}
		objections = nil
	}
	answer.Warnings = answer.Warnings[:min(len(answer.Warnings), maxWarnings)]
	if len(objections) > 0 {
		answer.Allowed = false
		answer.Result = &metav1.Status{
			Status: metav1.StatusFailure, Code: http.StatusUnprocessableEntity, Reason: metav1.StatusReasonInvalid,
			Message: cutText(strings.Join(objections, "\n"), maxObjection),
		}
		w.log.Debug("object refused", "origin", r.Kind.Kind+" "+r.Namespace+"/"+r.Name, "err", answer.Result.Message)
	}
	return answer
}

// mayStay reports whether what is wrong has been there before: metadata of such
// an object may be edited, and the object deleted.
func mayStay(r *admissionv1.AdmissionRequest, object any) bool {
	if meta, ok := object.(metav1.Object); ok && meta.GetDeletionTimestamp() != nil {
		return true
	}
	return r.Operation == admissionv1.Update && len(r.OldObject.Raw) > 0 && sameSpec(r.Object.Raw, r.OldObject.Raw)
}

func sameSpec(a, b []byte) bool {
	type object struct{ Spec json.RawMessage }
	var x, y object
	if json.Unmarshal(a, &x) != nil || json.Unmarshal(b, &y) != nil {
		return false
	}
	if bytes.Equal(x.Spec, y.Spec) {
		return true
	}
	var left, right any
	return json.Unmarshal(x.Spec, &left) == nil && json.Unmarshal(y.Spec, &right) == nil && reflect.DeepEqual(left, right)
}

// explained is a Problem for who applies the object, who knows which it is.
func explained(p *routing.Problem) string {
	text := fmt.Sprintf("%s: %v", p.Reason, p.Err)
	if p.Origin.Field != "" {
		text = p.Origin.Field + ": " + text
	}
	if p.Fix != "" {
		text += "; " + p.Fix
	}
	return text
}

// cutText cuts a text to a number of bytes, between characters.
func cutText(text string, most int) string {
	if len(text) <= most {
		return text
	}
	end := most - len("...")
	for end > 0 && !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end] + "..."
}
