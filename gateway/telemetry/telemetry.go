// Package telemetry tells what happened: Prometheus metrics, under Istio's
// standard names where Istio has one and under fairway_ where it has none, and
// the access log.
//
// All that is counted on the data path is counted on memory that belongs to
// one loop, and summed when somebody scrapes: no lock is shared, nothing is
// allocated at steady state, and no map is asked. Handles ([Exchanges],
// [Tally], [Connections]) are made once, off the loops.
//
// The one law: labels come from configuration and from small enums, never
// from what a client wrote, and the number of series has a bound that does not
// depend on the number of routes ([Options.Series]).
//
// The package decides nothing: it is told.
package telemetry

import (
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Options are what Metrics can be told. The zero Options are a gateway with
// one loop at the edge of a mesh.
type Options struct {
	// Loops is the number of loops: indexes from 0 to Loops-1 may be counted
	// on. If zero, 1.
	Loops int

	// Version of the program, for fairway_build_info.
	Version string

	// Principal returns who the gateway is in the mesh, for source_principal:
	// "spiffe://cluster.local/ns/shop/sa/edge". If nil, or empty, that is unknown.
	Principal func() string

	// Cluster is what Istio calls the cluster: "Kubernetes". If empty, "unknown".
	Cluster string

	// ClusterDomain ends the destination_service label. If empty,
	// "cluster.local".
	ClusterDomain string

	// Series bounds the number of istio_* series. A tenth is for streams
	// (istio_tcp_*), of the rest two fifths for istio_requests_total and what
	// is left for the histograms. In each, destinations get series of their own
	// in the order in which they are first used, and those that come too late
	// share destination_service="other". At a waypoint each pair of source and
	// destination has its own while three quarters are free; then those of one
	// Service share source_workload="other". A destination that is idle for Idle
	// makes room for another. If zero, 700, which keeps the whole page under
	// 1,000 lines; if negative, there is no bound and each destination has its
	// own.
	Series int

	// Idle is how long a series is kept without being used. If zero, 1 hour;
	// if negative, for ever.
	Idle time.Duration

	// DurationBuckets are the upper bounds in milliseconds of
	// istio_request_duration_milliseconds, ascending. If nil, ten from 1 ms to
	// 5 s, each of them one of Istio's own.
	DurationBuckets []float64

	// Now is the clock of idleness and of the loops' lag. If nil, time.Now.
	Now func() time.Time
}

// Metrics are all that is counted. Its methods and fields may be used from any
// goroutine, with the exceptions that they name.
type Metrics struct {
	Config   *Config   // what is in force
	Upstream *Upstream // what happens towards backends
	UDP      *UDP      // datagrams
	Log      *Tally[LogOutcome]
	Spans    *Tally[SpanOutcome]

	// Handshakes counts TLS handshakes with clients by outcome.
	Handshakes *Tally[Handshake]
	// Limits counts how often a bound was reached.
	Limits   *Tally[Limit]
	options  Options
	registry *prometheus.Registry
	tables   seriesTable
	loops    *loops

	streamTimes *streamTimes

	mu          sync.Mutex // guards connections
	connections map[connectionsKey]*Connections

	// epoch changes when series were dropped: what loops remember of them is
	// out of date.
	epoch atomic.Uint32
}

// New returns Metrics in which nothing has been counted.
func New(o Options) *Metrics {
	o = o.withDefaults()
	m := &Metrics{
		options:     o,
		registry:    prometheus.NewPedanticRegistry(),
		connections: make(map[connectionsKey]*Connections),
	}
	m.tables.init(&m.options)
	m.epoch.Store(1) // a loop's zero value knows nothing yet
	m.Config = newConfig(m.registry)
	m.Upstream = newUpstream(m)
	m.UDP = newUDP(m)
	m.Handshakes = newTally[Handshake](m, "fairway_tls_handshakes_total",
		"TLS handshakes with clients by outcome.", "outcome", handshakeText[:])
	m.Limits = newTally[Limit](m, "fairway_limits_total",
		"How often a bound was reached, by the bound.", "limit", limitText[:])
	m.Log = newTally[LogOutcome](m, "fairway_access_log_lines_total",
		"Access log lines by what became of them.", "outcome", logOutcomeText[:])
	m.Spans = newTally[SpanOutcome](m, "fairway_spans_total",
		"Spans by what became of them.", "outcome", spanOutcomeText[:])
	m.loops = newLoops(m)
	m.streamTimes = newStreamTimes(m)
	m.registry.MustRegister(
		(*exchangeCollector)(m),
		(*connectionCollector)(m),
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		buildInfo(o.Version),
	)
	return m
}

func (o Options) withDefaults() Options {
	o.Loops = max(o.Loops, 1)
	if o.ClusterDomain == "" {
		o.ClusterDomain = "cluster.local"
	}
	if o.Series == 0 {
		o.Series = 700
	}
	if o.Idle == 0 {
		o.Idle = time.Hour
	}
	if o.DurationBuckets == nil {
		o.DurationBuckets = []float64{1, 5, 10, 25, 50, 100, 250, 500, 1000, 5000}
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return o
}

// Handler serves the metrics page.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{Timeout: 10 * time.Second})
}

func buildInfo(version string) prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name:        "fairway_build_info",
		Help:        "Always 1; the labels say what runs.",
		ConstLabels: prometheus.Labels{"version": version},
	}, func() float64 { return 1 })
}
