package tlsmgr

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
)

// Why a certificate that verifies is not let in.
var (
	errUnknownName = errors.New("client's certificate has none of the names that are let in")
	errUnknownKey  = errors.New("client's certificate is none of those that are let in")
)

// known says why a certificate is not one of those that are let in.
func (c *clients) known(cert *x509.Certificate) error {
	v := &c.given
	if len(v.SANs) > 0 && !slices.ContainsFunc(v.SANs, func(want string) bool { return hasName(cert, want) }) {
		return errUnknownName
	}
	if len(v.SPKI) == 0 && len(v.Hashes) == 0 {
		return nil
	}
	key, whole := sha256.Sum256(cert.RawSubjectPublicKeyInfo), sha256.Sum256(cert.Raw)
	if slices.Contains(v.SPKI, base64.StdEncoding.EncodeToString(key[:])) || slices.Contains(v.Hashes, hex.EncodeToString(whole[:])) {
		return nil
	}
	return errUnknownKey
}

// hasName reports whether one of a certificate's subject alternative names is
// as want has it.
func hasName(cert *x509.Certificate, want string) bool {
	for _, name := range cert.DNSNames {
		if nameMatches(strings.ToLower(want), strings.ToLower(name)) {
			return true
		}
	}
	for _, uri := range cert.URIs {
		if nameMatches(want, uri.String()) {
			return true
		}
	}
	for _, ip := range cert.IPAddresses {
		if nameMatches(want, ip.String()) {
			return true
		}
	}
	return slices.ContainsFunc(cert.EmailAddresses, func(email string) bool { return nameMatches(want, email) })
}

// nameMatches compares a name with one that may begin or end with "*".
func nameMatches(want, name string) bool {
	if name == "" {
		return false
	}
	if suffix, ok := strings.CutPrefix(want, "*"); ok {
		return strings.HasSuffix(name, suffix)
	}
	if prefix, ok := strings.CutSuffix(want, "*"); ok {
		return strings.HasPrefix(name, prefix)
	}
	return want == name
}
