package tlsmgr

import (
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// openCA opens the CA in dir with a clock that stands at now.
func openCA(t testing.TB, dir string, now *time.Time) *LocalCA {
	t.Helper()
	ca, err := openLocalCA(dir, func() time.Time { return *now })
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

func newCA(t testing.TB) *LocalCA {
	t.Helper()
	now := time.Now()
	return openCA(t, t.TempDir(), &now)
}

// trusting is a client that trusts what is in the CA's file, as a user's does.
func trusting(t *testing.T, ca *LocalCA, name string) *tls.Config {
	t.Helper()
	text, err := os.ReadFile(ca.RootFile())
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(text) {
		t.Fatalf("no certificate in %s", text)
	}
	return &tls.Config{RootCAs: roots, ServerName: name}
}

func TestTheLocalCAIssuesForNamesThatAListenerHas(t *testing.T) {
	ca := newCA(t)
	server := serving(store(t, ca), Listener{Hostname: "*.shop.localhost"}, Listener{Hostname: "shop.localhost"})
	for _, name := range []string{"shop.localhost", "cart.shop.localhost", "a.b.shop.localhost"} {
		if _, serverErr, err := shake(server.Config(), trusting(t, ca, name)); err != nil || serverErr != nil {
			t.Errorf("%s: client %v, server %v; want a certificate that it trusts", name, err, serverErr)
		}
	}
	if _, _, err := shake(server.Config(), trusting(t, ca, "other.localhost")); err == nil || !strings.Contains(err.Error(), "unrecognized name") {
		t.Errorf("a name that no listener has: %v, want the alert unrecognized_name", err)
	}
}

// Clients that ask for an address send no name (RFC 6066 section 3).
func TestTheLocalCAIssuesForAddresses(t *testing.T) {
	ca := newCA(t)
	for _, hostname := range []string{"", "shop.localhost"} {
		server := serving(store(t, ca), Listener{Hostname: hostname})
		for _, address := range []string{"127.0.0.1", "::1"} {
			if _, serverErr, err := shake(server.Config(), trusting(t, ca, address)); err != nil || serverErr != nil {
				t.Errorf("%s on %q: client %v, server %v; want a certificate that it trusts", address, hostname, err, serverErr)
			}
		}
	}
	ours := &net.TCPAddr{IP: net.IPv4(192, 0, 2, 7), Port: 443}
	cert, err := ca.certificateFor(&tls.ClientHelloInfo{Conn: at{ours}}, "", "shop.localhost")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"192.0.2.7", "127.0.0.1", "localhost", "shop.localhost"} {
		if err := cert.Leaf.VerifyHostname(name); err != nil {
			t.Errorf("reached at 192.0.2.7 without a name: %v", err)
		}
	}
}

// at is a connection that has an address and nothing else.
type at struct{ addr net.Addr }

func (a at) LocalAddr() net.Addr              { return a.addr }
func (a at) RemoteAddr() net.Addr             { return a.addr }
func (a at) Read([]byte) (int, error)         { return 0, net.ErrClosed }
func (a at) Write([]byte) (int, error)        { return 0, net.ErrClosed }
func (a at) Close() error                     { return nil }
func (a at) SetDeadline(time.Time) error      { return nil }
func (a at) SetReadDeadline(time.Time) error  { return nil }
func (a at) SetWriteDeadline(time.Time) error { return nil }

func TestTheLocalCAStaysAcrossRestarts(t *testing.T) {
	dir, now := filepath.Join(t.TempDir(), "state", "ca"), time.Now()
	first := openCA(t, dir, &now)
	again := openCA(t, dir, &now)
	if !first.Root().Equal(again.Root()) {
		t.Error("the root changed")
	}
	server := serving(store(t, again), Listener{})
	if _, _, err := shake(server.Config(), trusting(t, first, "shop.localhost")); err != nil {
		t.Errorf("who trusts the root from before: %v", err)
	}
	for file, want := range map[string]os.FileMode{keyFile: 0o600, rootFile: 0o644} {
		info, err := os.Stat(filepath.Join(dir, file))
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode() != want {
			t.Errorf("%s: mode %v, want %v", file, info.Mode(), want)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(dir, ".*")); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
	if life := first.Root().NotAfter.Sub(now); life < rootLife-time.Minute || life > rootLife {
		t.Errorf("the root lives for %v, want %v", life, rootLife)
	}
}

func TestManyMayOpenTheLocalCAAtOnce(t *testing.T) {
	dir := t.TempDir()
	const n = 16
	roots := make([]*x509.Certificate, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			ca, err := OpenLocalCA(dir)
			if err != nil {
				t.Error(err)
				return
			}
			roots[i] = ca.Root()
		})
	}
	wg.Wait()
	for _, root := range roots {
		if root == nil || !root.Equal(roots[0]) {
			t.Fatal("not all have the same root")
		}
	}
}

func TestARootWhoseFileIsGoneIsMadeForTheSameKey(t *testing.T) {
	dir, now := t.TempDir(), time.Now()
	first := openCA(t, dir, &now)
	if err := os.Remove(first.RootFile()); err != nil {
		t.Fatal(err)
	}
	again := openCA(t, dir, &now)
	if !first.key.Equal(again.key) || first.Root().Equal(again.Root()) {
		t.Error("want the same key, and a new certificate for it")
	}
}

func TestADamagedCASaysWhatToDo(t *testing.T) {
	write := func(name, content string) func(string) error {
		return func(dir string) error { return os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600) }
	}
	otherCA := newCA(t)
	otherRoot, err := os.ReadFile(otherCA.RootFile())
	if err != nil {
		t.Fatal(err)
	}
	rsaPair := pair(t, "rsa", rsaKey(), "shop.example")
	tests := []struct {
		name   string
		damage func(dir string) error
		want   string
	}{
		{"an empty key", write(keyFile, ""), "ca.key is damaged: no PEM in 0 bytes, want PRIVATE KEY; restore it, or remove ca.key and ca.crt"},
		{"a key of junk", write(keyFile, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("junk")}))), "ca.key is damaged: asn1: "},
		{"a certificate for a key", write(keyFile, string(otherRoot)), "ca.key is damaged: PEM block CERTIFICATE, want PRIVATE KEY"},
		{"another kind of key", write(keyFile, string(rsaPair.Key)), "ca.key is damaged: a key of type *rsa.PrivateKey, want ECDSA"},
		{"no key", func(dir string) error { return os.Remove(filepath.Join(dir, keyFile)) }, "ca.key is not there, but ca.crt is"},
		{"half a root", write(rootFile, string(otherRoot[:100])), "ca.crt is damaged: no PEM in 100 bytes, want CERTIFICATE"},
		{"a root and more", write(rootFile, string(otherRoot)+"more"), "ca.crt is damaged: 4 bytes after the PEM block"},
		{"another's root", write(rootFile, string(otherRoot)), "ca.crt is not for the key in ca.key: remove it"},
		{"a directory for a key", func(dir string) error {
			path := filepath.Join(dir, keyFile)
			if err := os.Remove(path); err != nil {
				return err
			}
			return os.Mkdir(path, 0o700)
		}, "is a directory"},
	}
	for _, tt := range tests {
		dir := t.TempDir()
		if _, err := OpenLocalCA(dir); err != nil {
			t.Fatal(err)
		}
		if err := tt.damage(dir); err != nil {
			t.Fatal(err)
		}
		before, _ := os.ReadFile(filepath.Join(dir, keyFile))
		_, err := OpenLocalCA(dir)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
		if after, _ := os.ReadFile(filepath.Join(dir, keyFile)); !bytes.Equal(before, after) {
			t.Errorf("%s: the key was changed", tt.name)
		}
	}
}

func TestARootThatIsNoneOrHasExpiredIsRefused(t *testing.T) {
	dir, now := t.TempDir(), time.Now()
	ca := openCA(t, dir, &now)
	_, err := openLocalCA(dir, func() time.Time { return now.Add(rootLife + time.Hour) })
	if err == nil || !strings.Contains(err.Error(), "expired on") {
		t.Errorf("after its life: %v, want that it expired", err)
	}
	leaf := &x509.Certificate{NotBefore: now, NotAfter: now.Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, leaf, leaf, ca.key.Public(), ca.key)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(ca.RootFile(), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenLocalCA(dir); err == nil || !strings.Contains(err.Error(), "not the certificate of a CA") {
		t.Errorf("a leaf as root: %v, want that it is not a CA's", err)
	}
}

func TestLeavesAreKeptAndRenewed(t *testing.T) {
	now := time.Now()
	ca := openCA(t, t.TempDir(), &now)
	leaf := func() *tls.Certificate {
		t.Helper()
		cert, err := ca.Certificate("shop.localhost")
		if err != nil {
			t.Fatal(err)
		}
		return cert
	}
	first := leaf()
	if life := first.Leaf.NotAfter.Sub(now); life > leafLife || life < leafLife-time.Minute {
		t.Errorf("a leaf lives for %v, want %v", life, leafLife)
	}
	now = now.Add(59 * 24 * time.Hour)
	if leaf() != first {
		t.Error("renewed after 59 days, want after 60")
	}
	now = now.Add(25 * time.Hour)
	second := leaf()
	if second == first || second.Leaf.SerialNumber.Cmp(first.Leaf.SerialNumber) == 0 {
		t.Error("not renewed after 60 days")
	}
	now = ca.Root().NotAfter.Add(-time.Hour)
	if end := leaf().Leaf.NotAfter; end.After(ca.Root().NotAfter) {
		t.Errorf("a leaf is good until %v, longer than its root, until %v", end, ca.Root().NotAfter)
	}
}

// Anybody can ask a listener without a hostname for any name.
func TestTheLocalCAKeepsABoundedNumberOfLeaves(t *testing.T) {
	ca := newCA(t)
	for i := range maxLeaves + 50 {
		if _, err := ca.Certificate(fmt.Sprintf("shop%d.localhost", i)); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(ca.leaves); n != maxLeaves {
		t.Errorf("%d leaves are kept, want %d", n, maxLeaves)
	}
}

func TestOnlyHostnamesGetCertificates(t *testing.T) {
	ca := newCA(t)
	long := strings.Repeat("a", 63)
	tests := []struct {
		name string
		want string // of the error; empty for a certificate
	}{
		{"shop.localhost", ""},
		{"xn--bcher-kva.example", ""},
		{"_acme.shop.example", ""},
		{long + "." + long + "." + long + ".example", ""}, // longer than a common name may be
		{"", "0 bytes"},
		{"*.shop.example", `byte '*'`},
		{"SHOP.example", `byte 'S'`}, // lower case is the caller's duty
		{"127.0.0.1", "an address"},
		{"::1", "an address"},
		{"shop..example", "a label of 0 bytes"},
		{long + "a.example", "a label of 64 bytes"},
		{strings.Repeat(long+".", 4) + "example", "263 bytes"},
		{"-shop.example", "a hyphen"},
		{"shop\x00.example", `byte '\x00'`},
		{"bücher.example", `byte`},
	}
	for _, tt := range tests {
		cert, err := ca.Certificate(tt.name)
		switch {
		case tt.want == "" && (err != nil || cert.Leaf.VerifyHostname(tt.name) != nil):
			t.Errorf("%q: %v, want a certificate for it", tt.name, err)
		case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
			t.Errorf("%q: %v, want an error with %q", tt.name, err, tt.want)
		}
	}
}

// Handshakes run on several goroutines: run with -race.
func TestTheLocalCAIsForManyAtOnce(t *testing.T) {
	ca := newCA(t)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for i := range 50 {
				name := fmt.Sprintf("shop%d.localhost", i%5)
				cert, err := ca.Certificate(name)
				if err != nil || cert.Leaf.VerifyHostname(name) != nil {
					t.Errorf("%s: %v", name, err)
				}
			}
		})
	}
	wg.Wait()
}

func BenchmarkLocalCASign(b *testing.B) {
	ca := newCA(b)
	i := 0
	for b.Loop() {
		i++
		if _, err := ca.Certificate(fmt.Sprintf("shop%d.localhost", i)); err != nil {
			b.Fatal(err)
		}
	}
}

func FuzzValidName(f *testing.F) {
	for _, s := range []string{"shop.example", "*.a", "a..b", "127.0.0.1", "a-.b", "\xff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if validName(name) != nil {
			return
		}
		leaf := &x509.Certificate{DNSNames: []string{name}}
		if err := leaf.VerifyHostname(name); err != nil {
			t.Errorf("%q is valid, but no certificate can be for it: %v", name, err)
		}
	})
}
