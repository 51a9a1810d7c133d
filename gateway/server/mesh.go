package server

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"fairway.dev/gateway/hop"
	"fairway.dev/gateway/listen"
	"fairway.dev/gateway/loop"
	"fairway.dev/gateway/message"
	"fairway.dev/gateway/proxy"
	"fairway.dev/routing"
	"fairway.dev/tlsmgr/identity"
)

// Mesh is who the gateway is to its peers in the mesh, and who they may be.
type Mesh struct {
	Own   identity.Own
	Roots identity.Roots
	From  string // where its identity comes from, for people
}

// NoMeshIdentity is the Problem's reason for an HBONE listener of a gateway that
// nobody in the mesh knows.
const NoMeshIdentity routing.Reason = "NoMeshIdentity"

// newDialer makes what opens connections to other gateways.
func (s *Server) newDialer() *hop.Dialer {
	m := s.options.Mesh
	return hop.NewDialer(hop.DialerOptions{
		TLS: func(who string) *tls.Config {
			if _, err := m.Own(); err != nil {
				return nil // nobody else is to blame that we have none
			}
			return s.telling(identity.HopClient(m.Own, m.Roots, who), "hop failed", who)
		},
		Limits: s.http2Limits("hop_client"),
	})
}

// trustRecheck is how often it is looked whether the gateway's certificate, or
// whom it believes, is another. A root is believed by all long before somebody's
// certificate needs it.
const trustRecheck = 10 * time.Second

// renewHops has hops be made anew: a connection is looked at when it begins, and
// may last for days. Those of peers are looked at again; see guest.
func (s *Server) renewHops() {
	s.trusts.Add(1)
	if s.dialer != nil {
		s.dialer.Drain()
	}
	s.clusters.DrainMesh()
}

// follow calls changed where the certificate that hops have shown, or the roots
// that they were verified by, are no longer those, until stop is closed.
func (m *Mesh) follow(stop <-chan struct{}, changed func()) {
	own, _ := m.Own()
	roots := m.Roots()
	tick := time.NewTicker(trustRecheck)
	defer tick.Stop()
	for {
		select {
		case <-stop:
			return
		case <-tick.C:
		}
		nowOwn, _ := m.Own()
		if nowRoots := m.Roots(); nowOwn != own || nowRoots != roots {
			own, roots = nowOwn, nowRoots
			changed()
		}
	}
}

// A host is what is behind the tunnels of an HBONE port: of each connection its
// guest asks it.
type host struct {
	s    *Server
	bind *proxy.Bind // of the HBONE port
}

// hopPort says what is done with the connections of an HBONE port.
func (s *Server) hopPort(bind *proxy.Bind, port *listen.Port) {
	m := s.options.Mesh
	h := &host{s, bind}
	config := s.telling(identity.HopServer(m.Own, m.Roots, h.trustDomains), "hop refused", "")
	config.NextProtos = []string{hop.Native, "h2"}
	port.TLS = config
	port.Codecs = func(c loop.Conn, peer *message.Peer) listen.Codec {
		return hop.NewServer(c, peer, hop.ServerOptions{Host: newGuest(h, c.Loop(), peer), Limits: s.hopLimits[c.Loop().Index()], Refused: s.hopRefused})
	}
}

// unknownToMesh are the Problems of HBONE listeners where the gateway has no
// identity to show.
func (s *Server) unknownToMesh(snap *routing.Snapshot) []*routing.Problem {
	var problems []*routing.Problem
	for _, p := range snap.Ports() {
		if p.Protocol != routing.HBONE || s.sandwich(p) != 0 || s.options.Mesh != nil {
			continue
		}
		for _, l := range p.Listeners() {
			problems = append(problems, &routing.Problem{
				Origin: l.Origin, Reason: NoMeshIdentity, Err: errors.New("the gateway has no identity of the mesh: want -identity, or a control plane"),
			})
		}
	}
	return problems
}

// hopRefused logs what a peer was not given.
func (s *Server) hopRefused(a *hop.Arrival, why *hop.Refusal) {
	s.options.Log.Info("hop refused", "peer", a.Peer.Remote, "identity", a.Peer.Identity, "target", a.Authority, "source", a.Source,
		"status", why.Status, "reason", why.Reason)
}

// mesh is whom the port believes now, nil where it has left.
func (h *host) mesh() *routing.Mesh {
	port := h.s.Snapshot().Port(h.bind.Key)
	if port == nil {
		return nil
	}
	for _, l := range port.Listeners() {
		if l.Mesh != nil {
			return l.Mesh
		}
	}
	return nil
}

// trustDomains are those of who may connect.
func (h *host) trustDomains() []string {
	if mesh := h.mesh(); mesh != nil {
		return mesh.TrustDomains
	}
	return nil
}

// Tunnel has a tunnel's bytes be a connection of the door that it leads to.
func (h *host) Tunnel(l *loop.Loop, a *hop.Arrival) (func(*hop.Conn), error) {
	d, peer, err := h.enter(a)
	if err != nil {
		return nil, err
	}
	if err := h.s.admit(peer); err != nil {
		return nil, &hop.Refusal{Status: 401, Reason: err.Error()}
	}
	unread(peer)
	if h.sealed(a) {
		return func(c *hop.Conn) { h.s.ports.Adopt(c, h.s.sealedPort(d), *peer) }, nil
	}
	return func(c *hop.Conn) { h.s.ports.Adopt(c, d.port, *peer) }, nil
}

// unread makes a peer's bytes the client's word, also where it is a gateway: one
// that passes on what it has not read has taken nothing out of it that the client
// made up.
func unread(peer *message.Peer) { peer.Gateway = "" }

// Exchange has a request be one of the door that it is for.
func (h *host) Exchange(l *loop.Loop, a *hop.Arrival) (*message.Peer, message.Handler, error) {
	d, peer, err := h.enter(a)
	if err != nil {
		return nil, nil, err
	}
	if d.protocol != routing.HTTP {
		return nil, nil, &hop.Refusal{Status: 400, Reason: fmt.Sprintf("%s takes %s, and no requests", a.Authority, d.protocol)}
	}
	if err := h.s.admit(peer); err != nil {
		return nil, nil, &hop.Refusal{Status: 401, Reason: err.Error()}
	}
	return peer, h.s.handlers[l.Index()], nil
}

// enter finds the door that a peer asks for, and who the client is.
func (h *host) enter(a *hop.Arrival) (*door, *message.Peer, error) {
	peer, namespace, err := h.client(a)
	if err != nil {
		return nil, nil, &hop.Refusal{Status: 401, Reason: err.Error()}
	}
	port, dialled, err := h.s.doorAt(a.Authority, namespace)
	if err != nil {
		return nil, nil, &hop.Refusal{Status: 400, Reason: err.Error()}
	}
	if port == nil {
		return nil, nil, &hop.Refusal{Status: 404, Reason: fmt.Sprintf("nothing is served at %s", a.Authority)}
	}
	d := h.s.door(port)
	peer.Listener = d.bind
	peer.Local = dialled
	return d, peer, nil
}

// client says whom a peer speaks for, and of which namespace that is. A gateway
// may speak for the workloads of its own namespaces (law 14), an east-west
// gateway for all of them; everybody else for himself.
func (h *host) client(a *hop.Arrival) (peer *message.Peer, namespace string, err error) {
	mesh := h.mesh()
	if mesh == nil {
		return nil, "", errors.New("the listener has left")
	}
	i := slices.IndexFunc(mesh.Vouchers, func(v routing.Voucher) bool { return v.Identity == a.Peer.Identity })
	peer = &message.Peer{Remote: a.Peer.Remote, Identity: a.Peer.Identity, Mutual: true, Abroad: a.Abroad || mesh.PassOn}
	if i >= 0 {
		peer.Gateway = a.Peer.Identity
		peer.Abroad = peer.Abroad || slices.Contains(mesh.Vouchers[i].Namespaces, routing.EveryNamespace)
		if a.Client.IsValid() {
			peer.Remote = a.Client
		}
	}
	peer.RemoteIP = peer.Remote.Addr().String()
	switch {
	case a.Source == "":
	case i < 0:
		return nil, "", fmt.Errorf("%s is no gateway that may vouch for others", a.Peer.Identity)
	case a.Source == message.Nobody:
		peer.Identity = ""
		return peer, "", nil
	default:
		peer.Identity = a.Source
	}
	id, err := identity.Parse(peer.Identity)
	switch {
	case err != nil:
		return nil, "", err
	case a.Source == "" && !slices.Contains(mesh.TrustDomains, id.TrustDomain): // any more
		return nil, "", fmt.Errorf("%s is of none of the trust domains %q", id, mesh.TrustDomains)
	case a.Source != "" && !vouchesFor(mesh, mesh.Vouchers[i].Namespaces, id):
		return nil, "", fmt.Errorf("%s may not vouch for %s", a.Peer.Identity, a.Source)
	}
	peer.Vouch = mesh.PassOn // of nobody it is said that he is nobody
	return peer, id.Namespace, nil
}

// vouchesFor reports whether a gateway of those namespaces may speak for id.
func vouchesFor(mesh *routing.Mesh, namespaces []string, id identity.ID) bool {
	return slices.Contains(mesh.TrustDomains, id.TrustDomain) &&
		(slices.Contains(namespaces, id.Namespace) || slices.Contains(namespaces, routing.EveryNamespace))
}

// doorAt returns the door of an authority as tunnels name it, nil where there is
// none, and what one dials to come to it.
func (s *Server) doorAt(authority, namespace string) (*routing.Port, netip.AddrPort, error) {
	snap := s.Snapshot()
	if addr, err := netip.ParseAddrPort(authority); err == nil {
		return snap.Door(addr, namespace), netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port()), nil
	}
	name, number, ok := strings.Cut(authority, ":")
	port, err := strconv.ParseUint(number, 10, 16)
	if !ok || name == "" || err != nil || port == 0 {
		return nil, netip.AddrPort{}, fmt.Errorf("authority %q: want ADDRESS:PORT or HOST:PORT", authority)
	}
	d := snap.DoorNamed(strings.ToLower(name), uint16(port), namespace)
	if d == nil {
		return nil, netip.AddrPort{}, nil
	}
	return d, netip.AddrPortFrom(d.Key.Addr, d.Key.Port), nil
}
