package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"fairway.dev/discovery/manifest"
	"fairway.dev/gateway/admin"
	"fairway.dev/gateway/server"
	"fairway.dev/gateway/telemetry"
	"fairway.dev/routing"
	"fairway.dev/tlsmgr"
)

// serveFlags are what `fairway serve` can be told.
type serveFlags struct {
	manifests   string
	bind        string
	admin       string
	state       string
	accessLog   string
	logFormat   string
	logLevel    slog.Level
	drain       time.Duration
	maxConns    int
	maxRequests int
	trustedHops int
}

func parseServe(args []string) (*serveFlags, error) {
	f := flags("serve", "-manifests DIR [flags]")
	o := &serveFlags{}
	f.StringVar(&o.manifests, "manifests", "", "the `folder` of manifests to serve")
	f.StringVar(&o.bind, "bind", "", "the `address` of Gateways that have none in spec.addresses (default: all addresses)")
	f.StringVar(&o.admin, "admin", "127.0.0.1:9090", "the `address` of the admin port: health, metrics, debug pages")
	f.StringVar(&o.state, "state", defaultState(), "the `folder` for what must outlive a restart: the local CA")
	f.StringVar(&o.accessLog, "access-log", "stdout", "where access log lines go: stdout, stderr, off, or a `file`")
	f.StringVar(&o.logFormat, "log-format", "json", "access log lines as json or `text`")
	f.TextVar(&o.logLevel, "log-level", slog.LevelInfo, "what is logged: debug, info, warn or error")
	f.DurationVar(&o.drain, "drain", 25*time.Second, "how long requests under way may take after SIGTERM")
	f.IntVar(&o.maxConns, "max-connections", 0, "client connections at once; 0 means what the file descriptors are enough for")
	f.IntVar(&o.maxRequests, "max-requests", 0, "requests under way at once; 0 means no bound")
	f.IntVar(&o.trustedHops, "trusted-hops", 0, "proxies in front whose X-Forwarded-For is believed")
	if err := parse(f, args); err != nil {
		return nil, err
	}
	if o.manifests == "" || f.NArg() > 0 {
		f.Usage()
		return nil, errUsage
	}
	if o.maxConns < 0 || o.maxRequests < 0 || o.trustedHops < 0 || o.drain < 0 {
		return nil, errors.New("-max-connections, -max-requests, -trusted-hops and -drain: want 0 or more")
	}
	return o, nil
}

// defaultState is a folder of the user's own.
func defaultState() string {
	if dir, err := os.UserCacheDir(); err == nil {
		return filepath.Join(dir, "fairway")
	}
	return ".fairway"
}

// serve serves the Gateways of a folder of manifests until ctx ends.
func serve(ctx context.Context, args []string, _ io.Writer) error {
	o, err := parseServe(args)
	if err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: o.logLevel}))
	if info, err := os.Stat(o.manifests); err != nil {
		return err
	} else if !info.IsDir() {
		return fmt.Errorf("manifests %s: want a folder", o.manifests)
	}
	g, err := newGateway(o, log)
	if err != nil {
		return err
	}
	return g.run(ctx)
}

// gcPercent takes the place of Go's 100. What lives is small and almost still;
// what dies is handshakes, of which collecting took a tenth.
const gcPercent = 200

// gateway is a running `fairway serve`.
type gateway struct {
	options   *serveFlags
	log       *slog.Logger
	metrics   *telemetry.Metrics
	accessLog *telemetry.AccessLog
	logFile   io.Closer // nil unless the access log goes to a file
	server    *server.Server
	config    *config
	applying  sync.Mutex // held while problems are found out anew
	problems  atomic.Pointer[[]*routing.Problem]
	admin     *http.Server
	adminAt   net.Listener
}

func newGateway(o *serveFlags, log *slog.Logger) (*gateway, error) {
	g := &gateway{options: o, log: log, config: newConfig([]string{o.manifests}, log)}
	g.problems.Store(new([]*routing.Problem))
	loops := runtime.GOMAXPROCS(0)
	// One more than the loops, which may be busy all the time: for the
	// handshakes, the configuration and the collector of garbage.
	runtime.GOMAXPROCS(loops + 1)
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	g.metrics = telemetry.New(telemetry.Options{Loops: loops, Version: version})
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
	ca, err := tlsmgr.OpenLocalCA(o.state)
	if err != nil {
		return nil, fmt.Errorf("local CA: %w", err)
	}
	if g.server, err = server.New(server.Options{
		Loops: loops, Bind: bind, Metrics: g.metrics, AccessLog: g.accessLog, LocalCA: ca,
		MaxConnections: g.maxConnections(), MaxExchanges: o.maxRequests, TrustedHops: o.trustedHops, Rebound: g.rebound, Log: log,
	}); err != nil {
		return nil, err
	}
	return g, g.listenAdmin()
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
	g.admin = admin.NewServer(admin.New(admin.Options{
		Ready:    g.server.Ready,
		Metrics:  g.metrics.Handler(),
		Snapshot: g.server.Snapshot,
		Problems: func() []*routing.Problem { return *g.problems.Load() },
		Upstream: func() any { return g.server.Clusters() },
	}), g.log)
	return nil
}

// run serves until ctx ends, then drains.
func (g *gateway) run(ctx context.Context) error {
	go g.admin.Serve(g.adminAt)
	g.log.Info("admin port open", "listener", g.adminAt.Addr())
	g.apply(g.config.folder.Load())
	debug.FreeOSMemory() // what reading thousands of manifests took is not needed again
	g.config.folder.Watch(ctx, g.apply)

	g.log.Info("draining")
	began := time.Now()
	drain, cancel := context.WithTimeout(context.Background(), g.options.drain)
	defer cancel()
	err := g.server.Drain(drain)
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

// apply puts a change of the folder in force and says in one line what it was.
func (g *gateway) apply(change manifest.Change) {
	g.applying.Lock()
	defer g.applying.Unlock()
	began := time.Now()
	delta := g.config.apply(change)
	compiled := g.server.Update(delta)
	problems := g.config.problems(compiled)
	known := g.stand(problems)
	g.log.Info("configuration applied", "generation", g.server.Generation(),
		"origin", summary(change.Keys), "took", time.Since(began).Round(10*time.Microsecond))
	g.logProblems(known, problems)
}

// stand makes problems those that are shown and counted, and returns those
// that were.
func (g *gateway) stand(problems []*routing.Problem) (before []*routing.Problem) {
	before = *g.problems.Swap(&problems)
	g.countProblems(problems)
	return before
}

// rebound takes the Problems of ports away that are bound after all.
func (g *gateway) rebound() {
	g.applying.Lock()
	defer g.applying.Unlock()
	unbound := g.server.Unbound()
	g.stand(slices.DeleteFunc(slices.Clone(*g.problems.Load()), func(p *routing.Problem) bool {
		return p.Reason == server.PortUnavailable && !slices.ContainsFunc(unbound, func(u *routing.Problem) bool {
			return u.Origin.String() == p.Origin.String()
		})
	}))
	g.log.Debug("ports were tried again", "unbound", len(unbound))
}

// summary names what changed, in few words where it is much.
func summary(keys []routing.ObjectKey) string {
	const most = 5
	var words []string
	for _, k := range keys[:min(len(keys), most)] {
		words = append(words, k.String())
	}
	if more := len(keys) - most; more > 0 {
		words = append(words, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(words, ", ")
}

// logProblems logs the Problems that are new. Those of files the folder has
// logged itself.
func (g *gateway) logProblems(known, now []*routing.Problem) {
	logged := make(map[*routing.Problem]bool, len(known)+len(g.config.files))
	for _, list := range [][]*routing.Problem{known, g.config.files} {
		for _, p := range list {
			logged[p] = true
		}
	}
	for _, p := range now {
		if !logged[p] {
			g.log.Warn("not in force", "origin", strings.TrimSpace(p.Origin.String()+" "+p.Origin.Place()),
				"reason", p.Reason, "err", p.Err)
		}
	}
}

// staleFile are the reasons for which a whole file is served as it last was good.
var staleFile = []routing.Reason{
	manifest.SyntaxError, manifest.TooComplex, manifest.FileTooLarge, manifest.Unreadable, manifest.FileEmpty,
}

func (g *gateway) countProblems(problems []*routing.Problem) {
	byReason := map[string]int{}
	stale := map[string]bool{}
	for _, p := range problems {
		byReason[string(p.Reason)]++
		if slices.Contains(staleFile, p.Reason) {
			stale[p.Origin.File] = true
		}
	}
	g.metrics.Config.Problems(byReason)
	g.metrics.Config.StaleFiles(len(stale))
	if len(stale) > 0 {
		g.metrics.Config.Failed()
	}
}

// parseMixed parses flags that may stand among the other words.
func parseMixed(f *flag.FlagSet, args []string) (words []string, err error) {
	for {
		if err := parse(f, args); err != nil {
			return nil, err
		}
		if f.NArg() == 0 {
			return words, nil
		}
		words = append(words, f.Arg(0))
		args = f.Args()[1:]
	}
}
