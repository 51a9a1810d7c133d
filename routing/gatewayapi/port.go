package gatewayapi

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
)

// A portClaim is a Gateway that wants a port of the process that all share, for
// listeners of a class, or a hostname on that port.
type portClaim struct {
	gateway   parentName
	created   int64
	addresses string
	class     string
}

// claims are the gifts by which a listener that has its place in its Gateway
// takes part in who gets what of all Gateways.
func (t *Translator) claims(r *reading, o *roster, l *listener) []gift {
	f := r.frame(o.gateway)
	if !f.serves() {
		return nil
	}
	c := f.claim(l)
	return []gift{
		{To: cellID{Kind: claimsOn, Name: l.socket}, Item: c},
		{To: cellID{Kind: claimsOn, Name: l.socket, Part: pattern(l.hostname)}, Item: c},
	}
}

func (f *frame) claim(l *listener) portClaim {
	addresses := make([]string, len(f.addresses))
	for i, a := range f.addresses {
		addresses[i] = a.String()
	}
	return portClaim{f.gateway, birth(f.created), strings.Join(addresses, ","), classes[l.protocol]}
}

// port decides between Gateways that want the same port of the same addresses
// of one process: what it speaks, and then, in a cell for each hostname, who
// has that. The oldest wins. The value maps each claim that lost to the Gateway
// that won.
func (t *Translator) port(r *reading) outcome {
	var claims []portClaim
	for c := range r.Bag(cellID{Kind: claimsOn, Name: r.ID.Name, Part: r.ID.Part}) {
		claims = append(claims, c.(portClaim))
	}
	var before map[portClaim]parentName
	if r.ID.Part != "" {
		before = r.Value(cellID{Kind: portCell, Name: r.ID.Name}).(map[portClaim]parentName)
	}
	slices.SortFunc(claims, func(a, b portClaim) int {
		return cmp.Or(cmp.Compare(a.created, b.created), cmp.Compare(a.gateway.String(), b.gateway.String()), cmp.Compare(a.class, b.class))
	})
	lost := map[portClaim]parentName{}
	var won []portClaim
	for _, c := range claims {
		if _, out := before[c]; out {
			continue
		}
		i := slices.IndexFunc(won, func(w portClaim) bool {
			return w.gateway != c.gateway && shareAddress(w.addresses, c.addresses) && (r.ID.Part != "" || w.class != c.class)
		})
		if i >= 0 {
			lost[c] = won[i].gateway
		} else {
			won = append(won, c)
		}
	}
	return outcome{Value: lost}
}

// outbid returns the older Gateway that has what a listener wants.
func (t *Translator) outbid(r *reading, f *frame, l *listener) (winner parentName, lost bool) {
	if t.opts.Isolated || !l.accepted.ok() || !f.serves() {
		return parentName{}, false
	}
	c := f.claim(l)
	for _, part := range []string{"", pattern(l.hostname)} {
		by := r.Value(cellID{Kind: portCell, Name: l.socket, Part: part}).(map[portClaim]parentName)
		if winner, lost = by[c]; lost {
			return winner, true
		}
	}
	return parentName{}, false
}

// shareAddress compares two lists of addresses. An empty one, and the
// unspecified address, stand for all that there are.
func shareAddress(a, b string) bool {
	if a == "" || b == "" {
		return true
	}
	for x := range strings.SplitSeq(a, ",") {
		for y := range strings.SplitSeq(b, ",") {
			if x == y || netip.MustParseAddr(x).IsUnspecified() || netip.MustParseAddr(y).IsUnspecified() {
				return true
			}
		}
	}
	return false
}
