package jwt

import (
	"net/url"
	"strings"

	"fairway.dev/gateway/message"
	"fairway.dev/routing"
)

type placeKind uint8

const (
	inHeader placeKind = iota
	inQuery
	inCookie
)

// A place is where a rule looks for a token.
type place struct {
	kind   placeKind
	name   string // of a header in lower case
	id     message.Name
	prefix string // of a header: what comes before the token, in any case
}

// places returns where r looks for tokens, in that order.
func places(r *routing.JWTRule) []place {
	headers, params := r.Headers, r.Params
	if len(headers)+len(params)+len(r.Cookies) == 0 {
		headers = []routing.Header{{Name: "Authorization", Value: "Bearer "}}
		params = []string{"access_token"} // RFC 6750 section 2.3
	}
	var list []place
	for _, h := range headers {
		lower := strings.ToLower(h.Name)
		list = append(list, place{inHeader, lower, message.Lookup(lower), h.Value})
	}
	for _, name := range params {
		list = append(list, place{kind: inQuery, name: name})
	}
	for _, name := range r.Cookies {
		list = append(list, place{kind: inCookie, name: name})
	}
	return list
}

// find returns the token at p, and how many there are.
func (p *place) find(req *message.Request) (token string, n int) {
	switch p.kind {
	case inHeader:
		for i := range req.Fields {
			f := &req.Fields[i]
			if !p.is(f) || len(f.Value) < len(p.prefix) || !strings.EqualFold(f.Value[:len(p.prefix)], p.prefix) {
				continue
			}
			token, n = strings.Trim(f.Value[len(p.prefix):], " \t"), n+1
		}
	case inQuery:
		p.eachParam(req.Query, func(value string) { token, n = value, n+1 })
	case inCookie:
		for i := range req.Fields {
			if f := &req.Fields[i]; f.ID == message.Cookie {
				p.eachCookie(f.Value, func(value string) { token, n = value, n+1 })
			}
		}
	}
	return token, n
}

// is reports whether f is the header of p.
func (p *place) is(f *message.Field) bool {
	return f.ID == p.id && (p.id != message.Other || message.EqualFold(p.name, f.Text))
}

// eachParam calls found for each parameter of that name, and returns the query
// without them.
func (p *place) eachParam(query string, found func(value string)) string {
	raw, marked := strings.CutPrefix(query, "?")
	kept := make([]string, 0, 4)
	for param := range strings.SplitSeq(raw, "&") {
		name, value, _ := strings.Cut(param, "=")
		if param == "" || decoded(name) != p.name {
			kept = append(kept, param)
			continue
		}
		found(decoded(value))
	}
	rest := strings.Join(kept, "&")
	if marked && rest != "" {
		rest = "?" + rest
	}
	return rest
}

// decoded returns what part of a query means; what encodes nothing is itself.
func decoded(s string) string {
	if plain, err := url.QueryUnescape(s); err == nil {
		return plain
	}
	return s
}

// eachCookie calls found for each cookie of that name in a Cookie field (RFC
// 6265 section 4.2.1), and returns the field without them.
func (p *place) eachCookie(value string, found func(value string)) string {
	kept := make([]string, 0, 4)
	for pair := range strings.SplitSeq(value, ";") {
		pair = strings.Trim(pair, " \t")
		if name, value, ok := strings.Cut(pair, "="); ok && strings.TrimRight(name, " \t") == p.name {
			found(strings.Trim(value, ` "`))
			continue
		}
		if pair != "" {
			kept = append(kept, pair)
		}
	}
	return strings.Join(kept, "; ")
}

// remove takes the token out of the request.
func (p *place) remove(req *message.Request) {
	ignore := func(string) {}
	switch p.kind {
	case inHeader:
		if p.id != message.Other {
			req.Fields.Remove(p.id)
		} else {
			req.Fields.RemoveNamed(p.name)
		}
	case inQuery:
		req.Query = p.eachParam(req.Query, ignore)
	case inCookie:
		kept := req.Fields[:0]
		for _, f := range req.Fields {
			if f.ID == message.Cookie {
				if f.Value = p.eachCookie(f.Value, ignore); f.Value == "" {
					continue
				}
			}
			kept = append(kept, f)
		}
		req.Fields = kept
	}
}
