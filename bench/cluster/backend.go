package main

import (
	"fmt"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// A backend answers requests with 200 and its name in x-backend, until it is
// told to fail.
type backend struct {
	name   string
	server *http.Server
	port   int32
	served atomic.Int64

	mu    sync.Mutex
	ln    net.Listener
	conns map[net.Conn]bool
}

// startBackend starts a backend on a free port of all addresses.
func startBackend(name string) (*backend, error) {
	b := &backend{name: name, conns: map[net.Conn]bool{}}
	b.server = &http.Server{
		Handler: http.HandlerFunc(b.answer), ConnState: b.track, ReadHeaderTimeout: 10 * time.Second,
	}
	return b, b.listen()
}

func (b *backend) answer(w http.ResponseWriter, _ *http.Request) {
	b.served.Add(1)
	w.Header().Set("X-Backend", b.name)
	fmt.Fprintln(w, b.name)
}

// listen makes the backend healthy; it has the same port each time.
func (b *backend) listen() error {
	ln, err := net.Listen("tcp", fmt.Sprintf(":%d", b.port))
	if err != nil {
		return err
	}
	b.mu.Lock()
	b.ln = ln
	b.mu.Unlock()
	b.port = int32(ln.Addr().(*net.TCPAddr).Port)
	go b.server.Serve(ln)
	return nil
}

// fail makes the backend refuse connections, and resets those it has.
func (b *backend) fail() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ln.Close()
	for c := range b.conns {
		if tcp, ok := c.(*net.TCPConn); ok {
			tcp.SetLinger(0) // so that closing it is a reset
		}
		c.Close()
	}
}

func (b *backend) close() { b.server.Close() }

// track keeps the connections that there are.
func (b *backend) track(c net.Conn, s http.ConnState) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch s {
	case http.StateNew:
		b.conns[c] = true
	case http.StateClosed, http.StateHijacked:
		delete(b.conns, c)
	}
}

// ports are those of a Service that stands for backends on port 80.
func (b *backend) ports() []port { return []port{{"http", 80, b.port}} }
