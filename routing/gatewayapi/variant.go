package gatewayapi

import (
	"cmp"
	"slices"

	"fairway.dev/routing"
)

// A Gateway that shows a certificate to backends (spec.tls.backend) has
// clusters of its own, of those that speak TLS: "shop/cart:8443@infra/client".
// A route to such clusters has a part for each certificate by which its
// Gateways differ, with the same mark: "HTTPRoute/shop/cart@infra/client". The
// mark is the certificate's name and not the Gateway's, as that is all that
// they differ in. A route without TLS clusters, and one at Gateways without
// certificates, has one part as ever.

// clientMark comes before the name of the certificate in the names of variants.
const clientMark = "@"

// A variant is a part of a route. Besides, a TLSRoute at listeners that pass TLS
// through and at others has a part for the former, "TLSRoute/shop/cart#tls":
// there no policy of a backend has a say.
type variant struct {
	passthrough bool
	client      routing.CertificateName // empty: none is shown
}

func (v variant) compare(w variant) int {
	if v.passthrough != w.passthrough {
		if w.passthrough {
			return -1
		}
		return 1
	}
	return cmp.Compare(v.client, w.client)
}

// mark ends the name of the variant's part.
func (v variant) mark(mixed bool) string {
	switch {
	case v.passthrough && mixed:
		return string(tlsUse)
	case v.client != "":
		return clientMark + string(v.client)
	}
	return ""
}

// as returns the cell of a cluster as Gateways with a certificate have it.
func (s *ruleSet) as(client routing.CertificateName, cluster cellID) cellID {
	if client == "" || !slices.Contains(s.secure, cluster) {
		return cluster
	}
	to := parseTarget(cluster.Part)
	to.client = client
	cluster.Part = to.part()
	return cluster
}

// rulesAs returns the rules as Gateways with a certificate have them.
func (s *ruleSet) rulesAs(client routing.CertificateName) []routing.Rule {
	if client == "" {
		return s.rules
	}
	names := map[routing.ClusterName]routing.ClusterName{}
	for _, c := range s.secure {
		names[clusterName(c)] = clusterName(s.as(client, c))
	}
	rename := func(name *routing.ClusterName) {
		if to, ok := names[*name]; ok {
			*name = to
		}
	}
	rules := slices.Clone(s.rules)
	for i := range rules {
		a := &rules[i].Action
		a.Backends, a.Mirrors = slices.Clone(a.Backends), slices.Clone(a.Mirrors)
		if a.Auth != nil {
			auth := *a.Auth
			rename(&auth.Cluster)
			a.Auth = &auth
		}
		for j := range a.Mirrors {
			rename(&a.Mirrors[j].Cluster)
		}
		for j := range a.Backends {
			b := &a.Backends[j]
			rename(&b.Cluster)
			b.Mirrors = slices.Clone(b.Mirrors)
			for k := range b.Mirrors {
				rename(&b.Mirrors[k].Cluster)
			}
		}
	}
	return rules
}
