package identity

import (
	"bytes"
	"crypto/x509"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// While one root takes the place of another both are trusted.
func TestBundleOfSeveralRoots(t *testing.T) {
	before, after, foreign := newTestCA(t), newTestCA(t), newTestCA(t)
	both, err := ParseBundle(append(before.Bundle().PEM(), after.Bundle().PEM()...))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		ca *CA
		ok bool
	}{{before, true}, {after, true}, {foreign, false}} {
		chain, err := tt.ca.Sign(request(t, newTestKey(t), &x509.CertificateRequest{}), Claim{ID: edge})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := both.Verify(parse(t, chain)[:1], x509.ExtKeyUsageClientAuth, time.Now()); (err == nil) != tt.ok {
			t.Errorf("verify = %v, want ok %v", err, tt.ok)
		}
	}
	again, err := ParseBundle(both.PEM())
	if err != nil || !bytes.Equal(again.PEM(), both.PEM()) {
		t.Errorf("PEM does not read back: %v", err)
	}
}

func TestVerifyFailsClosed(t *testing.T) {
	ca := newTestCA(t)
	chain, err := ca.Sign(request(t, newTestKey(t), &x509.CertificateRequest{}), Claim{ID: edge})
	if err != nil {
		t.Fatal(err)
	}
	certs := parse(t, chain)
	day := 24 * time.Hour
	tests := []struct {
		name   string
		bundle *Bundle
		chain  []*x509.Certificate
		now    time.Time
	}{
		{"no bundle", nil, certs, time.Now()},
		{"no certificate", ca.Bundle(), nil, time.Now()},
		{"the CA's own", ca.Bundle(), certs[1:], time.Now()},
		{"expired", ca.Bundle(), certs, time.Now().Add(2 * day)},
		{"not valid yet", ca.Bundle(), certs, time.Now().Add(-day)},
	}
	for _, tt := range tests {
		if id, err := tt.bundle.Verify(tt.chain, x509.ExtKeyUsageClientAuth, tt.now); err == nil {
			t.Errorf("%s: verified as %s", tt.name, id)
		}
	}
}

func TestBundleFileFollowsTheFile(t *testing.T) {
	first, second := newTestCA(t).Bundle(), newTestCA(t).Bundle()
	path := filepath.Join(t.TempDir(), "root-cert.pem")
	var log strings.Builder
	f := NewBundleFile(path, slog.New(slog.NewTextHandler(&log, nil)))
	if f.Bundle() != nil {
		t.Error("a bundle from no file")
	}
	// A new file each time, as kubelet's, which is another one by its name.
	replace := func(text []byte) {
		t.Helper()
		if err := os.WriteFile(path+".new", text, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
	}
	steps := []struct {
		name string
		text []byte
		want *Bundle
	}{
		{"the first", first.PEM(), first},
		{"damaged", first.PEM()[:100], first},
		{"empty", nil, first},
		{"the second", second.PEM(), second},
	}
	for _, s := range steps {
		replace(s.text)
		for range 2 { // read, and known
			if got := f.Bundle(); got == nil || !bytes.Equal(got.PEM(), s.want.PEM()) {
				t.Errorf("%s: another bundle than wanted", s.name)
			}
		}
	}
	os.Remove(path)
	log.Reset()
	for range 2 { // of which the second has nothing to say
		f.Bundle()
	}
	if n := strings.Count(log.String(), "no such file"); n != 1 {
		t.Errorf("it is said %d times what is wrong, want once:\n%s", n, log.String())
	}
	if got := f.Bundle(); got == nil || !bytes.Equal(got.PEM(), second.PEM()) {
		t.Error("gone: another bundle than the last")
	}
}

func FuzzParseBundle(f *testing.F) {
	f.Add(newTestCA(f).Bundle().PEM())
	f.Add(pemOf(listBlock, []byte("no list")))
	f.Fuzz(func(t *testing.T, text []byte) {
		b, err := ParseBundle(text)
		if err != nil {
			return
		}
		if again, err := ParseBundle(b.PEM()); err != nil || !bytes.Equal(again.PEM(), b.PEM()) {
			t.Errorf("PEM does not read back: %v", err)
		}
	})
}
