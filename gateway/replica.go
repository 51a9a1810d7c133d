package main

import (
	"context"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/credentials"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	gatewayclient "sigs.k8s.io/gateway-api/pkg/client/clientset/versioned"

	"fairway.dev/discovery/cluster"
	"fairway.dev/discovery/feed"
	"fairway.dev/discovery/leader"
	"fairway.dev/discovery/meshports"
	"fairway.dev/discovery/provision"
	"fairway.dev/discovery/status"
	"fairway.dev/discovery/trust"
	"fairway.dev/routing"
	"fairway.dev/routing/gatewayapi"
	"fairway.dev/routing/istio"
	"fairway.dev/tlsmgr/identity"
)

// captureAccount is the service account of node agents, in control's namespace.
const captureAccount = "fairway-capture"

// ownerTimeout bounds how long a pod waits for whose service account it has.
const ownerTimeout = 5 * time.Second

// A replica is one `fairway control`. Each replica reads the cluster,
// translates it, and feeds the pods that come to it; the one that holds the
// Lease writes status and keeps the Gateways' Deployments.
type replica struct {
	options    *controlFlags
	log        *slog.Logger
	name       string // of the pod
	source     *cluster.Source
	translator *gatewayapi.Translator
	feed       *feed.Server
	trust      *trust.Store
	authority  *identity.Server
	keeper     *identity.Keeper
	gate       identity.Gate // of the feed and the authority
	status     *status.Writer
	provision  *provision.Reconciler
	bundle     *bundleKeeper
	ports      *meshports.Keeper
	election   *leader.Election
	leads      atomic.Bool
	complete   chan struct{} // closed when all there was at the start is translated
	fleets     fleets
	nodePods   nodePods
	troubles   troubles
	peers      peers
	updates    updates
}

func newReplica(o *controlFlags, config *rest.Config, log *slog.Logger) (*replica, error) {
	r := &replica{options: o, log: log, complete: make(chan struct{})}
	r.name = os.Getenv("POD_NAME")
	if r.name == "" {
		hostname, err := os.Hostname()
		if err != nil {
			return nil, err
		}
		r.name = hostname
	}
	if err := r.readCluster(config); err != nil {
		return nil, err
	}
	if err := r.vouch(config); err != nil {
		return nil, err
	}
	r.fleets.trustDomain, r.fleets.agents = o.trustDomain, account{o.namespace, captureAccount}
	r.feed = feed.NewServer(feed.Options{
		Replica: r.name, Control: o.id(), Authorize: r.fleets.authorize, Place: r.whereabouts,
		PeerCredentials: credentials.NewTLS(identity.ClientConfig(r.keeper.Certificate, r.trust.Bundle, identity.Only(o.id()))),
		OnFleet:         func(gateway string) { r.status.FleetChanged(gateway) },
		Log:             log,
	})
	return r, r.write(config)
}

// readCluster sets up what reads the cluster and makes a Spec of it.
func (r *replica) readCluster(config *rest.Config) error {
	var err error
	r.source, err = cluster.New(config, cluster.Options{
		Wanted:    func(k routing.ObjectKey) bool { return r.translator.Reads(k) },
		WantsPods: func() bool { return r.translator.WantsPods() || len(r.options.mesh.trustedNodes) > 0 },
		Version:   version, Log: r.log,
	})
	if err != nil {
		return err
	}
	o := r.options
	r.translator = gatewayapi.New(r.source, gatewayapi.Options{
		ControllerName: o.controllerName, Isolated: true, TrustDomain: o.meshTrustDomain(), TrustDomainAliases: o.mesh.aliases, ClusterDomain: o.clusterDomain,
		RootNamespace: o.rootNamespace, Network: o.network, MeshPorts: o.meshPorts(), Base: provision.Name,
	})
	istio.Join(r.translator, istio.Options{
		RootNamespace: o.rootNamespace, ClusterDomain: o.clusterDomain, TrustDomain: o.meshTrustDomain(), TrustDomainAliases: o.mesh.aliases,
	})
	return nil
}

// vouch sets up who says who is who: the CA, and control's own certificate.
func (r *replica) vouch(config *rest.Config) error {
	o := r.options
	var err error
	if r.trust, err = trust.NewStore(config, o.namespace, o.trustDomain, r.log); err != nil {
		return err
	}
	tokens, err := trust.NewTokens(config, o.trustDomain, o.audiences()...)
	if err != nil {
		return err
	}
	nodes, err := o.nodeAccounts()
	if err != nil {
		return err
	}
	r.authority = identity.NewServer(identity.ServerOptions{
		CA: r.trust.CA, Roots: r.trust.Bundle, TrustDomain: o.trustDomain, Authenticate: tokens.Authenticate,
		Allow: r.signsFor, TrustedNodes: nodes, RunsOn: r.runsOn, Log: r.log,
	})
	if o.mesh.istioClients {
		r.gate.Known = r.staysFor
	}
	r.keeper = identity.NewKeeper(identity.Local(r.trust.CA, identity.Claim{ID: o.id(), DNS: o.names()}), r.log)
	r.keeper.Roots = r.trust.Bundle
	return nil
}

// write sets up what the replica that leads writes.
func (r *replica) write(config *rest.Config) error {
	core, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	r.fleets.owner = func(a account) (types.UID, error) { return ownerOf(core, a) }
	gateways, err := gatewayclient.NewForConfig(config)
	if err != nil {
		return err
	}
	address, err := r.options.address()
	if err != nil {
		return err
	}
	controller := gatewayv1.GatewayController(r.options.controllerName)
	if r.status, err = status.New(status.Options{
		Config: config, ControllerName: controller, Resource: r.source.Resource, Object: r.source.Get, Status: r.source.Status,
		GatewayOf: r.fleets.gatewayWith, Wanted: r.feed.Wanted, Version: r.feed.Version, Fleet: r.feed.Fleet, Log: r.log,
	}); err != nil {
		return err
	}
	r.provision = provision.New(provision.Options{
		Client: core, Gateways: gateways, ControllerName: controller,
		Image: r.options.image, Control: address, ControlID: r.options.id().String(), MeshCA: r.options.meshCA(),
		Report: r.status.Provisioned, Log: r.log,
	})
	if r.ports, err = meshports.New(config, meshports.Options{ConfigMap: r.options.meshPorts(), Log: r.log}); err != nil {
		return err
	}
	r.bundle = &bundleKeeper{
		core: core, name: r.options.webhookConfig, bundle: func() []byte { return r.trust.Bundle().PEM() },
		changed: make(chan struct{}, 1), log: r.log,
	}
	r.trust.Changed = func() {
		r.provision.SetRoots(r.trust.Bundle().PEM())
		r.bundle.note()
	}
	r.election, err = leader.New(config, leader.Options{Namespace: r.options.namespace, Name: r.options.service, Identity: r.name, Log: r.log})
	return err
}

// ownerOf returns the UID of the Gateway that a service account was made for;
// empty if it was made for none.
func ownerOf(core kubernetes.Interface, a account) (types.UID, error) {
	ctx, cancel := context.WithTimeout(context.Background(), ownerTimeout)
	defer cancel()
	o, err := core.CoreV1().ServiceAccounts(a.namespace).Get(ctx, a.name, metav1.GetOptions{})
	if err != nil {
		return "", err
	}
	if ref := metav1.GetControllerOf(o); ref != nil && ref.Kind == "Gateway" {
		return ref.UID, nil
	}
	return "", nil
}

// apply makes what changed in the cluster a change of the Spec, of statuses
// and of fleets.
func (r *replica) apply(c cluster.Change) {
	began := time.Now()
	delta, reports := r.translator.Update(c.Keys)
	touched := map[routing.ObjectKey]bool{}
	for _, k := range c.Keys {
		switch k.Kind {
		case "Gateway":
			touched[k] = true
		case "EndpointSlice":
			r.meetPeers(k)
		case "ConfigMap":
			r.seePorts(k)
		case "Pod":
			r.seePod(k)
		}
	}
	for _, report := range reports {
		if report.Object.Kind == "Gateway" {
			touched[report.Object] = true
		}
		r.troubles.put(report)
	}
	r.fleets.listeners(delta, touched)
	r.fleets.reports(reports)
	for k := range touched {
		if gateway, ok := r.source.Get(k).(*gatewayv1.Gateway); ok {
			r.fleets.runs(gateway)
		}
	}
	// Who may ask for a Gateway is known before there is anything to get.
	r.feed.Update(delta)
	r.ports.Update(delta)
	for _, report := range reports {
		r.status.Report(report)
	}
	for _, k := range c.Statuses {
		r.status.Changed(k)
	}
	for k := range touched {
		r.place(k)
	}
	r.updates.count(len(c.Keys), time.Since(began))
	r.log.Debug("cluster read", "origin", summary(c.Keys), "took", time.Since(began).Round(10*time.Microsecond))
	if !c.More {
		r.finishStart()
	}
}

// seePod notes where a pod is, if somebody may ask for it.
func (r *replica) seePod(k routing.ObjectKey) {
	if len(r.options.mesh.trustedNodes) > 0 {
		pod, _ := r.source.Get(k).(*corev1.Pod)
		r.nodePods.put(k, pod)
	}
}

// seePorts tells who keeps the ports of waypoints that their ConfigMap is
// another, as somebody may have edited it.
func (r *replica) seePorts(k routing.ObjectKey) {
	if k.Namespace+"/"+k.Name != r.options.meshPorts() {
		return
	}
	version := ""
	if o, ok := r.source.Get(k).(*corev1.ConfigMap); ok {
		version = o.ResourceVersion
	}
	r.ports.Seen(version)
}

// finishStart lets the fleet have what is there, once it is all there.
func (r *replica) finishStart() {
	select {
	case <-r.complete:
	default:
		r.feed.Open()
		close(r.complete)
		r.log.Info("the cluster is read")
	}
}

// place tells provisioning what a Gateway wants.
func (r *replica) place(k routing.ObjectKey) {
	report, ports, ours := r.fleets.of(k)
	if !ours {
		r.provision.Remove(k)
		return
	}
	gateway, ok := r.source.Get(k).(*gatewayv1.Gateway)
	if !ok || !accepted(report) {
		return
	}
	r.provision.Set(provision.Wanted{Gateway: gateway, Parameters: report.Parameters, Ports: ports})
}

func accepted(r gatewayapi.Report) bool {
	for _, c := range r.Conditions {
		if c.Type == string(gatewayv1.GatewayConditionAccepted) {
			return c.Status == "True"
		}
	}
	return false
}

// lead writes status and keeps fleets while this replica holds the Lease, once
// it knows all that there is.
func (r *replica) lead(ctx context.Context) error {
	for _, ready := range []<-chan struct{}{r.complete, r.trust.Ready()} {
		select {
		case <-ready:
		case <-ctx.Done():
			return nil
		}
	}
	return r.election.Run(ctx, func(ctx context.Context) {
		r.leads.Store(true)
		defer r.leads.Store(false)
		r.log.Info("leading")
		var all sync.WaitGroup
		all.Go(func() { r.status.Run(ctx) })
		all.Go(func() {
			if err := r.provision.Run(ctx); err != nil {
				r.log.Error("fleets are not kept", "err", err)
			}
		})
		all.Go(func() { r.ports.Run(ctx) })
		if r.options.webhookConfig != "" {
			all.Go(func() { r.bundle.run(ctx) })
		}
		all.Wait()
	})
}

// ready reports whether this replica serves the feed, and what it waits for.
// A kind that cannot be listed later takes no pod its feed.
func (r *replica) ready() (bool, []string) {
	var unfinished []string
	for _, task := range []struct {
		name string
		done <-chan struct{}
	}{{"CA read", r.trust.Ready()}, {"own certificate", r.keeper.Ready()}, {"cluster read", r.complete}} {
		select {
		case <-task.done:
		default:
			unfinished = append(unfinished, task.name)
		}
	}
	if len(unfinished) == 0 {
		return true, nil
	}
	_, missing := r.source.Synced()
	return false, append(unfinished, missing...)
}
