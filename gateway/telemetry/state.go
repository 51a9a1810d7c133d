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
