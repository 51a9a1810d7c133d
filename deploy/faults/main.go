// Command faults breaks a cluster on purpose while requests flow through a
// Gateway, or from pod to pod through the waypoints of the mesh, and prints for
// each fault how many were lost and how long it took until all was well again.
//
// It runs inside the network of ../shared/cluster/cluster, whose script it asks
// to stop the API server and to cut nodes off; on another cluster (-cluster "")
// those faults are left out. `make faults` runs it. The mesh's faults want
// capture, and that connections of this machine reach pods.
//
// The clients of its load retry nothing: what a pooled connection or a proxy in
// front would hide is counted here.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"slices"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "faults:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, in io.Reader, out io.Writer) error {
	f := flag.NewFlagSet("faults", flag.ExitOnError)
	c := &cluster{}
	f.StringVar(&c.kubectl, "kubectl", "kubectl", "the `program` that talks to the API server")
	f.StringVar(&c.script, "cluster", "", "the `script` that runs the cluster, for faults of nodes and of the API server")
	f.StringVar(&c.image, "image", "localhost/fairway:0.3.0", "the `image` that the backends run")
	f.StringVar(&c.clientImage, "client-image", "localhost/faults:latest", "the `image` of this program, for the mesh's clients; -cluster makes it")
	only := f.String("run", "", "the faults to run: a `regexp` of their names")
	rate := f.Int("rate", 500, "requests per `second`")
	client := f.String("client", "", "be the mesh's client: wait, or obey what comes on stdin")
	f.Parse(args)
	switch *client {
	case "":
	case "wait":
		<-ctx.Done()
		return nil
	case "obey":
		return obey(in, out)
	default:
		return fmt.Errorf("-client %q: want wait or obey", *client)
	}
	match, err := regexp.Compile(*only)
	if err != nil {
		return fmt.Errorf("-run: %w", err)
	}
	fmt.Fprintln(out, "| fault | requests | lost | requests failed for | healed after | what was healed |")
	fmt.Fprintln(out, "|---|---|---|---|---|---|")
	return errors.Join(
		runAll(ctx, out, c, match, faults, func() (*rig, error) { return newRig(ctx, c, *rate) }),
		runAll(ctx, out, c, match, meshFaults, func() (*mesh, error) { return newMesh(ctx, c, *rate) }),
	)
}

// runAll runs those of faults that match, on a stand that is made where there
// are any.
func runAll[S stand](ctx context.Context, out io.Writer, c *cluster, match *regexp.Regexp, faults []fault[S], make func() (S, error)) error {
	faults = slices.DeleteFunc(slices.Clone(faults), func(f fault[S]) bool {
		return !match.MatchString(f.name) || f.script && c.script == ""
	})
	if len(faults) == 0 {
		return nil
	}
	began := time.Now()
	s, err := make()
	if err != nil {
		return err
	}
	defer s.remove()
	fmt.Fprintf(os.Stderr, "faults: ready after %v\n", time.Since(began).Round(time.Second))
	var bad []error
	for _, f := range faults {
		res, err := try(ctx, s, f)
		if err != nil {
			return fmt.Errorf("%s: %w", f.name, err)
		}
		fmt.Fprintln(out, res)
		if n := len(res.tally.Lost); f.lossless && n > 0 {
			bad = append(bad, fmt.Errorf("%s: %d requests were lost where none may be", f.name, n))
		}
		if f.judge != nil {
			if err := f.judge(res.tally); err != nil {
				bad = append(bad, fmt.Errorf("%s: %w", f.name, err))
			}
		}
	}
	return errors.Join(bad...)
}
