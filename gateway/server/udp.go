package server

import (
	"fairway.dev/gateway/stream"
	"fairway.dev/routing"
)

// newUDP makes the set of ports for datagrams.
func (s *Server) newUDP() *stream.UDP {
	return stream.NewUDP(stream.UDPOptions{
		Loops: s.loops, Proxy: s.proxy, Metrics: s.options.Metrics, AccessLog: s.options.AccessLog, Log: s.options.Log,
	})
}

// applyDatagrams opens and closes the ports that take datagrams, and returns
// the Problems of those that could not be bound. Sessions are counted as
// connections of protocol "udp".
func (s *Server) applyDatagrams(snap *routing.Snapshot) []*routing.Problem {
	var ports []stream.UDPPort
	var sources []*routing.Port
	for _, p := range snap.Ports() {
		if p.Protocol != routing.UDP {
			continue
		}
		sessions := s.options.Metrics.Connections(p.Key.String(), "udp")
		ports = append(ports, stream.UDPPort{
			Addr: s.bindAddr(p.Key), Bind: s.binds[p.Key], Opened: sessions.Open, Closed: sessions.Close,
		})
		sources = append(sources, p)
	}
	return unavailable(sources, s.udp.Apply(ports))
}
