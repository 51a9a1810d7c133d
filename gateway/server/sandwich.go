package server

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"

	"fairway.dev/gateway/hop"
	"fairway.dev/gateway/listen"
	"fairway.dev/gateway/message"
	"fairway.dev/gateway/proxyproto"
	"fairway.dev/routing"
	"fairway.dev/tlsmgr/identity"
)

// In a sandwich (routing.Mesh.Sandwich) a node proxy, ztunnel, speaks HBONE for
// the gateway's pod, on both sides of it.
//
// What a PROXY protocol header says of the client proves nothing: whoever
// connects may write one. It is believed because nobody else can connect. The
// port is bound on loopback addresses alone, where ztunnel dials from inside of
// the pod's network (its LOCALHOST_APP_TUNNEL, on since Istio 1.26); from outside
// no packet comes there, neither straight nor through ztunnel, which passes what
// is sent in plain text on to the address that it was sent to. A ztunnel that
// dials the pod's own address in the client's name instead finds nobody there: its
// connections could be told from no forger's. And as the gateway is in that
// network itself, it dials the port for nobody (ownTunnels).

// Why somebody is not led to a door.
var (
	errNotOurPod  = errors.New("not from the pod itself: want the node proxy, on a loopback address")
	errNoClient   = errors.New("the header names no client (LOCAL, or addresses of another kind than TCP's): want PROXY with two addresses of one family")
	errNoIdentity = errors.New("the header has no identity: want version 2 with TLV 0xd0, the SPIFFE ID that the client has proved")
)

// sandwich returns the port by which the tunnels of a port come; 0: it speaks HBONE
// itself, or is not for tunnels. A pod that is not captured speaks it until one
// takes its place that is: what it would send in plain text nobody would protect.
func (s *Server) sandwich(p *routing.Port) uint16 {
	if !s.options.Captured {
		return 0
	}
	return p.Sandwich()
}

// opensNone reports whether a node proxy speaks HBONE for all that is in force of
// snap: then the gateway opens no tunnels itself.
func (s *Server) opensNone(snap *routing.Snapshot) bool {
	found := false
	for _, p := range snap.Ports() {
		if p.Protocol != routing.HBONE {
			continue
		}
		if s.sandwich(p) == 0 {
			return false
		}
		found = true
	}
	return found
}

// ownTunnels says why an address is dialled for nobody: who is there believes
// what a connection from the pod says of the client.
func (s *Server) ownTunnels(to netip.AddrPort) error {
	addr := to.Addr().Unmap()
	if !addr.IsLoopback() && !addr.IsUnspecified() { // which Linux takes for loopback
		return nil
	}
	for _, p := range s.Snapshot().Ports() {
		if port := s.sandwich(p); port != 0 && port == to.Port() {
			return fmt.Errorf("%s: the port by which node proxies vouch for clients: want another endpoint", to)
		}
	}
	return nil
}

// sandwichPorts are what is bound for a port whose tunnels come by another.
func (s *Server) sandwichPorts(p *routing.Port) []listen.Port {
	bind := s.binds[p.Key]
	connections := s.options.Metrics.Connections(p.Key.String(), "proxy")
	h := &host{s, bind}
	var ports []listen.Port
	for _, addr := range s.loopback(p.Key) {
		ports = append(ports, listen.Port{
			Addr: netip.AddrPortFrom(addr, s.sandwich(p)), Mark: bind, Lead: h.lead,
			Opened: connections.Open, Closed: connections.Close,
		})
	}
	return ports
}

// loopback returns the addresses that nobody outside of the pod reaches: ztunnel
// dials the one of the family that the client has called the pod by.
func (s *Server) loopback(k routing.PortKey) []netip.Addr {
	if addr := s.bindAddr(k).Addr(); addr.IsLoopback() {
		return []netip.Addr{addr}
	}
	list := []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1})}
	if hasIPv6() {
		list = append(list, netip.IPv6Loopback())
	}
	return list
}

// hasIPv6 reports whether the host has a loopback address of IPv6.
var hasIPv6 = sync.OnceValue(func() bool {
	ln, err := net.Listen("tcp6", "[::1]:0")
	if err != nil {
		return false
	}
	ln.Close()
	return true
})

// lead makes of a connection from a node proxy one of the door that its client has
// asked for, as host.Tunnel does of a tunnel.
func (h *host) lead(peer *message.Peer, said proxyproto.Header, err error) (*listen.Port, error) {
	a := &hop.Arrival{Peer: &message.Peer{Remote: peer.Remote}}
	if err == nil && said.Known() {
		a.Peer.Remote, a.Peer.Identity, a.Authority = said.Source, said.Identity, said.Destination.String()
	}
	d, client, err := h.led(a, peer.Remote.Addr(), said, err)
	if err != nil {
		var why *hop.Refusal
		if !errors.As(err, &why) {
			why = &hop.Refusal{Status: 401, Reason: err.Error()}
		}
		h.s.hopRefused(a, why)
		return nil, err
	}
	*peer = *client
	return d.port, nil
}

// led finds the door and the client, by what a header says that came from there.
func (h *host) led(a *hop.Arrival, from netip.Addr, said proxyproto.Header, err error) (*door, *message.Peer, error) {
	switch {
	case err != nil:
		return nil, nil, &hop.Refusal{Status: 400, Reason: err.Error()}
	case !from.Unmap().IsLoopback():
		return nil, nil, errNotOurPod
	case !said.Known():
		return nil, nil, &hop.Refusal{Status: 400, Reason: errNoClient.Error()}
	case said.Identity == "":
		return nil, nil, errNoIdentity
	}
	id, err := identity.Parse(said.Identity)
	if err != nil {
		return nil, nil, err
	}
	if domains := h.trustDomains(); !slices.Contains(domains, id.TrustDomain) {
		return nil, nil, fmt.Errorf("trust domain %s: want one of %v", id.TrustDomain, domains)
	}
	d, client, err := h.enter(a)
	if err != nil {
		return nil, nil, err
	}
	unread(client)
	return d, client, h.s.admit(client)
}
