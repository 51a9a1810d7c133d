package routing

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
)

// pseudoFields are the names of ValueMatches that are no fields (RFC 9113
// section 8.3.1).
var pseudoFields = []string{":method", ":scheme", ":authority"}

// A textTest compares a text.
type textTest struct {
	kind  TextKind
	text  string
	regex *regexp.Regexp // of TextRegex
}

func compileText(kind TextKind, text string) (t textTest, err error) {
	t = textTest{kind: kind, text: text}
	switch kind {
	case TextExact, TextPrefix, TextPresent:
	case TextRegex:
		t.regex, err = compileRegexp(text)
	default:
		err = fmt.Errorf("kind %d: want exact, prefix, regular expression or present", kind)
	}
	return t, err
}

func (t *textTest) holds(value string) bool {
	switch t.kind {
	case TextPrefix:
		return strings.HasPrefix(value, t.text)
	case TextRegex:
		return t.regex.MatchString(value)
	case TextPresent:
		return true
	}
	return value == t.text
}

// holdsBytes is holds of a value that is not a string yet.
func (t *textTest) holdsBytes(value []byte) bool {
	switch t.kind {
	case TextPrefix:
		return len(value) >= len(t.text) && string(value[:len(t.text)]) == t.text
	case TextRegex:
		return t.regex.Match(value)
	case TextPresent:
		return true
	}
	return string(value) == t.text
}

// A valueTest compares a header or a query parameter.
type valueTest struct {
	name string
	textTest
	not bool
}

// compileTests compiles the tests of headers or query parameters. Of several
// with one name only the first counts, as Gateway API has it; of an ordered
// route all do.
func compileTests(list []ValueMatch, ordered bool) ([]valueTest, error) {
	var tests []valueTest
	for _, m := range list {
		if m.Name == "" {
			return nil, fmt.Errorf("without a name")
		}
		if !ordered && slices.ContainsFunc(tests, func(t valueTest) bool { return t.name == m.Name }) {
			continue
		}
		text, err := compileText(m.Kind, m.Value)
		if err != nil {
			return nil, fmt.Errorf("%q: %w", m.Name, err)
		}
		tests = append(tests, valueTest{m.Name, text, m.Not})
	}
	return tests, nil
}

func (t *valueTest) holdsHeader(r *Request) bool {
	value, ok := r.field(t.name)
	return (ok && t.holds(value)) != t.not
}

// field returns the value of a header, or of what has a pseudo name.
func (r *Request) field(name string) (value string, ok bool) {
	switch name {
	case ":method":
		value = r.Method
	case ":scheme":
		value = r.Scheme
	case ":authority":
		value = r.Authority
	default:
		if r.Header == nil {
			return "", false
		}
		return r.Header.Value(name)
	}
	return value, value != ""
}

func (t *valueTest) holdsQuery(r *Request) bool {
	raw, ok := queryValue(r.Query, t.name)
	return (ok && t.holdsRaw(r, raw)) != t.not
}

// holdsRaw compares a value that is still encoded.
func (t *valueTest) holdsRaw(r *Request, raw string) bool {
	switch {
	case t.kind == TextExact:
		return decodesTo(raw, t.text)
	case !encoded(raw):
		return t.holds(raw)
	}
	r.scratch = appendDecoded(r.scratch[:0], raw)
	return t.holdsBytes(r.scratch)
}

// rareTests are the conditions that few matches have.
type rareTests struct {
	sources, destinations []netip.Prefix
	namespaces            []string
	claims                []claimTest
}

// A claimTest compares a claim.
type claimTest struct {
	path []string
	textTest
	not bool
}

func compileRare(m *Match) (*rareTests, error) {
	if len(m.Sources)+len(m.Destinations)+len(m.Namespaces)+len(m.Claims) == 0 {
		return nil, nil
	}
	if slices.Contains(m.Namespaces, "") {
		return nil, fmt.Errorf("a namespace without a name")
	}
	t := rareTests{namespaces: m.Namespaces}
	var err error
	if t.sources, err = compilePrefixes(m.Sources); err != nil {
		return nil, fmt.Errorf("source: %w", err)
	}
	if t.destinations, err = compilePrefixes(m.Destinations); err != nil {
		return nil, fmt.Errorf("destination: %w", err)
	}
	for _, claim := range m.Claims {
		if len(claim.Path) == 0 || slices.Contains(claim.Path, "") {
			return nil, fmt.Errorf("claim %q: want a name, and those below it", claim.Path)
		}
		text, err := compileText(claim.Kind, claim.Value)
		if err != nil {
			return nil, fmt.Errorf("claim %q: %w", claim.Path, err)
		}
		t.claims = append(t.claims, claimTest{claim.Path, text, claim.Not})
	}
	return &t, nil
}

// compilePrefixes makes prefixes of IPv4 addresses in IPv6 such of IPv4, as the
// addresses of requests are.
func compilePrefixes(list []netip.Prefix) ([]netip.Prefix, error) {
	var prefixes []netip.Prefix
	for _, p := range list {
		if !p.IsValid() {
			return nil, fmt.Errorf("an empty prefix: want ADDRESS/BITS")
		}
		if p.Addr().Is4In6() && p.Bits() >= 96 {
			p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
		}
		prefixes = append(prefixes, p)
	}
	return prefixes, nil
}

func (t *rareTests) holds(r *Request) bool {
	if !within(r.Source, t.sources) || !within(r.Destination, t.destinations) {
		return false
	}
	if !t.holdsNamespace(r) {
		return false
	}
	for i := range t.claims {
		if !t.claims[i].holdsClaim(r) {
			return false
		}
	}
	return true
}

// within reports whether an address is in one of the prefixes, or there are none.
func within(addr netip.Addr, prefixes []netip.Prefix) bool {
	addr = addr.Unmap().WithZone("")
	for _, p := range prefixes {
		if p.Contains(addr) {
			return true
		}
	}
	return len(prefixes) == 0
}

func (t *rareTests) holdsNamespace(r *Request) bool {
	return len(t.namespaces) == 0 || slices.Contains(t.namespaces, namespaceOf(r.Identity))
}

// namespaceOf returns the namespace of an identity, "spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/ACCOUNT";
// empty where it has none.
func namespaceOf(identity string) string {
	rest, ok := strings.CutPrefix(identity, "spiffe://")
	if !ok {
		return ""
	}
	_, rest, _ = strings.Cut(rest, "/")
	rest, ok = strings.CutPrefix(rest, "ns/")
	ns, _, more := strings.Cut(rest, "/")
	if !ok || !more {
		return ""
	}
	return ns
}

func (t *claimTest) holdsClaim(r *Request) bool {
	for _, value := range r.claim(t.path) {
		if t.holds(value) {
			return !t.not
		}
	}
	return t.not
}

// claim returns the values of a claim; none where there is no token.
func (r *Request) claim(path []string) []string {
	if r.Claims == nil {
		return nil
	}
	return r.Claims.Claim(path)
}
