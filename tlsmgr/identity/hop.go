package identity

import (
	"crypto/tls"
	"fmt"
	"slices"
	"strings"
)

// HopServer returns how a gateway takes TLS of a hop: from peers of the mesh
// alone, TLS 1.3, of the trust domains that domains returns at that time. Who
// may have what is the caller's matter. NextProtos are the caller's to set.
func HopServer(own Own, roots Roots, domains func() []string) *tls.Config {
	c := ServerConfig(own, roots, within(domains))
	c.NextProtos = nil
	return c
}

// HopClient returns how a gateway opens TLS of a hop to whoever has that
// identity, "spiffe://cluster.local/ns/shop/sa/waypoint", or one of several with
// spaces between: to nobody else, and where any is none, to nobody. NextProtos are
// the caller's to set.
func HopClient(own Own, roots Roots, identity string) *tls.Config {
	c := ClientConfig(own, roots, among(identity))
	c.NextProtos = nil
	return c
}

// among is Known for who has one of the identities of a text.
func among(text string) Known {
	fields := strings.Fields(text)
	if len(fields) == 0 {
		fields = []string{text} // which is none
	}
	wanted := make([]ID, len(fields))
	for i, f := range fields {
		id, err := Parse(f)
		if err != nil {
			return func(ID) error { return err }
		}
		wanted[i] = id
	}
	if len(wanted) == 1 {
		return Only(wanted[0])
	}
	return func(id ID) error {
		if !slices.Contains(wanted, id) {
			return fmt.Errorf("peer is %s, want one of %v", id, wanted)
		}
		return nil
	}
}

// within is Known for everybody of the trust domains.
func within(domains func() []string) Known {
	return func(id ID) error {
		list := domains()
		if !slices.Contains(list, id.TrustDomain) {
			return fmt.Errorf("peer is %s, want one of the trust domains %q", id, list)
		}
		return nil
	}
}
