// Fairway is an ingress and east-west gateway: `fairway help` lists what it does.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

// version is set by the linker for releases.
var version = "devel"

// A command is one subcommand. It returns errUsage, or an error to print.
type command struct {
	name  string
	args  string
	about string
	run   func(ctx context.Context, args []string, out io.Writer) error
}

var commands = []command{
	{"serve", "-manifests DIR", "serve the Gateways of a folder of manifests (or, as a pod of a fleet, with -control)", serve},
	{"control", "-image IMAGE", "run the control plane in a cluster", control},
	{"capture", "-control ADDRESS", "send the connections of a node's pods to waypoints (an agent for each node)", captureTraffic},
	{"status", "[NAMESPACE/GATEWAY...]", "say what the fleet has in force, and what it has not and why", fleetStatus},
	{"waypoint", "VERB -n NAMESPACE", "apply, status, list, delete: the waypoint of a namespace, and where policy is enforced", waypoint},
	{"check", "PATH... | -live", "say what is wrong with manifests, or with what a cluster has", check},
	{"convert", "[PATH...]", "write Istio's objects and Ingresses anew in Gateway API, and say what does not translate", convertManifests},
	{"explain", "METHOD URL", "say which rule takes a request, and why no other does", explain},
	{"demo", "", "run the quickstart's backends", demo},
	{"version", "", "print the version", printVersion},
}

// errUsage ends the program with status 2 after the usage was printed.
var errUsage = errors.New("usage")

// errFound ends the program with status 1: what was found is printed already.
var errFound = errors.New("problems found")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	switch err := run(ctx, os.Args[1:], os.Stdout); {
	case err == nil, errors.Is(err, flag.ErrHelp):
	case errors.Is(err, errUsage):
		os.Exit(2)
	case errors.Is(err, errFound):
		os.Exit(1)
	default:
		fmt.Fprintln(os.Stderr, "fairway:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	if len(args) == 0 {
		usage(os.Stderr)
		return errUsage
	}
	for _, c := range commands {
		if c.name == args[0] {
			return c.run(ctx, args[1:], out)
		}
	}
	switch args[0] {
	case "help", "-h", "-help", "--help":
		usage(out)
		return nil
	}
	fmt.Fprintf(os.Stderr, "fairway: unknown command %q\n\n", args[0])
	usage(os.Stderr)
	return errUsage
}

func usage(w io.Writer) {
	fmt.Fprintln(w, "Fairway is an ingress and east-west gateway for Kubernetes.\n\nCommands:")
	for _, c := range commands {
		fmt.Fprintf(w, "  %-29s %s\n", c.name+" "+c.args, c.about)
	}
	fmt.Fprintln(w, "\n`fairway COMMAND -h` lists a command's flags.")
}

// flags returns a flag set that prints a command's usage.
func flags(name, args string) *flag.FlagSet {
	f := flag.NewFlagSet(name, flag.ContinueOnError)
	f.Usage = func() {
		fmt.Fprintf(f.Output(), "usage: fairway %s %s\n", name, args)
		f.PrintDefaults()
	}
	return f
}

// parse parses args; what flag has printed already becomes errUsage.
func parse(f *flag.FlagSet, args []string) error {
	err := f.Parse(args)
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		return errUsage
	}
	return err
}

func printVersion(_ context.Context, args []string, out io.Writer) error {
	if err := parse(flags("version", ""), args); err != nil {
		return err
	}
	fmt.Fprintln(out, "fairway", version)
	return nil
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
