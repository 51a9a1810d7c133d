package telemetry

import (
	"cmp"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// byteBounds are the upper bounds of the buckets for body sizes, in bytes.
var byteBounds = [...]int64{1e3, 1e4, 1e5, 1e6}

var byteBuckets = func() []float64 {
	b := make([]float64, len(byteBounds))
	for i, n := range byteBounds {
		b[i] = float64(n)
	}
	return b
}()

// layout says where in a series' cells the numbers of the three histograms
// are: buckets and sum of durations, of request bytes and of response bytes.
type layout struct {
	bounds    []time.Duration
	bucketsMS []float64
}

func newLayout(bucketsMS []float64) layout {
	l := layout{bucketsMS: bucketsMS, bounds: make([]time.Duration, len(bucketsMS))}
	for i, ms := range bucketsMS {
		l.bounds[i] = time.Duration(math.Round(ms * float64(time.Millisecond)))
	}
	return l
}

const byteCells = len(byteBounds) + 2 // buckets, +Inf, sum

func (l *layout) durationCells() int { return len(l.bounds) + 2 }
func (l *layout) cells() int         { return l.durationCells() + 2*byteCells }

// series returns how many lines the three histograms have on the page: each
// its buckets, +Inf, sum and count.
func (l *layout) series() int { return l.cells() + 3 }

func (l *layout) observe(c cells, r *Record) {
	i := 0
	for i < len(l.bounds) && r.Duration > l.bounds[i] {
		i++
	}
	c[i].Add(1)
	c[len(l.bounds)+1].Add(int64(r.Duration))
	at := l.durationCells()
	observeBytes(c[at:at+byteCells], r.BytesReceived)
	at += byteCells
	observeBytes(c[at:at+byteCells], r.BytesSent)
}

func observeBytes(c cells, n int64) {
	i := 0
	for i < len(byteBounds) && n > byteBounds[i] {
		i++
	}
	c[i].Add(1)
	if n != 0 {
		c[len(byteBounds)+1].Add(n)
	}
}

// count returns how many exchanges a histogram's cells hold.
func (l *layout) count(at sharded) int64 {
	var n int64
	for i := range len(l.bounds) + 1 {
		n += at.sum(i)
	}
	return n
}

// istioLabels are the labels of all istio_* series, in the order of
// labelValues. histogramLabels go without the last three.
var istioLabels = []string{
	"reporter",
	"source_workload", "source_workload_namespace", "source_principal", "source_app", "source_version",
	"source_cluster", "source_canonical_service", "source_canonical_revision",
	"destination_workload", "destination_workload_namespace", "destination_principal", "destination_app",
	"destination_version", "destination_cluster", "destination_canonical_service", "destination_canonical_revision",
	"destination_service", "destination_service_name", "destination_service_namespace",
	"request_protocol", "connection_security_policy",
	"response_code", "response_flags", "grpc_response_status",
}

const outcomeLabels = 3

var (
	requestsDesc = prometheus.NewDesc("istio_requests_total",
		"Requests by destination and outcome.", istioLabels, nil)
	durationDesc = prometheus.NewDesc("istio_request_duration_milliseconds",
		"From the first byte of a request to the last of its response, in milliseconds.", histogramLabels, nil)
	requestBytesDesc = prometheus.NewDesc("istio_request_bytes",
		"Sizes of request bodies.", histogramLabels, nil)
	responseBytesDesc = prometheus.NewDesc("istio_response_bytes",
		"Sizes of response bodies.", histogramLabels, nil)
)

var histogramLabels = istioLabels[:len(istioLabels)-outcomeLabels]

// labelValues are the values of histogramLabels.
func (o *Options) labelValues(to destination, protocol string) []string {
	// Where it is not known what the pods are called, it still is that they are in
	// the Service's namespace, and in its cluster.
	server := [8]string{1: to.namespace, 5: o.Cluster, 6: to.service}
	if to.ends.To != nobody {
		server = partyLabels(to.ends.To, o.Cluster)
	}
	values := append(make([]string, 0, len(istioLabels)), o.reporter(to))
	values = append(values, o.client(to)...)
	values = append(values, server[:]...)
	values = append(values, to.host, to.service, to.namespace, protocol, to.security())
	for i, v := range values {
		values[i] = cmp.Or(strings.ToValidUTF8(v, "?"), unknown) // Prometheus takes only UTF-8
	}
	return values
}

// client are the labels of the source: of the client at a door, of the gateway
// itself elsewhere.
func (o *Options) client(to destination) []string {
	labels := partyLabels(to.ends.From, o.Cluster)
	if !to.ends.Door && to.workload != "" {
		labels = partyLabels(Party{
			Workload: to.workload, Namespace: to.workloadNamespace, Principal: o.principal(), App: to.workload, Service: to.workload,
		}.ID(), o.Cluster)
	}
	return labels[:]
}

func (o *Options) principal() string {
	if o.Principal == nil {
		return ""
	}
	return o.Principal()
}

func (o *Options) reporter(to destination) string {
	if to.ends.Door && !to.ends.Onward {
		return "waypoint"
	}
	return "source"
}

// security is Istio's connection_security_policy: of the client's connection to a
// waypoint. Who is the source, or before it, does not know it.
func (d destination) security() string {
	switch {
	case !d.ends.Door || d.ends.Onward:
		return ""
	case d.ends.Mutual:
		return "mutual_tls"
	}
	return "none"
}

func (o *Options) counterValues(key counterKey) []string {
	if key.kind == overflow {
		return append(o.labelValues(key.to, other), other, other, "")
	}
	grpc := ""
	if key.kind.isGRPC() {
		grpc = strconv.Itoa(key.kind.grpc())
	}
	return append(o.labelValues(key.to, key.kind.protocol()),
		strconv.Itoa(key.kind.status()), key.kind.flags().String(), grpc)
}

func (o *Options) histogramValues(key histogramKey) []string {
	protocol := "http"
	if key.grpc {
		protocol = "grpc"
	}
	return o.labelValues(key.to, protocol)
}

// exchangeCollector sums the loops' numbers when somebody scrapes.
type exchangeCollector Metrics

func (m *exchangeCollector) Describe(ch chan<- *prometheus.Desc) {
	ch <- requestsDesc
	ch <- durationDesc
	ch <- requestBytesDesc
	ch <- responseBytesDesc
	for _, desc := range streamDescs {
		ch <- desc
	}
}

func (m *exchangeCollector) Collect(ch chan<- prometheus.Metric) {
	counters, histograms, streams := m.snapshot()
	for _, s := range counters {
		ch <- prometheus.MustNewConstMetric(requestsDesc, prometheus.CounterValue, float64(s.at.sum(0)), s.labels...)
	}
	l := &m.tables.layout
	for _, s := range histograms {
		bytes := l.durationCells()
		ch <- s.histogram(durationDesc, 0, l.bucketsMS, float64(time.Millisecond))
		ch <- s.histogram(requestBytesDesc, bytes, byteBuckets, 1)
		ch <- s.histogram(responseBytesDesc, bytes+byteCells, byteBuckets, 1)
	}
	m.collectStreams(ch, streams)
}

// histogram is one of the histograms of a series: its cells begin at from, and
// its sum is kept in a unit of which perUnit make the metric's.
func (s *series) histogram(desc *prometheus.Desc, from int, bounds []float64, perUnit float64) prometheus.Metric {
	buckets := make(map[float64]uint64, len(bounds))
	var n uint64
	for i, bound := range bounds {
		n += uint64(s.at.sum(from + i))
		buckets[bound] = n
	}
	n += uint64(s.at.sum(from + len(bounds)))
	sum := float64(s.at.sum(from+len(bounds)+1)) / perUnit
	return prometheus.MustNewConstHistogram(desc, n, sum, buckets, s.labels...)
}

// snapshot lists the series, so that the lock that loops may want is not held
// while the page is written.
func (m *exchangeCollector) snapshot() (counters, histograms []*series, streams []streamSeries) {
	t := &m.tables
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.sweep() {
		m.epoch.Add(1)
	}
	counters = make([]*series, 0, len(t.counters))
	for key, s := range t.counters {
		if s.labels == nil {
			s.labels = t.options.counterValues(key)
		}
		counters = append(counters, s)
	}
	histograms = make([]*series, 0, len(t.histograms))
	for key, s := range t.histograms {
		if s.labels == nil {
			s.labels = t.options.histogramValues(key)
		}
		histograms = append(histograms, s)
	}
	return counters, histograms, t.streamSnapshot()
}
