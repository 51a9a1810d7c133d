package analysis

import (
	"regexp"
	"strconv"
	"strings"

	security "istio.io/api/security/v1beta1"
)

// dryRun is the annotation that has a policy only tell what it would do.
const dryRun = "istio.io/dry-run"

func (f *findings) authorizationPolicy(p *security.AuthorizationPolicy, annotations map[string]string) {
	if text, ok := annotations[dryRun]; ok {
		f.dryRun(text, p.Action)
	}
	f.targets(p)
	custom := p.Action == security.AuthorizationPolicy_CUSTOM
	switch {
	case security.AuthorizationPolicy_Action_name[int32(p.Action)] == "":
		f.refuse("spec.action", InvalidValue, "write ALLOW, DENY, AUDIT or CUSTOM", "action %d: want ALLOW, DENY, AUDIT or CUSTOM", p.Action)
	case custom && p.GetProvider().GetName() == "":
		f.refuse("spec.provider.name", MissingField, "name one of MeshConfig.extensionProviders", "CUSTOM without a provider")
	case !custom && p.GetProvider() != nil:
		f.refuse("spec.provider", ConflictingFields, "take it out, or write action CUSTOM", "%v asks no provider", p.Action)
	}
	if len(p.Rules) == 0 && p.Action != security.AuthorizationPolicy_ALLOW {
		f.refuse("spec.rules", MissingField, "add a rule; {} holds for every request", "%v without rules holds for nothing", p.Action)
	}
	for i, r := range p.Rules {
		f.authorizationRule(at("spec.rules", i), r, p.Action)
	}
}

// dryRun checks the annotation.
func (f *findings) dryRun(text string, action security.AuthorizationPolicy_Action) {
	on, err := strconv.ParseBool(text)
	field := "metadata.annotations[" + dryRun + "]"
	switch {
	case err != nil:
		f.warn(field, InvalidValue, "write true or false", "%q: want true or false: the policy is enforced", text)
	case on && action != security.AuthorizationPolicy_ALLOW && action != security.AuthorizationPolicy_DENY:
		f.warn(field, IneffectiveField, "take it out", "dry-run is for ALLOW and DENY: it has no effect on %v", action)
	}
}

func (f *findings) authorizationRule(field string, r *security.Rule, action security.AuthorizationPolicy_Action) {
	var connection, from, to bool // what is known of connections, too
	for i, s := range r.GetFrom() {
		from = true
		f.source(at(field+".from", i)+".source", s.GetSource(), action)
		s := s.GetSource()
		connection = connection || len(s.GetPrincipals())+len(s.GetNotPrincipals())+len(s.GetNamespaces())+len(s.GetNotNamespaces())+
			len(s.GetServiceAccounts())+len(s.GetNotServiceAccounts())+len(s.GetTrustDomains())+len(s.GetNotTrustDomains())+
			len(s.GetIpBlocks())+len(s.GetNotIpBlocks())+len(s.GetRemoteIpBlocks())+len(s.GetNotRemoteIpBlocks()) > 0
	}
	ports := false
	for i, o := range r.GetTo() {
		to = true
		f.operation(at(field+".to", i)+".operation", o.GetOperation())
		ports = ports || len(o.GetOperation().GetPorts())+len(o.GetOperation().GetNotPorts()) > 0
	}
	for i, c := range r.GetWhen() {
		f.condition(at(field+".when", i), c, action)
	}
	if action == security.AuthorizationPolicy_DENY && (from && !to && !connection || to && !ports) {
		f.warn(field, DeniesStreams, "name ports in to.operation.ports",
			"only a request has what it asks for: it denies all connections of which no requests are seen")
	}
}

// A wish is a field of a rule that lists patterns.
type wish struct {
	name  string
	list  []string
	check func(f *findings, field, value string)
}

// source checks who asks.
func (f *findings) source(field string, s *security.Source, action security.AuthorizationPolicy_Action) {
	wishes := []wish{
		{"principals", s.GetPrincipals(), (*findings).pattern}, {"notPrincipals", s.GetNotPrincipals(), (*findings).pattern},
		{"requestPrincipals", s.GetRequestPrincipals(), (*findings).pattern}, {"notRequestPrincipals", s.GetNotRequestPrincipals(), (*findings).pattern},
		{"namespaces", s.GetNamespaces(), (*findings).anything}, {"notNamespaces", s.GetNotNamespaces(), (*findings).anything},
		{"serviceAccounts", s.GetServiceAccounts(), (*findings).serviceAccount}, {"notServiceAccounts", s.GetNotServiceAccounts(), (*findings).serviceAccount},
		{"trustDomains", s.GetTrustDomains(), (*findings).trustDomain}, {"notTrustDomains", s.GetNotTrustDomains(), (*findings).trustDomain},
		{"ipBlocks", s.GetIpBlocks(), (*findings).subnet}, {"notIpBlocks", s.GetNotIpBlocks(), (*findings).subnet},
		{"remoteIpBlocks", s.GetRemoteIpBlocks(), (*findings).subnet}, {"notRemoteIpBlocks", s.GetNotRemoteIpBlocks(), (*findings).subnet},
	}
	if action == security.AuthorizationPolicy_CUSTOM {
		for _, w := range wishes[:10] { // all but addresses
			if len(w.list) > 0 {
				f.refuse(field+"."+w.name, UnsupportedField, "match addresses, operations or headers", "a provider is asked before %s are known", w.name)
			}
		}
	}
	f.wishes(field, wishes)
	if len(s.GetServiceAccounts())+len(s.GetNotServiceAccounts()) > 0 &&
		len(s.GetPrincipals())+len(s.GetNotPrincipals())+len(s.GetNamespaces())+len(s.GetNotNamespaces()) > 0 {
		f.refuse(field, ConflictingFields, "keep one of them", "serviceAccounts beside principals or namespaces")
	}
}

// wishes checks lists of patterns, of which one at least has something in it.
func (f *findings) wishes(field string, wishes []wish) {
	some := false
	for _, w := range wishes {
		for i, v := range w.list {
			some = true
			if at := at(field+"."+w.name, i); v == "" {
				f.refuse(at, MissingField, "write a value, or take it out", "an empty value")
			} else {
				w.check(f, at, v)
			}
		}
	}
	if !some {
		f.refuse(field, MissingField, "name something, or take the whole list out", "nothing in it")
	}
}

// operation checks what is asked for.
func (f *findings) operation(field string, o *security.Operation) {
	f.wishes(field, []wish{
		{"hosts", o.GetHosts(), (*findings).pattern}, {"notHosts", o.GetNotHosts(), (*findings).pattern},
		{"ports", o.GetPorts(), (*findings).portText}, {"notPorts", o.GetNotPorts(), (*findings).portText},
		{"methods", o.GetMethods(), (*findings).pattern}, {"notMethods", o.GetNotMethods(), (*findings).pattern},
		{"paths", o.GetPaths(), (*findings).pathPattern}, {"notPaths", o.GetNotPaths(), (*findings).pathPattern},
	})
}

// pattern checks one that is exact, a prefix, a suffix, or "*".
func (f *findings) pattern(field, v string) {
	if inner := strings.TrimSuffix(strings.TrimPrefix(v, "*"), "*"); strings.Contains(inner, "*") || len(v) > 1 && strings.HasPrefix(v, "*") && strings.HasSuffix(v, "*") {
		f.warn(field, InvalidMatch, "write one star, first or last", "%q: a star counts once, first or last: the others are stars", v)
	}
}

// anything is for patterns of namespaces, where stars may be anywhere.
func (f *findings) anything(string, string) {}

func (f *findings) trustDomain(field, v string) {
	if strings.Contains(v, "/") {
		f.refuse(field, InvalidValue, "write the trust domain alone, like cluster.local", "%q: a trust domain has no '/'", v)
	}
	if i := strings.IndexByte(v, '*'); i > 0 && i < len(v)-1 || strings.Count(v, "*") > 1 {
		f.refuse(field, InvalidMatch, "write one star, first or last", "%q: want one star at most, first or last", v)
	}
}

// maxAccount is the longest name of a service account, with its namespace.
const maxAccount = 320

func (f *findings) serviceAccount(field, v string) {
	ns, name, both := strings.Cut(v, "/")
	if both && (ns == "" || name == "") || strings.Contains(name, "/") || strings.Contains(v, "*") || len(v) > maxAccount {
		f.refuse(field, InvalidValue, "write NAME, or NAMESPACE/NAME", "%q: want a service account, or namespace/account, without a star", v)
	}
}

func (f *findings) portText(field, v string) {
	if n, err := strconv.ParseUint(v, 10, 16); err != nil || n == 0 {
		f.refuse(field, InvalidPort, "write a number from 1 to 65535", "port %q: want 1-65535", v)
	}
}

// segment is what a path with templates has between its slashes (RFC 3986 appendix A).
var segment = regexp.MustCompile(`^[a-zA-Z0-9\-._~%!$&'()+,;:@=]+$`)

// pathPattern checks a path: "{*}" is one segment of it, "{**}", which comes
// last, any number.
func (f *findings) pathPattern(field, v string) {
	templated := strings.Contains(v, "{*}") || strings.Contains(v, "{**}")
	if !templated && !strings.ContainsAny(v, "{}") {
		f.pattern(field, v)
		return
	}
	const fix = "write {*} for one segment, and {**} for any number at the end"
	ended := false
	for s := range strings.SplitSeq(strings.Trim(v, "/"), "/") {
		switch {
		case ended && (s == "{*}" || s == "{**}"):
			f.refuse(field, InvalidMatch, fix, "%q: {**} comes last", v)
			return
		case s == "{*}":
		case s == "{**}":
			ended = true
		case strings.ContainsAny(s, "{}"), templated && !segment.MatchString(s):
			f.refuse(field, InvalidMatch, fix, "%q: the segment %q is neither text nor a template", v, s)
			return
		}
	}
}

// condition checks one of when.
func (f *findings) condition(field string, c *security.Condition, action security.AuthorizationPolicy_Action) {
	key := c.GetKey()
	check, known := conditionChecks(key)
	switch {
	case key == "":
		f.refuse(field+".key", MissingField, "name an attribute", "no key")
		return
	case strings.HasPrefix(key, "experimental.envoy.filters."):
		f.refuse(field+".key", UnsupportedField, "match what the request itself has", "%s: Envoy's filters do not run here", key)
		return
	case !known:
		f.refuse(field+".key", UnknownAttribute, "write one that Istio documents, like request.headers[x-user]", "%q: not an attribute", key)
		return
	case action == security.AuthorizationPolicy_CUSTOM && (strings.HasPrefix(key, "request.auth.") || strings.HasPrefix(key, "source.") && key != "source.ip"):
		f.refuse(field+".key", UnsupportedField, "match addresses, operations or headers", "a provider is asked before %s is known", key)
	}
	f.wishes(field, []wish{{"values", c.GetValues(), check}, {"notValues", c.GetNotValues(), check}})
}

// claimKey is a claim, and those below it: "request.auth.claims[realm][roles]".
var claimKey = regexp.MustCompile(`^request\.auth\.claims(\[[^\[\]]+\])+$`)

// headerKey is a field of the request: "request.headers[x-user]".
var headerKey = regexp.MustCompile("^request\\.headers\\[:?[!#$%&'*+.^_`|~0-9A-Za-z-]+\\]$")

// conditionChecks returns how values of an attribute are checked, and whether
// there is such an attribute.
func conditionChecks(key string) (check func(f *findings, field, value string), known bool) {
	switch key {
	case "source.ip", "remote.ip", "destination.ip":
		return (*findings).subnet, true
	case "source.namespace":
		return (*findings).anything, true
	case "source.serviceAccount":
		return (*findings).serviceAccount, true
	case "source.trustDomain":
		return (*findings).trustDomain, true
	case "destination.port":
		return (*findings).portText, true
	case "source.principal", "request.auth.principal", "request.auth.audiences", "request.auth.presenter", "connection.sni":
		return (*findings).pattern, true
	}
	return (*findings).pattern, claimKey.MatchString(key) || headerKey.MatchString(key)
}
