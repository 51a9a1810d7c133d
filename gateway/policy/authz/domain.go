package authz

import (
	"slices"
	"strings"
)

// localDomain is the trust domain that means the mesh's own, whatever that is.
const localDomain = "cluster.local"

// aliasPrincipals has principals of one of the mesh's trust domains hold for all
// of them. What has not the five segments of an identity, or any domain, holds
// as it is.
func aliasPrincipals(domains, list []string) []string {
	if len(domains) == 0 {
		return list
	}
	var all []string
	for _, s := range list {
		domain, rest, _ := strings.Cut(s, "/")
		if strings.Count(s, "/") != 4 || domain == "*" || domain != localDomain && !slices.ContainsFunc(domains, func(d string) bool { return alike(domain, d) }) {
			all = append(all, s)
			continue
		}
		for _, d := range domains {
			alias := d + "/" + rest
			if ends(d, domain) {
				alias = s
			}
			if !slices.Contains(all, alias) {
				all = append(all, alias)
			}
		}
	}
	return all
}

// aliasDomains does it for trust domains, which have to be those of the mesh as
// they are.
func aliasDomains(domains, list []string) []string {
	var all []string
	for _, s := range list {
		if slices.Contains(domains, s) {
			all = append(all, domains...)
		} else {
			all = append(all, s)
		}
	}
	return all
}

// alike reports whether a domain of a pattern is d, or has a star that covers it.
func alike(domain, d string) bool {
	prefix, ok := strings.CutSuffix(domain, "*")
	return domain == d || ok && strings.HasPrefix(d, prefix) || ends(d, domain)
}

// ends reports whether a domain of a pattern has a star in front that covers d.
func ends(d, domain string) bool {
	suffix, ok := strings.CutPrefix(domain, "*")
	return ok && strings.HasSuffix(d, suffix)
}
