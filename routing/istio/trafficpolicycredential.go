package istio

import (
	"errors"

	"fairway.dev/routing"
	"fairway.dev/routing/dialect"
)

// A clientCredential is what a credentialName of ClientTLSSettings stands for.
type clientCredential struct {
	certificate routing.CertificateName // is shown; empty with SIMPLE
	roots, crl  []byte                  // empty: the system's
}

// clientCredential reads the Secrets of a credentialName: roots are in the one
// of that name, or else in the one with "-cacert" behind it; with MUTUAL the
// first has to have a key pair. SIMPLE without roots trusts nobody in
// particular, and so is not in order: its author wanted them.
func (r *reading) clientCredential(client, name string, mutual bool) (clientCredential, error) {
	var c clientCredential
	if mutual {
		pair := r.Value(dialect.ID{Kind: credentialCell, NS: client, Name: name}).(credential)
		if err := pair.err(); err != nil {
			return c, err
		}
		c.certificate = pair.name
	}
	own := r.Value(dialect.ID{Kind: authorityCell, NS: client, Name: name, Part: "Secret"}).(authority)
	beside := r.Value(dialect.ID{Kind: authorityCell, NS: client, Name: name + authoritySuffix, Part: "Secret"}).(authority)
	a := own
	if len(own.roots) == 0 && !beside.missing {
		a = beside
	}
	switch {
	case len(a.roots) == 0 && mutual:
		return c, nil
	case a.problem != "":
		return c, errors.New(a.problem)
	}
	c.roots, c.crl = a.roots, a.crl
	return c, nil
}
