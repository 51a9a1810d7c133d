package istio

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"

	"fairway.dev/routing"
	"fairway.dev/routing/dialect"
)

// httpSources are the rules of http, with those of delegates in place of the
// rules that name them.
func (b *virtualServiceBuilder) httpSources() []httpSource {
	var list []httpSource
	for i, r := range b.o.Spec.Http {
		if r == nil {
			continue
		}
		at := b.origin("spec.http[" + itoa(i) + "]")
		s := httpSource{at: at, name: r.Name, matches: matchSources(at, r.Match), route: r}
		if r.Delegate != nil {
			list = append(list, b.delegated(&s)...)
		} else {
			list = append(list, s)
		}
	}
	return list
}

// delegated returns the rules of the delegate that a rule names. Without one
// nothing takes the rule's place: what it would take is not known.
func (b *virtualServiceBuilder) delegated(root *httpSource) []httpSource {
	d := root.route.Delegate
	key := routing.ObjectKey{Kind: KindVirtualService, Namespace: cmp.Or(d.Namespace, b.key.Namespace), Name: d.Name}
	b.out.Gifts = append(b.out.Gifts, dialect.Gift{To: serviceID(rootsOf, key), Item: b.key})
	at := root.at.At(root.at.Field + ".delegate")
	o := object[networkingv1.VirtualService](b.r, KindVirtualService, key.Namespace, key.Name)
	switch {
	case o == nil:
		b.remarks.wrong(at, reasonDelegateNotFound, "create it, or name another", "%s: not found", key)
		return nil
	case len(o.Spec.Hosts) > 0:
		b.remarks.wrong(at, reasonInvalidDelegate, "take its hosts out, or route to them here", "%s has hosts: want a delegate, which has none", key)
		return nil
	case !b.exported(o, b.key.Namespace):
		b.remarks.wrong(at, reasonDelegateNotExported, "add the namespace to its exportTo", "%s is not exported to namespace %s", key, b.key.Namespace)
		return nil
	}
	b.uses = append(b.uses, key)
	if root.route.Redirect != nil || len(root.route.Route) > 0 {
		b.remarks.warn(root.at, reasonInvalidDelegate, "keep delegate alone", "redirect and route have no effect beside delegate")
	}
	var list []httpSource
	for i, r := range o.Spec.Http {
		if r != nil {
			list = append(list, b.join(root, key.Origin().At("spec.http["+itoa(i)+"]"), r)...)
		}
	}
	return list
}

// join makes one rule of a root's and a delegate's, which stands at an origin;
// none where they cannot be joined.
func (b *virtualServiceBuilder) join(root *httpSource, at routing.Origin, r *networking.HTTPRoute) []httpSource {
	if r.Delegate != nil {
		b.remarks.wrong(at.At(at.Field+".delegate"), reasonInvalidDelegate, "name that one in the root", "a delegate of a delegate")
		return nil
	}
	s := httpSource{at: at, name: joinNames(root.name, r.Name), route: r, root: root.route, rootAt: root.at}
	own := matchSources(at, r.Match)
	switch {
	case len(root.matches) == 0:
		s.matches = own
	case len(own) == 0:
		s.matches = root.matches
	default:
		for i := range own {
			joined := joinMatch(root.matches, &own[i])
			if joined == nil {
				b.remarks.wrong(own[i].at, reasonDelegateConflict, "match no more than the root's rule does",
					"no match of %s covers it: the rule is left out", root.at)
				return nil
			}
			s.matches = append(s.matches, joined...)
		}
	}
	return []httpSource{s}
}

func joinNames(root, own string) string {
	if root == "" || own == "" {
		return root + own
	}
	return root + "-" + own
}

// joinMatch joins a delegate's match with each of a root's that covers it.
func joinMatch(roots []matchSource, own *matchSource) []matchSource {
	var list []matchSource
	for i := range roots {
		if r := &roots[i]; r.admits(own) {
			list = append(list, r.with(own))
		}
	}
	return list
}

// admits reports whether a root's match covers what a delegate's asks for.
func (m *matchSource) admits(own *matchSource) bool {
	return textAdmits(m.uri, own.uri) && textAdmits(m.scheme, own.scheme) &&
		textAdmits(m.method, own.method) && textAdmits(m.authority, own.authority) &&
		textsAdmit(m.headers, own.headers) && textsAdmit(m.without, own.without) && textsAdmit(m.query, own.query) &&
		m.ignoreCase == own.ignoreCase &&
		(m.port == 0 || own.port == 0 || m.port == own.port) &&
		(m.sourceNamespace == "" || m.sourceNamespace == own.sourceNamespace) &&
		labelsAdmit(m.sourceLabels, own.sourceLabels) &&
		(len(m.gateways) == 0 || !slices.ContainsFunc(own.gateways, func(g string) bool { return !slices.Contains(m.gateways, g) }))
}

// textAdmits reports whether what a root wants of a text leaves a delegate's
// wish open: where both want something, an expression admits nothing else. {}
// of a delegate is a wish too: it would stand in place of the root's.
func textAdmits(root, own *networking.StringMatch) bool {
	if own == nil || root.GetMatchType() == nil {
		return true
	}
	text := own.GetExact() + own.GetPrefix()
	_, ownExact := own.MatchType.(*networking.StringMatch_Exact)
	_, ownPrefix := own.MatchType.(*networking.StringMatch_Prefix)
	switch r := root.MatchType.(type) {
	case *networking.StringMatch_Exact:
		return ownExact && text == r.Exact
	case *networking.StringMatch_Prefix:
		return (ownExact || ownPrefix) && strings.HasPrefix(text, r.Prefix)
	}
	return false
}

func textsAdmit(root, own map[string]*networking.StringMatch) bool {
	for name, m := range own {
		if !textAdmits(root[name], m) {
			return false
		}
	}
	return true
}

func labelsAdmit(root, own map[string]string) bool {
	for name, v := range own {
		if r, ok := root[name]; ok && r != v {
			return false
		}
	}
	return true
}

// with is a delegate's match with what it leaves open as the root has it.
func (m *matchSource) with(own *matchSource) matchSource {
	out := *own
	out.name = joinNames(m.name, own.name)
	out.uri = cmp.Or(own.uri, m.uri)
	out.scheme = cmp.Or(own.scheme, m.scheme)
	out.method = cmp.Or(own.method, m.method)
	out.authority = cmp.Or(own.authority, m.authority)
	out.headers = union(m.headers, own.headers)
	out.without = union(m.without, own.without)
	out.query = union(m.query, own.query)
	out.port = cmp.Or(own.port, m.port)
	out.sourceLabels = union(m.sourceLabels, own.sourceLabels)
	out.sourceNamespace = cmp.Or(own.sourceNamespace, m.sourceNamespace)
	out.statPrefix = cmp.Or(own.statPrefix, m.statPrefix)
	if len(own.gateways) == 0 {
		out.gateways = m.gateways
	}
	return out
}

// union has the entries of both, the second's where both have one.
func union[V any](first, second map[string]V) map[string]V {
	if len(first) == 0 {
		return second
	}
	out := maps.Clone(first)
	maps.Copy(out, second)
	return out
}
