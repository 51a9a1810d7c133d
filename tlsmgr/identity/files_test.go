package identity

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// fill writes what own shows, and the roots of bundle, into a folder.
func fill(t *testing.T, dir string, names [3]string, own Own, bundle *Bundle) {
	t.Helper()
	cert, err := own()
	if err != nil {
		t.Fatal(err)
	}
	key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	var chain []byte
	for _, der := range append(cert.Certificate, bundle.roots[0].Raw) { // agents write the root, too
		chain = append(chain, encodeCertificate(der)...)
	}
	for i, text := range [][]byte{chain, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}), bundle.PEM()} {
		if names[i] == "" {
			continue
		}
		path := filepath.Join(dir, names[i])
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, time.Time{}, time.Now()); err != nil { // the bubble's time
			t.Fatal(err)
		}
	}
}

var (
	istioNames  = [3]string{"cert-chain.pem", "key.pem", "root-cert.pem"}
	secretNames = [3]string{"tls.crt", "tls.key", "ca.crt"}
)

func TestFilesOfEitherName(t *testing.T) {
	ca := newTestCA(t)
	for _, names := range [][3]string{istioNames, secretNames} {
		dir := t.TempDir()
		fill(t, dir, names, shown(t, ca, edge, nil), ca.Bundle())
		f, err := NewFiles(dir, quiet)
		if err != nil {
			t.Errorf("%v: %v", names, err)
			continue
		}
		if id, err := Own(f.Certificate).ID(); err != nil || id != edge {
			t.Errorf("%v: are %v, %v, want %v", names, id, err, edge)
		}
		if cert, err := f.Certificate(); err != nil || len(cert.Certificate) != 1 {
			t.Errorf("%v: %v, want the leaf without its root", names, err)
		}
		in := HopServer(shown(t, ca, waypoint, nil), ca.Bundle, func() []string { return []string{"cluster.local"} })
		if err := handshake(t, HopClient(f.Certificate, f.Bundle, waypoint.String()), in); err != nil {
			t.Errorf("%v: a hop: %v", names, err)
		}
	}
}

func TestFilesOfNoUseAreRefused(t *testing.T) {
	ca, foreign := newTestCA(t), newTestCA(t)
	good := shown(t, ca, edge, nil)
	tests := []struct {
		name   string
		change func(dir string)
		says   string
	}{
		{"no folder", func(dir string) { os.RemoveAll(dir) }, "no such file"},
		{"no key", func(dir string) { os.Remove(filepath.Join(dir, "key.pem")) }, "key.pem"},
		{"no roots", func(dir string) { os.Remove(filepath.Join(dir, "root-cert.pem")) }, "root-cert.pem"},
		{"a key of another", func(dir string) {
			fill(t, dir, [3]string{"", "key.pem", ""}, shown(t, ca, edge, nil), ca.Bundle())
		}, "cert-chain.pem: a certificate for another key"},
		{"roots of another mesh", func(dir string) { fill(t, dir, [3]string{"", "", "root-cert.pem"}, good, foreign.Bundle()) }, "want one that leads to one of 1 roots"},
		{"expired", func(dir string) {
			fill(t, dir, istioNames, shown(t, ca, edge, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }), ca.Bundle())
		}, "expired at"},
		{"no identity", func(dir string) {
			fill(t, dir, istioNames, shown(t, ca, edge, func(c *x509.Certificate) { c.URIs = nil }), ca.Bundle())
		}, "0 URIs, want one"},
	}
	for _, tt := range tests {
		dir := t.TempDir()
		fill(t, dir, istioNames, good, ca.Bundle())
		tt.change(dir)
		if _, err := NewFiles(dir, quiet); err == nil || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.says)
		}
	}
}

// Who keeps the files replaces them one after the other, or for the worse: what
// was there before holds as long as it is valid, and one line says what is wrong.
func TestFilesAreFollowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		ca, next := newTestCA(t), newTestCA(t)
		dir := t.TempDir()
		fill(t, dir, istioNames, shown(t, ca, edge, nil), ca.Bundle())
		f, err := NewFiles(dir, slog.New(slog.NewTextHandler(&log, nil)))
		if err != nil {
			t.Fatal(err)
		}
		shows := func(what string, leaf *tls.Certificate, roots *Bundle) {
			t.Helper()
			for range 3 {
				time.Sleep(2 * time.Second)
				cert, err := f.Certificate()
				if err != nil || cert.Leaf != leaf.Leaf && !cert.Leaf.Equal(leaf.Leaf) || !bytes.Equal(f.Bundle().PEM(), roots.PEM()) {
					t.Errorf("%s: %v, another certificate or other roots", what, err)
				}
			}
		}
		first, err := f.Certificate()
		if err != nil {
			t.Fatal(err)
		}
		shows("nothing happens", first, ca.Bundle())
		renewed := shown(t, next, edge, nil)
		fill(t, dir, [3]string{"cert-chain.pem", "", ""}, renewed, next.Bundle())
		shows("a certificate without its key and roots", first, ca.Bundle())
		if n := strings.Count(log.String(), "level=WARN"); n != 1 {
			t.Errorf("%d warnings, want one:\n%s", n, log.String())
		}
		fill(t, dir, istioNames, renewed, next.Bundle())
		second, err := renewed()
		if err != nil {
			t.Fatal(err)
		}
		shows("all of it", second, next.Bundle())
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		shows("nothing left", second, next.Bundle())
		time.Sleep(time.Hour)
		if _, err := f.Certificate(); err == nil || !strings.Contains(err.Error(), "expired at") {
			t.Errorf("an hour later: %v, want that it expired", err)
		}
	})
}
