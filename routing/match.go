package routing

import (
	"net/netip"
	"strings"
)

// A HeaderSource looks up fields of a request. message.Fields is one; hand it
// in by pointer, which does not allocate.
type HeaderSource interface {
	// Value returns what the fields of that name, given in lower case, say
	// together, and whether there are any.
	Value(lower string) (string, bool)
}

// A ClaimSource has the claims of a token that was proved.
type ClaimSource interface {
	// Claim returns the values of the claim at a path, the claim's name and
	// those below it, as text: the elements of a list, and none where there is
	// no such claim. The list is the source's own.
	Claim(path []string) []string
}

// A Request is what matching looks at. Reuse it: it keeps scratch memory. It
// is not safe for concurrent use.
type Request struct {
	Host   string // lower case, without port
	Path   string // origin form, up to '?'
	Query  string // with or without the leading '?'
	Method string
	Header HeaderSource // nil: no fields
	// SNI is the name that the client gave in its ClientHello, in lower case.
	// Only HTTPS ports look at it.
	SNI string

	Scheme    string // "http" or "https"
	Authority string // as it was sent, with its port
	// Source and Destination are the two ends of the client's connection, as a
	// trusted PROXY protocol header has them where there is one. An invalid
	// address is in no prefix.
	Source, Destination netip.Addr
	// Identity is who asks, as SPIFFE writes it; empty: it is not known.
	Identity string
	// Claims are those of the token that Listener.JWT proves; nil: there is no
	// token. Which listener a request belongs to does not depend on them: match
	// without, prove the token as Result.Listener asks for it, and match again.
	Claims ClaimSource

	scratch []byte // a decoded query parameter
}

// A Result is where a request goes.
type Result struct {
	Listener *Listener // nil: no listener has the host (404)
	Target   *Target   // nil: no rule takes the request (404, or 421)
	// Match is the index in Target.Rule.Matches of what held; 0 for a rule
	// without matches.
	Match int
	// Prefix is the matched path prefix, which a rewrite or redirect may
	// replace: no '/' at its end, so "" for "/". Empty unless the match is by
	// PathPrefix.
	Prefix string
	// Matched is how many bytes of the path, from its beginning, the match took:
	// those that PathEdit.Matched replaces. All of them unless the match is by
	// prefix; a match without a path took the '/' in front.
	Matched int
	// Misdirected says that the connection's name belongs to another listener
	// than the request's host does (421, RFC 9110 section 15.5.20).
	Misdirected bool
	// Shut says that the listener lets nobody in, as a part of it that keeps
	// people out cannot work (500). There is no Target then.
	Shut bool
}

// A Target is a rule in force: what a match leads to. All matches of the rule
// lead to the same Target.
type Target struct {
	Route *Route
	Rule  *Rule
	Index int // of Rule in Route.Rules
	// Action is the rule's with what cannot work closed: a share whose
	// cluster is not in force has Status 500, and a rule with no share to
	// send to, or with an action that is not valid, has Status 500 as a whole.
	Action *Action
	// Prepared is the data plane's own. It is set once, before a Snapshot
	// that has the target is put in force, and lives as long as the target:
	// until an Update changes its route, or whether its clusters exist.
	Prepared any
}

// Match finds the rule that takes a request. It does not allocate, unless a
// HeaderSource does.
func (p *Port) Match(r *Request) Result {
	host := absolute(r.Host)
	b, _ := p.bound.find(host, fromExact)
	if b == nil {
		return Result{}
	}
	if p.Protocol == HTTPS && p.misdirected(r, b) {
		return Result{Listener: b.listener, Misdirected: true}
	}
	if b.shut {
		return Result{Listener: b.listener, Shut: true}
	}
	if b.to != nil {
		return Result{Listener: b.listener, Target: b.to, Matched: len(r.Path)}
	}
	for from := fromExact; from != exhausted; {
		var t *pathTable
		if t, from = b.hosts.find(host, from); t == nil {
			break
		}
		if c := t.match(r); c != nil {
			return c.result(b.listener, r)
		}
		if t.ordered != nil {
			break // Route.Ordered: no less specific host counts
		}
	}
	return Result{Listener: b.listener}
}

// MatchStream finds the rule that takes a connection, or a session of
// datagrams. The name is that of the ClientHello, in lower case, and empty
// where there is none: on TCP and UDP ports always. Source and destination are
// its two ends, and identity who opens it, as Request has them. Rules about
// requests take none: at a door that detects HTTP, Listener.To does, or nobody. It
// does not allocate.
func (p *Port) MatchStream(name, identity string, source, destination netip.Addr) Result {
	res := p.Match(&Request{Host: name, SNI: name, Path: "/", Identity: identity, Source: source, Destination: destination})
	if res.Target != nil && res.Listener.Detect {
		if _, ok := ofDefault(res.Target.Route.Name); !ok {
			return Result{Listener: res.Listener}
		}
	}
	return res
}

// misdirected reports whether another listener than b, to which the request's
// host belongs, has the name that the client gave in its handshake.
func (p *Port) misdirected(r *Request, b *boundListener) bool {
	if r.SNI == r.Host {
		return false
	}
	of, _ := p.bound.find(absolute(r.SNI), fromExact)
	return of != b && (of == nil || !of.listener.groupedWith(b.listener))
}

// result is what it means that c takes a request.
func (c *candidate) result(l *Listener, r *Request) Result {
	res := Result{Listener: l, Target: c.target, Match: c.index, Matched: len(r.Path)}
	switch c.kind {
	case PathPrefix:
		res.Prefix = c.path
		res.Matched = min(max(len(c.path), len("/")), len(r.Path))
	case PathTextPrefix:
		res.Matched = len(c.path)
	}
	return res
}

// holds reports whether all but the path of c holds for r; of the path, what
// the tree does not decide.
func (c *candidate) holds(r *Request) bool {
	if c.rpc != "" && !c.holdsMethod(r.Path) {
		return false
	}
	if c.method != "" && c.method != r.Method {
		return false
	}
	for i := range c.header {
		if !c.header[i].holdsHeader(r) {
			return false
		}
	}
	for i := range c.query {
		if !c.query[i].holdsQuery(r) {
			return false
		}
	}
	return c.rare == nil || c.rare.holds(r)
}

// holdsMethod reports whether a path has two segments, and rpc is the last.
func (c *candidate) holdsMethod(path string) bool {
	service := len(path) - len(c.rpc) - 1 // where the last '/' has to be
	return service > 1 && path[0] == '/' && path[service] == '/' && path[service+1:] == c.rpc &&
		strings.IndexByte(path[1:service], '/') < 0
}

// holdsPath reports whether the path of c holds for r: what the tree decides
// on its way, for a single candidate.
func (c *candidate) holdsPath(r *Request) bool {
	switch c.kind {
	case PathRegex:
		return c.regex.MatchString(r.Path)
	case PathMethod:
		return c.holdsMethod(r.Path)
	}
	rest, ok := cutPath(r.Path, c.path, c.fold)
	return ok && c.covers(rest)
}

// covers reports whether c holds for a path that begins with c.path, and of
// which rest is left then.
func (c *candidate) covers(rest string) bool {
	switch c.kind {
	case PathExact:
		return rest == ""
	case PathPrefix:
		return rest == "" || rest[0] == '/' || c.path == ""
	}
	return true
}
