package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

const (
	// lastRequests is how long a demo pod goes on serving once it is told to
	// stop: so long it may take until every gateway knows that it leaves.
	lastRequests = 3 * time.Second
	// demoDrain is how long requests under way then have.
	demoDrain = 10 * time.Second
)

// demoPod is a backend of deploy/examples until ctx ends: it answers over HTTP
// and over UDP on port 8080, and over HTTPS on 8443 where certificates names a
// folder with tls.crt and tls.key. It writes a line for each request to out.
func demoPod(ctx context.Context, out io.Writer, name, certificates string) error {
	datagrams, err := net.ListenPacket("udp", ":8080")
	if err != nil {
		return fmt.Errorf("demo backend %s: %w", name, err)
	}
	defer datagrams.Close()
	s := &http.Server{Addr: ":8080", Handler: logged(out, demoBackend(name)), ReadHeaderTimeout: 10 * time.Second}
	failed := make(chan error, 2)
	go func() { failed <- s.ListenAndServe() }()
	if certificates != "" {
		tls := &http.Server{Addr: ":8443", Handler: s.Handler, ReadHeaderTimeout: s.ReadHeaderTimeout}
		defer tls.Close()
		go func() {
			failed <- tls.ListenAndServeTLS(filepath.Join(certificates, "tls.crt"), filepath.Join(certificates, "tls.key"))
		}()
	}
	go echoDatagrams(datagrams, name)
	select {
	case err := <-failed:
		return fmt.Errorf("demo backend %s: %w", name, err)
	case <-ctx.Done():
	}
	time.Sleep(lastRequests)
	drain, cancel := context.WithTimeout(context.Background(), demoDrain)
	defer cancel()
	return s.Shutdown(drain)
}

// logged writes a line for each request, so that one sees those of which nobody
// gets the answer: copies.
func logged(out io.Writer, h http.Handler) http.Handler {
	var lines sync.Mutex
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasPrefix(r.UserAgent(), "kube-probe/") {
			lines.Lock()
			fmt.Fprintln(out, r.Method, r.Host, r.URL.RequestURI())
			lines.Unlock()
		}
		h.ServeHTTP(w, r)
	})
}

// echoDatagrams answers each datagram with the backend's name and what it said.
func echoDatagrams(conn net.PacketConn, name string) {
	prefix := name + ": "
	buf := make([]byte, 64<<10)
	copy(buf, prefix)
	for {
		n, from, err := conn.ReadFrom(buf[len(prefix):])
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil {
			conn.WriteTo(buf[:len(prefix)+n], from)
		}
	}
}
