package server

import (
	"net/netip"
	"time"

	"fairway.dev/gateway/listen"
	"fairway.dev/gateway/proxy"
	"fairway.dev/routing"
)

// retryBind is how long a port that could not be bound waits for the next
// attempt: its other user may be on the way out.
const retryBind = 2 * time.Second

// PortUnavailable is the Problem's reason for a port that could not be bound.
const PortUnavailable routing.Reason = "PortUnavailable"

// applyPorts opens and closes sockets as the Snapshot in force wants them. It
// is called with s.mu held.
func (s *Server) applyPorts() {
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
	if len(unbound) == 0 {
		s.stopRetrying()
		if len(was) > 0 {
			s.options.Log.Info("all ports are bound")
		}
		return
	}
	if len(was) == 0 || was[0].Err.Error() != unbound[0].Err.Error() {
		for _, p := range unbound {
			s.options.Log.Error("port is not served", "origin", p.Origin, "reason", p.Reason, "err", p.Err)
		}
	}
	if s.draining.Load() {
		return
	}
	s.retryBinds = time.AfterFunc(retryBind, func() {
		s.mu.Lock()
		if !s.draining.Load() {
			s.applyPorts()
		}
		s.mu.Unlock()
		if f := s.options.Rebound; f != nil {
			f()
		}
	})
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
