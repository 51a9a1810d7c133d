// Command load is any number of gateway pods towards control, without a data
// plane: for benchmarks. Each has a connection and a stream of its own, takes
// its Gateway's parts as a pod does, and acknowledges them.
//
//	load -control HOST:PORT -gateway NAMESPACE/NAME -pods 1000 \
//	     -roots root-cert.pem -token FILE -control-id spiffe://...
//
// All pods share one certificate, which is got by the token of a pod of that
// Gateway. For each version of the Gateway's parts that all of them have in
// force a line of JSON says when the first and when the last one had it.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"sync"
	"syscall"
	"time"

	"google.golang.org/grpc/credentials"

	"fairway.dev/discovery/feed"
	"fairway.dev/routing"
	"fairway.dev/tlsmgr/identity"
)

// A config is what the fleet is.
type config struct {
	control   string
	gateway   string
	pods      int
	controlID identity.ID
	own       identity.Own
	roots     identity.Roots
	log       *slog.Logger
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := load(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(1)
	}
}

// load runs the fleet that args describe until ctx ends.
func load(ctx context.Context, args []string, out io.Writer) error {
	f := flag.NewFlagSet("load", flag.ContinueOnError)
	c := config{log: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))}
	f.StringVar(&c.control, "control", "", "control's `address`")
	f.StringVar(&c.gateway, "gateway", "", "the Gateway, `namespace/name`")
	f.IntVar(&c.pods, "pods", 1000, "how many pods")
	roots := f.String("roots", "", "the root bundle, a `file`")
	token := f.String("token", "", "the token of a pod of the Gateway, a `file`")
	control := f.String("control-id", "spiffe://cluster.local/ns/fairway-system/sa/fairway-control", "who control is")
	if err := f.Parse(args); err != nil {
		return err
	}
	if c.control == "" || c.gateway == "" || *roots == "" || *token == "" || c.pods < 1 {
		return errors.New("want -control, -gateway, -roots, -token, and at least one pod")
	}
	var err error
	if c.controlID, err = identity.Parse(*control); err != nil {
		return err
	}
	c.roots = identity.NewBundleFile(*roots, c.log).Bundle
	issuer := &identity.Client{Address: c.control, TokenFile: *token, Roots: c.roots, Server: identity.Only(c.controlID)}
	keeper := identity.NewKeeper(issuer.Issue, c.log)
	c.own = keeper.Certificate
	go keeper.Run(ctx)
	select {
	case <-keeper.Ready():
	case <-ctx.Done():
		return errors.New("no certificate")
	}
	debug.FreeOSMemory()
	run(ctx, c, out)
	return nil
}

// run runs the fleet until ctx ends.
func run(ctx context.Context, c config, out io.Writer) {
	t := &tally{pods: c.pods, out: json.NewEncoder(out), arrivals: map[string]*arrival{}}
	var tasks sync.WaitGroup
	for i := range c.pods {
		client := feed.NewClient(feed.ClientOptions{
			Control:     c.control,
			Credentials: credentials.NewTLS(identity.ClientConfig(c.own, c.roots, identity.Only(c.controlID))),
			Gateway:     c.gateway, Pod: fmt.Sprintf("load/pod-%d", i), Node: "load", Log: c.log,
			VersionsOnly: true,
			Apply:        func(*routing.Delta) []*routing.Problem { return nil },
			Changed: func(s feed.Status) {
				if s.Connected {
					t.arrived(s.Version, time.Now())
				}
			},
		})
		tasks.Go(func() { client.Run(ctx) })
	}
	tasks.Wait()
}

// An arrival is when a version came into force.
type arrival struct {
	Version string    `json:"version"`
	Pods    int       `json:"pods"`
	First   time.Time `json:"first"`
	Last    time.Time `json:"last"`
}

// most bounds the versions that some pods have and others have not; those that
// pods skip are forgotten.
const most = 100

// A tally counts the pods that have each version in force.
type tally struct {
	pods int
	out  *json.Encoder

	mu       sync.Mutex
	arrivals map[string]*arrival
}

func (t *tally) arrived(version string, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	a := t.arrivals[version]
	if a == nil {
		if len(t.arrivals) >= most {
			t.forgetOldest()
		}
		a = &arrival{Version: version, First: now}
		t.arrivals[version] = a
	}
	a.Pods++
	a.Last = now
	if a.Pods == t.pods {
		delete(t.arrivals, version)
		t.out.Encode(a)
	}
}

func (t *tally) forgetOldest() {
	var oldest *arrival
	for _, a := range t.arrivals {
		if oldest == nil || a.First.Before(oldest.First) {
			oldest = a
		}
	}
	delete(t.arrivals, oldest.Version)
}
