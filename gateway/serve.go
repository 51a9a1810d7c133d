package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"fairway.dev/routing/gatewayapi"
	"fairway.dev/tlsmgr/identity"
)

// serveFlags are what `fairway serve` can be told.
type serveFlags struct {
	manifests   string
	fleet       fleetFlags
	bind        string
	zone        string
	admin       string
	state       string
	accessLog   string
	logFormat   string
	logLevel    slog.Level
	identity    string
	network     string
	mesh        meshFlags
	captured    bool
	drain       time.Duration
	drainDelay  time.Duration
	maxConns    int
	maxRequests int
	trustedHops int
	series      int
}

func parseServe(args []string) (*serveFlags, error) {
	f := flags("serve", "-manifests DIR | -control ADDRESS -control-id ID -gateway NAMESPACE/NAME [flags]")
	o := &serveFlags{}
	f.StringVar(&o.manifests, "manifests", "", "the `folder` of manifests to serve")
	o.fleet.register(f)
	f.StringVar(&o.bind, "bind", "", "the `address` of Gateways that have none in spec.addresses (default: all addresses)")
	f.StringVar(&o.identity, "identity", "", "with -manifests: the `folder` of who the gateway is in the mesh: cert-chain.pem, key.pem and root-cert.pem, or tls.crt, tls.key and ca.crt")
	f.StringVar(&o.network, "network", "", "with -manifests: the `name` of the cluster's own network, in a mesh of several (default: what the label topology.istio.io/network of the root namespace says)")
	o.mesh.register(f)
	f.BoolVar(&o.captured, "captured", false, "a node proxy (ztunnel) captures this process, and speaks HBONE for Gateways with the annotation ambient.istio.io/waypoint-inbound-binding: PROXY/PORT; without this flag they speak it themselves")
	f.StringVar(&o.zone, "zone", "", "the `zone` that the gateway is in, for Services that prefer endpoints of the same; with -control, the control plane knows")
	f.StringVar(&o.admin, "admin", "127.0.0.1:9090", "the `address` of the admin port: health, metrics, debug pages")
	f.StringVar(&o.state, "state", defaultState(), "the `folder` for what must outlive a restart: the local CA, or the last good configuration")
	f.StringVar(&o.accessLog, "access-log", "stdout", "where access log lines go: stdout, stderr, off, or a `file`")
	f.StringVar(&o.logFormat, "log-format", "json", "access log lines as json or `text`")
	f.TextVar(&o.logLevel, "log-level", slog.LevelInfo, "what is logged: debug, info, warn or error")
	f.DurationVar(&o.drain, "drain", 25*time.Second, "how long requests under way may take after SIGTERM")
	f.DurationVar(&o.drainDelay, "drain-delay", 0, "how long after SIGTERM new connections are still taken, of the time that -drain gives")
	f.IntVar(&o.maxConns, "max-connections", 0, "client connections at once; 0 means what the file descriptors are enough for")
	f.IntVar(&o.maxRequests, "max-requests", 0, "requests under way at once; 0 means no bound")
	f.IntVar(&o.trustedHops, "trusted-hops", 0, "proxies in front whose X-Forwarded-For is believed")
	f.IntVar(&o.series, "metric-series", 0, "the most `series` of istio_* metrics, above which what is rare is counted together; 0 means 700, -1 no bound")
	if err := parse(f, args); err != nil {
		return nil, err
	}
	if (o.manifests == "") == (o.fleet.control == "") || f.NArg() > 0 {
		f.Usage()
		return nil, errUsage
	}
	if o.maxConns < 0 || o.maxRequests < 0 || o.trustedHops < 0 || o.drain < 0 || o.drainDelay < 0 {
		return nil, errors.New("-max-connections, -max-requests, -trusted-hops, -drain and -drain-delay: want 0 or more")
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

// serve serves the Gateways of a folder of manifests, or one that the control
// plane has, until ctx ends.
func serve(ctx context.Context, args []string, _ io.Writer) error {
	o, err := parseServe(args)
	if err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: o.logLevel}))
	src, err := o.source(log)
	if err != nil {
		return err
	}
	mesh, keep, err := o.identify(src, log)
	if err != nil {
		return err
	}
	g, err := newGateway(o, mesh, log)
	if err != nil {
		return err
	}
	var keeping sync.WaitGroup
	defer keeping.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	keeping.Go(func() { keep(ctx) })
	return g.run(ctx, src)
}

// source returns where the configuration comes from.
func (o *serveFlags) source(log *slog.Logger) (source, error) {
	if o.fleet.control != "" {
		return newMember(&o.fleet, o.state, log)
	}
	if info, err := os.Stat(o.manifests); err != nil {
		return nil, err
	} else if !info.IsDir() {
		return nil, fmt.Errorf("manifests %s: want a folder", o.manifests)
	}
	options := gatewayapi.Options{Network: o.network}
	if o.fleet.gateway != "" { // the others are other processes' matter, with addresses of their own
		options.Isolated, options.Reserved = true, map[uint16]string{}
	}
	c := newConfig([]string{o.manifests}, options, log)
	if o.fleet.gateway != "" {
		c.only = newOnly(o.fleet.gateway)
	}
	if o.identity != "" {
		var err error
		if c.files, err = identity.NewFiles(o.identity, log); err != nil {
			return nil, err
		}
	}
	c.exact = 100 // no edit waits long for what is wrong with thousands of objects
	return c, nil
}
