package istio

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"

	security "istio.io/api/security/v1beta1"

	"fairway.dev/routing"
)

// authorizationRule translates a rule in which package analysis has found nothing
// wrong, of a policy of a namespace.
func authorizationRule(rule *security.Rule, ns string) routing.AuthorizationRule {
	var out routing.AuthorizationRule
	for _, f := range rule.GetFrom() {
		out.From = append(out.From, authorizationSource(f.GetSource(), ns))
	}
	for _, t := range rule.GetTo() {
		o := t.GetOperation()
		out.To = append(out.To, routing.AuthorizationOperation{
			Hosts:   routing.Patterns{In: o.GetHosts(), Out: o.GetNotHosts()},
			Ports:   routing.PortSet{In: ports(o.GetPorts()), Out: ports(o.GetNotPorts())},
			Methods: routing.Patterns{In: o.GetMethods(), Out: o.GetNotMethods()},
			Paths:   routing.Patterns{In: o.GetPaths(), Out: o.GetNotPaths()},
		})
	}
	for _, c := range rule.GetWhen() {
		in, not := c.GetValues(), c.GetNotValues()
		if c.GetKey() == "source.serviceAccount" {
			in, not = accounts(in, ns), accounts(not, ns)
		}
		out.When = append(out.When, routing.AuthorizationCondition{Key: conditionKey(c.GetKey()), Values: routing.Patterns{In: in, Out: not}})
	}
	return out
}

func authorizationSource(s *security.Source, ns string) routing.AuthorizationSource {
	return routing.AuthorizationSource{
		Principals:        routing.Patterns{In: s.GetPrincipals(), Out: s.GetNotPrincipals()},
		RequestPrincipals: routing.Patterns{In: s.GetRequestPrincipals(), Out: s.GetNotRequestPrincipals()},
		Namespaces:        routing.Patterns{In: s.GetNamespaces(), Out: s.GetNotNamespaces()},
		ServiceAccounts:   routing.Patterns{In: accounts(s.GetServiceAccounts(), ns), Out: accounts(s.GetNotServiceAccounts(), ns)},
		TrustDomains:      routing.Patterns{In: s.GetTrustDomains(), Out: s.GetNotTrustDomains()},
		IPBlocks:          routing.Prefixes{In: blocks(s.GetIpBlocks()), Out: blocks(s.GetNotIpBlocks())},
		RemoteIPBlocks:    routing.Prefixes{In: blocks(s.GetRemoteIpBlocks()), Out: blocks(s.GetNotRemoteIpBlocks())},
	}
}

// conditionKey has the name of a header in lower case.
func conditionKey(key string) string {
	if strings.HasPrefix(key, "request.headers[") {
		return strings.ToLower(key)
	}
	return key
}

// accounts are service accounts with their namespaces: the policy's, where none
// is written.
func accounts(list []string, ns string) []string {
	out := slices.Clone(list)
	for i, name := range out {
		if !strings.Contains(name, "/") {
			out[i] = ns + "/" + name
		}
	}
	return out
}

func blocks(list []string) []netip.Prefix {
	out, err := subnets(list)
	if err != nil {
		panic("bug: a block of addresses that was found in order: " + err.Error())
	}
	return out
}

func ports(list []string) []uint16 {
	var out []uint16
	for _, text := range list {
		n, err := strconv.ParseUint(text, 10, 16)
		if err != nil {
			panic("bug: a port that was found in order: " + err.Error())
		}
		out = append(out, uint16(n))
	}
	return out
}
