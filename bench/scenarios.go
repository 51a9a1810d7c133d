package main

import (
	"slices"
	"time"
)

// A scenario is one kind of traffic.
type scenario struct {
	name   string
	about  string
	load   load
	rounds int

	tls     bool    // HTTPS between client and proxy
	stream  bool    // the proxy hands bytes on: TCP, or with tls what the backend decrypts
	backend backend // what the proxy forwards to
	routes  int     // routes in the configuration; 0 means 1
	cores   int     // of the proxy; 0 means 1
	// only, where not empty, names who takes part.
	only []string
	// base, where not empty, names Fairway with one route on one core, which
	// is measured beside.
	base string
	// perByte prints CPU per MiB too.
	perByte bool
	// group, where not empty, is another name for it and others together.
	group string
	// ways compares the ways of Fairway's mesh, and no peers.
	ways bool
}

// backend is a kind of backend.
type backend string

const (
	smallHTTP1 backend = "1 KiB over HTTP/1.1"
	largeHTTP1 backend = "1 MiB over HTTP/1.1"
	smallH2C   backend = "1 KiB over h2c"
	smallTLS   backend = "1 KiB over HTTPS"
)

// roundTime is how long a round's load lasts: with five rounds and five peers
// a scenario takes under two minutes.
const roundTime = 2 * time.Second

var scenarios = []scenario{
	{name: "h1", about: "HTTP/1.1 keep-alive, 1 KiB, 64 connections", load: wrk{conns: 64}, rounds: 5, backend: smallHTTP1},
	{name: "tls", about: "the same over TLS 1.3", load: wrk{conns: 64}, rounds: 5, tls: true, backend: smallHTTP1},
	{name: "hs", about: "a full TLS handshake for each request", load: wrk{conns: 16, close: true}, rounds: 5, tls: true, backend: smallHTTP1},
	{name: "h2", about: "HTTP/2 over TLS to HTTP/1.1, 8 connections x 32 streams", load: h2load{conns: 8, streams: 32}, rounds: 5, tls: true, backend: smallHTTP1},
	{name: "h2c", about: "HTTP/2 over TLS to h2c, 8 connections x 32 streams", load: h2load{conns: 8, streams: 32}, rounds: 5, tls: true, backend: smallH2C},
	{name: "big", about: "1 MiB bodies, plain", load: wrk{conns: 16}, rounds: 3, backend: largeHTTP1, perByte: true},
	{name: "bigtls", about: "1 MiB bodies over TLS", load: wrk{conns: 16}, rounds: 3, tls: true, backend: largeHTTP1, perByte: true},
	{name: "cores", about: "HTTP/1.1 as h1, the proxy on 2 cores", load: wrk{conns: 64}, rounds: 3, cores: 2, backend: smallHTTP1, base: "fairway, 1 core"},
	{name: "routes", about: "HTTP/1.1 as h1, 5,000 routes installed", load: wrk{conns: 64}, rounds: 3, routes: 5000, backend: smallHTTP1, only: []string{"fairway"}, base: "fairway, 1 route"},
	{name: "rate", about: "3,000 requests/s on 16 connections: latency", load: h2load{conns: 16, streams: 1, http1: true, rate: 3000}, rounds: 3, backend: smallHTTP1},
	{name: "ratetls", about: "the same over TLS 1.3", load: h2load{conns: 16, streams: 1, http1: true, rate: 3000}, rounds: 3, tls: true, backend: smallHTTP1},
	{name: "tcp", about: "TCP handed on: HTTP/1.1 keep-alive, 1 KiB, 64 connections", load: wrk{conns: 64}, rounds: 5, stream: true, backend: smallHTTP1},
	{name: "tcpconn", about: "TCP handed on, a connection for each request", load: wrk{conns: 16, close: true}, rounds: 5, stream: true, backend: smallHTTP1},
	{name: "tcpbig", about: "TCP handed on: 1 MiB bodies", load: wrk{conns: 16}, rounds: 3, stream: true, backend: largeHTTP1, perByte: true},
	{name: "pass", about: "TLS passed through by its server name, a connection for each request", load: wrk{conns: 16, close: true}, rounds: 5, tls: true, stream: true, backend: smallTLS},
	{name: "idle", about: "memory of an idle keep-alive connection, 4,000 of them", load: idle{conns: 4000}, rounds: 1, backend: smallHTTP1},
	{name: "idletls", about: "the same over TLS, 2,000 of them", load: idle{conns: 2000}, rounds: 1, tls: true, backend: smallHTTP1},
	aHop("hop-1", "a hop: HTTP/1.1 keep-alive, 1 KiB, 1 connection", wrk{conns: 1}, 3),
	aHop("hop-100", "a hop: the same on 100 connections", wrk{conns: 100}, 3),
	aHop("hop-1000", "a hop: the same on 1,000 connections", wrk{conns: 1000}, 3),
	aHop("hoprate-1", "a hop: 1,000 requests/s on 1 connection", paced{conns: 1, rate: 1000}, 3),
	aHop("hoprate-100", "a hop: 1,000 requests/s on 100 connections", paced{conns: 100, rate: 1000}, 3),
	aHop("hoprate-1000", "a hop: 1,000 requests/s on 1,000 connections", paced{conns: 1000, rate: 1000}, 3),
	aHop("hopconn", "a hop: a connection of the client for each request, 16 at once", wrk{conns: 16, close: true}, 3),
	withLargeBodies(aHop("hopbig", "a hop: 1 MiB bodies, 16 connections", wrk{conns: 16}, 3)),
	aHop("hopidle", "a hop: memory of an idle connection of the client, 4,000 of them", idle{conns: 4000}, 1),
}

// aHop is a scenario of the mesh. What a new hop connection costs is none, as
// gateways keep theirs: BenchmarkHop in tlsmgr/identity has it, beside a bare
// handshake of crypto/tls.
func aHop(name, about string, l load, rounds int) scenario {
	return scenario{name: name, about: about, load: l, rounds: rounds, backend: smallHTTP1, group: "hop", ways: true}
}

func withLargeBodies(s scenario) scenario {
	s.backend = largeHTTP1
	return s
}

func (s scenario) takesPart(p peer) bool {
	if s.ways {
		return p.name == "fairway"
	}
	if s.stream && p.streams == nil {
		return false
	}
	return s.only == nil || slices.Contains(s.only, p.name)
}
