package routing

// A Matcher is a Match by itself, outside of any route. It does not change.
type Matcher struct{ c *candidate }

// NewMatcher compiles m, or says why it can never hold.
func NewMatcher(m *Match) (*Matcher, error) {
	c, err := compileMatch(m, &Target{Route: &Route{}}, 0)
	if err != nil {
		return nil, err
	}
	return &Matcher{c}, nil
}

// Holds reports whether all that the match names hold for r. It does not
// allocate, unless a HeaderSource does.
func (m *Matcher) Holds(r *Request) bool { return m.c.holdsPath(r) && m.c.holds(r) }
