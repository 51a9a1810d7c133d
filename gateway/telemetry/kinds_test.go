package telemetry

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"math/big"
	"net"
	"os"
	"strings"
	"testing"
	"time"
)

// certificate returns one for shop.example that nobody trusts.
func certificate(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"shop.example"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// The outcomes are told from crypto/tls's own errors, some of them by their
// text: each is brought about here.
func TestHandshakeOutcomes(t *testing.T) {
	cert := certificate(t)
	server := &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12, NextProtos: []string{"h2"}}
	asTLS := func(c *tls.Config) func(net.Conn) {
		return func(conn net.Conn) {
			// Whether the client is content is not the point.
			_ = tls.Client(conn, c).Handshake()
			conn.Close()
		}
	}
	tests := []struct {
		name   string
		server *tls.Config
		client func(net.Conn)
		want   Handshake
	}{
		{"a client that is content", server, asTLS(&tls.Config{InsecureSkipVerify: true}), HandshakeOK},
		{"a client that does not trust", server, asTLS(&tls.Config{ServerName: "shop.example"}), HandshakeRefusedByPeer},
		{"an old client", server, asTLS(&tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}), HandshakeNoCommon},
		{"other curves", &tls.Config{Certificates: []tls.Certificate{cert}, CurvePreferences: []tls.CurveID{tls.CurveP521}},
			asTLS(&tls.Config{InsecureSkipVerify: true, CurvePreferences: []tls.CurveID{tls.CurveP256}}), HandshakeNoCommon},
		{"other ciphers", &tls.Config{Certificates: []tls.Certificate{cert}, MaxVersion: tls.VersionTLS12,
			CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256}},
			asTLS(&tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12,
				CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384}}), HandshakeNoCommon},
		{"another protocol", server, asTLS(&tls.Config{InsecureSkipVerify: true, NextProtos: []string{"smtp"}}), HandshakeNoCommon},
		{"a name without a certificate", &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return nil, nil }},
			asTLS(&tls.Config{InsecureSkipVerify: true}), HandshakeNoCertificate},
		{"a client without the certificate that is asked for", &tls.Config{Certificates: []tls.Certificate{cert}, ClientAuth: tls.RequireAnyClientCert},
			asTLS(&tls.Config{InsecureSkipVerify: true}), HandshakeClientRefused},
		{"a client with a certificate that nobody knows", &tls.Config{Certificates: []tls.Certificate{cert}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: x509.NewCertPool()},
			asTLS(&tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{cert}}), HandshakeClientRefused},
		{"plain HTTP", server, func(c net.Conn) { fmt.Fprint(c, "GET / HTTP/1.1\r\n"); c.Close() }, HandshakeNotTLS},
		{"a client that leaves", server, func(c net.Conn) { c.Close() }, HandshakeGone},
		{"a client that leaves within a record", server, func(c net.Conn) { fmt.Fprint(c, "\x16\x03\x01"); c.Close() }, HandshakeGone},
		{"bytes that are no ClientHello", server, func(c net.Conn) { fmt.Fprint(c, "\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00"); c.Close() }, HandshakeOther},
	}
	for _, tt := range tests {
		near, far := net.Pipe()
		done := make(chan struct{})
		go func() {
			defer close(done)
			tt.client(far)
		}()
		err := tls.Server(near, tt.server).Handshake()
		near.Close()
		<-done
		if got := HandshakeOutcome(err); got != tt.want {
			t.Errorf("%s: %v is %q, want %q", tt.name, err, handshakeText[got], handshakeText[tt.want])
		}
	}
	if got := HandshakeOutcome(fmt.Errorf("TLS handshake: %w", os.ErrDeadlineExceeded)); got != HandshakeTimeout {
		t.Errorf("a deadline is %q, want %q", handshakeText[got], handshakeText[HandshakeTimeout])
	}
}

// Counters are looked up by number: a kind without a text would not show.
func TestEachKindHasItsText(t *testing.T) {
	for name, texts := range map[string][]string{
		"Handshake": handshakeText[:], "Limit": limitText[:], "Ejection": ejectionText[:],
		"LogOutcome": logOutcomeText[:], "RetryCause": retryText[:],
	} {
		seen := map[string]bool{}
		for i, text := range texts {
			if text == "" || seen[text] || strings.ToLower(text) != text {
				t.Errorf("%s %d: text %q is empty, not in lower case, or there twice", name, i, text)
			}
			seen[text] = true
		}
	}
}
