package istio

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"

	"fairway.dev/routing"
	"fairway.dev/routing/analysis"
)

// A matchSource is an HTTPMatchRequest. It is one of ours, as a delegate's is
// made of two.
type matchSource struct {
	at              routing.Origin
	name            string
	uri             *networking.StringMatch
	scheme          *networking.StringMatch
	method          *networking.StringMatch
	authority       *networking.StringMatch
	headers         map[string]*networking.StringMatch
	without         map[string]*networking.StringMatch
	query           map[string]*networking.StringMatch
	ignoreCase      bool
	port            uint32
	gateways        []string // "namespace/name"
	sourceLabels    map[string]string
	sourceNamespace string
	statPrefix      string
}

// matchSources are the matches of a rule, which stands at an origin.
func matchSources(at routing.Origin, list []*networking.HTTPMatchRequest) []matchSource {
	out := make([]matchSource, len(list))
	for i, m := range list {
		out[i] = matchSource{
			at:              at.At(at.Field + ".match[" + itoa(i) + "]"),
			name:            m.GetName(),
			uri:             m.GetUri(),
			scheme:          m.GetScheme(),
			method:          m.GetMethod(),
			authority:       m.GetAuthority(),
			headers:         m.GetHeaders(),
			without:         m.GetWithoutHeaders(),
			query:           m.GetQueryParams(),
			ignoreCase:      m.GetIgnoreUriCase(),
			port:            m.GetPort(),
			sourceLabels:    m.GetSourceLabels(),
			sourceNamespace: m.GetSourceNamespace(),
			statPrefix:      m.GetStatPrefix(),
			gateways:        gatewayNames(m.GetGateways(), at.Namespace),
		}
	}
	return out
}

func gatewayNames(list []string, namespace string) []string {
	var names []string
	for _, g := range list {
		if g == meshGateway {
			names = append(names, g)
		} else {
			names = append(names, gatewayRef(g, namespace))
		}
	}
	return names
}

// A matchFlaw is what keeps a match from being used: all of it is left out, as
// a part of it may be what keeps somebody away.
type matchFlaw struct {
	field  string
	reason routing.Reason
	fix    string
	err    error
}

// translate makes a match of what does not depend on doors.
func (m *matchSource) translate() (routing.Match, *matchFlaw) {
	t := &matchTranslation{}
	t.path(m.uri, m.ignoreCase)
	t.text("scheme", ":scheme", m.scheme)
	t.text("authority", ":authority", m.authority)
	if exact, ok := m.method.GetMatchType().(*networking.StringMatch_Exact); ok {
		if t.out.Method = exact.Exact; !isName(exact.Exact) {
			t.flaw("method", analysis.InvalidMatch, "write a method, like GET", fmt.Errorf("method %q: want a token", exact.Exact))
		}
	} else {
		t.text("method", ":method", m.method)
	}
	t.headers("headers", m.headers, false)
	t.headers("withoutHeaders", m.without, true)
	for _, name := range slices.Sorted(maps.Keys(m.query)) {
		kind, value, err := textMatch(m.query[name])
		if name == "" {
			err = errors.New("a parameter without a name")
		}
		t.flaw(`queryParams["`+name+`"]`, analysis.InvalidMatch, fixText, err)
		t.out.Query = append(t.out.Query, routing.ValueMatch{Name: name, Kind: kind, Value: value})
	}
	return t.out, t.first
}

// A matchTranslation gathers a match, and its first flaw.
type matchTranslation struct {
	out   routing.Match
	first *matchFlaw
}

const fixText = "write exact, prefix or regex, with a value; {} alone matches any"

func (t *matchTranslation) flaw(field string, reason routing.Reason, fix string, err error) {
	if err != nil && t.first == nil {
		t.first = &matchFlaw{field, reason, fix, err}
	}
}

// path translates uri. Its expressions have to match the whole path, without
// the query; its prefixes are by bytes.
func (t *matchTranslation) path(m *networking.StringMatch, ignoreCase bool) {
	p := &t.out.Path
	switch u := m.GetMatchType().(type) {
	case nil:
	case *networking.StringMatch_Exact:
		*p = routing.PathMatch{Kind: routing.PathExact, Value: u.Exact, IgnoreCase: ignoreCase}
	case *networking.StringMatch_Prefix:
		if u.Prefix != "" && u.Prefix != "/" { // each path has these
			*p = routing.PathMatch{Kind: routing.PathTextPrefix, Value: u.Prefix, IgnoreCase: ignoreCase}
		}
	case *networking.StringMatch_Regex:
		*p = routing.PathMatch{Kind: routing.PathRegex, Value: u.Regex}
		t.flaw("uri", analysis.InvalidRegex, fixRegex, checkRegex(u.Regex))
		return
	}
	if p.Kind != routing.PathPrefix && !strings.HasPrefix(p.Value, "/") {
		t.flaw("uri", analysis.InvalidMatch, "write a path that begins with /", fmt.Errorf("path %q: want '/' in front", p.Value))
	}
}

// text translates the match of a pseudo header.
func (t *matchTranslation) text(field, name string, m *networking.StringMatch) {
	if m == nil {
		return
	}
	kind, value, err := textMatch(m)
	t.flaw(field, analysis.InvalidMatch, fixText, err)
	t.out.Headers = append(t.out.Headers, routing.ValueMatch{Name: name, Kind: kind, Value: value})
}

// headers translates headers and withoutHeaders, claims of tokens among them.
func (t *matchTranslation) headers(field string, list map[string]*networking.StringMatch, not bool) {
	for _, key := range slices.Sorted(maps.Keys(list)) {
		at := field + `["` + key + `"]`
		kind, value, err := textMatch(list[key])
		t.flaw(at, analysis.InvalidMatch, fixText, err)
		if path := claimPath(key); path != nil {
			t.out.Claims = append(t.out.Claims, routing.ClaimMatch{Path: path, Kind: kind, Value: value, Not: not})
			continue
		}
		name := strings.ToLower(key)
		if !isName(name) && !slices.Contains([]string{":method", ":scheme", ":authority"}, name) {
			t.flaw(at, analysis.InvalidHeader, "write a header's name, or @request.auth.claims[name]", fmt.Errorf("%q: not a header's name", key))
		}
		t.out.Headers = append(t.out.Headers, routing.ValueMatch{Name: name, Kind: kind, Value: value, Not: not})
		// Envoy takes a header that is not there for an empty one where a match
		// is turned around.
		if not && kind != routing.TextPresent && err == nil && holdsEmpty(kind, value) {
			t.out.Headers = append(t.out.Headers, routing.ValueMatch{Name: name, Kind: routing.TextPresent})
		}
	}
}

// textMatch translates a StringMatch. {} and the expression "*", which is not
// RE2, hold for any value that is there.
func textMatch(m *networking.StringMatch) (routing.TextKind, string, error) {
	switch t := m.GetMatchType().(type) {
	case *networking.StringMatch_Exact:
		return routing.TextExact, t.Exact, nil
	case *networking.StringMatch_Prefix:
		if t.Prefix == "" {
			return routing.TextPrefix, "", errors.New("an empty prefix")
		}
		return routing.TextPrefix, t.Prefix, nil
	case *networking.StringMatch_Regex:
		if t.Regex == "*" {
			return routing.TextPresent, "", nil
		}
		return routing.TextRegex, t.Regex, checkRegex(t.Regex)
	}
	return routing.TextPresent, "", nil
}

const fixRegex = "write it in RE2's syntax, which has no look-around and no back references"

func checkRegex(expr string) error {
	if expr == "" {
		return errors.New("an empty expression")
	}
	return routing.CheckExpression(expr)
}

// holdsEmpty reports whether a valid text match holds for the empty text.
func holdsEmpty(kind routing.TextKind, value string) bool {
	if kind == routing.TextRegex {
		return regexp.MustCompile("^(?:" + value + ")$").MatchString("")
	}
	return value == ""
}

// claimKeys begins the keys of headers that are claims of a token.
const claimKeys = "@request.auth.claims"

// claimPath returns the claim that a key of headers stands for: the one that
// "@request.auth.claims.group.id" and "@request.auth.claims[group][id]" name.
// It is nil for other keys, and where no claim is named.
func claimPath(key string) []string {
	if len(key) < len(claimKeys) || !strings.EqualFold(key[:len(claimKeys)], claimKeys) {
		return nil
	}
	var path []string
	switch name := key[len(claimKeys):]; {
	case strings.HasPrefix(name, "."):
		path = strings.Split(name[1:], ".")
	case strings.HasPrefix(name, "[") && strings.HasSuffix(name, "]"):
		path = strings.Split(name[1:len(name)-1], "][")
	}
	if slices.Contains(path, "") {
		return nil
	}
	return path
}
