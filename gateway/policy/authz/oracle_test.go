package authz

import (
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	"fairway.dev/routing"
)

// The oracle reads a policy word by word, as Istio's documentation and the
// configuration that it makes for Envoy have it, with a regular expression for
// each pattern. It shares no code with the package but Attributes and Decision.

// full reports whether an expression matches all of s.
func full(expr, s string) bool {
	if _, ok := expressions.Load(expr); !ok {
		expressions.Store(expr, regexp.MustCompile(`^(?s:`+expr+`)$`))
	}
	re, _ := expressions.Load(expr)
	return re.(*regexp.Regexp).MatchString(s)
}

var expressions sync.Map

// stringMatch is Istio's StringMatcher as an expression.
func stringMatch(p string) string {
	switch {
	case p == "*":
		return ".+"
	case strings.HasPrefix(p, "*"):
		return ".*" + regexp.QuoteMeta(p[1:])
	case strings.HasSuffix(p, "*"):
		return regexp.QuoteMeta(p[:len(p)-1]) + ".*"
	}
	return regexp.QuoteMeta(p)
}

// An oracle knows a policy's namespace and the trust domains of the mesh.
type oracle struct {
	namespace string
	domains   []string
}

// principal follows the aliases of SecurityPolicy's trust domains: "td/ns/n/sa/s"
// for each of them.
func (o oracle) principal(p, identity string) bool {
	alternatives := []string{p}
	parts := strings.Split(p, "/")
	if len(parts) == 5 && parts[0] != "*" && len(o.domains) > 0 {
		td := parts[0]
		ours := td == "cluster.local"
		for _, d := range o.domains {
			ours = ours || d == td || full(stringMatch(td), d)
		}
		if ours {
			alternatives = nil
			for _, d := range o.domains {
				if strings.HasPrefix(td, "*") && strings.HasSuffix(d, td[1:]) {
					alternatives = append(alternatives, p)
				} else {
					alternatives = append(alternatives, d+"/"+strings.Join(parts[1:], "/"))
				}
			}
		}
	}
	for _, p := range alternatives {
		if p == "*" && identity != "" || p != "*" && full("spiffe://"+stringMatch(p), identity) {
			return true
		}
	}
	return false
}

func (o oracle) account(p, identity string) bool {
	ns, sa, ok := strings.Cut(p, "/")
	if !ok {
		ns, sa = o.namespace, p
	}
	return full("spiffe://.+/ns/"+regexp.QuoteMeta(ns)+"/(.+/|)sa/"+regexp.QuoteMeta(sa)+"(/.+)?", identity)
}

func (o oracle) domain(p, identity string) bool {
	list := []string{p}
	if slices.Contains(o.domains, p) {
		list = o.domains
	}
	for _, p := range list {
		if p == "*" && strings.HasPrefix(identity, "spiffe://") {
			return true
		}
		expr := strings.ReplaceAll(regexp.QuoteMeta(p), `\*`, "[^/]*")
		if p != "*" && full("spiffe://"+expr+"/.*", identity) {
			return true
		}
	}
	return false
}

func namespaceMatch(p, identity string) bool {
	return full(".*/ns/"+strings.ReplaceAll(regexp.QuoteMeta(p), `\*`, ".*")+"/.*", identity)
}

func block(p string, addr netip.Addr) bool {
	if !strings.Contains(p, "/") {
		return netip.MustParseAddr(p).Unmap() == addr.Unmap()
	}
	return netip.MustParsePrefix(p).Contains(addr.Unmap())
}

var portSuffix = regexp.MustCompile(`:[^:\]]*$`)

func hostMatch(p, authority string) bool {
	port := portSuffix.FindString(authority)
	name := strings.TrimSuffix(strings.TrimSuffix(authority, port), ".")
	if portSuffix.MatchString(p) {
		name += port
		p = strings.Replace(p, ".:", ":", 1)
	} else {
		p = strings.TrimSuffix(p, ".")
	}
	return full("(?i:"+stringMatch(p)+")", name)
}

func pathMatch(p, path string) bool {
	if !strings.Contains(p, "{*}") && !strings.Contains(p, "{**}") {
		return full(stringMatch(p), path)
	}
	expr := strings.ReplaceAll(regexp.QuoteMeta(p), `\{\*\}`, "[^/]+")
	return full(strings.ReplaceAll(expr, `\{\*\*\}`, ".*"), path)
}

// requestPrincipalMatch follows the cases of Istio's documentation of
// requestPrincipals: ISS/SUB, and where a star stands for what.
func requestPrincipalMatch(p string, token routing.ClaimSource) bool {
	if token == nil {
		return false
	}
	iss, sub := token.Claim([]string{"iss"}), token.Claim([]string{"sub"})
	if len(iss) != 1 || len(sub) != 1 {
		return false
	}
	wantIss, wantSub := p, ""
	i := strings.LastIndex(p, "/")
	if i >= 0 {
		wantIss, wantSub = p[:i], p[i+1:]
	}
	quote := regexp.QuoteMeta
	switch {
	case p == "*":
		wantIss, wantSub = ".+", ".+"
	case strings.HasPrefix(p, "*") && i < 0:
		wantIss, wantSub = ".+", stringMatch(p)
	case strings.HasPrefix(p, "*"):
		wantIss, wantSub = stringMatch(wantIss), quote(wantSub)
	case strings.HasSuffix(p, "*") && i < 0:
		wantIss, wantSub = stringMatch(p), ".+"
	case strings.HasSuffix(p, "*"):
		wantIss, wantSub = quote(wantIss), stringMatch(wantSub)
	default:
		wantIss, wantSub = quote(wantIss), quote(wantSub)
	}
	return full(wantIss, iss[0]) && full(wantSub, sub[0])
}

func claimMatch(p string, token routing.ClaimSource, path ...string) bool {
	if token == nil {
		return false
	}
	return slices.ContainsFunc(token.Claim(path), func(v string) bool { return full(stringMatch(p), v) })
}

func headerMatch(p, name string, a *Attributes) bool {
	var value string
	var there bool
	switch name {
	case ":method":
		value, there = a.Request.Method, true
	case ":authority", "host":
		value, there = a.Host, true
	case ":path":
		value, there = a.Request.Path+a.Request.Query, true
	default:
		value, there = a.Request.Fields.Value(strings.ToLower(name))
	}
	return there && (p == "*" || full(stringMatch(p), value))
}

// tri is what a part of a rule says: it may be that it cannot be had of a
// connection.
type tri int

const (
	no tri = iota
	yes
	notHere
)

// list is one "values, notValues" of a rule: one of in where there are any, and
// none of out.
func list(in, out []string, http bool, a *Attributes, match func(string) bool) tri {
	switch {
	case len(in)+len(out) == 0:
		return yes
	case http && a.Request == nil:
		return notHere
	case len(in) > 0 && !slices.ContainsFunc(in, match):
		return no
	case slices.ContainsFunc(out, match):
		return no
	}
	return yes
}

func (o oracle) source(s *routing.AuthorizationSource, a *Attributes) []tri {
	id := a.Peer.Identity
	blocks := func(p []netip.Prefix) (out []string) {
		for _, x := range p {
			out = append(out, x.String())
		}
		return out
	}
	source := func(p string) bool { return block(p, a.Peer.Remote.Addr()) }
	remote := func(p string) bool { return block(p, a.RemoteIP) }
	return []tri{
		list(s.Principals.In, s.Principals.Out, false, a, func(p string) bool { return o.principal(p, id) }),
		list(s.RequestPrincipals.In, s.RequestPrincipals.Out, true, a, func(p string) bool { return requestPrincipalMatch(p, a.Token) }),
		list(s.Namespaces.In, s.Namespaces.Out, false, a, func(p string) bool { return namespaceMatch(p, id) }),
		list(s.ServiceAccounts.In, s.ServiceAccounts.Out, false, a, func(p string) bool { return o.account(p, id) }),
		list(s.TrustDomains.In, s.TrustDomains.Out, false, a, func(p string) bool { return o.domain(p, id) }),
		list(blocks(s.IPBlocks.In), blocks(s.IPBlocks.Out), false, a, source),
		list(blocks(s.RemoteIPBlocks.In), blocks(s.RemoteIPBlocks.Out), false, a, remote),
	}
}

func (o oracle) operation(op *routing.AuthorizationOperation, a *Attributes) []tri {
	texts := func(ports []uint16) (out []string) {
		for _, p := range ports {
			out = append(out, strconv.Itoa(int(p)))
		}
		return out
	}
	return []tri{
		list(op.Hosts.In, op.Hosts.Out, true, a, func(p string) bool { return hostMatch(p, a.Host) }),
		list(op.Methods.In, op.Methods.Out, true, a, func(p string) bool { return full(stringMatch(p), a.Request.Method) }),
		list(op.Paths.In, op.Paths.Out, true, a, func(p string) bool { return pathMatch(p, a.Path) }),
		list(texts(op.Ports.In), texts(op.Ports.Out), false, a, func(p string) bool { return p == strconv.Itoa(int(a.Port)) }),
	}
}

func (o oracle) condition(w *routing.AuthorizationCondition, a *Attributes) tri {
	id, sni := a.Peer.Identity, ""
	if a.Peer.TLS != nil {
		sni = a.Peer.TLS.ServerName
	}
	http := false
	var match func(string) bool
	name := func() string { return w.Key[strings.Index(w.Key, "[")+1 : len(w.Key)-1] }
	switch {
	case w.Key == "source.ip":
		match = func(p string) bool { return block(p, a.Peer.Remote.Addr()) }
	case w.Key == "remote.ip":
		match = func(p string) bool { return block(p, a.RemoteIP) }
	case w.Key == "source.namespace":
		match = func(p string) bool { return namespaceMatch(p, id) }
	case w.Key == "source.serviceAccount":
		match = func(p string) bool { return o.account(p, id) }
	case w.Key == "source.trustDomain":
		match = func(p string) bool { return o.domain(p, id) }
	case w.Key == "source.principal":
		match = func(p string) bool { return o.principal(p, id) }
	case w.Key == "request.auth.principal":
		http, match = true, func(p string) bool { return requestPrincipalMatch(p, a.Token) }
	case w.Key == "request.auth.audiences":
		http, match = true, func(p string) bool { return claimMatch(p, a.Token, "aud") }
	case w.Key == "request.auth.presenter":
		http, match = true, func(p string) bool { return claimMatch(p, a.Token, "azp") }
	case strings.HasPrefix(w.Key, "request.auth.claims"):
		http, match = true, func(p string) bool { return claimMatch(p, a.Token, strings.Split(name(), "][")...) }
	case strings.HasPrefix(w.Key, "request.headers"):
		http, match = true, func(p string) bool { return headerMatch(p, name(), a) }
	case w.Key == "destination.ip":
		match = func(p string) bool { return block(p, a.Destination) }
	case w.Key == "destination.port":
		match = func(p string) bool { return p == strconv.Itoa(int(a.Port)) }
	case w.Key == "connection.sni":
		match = func(p string) bool { return full("(?i:"+stringMatch(p)+")", sni) }
	default:
		panic("the oracle does not know " + w.Key)
	}
	return list(w.Values.In, w.Values.Out, http, a, match)
}

// rule: from any, to any, when all. What is of HTTP on a connection leaves an
// ALLOW policy's rule out, and is left out of another's.
func (o oracle) rule(r *routing.AuthorizationRule, action routing.AuthorizationAction, a *Attributes) bool {
	var froms, tos [][]tri
	for i := range r.From {
		froms = append(froms, o.source(&r.From[i], a))
	}
	for i := range r.To {
		tos = append(tos, o.operation(&r.To[i], a))
	}
	var when []tri
	for i := range r.When {
		when = append(when, o.condition(&r.When[i], a))
	}
	all := slices.Concat(slices.Concat(froms...), slices.Concat(tos...), when)
	if action == routing.Allow && slices.Contains(all, notHere) {
		return false
	}
	holds := func(list []tri) bool { return !slices.Contains(list, no) }
	return (len(froms) == 0 || slices.ContainsFunc(froms, holds)) && (len(tos) == 0 || slices.ContainsFunc(tos, holds)) && holds(when)
}

func (o oracle) policy(p *routing.Policy, a *Attributes) bool {
	o.namespace = p.Origin.Namespace
	return slices.ContainsFunc(p.Authorization.Rules, func(r routing.AuthorizationRule) bool { return o.rule(&r, p.Authorization.Action, a) })
}

// decide is the order of actions: what is broken, CUSTOM, DENY, ALLOW. It returns
// whether a client may pass, by whom it is refused, and who is asked.
func (o oracle) decide(policies []*routing.Policy, a *Attributes) (allowed bool, by routing.PolicyName, asked []routing.PolicyName) {
	policies = slices.SortedFunc(slices.Values(policies), func(a, b *routing.Policy) int { return strings.Compare(string(a.Name), string(b.Name)) })
	of := func(action routing.AuthorizationAction) (list []*routing.Policy) {
		for _, p := range policies {
			if p.Authorization.Action == action && !p.Authorization.DryRun {
				list = append(list, p)
			}
		}
		return list
	}
	for _, p := range policies {
		if au := p.Authorization; au.Broken != "" && !au.DryRun && au.Action != routing.Audit {
			return false, p.Name, nil
		}
	}
	for _, p := range of(routing.Custom) {
		if p.Authorization.External != nil && o.policy(p, a) {
			asked = append(asked, p.Name)
		}
	}
	for _, p := range of(routing.Custom) {
		if p.Authorization.External == nil && o.policy(p, a) {
			return false, p.Name, asked
		}
	}
	for _, p := range of(routing.Deny) {
		if o.policy(p, a) {
			return false, p.Name, asked
		}
	}
	allow := of(routing.Allow)
	for _, p := range allow {
		if o.policy(p, a) {
			return true, "", asked
		}
	}
	return len(allow) == 0, "", asked
}
