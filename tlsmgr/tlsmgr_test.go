package tlsmgr

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// keys are made once: an RSA key takes a while.
var (
	ecdsaKey = sync.OnceValue(func() crypto.Signer {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			panic(err)
		}
		return key
	})
	rsaKey = sync.OnceValue(func() crypto.Signer {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			panic(err)
		}
		return key
	})
)

// pair returns a self-signed pair. Its common name is its own, so that tests
// can tell which was shown.
func pair(t testing.TB, name string, key crypto.Signer, dnsNames ...string) Pair {
	t.Helper()
	return pairUntil(t, name, key, time.Now().Add(24*time.Hour), dnsNames...)
}

func pairUntil(t testing.TB, name string, key crypto.Signer, end time.Time, dnsNames ...string) Pair {
	t.Helper()
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, DNSNames: dnsNames, NotBefore: end.Add(-48 * time.Hour), NotAfter: end,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return Pair{
		Name:  name,
		Chain: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		Key:   pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}),
	}
}

// store returns a Store with these pairs in force.
func store(t testing.TB, ca *LocalCA, pairs ...Pair) *Store {
	t.Helper()
	s := NewStore(ca)
	for _, p := range pairs {
		if problem := s.Put(p); problem != nil {
			t.Fatal(problem)
		}
	}
	return s
}

// sockets returns the two ends of a connection. net.Pipe will not do: without
// a buffer, two sides that write at once wait for each other.
func sockets() (near, far net.Conn) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		panic(err)
	}
	conn := func(fd int) net.Conn {
		f := os.NewFile(uintptr(fd), "")
		defer f.Close()
		c, err := net.FileConn(f)
		if err != nil {
			panic(err)
		}
		c.SetDeadline(time.Now().Add(10 * time.Second))
		return c
	}
	return conn(fds[0]), conn(fds[1])
}

// shake runs a handshake in memory and returns what both sides say of it.
func shake(server, client *tls.Config) (state tls.ConnectionState, serverErr, clientErr error) {
	near, far := sockets()
	defer near.Close()
	defer far.Close()
	done := make(chan error, 1)
	go func() {
		conn := tls.Server(near, server)
		err := conn.Handshake()
		if err == nil {
			// TLS 1.3 sends tickets after the handshake: the client gets them
			// with the first byte.
			_, err = conn.Write([]byte("x"))
		}
		near.Close()
		done <- err
	}()
	conn := tls.Client(far, client)
	clientErr = conn.Handshake()
	if clientErr == nil {
		_, clientErr = conn.Read(make([]byte, 1))
	}
	state = conn.ConnectionState()
	far.Close()
	return state, <-done, clientErr
}

// serving returns a Server in which a table is in force.
func serving(s *Store, listeners ...Listener) *Server {
	server := NewServer()
	server.Use(s.Table(listeners))
	return server
}

// shown is the common name of the certificate that the client got, or its error.
func shown(server *Server, client *tls.Config) string {
	client.InsecureSkipVerify = true
	state, _, err := shake(server.Config(), client)
	if err != nil {
		return "error: " + err.Error()
	}
	return state.PeerCertificates[0].Subject.CommonName
}

func TestServerSpeaksModernTLS(t *testing.T) {
	server := serving(store(t, nil, pair(t, "shop/tls", ecdsaKey(), "shop.example")), Listener{Certificates: []string{"shop/tls"}})
	state, _, err := shake(server.Config(), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1", "h2"}})
	if err != nil {
		t.Fatal(err)
	}
	if state.Version != tls.VersionTLS13 || state.NegotiatedProtocol != "h2" || state.CurveID != tls.X25519MLKEM768 {
		t.Errorf("version %x, protocol %q, curve %v; want TLS 1.3, h2 and X25519MLKEM768", state.Version, state.NegotiatedProtocol, state.CurveID)
	}
	state, _, err = shake(server.Config(), &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}})
	if err != nil {
		t.Fatal(err)
	}
	if state.Version != tls.VersionTLS12 || state.NegotiatedProtocol != "http/1.1" {
		t.Errorf("version %x, protocol %q; want TLS 1.2 and http/1.1", state.Version, state.NegotiatedProtocol)
	}
	_, _, err = shake(server.Config(), &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11})
	if err == nil || !strings.Contains(err.Error(), "protocol version") {
		t.Errorf("TLS 1.1: %v, want the alert protocol_version", err)
	}
}

// A client resumes across changes of certificates: the configuration of a
// port, and with it the ticket keys, stays.
func TestSessionsAreResumedAcrossTables(t *testing.T) {
	s := store(t, nil, pair(t, "shop/tls", ecdsaKey(), "shop.example"))
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		server := serving(s, Listener{Certificates: []string{"shop/tls"}})
		client := &tls.Config{
			InsecureSkipVerify: true, ServerName: "shop.example", MaxVersion: version,
			ClientSessionCache: tls.NewLRUClientSessionCache(10),
		}
		for i, want := range []bool{false, true, true} {
			state, serverErr, err := shake(server.Config(), client)
			if err != nil || serverErr != nil {
				t.Fatal(err, serverErr)
			}
			if state.DidResume != want {
				t.Errorf("%s, handshake %d: resumed %v, want %v", tls.VersionName(version), i, state.DidResume, want)
			}
			if problem := s.Put(pair(t, "shop/tls", ecdsaKey(), "shop.example")); problem != nil {
				t.Fatal(problem)
			}
			server.Use(s.Table([]Listener{{Hostname: "shop.example", Certificates: []string{"shop/tls"}}}))
		}
	}
}

func TestAServerWithoutATableRefuses(t *testing.T) {
	_, serverErr, err := shake(NewServer().Config(), &tls.Config{InsecureSkipVerify: true, ServerName: "shop.example"})
	var op *net.OpError
	if !errors.As(err, &op) || !strings.Contains(err.Error(), "unrecognized name") {
		t.Errorf("client: %v, want the alert unrecognized_name", err)
	}
	if serverErr == nil || !strings.Contains(serverErr.Error(), "no certificates") {
		t.Errorf("server: %v, want that it has no certificates", serverErr)
	}
}

// Tables change while clients come: run with -race.
func TestHandshakesWhileTablesChange(t *testing.T) {
	s := store(t, nil, pair(t, "a", ecdsaKey(), "shop.example"), pair(t, "b", ecdsaKey(), "shop.example"))
	server := serving(s, Listener{Certificates: []string{"a"}})
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for range 20 {
				if got := shown(server, &tls.Config{ServerName: "shop.example"}); got != "a" && got != "b" {
					t.Errorf("shown %q, want a or b", got)
				}
			}
		})
	}
	wg.Go(func() {
		for i := range 200 {
			server.Use(s.Table([]Listener{{Certificates: []string{string(rune('a' + i%2))}}}))
			s.Remove(fmt.Sprint("none", i))
			s.Problems()
			s.Expiry()
		}
	})
	wg.Wait()
}
