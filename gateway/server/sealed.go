package server

import (
	"net/netip"

	"fairway.dev/gateway/hop"
	"fairway.dev/gateway/listen"
	"fairway.dev/gateway/loop"
	"fairway.dev/gateway/message"
	"fairway.dev/gateway/proxy"
	"fairway.dev/gateway/stream"
	"fairway.dev/gateway/telemetry"
)

// sealed reports whether what comes in a tunnel is HBONE once more, for who is
// behind an east-west gateway. Istio's gateways take all for that; of ours one
// tunnel is enough, and they say who they are by ALPN. So a stranger who asks for a
// name means what Istio means, also where what he sends is no TLS: then the far end
// turns it away. Who asks for an address is in our own network.
func (h *host) sealed(a *hop.Arrival) bool {
	mesh := h.mesh()
	if mesh == nil || !mesh.PassOn || a.Native {
		return false
	}
	_, err := netip.ParseAddrPort(a.Authority)
	return err != nil
}

// sealedPort says what is done with such a tunnel to a door.
func (s *Server) sealedPort(d *door) *listen.Port {
	connections := s.options.Metrics.Connections("tunnel", "tcp")
	return &listen.Port{
		Mark: d.bind, Opened: connections.Open, Closed: connections.Close,
		Choose: func(l *loop.Loop, peer *message.Peer, _ string) listen.Choice {
			to := s.proxy.Sealed(l, peer.Listener.(*proxy.Bind), arrivalOf(peer, ""))
			return listen.Choice{Codecs: func(c loop.Conn, peer *message.Peer) listen.Codec {
				return s.tcp.Serve(stream.Arrival{Conn: c, Peer: peer, To: to, Kind: telemetry.StreamTCP})
			}}
		},
	}
}
