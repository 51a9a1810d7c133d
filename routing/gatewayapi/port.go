package gatewayapi

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
)

// port decides between Gateways that want the same port of the same addresses
// of one process, where no hostname keeps them apart: the oldest has it. Its
// value maps each claim that lost to the one that won.
func (t *Translator) port(r *reading) outcome {
	var claims []portClaim
	for c := range r.bag(cellID{kind: claimsOn, name: r.id.name}) {
		claims = append(claims, c.(portClaim))
	}
	slices.SortFunc(claims, func(a, b portClaim) int {
		return cmp.Or(
			cmp.Compare(a.created, b.created),
			cmp.Compare(a.gateway.String(), b.gateway.String()),
			cmp.Compare(a.listener, b.listener),
		)
	})
	lost := map[portClaim]portClaim{}
	var won []portClaim
	for _, c := range claims {
		if i := slices.IndexFunc(won, c.collides); i >= 0 {
			lost[c] = won[i]
		} else {
			won = append(won, c)
		}
	}
	return outcome{value: lost}
}

// collides reports whether two claims on one port cannot both be met. Claims
// of one Gateway have been compared before.
func (c portClaim) collides(with portClaim) bool {
	if c.gateway == with.gateway || !shareAddress(c.addresses, with.addresses) {
		return false
	}
	return transports[c.protocol] != transports[with.protocol] || c.hostname == with.hostname
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
