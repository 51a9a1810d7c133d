package identity

import (
	"crypto/tls"
	"fmt"
	"slices"
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
// identity, "spiffe://cluster.local/ns/shop/sa/waypoint": to nobody else, and
// where it is none, to nobody. NextProtos are the caller's to set.
func HopClient(own Own, roots Roots, identity string) *tls.Config {
	want, err := Parse(identity)
	known := Only(want)
	if err != nil {
		known = func(ID) error { return err }
	}
	c := ClientConfig(own, roots, known)
	c.NextProtos = nil
	return c
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
