package istio

import (
	"crypto/tls"
	"strings"
	"testing"

	networking "istio.io/api/networking/v1alpha3"
)

// ServerTLSSettings.cipherSuites has names of OpenSSL; those of IANA are taken
// too.
func TestCipherSuites(t *testing.T) {
	for _, name := range strings.Fields(`ECDHE-ECDSA-AES128-GCM-SHA256 ECDHE-RSA-AES128-GCM-SHA256 ECDHE-ECDSA-AES256-GCM-SHA384
		ECDHE-RSA-AES256-GCM-SHA384 ECDHE-ECDSA-CHACHA20-POLY1305 ECDHE-RSA-CHACHA20-POLY1305 ECDHE-ECDSA-AES128-SHA ECDHE-RSA-AES128-SHA
		ECDHE-ECDSA-AES256-SHA ECDHE-RSA-AES256-SHA AES128-GCM-SHA256 AES256-GCM-SHA384 AES128-SHA AES256-SHA DES-CBC3-SHA`) {
		if _, ok := cipherSuite(name); !ok {
			t.Errorf("%s, which the API documents, is not known", name)
		}
	}
	for name, want := range map[string]uint16{
		"ECDHE-RSA-CHACHA20-POLY1305":                 tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
		"TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256": tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
		"TLS_AES_256_GCM_SHA384":                      tls.TLS_AES_256_GCM_SHA384,
		"AES128-SHA":                                  tls.TLS_RSA_WITH_AES_128_CBC_SHA,
	} {
		if got, ok := cipherSuite(name); !ok || got != want {
			t.Errorf("cipherSuite(%q) = %#x, %v, want %#x", name, got, ok, want)
		}
	}
	if id, ok := cipherSuite("ECDHE-PSK-CHACHA20-POLY1305"); ok {
		t.Errorf("a suite that we have not is %#x", id)
	}
	for _, s := range tls.CipherSuites() {
		if got, want := isTLS13(s.ID), s.SupportedVersions[0] == tls.VersionTLS13; got != want {
			t.Errorf("isTLS13(%s) = %v, want %v", s.Name, got, want)
		}
	}
}

// Server.hosts: what is taken of a host is one that listeners can have.
func FuzzServerHosts(f *testing.F) {
	for _, h := range []string{"*", "a.example.com", "./*.example.com", "ns/a", "*/A.B", "~/x", "/", "*.*", "a/b/c", ""} {
		f.Add(h)
	}
	f.Fuzz(func(t *testing.T, host string) {
		s := parseServer(&networking.Server{Port: &networking.Port{Number: 80, Name: "http", Protocol: "HTTP"}, Hosts: []string{host}}, 0, "shop",
			func(uint16) string { return "" })
		if len(s.hosts) == 0 != (len(s.found) == 1) || s.broken != (len(s.hosts) == 0) {
			t.Fatalf("%q: hosts %v, broken %v, found %v", host, s.hosts, s.broken, s.found)
		}
		for _, h := range s.hosts {
			if h.namespace == "" || h.namespace == "." || h.pattern != strings.ToLower(h.pattern) || checkServerHost(h.pattern) != nil {
				t.Errorf("%q is %+v", host, h)
			}
		}
	})
}

// MeshConfig is the work of people: whatever they write, it is one that holds,
// or none at all.
func FuzzParseMesh(f *testing.F) {
	for _, text := range []string{"", "connectTimeout: 5s", "a: [b", "- x", "defaultConfig: {x: {y: 1}}", "1: 2", "connectTimeout: &a [*a]", "tcpKeepalive: null"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var found complaints
		config, err := parseMesh(text, &found)
		if (config == nil) == (err == nil) {
			t.Errorf("%q: %v and error %v, want one of them", text, config, err)
		}
		if err != nil && len(found) > 0 {
			t.Errorf("%q does not hold, and yet is told of: %v", text, found)
		}
	})
}
