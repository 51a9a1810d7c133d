package server

import (
	"net/netip"
	"slices"
	"time"

	"fairway.dev/gateway/listen"
	"fairway.dev/gateway/proxy"
	"fairway.dev/routing"
)

// retryBind is how long a port that could not be bound waits for the next
// attempt: its other user may be on the way out.
const retryBind = 2 * time.Second

// retrySoon is how long it waits where that may be a socket of our own.
const retrySoon = 20 * time.Millisecond

// PortUnavailable is the Problem's reason for a port that could not be bound.
const PortUnavailable routing.Reason = "PortUnavailable"

// applyPorts opens and closes sockets as the Snapshot in force wants them. It
// is called with s.mu held.
func (s *Server) applyPorts() {
	if s.draining.Load() {
		return
	}
	snap := s.Snapshot()
	var ports []listen.Port
	var sources []*routing.Port
	wanted := map[routing.PortKey]bool{}
	for _, p := range snap.Ports() {
		if p.Protocol != routing.HTTP && p.Protocol != routing.HTTPS {
			continue
		}
		wanted[p.Key] = true
		bind := s.binds[p.Key]
		if bind == nil {
			bind = &proxy.Bind{Key: p.Key}
			s.binds[p.Key] = bind
		}
		port := listen.Port{Addr: s.bindAddr(p.Key), Mark: bind}
		protocol := "http"
		if p.Protocol == routing.HTTPS {
			protocol = "https"
			port.TLS = s.certs.port(p.Key).Config()
		}
		connections := s.options.Metrics.Connections(p.Key.String(), protocol)
		port.Opened, port.Closed = connections.Open, connections.Close
		ports = append(ports, port)
		sources = append(sources, p)
	}
	for key := range s.binds {
		if !wanted[key] {
			delete(s.binds, key)
		}
	}
	var unbound []*routing.Problem
	for i, err := range s.ports.Apply(ports) {
		if err == nil {
			continue
		}
		for _, l := range sources[i].Listeners() {
			unbound = append(unbound, &routing.Problem{Origin: l.Origin.At(l.Origin.Field + ".port"), Reason: PortUnavailable, Err: err})
		}
	}
	s.reportUnbound(unbound)
}

// reportUnbound keeps the Problems of ports, and tries those again in a while.
func (s *Server) reportUnbound(unbound []*routing.Problem) {
	was := *s.unbound.Load()
	s.unbound.Store(&unbound)
	s.stopRetrying() // one timer is enough
	if len(unbound) == 0 {
		if len(was) > 0 {
			s.options.Log.Info("all ports are bound")
		}
		return
	}
	if !slices.EqualFunc(was, unbound, sameProblem) {
		for _, p := range unbound {
			s.options.Log.Error("port is not served", "origin", p.Origin, "reason", p.Reason, "err", p.Err)
		}
	}
	wait := retryBind
	if s.ports.Leaving() {
		wait = retrySoon
	}
	s.retryBinds = time.AfterFunc(wait, func() {
		s.mu.Lock()
		s.applyPorts()
		s.mu.Unlock()
		if f := s.options.Rebound; f != nil {
			f()
		}
	})
}

func sameProblem(a, b *routing.Problem) bool {
	return a.Origin == b.Origin && a.Err.Error() == b.Err.Error()
}

func (s *Server) stopRetrying() {
	if s.retryBinds != nil {
		s.retryBinds.Stop()
	}
}

// bindAddr is where a port listens.
func (s *Server) bindAddr(k routing.PortKey) netip.AddrPort {
	addr := k.Addr
	if !addr.IsValid() {
		addr = s.options.Bind
	}
	if !addr.IsValid() {
		addr = netip.IPv6Unspecified() // takes IPv4 too
	}
	return netip.AddrPortFrom(addr, k.Port)
}
