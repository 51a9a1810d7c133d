package tlsmgr

import (
	"crypto/tls"
	"testing"
)

// handshake returns what came of a client's handshake; nil where it was refused.
func handshake(server *Server, client *tls.Config) *tls.ConnectionState {
	client.InsecureSkipVerify = true
	state, serverErr, clientErr := shake(server.Config(), client)
	if serverErr != nil || clientErr != nil {
		return nil
	}
	return &state
}

// ServerTLSSettings.minProtocolVersion, maxProtocolVersion and cipherSuites are
// of one listener, and not of the others on its port.
func TestVersionsAndSuitesOfAListener(t *testing.T) {
	s := store(t, nil, pair(t, "tls", rsaKey(), "x"))
	tls12, tls13 := uint16(tls.VersionTLS12), uint16(tls.VersionTLS13)
	const aes256, aes128 = tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256
	server := serving(s,
		Listener{Hostname: "plain", Certificates: []string{"tls"}},
		Listener{Hostname: "new", Certificates: []string{"tls"}, MinVersion: tls13},
		Listener{Hostname: "old", Certificates: []string{"tls"}, MaxVersion: tls12},
		Listener{Hostname: "ancient", Certificates: []string{"tls"}, MinVersion: tls.VersionTLS10, CipherSuites: []uint16{tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA}},
		Listener{Hostname: "suite", Certificates: []string{"tls"}, CipherSuites: []uint16{aes256}},
		Listener{Hostname: "closed", Certificates: []string{"tls"}, Closed: true},
		Listener{Hostname: "closed.local", Closed: true},
		Listener{Certificates: []string{"tls"}},
	)
	tests := []struct {
		name     string
		min, max uint16
		suites   []uint16
		version  uint16 // 0: refused
		suite    uint16 // 0: any
	}{
		{"plain", 0, 0, nil, tls13, 0},
		{"plain", 0, tls12, nil, tls12, 0},
		{"plain", tls.VersionTLS10, tls.VersionTLS11, nil, 0, 0},
		{"new", 0, 0, nil, tls13, 0},
		{"new", 0, tls12, nil, 0, 0},
		{"old", 0, 0, nil, tls12, 0},
		{"old", tls13, 0, nil, 0, 0},
		{"ancient", tls.VersionTLS10, tls.VersionTLS10, []uint16{tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA}, tls.VersionTLS10, 0},
		{"ancient", 0, 0, nil, tls13, 0},
		{"suite", 0, tls12, []uint16{aes128, aes256}, tls12, aes256},
		{"suite", 0, tls12, []uint16{aes128}, 0, 0},
		{"suite", 0, 0, nil, tls13, 0}, // suites of TLS 1.3 are not for listeners to choose
		{"closed", 0, 0, nil, 0, 0},
		{"closed.local", 0, 0, nil, 0, 0},
		{"other", 0, 0, nil, tls13, 0}, // whom a closed listener does not concern
	}
	for _, tt := range tests {
		got := handshake(server, &tls.Config{ServerName: tt.name, MinVersion: tt.min, MaxVersion: tt.max, CipherSuites: tt.suites})
		switch {
		case got == nil && tt.version != 0:
			t.Errorf("%s: a client of %s to %s was refused, want %s", tt.name, tls.VersionName(tt.min), tls.VersionName(tt.max), tls.VersionName(tt.version))
		case got != nil && (got.Version != tt.version || tt.suite != 0 && got.CipherSuite != tt.suite):
			t.Errorf("%s: %s with %s, want %s with %s", tt.name, tls.VersionName(got.Version), tls.CipherSuiteName(got.CipherSuite),
				tls.VersionName(tt.version), tls.CipherSuiteName(tt.suite))
		}
	}
}

// A session is not taken to a listener that would not have made it.
func TestSessionsKeepToVersions(t *testing.T) {
	s := store(t, nil, pair(t, "tls", ecdsaKey(), "x"))
	server := serving(s,
		Listener{Hostname: "any", Certificates: []string{"tls"}},
		Listener{Hostname: "new", Certificates: []string{"tls"}, MinVersion: tls.VersionTLS13},
	)
	cache := &oneSession{}
	for _, name := range []string{"any", "any"} {
		if handshake(server, &tls.Config{ServerName: name, MaxVersion: tls.VersionTLS12, ClientSessionCache: cache}) == nil {
			t.Fatalf("%s: refused", name)
		}
	}
	if got := handshake(server, &tls.Config{ServerName: "new", MaxVersion: tls.VersionTLS12, ClientSessionCache: cache}); got != nil {
		t.Errorf("a session of TLS 1.2 was resumed: %v", got.DidResume)
	}
	if got := handshake(server, &tls.Config{ServerName: "new", ClientSessionCache: cache}); got == nil || got.Version != tls.VersionTLS13 {
		t.Errorf("%+v, want TLS 1.3", got)
	}
}
