package convert

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	networking "istio.io/api/networking/v1alpha3"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// httpRules writes a rule of a VirtualService, for the matches that are left of
// it: as one, or as several where a prefix is rewritten or they are too many.
func (c *converter) httpRules(r *rule, matches []match) []gatewayv1.HTTPRouteRule {
	var out []gatewayv1.HTTPRouteRule
	add := func(edit *gatewayv1.HTTPPathModifier, of []match) {
		for chunk := range slices.Chunk(of, maxRuleMatches) {
			rule := c.httpRule(r, edit)
			for _, m := range chunk {
				rule.Matches = append(rule.Matches, m.written())
			}
			if len(rule.Matches) == 1 && chunk[0].everything() {
				rule.Matches = nil
			}
			out = append(out, rule)
		}
	}
	to, prefix := rewriteOf(r.http)
	if to == "" {
		add(nil, matches)
		return out
	}
	var whole []match // of which the path is replaced as a whole
	for _, m := range matches {
		switch {
		case m.origin == "" && !prefix:
			whole = append(whole, m)
		default:
			if edit := c.prefixEdit(r, m, to); edit != nil {
				add(edit, []match{m})
			}
		}
	}
	if len(whole) > 0 {
		add(&gatewayv1.HTTPPathModifier{Type: gatewayv1.FullPathHTTPPathModifier, ReplaceFullPath: new(to)}, whole)
	}
	return out
}

// rewriteOf is what takes the place of a path, and whether of a prefix alone.
func rewriteOf(h *networking.HTTPRoute) (to string, prefix bool) {
	switch {
	case h.Redirect.GetPrefixRewrite() != "":
		return h.Redirect.PrefixRewrite, true
	case h.Redirect.GetUri() != "":
		return "", false // see redirect: it replaces the path whatever the match
	}
	return h.Rewrite.GetUri(), false
}

// prefixEdit replaces the text prefix that the author wrote, byte by byte, as far
// as Gateway API can.
func (c *converter) prefixEdit(r *rule, m match, to string) *gatewayv1.HTTPPathModifier {
	origin := m.origin
	if origin == "" {
		origin = "/"
	}
	rest := strings.TrimPrefix(m.path.value, strings.TrimSuffix(origin, "/"))
	switch m.path.kind {
	case exact:
		return &gatewayv1.HTTPPathModifier{Type: gatewayv1.FullPathHTTPPathModifier, ReplaceFullPath: new(to + strings.TrimPrefix(m.path.value, origin))}
	case under:
	default:
		c.lost(r.field+".rewrite", "write a prefix of whole segments", "requests for %s: the prefix of an expression cannot be replaced", m.path.expression())
		return nil
	}
	bare := strings.HasSuffix(origin, "/")
	if bare != strings.HasSuffix(to, "/") {
		c.changed(r.field+".rewrite.uri", "let both, prefix and uri, end with '/' or neither",
			"%q becomes %q: slashes are put right between what is replaced and the rest, which Istio does not", origin+"/x", strings.TrimSuffix(to, "/")+"/x")
	}
	return &gatewayv1.HTTPPathModifier{Type: gatewayv1.PrefixMatchHTTPPathModifier, ReplacePrefixMatch: new(strings.TrimSuffix(to, "/") + rest + suffix(to, rest))}
}

// suffix keeps "/" from becoming nothing.
func suffix(to, rest string) string {
	if strings.TrimSuffix(to, "/")+rest == "" {
		return "/"
	}
	return ""
}

// written is the match as Gateway API has it.
func (m match) written() gatewayv1.HTTPRouteMatch {
	kind := gatewayv1.PathMatchPathPrefix
	switch {
	case m.path.isRegex():
		kind = gatewayv1.PathMatchRegularExpression
	case m.path.kind == exact:
		kind = gatewayv1.PathMatchExact
	}
	out := gatewayv1.HTTPRouteMatch{Path: &gatewayv1.HTTPPathMatch{Type: new(kind), Value: new(m.path.expression())}}
	if m.path == everyPath && !m.everything() {
		out.Path = nil
	}
	if m.method != "" {
		out.Method = new(gatewayv1.HTTPMethod(m.method))
	}
	for _, v := range m.headers {
		h := gatewayv1.HTTPHeaderMatch{Name: gatewayv1.HTTPHeaderName(v.name), Value: v.text}
		if v.regex {
			h.Type = new(gatewayv1.HeaderMatchRegularExpression)
		}
		out.Headers = append(out.Headers, h)
	}
	for _, v := range m.query {
		q := gatewayv1.HTTPQueryParamMatch{Name: gatewayv1.HTTPHeaderName(v.name), Value: v.text}
		if v.regex {
			q.Type = new(gatewayv1.QueryParamMatchRegularExpression)
		}
		out.QueryParams = append(out.QueryParams, q)
	}
	return out
}

// httpRule is a rule without its matches.
func (c *converter) httpRule(r *rule, edit *gatewayv1.HTTPPathModifier) gatewayv1.HTTPRouteRule {
	var out gatewayv1.HTTPRouteRule
	h := r.http
	switch {
	case h.DirectResponse != nil:
		c.closed(r.field+".directResponse", "let a backend answer", "no filter of Gateway API answers with %d", h.DirectResponse.Status)
		return out
	case h.Rewrite.GetUriRegexRewrite() != nil:
		c.closed(r.field+".rewrite.uriRegexRewrite", "rewrite by a prefix, or in the backend", "paths are not rewritten by an expression")
		return out
	}
	out.Filters = c.headerFilters(r.field+".headers", h.Headers)
	if h.Redirect != nil {
		out.Filters = append(out.Filters, c.redirect(r.field+".redirect", h.Redirect, edit))
		return out
	}
	rewrite := &gatewayv1.HTTPURLRewriteFilter{Path: edit}
	if host := authority(h); host != "" {
		rewrite.Hostname = new(gatewayv1.PreciseHostname(host))
	}
	if rewrite.Path != nil || rewrite.Hostname != nil {
		out.Filters = append(out.Filters, gatewayv1.HTTPRouteFilter{Type: gatewayv1.HTTPRouteFilterURLRewrite, URLRewrite: rewrite})
	}
	out.Filters = append(out.Filters, c.mirrors(r)...)
	if h.CorsPolicy != nil {
		out.Filters = append(out.Filters, gatewayv1.HTTPRouteFilter{Type: gatewayv1.HTTPRouteFilterCORS, CORS: c.cors(r.field+".corsPolicy", h.CorsPolicy)})
	}
	if h.Fault != nil {
		c.lost(r.field+".fault", "keep the VirtualService as long as faults are tried", "faults are not injected")
	}
	c.waits(r, &out)
	for i, d := range h.Route {
		out.BackendRefs = append(out.BackendRefs, c.httpBackend(r, i, d))
	}
	if len(out.BackendRefs) == 1 {
		out.BackendRefs[0].Weight = nil // a single destination has all
	}
	return out
}

// authority is the host that the backend is sent.
func authority(h *networking.HTTPRoute) string {
	if a := h.Rewrite.GetAuthority(); a != "" {
		return a
	}
	for k, v := range h.Headers.GetRequest().GetSet() {
		if strings.EqualFold(k, "host") || strings.EqualFold(k, ":authority") {
			return v
		}
	}
	return ""
}

func (c *converter) headerFilters(field string, h *networking.Headers) []gatewayv1.HTTPRouteFilter {
	var out []gatewayv1.HTTPRouteFilter
	if f := c.headerFilter(field+".request", h.GetRequest()); f != nil {
		out = append(out, gatewayv1.HTTPRouteFilter{Type: gatewayv1.HTTPRouteFilterRequestHeaderModifier, RequestHeaderModifier: f})
	}
	if f := c.headerFilter(field+".response", h.GetResponse()); f != nil {
		out = append(out, gatewayv1.HTTPRouteFilter{Type: gatewayv1.HTTPRouteFilterResponseHeaderModifier, ResponseHeaderModifier: f})
	}
	return out
}

func (c *converter) headerFilter(field string, ops *networking.Headers_HeaderOperations) *gatewayv1.HTTPHeaderFilter {
	list := func(of map[string]string, part string) []gatewayv1.HTTPHeader {
		var out []gatewayv1.HTTPHeader
		for _, k := range slices.Sorted(maps.Keys(of)) {
			switch {
			case strings.EqualFold(k, "host"), strings.HasPrefix(k, ":"):
				continue // the host is rewritten, other pseudo headers are left alone
			case strings.Contains(of[k], "%"):
				c.changed(field+"."+part, "write a fixed value", "%s: %q is not evaluated", k, of[k])
			}
			out = append(out, gatewayv1.HTTPHeader{Name: gatewayv1.HTTPHeaderName(k), Value: of[k]})
		}
		return out
	}
	f := &gatewayv1.HTTPHeaderFilter{Set: list(ops.GetSet(), "set"), Add: list(ops.GetAdd(), "add"), Remove: ops.GetRemove()}
	if len(f.Set)+len(f.Add)+len(f.Remove) == 0 {
		return nil
	}
	return f
}

func (c *converter) redirect(field string, r *networking.HTTPRedirect, edit *gatewayv1.HTTPPathModifier) gatewayv1.HTTPRouteFilter {
	out := &gatewayv1.HTTPRequestRedirectFilter{Path: edit, StatusCode: new(301)}
	switch r.RedirectCode {
	case 0:
	case 301, 302, 303, 307, 308:
		out.StatusCode = new(int(r.RedirectCode))
	default:
		c.changed(field+".redirectCode", "choose 301, 302, 303, 307 or 308", "%d becomes 302", r.RedirectCode)
		out.StatusCode = new(302)
	}
	if r.Uri != "" {
		out.Path = &gatewayv1.HTTPPathModifier{Type: gatewayv1.FullPathHTTPPathModifier, ReplaceFullPath: new(r.Uri)}
	}
	if r.Scheme != "" {
		out.Scheme = new(r.Scheme)
	}
	if r.Authority != "" {
		host, port, _ := strings.Cut(r.Authority, ":")
		out.Hostname = new(gatewayv1.PreciseHostname(host))
		if n, err := strconv.ParseUint(port, 10, 16); err == nil && n > 0 {
			out.Port = new(gatewayv1.PortNumber(n))
		}
	}
	switch {
	case r.GetPort() != 0:
		out.Port = new(gatewayv1.PortNumber(r.GetPort()))
	case out.Port == nil && r.Scheme == "":
		c.changed(field, "name the port", "without a port the Location has the listener's; Istio keeps the one that the client wrote")
	}
	return gatewayv1.HTTPRouteFilter{Type: gatewayv1.HTTPRouteFilterRequestRedirect, RequestRedirect: out}
}

func (c *converter) mirrors(r *rule) []gatewayv1.HTTPRouteFilter {
	type copied struct {
		field string
		to    *networking.Destination
		share float64
	}
	var list []copied
	if m := r.http.Mirror; m != nil {
		share := 100.0
		if p := r.http.MirrorPercentage; p != nil {
			share = p.Value
		} else if p := r.http.MirrorPercent; p != nil {
			share = float64(p.Value)
		}
		list = append(list, copied{r.field + ".mirror", m, share})
	}
	for i, m := range r.http.Mirrors {
		share := 100.0
		if m.GetPercentage() != nil {
			share = m.Percentage.Value
		}
		list = append(list, copied{fmt.Sprintf("%s.mirrors[%d].destination", r.field, i), m.GetDestination(), share})
	}
	var out []gatewayv1.HTTPRouteFilter
	for _, m := range list {
		ref, ok := c.backend(m.field, m.to, r.space, "HTTPRoute")
		if !ok || m.share <= 0 {
			continue
		}
		f := &gatewayv1.HTTPRequestMirrorFilter{BackendRef: ref}
		if m.share < 100 {
			const denominator = 10000
			f.Fraction = &gatewayv1.Fraction{Numerator: int32(math.Round(m.share * denominator / 100)), Denominator: new(int32(denominator))}
		}
		out = append(out, gatewayv1.HTTPRouteFilter{Type: gatewayv1.HTTPRouteFilterRequestMirror, RequestMirror: f})
	}
	return out
}

func (c *converter) cors(field string, p *networking.CorsPolicy) *gatewayv1.HTTPCORSFilter {
	out := &gatewayv1.HTTPCORSFilter{}
	for _, o := range p.AllowOrigin {
		out.AllowOrigins = append(out.AllowOrigins, gatewayv1.CORSOrigin(o))
	}
	for i, o := range p.AllowOrigins {
		switch t := o.GetMatchType().(type) {
		case *networking.StringMatch_Exact:
			out.AllowOrigins = append(out.AllowOrigins, gatewayv1.CORSOrigin(t.Exact))
		default:
			c.lost(fmt.Sprintf("%s.allowOrigins[%d]", field, i), "name the origins, or write one with a wildcard: https://*.example.com", "origins by prefix or expression")
		}
	}
	if slices.Contains(out.AllowOrigins, "*") {
		out.AllowOrigins = []gatewayv1.CORSOrigin{"*"}
	}
	for _, m := range p.AllowMethods {
		out.AllowMethods = append(out.AllowMethods, gatewayv1.HTTPMethodWithWildcard(m))
	}
	for _, h := range p.AllowHeaders {
		out.AllowHeaders = append(out.AllowHeaders, gatewayv1.HTTPHeaderName(h))
	}
	for _, h := range p.ExposeHeaders {
		out.ExposeHeaders = append(out.ExposeHeaders, gatewayv1.HTTPHeaderName(h))
	}
	if p.AllowCredentials != nil {
		out.AllowCredentials = new(p.AllowCredentials.Value)
	}
	out.MaxAge = int32(p.MaxAge.AsDuration() / time.Second)
	if p.UnmatchedPreflights != networking.CorsPolicy_IGNORE {
		c.changed(field+".unmatchedPreflights", "nothing, if the backend answers no preflights itself", "preflights of other origins are answered by the gateway, and not forwarded")
	}
	return out
}

// waits converts timeouts and retries.
func (c *converter) waits(r *rule, out *gatewayv1.HTTPRouteRule) {
	t := &gatewayv1.HTTPRouteTimeouts{}
	if d := r.http.Timeout.AsDuration(); d > 0 {
		t.Request = new(duration(d))
	}
	retries := r.http.Retries
	if d := retries.GetPerTryTimeout().AsDuration(); d > 0 {
		t.BackendRequest = new(duration(d))
		if whole := r.http.Timeout.AsDuration(); whole > 0 && d > whole {
			t.BackendRequest = t.Request
		}
	}
	if *t != (gatewayv1.HTTPRouteTimeouts{}) {
		out.Timeouts = t
	}
	if retries == nil {
		return
	}
	retry := &gatewayv1.HTTPRouteRetry{Attempts: new(int(retries.Attempts))}
	if d := retries.Backoff.AsDuration(); d > 0 {
		retry.Backoff = new(duration(d))
	}
	for on := range strings.SplitSeq(retries.RetryOn, ",") {
		switch code, err := strconv.Atoi(on); {
		case err == nil && code >= 400 && code <= 599:
			retry.Codes = append(retry.Codes, gatewayv1.HTTPRouteRetryStatusCode(code))
		case on == "gateway-error":
			retry.Codes = append(retry.Codes, 502, 503, 504)
		case on == "5xx":
			retry.Codes = append(retry.Codes, 500, 502, 503, 504)
			c.changed(r.field+".retries.retryOn", "name the statuses", "5xx becomes 500, 502, 503 and 504")
		case on == "retriable-4xx":
			retry.Codes = append(retry.Codes, 409)
		case on == "", on == "connect-failure", on == "refused-stream", on == "retriable-status-codes", on == "reset":
			// What every gateway tries again, or says nothing by itself.
		default:
			c.lost(r.field+".retries.retryOn", "name statuses", "%q", on)
		}
	}
	slices.Sort(retry.Codes)
	retry.Codes = slices.Compact(retry.Codes)
	out.Retry = retry
}

// duration is written as GEP-2257 has it: at most five digits of each unit.
func duration(d time.Duration) gatewayv1.Duration {
	d = min(d.Round(time.Millisecond), 99999*time.Hour)
	var b strings.Builder
	for _, unit := range []struct {
		size time.Duration
		name string
	}{{time.Hour, "h"}, {time.Minute, "m"}, {time.Second, "s"}, {time.Millisecond, "ms"}} {
		if n := d / unit.size; n > 0 {
			fmt.Fprintf(&b, "%d%s", n, unit.name)
			d -= n * unit.size
		}
	}
	if b.Len() == 0 {
		return "0s"
	}
	return gatewayv1.Duration(b.String())
}
