package jwt

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"fairway.dev/gateway/message"
	"fairway.dev/gateway/policy"
	"fairway.dev/routing"
)

// Rules are a listener's, made ready. They do not change.
type Rules struct {
	store *Store
	list  []*rule
	ours  []string // fields that only we write, in lower case
}

type rule struct {
	spec      routing.JWTRule
	places    []place
	audiences []string
	fixed     *keySet // that the rule has brought; nil: source's
	source    *source // nil: no token holds
}

// Rules makes rules ready, and begins to fetch the keys that they do not bring.
func (s *Store) Rules(list []routing.JWTRule) *Rules {
	r := &Rules{store: s}
	for i := range list {
		spec := list[i]
		one := &rule{spec: spec, places: places(&spec)}
		for _, a := range spec.Audiences {
			one.audiences = append(one.audiences, audience(a))
		}
		if len(spec.Keys) > 0 {
			one.fixed, _ = parseKeys(spec.Keys) // without keys no token holds
		} else if one.source = s.source(&spec); one.source != nil {
			one.source.refresh(s.o.Now())
		}
		r.list = append(r.list, one)
		if spec.PayloadHeader != "" {
			r.ours = append(r.ours, strings.ToLower(spec.PayloadHeader))
		}
		for _, c := range spec.Claims {
			r.ours = append(r.ours, strings.ToLower(c.Header))
		}
	}
	return r
}

func (r *rule) isSpaced(claim string) bool {
	return claim == "scope" || claim == "permission" || slices.Contains(r.spec.Spaced, claim)
}

// Clean takes the fields out that are for us alone to write, also with '_' for
// '-', as some backends take the one for the other.
func (r *Rules) Clean(fields message.Fields) message.Fields {
	if len(r.ours) == 0 {
		return fields
	}
	return slices.DeleteFunc(fields, func(f message.Field) bool {
		return slices.ContainsFunc(r.ours, func(lower string) bool { return sameName(lower, f.Text) })
	})
}

// sameName reports whether name is lower, in any case and with '_' for '-'.
func sameName(lower, name string) bool {
	if len(name) != len(lower) {
		return false
	}
	for i := range len(name) {
		if fold(name[i]) != fold(lower[i]) {
			return false
		}
	}
	return true
}

func fold(c byte) byte {
	switch {
	case c == '_':
		return '-'
	case 'A' <= c && c <= 'Z':
		return c | 0x20
	}
	return c
}

// Prove looks for a token in req that holds by one of the rules. It returns none
// and no error where there is no token at all. Where keys that may decide are
// yet to be fetched it returns what has to be waited for, and is to be called
// again then: as often as there are rules at most. Any goroutine may call it,
// with a Cache of its own.
func (r *Rules) Prove(req *message.Request, cache *Cache) (*Token, *Wait, error) {
	var why error
	var wait *Wait
	for _, one := range r.list {
		for i := range one.places {
			p := &one.places[i]
			text, n := p.find(req)
			if n == 0 {
				continue
			}
			t, w, err := r.prove(one, p, text, n, cache)
			if t != nil {
				return t, nil, nil
			}
			if wait == nil {
				wait = w
			}
			why = errors.Join(why, err)
		}
	}
	return nil, wait, why
}

// prove proves one of n tokens at p.
func (r *Rules) prove(one *rule, p *place, text string, n int, cache *Cache) (*Token, *Wait, error) {
	if n > 1 {
		return nil, nil, fmt.Errorf("%d tokens in %s: want one", n, p.name)
	}
	now := r.store.o.Now()
	keys := one.fixed
	if keys == nil && one.source != nil {
		keys = one.source.current(now)
	}
	if t := cache.find(one, keys, p, text); t != nil {
		if err := one.check(t.claims, now); err != nil {
			return nil, nil, err
		}
		return t, nil, nil
	}
	signed, err := parse(text)
	if err != nil {
		return nil, nil, err
	}
	// The claims come first: a token of another issuer has no keys here, and
	// shall not have any fetched.
	claims, err := parseClaims(signed.UnsafePayloadWithoutVerification())
	if err != nil {
		return nil, nil, err
	}
	if err := one.check(claims, now); err != nil {
		return nil, nil, err
	}
	err = errNoKey
	if keys != nil {
		err = keys.verify(signed)
	}
	if err == errNoKey && one.source != nil && one.source.mayTell(now) {
		return nil, &Wait{one.source}, err
	}
	if err != nil {
		return nil, nil, err
	}
	text = strings.Clone(text) // it is in the request's memory
	t := &Token{rule: one, place: p, keys: keys, payload: payloadOf(text), claims: claims}
	cache.keep(t, text)
	return t, nil, nil
}

// Present makes of the request what the backend is to see: without the token,
// unless its rule keeps it. What it returns are fields for the backend.
func (t *Token) Present(req *message.Request) []policy.Edit {
	if !t.rule.spec.Keep {
		t.place.remove(req)
	}
	var edits []policy.Edit
	if name := t.rule.spec.PayloadHeader; name != "" {
		edits = append(edits, policy.Edit{Name: strings.ToLower(name), Value: t.payload})
	}
	for _, c := range t.rule.spec.Claims {
		if v, ok := t.field(c.Claim); ok {
			edits = append(edits, policy.Edit{Name: strings.ToLower(c.Header), Value: v})
		}
	}
	return edits
}
