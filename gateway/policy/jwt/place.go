package jwt

import (
	"net/url"
	"slices"
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
		for rest := strings.TrimPrefix(req.Query, "?"); rest != ""; {
			var param string
			param, rest, _ = strings.Cut(rest, "&")
			if value, ok := p.param(param); ok {
				token, n = decoded(value), n+1
			}
		}
	case inCookie:
		for i := range req.Fields {
			if req.Fields[i].ID != message.Cookie {
				continue
			}
			for rest := req.Fields[i].Value; rest != ""; {
				var pair string
				pair, rest, _ = strings.Cut(rest, ";")
				if value, ok := p.cookie(pair); ok {
					token, n = value, n+1
				}
			}
		}
	}
	return token, n
}

// param returns the value of a parameter, if it is that of p.
func (p *place) param(param string) (value string, ok bool) {
	name, value, _ := strings.Cut(param, "=")
	return value, param != "" && decoded(name) == p.name
}

// cookie returns the value of a pair in a Cookie field, if it is that of p (RFC
// 6265 section 4.2.1).
func (p *place) cookie(pair string) (value string, ok bool) {
	name, value, ok := strings.Cut(pair, "=")
	return strings.Trim(value, " \t\""), ok && strings.Trim(name, " \t") == p.name
}

// is reports whether f is the header of p.
func (p *place) is(f *message.Field) bool {
	return f.ID == p.id && (p.id != message.Other || message.EqualFold(p.name, f.Text))
}

// decoded returns what part of a query means; what encodes nothing is itself.
func decoded(s string) string {
	if strings.IndexByte(s, '%') < 0 && strings.IndexByte(s, '+') < 0 {
		return s
	}
	if plain, err := url.QueryUnescape(s); err == nil {
		return plain
	}
	return s
}

// without returns a list less the parts that are p's.
func without(list, separator, join string, ours func(string) (string, bool)) string {
	parts := slices.DeleteFunc(strings.Split(list, separator), func(part string) bool {
		_, is := ours(part)
		return is || strings.Trim(part, " \t") == ""
	})
	for i := range parts {
		parts[i] = strings.Trim(parts[i], " \t")
	}
	return strings.Join(parts, join)
}

// remove takes the token out of the request.
func (p *place) remove(req *message.Request) {
	switch p.kind {
	case inHeader:
		if p.id != message.Other {
			req.Fields.Remove(p.id)
		} else {
			req.Fields.RemoveNamed(p.name)
		}
	case inQuery:
		if req.Query = without(strings.TrimPrefix(req.Query, "?"), "&", "&", p.param); req.Query != "" {
			req.Query = "?" + req.Query
		}
	case inCookie:
		kept := req.Fields[:0]
		for _, f := range req.Fields {
			if f.ID == message.Cookie {
				if f.Value = without(f.Value, ";", "; ", p.cookie); f.Value == "" {
					continue
				}
			}
			kept = append(kept, f)
		}
		req.Fields = kept
	}
}
