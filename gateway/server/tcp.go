package server

import (
	"slices"

	"fairway.dev/gateway/listen"
	"fairway.dev/gateway/loop"
	"fairway.dev/gateway/message"
	"fairway.dev/gateway/proxy"
	"fairway.dev/gateway/stream"
	"fairway.dev/gateway/telemetry"
	"fairway.dev/routing"
)

// speaksTLS reports whether the names in ClientHellos decide about a port's
// connections. Where all listeners are HTTPS nobody looks at them but
// crypto/tls.
func speaksTLS(p *routing.Port) bool {
	return slices.ContainsFunc(p.Listeners(), func(l *routing.Listener) bool { return l.Protocol == routing.TLS })
}

// chooseAtOnce hands a TCP port's connections on.
func (s *Server) chooseAtOnce() listen.Choose {
	return func(l *loop.Loop, peer *message.Peer, _ string) listen.Choice {
		bind := peer.Listener.(*proxy.Bind)
		return listen.Choice{Codecs: s.streams(telemetry.StreamTCP, s.proxy.Stream(l, bind, arrivalOf(peer, "")), "")}
	}
}

// chooseByName sorts the connections of a port that has listeners of protocol
// TLS. Which of them goes nowhere is known before it is answered, so that it
// ends with FIN and not with an alert: a client that is told of a mistake in
// TLS looks for it there.
func (s *Server) chooseByName(key routing.PortKey) listen.Choose {
	https, terminate := s.certs.port(key), s.certs.stream(key)
	return func(l *loop.Loop, peer *message.Peer, name string) listen.Choice {
		bind := peer.Listener.(*proxy.Bind)
		to := s.proxy.Stream(l, bind, arrivalOf(peer, name))
		if to.Listener != nil && to.Listener.Protocol == routing.HTTPS {
			return listen.Choice{TLS: https.Config()}
		}
		c := listen.Choice{Codecs: s.streams(telemetry.StreamTLS, to, name)}
		if to.Cluster != nil && !to.Listener.TLS.Passthrough {
			c.TLS = terminate.Config()
		}
		return c
	}
}

// arrivalOf is what decides where a connection goes.
func arrivalOf(peer *message.Peer, name string) proxy.Arrival {
	return proxy.Arrival{Name: name, Source: peer.Remote.Addr(), Destination: peer.Local.Addr(), Peer: peer}
}

// streams makes who takes the bytes of a connection that goes there.
func (s *Server) streams(kind telemetry.StreamKind, to proxy.Destination, name string) listen.Codecs {
	return func(c loop.Conn, peer *message.Peer) listen.Codec {
		return s.tcp.Serve(stream.Arrival{Conn: c, Peer: peer, To: to, Kind: kind, Name: name})
	}
}

// retainStreams ends those whose listeners are gone, in a while.
func (s *Server) retainStreams(snap *routing.Snapshot) {
	inForce := map[routing.ListenerName]bool{}
	for _, p := range snap.Ports() {
		for _, l := range p.Listeners() {
			if l.Protocol == routing.TCP || l.Protocol == routing.TLS {
				inForce[l.Name] = true
			}
		}
	}
	s.tcp.Retain(func(name routing.ListenerName) bool {
		if inForce[name] {
			return true
		}
		l := snap.Listener(name)
		return l != nil && l.Inside && snap.InForce(l)
	})
}
