package gatewayapi

import (
	"fmt"
	"hash/fnv"
	"strings"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"fairway.dev/routing"
)

// checkSession reports whether a sessionPersistence can be done.
func (b *ruleBuilder) checkSession(field string, s *gatewayv1.SessionPersistence) bool {
	if s == nil {
		return true
	}
	before := len(b.flaws)
	if s.SessionName != nil && !isToken(*s.SessionName) {
		b.unsupported(field+".sessionName", "session name %q: want a token", *s.SessionName)
	}
	switch kind := or(s.Type, gatewayv1.CookieBasedSessionPersistence); kind {
	case gatewayv1.CookieBasedSessionPersistence, gatewayv1.HeaderBasedSessionPersistence:
	default:
		b.unsupported(field+".type", "type %s: want Cookie or Header", kind)
	}
	if s.AbsoluteTimeout != nil {
		if _, err := parseDuration(*s.AbsoluteTimeout); err != nil {
			b.unsupported(field+".absoluteTimeout", "%v", err)
		}
	}
	if s.CookieConfig != nil {
		switch life := or(s.CookieConfig.LifetimeType, gatewayv1.SessionCookieLifetimeType); {
		case life == gatewayv1.PermanentCookieLifetimeType && s.AbsoluteTimeout == nil:
			b.unsupported(field+".cookieConfig.lifetimeType", "lifetimeType Permanent: want an absoluteTimeout")
		case life != gatewayv1.PermanentCookieLifetimeType && life != gatewayv1.SessionCookieLifetimeType:
			b.unsupported(field+".cookieConfig.lifetimeType", "lifetimeType %s: want Session or Permanent", life)
		}
	}
	return len(b.flaws) == before
}

// sessionFor translates a sessionPersistence that has been checked, for a rule
// that sends to backends.
func (b *ruleBuilder) sessionFor(rule *routing.Rule, s *gatewayv1.SessionPersistence) *routing.Session {
	if s == nil || len(rule.Action.Backends) == 0 {
		return nil
	}
	out := &routing.Session{
		Name:   or(s.SessionName, ""),
		Header: or(s.Type, gatewayv1.CookieBasedSessionPersistence) == gatewayv1.HeaderBasedSessionPersistence,
	}
	if out.Name == "" {
		out.Name = b.sessionName(rule.Name)
	}
	if s.AbsoluteTimeout != nil {
		d, err := parseDuration(*s.AbsoluteTimeout)
		if err != nil {
			panic("bug: a session that was not checked")
		}
		out.Absolute = d
	}
	if !out.Header {
		out.Path = sharedPath(rule.Matches)
		out.Permanent = s.CookieConfig != nil &&
			or(s.CookieConfig.LifetimeType, gatewayv1.SessionCookieLifetimeType) == gatewayv1.PermanentCookieLifetimeType
	}
	return out
}

// sessionName makes a name where the author gave none. It stays as it is while
// other rules come and go if the rule has a name, and never is that of another
// rule, whose endpoints would not be this one's.
func (b *ruleBuilder) sessionName(rule string) string {
	if rule == "" {
		rule = itoa(b.index)
	}
	h := fnv.New64a()
	fmt.Fprintf(h, "%s/%s/%s/%s", b.r.id.part, b.r.id.ns, b.r.id.name, rule)
	return fmt.Sprintf("fairway-session-%016x", h.Sum64())
}

// sharedPath returns the path that all requests of a rule lie under, for the
// Path of its cookie (GEP-1619): "/shop" for "/shop/cart" and "/shop/search".
func sharedPath(matches []routing.Match) string {
	var shared []string
	for i, m := range matches {
		if m.Path.Kind == routing.PathRegex {
			return "/"
		}
		segments := strings.Split(strings.Trim(m.Path.Value, "/"), "/")
		if i == 0 {
			shared = segments
			continue
		}
		n := 0
		for n < min(len(shared), len(segments)) && shared[n] == segments[n] {
			n++
		}
		shared = shared[:n]
	}
	return "/" + strings.Join(shared, "/")
}
