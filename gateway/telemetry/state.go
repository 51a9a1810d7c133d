package telemetry

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Config is what is in force, as metrics.
type Config struct {
	generation   prometheus.Gauge
	success      prometheus.Gauge
	timestamp    prometheus.Gauge
	applied      prometheus.Histogram
	certificates prometheus.Gauge
	expiry       prometheus.Gauge
	files        prometheus.Gauge
	problems     *problemGauge
}

func newConfig(r *prometheus.Registry) *Config {
	gauge := func(name, help string) prometheus.Gauge {
		g := prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help})
		r.MustRegister(g)
		return g
	}
	c := &Config{
		generation: gauge("fairway_generation", "The configuration generation in force."),
		success:    gauge("fairway_last_reload_successful", "Whether the last change of configuration is in force as a whole: 1 or 0."),
		timestamp:  gauge("fairway_last_reload_success_timestamp_seconds", "When a change of configuration last came into force."),
		applied: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "fairway_apply_duration_seconds",
			Help:    "How long it took to put a change of configuration in force.",
			Buckets: []float64{.001, .005, .025, .1, .5, 2.5},
		}),
		certificates: gauge("fairway_certificates", "Certificates in force."),
		expiry:       gauge("fairway_certificate_first_expiry_timestamp_seconds", "When the first of the certificates in force expires; 0 without certificates."),
		files:        gauge("fairway_manifest_files_stale", "Manifest files that do not parse and are served as they last did."),
		problems: &problemGauge{desc: prometheus.NewDesc("fairway_problems",
			"Parts of the configuration that are not in force, by reason.", []string{"reason"}, nil)},
	}
	r.MustRegister(c.applied, c.problems)
	return c
}

// Applied tells that a generation came into force at a time, and how long the
// change took.
func (c *Config) Applied(generation uint64, at time.Time, took time.Duration) {
	c.generation.Set(float64(generation))
	c.timestamp.Set(float64(at.UnixMilli()) / 1000)
	c.success.Set(1)
	c.applied.Observe(took.Seconds())
}

// Failed tells that a change could not be put in force, or not wholly.
func (c *Config) Failed() { c.success.Set(0) }

// Problems replaces the number of parts that are not in force, by reason.
// Reasons are a small, fixed set of words; the map is not kept.
func (c *Config) Problems(byReason map[string]int) {
	c.problems.set(byReason)
}

// StaleFiles tells how many manifest files are served as they were before
// they stopped parsing.
func (c *Config) StaleFiles(n int) { c.files.Set(float64(n)) }

// Certificates tells how many certificates are in force and when the first of
// them expires.
func (c *Config) Certificates(n int, firstExpiry time.Time) {
	c.certificates.Set(float64(n))
	if n == 0 {
		c.expiry.Set(0)
		return
	}
	c.expiry.Set(float64(firstExpiry.Unix()))
}

// problemGauge is a gauge for each reason that has been seen; one that went
// away reads 0, so that a graph shows its end.
type problemGauge struct {
	desc *prometheus.Desc

	mu       sync.Mutex
	byReason map[string]int
}

func (g *problemGauge) set(byReason map[string]int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.byReason == nil {
		g.byReason = make(map[string]int)
	}
	for reason := range g.byReason {
		g.byReason[reason] = 0
	}
	for reason, n := range byReason {
		g.byReason[reason] = n
	}
}

func (g *problemGauge) Describe(ch chan<- *prometheus.Desc) { ch <- g.desc }

func (g *problemGauge) Collect(ch chan<- prometheus.Metric) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for reason, n := range g.byReason {
		ch <- prometheus.MustNewConstMetric(g.desc, prometheus.GaugeValue, float64(n), reason)
	}
}

// Upstream counts what happens between the gateway and all its backends. It
// has no label for the cluster, of which there are thousands: the admin page
// shows each one's state, and istio_requests_total tells failures by
// destination and flags.
type Upstream struct {
	Open      *Level             // connections open
	Pending   *Level             // requests that wait for a connection
	Connected *Tally[Connect]    // connections begun, by outcome
	Ejections *Tally[Ejection]   // endpoints ejected, by why
	Ejected   *Level             // endpoints that are ejected now
	Retries   *Tally[RetryCause] // tries after the first, by what the one before died of
}

// A Connect is how the attempt to connect to an endpoint ended.
type Connect uint8

const (
	ConnectOK      Connect = iota
	ConnectRefused         // refused, or unreachable
	ConnectTimeout         // not in time
	ConnectTLS             // TLS with the endpoint failed
	numConnects
)

var connectText = [numConnects]string{
	ConnectOK: "ok", ConnectRefused: "refused", ConnectTimeout: "timeout", ConnectTLS: "tls",
}

// A RetryCause is what the try before a retry died of.
type RetryCause uint8

const (
	RetryConnect RetryCause = iota // no connection
	RetryUnused                    // a pooled connection had been closed
	RetryRefused                   // the backend said that it had not begun
	RetryStatus                    // a status that the route names
	RetryTimeout                   // its own deadline
	RetryReset                     // it broke off
	numRetryCauses
)

var retryText = [numRetryCauses]string{
	RetryConnect: "connect", RetryUnused: "unused", RetryRefused: "refused",
	RetryStatus: "status", RetryTimeout: "timeout", RetryReset: "reset",
}

func newUpstream(m *Metrics) *Upstream {
	return &Upstream{
		Open:    NewLevel(m, "fairway_upstream_connections_open", "Connections to endpoints that are open."),
		Pending: NewLevel(m, "fairway_upstream_requests_pending", "Requests that wait for a connection to an endpoint."),
		Ejected: NewLevel(m, "fairway_upstream_endpoints_ejected", "Endpoints that are left out for failing."),
		Connected: newTally[Connect](m, "fairway_upstream_connects_total",
			"Attempts to connect to an endpoint by outcome.", "outcome", connectText[:]),
		Ejections: newTally[Ejection](m, "fairway_upstream_ejections_total",
			"Endpoints ejected, by why.", "reason", ejectionText[:]),
		Retries: newTally[RetryCause](m, "fairway_upstream_retries_total",
			"Tries after the first, by what the one before died of.", "cause", retryText[:]),
	}
}
