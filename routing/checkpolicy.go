package routing

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// checkPolicy says what is wrong with a policy by itself. It stays in force, as
// its parts say what that means.
func checkPolicy(p *Policy) error {
	if p.Authorization == nil && p.RateLimit == nil {
		return errors.New("neither authorization nor a rate limit: want one of them")
	}
	return cmp.Or(p.Authorization.Check(), p.RateLimit.Check())
}

// Check says why a cannot be had as it is written. Then it refuses all.
func (a *Authorization) Check() error {
	if a == nil {
		return nil
	}
	switch a.Action {
	case Allow, Deny, Audit, Custom:
	default:
		return fmt.Errorf("action %q: want ALLOW, DENY, AUDIT or CUSTOM", a.Action)
	}
	if a.Broken != "" {
		return errors.New(a.Broken)
	}
	if a.External != nil && a.Action != Custom {
		return fmt.Errorf("action %s with somebody to ask: want CUSTOM", a.Action)
	}
	for i := range a.Rules {
		if err := a.Rules[i].check(); err != nil {
			return fmt.Errorf("rules[%d]: %w", i, err)
		}
	}
	return nil
}

func (r *AuthorizationRule) check() error {
	for i := range r.From {
		if err := r.From[i].check(); err != nil {
			return fmt.Errorf("from[%d]: %w", i, err)
		}
	}
	for i := range r.To {
		if err := r.To[i].check(); err != nil {
			return fmt.Errorf("to[%d]: %w", i, err)
		}
	}
	for i := range r.When {
		if err := r.When[i].check(); err != nil {
			return fmt.Errorf("when[%d]: %w", i, err)
		}
	}
	return nil
}

func (s *AuthorizationSource) check() error {
	return cmp.Or(
		wrap("principals", s.Principals.check(anyText)),
		wrap("request principals", s.RequestPrincipals.check(anyText)),
		wrap("namespaces", s.Namespaces.check(anyText)),
		wrap("service accounts", s.ServiceAccounts.check(checkAccount)),
		wrap("trust domains", s.TrustDomains.check(checkTrustDomain)),
		wrap("IP blocks", s.IPBlocks.check()),
		wrap("remote IP blocks", s.RemoteIPBlocks.check()),
	)
}

func (o *AuthorizationOperation) check() error {
	return cmp.Or(
		wrap("hosts", o.Hosts.check(anyText)),
		wrap("methods", o.Methods.check(anyText)),
		wrap("paths", o.Paths.check(checkPathPattern)),
	)
}

func (c *AuthorizationCondition) check() error {
	attribute, _, err := SplitCondition(c.Key)
	if err != nil {
		return err
	}
	if len(c.Values.In)+len(c.Values.Out) == 0 {
		return fmt.Errorf("key %q without values", c.Key)
	}
	of := anyText
	switch attribute {
	case "source.ip", "remote.ip", "destination.ip":
		of = checkBlock
	case "destination.port":
		of = checkPort
	case "source.serviceAccount":
		of = checkAccount
	case "source.trustDomain":
		of = checkTrustDomain
	}
	return wrap(c.Key, c.Values.check(of))
}

// check wants patterns that are not empty, and of each what of wants.
func (p *Patterns) check(of func(string) error) error {
	for _, list := range [][]string{p.In, p.Out} {
		for _, pattern := range list {
			if pattern == "" {
				return errors.New("an empty pattern")
			}
			if err := of(pattern); err != nil {
				return err
			}
		}
	}
	return nil
}

func (p *Prefixes) check() error {
	for _, list := range [][]netip.Prefix{p.In, p.Out} {
		for _, prefix := range list {
			if !prefix.IsValid() {
				return errors.New("an empty block: want an address and how many bits of it count")
			}
		}
	}
	return nil
}

func anyText(string) error { return nil }

func checkAccount(s string) error {
	namespace, name, both := strings.Cut(s, "/")
	if strings.Contains(s, "*") || namespace == "" || both && (name == "" || strings.Contains(name, "/")) {
		return fmt.Errorf(`service account %q: want NAME or NAMESPACE/NAME, without "*"`, s)
	}
	return nil
}

func checkTrustDomain(s string) error {
	middle := s[min(1, len(s)):max(len(s)-1, min(1, len(s)))]
	if strings.Contains(s, "/") || strings.Count(s, "*") > 1 || strings.Contains(middle, "*") {
		return fmt.Errorf(`trust domain %q: want no "/" in it, and one "*" at most, in front or at the end`, s)
	}
	return nil
}

func checkBlock(s string) error {
	_, err := ParseBlock(s)
	return err
}

func checkPort(s string) error {
	if _, err := strconv.ParseUint(s, 10, 16); err != nil {
		return fmt.Errorf("port %q: want 0-65535", s)
	}
	return nil
}

// The operators of path templates.
const (
	OneSegment  = "{*}"  // a segment that is not empty
	AnySegments = "{**}" // anything, also nothing
)

// checkPathPattern wants of templates what Istio does: operators are whole
// segments, none comes after "{**}", and there is no other "*" or brace.
func checkPathPattern(s string) error {
	if !strings.Contains(s, OneSegment) && !strings.Contains(s, AnySegments) {
		return nil
	}
	if s[0] != '/' && !strings.HasPrefix(s, AnySegments) {
		return fmt.Errorf("path template %q: want \"/\" in front", s)
	}
	last := false
	for segment := range strings.SplitSeq(s, "/") {
		operator := segment == OneSegment || segment == AnySegments
		switch {
		case operator && last:
			return fmt.Errorf(`path template %q: want "{**}" to be the last of its operators`, s)
		case !operator && strings.ContainsAny(segment, "*{}"):
			return fmt.Errorf(`path template %q: want "{*}" and "{**}" as whole segments, and no other star or brace`, s)
		}
		last = last || segment == AnySegments
	}
	return nil
}

// ParseBlock reads "10.1.0.0/16", or an address, which is a block of its own.
func ParseBlock(s string) (netip.Prefix, error) {
	if strings.Contains(s, "/") {
		p, err := netip.ParsePrefix(s)
		if err != nil {
			return netip.Prefix{}, fmt.Errorf("block %q: want an address and a number of bits", s)
		}
		return p.Masked(), nil
	}
	addr, err := netip.ParseAddr(s)
	if err != nil || addr.Zone() != "" {
		return netip.Prefix{}, fmt.Errorf("block %q: want an address", s)
	}
	return netip.PrefixFrom(addr, addr.BitLen()), nil
}

// SplitCondition takes an AuthorizationCondition's key apart: the attribute, and
// what is in brackets behind it, a header's name or those of a claim and of the
// claims below it.
func SplitCondition(key string) (attribute string, names []string, err error) {
	attribute, rest := key, ""
	if i := strings.IndexByte(key, '['); i >= 0 {
		attribute, rest = key[:i], key[i:]
	}
	switch attribute {
	case "request.headers":
		if names = bracketed(rest); len(names) == 1 && names[0] != "" {
			return attribute, names, nil
		}
		return "", nil, fmt.Errorf("key %q: want request.headers[NAME]", key)
	case "request.auth.claims":
		if names = claimNames(rest); len(names) > 0 && names[0] != "" {
			return attribute, names, nil
		}
		return "", nil, fmt.Errorf("key %q: want request.auth.claims[NAME]", key)
	case "source.ip", "remote.ip", "source.namespace", "source.serviceAccount", "source.trustDomain", "source.principal",
		"request.auth.principal", "request.auth.audiences", "request.auth.presenter",
		"destination.ip", "destination.port", "connection.sni":
		if rest == "" {
			return attribute, nil, nil
		}
	}
	return "", nil, fmt.Errorf("key %q: not known", key)
}

// bracketed returns what is in one pair of brackets, whatever that is.
func bracketed(s string) []string {
	if len(s) < 2 || s[0] != '[' || s[len(s)-1] != ']' {
		return nil
	}
	return []string{s[1 : len(s)-1]}
}

// claimNames reads "[a][b]". What is not a row of brackets is one name: claims
// may have brackets in their names.
func claimNames(s string) (names []string) {
	for rest := s; rest != ""; {
		end := strings.IndexByte(rest, ']')
		if rest[0] != '[' || end < 0 || strings.Contains(rest[1:end], "[") {
			return bracketed(s)
		}
		names, rest = append(names, rest[1:end]), rest[end+1:]
	}
	return names
}

// Check says why r cannot be had as it is written. Then it counts nothing: all
// pass, or none with FailClosed.
func (r *RateLimit) Check() error {
	if r == nil {
		return nil
	}
	if len(r.Rules) == 0 {
		return errors.New("a rate limit without rules")
	}
	if s := r.Shared; s != nil {
		switch {
		case s.Cluster == "":
			return errors.New("shared: want a cluster where counts are kept")
		case !s.Redis && s.Domain == "":
			return errors.New("shared: want a domain for the rate limit service")
		case s.Timeout < 0 || s.Timeout > maxLimitTimeout:
			return fmt.Errorf("shared: timeout %v: want 0-%v", s.Timeout, maxLimitTimeout)
		}
	}
	for i := range r.Rules {
		if err := r.Rules[i].check(); err != nil {
			return fmt.Errorf("rules[%d]: %w", i, err)
		}
	}
	return nil
}

const (
	// maxLimitTimeout bounds how long requests wait for whether they may pass.
	maxLimitTimeout = time.Second
	// minLimitPer and maxLimitPer bound what a rate is of.
	minLimitPer = 100 * time.Millisecond
	maxLimitPer = 24 * time.Hour
	// minLimitGap is between two requests of a rate: no gateway has more.
	minLimitGap = time.Microsecond
)

func (r *RateLimitRule) check() error {
	if r.Requests == 0 {
		return errors.New("0 requests: want 1 or more")
	}
	if r.Per < minLimitPer || r.Per > maxLimitPer {
		return fmt.Errorf("requests per %v: want %v-%v", r.Per, minLimitPer, maxLimitPer)
	}
	if r.Per/time.Duration(r.Requests) < minLimitGap {
		return fmt.Errorf("%d requests per %v: want at most one each %v", r.Requests, r.Per, minLimitGap)
	}
	for _, by := range r.By {
		kind, name, named := strings.Cut(by, ":")
		switch {
		case (by == "source-ip" || by == "principal") && !named:
		case (kind == "header" || kind == "claim") && name != "":
		default:
			return fmt.Errorf("by %q: want source-ip, principal, header:NAME or claim:NAME", by)
		}
	}
	for i := range r.Matches {
		m := &r.Matches[i]
		if len(m.Sources)+len(m.Destinations)+len(m.Namespaces) > 0 {
			return fmt.Errorf("matches[%d]: sources, destinations or namespaces: want none in a rate limit", i)
		}
		if _, err := NewMatcher(m); err != nil {
			return fmt.Errorf("matches[%d]: %w", i, err)
		}
	}
	return nil
}
