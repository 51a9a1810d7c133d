package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"
)

// demoBackends are what deploy/quickstart's EndpointSlices point at.
var demoBackends = []struct{ name, addr string }{
	{"shop-v1", "127.0.0.1:18081"},
	{"shop-v2", "127.0.0.1:18082"},
}

// demo runs the quickstart's backends until ctx ends. When the gateway is
// ready it prints what to try. With -backend it is one backend in a pod.
func demo(ctx context.Context, args []string, out io.Writer) error {
	f := flags("demo", "[flags]")
	admin := f.String("admin", "127.0.0.1:9090", "the gateway's admin `address`: print what to try once it is ready")
	ca := f.String("ca", "", "the `file` of the gateway's local CA, for the curl line that verifies TLS")
	backend := f.String("backend", "", "be one backend of this `name` in a pod: HTTP and datagrams on port 8080, HTTPS on 8443 with -certificate")
	certificate := f.String("certificate", "", "the `folder` of the backend's tls.crt and tls.key")
	if err := parse(f, args); err != nil {
		return err
	}
	if *backend != "" {
		return demoPod(ctx, out, *backend, *certificate)
	}
	var servers []*http.Server
	failed := make(chan error, len(demoBackends))
	for _, b := range demoBackends {
		ln, err := net.Listen("tcp", b.addr)
		if err != nil {
			return fmt.Errorf("demo backend %s: %w", b.name, err)
		}
		s := &http.Server{Handler: demoBackend(b.name), ReadHeaderTimeout: 10 * time.Second}
		servers = append(servers, s)
		go func() { failed <- s.Serve(ln) }()
	}
	if awaitReady(ctx, *admin) {
		printDemo(out, *admin, *ca)
	}
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	for _, s := range servers {
		s.Close()
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// longestDelay bounds what a request may ask a demo backend to wait for.
const longestDelay = 30 * time.Second

// demoBackend answers with its name and what it was asked, so that one sees
// what the gateway did to the request. The query can have it be slow and fail:
// "?delay=2s&status=503".
func demoBackend(name string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if d, err := time.ParseDuration(r.URL.Query().Get("delay")); err == nil && d > 0 {
			select {
			case <-time.After(min(d, longestDelay)):
			case <-r.Context().Done():
				return
			}
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("X-Backend", name)
		if status, err := strconv.Atoi(r.URL.Query().Get("status")); err == nil && status >= 200 && status <= 599 {
			w.WriteHeader(status)
		}
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		enc.Encode(map[string]any{
			"backend": name, "method": r.Method, "host": r.Host, "path": r.URL.RequestURI(), "headers": r.Header,
		})
	})
}

// awaitReady asks the gateway until it is ready, and reports whether it was
// before ctx ended.
func awaitReady(ctx context.Context, admin string) bool {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		resp, err := http.Get("http://" + admin + "/readyz")
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return true
			}
		}
		select {
		case <-ctx.Done():
			return false
		case <-tick.C:
		}
	}
}

func printDemo(out io.Writer, admin, ca string) {
	fmt.Fprintf(out, `
The gateway is ready. Try:

  curl -H 'Host: shop.localhost' http://127.0.0.1:8080/
      one in ten answers comes from shop-v2

  for i in $(seq 200); do curl -s -o /dev/null -w '%%header{x-backend}\n' -H 'Host: shop.localhost' http://127.0.0.1:8080/; done | sort | uniq -c
      the split; edit the weights in deploy/quickstart/shop.yaml and run it again

  curl --cacert %s --resolve shop.localhost:8443:127.0.0.1 https://shop.localhost:8443/
      HTTPS and HTTP/2, verified with the local CA's file

  curl http://%s/readyz
  curl http://%s/metrics
  curl http://%s/debug/snapshot
      the admin port

  bin/fairway explain -manifests deploy/quickstart GET http://shop.localhost:8080/
      which rule takes a request, and why

`, ca, admin, admin, admin)
}
