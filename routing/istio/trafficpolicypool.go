package istio

import (
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	networking "istio.io/api/networking/v1alpha3"

	"fairway.dev/routing"
)

// A pool is ConnectionPoolSettings. What is 0 says nothing.
type pool struct {
	connectTimeout time.Duration
	connectionAge  time.Duration
	tcpIdle        time.Duration // of streams, and of HTTP where httpIdle says nothing
	httpIdle       time.Duration
	limits         routing.Limits
	keepAlive      *routing.KeepAlive
	ping           *routing.Ping
	upgrade        networking.ConnectionPoolSettings_HTTPSettings_H2UpgradePolicy
	asClient       bool // useClientProtocol
}

// never is a time that no connection reaches: an idleTimeout of 0s.
const never = 10 * 365 * 24 * time.Hour

// The most that Linux takes for keep-alive (tcp(7)).
const (
	maxProbes  = 127
	maxProbing = 32767 * time.Second
)

func (p *specParser) pool(field string, s *networking.ConnectionPoolSettings) *pool {
	if s == nil {
		return nil
	}
	out := &pool{}
	if t := s.Tcp; t != nil {
		at := field + ".tcp"
		out.limits.AllConnections = p.number(at+".maxConnections", t.MaxConnections)
		out.connectTimeout = p.duration(at+".connectTimeout", t.ConnectTimeout)
		out.connectionAge = p.duration(at+".maxConnectionDuration", t.MaxConnectionDuration)
		out.tcpIdle = p.idle(at+".idleTimeout", t.IdleTimeout)
		if k := t.TcpKeepalive; k != nil {
			out.keepAlive = p.keepAlive(at+".tcpKeepalive", k)
		}
	}
	if h := s.Http; h != nil {
		p.http(out, field+".http", h)
	}
	return out
}

func (p *specParser) keepAlive(field string, k *networking.ConnectionPoolSettings_TCPSettings_TcpKeepalive) *routing.KeepAlive {
	out := &routing.KeepAlive{
		Probes:   int(k.GetProbes()),
		Idle:     p.duration(field+".time", k.GetTime()),
		Interval: p.duration(field+".interval", k.GetInterval()),
	}
	if out.Probes > maxProbes {
		p.refuse(field+".probes", reasonInvalidValue, "%d: want at most %d; it is that", out.Probes, maxProbes)
		out.Probes = maxProbes
	}
	if longest := max(out.Idle, out.Interval); longest > maxProbing {
		p.refuse(field, reasonInvalidDuration, "duration %s: want at most %s; it is that", longest, maxProbing)
		out.Idle, out.Interval = min(out.Idle, maxProbing), min(out.Interval, maxProbing)
	}
	return out
}

func (p *specParser) http(out *pool, field string, h *networking.ConnectionPoolSettings_HTTPSettings) {
	out.limits.Pending = p.number(field+".http1MaxPendingRequests", h.Http1MaxPendingRequests)
	out.limits.Requests = p.number(field+".http2MaxRequests", h.Http2MaxRequests)
	out.limits.RequestsOnConn = p.number(field+".maxRequestsPerConnection", h.MaxRequestsPerConnection)
	out.limits.Retries = p.number(field+".maxRetries", h.MaxRetries)
	out.limits.Streams = p.number(field+".maxConcurrentStreams", h.MaxConcurrentStreams)
	out.httpIdle = p.idle(field+".idleTimeout", h.IdleTimeout)
	out.upgrade, out.asClient = h.H2UpgradePolicy, h.UseClientProtocol
	if out.asClient && out.upgrade == networking.ConnectionPoolSettings_HTTPSettings_UPGRADE {
		p.find(routing.Warning, field+".h2UpgradePolicy", reasonIneffectiveField, "choose one of them", "useClientProtocol comes first: connections have the client's version")
	}
	k := h.Http2KeepAlive
	switch {
	case k == nil:
	case k.Interval == nil || k.Timeout == nil:
		p.refuse(field+".http2KeepAlive", reasonMissingField, "want an interval and a timeout")
	default:
		ping := routing.Ping{
			Interval: p.duration(field+".http2KeepAlive.interval", k.Interval),
			Timeout:  p.duration(field+".http2KeepAlive.timeout", k.Timeout),
		}
		if ping.Interval > 0 && ping.Timeout > 0 {
			out.ping = &ping
		}
	}
}

// idle reads an idleTimeout, of which 0s means never.
func (p *specParser) idle(field string, d *durationpb.Duration) time.Duration {
	if d != nil && d.CheckValid() == nil && d.AsDuration() == 0 {
		return never
	}
	return p.duration(field, d)
}

func (p *pool) shape(c *routing.Cluster, stream, over bool) {
	set(&c.ConnectTimeout, p.connectTimeout, over)
	set(&c.ConnectionAge, p.connectionAge, over)
	set(&c.KeepAlive, p.keepAlive, over)
	l := &c.Limits
	set(&l.AllConnections, p.limits.AllConnections, over)
	if stream {
		set(&c.IdleTimeout, p.tcpIdle, over)
		return
	}
	idle := p.httpIdle
	if idle == 0 {
		idle = p.tcpIdle
	}
	set(&c.IdleTimeout, idle, over)
	set(&c.Ping, p.ping, over)
	set(&l.Pending, p.limits.Pending, over)
	set(&l.Requests, p.limits.Requests, over)
	set(&l.RequestsOnConn, p.limits.RequestsOnConn, over)
	set(&l.Retries, p.limits.Retries, over)
	set(&l.Streams, p.limits.Streams, over)
	p.speak(c)
}

// keepsVersion reports whether the mesh's h2UpgradePolicy has no say.
func (p *policy) keepsVersion() bool {
	return p != nil && p.pool != nil && (p.pool.asClient || p.pool.upgrade == networking.ConnectionPoolSettings_HTTPSettings_DO_NOT_UPGRADE)
}

// speak chooses the version of HTTP: useClientProtocol comes before
// h2UpgradePolicy, and that before what the port's author says.
func (p *pool) speak(c *routing.Cluster) {
	switch {
	case p.asClient:
		c.Protocol = routing.UpstreamClient
	case p.upgrade == networking.ConnectionPoolSettings_HTTPSettings_UPGRADE:
		c.Protocol = routing.UpstreamHTTP2
	}
}
