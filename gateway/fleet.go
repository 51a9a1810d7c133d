package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"google.golang.org/grpc/credentials"

	"fairway.dev/discovery/feed"
	"fairway.dev/gateway/server"
	"fairway.dev/gateway/upstream"
	"fairway.dev/routing"
	"fairway.dev/tlsmgr/identity"
)

// fleetFlags are what `fairway serve` has to know where it is a pod of a
// Gateway's fleet.
type fleetFlags struct {
	control   string
	controlID string
	gateway   string
	token     string
	roots     string
}

func (o *fleetFlags) register(f *flag.FlagSet) {
	f.StringVar(&o.control, "control", "", "the `address` of the control plane, instead of a folder of manifests")
	f.StringVar(&o.controlID, "control-id", "", "with -control: the SPIFFE `identity` that the control plane has to prove")
	f.StringVar(&o.gateway, "gateway", "", "the Gateway to serve, as `namespace/name`; with -manifests all of the folder where it is left out")
	f.StringVar(&o.token, "token", "/var/run/secrets/fairway/token", "with -control: the `file` with the token of the pod's service account")
	f.StringVar(&o.roots, "roots", "/var/run/secrets/fairway/root-cert.pem", "with -control: the `file` with the roots that the control plane is verified with")
}

// A member is the source of a pod of a fleet: what the control plane says.
type member struct {
	options   *fleetFlags
	state     string
	control   identity.Known
	roots     *identity.BundleFile
	keeper    *identity.Keeper
	log       *slog.Logger
	client    atomic.Pointer[feed.Client]
	pod, node string
}

// newMember returns the source that o describes. State is a folder for the
// last good configuration, which holds keys.
func newMember(o *fleetFlags, state string, log *slog.Logger) (*member, error) {
	if o.gateway == "" || o.controlID == "" {
		return nil, errors.New("-control: want -gateway and -control-id, too")
	}
	id, err := identity.Parse(o.controlID)
	if err != nil {
		return nil, fmt.Errorf("-control-id: %w", err)
	}
	hostname, err := os.Hostname()
	if err != nil {
		return nil, err
	}
	m := &member{options: o, state: state, control: identity.Only(id), log: log, pod: hostname, node: os.Getenv("NODE_NAME")}
	if name := os.Getenv("POD_NAME"); name != "" {
		m.pod = os.Getenv("POD_NAMESPACE") + "/" + name
	}
	m.roots = identity.NewBundleFile(o.roots, log)
	issuer := &identity.Client{Address: o.control, TokenFile: o.token, Roots: m.roots.Bundle, Server: m.control}
	m.keeper = identity.NewKeeper(issuer.Issue, log)
	m.keeper.Roots = m.roots.Bundle
	return m, nil
}

// mesh is who the pod is to other gateways: who it is to the control plane.
func (m *member) mesh() *server.Mesh {
	return &server.Mesh{Own: m.keeper.Certificate, Roots: m.roots.Bundle}
}

// run serves the last good configuration, and what the control plane sends.
// That knows where the pod is, too.
func (m *member) run(ctx context.Context, g *gateway) {
	client := feed.NewClient(feed.ClientOptions{
		Control:     m.options.control,
		Credentials: credentials.NewTLS(identity.ClientConfig(m.keeper.Certificate, m.roots.Bundle, m.control)),
		Gateway:     m.options.gateway, Pod: m.pod, Node: m.node,
		Apply:   func(d *routing.Delta) []*routing.Problem { return g.apply(change{d, describe(d)}) },
		Program: version,
		Place: func(p feed.Place) {
			g.server.SetPlace(upstream.Place{Region: p.Region, Zone: p.Zone, SubZone: p.SubZone, Labels: p.Labels})
		},
		Dir: filepath.Clean(m.state),
		Log: m.log,
	})
	m.client.Store(client)
	var tasks sync.WaitGroup
	defer tasks.Wait()
	tasks.Go(func() { m.keeper.Run(ctx) })
	client.Run(ctx)
}

func (m *member) problems(compiled []*routing.Problem) []*routing.Problem { return compiled }
func (m *member) logged() []*routing.Problem                              { return nil }

// stand tells the control plane what stands now.
func (m *member) stand(problems []*routing.Problem) {
	if c := m.client.Load(); c != nil {
		c.Report(problems)
	}
}

// describe names what a change touches, in few words where it is much.
func describe(d *routing.Delta) string {
	var names []string
	for _, l := range d.Listeners {
		names = append(names, "listener "+string(l.Name))
	}
	for _, r := range d.Routes {
		names = append(names, string(r.Name))
	}
	for _, c := range d.Clusters {
		names = append(names, "cluster "+string(c.Name))
	}
	for _, e := range d.Endpoints {
		names = append(names, "endpoints "+string(e.Cluster))
	}
	for _, c := range d.Certificates {
		names = append(names, "certificate "+string(c.Name))
	}
	removed := d.Removed
	names = appendRemoved(names, "listener ", removed.Listeners)
	names = appendRemoved(names, "", removed.Routes)
	names = appendRemoved(names, "cluster ", removed.Clusters)
	names = appendRemoved(names, "certificate ", removed.Certificates)
	return listed(names)
}

func appendRemoved[K ~string](names []string, kind string, removed []K) []string {
	for _, name := range removed {
		names = append(names, "-"+kind+string(name))
	}
	return names
}
