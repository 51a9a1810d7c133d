package istio

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	networking "istio.io/api/networking/v1alpha3"

	"fairway.dev/routing"
	"fairway.dev/routing/analysis"
)

// fault translates HTTPFaultInjection. What of it cannot be injected is left
// out: the rule works as it would without.
func (a *actionTranslation) fault() {
	f := inherit(a.s, func(r *networking.HTTPRoute) *networking.HTTPFaultInjection { return r.Fault })
	if f == nil {
		return
	}
	var out routing.Fault
	if f.Delay != nil {
		a.delay(f.Delay, &out)
	}
	if f.Abort != nil {
		a.abort(f.Abort, &out)
	}
	if out != (routing.Fault{}) {
		a.out.Fault = &out
	}
}

func (a *actionTranslation) delay(d *networking.HTTPFaultInjection_Delay, out *routing.Fault) {
	fixed, ok := d.HttpDelayType.(*networking.HTTPFaultInjection_Delay_FixedDelay)
	if !ok {
		a.lacks("fault.delay", analysis.UnsupportedField, "write fixedDelay", errors.New("no fixedDelay: others are not known, to Istio neither"))
		return
	}
	v, err := duration(fixed.FixedDelay)
	if err != nil {
		a.lacks("fault.delay.fixedDelay", analysis.InvalidDuration, fixDuration, err)
		return
	}
	percent := float64(d.Percent) //nolint:staticcheck // it still counts where percentage is not there
	if d.Percentage != nil {
		percent = d.Percentage.Value
	}
	share, err := shareOfPercent(percent)
	a.lacks("fault.delay.percentage", analysis.InvalidPercentage, fixPercentage, err)
	if err == nil && share.Numerator > 0 && v > 0 {
		out.Delay, out.DelayShare = v, share
	}
}

func (a *actionTranslation) abort(b *networking.HTTPFaultInjection_Abort, out *routing.Fault) {
	share, err := shareOfPercent(b.GetPercentage().GetValue())
	if err != nil {
		a.lacks("fault.abort.percentage", analysis.InvalidPercentage, fixPercentage, err)
		return
	}
	switch t := b.ErrorType.(type) {
	case *networking.HTTPFaultInjection_Abort_HttpStatus:
		if t.HttpStatus < 200 || t.HttpStatus > 599 {
			a.lacks("fault.abort.httpStatus", analysis.InvalidStatus, "write a status from 200 to 599", fmt.Errorf("status %d: want 200-599", t.HttpStatus))
			return
		}
		if share.Numerator > 0 {
			out.Status, out.AbortShare = int(t.HttpStatus), share
		}
	case *networking.HTTPFaultInjection_Abort_GrpcStatus:
		code := slices.Index(grpcStatuses, t.GrpcStatus)
		if code < 0 {
			a.lacks("fault.abort.grpcStatus", analysis.InvalidStatus, "write a name of gRPC's, like UNAVAILABLE", fmt.Errorf("%q: not a status of gRPC", t.GrpcStatus))
			return
		}
		if share.Numerator > 0 {
			out.GRPC, out.AbortShare = code, share
		}
	default:
		a.lacks("fault.abort", analysis.UnsupportedField, "write httpStatus or grpcStatus", errors.New("neither httpStatus nor grpcStatus: others are not known, to Istio neither"))
	}
}

// grpcStatuses are the names of gRPC's statuses, by their numbers.
var grpcStatuses = []string{
	"OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED",
	"RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS",
	"UNAUTHENTICATED",
}

// cors translates CorsPolicy. Preflights of other origins go to the backend
// unless unmatchedPreflights says IGNORE.
func (a *actionTranslation) cors(c *networking.CorsPolicy) {
	out := &routing.CORS{
		AllowCredentials: c.GetAllowCredentials().GetValue(),
		AllowMethods:     a.tokens("corsPolicy.allowMethods", c.AllowMethods),
		AllowHeaders:     a.tokens("corsPolicy.allowHeaders", c.AllowHeaders),
		ExposeHeaders:    a.tokens("corsPolicy.exposeHeaders", c.ExposeHeaders),
		ForwardUnmatched: c.UnmatchedPreflights != networking.CorsPolicy_IGNORE,
	}
	if c.MaxAge != nil {
		age, err := duration(c.MaxAge)
		a.breaks("corsPolicy.maxAge", analysis.InvalidDuration, fixDuration, err)
		out.MaxAge = age.Truncate(time.Second)
	}
	for i, o := range c.AllowOrigins {
		a.origin("corsPolicy.allowOrigins["+itoa(i)+"]", o, out)
	}
	if c.AllowOrigins == nil {
		for _, o := range c.AllowOrigin { //nolint:staticcheck // it still counts where allowOrigins is not there
			allowOrigin(o, out)
		}
	}
	a.out.CORS = out
}

func (a *actionTranslation) origin(field string, m *networking.StringMatch, out *routing.CORS) {
	kind, value, err := textMatch(m)
	if err == nil && kind == routing.TextPresent || kind == routing.TextExact && value == "" {
		err = errors.New("no origin")
	}
	switch {
	case err != nil:
		// One origin less is nothing more than that origin is allowed.
		a.lacks(field, analysis.InvalidMatch, "write exact, prefix or regex, with a value", err)
	case kind == routing.TextExact:
		allowOrigin(value, out)
	case kind == routing.TextRegex && value == ".*":
		allowOrigin("*", out)
	default:
		out.AllowOriginTexts = append(out.AllowOriginTexts, routing.OriginMatch{Kind: kind, Value: value})
	}
}

// allowOrigin allows one origin, or "*". A star in it stands for itself, unlike
// those of HTTPCORSFilter.
func allowOrigin(o string, out *routing.CORS) {
	scheme, host, ok := strings.Cut(o, "://")
	plain := ok && isName(scheme) && host != "" && !strings.Contains(host, "*") && checkAuthority(host) == nil
	if o == "*" || plain {
		if !slices.Contains(out.AllowOrigins, o) {
			out.AllowOrigins = append(out.AllowOrigins, o)
		}
		return
	}
	out.AllowOriginTexts = append(out.AllowOriginTexts, routing.OriginMatch{Kind: routing.TextRegex, Value: regexp.QuoteMeta(o)})
}

func (a *actionTranslation) tokens(field string, list []string) []string {
	for i, s := range list {
		if !isName(s) {
			a.breaks(field+"["+itoa(i)+"]", analysis.InvalidHeader, "write one name", fmt.Errorf("%q: not a name", s))
		}
	}
	return list
}
