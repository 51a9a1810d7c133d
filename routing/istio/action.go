package istio

import (
	"errors"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/types/known/durationpb"
	networking "istio.io/api/networking/v1alpha3"

	"fairway.dev/routing"
	"fairway.dev/routing/analysis"
)

// An actionTranslation makes an action of a rule, and notes what is wrong.
type actionTranslation struct {
	t      *httpTranslation
	s      *httpSource
	full   bool // a rewrite is of the whole path, whatever the match
	broken bool // the rule answers 500: half of an action may be worse than none
	out    routing.Action
}

// action translates all of a rule but its matches.
func (t *httpTranslation) action(s *httpSource, full bool) routing.Action {
	a := &actionTranslation{t: t, s: s, full: full}
	redirect := s.route.Redirect
	direct := inherit(s, func(r *networking.HTTPRoute) *networking.HTTPDirectResponse { return r.DirectResponse })
	route := len(s.route.Route) > 0
	switch {
	case redirect != nil && (direct != nil || route), direct != nil && route:
		a.breaks("", analysis.ConflictingFields, "keep one of them", errors.New("more than one of route, redirect and directResponse"))
	case redirect != nil:
		a.redirect(redirect)
	case direct != nil:
		a.direct(direct)
	case route:
		a.backends()
	default:
		a.breaks("", analysis.MissingField, "add route, redirect or directResponse", errors.New("no route, no redirect and no directResponse"))
	}
	a.fault()
	if c := inherit(s, func(r *networking.HTTPRoute) *networking.CorsPolicy { return r.CorsPolicy }); c != nil {
		a.cors(c)
	}
	if a.broken {
		return routing.Action{Status: http.StatusInternalServerError}
	}
	return a.out
}

// at is the origin of a field of the rule, or of the root's that it is
// inherited from; the empty field: of the rule.
func (a *actionTranslation) at(field string) routing.Origin {
	if field == "" {
		return a.s.at
	}
	name, _, _ := strings.Cut(field, ".")
	name, _, _ = strings.Cut(name, "[")
	of := a.s.ownerOf(name)
	return of.At(of.Field + "." + field)
}

// ownerOf is the rule that says what is said of a field: the root's, where
// a delegate's leaves it open.
func (s *httpSource) ownerOf(name string) routing.Origin {
	if set := inheritable[name]; set != nil && s.root != nil && !set(s.route) {
		return s.rootAt
	}
	return s.at
}

// inheritable are the fields that a delegate's rule has of its root's, and
// whether a rule has them itself.
var inheritable = map[string]func(*networking.HTTPRoute) bool{
	"directResponse": func(r *networking.HTTPRoute) bool { return r.DirectResponse != nil },
	"rewrite":        func(r *networking.HTTPRoute) bool { return r.Rewrite != nil },
	"timeout":        func(r *networking.HTTPRoute) bool { return r.Timeout != nil },
	"retries":        func(r *networking.HTTPRoute) bool { return r.Retries != nil },
	"fault":          func(r *networking.HTTPRoute) bool { return r.Fault != nil },
	"mirror":         func(r *networking.HTTPRoute) bool { return r.Mirror != nil },
	"mirrors":        func(r *networking.HTTPRoute) bool { return r.Mirrors != nil },
	"corsPolicy":     func(r *networking.HTTPRoute) bool { return r.CorsPolicy != nil },
	"headers":        func(r *networking.HTTPRoute) bool { return r.Headers != nil },
}

// breaks closes the rule.
func (a *actionTranslation) breaks(field string, reason routing.Reason, fix string, err error) {
	if err != nil {
		a.broken = true
		a.t.b.remarks.wrong(a.at(field), reason, fix, "%w", err)
	}
}

// lacks notes a part that is not in force, without which the rule works.
func (a *actionTranslation) lacks(field string, reason routing.Reason, fix string, err error) {
	if err != nil {
		a.t.b.remarks.wrong(a.at(field), reason, fix, "%w", err)
	}
}

func (a *actionTranslation) warn(field string, reason routing.Reason, fix, text string) {
	a.t.b.remarks.warn(a.at(field), reason, fix, "%s", text)
}

// redirect translates HTTPRedirect. What else is said of the request counts for
// nothing then.
func (a *actionTranslation) redirect(r *networking.HTTPRedirect) {
	out := &routing.Redirect{Scheme: r.Scheme, Status: int(r.RedirectCode), PortFrom: routing.RedirectPortAuthority}
	if out.Status == 0 {
		out.Status = http.StatusMovedPermanently
	}
	if !slices.Contains([]int{301, 302, 303, 307, 308}, out.Status) {
		a.breaks("redirect.redirectCode", analysis.InvalidStatus, "write 301, 302, 303, 307 or 308",
			fmt.Errorf("status %d: want 301, 302, 303, 307 or 308", out.Status))
	}
	if out.Scheme != "" && out.Scheme != "http" && out.Scheme != "https" {
		a.breaks("redirect.scheme", analysis.InvalidValue, "write http or https", fmt.Errorf("scheme %q: want http or https", out.Scheme))
	}
	a.redirectHost(r, out)
	switch {
	case r.Uri != "" && r.PrefixRewrite != "":
		a.breaks("redirect", analysis.ConflictingFields, "keep one of them", errors.New("uri and prefixRewrite: want one of them"))
	case r.Uri != "":
		out.Path.Full = &r.Uri
		a.breaks("redirect.uri", analysis.InvalidValue, fixPath, checkPath(r.Uri))
	case r.PrefixRewrite != "":
		out.Path = a.matchedEdit(&r.PrefixRewrite)
		a.breaks("redirect.prefixRewrite", analysis.InvalidValue, fixPath, checkPath(r.PrefixRewrite))
	}
	a.out.Redirect = out
	a.out.Response = a.headers("headers", a.routeHeaders()).response.change()
	a.ignored("redirect")
}

const fixPath = "write a path alone, with what is special escaped"

// redirectHost translates authority, with a port or without, and which port the
// redirect leads to.
func (a *actionTranslation) redirectHost(r *networking.HTTPRedirect, out *routing.Redirect) {
	host, port := r.Authority, uint64(0)
	if h, p, ok := cutPort(host); ok {
		var err error
		if port, err = strconv.ParseUint(p, 10, 16); err != nil || port == 0 {
			a.breaks("redirect.authority", analysis.InvalidHost, "write a host, or HOST:PORT", fmt.Errorf("%q: port %q: want 1-65535", host, p))
		}
		host = h
	}
	if host != "" {
		// The request's port is that of the request's host.
		out.Host, out.PortFrom, out.Port = strings.ToLower(host), routing.RedirectPortScheme, uint16(port)
		if err := hostFlaw(out.Host); err != "" || strings.Contains(host, "*") {
			a.breaks("redirect.authority", analysis.InvalidHost, "write a host, or HOST:PORT", fmt.Errorf("%q: not a host", r.Authority))
		}
	}
	switch p := r.RedirectPort.(type) {
	case *networking.HTTPRedirect_Port:
		if p.Port > math.MaxUint16 {
			a.breaks("redirect.port", analysis.InvalidPort, "write a number from 1 to 65535", fmt.Errorf("port %d: want 1-65535", p.Port))
		}
		if p.Port != 0 {
			out.Port = uint16(p.Port)
		}
	case *networking.HTTPRedirect_DerivePort:
		out.Port, out.PortFrom = 0, routing.RedirectPortScheme
		if p.DerivePort == networking.HTTPRedirect_FROM_REQUEST_PORT {
			out.PortFrom = routing.RedirectPortListener
		}
	}
}

// cutPort parts "host:port"; of "[::1]" it knows that there is none.
func cutPort(authority string) (host, port string, ok bool) {
	i := strings.LastIndexByte(authority, ':')
	if i < 0 || strings.HasSuffix(authority, "]") {
		return authority, "", false
	}
	return authority[:i], authority[i+1:], true
}

// direct translates HTTPDirectResponse.
func (a *actionTranslation) direct(d *networking.HTTPDirectResponse) {
	if d.Status < 200 || d.Status > 599 {
		a.breaks("directResponse.status", analysis.InvalidStatus, "write a status from 200 to 599", fmt.Errorf("status %d: want 200-599", d.Status))
	}
	a.out.Status = int(d.Status)
	switch body := d.GetBody().GetSpecifier().(type) {
	case *networking.HTTPBody_String_:
		a.out.Body = body.String_
	case *networking.HTTPBody_Bytes:
		if a.out.Body = string(body.Bytes); !utf8.Valid(body.Bytes) {
			a.breaks("directResponse.body.bytes", analysis.UnsupportedField, "send such a body from a backend",
				errors.New("a body that is not UTF-8"))
		}
	}
	if len(a.out.Body) > maxBody {
		a.breaks("directResponse.body", analysis.InvalidValue, "send such a body from a backend",
			fmt.Errorf("a body of %d bytes: want at most %d", len(a.out.Body), maxBody))
	}
	a.out.Response = a.headers("headers", a.routeHeaders()).response.change()
	a.ignored("directResponse")
}

// maxBody bounds the body of a direct response, in bytes, as Istio does.
const maxBody = 1 << 20

// ignored warns of what has no effect beside an answer of the gateway's own.
func (a *actionTranslation) ignored(beside string) {
	r := a.s.route
	for _, f := range []struct {
		name string
		set  bool
	}{{"rewrite", r.Rewrite != nil}, {"timeout", r.Timeout != nil}, {"retries", r.Retries != nil},
		{"mirror", r.Mirror != nil}, {"mirrors", len(r.Mirrors) > 0}} {
		if f.set {
			a.warn(f.name, analysis.IneffectiveField, "take it out", f.name+" has no effect beside "+beside)
		}
	}
}

// timeouts translates the bounds of an exchange: none at all is none, as 0s is.
func (a *actionTranslation) timeouts() {
	t := inherit(a.s, func(r *networking.HTTPRoute) *durationpb.Duration { return r.Timeout })
	if t == nil {
		return
	}
	d, err := duration(t)
	a.breaks("timeout", analysis.InvalidDuration, fixDuration, err)
	if a.out.Timeouts.Request = d; d == 0 {
		a.out.Timeouts.Request = -1
	}
}

const fixDuration = `write a duration like "1.5s"`

func duration(d *durationpb.Duration) (time.Duration, error) {
	if err := d.CheckValid(); err != nil {
		return 0, err
	}
	if v := d.AsDuration(); v >= 0 {
		return v, nil
	}
	return 0, fmt.Errorf("duration %s: want none below 0", d.AsDuration())
}

// rewrite translates HTTPRewrite, and the host that headers set, which comes
// after it.
func (a *actionTranslation) rewrite(host string) {
	r := inherit(a.s, func(r *networking.HTTPRoute) *networking.HTTPRewrite { return r.Rewrite })
	out := &routing.Rewrite{Host: host}
	if r.GetAuthority() != "" {
		out.Host = r.Authority
	}
	switch x := r.GetUriRegexRewrite(); {
	case x != nil && r.Uri != "":
		a.breaks("rewrite", analysis.ConflictingFields, "keep one of them", errors.New("uri and uriRegexRewrite: want one of them"))
	case x != nil:
		a.breaks("rewrite.uriRegexRewrite.match", analysis.InvalidRegex, fixRegex, checkRegex(x.Match))
		out.Path.Regex = &routing.RegexEdit{Pattern: x.Match, With: x.Rewrite}
	case r.GetUri() != "":
		out.Path = a.matchedEdit(&r.Uri)
		a.breaks("rewrite.uri", analysis.InvalidValue, fixPath, checkPath(r.Uri))
	}
	a.breaks("rewrite.authority", analysis.InvalidHost, "write HOST, or HOST:PORT", checkAuthority(out.Host))
	if *out != (routing.Rewrite{}) {
		a.out.Rewrite = out
	}
}

// matchedEdit replaces what the match took. All that an expression for every
// path took is the whole path.
func (a *actionTranslation) matchedEdit(with *string) routing.PathEdit {
	if a.full {
		return routing.PathEdit{Full: with}
	}
	return routing.PathEdit{Matched: with}
}

// checkPath says why text cannot stand in a request line as a path.
func checkPath(text string) error {
	if i := strings.IndexFunc(text, func(c rune) bool { return c <= ' ' || c >= 0x7f || c == '?' || c == '#' }); i >= 0 {
		return fmt.Errorf("path %q: character %q", text, text[i])
	}
	return nil
}

// checkAuthority says why text cannot be a request's host.
func checkAuthority(text string) error {
	if i := strings.IndexFunc(text, func(c rune) bool { return c <= ' ' || c >= 0x7f || strings.ContainsRune(`/?#@\`, c) }); i >= 0 {
		return fmt.Errorf("host %q: character %q", text, text[i])
	}
	return nil
}
