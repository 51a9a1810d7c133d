package upstream

import (
	"math"
	"time"

	"fairway.dev/gateway/loop"
	"fairway.dev/routing"
)

// The defaults that the package documents.
const (
	defaultRequests       = 16384
	defaultPending        = 16384
	defaultConnectTimeout = 5 * time.Second
	defaultIdleTimeout    = 90 * time.Second
	defaultConsecutive    = 5
	defaultEjectionBase   = time.Second
	defaultMaxEjected     = 50 // percent
)

const unlimited = math.MaxInt64

// A config is a cluster's settings with the defaults filled in. It never
// changes.
type config struct {
	spec   *routing.Cluster
	way    *way
	budget *budget // nil: none

	requests, pending      int64 // in the cluster
	retries                int64 // the same
	connections            int64 // to each endpoint
	allConnections         int64 // to all of them
	requestsOnConn         int64
	connectTimeout         time.Duration
	idleTimeout, slowStart time.Duration
	slope                  *slope        // of a slow start
	connectionAge          time.Duration // 0: any
	keepAlive              *loop.KeepAlive
	http2                  HTTP2Settings
	ejection               routing.Ejection
	outliers               *outliers // nil: ejection holds
}

func newConfig(c *routing.Cluster, w *way, b *budget) *config {
	return &config{
		spec: c, way: w, budget: b,
		requests:       limit(c.Limits.Requests, defaultRequests),
		pending:        limit(c.Limits.Pending, defaultPending),
		retries:        limit(c.Limits.Retries, unlimited),
		connections:    limit(c.Limits.Connections, unlimited),
		allConnections: limit(c.Limits.AllConnections, unlimited),
		connectionAge:  c.ConnectionAge,
		keepAlive:      newKeepAlive(c.KeepAlive),
		http2:          HTTP2Settings{Streams: streams(c.Limits.Streams), Ping: c.Ping},
		requestsOnConn: limit(c.Limits.RequestsOnConn, unlimited),
		connectTimeout: positive(c.ConnectTimeout, defaultConnectTimeout),
		idleTimeout:    positive(c.IdleTimeout, defaultIdleTimeout),
		slowStart:      c.SlowStart,
		slope:          newSlope(c),
		outliers:       newOutliers(c.Outliers),
		ejection: routing.Ejection{
			Off:         c.Ejection.Off,
			Consecutive: positive(c.Ejection.Consecutive, defaultConsecutive),
			Base:        positive(c.Ejection.Base, defaultEjectionBase),
			MaxPercent:  positive(c.Ejection.MaxPercent, defaultMaxEjected),
		},
	}
}

// streams resolves Limits.Streams for the codec, to which 0 is a default of its
// own: with none, only the peer bounds them.
func streams(n int) int {
	if n < 0 {
		return math.MaxInt32
	}
	return n
}

func newKeepAlive(k *routing.KeepAlive) *loop.KeepAlive {
	if k == nil {
		return nil
	}
	return &loop.KeepAlive{Probes: k.Probes, Idle: k.Idle, Interval: k.Interval}
}

// limit resolves one of routing.Limits: 0 is the default, negative is none.
func limit(n int, byDefault int64) int64 {
	switch {
	case n == 0:
		return byDefault
	case n < 0:
		return unlimited
	}
	return int64(n)
}

func positive[T int | time.Duration](v, byDefault T) T {
	if v <= 0 {
		return byDefault
	}
	return v
}
