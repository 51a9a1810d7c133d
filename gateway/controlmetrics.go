package main

import (
	"net/http"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// updates counts what apply does.
type updates struct {
	number  atomic.Uint64
	objects atomic.Uint64
	nanos   atomic.Int64
}

func (u *updates) count(objects int, took time.Duration) {
	u.number.Add(1)
	u.objects.Add(uint64(objects))
	u.nanos.Add(int64(took))
}

// controlMetrics reads a replica's numbers when somebody asks.
type controlMetrics struct{ replica *replica }

var (
	descLeads     = describeMetric("fairway_control_leads", "1 if this replica writes status and keeps fleets")
	descUpdates   = describeMetric("fairway_control_updates_total", "changes of the cluster that were translated")
	descTouched   = describeMetric("fairway_control_update_objects_total", "objects in those changes")
	descSeconds   = describeMetric("fairway_control_update_seconds_total", "time that translating them took")
	descProblems  = describeMetric("fairway_control_problems", "parts that are not in force, as translation found")
	descGateways  = describeMetric("fairway_control_gateways", "Gateways that are ours")
	descPods      = describeMetric("fairway_control_pods", "gateway pods connected to any replica")
	descStreams   = describeMetric("fairway_control_feed_streams", "streams of gateway pods and of other replicas that are open")
	descSlow      = describeMetric("fairway_control_feed_slow_total", "streams that were closed as their pod made no progress")
	descRefused   = describeMetric("fairway_control_feed_refused_total", "responses that a pod could not read all of")
	descStrangers = describeMetric("fairway_control_strangers", "connections whose peer has proved nothing yet")
	descSentAway  = describeMetric("fairway_control_strangers_closed_total", "connections of strangers that were closed for others, or stayed too long")
	descObjects   = describeMetric("fairway_control_objects", "objects held", "kind")
	descEvents    = describeMetric("fairway_control_events_total", "objects added, modified and deleted", "kind")
	descRestarts  = describeMetric("fairway_control_watch_restarts_total", "lists and watches begun, but for the first", "kind")
	descWatchDown = describeMetric("fairway_control_watch_down", "1 if a kind cannot be watched now", "kind")
)

func describeMetric(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, labels, nil)
}

// metrics returns the metrics page.
func (r *replica) metrics() http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(controlMetrics{r}, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return promhttp.HandlerFor(registry, promhttp.HandlerOpts{})
}

// Describe implements prometheus.Collector.
func (m controlMetrics) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(m, ch) }

// Collect implements prometheus.Collector.
func (m controlMetrics) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	counter := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, v, labels...)
	}
	r := m.replica
	gauge(descLeads, float64(truth(r.leads.Load())))
	counter(descUpdates, float64(r.updates.number.Load()))
	counter(descTouched, float64(r.updates.objects.Load()))
	counter(descSeconds, time.Duration(r.updates.nanos.Load()).Seconds())
	gauge(descProblems, float64(r.troubles.notInForce()))
	names := r.fleets.names()
	gauge(descGateways, float64(len(names)))
	pods := 0
	for _, name := range names {
		pods += len(r.feed.Fleet(name).Pods)
	}
	gauge(descPods, float64(pods))
	stats := r.feed.Stats()
	gauge(descStreams, float64(stats.Streams))
	counter(descSlow, float64(stats.Slow))
	counter(descRefused, float64(stats.Refused))
	strangers, sentAway := r.gate.Strangers()
	gauge(descStrangers, float64(strangers))
	counter(descSentAway, float64(sentAway))
	for _, k := range r.source.Kinds() {
		gauge(descObjects, float64(k.Objects), k.Kind)
		counter(descEvents, float64(k.Events), k.Kind)
		counter(descRestarts, float64(k.Restarts), k.Kind)
		gauge(descWatchDown, float64(truth(k.Err != nil)), k.Kind)
	}
}
