package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"net/http"
	"net/netip"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"fairway.dev/gateway/admin"
	"fairway.dev/gateway/server"
	"fairway.dev/gateway/telemetry"
	"fairway.dev/routing"
	"fairway.dev/tlsmgr"
)

// A source says what a gateway serves: a folder of manifests, or the control
// plane.
type source interface {
	// run hands changes to g.apply, one after the other, until ctx ends. What
	// that returns is not in force then.
	run(ctx context.Context, g *gateway)
	// mesh is who the gateway is to others of the mesh; nil: nobody.
	mesh() *server.Mesh
	// problems returns all that stand where compiling found these: the
	// source's own, too.
	problems(compiled []*routing.Problem) []*routing.Problem
	// logged are those of its Problems that the source logs itself.
	logged() []*routing.Problem
	// stand hears that other Problems stand without a change of the source:
	// ports were bound.
	stand(problems []*routing.Problem)
}

// A change is one of a source.
type change struct {
	delta *routing.Delta
	what  string // for the log
}

// gateway is a running `fairway serve`.
type gateway struct {
	options   *serveFlags
	log       *slog.Logger
	metrics   *telemetry.Metrics
	accessLog *telemetry.AccessLog
	logFile   io.Closer // nil unless the access log goes to a file
	server    *server.Server
	mesh      *server.Mesh // nil: nobody knows it
	source    source       // set by run
	memory    collector
	applying  sync.Mutex // held while problems are found out anew
	problems  atomic.Pointer[[]*routing.Problem]
	admin     *http.Server
	adminAt   net.Listener
}

func newGateway(o *serveFlags, mesh *server.Mesh, log *slog.Logger) (*gateway, error) {
	g := &gateway{options: o, mesh: mesh, log: log}
	g.problems.Store(new([]*routing.Problem))
	loops := runtime.GOMAXPROCS(0)
	// One more than the loops, which may be busy all the time: for the
	// handshakes, the configuration and the collector of garbage.
	runtime.GOMAXPROCS(loops + 1)
	g.memory.changed(&routing.Delta{})
	g.metrics = telemetry.New(o.metrics(loops, mesh))
	if err := g.openAccessLog(); err != nil {
		return nil, err
	}
	var bind netip.Addr
	if o.bind != "" {
		var err error
		if bind, err = netip.ParseAddr(o.bind); err != nil {
			return nil, fmt.Errorf("-bind: %w", err)
		}
	}
	ca, err := o.localCA()
	if err != nil {
		return nil, err
	}
	if g.server, err = server.New(server.Options{
		Loops: loops, Bind: bind, Node: os.Getenv("NODE_NAME"), Zone: o.zone, Metrics: g.metrics, AccessLog: g.accessLog, LocalCA: ca,
		MaxConnections: g.maxConnections(), MaxExchanges: o.maxRequests, TrustedHops: o.trustedHops, Mesh: mesh, Captured: o.captured, Rebound: g.rebound, Version: version, Log: log,
	}); err != nil {
		return nil, err
	}
	return g, g.listenAdmin()
}

// metrics returns what is counted, and who the gateway is in its labels.
func (o *serveFlags) metrics(loops int, mesh *server.Mesh) telemetry.Options {
	m := telemetry.Options{Loops: loops, Version: version, Series: o.series}
	if o.fleet.control != "" {
		m.Cluster = "Kubernetes" // what Istio calls a cluster that nobody has named
	}
	if mesh != nil {
		m.Principal = func() string {
			id, err := mesh.Own.ID()
			if err != nil {
				return ""
			}
			return id.String()
		}
	}
	return m
}

// localCA returns the CA for listeners that ask for it. A fleet has none: each
// pod's would be another.
func (o *serveFlags) localCA() (*tlsmgr.LocalCA, error) {
	if o.fleet.control != "" {
		return nil, nil
	}
	ca, err := tlsmgr.OpenLocalCA(o.state)
	if err != nil {
		return nil, fmt.Errorf("local CA: %w", err)
	}
	return ca, nil
}

// maxConnections bounds client connections so that each can have one to a
// backend: a gateway without descriptors fails what it has begun.
func (g *gateway) maxConnections() int {
	if g.options.maxConns > 0 {
		return g.options.maxConns
	}
	const others = 256 // files, the admin port, what the runtime has
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil || limit.Cur > math.MaxInt32 {
		return 0
	}
	return max(1, (int(limit.Cur)-others)/2)
}

func (g *gateway) openAccessLog() error {
	var w io.Writer
	switch g.options.accessLog {
	case "off":
		return nil
	case "stdout":
		w = os.Stdout
	case "stderr":
		w = os.Stderr
	default:
		file, err := os.OpenFile(g.options.accessLog, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o640)
		if err != nil {
			return fmt.Errorf("access log: %w", err)
		}
		w, g.logFile = file, file
	}
	var o telemetry.AccessLogOptions
	switch g.options.logFormat {
	case "json":
	case "text":
		o.Format = telemetry.Text
	default:
		return fmt.Errorf("-log-format %q: want json or text", g.options.logFormat)
	}
	g.accessLog = telemetry.NewAccessLog(g.metrics, w, o)
	return nil
}

func (g *gateway) listenAdmin() error {
	ln, err := net.Listen("tcp", g.options.admin)
	if err != nil {
		return fmt.Errorf("admin port: %w", err)
	}
	g.adminAt = ln
	pages := admin.Options{
		Ready:    g.ready,
		Metrics:  g.metrics.Handler(),
		Snapshot: g.server.Snapshot,
		Problems: func() []*routing.Problem { return *g.problems.Load() },
		Upstream: func() any { return g.server.Clusters() },
	}
	if g.mesh != nil {
		pages.Identity = func() any { return identityOf(g.mesh) }
		g.metrics.WatchIdentity(func() time.Time { return identityOf(g.mesh).Expires })
	}
	g.admin = admin.NewServer(admin.New(pages), g.log)
	return nil
}

// run serves what src asks for until ctx ends, then drains.
func (g *gateway) run(ctx context.Context, src source) error {
	g.source = src
	go g.admin.Serve(g.adminAt)
	g.log.Info("admin port open", "listener", g.adminAt.Addr())
	src.run(ctx, g)
	return g.drain()
}

// drain lets what is under way finish, and ends everything.
func (g *gateway) drain() error {
	g.log.Info("draining")
	began := time.Now()
	ctx, cancel := context.WithTimeout(context.Background(), g.options.drain)
	defer cancel()
	err := g.server.Drain(ctx, g.options.drainDelay)
	g.server.Close()
	if g.accessLog != nil {
		err = errors.Join(err, g.closeAccessLog())
	}
	if g.logFile != nil {
		err = errors.Join(err, g.logFile.Close())
	}
	g.admin.Close()
	if err != nil {
		return fmt.Errorf("drain: %w", err)
	}
	g.log.Info("drained", "took", time.Since(began))
	return nil
}

// lastLines is how long the access log may take for what is left at the end:
// nobody may read the pipe that it goes to.
const lastLines = 2 * time.Second

func (g *gateway) closeAccessLog() error {
	ctx, cancel := context.WithTimeout(context.Background(), lastLines)
	defer cancel()
	if err := g.accessLog.Close(ctx); err != nil {
		return fmt.Errorf("access log: %w", err)
	}
	return nil
}
