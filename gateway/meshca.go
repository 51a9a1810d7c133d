package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"time"

	"fairway.dev/gateway/server"
	"fairway.dev/routing"
	"fairway.dev/tlsmgr/identity"
)

// meshFlags are what `fairway serve` has to know where its identity in the mesh
// is not of who gives it its configuration: of istiod, or of who speaks as
// istiod does.
type meshFlags struct {
	ca      string
	token   string
	roots   string
	cluster string
	id      string
}

func (o *meshFlags) register(f *flag.FlagSet) {
	f.StringVar(&o.ca, "mesh-ca", "", "the `address` of the CA that signs who the gateway is to others of the mesh: istiod, or one that speaks as it does (default: with -control, the control plane's)")
	f.StringVar(&o.token, "mesh-ca-token", "/var/run/secrets/fairway-mesh/token", "with -mesh-ca: the `file` with the token of the pod's service account, of audience istio-ca")
	f.StringVar(&o.roots, "mesh-ca-roots", "/var/run/secrets/fairway-mesh/root-cert.pem", "with -mesh-ca: the `file` with the roots of the mesh, by which the CA is verified, too")
	f.StringVar(&o.cluster, "mesh-ca-cluster", "Kubernetes", "with -mesh-ca: the `name` that the CA has for the cluster")
	f.StringVar(&o.id, "mesh-id", "", "with -mesh-ca: the SPIFFE `identity` that is asked for; no other is taken (default: what the CA goes by)")
}

// A meshCA is where the identity of a gateway comes from that istiod signs, or
// who speaks as it does. The roots are read again where their file changes.
type meshCA struct {
	client *identity.Client
	roots  *identity.BundleFile
	keeper *identity.Keeper
}

func newMeshCA(o *meshFlags, log *slog.Logger) (*meshCA, error) {
	log = log.With("origin", o.ca)
	c := &meshCA{roots: identity.NewBundleFile(o.roots, log)}
	var err error
	if c.client, err = identity.Istiod(o.ca, o.token, o.cluster, c.roots.Bundle); err != nil {
		return nil, fmt.Errorf("-mesh-ca: %w", err)
	}
	c.keeper = identity.NewKeeper(c.issue, log)
	c.keeper.Roots = c.roots.Bundle
	if o.id != "" {
		if c.keeper.Asks, err = identity.Parse(o.id); err != nil {
			return nil, fmt.Errorf("-mesh-id: %w", err)
		}
	}
	return c, nil
}

// issue shows the token to nobody before it is known who the CA has to be.
func (c *meshCA) issue(ctx context.Context, csr []byte) ([]byte, error) {
	if c.roots.Bundle() == nil {
		return nil, errors.New("no roots yet to verify the CA by: want them in the file of -mesh-ca-roots, of ConfigMap istio-ca-root-cert")
	}
	return c.client.Issue(ctx, csr)
}

// identify returns who the gateway is in the mesh, nil where it is nobody, and
// what keeps that so until its context ends.
func (o *serveFlags) identify(src source, log *slog.Logger) (*server.Mesh, func(context.Context), error) {
	if o.mesh.ca == "" {
		mesh := src.mesh()
		if mesh != nil {
			mesh.From = cmp.Or(o.identity, o.fleet.control)
		}
		return mesh, func(context.Context) {}, nil
	}
	if o.identity != "" {
		return nil, nil, errors.New("-mesh-ca and -identity: want one of them")
	}
	ca, err := newMeshCA(&o.mesh, log)
	if err != nil {
		return nil, nil, err
	}
	return &server.Mesh{Own: ca.keeper.Certificate, Roots: ca.roots.Bundle, From: o.mesh.ca}, ca.keeper.Run, nil
}

// identityState is who the gateway is in the mesh, for the admin page.
type identityState struct {
	From    string      `json:"from"` // a folder, or the address of who signs
	ID      string      `json:"id,omitempty"`
	Expires time.Time   `json:"expires,omitzero"`
	Error   string      `json:"error,omitempty"` // why it is nobody
	Roots   []rootState `json:"roots"`           // by which others are believed
}

type rootState struct {
	Subject string    `json:"subject"`
	Key     string    `json:"key"` // its identifier, as certificates name it
	Expires time.Time `json:"expires"`
}

func identityOf(m *server.Mesh) identityState {
	state := identityState{From: m.From}
	if cert, err := m.Own(); err != nil {
		state.Error = err.Error()
	} else {
		state.Expires = cert.Leaf.NotAfter
		if id, err := identity.OfCertificate(cert.Leaf); err == nil {
			state.ID = id.String()
		}
	}
	if bundle := m.Roots(); bundle != nil {
		for _, root := range bundle.Roots() {
			state.Roots = append(state.Roots, rootState{root.Subject.String(), fmt.Sprintf("%x", root.SubjectKeyId), root.NotAfter})
		}
	}
	return state
}

// ready is the server's, and false where the gateway is to take hops and is
// nobody: so no pod gives way to another one that nobody can reach.
func (g *gateway) ready() (bool, []string) {
	ready, unfinished := g.server.Ready()
	if !ready || g.mesh == nil {
		return ready, unfinished
	}
	_, err := g.mesh.Own()
	if err == nil {
		return true, nil
	}
	for _, p := range g.server.Snapshot().Ports() {
		if p.Protocol == routing.HBONE {
			return false, []string{fmt.Sprintf("identity of the mesh, by %s: %v", g.mesh.From, err)}
		}
	}
	return true, nil
}
