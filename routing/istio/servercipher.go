package istio

import (
	"crypto/tls"
	"fmt"
	"slices"

	networking "istio.io/api/networking/v1alpha3"
)

// protocolVersions are those of TLSProtocol. TLS_AUTO is none: tlsmgr's own.
var protocolVersions = map[networking.ServerTLSSettings_TLSProtocol]uint16{
	networking.ServerTLSSettings_TLSV1_0: tls.VersionTLS10,
	networking.ServerTLSSettings_TLSV1_1: tls.VersionTLS11,
	networking.ServerTLSSettings_TLSV1_2: tls.VersionTLS12,
	networking.ServerTLSSettings_TLSV1_3: tls.VersionTLS13,
}

// versions takes over minProtocolVersion, TLSV1_2 unless it is said, and
// maxProtocolVersion.
func (e *ending) versions() {
	e.tls.MinVersion = protocolVersions[e.in.GetMinProtocolVersion()]
	e.tls.MaxVersion = protocolVersions[e.in.GetMaxProtocolVersion()]
	least := e.tls.MinVersion
	if least == 0 {
		least = tls.VersionTLS12
	}
	if most := e.tls.MaxVersion; most != 0 && most < least {
		e.found.wrong(e.field+".maxProtocolVersion", reasonConflictingFields, "raise it, or lower minProtocolVersion",
			"%s at most and %s at least: no client can have both", tls.VersionName(most), tls.VersionName(least))
	}
	if least < tls.VersionTLS12 {
		e.found.warn(e.field+".minProtocolVersion", reasonInsecureTLS, "ask for TLSV1_2 or TLSV1_3",
			"%s is not to be used any longer (RFC 8996)", tls.VersionName(least))
	}
}

// openSSLNames are the names of suites that Envoy has, where IANA has others.
var openSSLNames = map[string]uint16{
	"ECDHE-ECDSA-AES128-GCM-SHA256": tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
	"ECDHE-RSA-AES128-GCM-SHA256":   tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
	"ECDHE-ECDSA-AES256-GCM-SHA384": tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
	"ECDHE-RSA-AES256-GCM-SHA384":   tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
	"ECDHE-ECDSA-CHACHA20-POLY1305": tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
	"ECDHE-RSA-CHACHA20-POLY1305":   tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
	"ECDHE-ECDSA-AES128-SHA":        tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA,
	"ECDHE-RSA-AES128-SHA":          tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA,
	"ECDHE-ECDSA-AES256-SHA":        tls.TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA,
	"ECDHE-RSA-AES256-SHA":          tls.TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA,
	"AES128-GCM-SHA256":             tls.TLS_RSA_WITH_AES_128_GCM_SHA256,
	"AES256-GCM-SHA384":             tls.TLS_RSA_WITH_AES_256_GCM_SHA384,
	"AES128-SHA":                    tls.TLS_RSA_WITH_AES_128_CBC_SHA,
	"AES256-SHA":                    tls.TLS_RSA_WITH_AES_256_CBC_SHA,
	"DES-CBC3-SHA":                  tls.TLS_RSA_WITH_3DES_EDE_CBC_SHA,
}

// cipherSuite returns the number of a suite by its name in OpenSSL or IANA. That
// of TLS 1.3, which is not for us to choose, is found too.
func cipherSuite(name string) (uint16, bool) {
	if id, ok := openSSLNames[name]; ok {
		return id, true
	}
	for _, s := range slices.Concat(tls.CipherSuites(), tls.InsecureCipherSuites()) {
		if s.Name == name {
			return s.ID, true
		}
	}
	return 0, false
}

// suites takes over cipherSuites, which are those of TLS 1.2 and before, as in
// Envoy. Where none is left that we have, there is TLS 1.3 alone.
func (e *ending) suites() {
	names := e.in.GetCipherSuites()
	for i, name := range names {
		field := fmt.Sprintf("%s.cipherSuites[%d]", e.field, i)
		id, ok := cipherSuite(name)
		switch {
		case !ok:
			e.found.warn(field, reasonInvalidValue, "take it out", "cipher suite %q: there is none here of that name", name)
		case isTLS13(id):
			e.found.note(field, reasonIneffectiveField, "take it out", "cipher suite %q: those of TLS 1.3 are always there", name)
		case !slices.Contains(e.tls.CipherSuites, id):
			e.tls.CipherSuites = append(e.tls.CipherSuites, id)
		}
	}
	if len(names) == 0 || len(e.tls.CipherSuites) > 0 {
		return
	}
	if most := e.tls.MaxVersion; most != 0 && most < tls.VersionTLS13 {
		e.found.wrong(e.field+".cipherSuites", reasonInvalidValue, "name one that is known", "no suite that we have for %s", tls.VersionName(most))
	}
	e.tls.MinVersion = tls.VersionTLS13
}

// isTLS13 reports whether a suite is of TLS 1.3 (RFC 8446 appendix B.4).
func isTLS13(id uint16) bool { return id>>8 == 0x13 }
