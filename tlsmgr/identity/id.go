package identity

import (
	"crypto/x509"
	"fmt"
	"net/url"
	"strings"
)

// An ID is who somebody is: a service account of a namespace of a trust
// domain. Its text is spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/SERVICE-ACCOUNT,
// which is also Istio's.
type ID struct {
	TrustDomain    string // "cluster.local"
	Namespace      string
	ServiceAccount string
}

const (
	scheme         = "spiffe://"
	maxTrustDomain = 255  // SPIFFE-ID section 2.1
	maxID          = 2048 // SPIFFE-ID section 2.3
)

// String returns the URI.
func (id ID) String() string {
	return scheme + id.TrustDomain + "/ns/" + id.Namespace + "/sa/" + id.ServiceAccount
}

// URL returns the URI as certificates have it.
func (id ID) URL() *url.URL {
	return &url.URL{Scheme: "spiffe", Host: id.TrustDomain, Path: "/ns/" + id.Namespace + "/sa/" + id.ServiceAccount}
}

// Valid returns an error unless every part of id is one that Kubernetes and
// SPIFFE both allow.
func (id ID) Valid() error {
	if err := ValidTrustDomain(id.TrustDomain); err != nil {
		return err
	}
	if err := validSegment("namespace", id.Namespace, 63, false); err != nil {
		return err
	}
	return validSegment("service account", id.ServiceAccount, 253, true)
}

// Parse returns the ID that uri is the text of. It takes no other spelling:
// no upper case, no port, no query, no escapes, no empty segments.
func Parse(uri string) (ID, error) {
	fail := func(why string) (ID, error) {
		return ID{}, fmt.Errorf("identity %.100q: %s, want spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/SERVICE-ACCOUNT", uri, why)
	}
	if len(uri) > maxID {
		return fail(fmt.Sprintf("%d bytes", len(uri)))
	}
	rest, ok := strings.CutPrefix(uri, scheme)
	if !ok {
		return fail("another scheme")
	}
	parts := strings.Split(rest, "/")
	if len(parts) != 5 || parts[1] != "ns" || parts[3] != "sa" {
		return fail("another path")
	}
	id := ID{TrustDomain: parts[0], Namespace: parts[2], ServiceAccount: parts[4]}
	if err := id.Valid(); err != nil {
		return fail(err.Error())
	}
	return id, nil
}

// OfCertificate returns the ID of a certificate: it has exactly one URI
// (X509-SVID section 2), and is not a CA's. It says nothing about whether the
// certificate is to be believed.
func OfCertificate(cert *x509.Certificate) (ID, error) {
	if cert.IsCA {
		return ID{}, fmt.Errorf("certificate of %s: a CA's, want a leaf", cert.Subject)
	}
	if len(cert.URIs) != 1 {
		return ID{}, fmt.Errorf("certificate of %s: %d URIs, want one", cert.Subject, len(cert.URIs))
	}
	return Parse(cert.URIs[0].String())
}

// ValidTrustDomain returns an error unless td is a SPIFFE trust domain: up to
// 255 lower-case letters, digits, dots, hyphens and underscores.
func ValidTrustDomain(td string) error {
	if td == "" || len(td) > maxTrustDomain {
		return fmt.Errorf("trust domain of %d bytes: want 1-%d", len(td), maxTrustDomain)
	}
	for i := range len(td) {
		if c := td[i]; !alphanumeric(c) && c != '.' && c != '-' && c != '_' {
			return fmt.Errorf("trust domain: byte %q, want lower-case letters, digits, '.', '-', '_'", c)
		}
	}
	return nil
}

// validSegment holds names to Kubernetes's DNS label, or with dots to its DNS
// subdomain, which are narrower than SPIFFE's segments.
func validSegment(what, s string, most int, dots bool) error {
	if s == "" || len(s) > most {
		return fmt.Errorf("%s of %d bytes: want 1-%d", what, len(s), most)
	}
	before := byte('.')
	for i := range len(s) {
		c := s[i]
		switch {
		case alphanumeric(c):
		case c == '-' && before != '.':
		case c == '.' && dots && before != '.' && before != '-':
		default:
			return fmt.Errorf("%s %q: byte %q at %d, want a DNS name", what, s, c, i)
		}
		before = c
	}
	if !alphanumeric(before) {
		return fmt.Errorf("%s %q: ends with %q, want a DNS name", what, s, before)
	}
	return nil
}

func alphanumeric(c byte) bool { return 'a' <= c && c <= 'z' || '0' <= c && c <= '9' }
