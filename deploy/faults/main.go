// Command faults breaks a cluster on purpose while requests flow through a
// Gateway, and prints for each fault how many were lost and how long it took
// until all was well again.
//
// It runs inside the network of ../shared/cluster/cluster, whose script it asks
// to stop the API server and to cut nodes off; on another cluster (-cluster "")
// those faults are left out. `make faults` runs it.
//
// The clients of its load retry nothing: what a pooled connection or a proxy in
// front would hide is counted here.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "faults:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	f := flag.NewFlagSet("faults", flag.ExitOnError)
	c := &cluster{}
	f.StringVar(&c.kubectl, "kubectl", "kubectl", "the `program` that talks to the API server")
	f.StringVar(&c.script, "cluster", "", "the `script` that runs the cluster, for faults of nodes and of the API server")
	f.StringVar(&c.image, "image", "localhost/fairway:0.3.0", "the `image` that the backends run")
	only := f.String("run", "", "the faults to run: a `regexp` of their names")
	rate := f.Int("rate", 500, "requests per `second`")
	f.Parse(args)
	match, err := regexp.Compile(*only)
	if err != nil {
		return fmt.Errorf("-run: %w", err)
	}
	began := time.Now()
	r, err := newRig(ctx, c, *rate)
	if err != nil {
		return err
	}
	defer r.remove()
	fmt.Fprintf(os.Stderr, "faults: ready at %s after %v\n", r.address, time.Since(began).Round(time.Second))
	fmt.Fprintln(out, "| fault | requests | lost | requests failed for | healed after | what was healed |")
	fmt.Fprintln(out, "|---|---|---|---|---|---|")
	var bad []string
	for _, fault := range faults {
		if !match.MatchString(fault.name) || fault.script && c.script == "" {
			continue
		}
		res, err := r.try(ctx, fault)
		if err != nil {
			return fmt.Errorf("%s: %w", fault.name, err)
		}
		fmt.Fprintln(out, res)
		if fault.lossless && res.lost > 0 {
			bad = append(bad, fault.name)
		}
	}
	if len(bad) > 0 {
		return fmt.Errorf("requests were lost where none may be: %s", strings.Join(bad, ", "))
	}
	return nil
}
