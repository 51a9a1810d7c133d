package gatewayapi

import (
	"slices"
	"strings"
	"time"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"fairway.dev/routing"
)

// filtered is what a list of filters comes to.
type filtered struct {
	request, response routing.HeaderChange
	redirect          *routing.Redirect
	rewrite           *routing.Rewrite
	mirrors           []routing.Mirror
	cors              *routing.CORS
	auth              *routing.ExternalAuth
	unasked           bool // who is to be asked cannot be: nothing may pass
}

// filters translates a list of filters. It reports false if one of them cannot
// be done: then nothing that they apply to may pass, as a filter that was
// skipped may be the one that keeps somebody out.
func (b *ruleBuilder) filters(field string, list []gatewayv1.HTTPRouteFilter) (filtered, bool) {
	var out filtered
	before := len(b.flaws)
	for i := range list {
		f, at := &list[i], field+"["+itoa(i)+"]"
		once := f.Type != gatewayv1.HTTPRouteFilterRequestMirror && f.Type != gatewayv1.HTTPRouteFilterExtensionRef
		if once && slices.ContainsFunc(list[:i], func(g gatewayv1.HTTPRouteFilter) bool { return g.Type == f.Type }) {
			b.flaw(at, gatewayv1.RouteReasonIncompatibleFilters, "a second filter %s: want one", f.Type)
			continue
		}
		b.filter(at, f, &out)
	}
	if out.redirect != nil && out.rewrite != nil {
		b.flaw(field, gatewayv1.RouteReasonIncompatibleFilters, "RequestRedirect and URLRewrite: want one of them")
	}
	return out, len(b.flaws) == before
}

func (b *ruleBuilder) filter(at string, f *gatewayv1.HTTPRouteFilter, out *filtered) {
	switch {
	case f.Type == gatewayv1.HTTPRouteFilterRequestHeaderModifier && f.RequestHeaderModifier != nil:
		out.request = b.headers(at+".requestHeaderModifier", f.RequestHeaderModifier)
	case f.Type == gatewayv1.HTTPRouteFilterResponseHeaderModifier && f.ResponseHeaderModifier != nil:
		out.response = b.headers(at+".responseHeaderModifier", f.ResponseHeaderModifier)
	case f.Type == gatewayv1.HTTPRouteFilterRequestRedirect && f.RequestRedirect != nil:
		out.redirect = b.redirect(at+".requestRedirect", f.RequestRedirect)
	case f.Type == gatewayv1.HTTPRouteFilterURLRewrite && f.URLRewrite != nil:
		out.rewrite = &routing.Rewrite{
			Host: string(or(f.URLRewrite.Hostname, "")),
			Path: b.pathEdit(at+".urlRewrite.path", f.URLRewrite.Path),
		}
	case f.Type == gatewayv1.HTTPRouteFilterRequestMirror && f.RequestMirror != nil:
		b.mirror(at+".requestMirror", f.RequestMirror, out)
	case f.Type == gatewayv1.HTTPRouteFilterCORS && f.CORS != nil:
		out.cors = b.cors(at+".cors", f.CORS)
	case f.Type == gatewayv1.HTTPRouteFilterExternalAuth && f.ExternalAuth != nil && !b.share:
		b.externalAuth(at+".externalAuth", f.ExternalAuth, out)
	case f.Type == gatewayv1.HTTPRouteFilterExtensionRef && f.ExtensionRef != nil:
		ref := f.ExtensionRef
		message := "filter " + printKind(ref.Group, ref.Kind) + " " + string(ref.Name) + ": no extensions are known"
		b.unresolved(at+".extensionRef", routing.Reason(gatewayv1.RouteReasonInvalidKind), message)
		b.note(gatewayv1.RouteReasonUnsupportedValue, message)
	default:
		b.unsupported(at, "filter %s: it is not supported, or without what it is to do", f.Type)
	}
}

func (b *ruleBuilder) headers(at string, f *gatewayv1.HTTPHeaderFilter) routing.HeaderChange {
	var out routing.HeaderChange
	out.Set = b.headerList(at+".set", f.Set)
	out.Add = b.headerList(at+".add", f.Add)
	for i, name := range f.Remove {
		if !isToken(name) {
			b.unsupported(at+".remove["+itoa(i)+"]", "header name %q: want a token", name)
		}
		out.Remove = append(out.Remove, strings.ToLower(name))
	}
	return out
}

// headerList keeps the first of equal names, as HTTPHeader wants it.
func (b *ruleBuilder) headerList(at string, list []gatewayv1.HTTPHeader) []routing.Header {
	var out []routing.Header
	for i, h := range list {
		name := string(h.Name)
		if !isToken(name) {
			b.unsupported(at+"["+itoa(i)+"].name", "header name %q: want a token", name)
		}
		if !isFieldValue(h.Value) {
			b.unsupported(at+"["+itoa(i)+"].value", "header value %q: want no control characters", h.Value)
		}
		if !slices.ContainsFunc(out, func(o routing.Header) bool { return strings.EqualFold(o.Name, name) }) {
			out = append(out, routing.Header{Name: name, Value: h.Value})
		}
	}
	return out
}

func (b *ruleBuilder) redirect(at string, f *gatewayv1.HTTPRequestRedirectFilter) *routing.Redirect {
	out := &routing.Redirect{
		Scheme: or(f.Scheme, ""),
		Host:   string(or(f.Hostname, "")),
		Status: or(f.StatusCode, 302),
		Path:   b.pathEdit(at+".path", f.Path),
	}
	if out.Scheme != "" && out.Scheme != "http" && out.Scheme != "https" {
		b.unsupported(at+".scheme", "scheme %q: want http or https", out.Scheme)
	}
	switch out.Status {
	case 301, 302, 303, 307, 308:
	default:
		b.unsupported(at+".statusCode", "status code %d: want 301, 302, 303, 307 or 308", out.Status)
	}
	if port := or(f.Port, 0); f.Port != nil && (port < 1 || port > 65535) {
		b.unsupported(at+".port", "port %d: want 1-65535", port)
	} else {
		out.Port = uint16(port)
	}
	return out
}

func (b *ruleBuilder) pathEdit(at string, p *gatewayv1.HTTPPathModifier) routing.PathEdit {
	switch {
	case p == nil:
		return routing.PathEdit{}
	case p.Type == gatewayv1.FullPathHTTPPathModifier && p.ReplaceFullPath != nil:
		return routing.PathEdit{Full: p.ReplaceFullPath}
	case p.Type == gatewayv1.PrefixMatchHTTPPathModifier && p.ReplacePrefixMatch != nil:
		if !b.prefix {
			b.unsupported(at, "ReplacePrefixMatch beside a match that is not by PathPrefix")
		}
		return routing.PathEdit{Prefix: p.ReplacePrefixMatch}
	}
	b.unsupported(at, "type %s: want ReplaceFullPath or ReplacePrefixMatch, and its value", p.Type)
	return routing.PathEdit{}
}

// mirror adds a mirror. One whose backend is not there is left out: it answers
// nobody.
func (b *ruleBuilder) mirror(at string, f *gatewayv1.HTTPRequestMirrorFilter, out *filtered) {
	m := routing.Mirror{Origin: b.origin(at), Numerator: 100, Denominator: 100}
	number, of := or(f.Percent, 100), int32(100)
	if f.Fraction != nil {
		number, of = f.Fraction.Numerator, or(f.Fraction.Denominator, 100)
	}
	if f.Fraction != nil && f.Percent != nil || number < 0 || of < 1 || number > of {
		b.unsupported(at, "mirror of %d/%d: want a percent or a fraction from 0 to 1", number, of)
		return
	}
	m.Numerator, m.Denominator = uint32(number), uint32(of)
	if to, ok := b.cluster(at+".backendRef", &f.BackendRef); ok {
		m.Cluster = clusterName(to.cluster)
		out.mirrors = append(out.mirrors, m)
	}
}

func (b *ruleBuilder) cors(at string, f *gatewayv1.HTTPCORSFilter) *routing.CORS {
	out := &routing.CORS{
		AllowCredentials: or(f.AllowCredentials, false),
		MaxAge:           5 * time.Second,
	}
	if f.MaxAge > 0 {
		out.MaxAge = time.Duration(f.MaxAge) * time.Second
	}
	for i, o := range f.AllowOrigins {
		if o != "*" && !strings.HasPrefix(string(o), "http://") && !strings.HasPrefix(string(o), "https://") {
			b.unsupported(at+".allowOrigins["+itoa(i)+"]", "origin %q: want *, http://HOST or https://HOST", o)
		}
		out.AllowOrigins = append(out.AllowOrigins, string(o))
	}
	out.AllowMethods = tokens(b, at+".allowMethods", f.AllowMethods)
	out.AllowHeaders = tokens(b, at+".allowHeaders", f.AllowHeaders)
	out.ExposeHeaders = tokens(b, at+".exposeHeaders", f.ExposeHeaders)
	return out
}

// externalAuth translates an ExternalAuth. Where its server is not there, the
// rule answers an error: the reference is what is wrong, not the rule.
func (b *ruleBuilder) externalAuth(at string, f *gatewayv1.HTTPExternalAuthFilter, out *filtered) {
	auth := &routing.ExternalAuth{Origin: b.origin(at)}
	as := httpUse
	switch f.ExternalAuthProtocol {
	case gatewayv1.HTTPRouteExternalAuthHTTPProtocol:
		if c := f.HTTPAuthConfig; c != nil {
			if auth.Path = c.Path; c.Path != "" && c.Path[0] != '/' {
				auth.Path = "/" + c.Path
			}
			auth.Request = b.fieldNames(at+".http.allowedHeaders", c.AllowedRequestHeaders)
			auth.Response = b.fieldNames(at+".http.allowedResponseHeaders", c.AllowedResponseHeaders)
		}
	case gatewayv1.HTTPRouteExternalAuthGRPCProtocol:
		auth.GRPC, as = true, grpcUse
		if c := f.GRPCAuthConfig; c != nil {
			auth.Request = b.fieldNames(at+".grpc.allowedHeaders", c.AllowedRequestHeaders)
		}
	default:
		b.unsupported(at+".protocol", "protocol %s: want HTTP or GRPC", f.ExternalAuthProtocol)
	}
	if f.ForwardBody != nil {
		auth.MaxBody = int(f.ForwardBody.MaxSize)
	}
	if strings.ContainsFunc(auth.Path, func(c rune) bool { return c <= ' ' || c >= 0x7f || c == '?' || c == '#' }) {
		b.unsupported(at+".http.path", "path %q: want one without a query, and nothing that needs escaping", auth.Path)
	}
	to, ok := b.clusterFor(as, at+".backendRef", &f.BackendRef)
	if !ok {
		out.unasked = true
		return
	}
	auth.Cluster = clusterName(to.cluster)
	out.auth = auth
}

func (b *ruleBuilder) fieldNames(at string, list []string) []string {
	names := tokens(b, at, list)
	for i := range names {
		names[i] = strings.ToLower(names[i])
	}
	return names
}

func tokens[S ~string](b *ruleBuilder, at string, list []S) []string {
	var out []string
	for i, s := range list {
		if !isToken(string(s)) {
			b.unsupported(at+"["+itoa(i)+"]", "name %q: want a token", s)
		}
		out = append(out, string(s))
	}
	return out
}

// isToken reports whether s is a token (RFC 9110 section 5.6.2), as names of
// fields, methods and cookies are.
func isToken(s string) bool {
	for i := range len(s) {
		c := s[i]
		letter := 'a' <= c|0x20 && c|0x20 <= 'z'
		if !letter && ('0' > c || c > '9') && strings.IndexByte("!#$%&'*+-.^_`|~", c) < 0 {
			return false
		}
	}
	return s != ""
}

// isFieldValue reports whether s may stand as the value of a field (RFC 9110
// section 5.5): nothing in it ends a line.
func isFieldValue(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}
