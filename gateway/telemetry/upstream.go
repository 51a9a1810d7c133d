package telemetry

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// Upstream counts what happens between the gateway and all its backends. It
// has no label for the cluster, of which there are thousands: the admin page
// shows each one's state, and istio_requests_total tells failures by
// destination and flags.
type Upstream struct {
	Ejections *Tally[Ejection]     // endpoints ejected, by why
	Retries   *Tally[RetryCause]   // tries after the first, by what the one before died of
	Checks    *Tally[CheckOutcome] // health checks, by what they found

	state atomic.Pointer[func() UpstreamState]
}

// UpstreamState is how all clusters together do.
type UpstreamState struct {
	Active      int // requests under way
	Pending     int // requests that wait for a connection
	Connections int // open, or being opened
	Endpoints   int
	Ejected     int // of the endpoints, left out for failing
	Unhealthy   int // of the endpoints, left out as their health checks fail
}

// A CheckOutcome is what a health check of an endpoint found.
type CheckOutcome uint8

const (
	CheckPassed CheckOutcome = iota
	CheckFailed
	CheckTimeout
	numCheckOutcomes
)

var checkText = [numCheckOutcomes]string{CheckPassed: "passed", CheckFailed: "failed", CheckTimeout: "timeout"}

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
	u := &Upstream{
		Ejections: newTally[Ejection](m, "fairway_upstream_ejections_total",
			"Endpoints ejected, by why.", "reason", ejectionText[:]),
		Retries: newTally[RetryCause](m, "fairway_upstream_retries_total",
			"Tries after the first, by what the one before died of.", "cause", retryText[:]),
		Checks: newTally[CheckOutcome](m, "fairway_upstream_health_checks_total",
			"Health checks of endpoints, by what they found.", "outcome", checkText[:]),
	}
	m.registry.MustRegister(u)
	return u
}

// Watch has state asked at each scrape. Until it is called there are no gauges
// of the state.
func (u *Upstream) Watch(state func() UpstreamState) { u.state.Store(&state) }

var upstreamGauges = [...]struct {
	desc *prometheus.Desc
	of   func(s *UpstreamState) int
}{
	{prometheus.NewDesc("fairway_upstream_requests_active", "Requests to endpoints that are under way.", nil, nil),
		func(s *UpstreamState) int { return s.Active }},
	{prometheus.NewDesc("fairway_upstream_requests_pending", "Requests that wait for a connection to an endpoint.", nil, nil),
		func(s *UpstreamState) int { return s.Pending }},
	{prometheus.NewDesc("fairway_upstream_connections_open", "Connections to endpoints that are open, or being opened.", nil, nil),
		func(s *UpstreamState) int { return s.Connections }},
	{prometheus.NewDesc("fairway_upstream_endpoints", "Endpoints of all clusters.", nil, nil),
		func(s *UpstreamState) int { return s.Endpoints }},
	{prometheus.NewDesc("fairway_upstream_endpoints_ejected", "Endpoints that are left out for failing.", nil, nil),
		func(s *UpstreamState) int { return s.Ejected }},
	{prometheus.NewDesc("fairway_upstream_endpoints_unhealthy", "Endpoints that are left out as their health checks fail.", nil, nil),
		func(s *UpstreamState) int { return s.Unhealthy }},
}

// Describe and Collect make Upstream a prometheus.Collector.
func (u *Upstream) Describe(ch chan<- *prometheus.Desc) {
	for i := range upstreamGauges {
		ch <- upstreamGauges[i].desc
	}
}

// Collect sends the gauges of the state.
func (u *Upstream) Collect(ch chan<- prometheus.Metric) {
	ask := u.state.Load()
	if ask == nil {
		return
	}
	state := (*ask)()
	for i := range upstreamGauges {
		g := &upstreamGauges[i]
		ch <- prometheus.MustNewConstMetric(g.desc, prometheus.GaugeValue, float64(g.of(&state)))
	}
}
