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
	s.markPorts(snap)
	s.reportUnbound(append(s.applyConnections(snap), s.applyDatagrams(snap)...))
	s.retainStreams(snap)
}

// markPorts sees to it that each port has its mark: the same while it stays.
func (s *Server) markPorts(snap *routing.Snapshot) {
	for key := range s.binds {
		if snap.Port(key) == nil {
			delete(s.binds, key)
		}
	}
	for _, p := range snap.Ports() {
		if s.binds[p.Key] == nil {
			s.binds[p.Key] = &proxy.Bind{Key: p.Key}
		}
	}
}

// applyConnections opens and closes the ports that take connections, and
// returns the Problems of those that could not be bound. Those of node agents,
// of which there may be ten thousand, are looked at where they are due.
func (s *Server) applyConnections(snap *routing.Snapshot) []*routing.Problem {
	var ports []listen.Port
	var sources []*routing.Port
	gone := s.bound
	s.bound = nil
	for _, p := range snap.Ports() {
		for _, port := range s.boundPorts(p) {
			if port.Addr == s.captureAddr(port.Addr.Port()) && snap.Captured(port.Addr.Port()) != nil {
				s.due[port.Addr.Port()] = true // it is to be told that it has no place, and tried again
			}
			ports = append(ports, port)
			sources = append(sources, p)
			s.bound = append(s.bound, port.Addr)
		}
	}
	bound := len(ports)
	for number := range s.due {
		if c := captureOf(snap, number); c != nil {
			ports = append(ports, s.capturePort(number, c))
			sources = append(sources, c.port)
		} else {
			gone = append(gone, s.captureAddr(number))
			delete(s.due, number)
		}
	}
	errs := s.ports.Change(ports, gone)
	for i := bound; i < len(ports); i++ {
		if errs[i] == nil {
			delete(s.due, ports[i].Addr.Port())
		}
	}
	return append(unavailable(sources, errs), s.unknownToMesh(snap)...)
}

// captureAddr is where a port of node agents listens.
func (s *Server) captureAddr(number uint16) netip.AddrPort {
	return s.bindAddr(routing.PortKey{Port: number})
}

// boundPorts are what is bound for a port that takes connections; nothing for
// others.
func (s *Server) boundPorts(p *routing.Port) []listen.Port {
	switch {
	case s.sandwich(p) != 0:
		return s.sandwichPorts(p)
	case p.Protocol == routing.UDP || p.Protocol == routing.HBONE && s.options.Mesh == nil:
		return nil
	}
	return []listen.Port{s.connectionPort(p)}
}

// connectionPort says what is done with the connections of a port.
func (s *Server) connectionPort(p *routing.Port) listen.Port {
	bind := s.binds[p.Key]
	port := listen.Port{Addr: s.bindAddr(p.Key), Mark: bind, ProxyProtocol: p.ProxyProtocol()}
	protocol := "http"
	switch {
	case p.Protocol == routing.TCP:
		protocol = "tcp"
		port.Choose = s.chooseAtOnce()
	case p.Protocol == routing.HBONE:
		protocol = "hbone"
		s.hopPort(bind, &port)
	case p.Protocol == routing.HTTPS && speaksTLS(p):
		protocol = "tls"
		port.Choose, port.Peek = s.chooseByName(p.Key), true
	case p.Protocol == routing.HTTPS:
		protocol = "https"
		port.TLS = s.certs.port(p.Key).Config()
	}
	connections := s.options.Metrics.Connections(p.Key.String(), protocol)
	port.Opened, port.Closed = connections.Open, connections.Close
	return port
}

// unavailable makes Problems of the errors of binding ports, of which sources
// are what they stand for.
func unavailable(sources []*routing.Port, errs []error) []*routing.Problem {
	var unbound []*routing.Problem
	for i, err := range errs {
		if err == nil {
			continue
		}
		for _, l := range sources[i].Listeners() {
			unbound = append(unbound, &routing.Problem{Origin: l.Origin.At(l.Origin.Field + ".port"), Reason: PortUnavailable, Err: err})
		}
	}
	return unbound
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
	if s.ports.Leaving() || s.udp.Leaving() {
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
