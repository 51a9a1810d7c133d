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

	"google.golang.org/protobuf/types/known/durationpb"
	networking "istio.io/api/networking/v1alpha3"

	"fairway.dev/routing"
	"fairway.dev/routing/analysis"
)

// backends translates route, and all that is said of what is sent there.
func (a *actionTranslation) backends() {
	route := a.s.route.Route
	a.weights(len(route), func(i int) int32 { return route[i].GetWeight() })
	// What a destination says of headers comes before what the route does where
	// there are several, and is one with it where there is one, as in Istio.
	ofRoute := a.headers("headers", a.routeHeaders())
	shared := !slices.ContainsFunc(route, func(d *networking.HTTPRouteDestination) bool { return d.GetHeaders() != nil })
	if shared {
		a.out.Request, a.out.Response = ofRoute.request.change(), ofRoute.response.change()
	}
	a.rewrite(ofRoute.authority)
	for i, d := range route {
		field := "route[" + itoa(i) + "]"
		b := a.backend(field+".destination", d.GetDestination(), shareOf(len(route), d.GetWeight()))
		if !shared {
			own := a.headers(field+".headers", d.GetHeaders())
			b.Request = own.request.then(ofRoute.request).change()
			b.Response = own.response.then(ofRoute.response).change()
			if len(route) == 1 {
				b.Request = ofRoute.request.beside(own.request).change()
				b.Response = ofRoute.response.beside(own.response).change()
			}
			if own.authority != "" && (a.out.Rewrite == nil || a.out.Rewrite.Host == "") {
				a.breaks(field+".headers", analysis.InvalidHost, "write HOST, or HOST:PORT", checkAuthority(own.authority))
				b.Rewrite = &routing.Rewrite{Host: own.authority}
			}
		}
		a.out.Backends = append(a.out.Backends, b)
	}
	a.timeouts()
	a.retries()
	for _, m := range a.s.mirrors() {
		a.mirror(m)
	}
}

// shareOf is the weight of a destination: a single one gets everything.
func shareOf(of int, weight int32) uint32 {
	if of == 1 {
		return 1
	}
	return uint32(max(weight, 0))
}

// weights checks the weights of destinations. They count relative to each other.
func (a *actionTranslation) weights(n int, weight func(int) int32) {
	total := 0
	for i := range n {
		w := weight(i)
		if w < 0 {
			a.breaks("route["+itoa(i)+"].weight", analysis.InvalidWeight, "write 0 or more", fmt.Errorf("weight %d: want 0 or more", w))
		}
		total += int(w)
	}
	switch {
	case n > 1 && total == 0:
		a.breaks("route", analysis.InvalidWeight, "give one of them a weight", errors.New("all weights are 0"))
	case n == 1 && total != 0 && total != 100:
		a.warn("route[0].weight", analysis.IneffectiveField, "take it out", "the weight of a single destination has no effect: it gets all requests")
	}
}

// backend translates a destination. One that leads nowhere answers 503, as
// a cluster that is not known does in Istio.
func (a *actionTranslation) backend(field string, d *networking.Destination, weight uint32) routing.Backend {
	b := routing.Backend{Weight: weight, Origin: a.at(field)}
	to := a.t.b.resolve(d, a.s.at.Namespace, a.t.door, useHTTP)
	if to.cluster == "" {
		b.Status, b.Reason = http.StatusServiceUnavailable, to.reason
		a.lacks(field, to.reason, fixDestination(to.reason), errors.New(to.message))
	}
	a.t.b.checkSubset(b.Origin, d, a.s.at.Namespace, a.t.door)
	b.Cluster = to.cluster
	return b
}

// resolve finds the cluster of a destination that an object of a namespace names.
func (b *virtualServiceBuilder) resolve(d *networking.Destination, namespace string, at door, as use) resolution {
	return b.r.resolve(destination{
		host:      d.GetHost(),
		subset:    d.GetSubset(),
		port:      d.GetPort().GetNumber(),
		listener:  at.port,
		namespace: namespace,
		client:    clientOf(at),
		use:       as,
	})
}

// fixDestination says what may be done about a destination that leads nowhere.
func fixDestination(reason routing.Reason) string {
	switch reason {
	case reasonSubsetNotFound:
		return "add the subset to a DestinationRule of the host"
	case reasonPortNotFound, reasonPortRequired:
		return "name a port of the host in destination.port.number"
	}
	return "name a Service (NAME.NAMESPACE.svc.cluster.local), or a host of a ServiceEntry"
}

// A mirrorSource is a mirror of a rule.
type mirrorSource struct {
	field     string
	to        *networking.Destination
	namespace string // of the object that says so
	percent   *networking.Percent
	whole     *uint32 // mirrorPercent, deprecated
}

// mirrors are all mirrors of a rule: mirror, and mirrors.
func (s *httpSource) mirrors() []mirrorSource {
	var list []mirrorSource
	if to := inherit(s, func(r *networking.HTTPRoute) *networking.Destination { return r.Mirror }); to != nil {
		m := mirrorSource{field: "mirror", to: to, namespace: s.ownerOf("mirror").Namespace}
		m.percent = inherit(s, func(r *networking.HTTPRoute) *networking.Percent { return r.MirrorPercentage })
		m.whole = inherit(s, func(r *networking.HTTPRoute) *uint32 {
			if r.MirrorPercent == nil {
				return nil
			}
			return &r.MirrorPercent.Value
		})
		list = append(list, m)
	}
	mirrors := s.route.Mirrors
	if mirrors == nil && s.root != nil {
		mirrors = s.root.Mirrors
	}
	for i, m := range mirrors {
		list = append(list, mirrorSource{
			field: "mirrors[" + itoa(i) + "]", to: m.GetDestination(), namespace: s.ownerOf("mirrors").Namespace, percent: m.GetPercentage(),
		})
	}
	return list
}

// mirror translates a mirror: of all requests where no share is named. One that
// leads nowhere is left out, as nobody waits for it.
func (a *actionTranslation) mirror(m mirrorSource) {
	share := routing.Share{Numerator: 100, Denominator: 100}
	var err error
	switch {
	case m.percent != nil:
		share, err = shareOfPercent(m.percent.Value)
	case m.whole != nil:
		share, err = shareOfPercent(float64(*m.whole))
	}
	if err != nil {
		a.lacks(m.field, analysis.InvalidPercentage, fixPercentage, err)
		return
	}
	to := a.t.b.resolve(m.to, m.namespace, a.t.door, useHTTP)
	if to.cluster == "" {
		a.lacks(m.field, to.reason, fixDestination(to.reason), errors.New(to.message))
		return
	}
	if share.Numerator > 0 {
		a.out.Mirrors = append(a.out.Mirrors, routing.Mirror{
			Cluster: to.cluster, Origin: a.at(m.field), Numerator: share.Numerator, Denominator: share.Denominator,
		})
	}
}

const fixPercentage = "write a number from 0 to 100"

// shareOfPercent makes a share of percent, to the millionth.
func shareOfPercent(p float64) (routing.Share, error) {
	switch {
	case !(p >= 0 && p <= 100): // not a number either
		return routing.Share{}, fmt.Errorf("%v percent: want 0-100", p)
	case p == math.Trunc(p):
		return routing.Share{Numerator: uint32(p), Denominator: 100}, nil
	}
	return routing.Share{Numerator: uint32(math.Round(p * 1e4)), Denominator: 1e6}, nil
}

// defaultRetryOn are Istio's conditions where retryOn names none. Of statuses
// that are tried again there are none.
var defaultRetryOn = []routing.RetryOn{
	routing.RetryOnConnectFailure, routing.RetryOnRefusedStream, routing.RetryOnUnavailable, routing.RetryOnCancelled,
}

// retries translates HTTPRetry. A rule without one has the mesh's, and without
// that either package proxy's default, which is Istio's.
func (a *actionTranslation) retries() {
	r := inherit(a.s, func(r *networking.HTTPRoute) *networking.HTTPRetry { return r.Retries })
	if r == nil {
		if r = a.t.b.r.mesh().retry; r == nil {
			return
		}
	}
	out := &routing.Retry{}
	a.out.Retry = out
	if r.Attempts <= 0 {
		return
	}
	out.Attempts = int(r.Attempts)
	out.On, out.Codes = a.retryOn(r.RetryOn)
	a.out.Timeouts.Backend = a.retryTime("perTryTimeout", r.PerTryTimeout)
	out.Backoff = a.retryTime("backoff", r.Backoff)
	if v := r.RetryIgnorePreviousHosts; v != nil && !v.Value {
		a.t.b.remarks.note(a.at("retries.retryIgnorePreviousHosts"), analysis.UnsupportedField, "take it out",
			"a retry goes to another endpoint wherever there is one")
	}
	if r.RetryRemoteLocalities.GetValue() {
		a.t.b.remarks.note(a.at("retries.retryRemoteLocalities"), analysis.UnsupportedField, "take it out, or set localityLbSetting",
			"a retry goes where any request would: to other places once those near are not healthy")
	}
}

func (a *actionTranslation) retryTime(field string, d *durationpb.Duration) (t time.Duration) {
	if d == nil {
		return 0
	}
	t, err := duration(d)
	a.breaks("retries."+field, analysis.InvalidDuration, fixDuration, err)
	return t
}

// retryConditions are those that Envoy has and we do too.
var retryConditions = []routing.RetryOn{
	routing.RetryOn5xx, routing.RetryOnGatewayError, routing.RetryOnReset, routing.RetryOnResetBefore, routing.RetryOnConnectFailure,
	routing.RetryOnRefusedStream, routing.RetryOnRetriable4xx, routing.RetryOnCancelled, routing.RetryOnDeadlineExceeded,
	routing.RetryOnInternal, routing.RetryOnExhausted, routing.RetryOnUnavailable, routing.RetryOnCodes,
}

// retryOn translates a list of conditions, numbers among them being statuses.
func (a *actionTranslation) retryOn(list string) (on []routing.RetryOn, codes []int) {
	if list == "" {
		return defaultRetryOn, nil
	}
	for text := range strings.SplitSeq(list, ",") {
		text = strings.TrimSpace(text)
		code, err := strconv.Atoi(text)
		switch c := routing.RetryOn(text); {
		case text == "":
		case err == nil && code >= 100 && code <= 599:
			codes = append(codes, code)
		case slices.Contains(retryConditions, c):
			on = append(on, c)
		default:
			a.lacks("retries.retryOn", analysis.UnsupportedField, "take it out, or use another condition",
				fmt.Errorf("%q: not a condition that is known", text))
		}
	}
	if len(on) == 0 || len(codes) > 0 && !slices.Contains(on, routing.RetryOnCodes) {
		on = append(on, routing.RetryOnCodes)
	}
	return on, codes
}
