package istio

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	telemetry "istio.io/api/telemetry/v1alpha1"
	telemetryv1 "istio.io/client-go/pkg/apis/telemetry/v1"

	"fairway.dev/routing"
	"fairway.dev/routing/dialect"
)

// Cells of Telemetry.
const (
	telemetriesIn       = dialect.Bags + telemetryKinds     // of a namespace
	telemetryCell       = dialect.Parsed + telemetryKinds   // what one says
	telemetryReportCell = dialect.Verdicts + telemetryKinds // Telemetry
)

func (j *joint) joinTelemetry(s *dialect.Sheet) {
	j.define(s, telemetryCell, j.telemetry)
	j.define(s, telemetryReportCell, j.reportTelemetry)
	s.Plant(KindTelemetry, func(k routing.ObjectKey) []dialect.ID {
		return []dialect.ID{cellOf(telemetryCell, k), cellOf(telemetryReportCell, k)}
	})
}

// A told is what a Telemetry says about gateways. Sections that it does not
// have are nil: those of a wider Telemetry hold.
type told struct {
	reach
	logging *routing.AccessLog
	tracing *tracing
	found   complaints
}

// tracing is what a Telemetry says of spans; nil pointers say nothing.
type tracing struct {
	provider string // of MeshConfig.extensionProviders; empty: the default one
	percent  *float64
	silent   *bool
	tags     []routing.Tag
}

// telemetry parses a Telemetry.
func (j *joint) telemetry(r *reading) dialect.Outcome {
	o := object[telemetryv1.Telemetry](r, KindTelemetry, r.ID.NS, r.ID.Name)
	if o == nil {
		return dialect.Outcome{Gone: true}
	}
	t := &told{}
	t.reach = j.reachOf(o, &o.Spec, &t.found)
	for i, l := range o.Spec.GetAccessLogging() {
		t.log(l, field("spec.accessLogging", i))
	}
	for i, x := range o.Spec.GetTracing() {
		t.trace(x, field("spec.tracing", i))
	}
	if len(o.Spec.GetMetrics()) > 0 {
		t.found.note("spec.metrics", reasonUnsupportedField, "leave labels out where metrics are gathered",
			"metrics of gateways have a fixed and bounded set of labels, and cannot be switched off one by one")
	}
	return dialect.Outcome{Value: t, Gifts: []dialect.Gift{{To: dialect.ID{Kind: telemetriesIn, NS: r.ID.NS}, Item: r.ID.Name}}}
}

// log takes an entry about the access log. Entries for servers are for
// sidecars: a gateway tells of what it sends, as a client does.
func (t *told) log(l *telemetry.AccessLogging, at string) {
	if l.GetMatch().GetMode() == telemetry.WorkloadMode_SERVER {
		return
	}
	for _, p := range l.GetProviders() {
		if p.GetName() != "envoy" {
			t.found.note(at+".providers", reasonUnsupportedField, "gather the log of the pods",
				"provider %s: gateways write one access log, to their output", p.GetName())
		}
	}
	if t.logging != nil {
		t.found.warn(at, reasonIneffectiveField, "say it in one entry", "an entry before it says how gateways log")
		return
	}
	t.logging = &routing.AccessLog{Off: l.GetDisabled().GetValue(), Filter: l.GetFilter().GetExpression()}
}

// trace takes an entry about spans.
func (t *told) trace(x *telemetry.Tracing, at string) {
	if x.GetMatch().GetMode() == telemetry.WorkloadMode_SERVER {
		return
	}
	if t.tracing != nil {
		t.found.warn(at, reasonIneffectiveField, "say it in one entry", "an entry before it says how gateways trace")
		return
	}
	t.tracing = &tracing{}
	if list := x.GetProviders(); len(list) > 0 {
		t.tracing.provider = list[0].GetName()
		if len(list) > 1 {
			t.found.warn(at+".providers", reasonUnsupportedField, "name one provider", "%d providers: the first counts", len(list))
		}
	}
	if p := x.GetRandomSamplingPercentage(); p != nil {
		percent := p.GetValue()
		if percent < 0 || percent > 100 {
			t.found.wrong(at+".randomSamplingPercentage", reasonInvalidValue, "", "%g: want 0-100", percent)
		}
		percent = min(max(percent, 0), 100)
		t.tracing.percent = &percent
	}
	if s := x.GetDisableSpanReporting(); s != nil {
		silent := s.GetValue()
		t.tracing.silent = &silent
	}
	for _, name := range slices.Sorted(maps.Keys(x.GetCustomTags())) {
		t.tag(name, x.GetCustomTags()[name], at)
	}
	for _, f := range setFields(x, "match", "providers", "randomSamplingPercentage", "disableSpanReporting", "customTags") {
		t.found.note(at+"."+f, reasonUnsupportedField, "", "%s is not honoured by gateways of Fairway", f)
	}
}

func (t *told) tag(name string, tag *telemetry.Tracing_CustomTag, at string) {
	switch {
	case tag.GetLiteral() != nil:
		t.tracing.tags = append(t.tracing.tags, routing.Tag{Name: name, Literal: tag.GetLiteral().GetValue()})
	case tag.GetHeader() != nil:
		h := tag.GetHeader()
		t.tracing.tags = append(t.tracing.tags, routing.Tag{Name: name, Header: strings.ToLower(h.GetName()), Default: h.GetDefaultValue()})
	default:
		t.found.warn(at+".customTags["+name+"]", reasonUnsupportedField, "take a literal or a header",
			"tag %s: want a literal or a header", name)
	}
}

// tell gives a listener the telemetry that is asked for at its post: of each
// section the narrowest Telemetry that has it decides, of several alike the
// oldest.
func (r *reading) tell(p post, l *routing.Listener) {
	list := policiesOn[*told](r, telemetriesIn, telemetryCell, p)
	out := &routing.Telemetry{}
	mesh := r.mesh()
	spans := &tracing{}
	for _, t := range list {
		if out.AccessLog == nil {
			out.AccessLog = t.logging
		}
		spans = spans.or(t.tracing)
	}
	out.Tracing = r.spans(p.at, spans, &mesh)
	if out.AccessLog != nil || out.Tracing != nil {
		l.Telemetry = out
	}
}

// tellsApart reports whether a Telemetry names a Gateway, or its class: then what is
// told at its doors is not what is told at others'.
func (j *joint) tellsApart(r *reading, at fleetName) bool {
	namespaces := []string{at.ns, r.j.opts.RootNamespace}
	slices.Sort(namespaces)
	for _, ns := range slices.Compact(namespaces) {
		for item := range r.Bag(dialect.ID{Kind: telemetriesIn, NS: ns}) {
			t, _ := r.Value(dialect.ID{Kind: telemetryCell, NS: ns, Name: item.(string)}).(*told)
			if t != nil && slices.ContainsFunc(t.targets, func(a aim) bool { return r.aims(&t.reach, a, post{at: at}) }) {
				return true
			}
		}
	}
	return false
}

// or fills in what t leaves open by a wider one.
func (t *tracing) or(wider *tracing) *tracing {
	if wider == nil {
		return t
	}
	out := &tracing{provider: cmp.Or(t.provider, wider.provider), percent: t.percent, silent: t.silent, tags: t.tags}
	if out.percent == nil {
		out.percent = wider.percent
	}
	if out.silent == nil {
		out.silent = wider.silent
	}
	if out.tags == nil {
		out.tags = wider.tags
	}
	return out
}

// spanService is the name by which a fleet's spans go; of doors that gateways share
// none: they know their own.
func spanService(at fleetName) string {
	if at == (fleetName{}) {
		return ""
	}
	return at.name + "." + at.ns
}

// istioSampling is how many of a hundred requests are traced where nobody says.
const istioSampling = 1

// spans is where a fleet's spans go; nil where nobody asks for any.
func (r *reading) spans(at fleetName, t *tracing, m *mesh) *routing.Tracing {
	name := cmp.Or(t.provider, m.tracingProvider)
	p, ok := m.collectors[name]
	if !ok || name == "" {
		return nil
	}
	ns, host, found := strings.Cut(p.service, "/")
	if !found {
		ns, host = r.j.opts.RootNamespace, p.service
	}
	to := r.resolve(destination{host: host, port: p.port, namespace: ns, client: at.ns, use: useHTTP})
	out := &routing.Tracing{
		Cluster: to.cluster, Path: p.path, Authority: host, Header: p.header, Service: spanService(at),
		Percent: istioSampling, Tags: t.tags,
	}
	if m.sampling != nil {
		out.Percent = *m.sampling
	}
	if t.percent != nil {
		out.Percent = *t.percent
	}
	if t.silent != nil {
		out.Silent = *t.silent
	}
	return out
}

// reportTelemetry reports a Telemetry.
func (j *joint) reportTelemetry(r *reading) dialect.Outcome {
	o := object[telemetryv1.Telemetry](r, KindTelemetry, r.ID.NS, r.ID.Name)
	t, _ := r.Value(dialect.ID{Kind: telemetryCell, NS: r.ID.NS, Name: r.ID.Name}).(*told)
	if o == nil || t == nil {
		return dialect.Outcome{Gone: true}
	}
	found := slices.Clone(t.found)
	if t.tracing != nil {
		mesh := r.mesh()
		name := cmp.Or(t.tracing.provider, mesh.tracingProvider)
		if _, ok := mesh.collectors[name]; !ok {
			found.wrong("spec.tracing", reasonUnknownProvider, "name one of MeshConfig.extensionProviders that is of opentelemetry",
				"provider %q: MeshConfig has no provider of opentelemetry of that name", name)
		}
	}
	return dialect.Outcome{Report: reportPolicy(KindTelemetry, o, found)}
}
