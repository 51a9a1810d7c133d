package analysis

import (
	"net/http"
	"strconv"
	"strings"

	networking "istio.io/api/networking/v1alpha3"
)

func (f *findings) httpRoute(field string, r *networking.HTTPRoute, delegate bool) {
	f.httpActions(field, r, delegate)
	for i, m := range r.Match {
		f.httpMatch(at(field+".match", i), m)
	}
	f.headers(field+".headers", r.Headers)
	f.authorities(field, r)
	f.cors(field+".corsPolicy", r.CorsPolicy)
	f.fault(field+".fault", r.Fault)
	f.mirrors(field, r)
	f.redirect(field+".redirect", r.Redirect, r.Match)
	if d := r.DirectResponse; d != nil {
		f.status(field+".directResponse.status", int64(d.Status))
	}
	f.retries(field+".retries", r.Retries)
	f.rewrite(field+".rewrite", r.Rewrite)
	weights := make([]int32, len(r.Route))
	for i, d := range r.Route {
		f.destination(at(field+".route", i)+".destination", d.GetDestination())
		f.headers(at(field+".route", i)+".headers", d.GetHeaders())
		weights[i] = d.GetWeight()
	}
	f.weights(field+".route", weights)
	f.timeout(field+".timeout", r.Timeout)
}

// httpActions checks that a rule does one thing.
func (f *findings) httpActions(field string, r *networking.HTTPRoute, delegate bool) {
	if r.Delegate != nil {
		if delegate {
			f.refuse(field+".delegate", ConflictingFields, "send to the other delegate from the root", "a delegate has no delegate of its own")
		}
		f.excludes(field, choice{"delegate", true}, choice{"route", len(r.Route) > 0}, choice{"redirect", r.Redirect != nil},
			choice{"directResponse", r.DirectResponse != nil})
		return
	}
	route, redirect, direct := len(r.Route) > 0, r.Redirect != nil, r.DirectResponse != nil
	f.excludes(field, choice{"route", route}, choice{"redirect", redirect}, choice{"directResponse", direct})
	if !route && !redirect && !direct {
		f.refuse(field, MissingField, "add route, redirect or directResponse", "no route, no redirect and no directResponse")
	}
	answer := choice{"directResponse", direct}
	if redirect {
		answer = choice{"redirect", true}
	}
	f.excludes(field, answer, choice{"fault", r.Fault != nil})
	f.excludes(field, answer, choice{"rewrite", r.Rewrite != nil})
}

func (f *findings) httpMatch(field string, m *networking.HTTPMatchRequest) {
	if m == nil {
		return
	}
	f.text(field+".uri", m.Uri, true)
	f.text(field+".scheme", m.Scheme, false)
	f.text(field+".method", m.Method, false)
	f.text(field+".authority", m.Authority, false)
	f.matchedHeaders(field+".headers", m.Headers)
	f.matchedHeaders(field+".withoutHeaders", m.WithoutHeaders)
	for name, v := range sorted(m.QueryParams) {
		f.text(key(field+".queryParams", name), v, false)
	}
	if m.Port != 0 {
		f.port(field+".port", m.Port)
	}
	f.labels(field+".sourceLabels", m.SourceLabels)
	f.gatewayNames(field+".gateways", m.Gateways)
	if m.SourceNamespace != "" {
		f.label(field+".sourceNamespace", m.SourceNamespace)
	}
}

func (f *findings) matchedHeaders(field string, headers map[string]*networking.StringMatch) {
	for name, v := range sorted(headers) {
		if !isClaim(name) && !strings.HasPrefix(name, ":") && !token.MatchString(name) {
			f.refuse(key(field, name), InvalidHeader, "write a header's name: letters, digits and hyphens", "%q: not a header's name", name)
		}
		if v.GetRegex() != "*" { // any value
			f.text(key(field, name), v, false)
		}
	}
}

func (f *findings) headers(field string, h *networking.Headers) {
	for _, side := range []struct {
		name      string
		ops       *networking.Headers_HeaderOperations
		authority bool
	}{{"request", h.GetRequest(), true}, {"response", h.GetResponse(), false}} {
		field := field + "." + side.name
		for name, value := range sorted(side.ops.GetSet()) {
			f.headerName(key(field+".set", name), name, side.authority)
			f.headerValue(key(field+".set", name), value)
		}
		for name, value := range sorted(side.ops.GetAdd()) {
			f.headerName(key(field+".add", name), name, side.authority)
			f.headerValue(key(field+".add", name), value)
		}
		for i, name := range side.ops.GetRemove() {
			f.headerName(at(field+".remove", i), name, false)
		}
	}
}

// authorities checks that the host is rewritten in one way.
func (f *findings) authorities(field string, r *networking.HTTPRoute) {
	n := 0
	if r.Rewrite.GetAuthority() != "" {
		n++
	}
	ops := r.Headers.GetRequest()
	for _, of := range []map[string]string{ops.GetSet(), ops.GetAdd()} {
		for name := range of {
			if strings.EqualFold(name, "host") || strings.EqualFold(name, ":authority") {
				n++
			}
		}
	}
	if n > 1 {
		f.refuse(field, ConflictingFields, "keep rewrite.authority alone", "the host is set %d times", n)
	}
}

func (f *findings) cors(field string, c *networking.CorsPolicy) {
	if c == nil {
		return
	}
	if len(c.AllowOrigin) > 0 {
		f.warn(field+".allowOrigin", DeprecatedField, "use allowOrigins with exact", "allowOrigin is deprecated")
	}
	for i, o := range c.AllowOrigins {
		field := at(field+".allowOrigins", i)
		if o.GetExact()+o.GetPrefix()+o.GetRegex() == "" {
			f.refuse(field, InvalidMatch, "write exact, prefix or regex", "an empty origin")
		}
		f.text(field, o, false)
	}
	for i, m := range c.AllowMethods {
		if m != "*" && !token.MatchString(m) {
			f.refuse(at(field+".allowMethods", i), InvalidHeader, "write a method, like GET", "%q: not a method", m)
		}
	}
	for i, h := range c.AllowHeaders {
		f.corsHeader(at(field+".allowHeaders", i), h)
	}
	for i, h := range c.ExposeHeaders {
		f.corsHeader(at(field+".exposeHeaders", i), h)
	}
	f.timeout(field+".maxAge", c.MaxAge)
	if c.MaxAge.GetNanos() > 0 {
		f.refuse(field+".maxAge", InvalidDuration, "write whole seconds", "%v: want whole seconds", c.MaxAge.AsDuration())
	}
}

func (f *findings) corsHeader(field, name string) {
	if name != "*" && !token.MatchString(name) {
		f.refuse(field, InvalidHeader, "write a header's name: letters, digits and hyphens", "%q: not a header's name", name)
	}
}

func (f *findings) fault(field string, fault *networking.HTTPFaultInjection) {
	if fault == nil {
		return
	}
	if fault.Abort == nil && fault.Delay == nil {
		f.refuse(field, MissingField, "add delay or abort", "no delay and no abort")
	}
	if d := fault.Delay; d != nil {
		f.percentage(field+".delay.percentage", d.Percentage)
		if d.Percent != 0 {
			f.warn(field+".delay.percent", DeprecatedField, "use percentage.value", "percent is deprecated")
			f.percent(field+".delay.percent", float64(d.Percent))
		}
		switch t := d.HttpDelayType.(type) {
		case *networking.HTTPFaultInjection_Delay_FixedDelay:
			f.duration(field+".delay.fixedDelay", t.FixedDelay)
		case *networking.HTTPFaultInjection_Delay_ExponentialDelay:
			f.refuse(field+".delay.exponentialDelay", UnsupportedField, "use fixedDelay", "exponentialDelay is not implemented, by Istio neither")
		default:
			f.refuse(field+".delay.fixedDelay", MissingField, "add fixedDelay", "no fixedDelay")
		}
	}
	if a := fault.Abort; a != nil {
		f.percentage(field+".abort.percentage", a.Percentage)
		switch t := a.ErrorType.(type) {
		case *networking.HTTPFaultInjection_Abort_HttpStatus:
			f.status(field+".abort.httpStatus", int64(t.HttpStatus))
		case *networking.HTTPFaultInjection_Abort_GrpcStatus:
			if !grpcStatus[t.GrpcStatus] {
				f.refuse(field+".abort.grpcStatus", InvalidStatus, "write a name of gRPC's, like UNAVAILABLE", "%q: not a status of gRPC", t.GrpcStatus)
			}
		case nil:
			f.warn(field+".abort", MissingField, "add httpStatus or grpcStatus", "nothing to answer: no request is aborted")
		}
	}
	if fault.Delay.GetPercentage() == nil && fault.Delay.GetPercent() == 0 && fault.Delay != nil {
		f.warn(field+".delay.percentage", IneffectiveField, "add percentage", "no percentage: no request is delayed")
	}
	if fault.Abort != nil && fault.Abort.Percentage == nil {
		f.warn(field+".abort.percentage", IneffectiveField, "add percentage", "no percentage: no request is aborted")
	}
}

// grpcStatus are the names of gRPC's statuses.
var grpcStatus = map[string]bool{
	"OK": true, "CANCELLED": true, "UNKNOWN": true, "INVALID_ARGUMENT": true, "DEADLINE_EXCEEDED": true, "NOT_FOUND": true,
	"ALREADY_EXISTS": true, "PERMISSION_DENIED": true, "RESOURCE_EXHAUSTED": true, "FAILED_PRECONDITION": true, "ABORTED": true,
	"OUT_OF_RANGE": true, "UNIMPLEMENTED": true, "INTERNAL": true, "UNAVAILABLE": true, "DATA_LOSS": true, "UNAUTHENTICATED": true,
}

func (f *findings) status(field string, status int64) {
	if status < 200 || status > 599 {
		f.refuse(field, InvalidStatus, "write a status from 200 to 599", "status %d: want 200-599", status)
	}
}

func (f *findings) mirrors(field string, r *networking.HTTPRoute) {
	f.excludes(field, choice{"mirror", r.Mirror != nil}, choice{"mirrors", len(r.Mirrors) > 0})
	if r.Mirror != nil {
		f.destination(field+".mirror", r.Mirror)
	}
	for i, m := range r.Mirrors {
		f.destination(at(field+".mirrors", i)+".destination", m.GetDestination())
		f.percentage(at(field+".mirrors", i)+".percentage", m.GetPercentage())
	}
	if p := r.MirrorPercent; p != nil {
		f.warn(field+".mirrorPercent", DeprecatedField, "use mirrorPercentage.value", "mirrorPercent is deprecated")
		f.percent(field+".mirrorPercent", float64(p.Value))
	}
	f.percentage(field+".mirrorPercentage", r.MirrorPercentage)
}

func (f *findings) redirect(field string, r *networking.HTTPRedirect, matches []*networking.HTTPMatchRequest) {
	if r == nil {
		return
	}
	f.excludes(field, choice{"uri", r.Uri != ""}, choice{"prefixRewrite", r.PrefixRewrite != ""})
	if r.PrefixRewrite != "" {
		for i, m := range matches {
			if _, prefix := m.GetUri().GetMatchType().(*networking.StringMatch_Prefix); m.GetUri() != nil && !prefix {
				f.refuse(field+".prefixRewrite", ConflictingFields, "match by prefix, or use uri", "match %d has a uri that is no prefix", i)
			}
		}
	}
	if r.Uri == "" && r.PrefixRewrite == "" && r.Authority == "" && r.RedirectPort == nil && r.Scheme == "" {
		f.refuse(field, MissingField, "add uri, authority, port or scheme", "it leads to the request itself")
	}
	if r.RedirectCode != 0 && (r.RedirectCode < 300 || r.RedirectCode > 399) {
		f.refuse(field+".redirectCode", InvalidStatus, "write 301, 302, 303, 307 or 308", "status %d: want 300-399", r.RedirectCode)
	}
	if r.Scheme != "" && r.Scheme != "http" && r.Scheme != "https" {
		f.refuse(field+".scheme", InvalidValue, "write http or https", "scheme %q: want http or https", r.Scheme)
	}
	if _, ok := r.RedirectPort.(*networking.HTTPRedirect_Port); ok {
		f.port(field+".port", r.GetPort())
	}
}

// retryOn are the conditions that Envoy knows by name.
var retryOn = map[string]bool{
	"5xx": true, "gateway-error": true, "reset": true, "reset-before-request": true, "connect-failure": true, "retriable-4xx": true,
	"refused-stream": true, "retriable-status-codes": true, "retriable-headers": true, "envoy-ratelimited": true, "http3-post-connect-failure": true,
	"cancelled": true, "deadline-exceeded": true, "internal": true, "resource-exhausted": true, "unavailable": true,
}

func (f *findings) retries(field string, r *networking.HTTPRetry) {
	if r == nil {
		return
	}
	if r.Attempts < 0 {
		f.refuse(field+".attempts", InvalidValue, "write 0 to switch retries off", "attempts %d: want 0 or more", r.Attempts)
	}
	if r.Attempts == 0 && (r.PerTryTimeout != nil || r.RetryOn != "" || r.RetryRemoteLocalities != nil) {
		f.refuse(field, ConflictingFields, "write attempts, or take the rest away", "attempts is 0, which switches retries off: the rest has no effect")
	}
	f.duration(field+".perTryTimeout", r.PerTryTimeout)
	f.duration(field+".backoff", r.Backoff)
	if r.RetryOn == "" {
		return
	}
	for on := range strings.SplitSeq(r.RetryOn, ",") {
		if code, _ := strconv.Atoi(on); http.StatusText(code) == "" && !retryOn[on] {
			f.refuse(field+".retryOn", InvalidValue, "write conditions of Envoy and statuses, with commas and no blanks", "%q: not a condition of retries", on)
		}
	}
}

func (f *findings) rewrite(field string, r *networking.HTTPRewrite) {
	if r == nil {
		return
	}
	f.excludes(field, choice{"uri", r.Uri != ""}, choice{"uriRegexRewrite", r.UriRegexRewrite != nil})
	if r.Uri == "" && r.UriRegexRewrite == nil && r.Authority == "" {
		f.refuse(field, MissingField, "add uri, uriRegexRewrite or authority", "nothing is rewritten")
	}
	if x := r.UriRegexRewrite; x != nil {
		f.regex(field+".uriRegexRewrite.match", x.Match)
		if x.Rewrite == "" {
			f.refuse(field+".uriRegexRewrite.rewrite", MissingField, "write what takes the place of what is found", "no rewrite")
		}
	}
}
