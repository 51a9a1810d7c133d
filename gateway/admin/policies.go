package admin

import (
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"strings"

	"fairway.dev/gateway/message"
	"fairway.dev/gateway/policy/authz"
	"fairway.dev/routing"
)

// doorFor returns the door that clients of a namespace dial, by its address or
// its name, whole or short; nil where there is none.
func doorFor(snap *routing.Snapshot, host, number, namespace string) *routing.Port {
	port, err := strconv.ParseUint(number, 10, 16)
	if err != nil {
		return nil
	}
	if addr, err := netip.ParseAddr(host); err == nil {
		return snap.Door(netip.AddrPortFrom(addr, uint16(port)), namespace)
	}
	host = strings.ToLower(host)
	if p := snap.DoorNamed(host, uint16(port), namespace); p != nil {
		return p
	}
	return snap.DoorNamed(longer(snap, host, uint16(port)), uint16(port), namespace)
}

// longer returns the name of a door that one as pods say it stands for: "cart.shop"
// and "cart.shop.svc" for "cart.shop.svc.cluster.local". Of several it is the first.
func longer(snap *routing.Snapshot, host string, port uint16) string {
	found := ""
	for p := range snap.Doors() {
		for _, l := range p.Listeners() {
			for _, name := range l.Names {
				if l.Port == port && strings.Contains(host, ".") && strings.HasPrefix(name, host+".") && (found == "" || name < found) {
					found = name
				}
			}
		}
	}
	return found
}

// namespaceOf returns the namespace in an identity; empty without one.
func namespaceOf(identity string) string {
	_, rest, _ := strings.Cut(identity, "/ns/")
	namespace, _, _ := strings.Cut(rest, "/")
	return namespace
}

// writePolicies prints the policies of a listener, and what they come to for a
// request that a client sends there.
func writePolicies(w io.Writer, snap *routing.Snapshot, l *routing.Listener, to netip.AddrPort, r *routing.Request, q *Question) {
	var there []*routing.Policy
	var missing []routing.PolicyName
	for _, name := range l.Policies {
		policy := snap.Policy(name)
		if policy == nil {
			missing = append(missing, name)
			fmt.Fprintf(w, "policy %s: not there, so that nobody passes\n", name)
			continue
		}
		there = append(there, policy)
		fmt.Fprintf(w, "policy %s\n", policy)
	}
	set := authz.New(there, missing, snap.TrustDomains())
	fields, _ := r.Header.(*message.Fields)
	a := &authz.Attributes{
		Peer:     &message.Peer{Identity: q.Source, Remote: netip.AddrPortFrom(q.Address, 0)},
		RemoteIP: q.Address, Destination: to.Addr(), Port: to.Port(),
		Request: &message.Request{Method: r.Method, Scheme: r.Scheme, Authority: r.Authority, Path: r.Path, Fields: *fields},
		Host:    r.Authority, Path: r.Path,
	}
	for _, question := range set.Custom(nil, a) {
		fmt.Fprintf(w, "asked: %s by %s\n", question.Ask.Cluster, question.Policy)
	}
	d := set.Check(a)
	fmt.Fprintf(w, "without a token: %s\n", d.String())
}
