package proxy

import (
	"net/netip"

	"fairway.dev/gateway/message"
	"fairway.dev/gateway/telemetry"
	"fairway.dev/routing"
)

// maxFaces bounds who a loop remembers.
const maxFaces = 4096

// faces are who is at an address, and who has an identity, as of a Snapshot: for
// telemetry, and for nothing else.
type faces struct {
	snap  *routing.Snapshot
	at    map[netip.Addr]face
	named map[string]telemetry.PartyID
}

// A face is who is at an address; the zero face is nobody that the gateway knows.
type face struct {
	identity string
	id       telemetry.PartyID
}

// follow forgets what another Snapshot said.
func (f *faces) follow(snap *routing.Snapshot) {
	if f.snap != snap || len(f.at)+len(f.named) > maxFaces {
		*f = faces{snap, map[netip.Addr]face{}, map[string]telemetry.PartyID{}}
	}
}

// behind returns who has an address.
func (f *faces) behind(addr netip.Addr) face {
	addr = addr.Unmap()
	who, known := f.at[addr]
	if !known {
		if w := f.snap.Workload(addr); w != nil {
			who = face{w.Identity, party(w).ID()}
		}
		f.at[addr] = who
	}
	return who
}

// client returns who a peer is: the workload at its address, where that is who it
// is known to be, and else what its identity says.
func (f *faces) client(peer *message.Peer) (id telemetry.PartyID) {
	if peer.Identity == "" {
		return id
	}
	if addr := peer.Remote.Addr(); addr.IsValid() {
		if who := f.behind(addr); who.identity == peer.Identity {
			return who.id
		}
	}
	id, known := f.named[peer.Identity]
	if !known {
		id = telemetry.PartyOf(peer.Identity).ID()
		f.named[peer.Identity] = id
	}
	return id
}

// party is a workload in telemetry's words.
func party(w *routing.Workload) telemetry.Party {
	return telemetry.Party{
		Workload: w.Owner, Namespace: w.Name.Namespace(), Principal: w.Identity, App: w.App, Version: w.Version, Service: w.Service, Revision: w.Version,
	}
}

// ends returns who is at the ends of what a client sends through a listener; who
// the server is remains to be said, where it is known. What comes to listeners
// that are bound has the gateway itself for its source.
func (l *local) ends(from *routing.Listener, peer *message.Peer, onward bool) (e telemetry.Ends) {
	if from == nil || !from.Inside {
		return e
	}
	l.faces.follow(l.proxy.snap.Load())
	return telemetry.Ends{From: l.faces.client(peer), Door: true, Onward: onward, Mutual: peer.Mutual}
}

// server has e say who is at an address that something was sent to.
func (l *local) server(e *telemetry.Ends, at netip.AddrPort) {
	if e.Door && !e.Onward && at.IsValid() {
		e.To = l.faces.behind(at.Addr()).id
	}
}
