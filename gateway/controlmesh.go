package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"slices"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"fairway.dev/discovery/provision"
	"fairway.dev/discovery/trust"
	"fairway.dev/tlsmgr/identity"
)

// meshControlFlags are what `fairway control` can be told of a mesh that others
// are of, too: Istio's.
type meshControlFlags struct {
	ca           string
	cluster      string
	trustDomain  string
	aliases      names
	istioClients bool
	trustedNodes names
}

func (o *meshControlFlags) register(f *flag.FlagSet) {
	f.StringVar(&o.ca, "mesh-ca", "", "the `address` of the CA that signs who gateways are in the mesh: istiod.istio-system.svc:15012, or one that speaks as istiod does (default: control's own CA)")
	f.StringVar(&o.cluster, "mesh-ca-cluster", "Kubernetes", "with -mesh-ca: the `name` that the CA has for the cluster")
	f.StringVar(&o.trustDomain, "mesh-trust-domain", "", "the trust `domain` of identities in the mesh, where another CA signs them (default: that of -trust-domain)")
	f.Var(&o.aliases, "trust-domain-aliases", "trust `domains` that are believed like the mesh's own, with commas between them")
	f.BoolVar(&o.istioClients, "istio-clients", false, "sign for Istio's proxies, too: whoever has a token of audience istio-ca")
	f.Var(&o.trustedNodes, "trusted-nodes", "with -istio-clients: the service `accounts` of node proxies, as istio-system/ztunnel, which have certificates of the pods of their nodes; with commas between them")
}

// names are a flag's, with commas between them.
type names []string

// String implements flag.Value.
func (n *names) String() string { return strings.Join(*n, ",") }

// Set implements flag.Value.
func (n *names) Set(text string) error {
	*n = nil
	for name := range strings.SplitSeq(text, ",") {
		if name = strings.TrimSpace(name); name != "" {
			*n = append(*n, name)
		}
	}
	return nil
}

// check says what is wrong with the flags.
func (o *meshControlFlags) check() error {
	if o.ca != "" {
		if _, _, err := net.SplitHostPort(o.ca); err != nil {
			return fmt.Errorf("-mesh-ca: %w", err)
		}
	}
	switch {
	case o.ca != "" && o.istioClients:
		return errors.New("-mesh-ca and -istio-clients: want one of them, as gateways believe one CA of the mesh")
	case o.ca == "" && o.trustDomain != "":
		return errors.New("-mesh-trust-domain: want -mesh-ca, too; control's own CA signs for -trust-domain")
	case len(o.trustedNodes) > 0 && !o.istioClients:
		return errors.New("-trusted-nodes: want -istio-clients, too")
	}
	for _, d := range append(slices.Clone(o.aliases), o.trustDomain) {
		if d == "" {
			continue
		}
		if err := identity.ValidTrustDomain(d); err != nil {
			return fmt.Errorf("-mesh-trust-domain, -trust-domain-aliases: %q: %w", d, err)
		}
	}
	return nil
}

// meshTrustDomain is that of who is in the mesh.
func (o *controlFlags) meshTrustDomain() string {
	if o.mesh.trustDomain != "" {
		return o.mesh.trustDomain
	}
	return o.trustDomain
}

// meshCA is who signs for gateways; nil: control.
func (o *controlFlags) meshCA() *provision.MeshCA {
	if o.mesh.ca == "" {
		return nil
	}
	return &provision.MeshCA{Address: o.mesh.ca, ClusterID: o.mesh.cluster, TrustDomain: o.meshTrustDomain()}
}

// audiences are what the tokens are meant for that control's CA takes.
func (o *controlFlags) audiences() []string {
	if o.mesh.istioClients {
		return []string{trust.Audience, trust.IstioAudience}
	}
	return []string{trust.Audience}
}

// nodeAccounts are who may ask for others.
func (o *controlFlags) nodeAccounts() ([]identity.ID, error) {
	var ids []identity.ID
	for _, name := range o.mesh.trustedNodes {
		namespace, account, _ := strings.Cut(name, "/")
		id := identity.ID{TrustDomain: o.trustDomain, Namespace: namespace, ServiceAccount: account}
		if err := id.Valid(); err != nil {
			return nil, fmt.Errorf("-trusted-nodes: %q: want NAMESPACE/ACCOUNT: %w", name, err)
		}
		ids = append(ids, id)
	}
	return ids, nil
}

// names are those of control in DNS, which its certificate has: Istio's clients
// verify it by the one that they were told (caAddress).
func (o *controlFlags) names() []string {
	return []string{o.service + "." + o.namespace + ".svc", o.host()}
}

// signsFor returns an error for who is to have no certificate although a token
// says who it is. Control's own pods sign theirs themselves: nobody else has one
// by which he would be believed to be control.
func (r *replica) signsFor(id identity.ID) error {
	switch {
	case id == r.options.id():
		return fmt.Errorf("%s: signed for nobody but by itself", id)
	case r.options.mesh.istioClients:
		return nil
	}
	return r.fleets.known(id)
}

// staysFor returns an error for who has a certificate of ours and no business with
// the feed: of such there are as many as the cluster has service accounts.
func (r *replica) staysFor(id identity.ID) error {
	if id == r.options.id() {
		return nil
	}
	return r.fleets.known(id)
}

// runsOn lets a node proxy have the identity of a pod of its node, for whom it
// speaks: not control's, nor a node agent's.
func (r *replica) runsOn(_ context.Context, id identity.ID, caller identity.Caller) error {
	select {
	case <-r.complete:
	default:
		return status.Error(codes.Unavailable, "the cluster is not read yet")
	}
	if id == r.options.id() || r.fleets.isAgent(id) {
		return errors.New("control and node agents speak for themselves")
	}
	return r.nodePods.runsOn(account{id.Namespace, id.ServiceAccount}, caller)
}
