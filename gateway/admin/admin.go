// Package admin answers the operator: is the gateway alive, is it ready, what
// does it count, and what is in force.
//
// It only reads: every request is a GET, nothing can be changed here. No page
// shows a key. It runs on net/http, apart from the data path, and may be slow
// without anybody's traffic being so.
//
// The pages under /debug/ tell much about a cluster, so only who comes from a
// loopback address gets them, wherever the port is bound: in a pod that is
// `kubectl port-forward`. They are refused to names that a web page could have
// made up for one (DNS rebinding): ask by address, or as localhost.
package admin

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/http/pprof"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"fairway.dev/routing"
)

// Options are where the pages get what they show. A nil field leaves its
// pages out: they answer 404.
type Options struct {
	// Ready reports whether the gateway takes traffic; where it does not, what
	// it waits for ("listeners bound"), or why it will not ("draining").
	Ready func() (ready bool, unfinished []string)

	// Metrics serves the metrics page.
	Metrics http.Handler

	// Snapshot returns what is in force; nil where nothing is yet.
	Snapshot func() *routing.Snapshot

	// Problems returns why parts of the configuration are not in force: those
	// of the dialects and of files too.
	Problems func() []*routing.Problem

	// Upstream returns the state of the clusters, to be shown as JSON.
	Upstream func() any

	// Identity returns who the gateway is in the mesh, and whom it believes, to be
	// shown as JSON.
	Identity func() any

	// Fleet returns what each gateway pod has in force, to be shown as JSON:
	// the control plane knows.
	Fleet func() any
}

// A page is something under /debug/ that the index links to.
type page struct{ Path, Text string }

var pages = []page{
	{"/livez", "the process runs"},
	{"/readyz", "the configuration is in force"},
	{"/metrics", "Prometheus metrics"},
	{"/debug/snapshot", "what is in force, as text"},
	{"/debug/snapshot?format=json", "what is asked for, as JSON"},
	{"/debug/problems", "what is not in force, and why"},
	{"/debug/upstream", "clusters, endpoints, health, connections"},
	{"/debug/identity", "who the gateway is in the mesh, who says so, and by which roots others are believed"},
	{"/debug/fleet", "what each gateway pod has in force"},
	{"/debug/explain?method=GET&url=http://localhost/", "which rule takes a request, and why no other (header=Name:value may be repeated)"},
	{"/debug/pprof/", "profiles of the Go runtime"},
}

// New returns the handler of all pages.
func New(o Options) http.Handler {
	debug := http.NewServeMux()
	debug.HandleFunc("/debug/{$}", o.index)
	debug.HandleFunc("/debug/pprof/", brief(pprof.Index))
	debug.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	debug.HandleFunc("/debug/pprof/profile", brief(pprof.Profile))
	debug.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	debug.HandleFunc("/debug/pprof/trace", brief(pprof.Trace))
	if o.Snapshot != nil {
		debug.HandleFunc("/debug/snapshot", o.snapshot)
		debug.HandleFunc("/debug/explain", o.explain)
	}
	if o.Problems != nil {
		debug.HandleFunc("/debug/problems", o.problems)
	}
	if o.Upstream != nil {
		debug.HandleFunc("/debug/upstream", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, o.Upstream()) })
	}
	if o.Identity != nil {
		debug.HandleFunc("/debug/identity", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, o.Identity()) })
	}
	if o.Fleet != nil {
		debug.HandleFunc("/debug/fleet", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, o.Fleet()) })
	}

	mux := http.NewServeMux()
	mux.HandleFunc("/livez", live)
	if o.Ready != nil {
		mux.HandleFunc("/readyz", o.ready)
	}
	if o.Metrics != nil {
		mux.Handle("/metrics", o.Metrics)
	}
	mux.Handle("/debug/", fromHere(notRebound(debug)))
	mux.Handle("/{$}", http.RedirectHandler("/debug/", http.StatusFound))
	return readOnly(mux)
}

// NewServer returns a server for New's handler, with a deadline on each step.
// Log takes what net/http has to complain about.
func NewServer(h http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       5 * time.Second,
		WriteTimeout:      30 * time.Second, // pprof moves it for profiles
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}

// maxProfile bounds, in seconds, how long a profile takes: it costs.
const maxProfile = 60

// brief refuses to profile for long.
func brief(profile http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if text := r.FormValue("seconds"); text != "" {
			if n, err := strconv.ParseFloat(text, 64); err != nil || !(n <= maxProfile) {
				http.Error(w, fmt.Sprintf("seconds %q: want at most %d", text, maxProfile), http.StatusBadRequest)
				return
			}
		}
		profile(w, r)
	}
}

// readOnly refuses all methods but GET and HEAD.
func readOnly(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "method "+r.Method+": want GET", http.StatusMethodNotAllowed)
			return
		}
		h := w.Header()
		h.Set("Cache-Control", "no-store")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'")
		next.ServeHTTP(w, r)
	})
}

// fromHere refuses requests from other machines, and other pods.
func fromHere(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if from, err := netip.ParseAddrPort(r.RemoteAddr); err != nil || !from.Addr().Unmap().IsLoopback() {
			http.Error(w, "from "+r.RemoteAddr+": want a loopback address (kubectl port-forward comes from one)", http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// notRebound refuses requests for a name that resolves to us only because
// somebody wanted a browser to come here.
func notRebound(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host := (&url.URL{Host: r.Host}).Hostname()
		_, err := netip.ParseAddr(host)
		if err != nil && host != "localhost" && !strings.HasSuffix(host, ".localhost") {
			http.Error(w, "host "+host+": want an address or localhost", http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}
