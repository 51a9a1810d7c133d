package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"google.golang.org/grpc/credentials"

	"fairway.dev/discovery/feed"
	"fairway.dev/gateway/admin"
	"fairway.dev/gateway/capture"
	"fairway.dev/tlsmgr/identity"
)

// captureFlags are what `fairway capture` can be told.
type captureFlags struct {
	fleet    fleetFlags
	node     string
	zone     string
	admin    string
	state    string
	remove   bool
	cleanup  bool
	logLevel slog.Level
}

func parseCapture(args []string) (*captureFlags, error) {
	f := flags("capture", "-control ADDRESS -control-id ID [flags] | -cleanup")
	o := &captureFlags{fleet: fleetFlags{gateway: feed.CaptureGateway}}
	f.StringVar(&o.fleet.control, "control", "", "the `address` of the control plane")
	f.StringVar(&o.fleet.controlID, "control-id", "", "the SPIFFE `identity` that the control plane has to prove")
	f.StringVar(&o.fleet.token, "token", "/var/run/secrets/fairway/token", "the `file` with the token of the pod's service account")
	f.StringVar(&o.fleet.roots, "roots", "/var/run/secrets/fairway/root-cert.pem", "the `file` with the roots that the control plane is verified with")
	f.StringVar(&o.node, "node", os.Getenv("NODE_NAME"), "the `name` of the node (default: what NODE_NAME of the environment says)")
	f.StringVar(&o.zone, "zone", "", "the `zone` of the node; the control plane knows")
	f.StringVar(&o.admin, "admin", "127.0.0.1:15022", "the `address` of the admin port: health, metrics, debug pages")
	f.StringVar(&o.state, "state", defaultState(), "the `folder` for the last good state of each node, which one that starts without the control plane has")
	f.BoolVar(&o.remove, "remove-on-exit", false, "take the rules away on SIGTERM: nothing is captured or refused from then on, not even while the agent is only replaced")
	f.BoolVar(&o.cleanup, "cleanup", false, "take away the rules that an agent has left, and end")
	f.TextVar(&o.logLevel, "log-level", slog.LevelInfo, "what is logged: debug, info, warn or error")
	if err := parse(f, args); err != nil {
		return nil, err
	}
	if o.cleanup == (o.fleet.control != "") || f.NArg() > 0 {
		f.Usage()
		return nil, errUsage
	}
	if !o.cleanup && o.node == "" {
		return nil, errors.New("-node: want the name of the node, or NODE_NAME in the environment")
	}
	return o, nil
}

// captureTraffic runs the agent of a node until ctx ends.
func captureTraffic(ctx context.Context, args []string, _ io.Writer) error {
	o, err := parseCapture(args)
	if err != nil {
		return err
	}
	if o.cleanup {
		return new(capture.Kernel).Remove()
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: o.logLevel}))
	m, err := newMember(&o.fleet, o.state, log)
	if err != nil {
		return err
	}
	n := &nodeAgent{
		options: o, member: m, log: log,
		agent: capture.NewAgent(capture.Options{Node: o.node, Zone: o.zone, Log: log}),
	}
	return n.run(ctx)
}

// A nodeAgent is a `fairway capture`: an Agent, and the control plane that says
// what it is to do.
type nodeAgent struct {
	options *captureFlags
	member  *member
	agent   *capture.Agent
	client  *feed.Client
	log     *slog.Logger
}

// run has in force what the control plane sends, and before that the last good
// state, until ctx ends. The rules stay, unless they are not to.
func (n *nodeAgent) run(ctx context.Context) error {
	adminAt, err := net.Listen("tcp", n.options.admin)
	if err != nil {
		return fmt.Errorf("admin port: %w", err)
	}
	n.client = n.newClient()
	page := admin.NewServer(admin.New(admin.Options{Ready: n.ready, Metrics: n.metrics()}), n.log)
	go page.Serve(adminAt)
	defer page.Close()
	n.log.Info("admin port open", "listener", adminAt.Addr())

	var tasks sync.WaitGroup
	for _, task := range []func(context.Context){n.member.keeper.Run, n.agent.Run, n.client.Run} {
		tasks.Go(func() { task(ctx) })
	}
	tasks.Wait()
	if n.options.remove {
		return n.agent.Remove()
	}
	return nil
}

// newClient returns the client of the control plane's feed.
func (n *nodeAgent) newClient() *feed.Client {
	m := n.member
	o := feed.ClientOptions{
		Control:     n.options.fleet.control,
		Credentials: credentials.NewTLS(identity.ClientConfig(m.keeper.Certificate, m.roots.Bundle, m.control)),
		Gateway:     n.options.fleet.gateway, Pod: m.pod, Node: n.options.node,
		Apply:   n.agent.Apply,
		Restore: n.agent.Restore,
		Program: version,
		// Nodes may have one folder, or one another's by way of an image of a disk.
		Dir: filepath.Join(n.options.state, n.options.node),
		Log: n.log,
	}
	if n.options.zone == "" {
		o.Place = func(p feed.Place) { n.agent.SetZone(p.Zone) }
	}
	return feed.NewClient(o)
}

// ready reports whether the rules are in force.
func (n *nodeAgent) ready() (bool, []string) {
	if n.agent.Ready() {
		return true, nil
	}
	return false, []string{"rules in force"}
}

var (
	descCaptureWorkloads = describeMetric("fairway_capture_workloads", "workloads of the node whose connections go to waypoints")
	descCaptureServices  = describeMetric("fairway_capture_service_ports", "ports of Services that are captured")
	descCaptureElements  = describeMetric("fairway_capture_table_elements", "elements in the sets of the table of nftables")
	descCaptureInForce   = describeMetric("fairway_capture_in_force", "1 if the table is what it should be")
	descCaptureConnected = describeMetric("fairway_capture_control_connected", "1 if the control plane is connected and what it sent is in force")
	descCaptureChanges   = describeMetric("fairway_capture_table_changes_total", "changes of the table")
	descCaptureSeconds   = describeMetric("fairway_capture_table_change_seconds_total", "time that changes of the table took")
	descCaptureMended    = describeMetric("fairway_capture_table_mended_total", "times that somebody else had changed the table")
	descCaptureErrors    = describeMetric("fairway_capture_table_errors_total", "times that the table could not be read or changed")
	descCaptureRefused   = describeMetric("fairway_capture_refused_total", "connections that were refused, since the table was made", "reason")
)

// metrics returns the metrics page.
func (n *nodeAgent) metrics() http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(captureMetrics{n}, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return promhttp.HandlerFor(registry, promhttp.HandlerOpts{})
}

// captureMetrics reads an agent's numbers when somebody asks.
type captureMetrics struct{ n *nodeAgent }

// Describe implements prometheus.Collector.
func (m captureMetrics) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(m, ch) }

// Collect implements prometheus.Collector.
func (m captureMetrics) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v)
	}
	counter := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, v, labels...)
	}
	s := m.n.agent.Stats()
	gauge(descCaptureWorkloads, float64(s.Workloads))
	gauge(descCaptureServices, float64(s.Captures))
	gauge(descCaptureElements, float64(s.Elements))
	gauge(descCaptureInForce, float64(truth(s.InForce)))
	gauge(descCaptureConnected, float64(truth(m.n.client.Status().Connected)))
	counter(descCaptureChanges, float64(s.Changes))
	counter(descCaptureSeconds, s.Took.Seconds())
	counter(descCaptureMended, float64(s.Mended))
	counter(descCaptureErrors, float64(s.Errors))
	for why, count := range s.Refused {
		counter(descCaptureRefused, float64(count), string(why))
	}
}
