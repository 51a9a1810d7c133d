package authz

import "strings"

// A claim compares the values of a claim: one of them is enough.
type claim struct {
	path []string
	patterns
}

func newClaim(path []string, list []string) matcher { return &claim{path, newPatterns(list)} }

func (m *claim) holds(a *Attributes) bool {
	if a.Token == nil {
		return false
	}
	for _, value := range a.Token.Claim(m.path) {
		if m.any(value) {
			return true
		}
	}
	return false
}

// requestPrincipals compare a token's issuer and its subject.
type requestPrincipals []requestPrincipal

type requestPrincipal struct{ issuer, subject pattern }

var (
	claimIssuer    = []string{"iss"}
	claimSubject   = []string{"sub"}
	claimAudience  = []string{"aud"}
	claimPresenter = []string{"azp"}
)

func newRequestPrincipals(list []string) matcher {
	var m requestPrincipals
	for _, s := range list {
		m = append(m, newRequestPrincipal(s))
	}
	return m
}

// newRequestPrincipal reads "issuer/subject": the issuer may have slashes, as it
// is a URL. A star in front is of the issuer, one at the end of the subject;
// without a slash the other one may be anything.
func newRequestPrincipal(s string) requestPrincipal {
	i := strings.LastIndexByte(s, '/')
	issuer, subject := s, ""
	if i >= 0 {
		issuer, subject = s[:i], s[i+1:]
	}
	anything := pattern{kind: present}
	switch {
	case s == "*":
		return requestPrincipal{anything, anything}
	case s[0] == '*' && i < 0:
		return requestPrincipal{anything, pattern{suffix, s[1:]}}
	case s[0] == '*':
		return requestPrincipal{newPattern(issuer), pattern{exact, subject}}
	case s[len(s)-1] == '*' && i < 0:
		return requestPrincipal{pattern{prefix, s[:len(s)-1]}, anything}
	case s[len(s)-1] == '*':
		return requestPrincipal{pattern{exact, issuer}, newPattern(subject)}
	}
	return requestPrincipal{pattern{exact, issuer}, pattern{exact, subject}}
}

func (m requestPrincipals) holds(a *Attributes) bool {
	if a.Token == nil {
		return false
	}
	issuer, subject := a.Token.Claim(claimIssuer), a.Token.Claim(claimSubject)
	if len(issuer) != 1 || len(subject) != 1 {
		return false
	}
	for i := range m {
		if m[i].issuer.holds(issuer[0]) && m[i].subject.holds(subject[0]) {
			return true
		}
	}
	return false
}
