package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"

	"fairway.dev/discovery/feed"
	"fairway.dev/gateway/admin"
	"fairway.dev/tlsmgr/identity"
)

// controlFlags are what `fairway control` can be told.
type controlFlags struct {
	grpc           string
	admin          string
	namespace      string
	service        string
	account        string
	image          string
	controllerName string
	trustDomain    string
	clusterDomain  string
	rootNamespace  string
	mesh           meshControlFlags
	network        string
	webhook        string
	webhookConfig  string
	kubeconfig     string
	logLevel       slog.Level
}

func parseControl(args []string) (*controlFlags, error) {
	f := flags("control", "-image IMAGE [flags]")
	o := &controlFlags{}
	f.StringVar(&o.grpc, "grpc", ":15012", "the `address` that gateway pods connect to: the feed, and certificates")
	f.StringVar(&o.admin, "admin", "127.0.0.1:15021", "the `address` of the admin port: health, metrics, debug pages")
	f.StringVar(&o.namespace, "namespace", "fairway-system", "the `namespace` that control runs in")
	f.StringVar(&o.service, "service", "fairway-control", "the `Service` in front of control's replicas")
	f.StringVar(&o.account, "service-account", "", "the `service account` that control runs as (default: the Service's name)")
	f.StringVar(&o.image, "image", "", "the `image` of gateway pods")
	f.StringVar(&o.controllerName, "controller-name", "fairway.dev/gateway-controller", "the `controller` that GatewayClasses of ours name")
	f.StringVar(&o.trustDomain, "trust-domain", "cluster.local", "the trust `domain` of identities")
	f.StringVar(&o.clusterDomain, "cluster-domain", "cluster.local", "the DNS `domain` of the cluster")
	f.StringVar(&o.rootNamespace, "root-namespace", "istio-system", "the `namespace` with the mesh's own objects, for Istio's API: MeshConfig (ConfigMap istio), and rules that hold everywhere")
	f.StringVar(&o.network, "network", "", "the `name` of the cluster's own network, in a mesh of several (default: what the label topology.istio.io/network of the root namespace says)")
	o.mesh.register(f)
	f.StringVar(&o.webhook, "webhook", "", "the `address` that the API server asks whether objects may be stored (default: it is not to ask)")
	f.StringVar(&o.webhookConfig, "webhook-configuration", "", "with -webhook: the ValidatingWebhookConfiguration whose caBundle is kept; its `name`")
	f.StringVar(&o.kubeconfig, "kubeconfig", "", "a kubeconfig `file`, outside of a cluster")
	f.TextVar(&o.logLevel, "log-level", slog.LevelInfo, "what is logged: debug, info, warn or error")
	if err := parse(f, args); err != nil {
		return nil, err
	}
	if o.image == "" || f.NArg() > 0 {
		f.Usage()
		return nil, errUsage
	}
	if o.account == "" {
		o.account = o.service
	}
	if err := o.id().Valid(); err != nil {
		return nil, fmt.Errorf("-trust-domain, -namespace, -service-account: %w", err)
	}
	if _, err := o.nodeAccounts(); err != nil {
		return nil, err
	}
	return o, o.mesh.check()
}

// id is who control's replicas are.
func (o *controlFlags) id() identity.ID {
	return identity.ID{TrustDomain: o.trustDomain, Namespace: o.namespace, ServiceAccount: o.account}
}

// meshPorts is the ConfigMap of the ports of waypoints that stand for others.
func (o *controlFlags) meshPorts() string { return o.namespace + "/fairway-mesh-ports" }

// host is the name that pods reach control by.
func (o *controlFlags) host() string {
	return o.service + "." + o.namespace + ".svc." + o.clusterDomain
}

// address is where pods reach control. The dot at the end spares them the
// search list of their resolv.conf.
func (o *controlFlags) address() (string, error) {
	_, port, err := net.SplitHostPort(o.grpc)
	if err != nil {
		return "", fmt.Errorf("-grpc: %w", err)
	}
	return net.JoinHostPort(o.host()+".", port), nil
}

// restConfig leads to the API server. What bounds requests there is what asks
// for them: client-go's 5 a second would be the slowest part of an edit.
func (o *controlFlags) restConfig(log *slog.Logger) (*rest.Config, error) {
	read := rest.InClusterConfig
	if o.kubeconfig != "" {
		read = func() (*rest.Config, error) { return clientcmd.BuildConfigFromFlags("", o.kubeconfig) }
	}
	config, err := read()
	if err != nil {
		return nil, fmt.Errorf("kubernetes: %w", err)
	}
	config.QPS = -1
	config.UserAgent = "fairway-control/" + version
	config.WarningHandlerWithContext = apiWarnings{log}
	return config, nil
}

// apiWarnings logs what the API server has to remark about our requests.
type apiWarnings struct{ log *slog.Logger }

// HandleWarningHeaderWithContext implements rest.WarningHandlerWithContext.
func (w apiWarnings) HandleWarningHeaderWithContext(_ context.Context, code int, _ string, text string) {
	const remark = 299 // RFC 9111 section 5.5 has had the others
	if code == remark && text != "" {
		w.log.Debug("the API server warns", "text", text)
	}
}

// control runs a replica of the control plane until ctx ends.
func control(ctx context.Context, args []string, _ io.Writer) error {
	o, err := parseControl(args)
	if err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: o.logLevel}))
	klog.SetSlogLogger(log) // client-go's own log
	config, err := o.restConfig(log)
	if err != nil {
		return err
	}
	r, err := newReplica(o, config, log)
	if err != nil {
		return err
	}
	return r.run(ctx)
}

// run serves until ctx ends. Everything that it began has ended then, so that
// the Lease is free for another replica.
func (r *replica) run(ctx context.Context) error {
	adminAt, err := net.Listen("tcp", r.options.admin)
	if err != nil {
		return fmt.Errorf("admin port: %w", err)
	}
	page := admin.NewServer(admin.New(admin.Options{
		Ready: r.ready, Metrics: r.metrics(), Problems: r.troubles.all, Fleet: func() any { return r.fleetPage() },
	}), r.log)
	go page.Serve(adminAt)
	defer page.Close()
	r.log.Info("admin port open", "listener", adminAt.Addr())

	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	tasks := []func(context.Context) error{
		r.plain(r.trust.Run), r.plain(r.keeper.Run), r.plain(r.feed.Run),
		r.serveGRPC, r.serveWebhook, r.lead,
		func(ctx context.Context) error { return r.source.Run(ctx, r.apply) },
	}
	ended := make(chan error, len(tasks))
	for _, task := range tasks {
		go func() {
			err := task(ctx)
			cancel() // one cannot do without the others
			ended <- err
		}()
	}
	var errs []error
	for range tasks {
		if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// plain makes a task of one that cannot fail.
func (r *replica) plain(run func(context.Context)) func(context.Context) error {
	return func(ctx context.Context) error {
		run(ctx)
		return nil
	}
}

// serveWebhook serves the webhook, if there is to be one, once there is
// a certificate.
func (r *replica) serveWebhook(ctx context.Context) error {
	if r.options.webhook == "" {
		<-ctx.Done()
		return nil
	}
	select {
	case <-r.keeper.Ready():
	case <-ctx.Done():
		return nil
	}
	return newWebhook(r.log).serve(ctx, r.options.webhook, r.keeper.Certificate)
}

// serveGRPC serves the feed, and certificates to who comes for the first one,
// once there is a CA.
func (r *replica) serveGRPC(ctx context.Context) error {
	select {
	case <-r.keeper.Ready():
	case <-ctx.Done():
		return nil
	}
	ln, err := net.Listen("tcp", r.options.grpc)
	if err != nil {
		return fmt.Errorf("-grpc: %w", err)
	}
	tls := identity.OpenServerConfig(r.keeper.Certificate, r.trust.Bundle, identity.Anyone)
	server := grpc.NewServer(append(feed.ServerOptions(), grpc.Creds(r.gate.Credentials(credentials.NewTLS(tls))))...)
	r.authority.Register(server)
	r.feed.Register(server)
	stop := context.AfterFunc(ctx, server.Stop)
	defer stop()
	r.log.Info("feed open", "listener", ln.Addr())
	return server.Serve(r.gate.Listener(ln))
}
