package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"
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
	return g.run(ctx, newConfig([]string{o.manifests}, log))
}
