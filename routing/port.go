package routing

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
)

// A PortKey is what a socket is bound to, or what leads to a door.
type PortKey struct {
	Addr netip.Addr // zero: the server's default
	Port uint16
	UDP  bool // a TCP and a UDP port of one number are two ports
	// Inside says that it is a door, to which no socket is bound, and From for the
	// workloads of which namespace (see Listener).
	Inside bool
	From   string
}

// String returns "10.0.0.1:80", "*:80" without an address, "*:53/udp", and for
// doors "10.96.0.5:80/mesh", "10.96.0.5:80/mesh/shop" and "10.0.0.7:*/mesh".
func (k PortKey) String() string {
	addr, suffix := "*", ""
	if k.Addr.IsValid() {
		addr = k.Addr.String()
		if k.Addr.Is6() {
			addr = "[" + addr + "]"
		}
	}
	if k.UDP {
		suffix = "/udp"
	}
	if k.Inside {
		suffix += "/mesh"
		if k.From != "" {
			suffix += "/" + k.From
		}
	}
	if k.Inside && k.Port == 0 {
		return addr + ":*" + suffix
	}
	return fmt.Sprintf("%s:%d%s", addr, k.Port, suffix)
}

func (k PortKey) compare(l PortKey) int {
	return cmp.Or(k.Addr.Compare(l.Addr), cmp.Compare(k.Port, l.Port), cmp.Compare(truth(k.UDP), truth(l.UDP)),
		cmp.Compare(truth(k.Inside), truth(l.Inside)), cmp.Compare(k.From, l.From))
}

// A Port is what is served on one address and port: the listeners that share it.
type Port struct {
	Key PortKey
	// Protocol is HTTP, HTTPS, TCP, UDP or HBONE. HTTPS stands for HTTPS and TLS
	// listeners together: the name in the ClientHello tells them apart.
	Protocol Protocol

	wanted    []*Listener // all that ask for the port, the one with precedence first
	listeners []*Listener // those in force, by name
	problems  []*Problem  // of the others
	bound     hosts[boundListener]
}

// A boundListener is a listener in force on a port.
type boundListener struct {
	listener *Listener
	hosts    hosts[pathTable]
	shut     bool    // it lets nobody in
	to       *Target // of all requests, while no route is attached; nil: nothing
}

// Listeners returns the listeners of the port, by name. The list is shared:
// do not change it.
func (p *Port) Listeners() []*Listener { return p.listeners }

// ProxyProtocol says what the port's connections begin with, as the listener
// with precedence has it.
func (p *Port) ProxyProtocol() ProxyProtocol { return p.wanted[0].ProxyProtocol }

// ListenerFor returns the listener with the most specific hostname that covers
// a server name (SNI or Host; lower case, no port): the exact one, else the
// longest wildcard, else the one without a hostname, else nil. An empty name
// means that the client gave none.
func (p *Port) ListenerFor(sni string) *Listener {
	if b, _ := p.bound.find(absolute(sni), fromExact); b != nil {
		return b.listener
	}
	return nil
}

// class is the protocol that listeners of one port have in common.
func (l *Listener) class() Protocol {
	if l.Protocol == TLS {
		return HTTPS
	}
	return l.Protocol
}

// pattern is the host pattern that l covers. A protocol without names has no
// use for a hostname.
func (l *Listener) pattern() string {
	if l.Hostname == "" || l.Protocol == TCP || l.Protocol == UDP || l.Protocol == HBONE {
		return anyHost
	}
	return l.Hostname
}

// keys returns the ports that l asks for, each once.
func (l *Listener) keys() []PortKey {
	if len(l.Addresses) == 0 {
		return []PortKey{{Port: l.Port, UDP: l.Protocol == UDP}}
	}
	var keys []PortKey
	for _, addr := range l.Addresses {
		k := PortKey{addr.Unmap(), l.Port, l.Protocol == UDP, l.Inside, l.From}
		if !slices.Contains(keys, k) {
			keys = append(keys, k)
		}
	}
	return keys
}

// groupedWith reports whether l and m are one server.
func (l *Listener) groupedWith(m *Listener) bool {
	return l.Group != "" && l.Group == m.Group && l.Gateway == m.Gateway
}

// compare puts the listener first that wins when both want the same. What is only
// claimed comes last, however old it is: nobody takes what others are sent by
// writing their addresses down.
func (l *Listener) compare(m *Listener) int {
	return cmp.Or(cmp.Compare(truth(l.Claimed), truth(m.Claimed)), compareAge(l.Created, m.Created),
		cmp.Compare(l.rank(), m.rank()), cmp.Compare(truth(l.Shared()), truth(m.Shared())), cmp.Compare(l.Name, m.Name))
}

// newPort decides who of wanted, which is not empty, gets the port: the first
// sets the protocol, and each hostname belongs to the first that has it. What
// is attached to the listeners, and which of them are shut, is that of s.
func newPort(key PortKey, wanted []*Listener, s *Snapshot) *Port {
	slices.SortFunc(wanted, (*Listener).compare)
	p := &Port{Key: key, Protocol: wanted[0].class(), wanted: wanted}
	for _, l := range wanted {
		if l.Shared() && slices.ContainsFunc(p.listeners, func(own *Listener) bool { return own.rank() == l.rank() }) {
			continue // the gateway has a door of its own
		}
		if l.class() != p.Protocol {
			p.refuse(l, ProtocolConflict, fmt.Errorf("%s on %s, where %s speaks %s", l.Protocol, key, wanted[0].Name, wanted[0].Protocol))
			continue
		}
		if other := p.bound.get(l.pattern()); other != nil {
			p.refuse(l, HostnameConflict, fmt.Errorf("hostname %q on %s belongs to %s", l.Hostname, key, other.listener.Name))
			continue
		}
		_, shut := s.shutListeners.get(l.Name)
		shut = shut || l.TLS != nil && l.TLS.Closed
		p.bound = p.bound.with(l.pattern(), &boundListener{l, hostsOf(s.attached, l.Name), shut, s.defaultOf(l)})
		p.listeners = append(p.listeners, l)
	}
	slices.SortFunc(p.listeners, func(a, b *Listener) int { return cmp.Compare(a.Name, b.Name) })
	return p
}

func (p *Port) refuse(l *Listener, reason Reason, err error) {
	p.problems = append(p.problems, &Problem{Origin: l.Origin, Reason: reason, Err: err})
}

// withHosts returns p with other tables for l, or p where l is not in force.
func (p *Port) withHosts(l *Listener, h hosts[pathTable], to *Target) *Port {
	b := p.bound.get(l.pattern())
	if b == nil || b.listener != l {
		return p
	}
	changed := *p
	changed.bound = p.bound.with(l.pattern(), &boundListener{l, h, b.shut, to})
	return &changed
}
