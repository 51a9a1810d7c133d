package identity

import (
	"bytes"
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

var quiet = slog.New(slog.DiscardHandler)

// issuer counts what it is asked and what it issues, and fails while it is away.
type issuer struct {
	ca            *CA
	asked, issued atomic.Int64
	away          atomic.Bool
	log           *slog.Logger // nil: none
}

func (i *issuer) issue(ctx context.Context, csr []byte) ([]byte, error) {
	i.asked.Add(1)
	if i.away.Load() {
		return nil, errors.New("away")
	}
	i.issued.Add(1)
	return Local(func() *CA { return i.ca }, Claim{ID: edge})(ctx, csr)
}

func runKeeper(t *testing.T, i *issuer) *Keeper {
	t.Helper()
	i.ca = newTestCA(t)
	k := NewKeeper(i.issue, cmp.Or(i.log, quiet))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { k.Run(ctx); close(done) }()
	t.Cleanup(func() { cancel(); <-done })
	synctest.Wait()
	return k
}

func TestKeeperRenewsAtHalfLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := &issuer{}
		k := runKeeper(t, i)
		first, err := k.Certificate()
		if err != nil {
			t.Fatal(err)
		}
		select {
		case <-k.Ready():
		default:
			t.Error("not ready with a certificate")
		}
		time.Sleep(10 * time.Hour)
		synctest.Wait()
		if n := i.issued.Load(); n != 1 {
			t.Errorf("issued %d within 10 of 24 hours, want 1", n)
		}
		time.Sleep(4 * time.Hour)
		synctest.Wait()
		second, err := k.Certificate()
		if n := i.issued.Load(); err != nil || n != 2 {
			t.Fatalf("issued %d within 14 of 24 hours (%v), want 2", n, err)
		}
		if first.PrivateKey == second.PrivateKey {
			t.Error("renewed with the old key, want a new one")
		}
		if len(second.Certificate) != 1 {
			t.Errorf("shows %d certificates, want the leaf without its root", len(second.Certificate))
		}
	})
}

// A CA takes the place of another: nobody believes the certificate any more,
// and half of its life is no time to wait.
func TestKeeperRenewsWhenTheRootsAreOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first, second := newTestCA(t), newTestCA(t)
		both, err := NewBundle(first.Bundle().roots[0], second.Bundle().roots[0])
		if err != nil {
			t.Fatal(err)
		}
		var ca atomic.Pointer[CA]
		var roots atomic.Pointer[Bundle]
		var issued atomic.Int64
		k := NewKeeper(func(ctx context.Context, csr []byte) ([]byte, error) {
			issued.Add(1)
			return Local(ca.Load, Claim{ID: edge})(ctx, csr)
		}, quiet)
		k.Roots = roots.Load
		ca.Store(first)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { k.Run(ctx); close(done) }()
		expect := func(what string, has *Bundle, want int64) {
			t.Helper()
			roots.Store(has)
			time.Sleep(time.Minute)
			synctest.Wait()
			if n := issued.Load(); n != want {
				t.Errorf("%s: issued %d, want %d", what, n, want)
			}
		}
		expect("nothing happens", first.Bundle(), 1)
		expect("another root beside it", both, 1)
		ca.Store(second)
		expect("another root in its place", second.Bundle(), 2)
		if !k.believed() {
			t.Error("the new certificate does not lead to the new root")
		}
		expect("the old root, as this end has yet to learn of the new one", first.Bundle(), 3)
		expect("the same: no storm of requests", first.Bundle(), 3)
		cancel()
		<-done
	})
}

// lines is a log that is read while it is written.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func TestKeeperServesTheOldOneUntilItExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := &issuer{}
		log := &lines{}
		i.log = slog.New(slog.NewTextHandler(log, nil))
		k := runKeeper(t, i)
		i.away.Store(true)
		time.Sleep(23*time.Hour + 59*time.Minute)
		if synctest.Wait(); strings.Contains(log.String(), "ERROR") {
			t.Errorf("it is said too early that no certificate is left:\n%s", log.String())
		}
		if _, err := k.Certificate(); err != nil {
			t.Errorf("a minute before it expires: %v", err)
		}
		if n := i.asked.Load(); n < 100 {
			t.Errorf("asked %d times in 12 hours, want again and again", n)
		}
		time.Sleep(2 * time.Minute)
		if _, err := k.Certificate(); err == nil {
			t.Error("an expired certificate is shown")
		}
		if synctest.Wait(); strings.Count(log.String(), "no certificate of the mesh is left") != 1 {
			t.Error("it is not said once that no certificate is left")
		}
		i.away.Store(false)
		time.Sleep(time.Minute)
		if _, err := k.Certificate(); err != nil {
			t.Errorf("a minute after the CA came back: %v", err)
		}
	})
}

func TestKeeperBacksOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := &issuer{}
		i.away.Store(true)
		k := runKeeper(t, i)
		if _, err := k.Certificate(); err == nil {
			t.Error("a certificate from nowhere")
		}
		select {
		case <-k.Ready():
			t.Error("ready without a certificate")
		default:
		}
		time.Sleep(time.Second)
		before := i.asked.Load()
		if before < 2 || before > 4 {
			t.Errorf("asked %d times in the first second, want a few", before)
		}
		time.Sleep(10 * time.Minute)
		if n := i.asked.Load() - before; n < 15 || n > 40 {
			t.Errorf("asked %d times in 10 minutes, want about every 30 seconds", n)
		}
	})
}

func TestKeeperRefusesWhatIsNotItsOwn(t *testing.T) {
	ca := newTestCA(t)
	foreign := request(t, newTestKey(t), &x509.CertificateRequest{})
	tests := []struct {
		name  string
		issue Issue
	}{
		{"another's certificate", func(ctx context.Context, _ []byte) ([]byte, error) {
			return Local(func() *CA { return ca }, Claim{ID: edge})(ctx, foreign)
		}},
		{"one of somebody else", Local(func() *CA { return ca }, Claim{ID: control})},
		{"nothing", func(context.Context, []byte) ([]byte, error) { return nil, nil }},
		{"garbage", func(context.Context, []byte) ([]byte, error) { return []byte("garbage"), nil }},
		{"no CA yet", Local(func() *CA { return nil }, Claim{ID: edge})},
	}
	for _, tt := range tests {
		k := NewKeeper(tt.issue, quiet)
		k.Asks = edge
		if _, err := k.renew(t.Context()); err == nil {
			t.Errorf("%s: kept", tt.name)
		}
		if _, err := k.Certificate(); err == nil {
			t.Errorf("%s: shown", tt.name)
		}
	}
}
