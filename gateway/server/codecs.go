package server

import (
	"crypto/tls"

	"fairway.dev/gateway/http1"
	"fairway.dev/gateway/http2"
	"fairway.dev/gateway/listen"
	"fairway.dev/gateway/loop"
	"fairway.dev/gateway/message"
	"fairway.dev/gateway/telemetry"
	"fairway.dev/gateway/upstream"
	"fairway.dev/routing"
)

// http1Limits makes the Limits of codecs, which the metrics call by that name.
// What they refuse is counted on the loop that refuses it, so each has its own.
func (s *Server) http1Limits(codec string) []*http1.Limits {
	refusals := telemetry.Refusals[http1.Refusal](s.options.Metrics, codec, http1.Refusals())
	limits := make([]*http1.Limits, len(s.loops))
	for i := range s.loops {
		limits[i] = &http1.Limits{Count: func(k http1.Refusal) { refusals.Count(i, k) }}
	}
	return limits
}

// http2Limits is http1Limits for HTTP/2.
func (s *Server) http2Limits(codec string) []*http2.Limits {
	refusals := telemetry.Refusals[http2.Kind](s.options.Metrics, codec, http2.Kinds())
	limits := make([]*http2.Limits, len(s.loops))
	for i := range s.loops {
		limits[i] = &http2.Limits{Count: func(k http2.Kind) { refusals.Count(i, k) }}
	}
	return limits
}

// http1Codecs makes HTTP/1 servers.
func (s *Server) http1Codecs() listen.Codecs {
	limits := s.http1Limits("http1")
	return func(c loop.Conn, peer *message.Peer) listen.Codec {
		i := c.Loop().Index()
		return http1.NewServer(c, peer, s.handlers[i], limits[i])
	}
}

// http2Codecs makes HTTP/2 servers.
func (s *Server) http2Codecs() listen.Codecs {
	limits := s.http2Limits("http2")
	return func(c loop.Conn, peer *message.Peer) listen.Codec {
		i := c.Loop().Index()
		return http2.NewServer(c, peer, s.handlers[i], limits[i])
	}
}

// newClusters makes the clusters' Set.
func (s *Server) newClusters() *upstream.Set {
	m := s.options.Metrics
	limits := [...]telemetry.Limit{
		upstream.LimitRequests:    telemetry.LimitUpstreamRequests,
		upstream.LimitPending:     telemetry.LimitUpstreamPending,
		upstream.LimitConnections: telemetry.LimitUpstreamConnections,
		upstream.LimitWait:        telemetry.LimitUpstreamWait,
		upstream.LimitRetries:     telemetry.LimitRetries,
	}
	causes := [...]telemetry.Ejection{
		upstream.CauseRefused:  telemetry.EjectedConnect,
		upstream.CauseFailures: telemetry.EjectedConsecutive,
		upstream.CauseOutlier:  telemetry.EjectedOutlier,
	}
	checks := [...]telemetry.CheckOutcome{
		upstream.CheckPassed:  telemetry.CheckPassed,
		upstream.CheckFailed:  telemetry.CheckFailed,
		upstream.CheckTimeout: telemetry.CheckTimeout,
	}
	o := upstream.Options{
		Loops: s.loops, Place: upstream.Place{Node: s.options.Node, Zone: s.options.Zone}, Log: s.options.Log, HTTP1: s.http1Limits("backend_http1"), HTTP2: s.http2Limits("backend_http2"),
		Watch:       s.names.Watch,
		Captured:    func() bool { return s.opensNone(s.Snapshot()) },
		Forbidden:   s.ownTunnels,
		Certificate: func(name routing.CertificateName) *tls.Certificate { return s.certs.pair(name) },
		OnOverflow:  func(_ *upstream.Cluster, l upstream.Limit) { m.Limits.Count(0, limits[l]) },
		OnEject: func(_ *upstream.Cluster, _ *upstream.Endpoint, c upstream.Cause) {
			m.Upstream.Ejections.Count(0, causes[c])
		},
		OnCheck: func(_ *upstream.Cluster, _ *upstream.Endpoint, o upstream.CheckOutcome) {
			m.Upstream.Checks.Count(0, checks[o])
		},
	}
	if s.options.Mesh != nil {
		s.dialer = s.newDialer()
		o.Hop = s.dialer
	}
	return upstream.NewSet(o)
}

// upstreamState sums the clusters up for the metrics page.
func (s *Server) upstreamState() telemetry.UpstreamState {
	var sum telemetry.UpstreamState
	for _, c := range s.clusters.Stats() {
		sum.Active += c.Active
		sum.Pending += c.Pending
		sum.Endpoints += len(c.Endpoints)
		for _, e := range c.Endpoints {
			sum.Connections += e.Connections
			switch e.Health {
			case upstream.Ejected, upstream.Refusing:
				sum.Ejected++
			case upstream.Unhealthy:
				sum.Unhealthy++
			}
		}
	}
	return sum
}

// connectionEvents counts what happens to connections.
func (s *Server) connectionEvents() listen.Events {
	m := s.options.Metrics
	refusals := telemetry.Refusals[listen.Refusal](m, "listen", listen.Refusals())
	return listen.Events{
		Handshake: func(loop int, err error) { m.Handshakes.Count(loop, telemetry.HandshakeOutcome(err)) },
		Refused: func(loop int, why listen.Refusal) {
			refusals.Count(loop, why)
			if why == listen.TooMany {
				m.Limits.Count(loop, telemetry.LimitConnections)
			}
		},
	}
}
