package istio

import (
	"cmp"
	"fmt"

	meshv1alpha1 "istio.io/api/mesh/v1alpha1"

	"fairway.dev/routing"
)

// A collector is a provider of opentelemetry of MeshConfig.extensionProviders.
type collector struct {
	service string // a host, or "namespace/host"
	port    uint32
	path    string // of HTTP; empty: gRPC
	header  []routing.Header
}

// readProviders takes what MeshConfig says of who is told, and of who is asked.
func (m *mesh) readProviders(config *meshv1alpha1.MeshConfig, found *complaints) {
	m.collectors, m.authorizers = map[string]collector{}, map[string]authorizer{}
	for i, p := range config.GetExtensionProviders() {
		at := field("data."+meshKey+".extensionProviders", i)
		otel := p.GetOpentelemetry()
		asked, isAsked := authorizerOf(p, at, found)
		switch {
		case isAsked:
			if _, twice := m.authorizers[p.GetName()]; twice || p.GetName() == "" {
				found.wrong(at+".name", reasonDuplicateName, "give it a name of its own", "%q: want a name that no provider before it has", p.GetName())
				continue
			}
			m.authorizers[p.GetName()] = asked
		case otel != nil:
			m.collectors[p.GetName()] = collectorOf(otel, at, found)
		case p.GetEnvoyFileAccessLog() != nil, p.GetPrometheus() != nil:
			// What gateways do in any case.
		default:
			found.note(at, reasonUnsupportedField, "for spans, take opentelemetry", "provider %s: want opentelemetry, envoyExtAuthzHttp or envoyExtAuthzGrpc", p.GetName())
		}
	}
	if list := config.GetDefaultProviders().GetTracing(); len(list) > 0 {
		m.tracingProvider = list[0]
	}
	if t := config.GetDefaultConfig().GetTracing(); t != nil {
		if t.GetSampling() > 0 {
			percent := min(t.GetSampling(), 100)
			m.sampling = &percent
		}
		for _, f := range setFields(t, "sampling") {
			found.note("data."+meshKey+".defaultConfig.tracing."+f, reasonUnsupportedField, "say it by a Telemetry", "%s is not honoured by gateways of Fairway", f)
		}
	}
	for _, f := range setFields(config.GetDefaultConfig(), "tracing", "gatewayTopology") {
		found.note("data."+meshKey+".defaultConfig."+f, reasonUnsupportedField, "", "%s is not honoured by gateways of Fairway", f)
	}
}

func collectorOf(p *meshv1alpha1.MeshConfig_ExtensionProvider_OpenTelemetryTracingProvider, at string, found *complaints) collector {
	c := collector{service: p.GetService(), port: p.GetPort()}
	if http := p.GetHttp(); http != nil {
		c.path = cmp.Or(http.GetPath(), "/v1/traces")
		for _, h := range http.GetHeaders() {
			if h.GetValue() == "" {
				found.note(at+".opentelemetry.http.headers", reasonUnsupportedField, "give its value", "header %s has no value here", h.GetName())
				continue
			}
			c.header = append(c.header, routing.Header{Name: h.GetName(), Value: h.GetValue()})
		}
	}
	for _, f := range setFields(p, "service", "port", "http", "grpc") {
		found.note(at+".opentelemetry."+f, reasonUnsupportedField, "", "%s is not honoured by gateways of Fairway", f)
	}
	return c
}

// field is the name of an element of a list.
func field(list string, i int) string { return fmt.Sprintf("%s[%d]", list, i) }
