package routing

// A HeaderSource looks up fields of a request. message.Fields is one; hand it
// in by pointer, which does not allocate.
type HeaderSource interface {
	// Value returns what the fields of that name, given in lower case, say
	// together.
	Value(lower string) (string, bool)
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
	// Misdirected says that the connection's name belongs to another listener
	// than the request's host (421, RFC 9110 section 15.5.20).
	Misdirected bool
}

// A Target is a rule in force: what a match leads to. All matches of the rule
// lead to the same Target.
type Target struct {
	Route *Route
	Rule  *Rule
	Index int // of Rule in Route.Rules
	// Action is the rule's with what cannot work closed: a share whose
	// cluster is not there has Status 500, a rule without a share to send to
	// is answered with Status 500 as a whole.
	Action *Action
	// Prepared is the data plane's own. It is set once, before a Snapshot
	// that has the target is put in force, and lives as long as the target:
	// until an Update touches its route or the existence of its clusters.
	Prepared any
}

// Match finds the rule that takes a request. It does not allocate.
func (p *Port) Match(r *Request) Result { return Result{} }

// An Explanation says why a request goes where it goes.
type Explanation struct {
	Result Result
}

// Explain does what Match does and tells about it.
func (p *Port) Explain(r *Request) *Explanation { return &Explanation{Result: p.Match(r)} }

// String returns the explanation as lines of text for people.
func (e *Explanation) String() string { return "" }
