package telemetry

import (
	"cmp"
	"maps"
	"slices"

	"github.com/prometheus/client_golang/prometheus"
)

// maxConnectionLabels bounds how many listeners have series of their own; the
// rest share listener="other".
const maxConnectionLabels = 12

// Connections counts the connections from clients of one listener and
// protocol.
type Connections struct {
	key connectionsKey
	at  sharded // opened, closed
}

type connectionsKey struct{ listener, protocol string }

const (
	opened = iota
	closed
)

// Connections returns the counters for a listener (what names a socket: its
// address and port) and a protocol ("http", "https", "http1", "http2", "tls").
// Asked twice for the same, it returns the same. It is not for loops: it locks.
func (m *Metrics) Connections(listener, protocol string) *Connections {
	m.mu.Lock()
	defer m.mu.Unlock()
	key := connectionsKey{listener, protocol}
	if c, ok := m.connections[key]; ok {
		return c
	}
	if len(m.connections) >= maxConnectionLabels && m.options.Series > 0 {
		key = connectionsKey{other, protocol}
		if c, ok := m.connections[key]; ok {
			return c
		}
	}
	c := &Connections{key: key, at: newSharded(m.options.Loops, 2)}
	m.connections[key] = c
	return c
}

// Open counts a new connection on a loop.
func (c *Connections) Open(loop int) { c.at.add(loop, opened, 1) }

// Close counts the end of a connection on a loop.
func (c *Connections) Close(loop int) { c.at.add(loop, closed, 1) }

// Value returns how many connections are open.
func (c *Connections) Value() int64 {
	// In this order a connection that comes and goes meanwhile never makes
	// the number negative.
	gone := c.at.sum(closed)
	return c.at.sum(opened) - gone
}

type connectionCollector Metrics

var (
	connectionsOpen = prometheus.NewDesc("fairway_connections_open",
		"Connections from clients that are open.", []string{"listener", "protocol"}, nil)
	connectionsTotal = prometheus.NewDesc("fairway_connections_total",
		"Connections from clients, ever.", []string{"listener", "protocol"}, nil)
)

func (m *connectionCollector) Describe(ch chan<- *prometheus.Desc) {
	ch <- connectionsOpen
	ch <- connectionsTotal
}

func (m *connectionCollector) Collect(ch chan<- prometheus.Metric) {
	m.mu.Lock()
	all := slices.SortedFunc(maps.Values(m.connections), func(a, b *Connections) int {
		return cmp.Or(cmp.Compare(a.key.listener, b.key.listener), cmp.Compare(a.key.protocol, b.key.protocol))
	})
	m.mu.Unlock()
	for _, c := range all {
		ch <- prometheus.MustNewConstMetric(connectionsOpen, prometheus.GaugeValue,
			float64(c.Value()), c.key.listener, c.key.protocol)
		ch <- prometheus.MustNewConstMetric(connectionsTotal, prometheus.CounterValue,
			float64(c.at.sum(opened)), c.key.listener, c.key.protocol)
	}
}
