package gatewayapi

import (
	"fmt"
	"hash/fnv"
	"strings"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"fairway.dev/routing"
)

// checkSession reports whether the sessionPersistence of a rule can be done.
func (b *ruleBuilder) checkSession(field string, s *gatewayv1.SessionPersistence) bool {
	if s == nil {
		return true
	}
	before := len(b.flaws)
	checkSession(s, func(at, format string, args ...any) { b.unsupported(field+"."+at, format, args...) })
	return len(b.flaws) == before
}

// checkSession tells what of a sessionPersistence cannot be done.
func checkSession(s *gatewayv1.SessionPersistence, wrong complain) {
	if s.SessionName != nil && !isToken(*s.SessionName) {
		wrong("sessionName", "session name %q: want a token", *s.SessionName)
	}
	switch kind := or(s.Type, gatewayv1.CookieBasedSessionPersistence); kind {
	case gatewayv1.CookieBasedSessionPersistence, gatewayv1.HeaderBasedSessionPersistence:
	default:
		wrong("type", "type %s: want Cookie or Header", kind)
	}
	if s.AbsoluteTimeout != nil {
		if _, err := parseDuration(*s.AbsoluteTimeout); err != nil {
			wrong("absoluteTimeout", "%v", err)
		}
	}
	if s.CookieConfig != nil {
		switch life := or(s.CookieConfig.LifetimeType, gatewayv1.SessionCookieLifetimeType); {
		case life == gatewayv1.PermanentCookieLifetimeType && s.AbsoluteTimeout == nil:
			wrong("cookieConfig.lifetimeType", "lifetimeType Permanent: want an absoluteTimeout")
		case life != gatewayv1.PermanentCookieLifetimeType && life != gatewayv1.SessionCookieLifetimeType:
			wrong("cookieConfig.lifetimeType", "lifetimeType %s: want Session or Permanent", life)
		}
	}
}

// sessionFor translates the sessionPersistence of a rule that sends to
// backends: its own, or that which a policy asks for on one of its Services.
// Both have been checked.
func (b *ruleBuilder) sessionFor(rule *routing.Rule, own *gatewayv1.SessionPersistence) *routing.Session {
	s := own
	if s == nil {
		s = b.session
	}
	if s == nil || len(rule.Action.Backends) == 0 {
		return nil
	}
	out := &routing.Session{
		Name:   or(s.SessionName, ""),
		Header: or(s.Type, gatewayv1.CookieBasedSessionPersistence) == gatewayv1.HeaderBasedSessionPersistence,
	}
	switch {
	case out.Name == "":
		out.Name = "fairway-session-" + b.mark(rule.Name)
	case own == nil && !out.Header:
		// "Route rules referencing the same service MUST NOT share persistent
		// sessions (i.e. the same cookie)" (GEP-1619).
		out.Name += "-" + b.mark(rule.Name)
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

// mark tells a rule from all others, whose sessions are not its own. It stays
// as it is while other rules come and go, if the rule has a name.
func (b *ruleBuilder) mark(rule string) string {
	if rule == "" {
		rule = itoa(b.index)
	}
	h := fnv.New64a()
	fmt.Fprintf(h, "%s/%s/%s/%s", b.kind, b.r.ID.NS, b.r.ID.Name, rule)
	return fmt.Sprintf("%016x", h.Sum64())
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
