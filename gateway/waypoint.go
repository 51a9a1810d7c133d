package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	gatewayclient "sigs.k8s.io/gateway-api/pkg/client/clientset/versioned"
)

// Istio's words for who enforces policy for whom.
const (
	useWaypoint          = "istio.io/use-waypoint"           // of a Service or a Namespace
	useWaypointNamespace = "istio.io/use-waypoint-namespace" // where that is
	waypointFor          = "istio.io/waypoint-for"           // of a waypoint: what it is for
	noWaypoint           = "none"                            // in the place of a name
)

// waypointFlags are what `fairway waypoint` can be told.
type waypointFlags struct {
	kubeconfig string
	context    string
	namespace  string
	name       string
	all        bool // list: of all namespaces

	// Of apply.
	class     string
	purpose   string
	from      string
	enroll    bool
	overwrite bool
	wait      bool
	timeout   time.Duration

	force bool // of delete
}

// waypointVerbs are what there is to do with waypoints.
var waypointVerbs = []struct {
	name, about string
	flags       func(*waypointFlags, *flag.FlagSet)
	run         func(*waypoints, context.Context) error
}{
	{"apply", "make the namespace's waypoint, or change it", (*waypointFlags).registerApply, (*waypoints).apply},
	{"status", "say of each Service of the namespace where policy is enforced, and what is in the way", (*waypointFlags).registerName, (*waypoints).status},
	{"list", "list waypoints", (*waypointFlags).registerAll, (*waypoints).list},
	{"delete", "delete the namespace's waypoint, unless Services are enrolled with it", (*waypointFlags).registerDelete, (*waypoints).remove},
}

func (o *waypointFlags) register(f *flag.FlagSet) {
	f.StringVar(&o.kubeconfig, "kubeconfig", "", "the kubeconfig `file` (default: as kubectl finds it)")
	f.StringVar(&o.context, "context", "", "the `context` of the kubeconfig")
	f.StringVar(&o.namespace, "n", "", "the `namespace` (default: the context's)")
	f.StringVar(&o.namespace, "namespace", "", "the same as -n `namespace`")
}

func (o *waypointFlags) registerName(f *flag.FlagSet) {
	f.StringVar(&o.name, "name", "waypoint", "the `name` of the waypoint's Gateway")
}

func (o *waypointFlags) registerAll(f *flag.FlagSet) {
	f.BoolVar(&o.all, "A", false, "those of all namespaces")
}

func (o *waypointFlags) registerDelete(f *flag.FlagSet) {
	o.registerName(f)
	f.BoolVar(&o.force, "force", false, "though Services are enrolled: who calls them is refused then")
}

func (o *waypointFlags) registerApply(f *flag.FlagSet) {
	o.registerName(f)
	f.StringVar(&o.class, "class", "fairway-waypoint", "the Gateway`Class`")
	f.StringVar(&o.purpose, "for", "", "what is sent through it: service (the default), workload, all or none")
	f.StringVar(&o.from, "from", "Same", "whose Services may use it: those of the Same namespace, or of All")
	f.BoolVar(&o.enroll, "enroll-namespace", false, "have the Services of the namespace use it, once it is ready: those that are enrolled before are refused")
	f.BoolVar(&o.overwrite, "overwrite", false, "though the namespace has another waypoint, or fields of the Gateway are somebody else's")
	f.BoolVar(&o.wait, "wait", false, "until it is ready")
	f.DurationVar(&o.timeout, "timeout", 2*time.Minute, "how long to wait at most")
}

// check says what is wrong with the flags of apply.
func (o *waypointFlags) check() error {
	if !slices.Contains([]string{"", "service", "workload", "all", "none"}, o.purpose) {
		return fmt.Errorf("-for %q: want service, workload, all or none", o.purpose)
	}
	if o.from != "" && o.from != "Same" && o.from != "All" {
		return fmt.Errorf("-from %q: want Same or All", o.from)
	}
	return nil
}

// waypoints are those of a cluster, and what is to be done with them.
type waypoints struct {
	*waypointFlags
	core     kubernetes.Interface
	gateways gatewayclient.Interface
	out      io.Writer
}

// waypoint runs `fairway waypoint`.
func waypoint(ctx context.Context, args []string, out io.Writer) error {
	return runWaypoint(ctx, args, out, connect)
}

// runWaypoint does what args say with the cluster that connect leads to.
func runWaypoint(ctx context.Context, args []string, out io.Writer, connect func(*waypoints) error) error {
	for _, verb := range waypointVerbs {
		if len(args) == 0 || args[0] != verb.name {
			continue
		}
		w := &waypoints{waypointFlags: &waypointFlags{}, out: out}
		f := flags("waypoint "+verb.name, "[flags]")
		w.register(f)
		verb.flags(w.waypointFlags, f)
		if err := parse(f, args[1:]); err != nil {
			return err
		}
		if f.NArg() > 0 {
			f.Usage()
			return errUsage
		}
		if err := errors.Join(w.check(), connect(w)); err != nil {
			return err
		}
		return verb.run(w, ctx)
	}
	f := flags("waypoint", "VERB [flags]")
	fmt.Fprintln(f.Output(), "usage: fairway waypoint VERB [flags]")
	for _, verb := range waypointVerbs {
		fmt.Fprintf(f.Output(), "  %-8s %s\n", verb.name, verb.about)
	}
	if len(args) > 0 && slices.Contains([]string{"-h", "-help", "--help", "help"}, args[0]) {
		return flag.ErrHelp
	}
	return errUsage
}

// connect goes by the kubeconfig.
func connect(w *waypoints) error {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = w.kubeconfig
	from := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{CurrentContext: w.context})
	config, err := from.ClientConfig()
	if err != nil {
		return err
	}
	if w.namespace == "" {
		if w.namespace, _, err = from.Namespace(); err != nil {
			return err
		}
	}
	if w.core, err = kubernetes.NewForConfig(config); err != nil {
		return err
	}
	w.gateways, err = gatewayclient.NewForConfig(config)
	return err
}
