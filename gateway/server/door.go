package server

import (
	"errors"
	"net/netip"
	"slices"

	"fairway.dev/gateway/listen"
	"fairway.dev/gateway/message"
	"fairway.dev/gateway/proxy"
	"fairway.dev/routing"
)

// A door is a routing.Port that is not bound: its connections come out of
// tunnels, or by the port on which node agents put what they have captured.
type door struct {
	bind     *proxy.Bind
	port     *listen.Port
	protocol routing.Protocol
	detect   bool
}

// door returns what is done with the connections of a door. Doors are many, and
// one is made when somebody comes to it.
func (s *Server) door(p *routing.Port) *door {
	known, ok := s.doors.Load(p.Key)
	if !ok { // two loops may be first
		known, _ = s.doors.LoadOrStore(p.Key, s.newDoor(p, &proxy.Bind{Key: p.Key}))
	}
	d := known.(*door)
	if d.serves(p) {
		return d
	}
	// It has become another. Connections of before and of now leave together.
	now := s.newDoor(p, d.bind)
	s.doors.CompareAndSwap(p.Key, known, now)
	return now
}

func (s *Server) newDoor(p *routing.Port, bind *proxy.Bind) *door {
	return &door{bind: bind, port: s.doorPort(p, bind, "tunnel"), protocol: p.Protocol, detect: detects(p)}
}

// serves reports whether d is what is done for p.
func (d *door) serves(p *routing.Port) bool {
	return d.protocol == p.Protocol && d.detect == detects(p)
}

// detects reports whether connections to a door may be other than HTTP.
func detects(p *routing.Port) bool {
	return slices.ContainsFunc(p.Listeners(), func(l *routing.Listener) bool { return l.Detect })
}

// doorPort says what is done with connections that somebody opens to a door.
// What way they come by is a label of metrics.
func (s *Server) doorPort(p *routing.Port, bind *proxy.Bind, way string) *listen.Port {
	port := &listen.Port{Mark: bind}
	protocol := "http"
	switch {
	case p.Protocol == routing.TCP:
		protocol = "tcp"
		port.Choose = s.chooseAtOnce()
	case p.Protocol == routing.HTTPS: // which stands for TLS, and a door passes that through
		protocol = "tls"
		port.Choose, port.Peek = s.chooseByName(p.Key), true
	case detects(p):
		port.Choose, port.Detect = s.chooseAtOnce(), true
	}
	connections := s.options.Metrics.Connections(way, protocol)
	port.Opened, port.Closed = connections.Open, connections.Close
	return port
}

// errNotProved is why a client is turned away that nobody knows.
var errNotProved = errors.New("mTLS is STRICT, and the client has not proved who it is")

// admit says why a client is not let in at its door. Policies come later, when it
// is known what it wants.
func (s *Server) admit(peer *message.Peer) error {
	port := s.Snapshot().Port(peer.Listener.(*proxy.Bind).Key)
	if port == nil {
		return nil // it goes nowhere
	}
	for _, door := range port.Listeners() {
		if door.Strict && peer.Identity == "" {
			return errNotProved
		}
	}
	return nil
}

// A capture is a port on which node agents put connections: the doors that it
// stands for, by the namespace that they are for.
type capture struct {
	port  *routing.Port // of all namespaces, or of one of them
	doors map[string][]routing.PortKey
}

// captureOf returns a port on which node agents put connections; nil: there is no
// such.
func captureOf(snap *routing.Snapshot, number uint16) *capture {
	c := &capture{doors: map[string][]routing.PortKey{}}
	for _, key := range snap.Captured(number) {
		if c.port == nil || key.From == "" {
			c.port = snap.Port(key)
		}
		c.doors[key.From] = append(c.doors[key.From], key)
	}
	if c.port == nil {
		return nil
	}
	return c
}

// recapture notes the ports of node agents whose doors have changed.
func (s *Server) recapture(before, after *routing.Snapshot) {
	for _, key := range after.EditedDoors() {
		for _, snap := range []*routing.Snapshot{before, after} {
			if number := snap.Port(key).Capture(); number != 0 {
				s.due[number] = true
			}
		}
	}
}

// key is the door of a client of a namespace, at an address of the family that
// it dialled.
func (c *capture) key(namespace string, remote netip.Addr) (key routing.PortKey, ok bool) {
	keys := c.doors[namespace]
	if keys == nil {
		keys = c.doors[""]
	}
	for _, k := range keys {
		if key = k; k.Addr.Is4() == remote.Unmap().Is4() {
			return k, true
		}
	}
	return key, len(keys) > 0
}

// capturePort says what is done with the connections that are captured for the
// doors of c. Who the client is, its address tells: that of a workload of whom
// the gateway may vouch.
func (s *Server) capturePort(number uint16, c *capture) listen.Port {
	port := *s.doorPort(c.port, nil, "capture")
	port.Addr = s.captureAddr(number)
	door := c.port.Listeners()[0]
	port.Peer = func(peer *message.Peer) {
		namespace := ""
		snap := s.Snapshot()
		if w := snap.Workload(peer.Remote.Addr()); w != nil && vouches(snap, door, w) {
			peer.Identity, peer.Vouch = w.Identity, true
			namespace = w.Name.Namespace()
		}
		key, ok := c.key(namespace, peer.Remote.Addr())
		if !ok { // there are doors of other namespaces only
			key = c.port.Key
			key.From = "-"
		}
		peer.Local = netip.AddrPortFrom(key.Addr, key.Port)
		peer.Listener = s.bindOf(key)
	}
	port.Refuse = s.admit
	return port
}

// vouches reports whether the gateway whose door it is may vouch for a workload.
func vouches(snap *routing.Snapshot, door *routing.Listener, w *routing.Workload) bool {
	if !door.Shared() {
		return slices.Contains(w.Gateways, door.Gateway)
	}
	return slices.ContainsFunc(snap.Waypoints(), func(gateway string) bool { return slices.Contains(w.Gateways, gateway) })
}

// bindOf returns the mark of a door's connections.
func (s *Server) bindOf(key routing.PortKey) *proxy.Bind {
	if p := s.Snapshot().Port(key); p != nil {
		return s.door(p).bind
	}
	return &proxy.Bind{Key: key}
}

// keepDoors lets the connections of doors that leave keep their rules, and
// forgets the doors. Those of the Update before are looked at once more: its
// Snapshot was not in force yet when they were, and somebody may have come to one.
func (s *Server) keepDoors(before, after *routing.Snapshot) {
	left := false
	for _, key := range slices.Concat(before.EditedDoors(), after.EditedDoors()) {
		known, ok := s.doors.Load(key)
		if !ok {
			continue
		}
		if after.Port(key) == nil {
			left = true
			known.(*door).bind.Keep(before)
			s.doors.Delete(key)
		}
	}
	if left {
		s.ports.Retain(func(mark any) bool { return after.Port(mark.(*proxy.Bind).Key) != nil })
	}
}
