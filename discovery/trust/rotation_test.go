package trust

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"

	"fairway.dev/tlsmgr/identity"
)

// mountDelay is how long a kubelet may take to bring a ConfigMap to a pod.
const mountDelay = 2 * time.Minute

// A town is a control plane of two replicas and pods that speak to each other.
type town struct {
	*testing.T
	api    *apiServer
	stores []*Store
	mounts atomic.Pointer[identity.Bundle] // what the leader has written for pods to mount
	old    *pod                            // that was there before all others, and stays
	last   *pod                            // that started last
	turn   int                             // which replica is asked next
}

// A pod has a certificate of a replica's CA, and the roots that a kubelet brings.
type pod struct {
	keeper *identity.Keeper
	roots  atomic.Pointer[identity.Bundle]
	stop   func()
}

var (
	podID   = identity.ID{TrustDomain: "cluster.local", Namespace: "shop", ServiceAccount: "waypoint"}
	domains = func() []string { return []string{"cluster.local"} }
)

func newTown(t *testing.T) *town {
	t.Helper()
	w := &town{T: t, api: &apiServer{}}
	for range 2 {
		w.replica()
	}
	return w
}

// replica starts another replica of control; the first one leads.
func (w *town) replica() *Store {
	w.Helper()
	s := newTestStore(w.T, w.api.start(w.T))
	if len(w.stores) == 0 {
		s.Changed = func() { w.mounts.Store(s.Bundle()) }
	}
	w.stores = append(w.stores, s)
	w.Cleanup(w.background(s.Run))
	return s
}

// background runs tasks until stop is called.
func (w *town) background(tasks ...func(context.Context)) (stop func()) {
	ctx, cancel := context.WithCancel(w.Context())
	var done sync.WaitGroup
	for _, run := range tasks {
		done.Go(func() { run(ctx) })
	}
	synctest.Wait()
	return func() { cancel(); done.Wait() }
}

// start starts a pod, whose certificates are of that replica.
func (w *town) start(of *Store) *pod {
	p := &pod{}
	p.roots.Store(w.mounts.Load()) // a new pod mounts what there is
	p.keeper = identity.NewKeeper(identity.Local(of.CA, identity.Claim{ID: podID}), quiet)
	// Without Roots: a keeper that renews what is not believed would mend what is
	// to be found here.
	p.stop = w.background(p.keeper.Run, func(ctx context.Context) {
		for ctx.Err() == nil {
			seen := w.mounts.Load()
			select {
			case <-time.After(mountDelay):
				p.roots.Store(seen)
			case <-ctx.Done():
			}
		}
	})
	w.Cleanup(p.stop)
	return p
}

// hop opens TLS from one pod to another.
func hop(from, to *pod) error {
	near, far := net.Pipe()
	defer near.Close()
	defer far.Close()
	served := make(chan error, 1)
	go func() {
		server := tls.Server(far, identity.HopServer(to.keeper.Certificate, to.roots.Load, domains))
		served <- server.Handshake()
		server.Close()
	}()
	client := tls.Client(near, identity.HopClient(from.keeper.Certificate, from.roots.Load, podID.String()))
	err := client.Handshake()
	if err == nil {
		_, err = client.Read(make([]byte, 1)) // in TLS 1.3 a client learns here that it was refused
		if err.Error() == "EOF" {
			err = nil
		}
	}
	near.Close()
	return errors.Join(err, <-served)
}

// meet has the oldest pod, the last one and one that starts just now speak to
// each other.
func (w *town) meet(when string) {
	w.Helper()
	w.turn++
	fresh := w.start(w.stores[w.turn%2])
	if _, err := fresh.keeper.Certificate(); err != nil {
		w.Fatalf("%s: a new pod: %v", when, err)
	}
	for _, pair := range [][2]*pod{{w.old, w.last}, {w.old, fresh}, {w.last, fresh}} {
		if err := errors.Join(hop(pair[0], pair[1]), hop(pair[1], pair[0])); err != nil {
			w.Errorf("%s: %v", when, err)
		}
	}
	w.last.stop()
	w.last = fresh
}

// pass lets time pass, step by step, in which pods come and go, and speak to each other.
func (w *town) pass(d, step time.Duration) {
	w.Helper()
	for at := time.Duration(0); at < d; at += step {
		time.Sleep(step)
		synctest.Wait()
		w.meet((at + step).String())
	}
}

// The root is replaced under load: pods of before and of after understand each
// other at each moment, however late each of them hears of the new root, and in
// the end nobody believes the old one.
func TestRootIsReplacedUnderLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTown(t)
		w.old, w.last = w.start(w.stores[0]), w.start(w.stores[1])
		w.pass(5*time.Minute, time.Minute)
		before := w.stores[0].CA()

		next := secretOf(t)
		w.api.mu.Lock()
		w.api.bring(next) // in place of the one that control has made
		w.api.mu.Unlock()
		w.pass(4*time.Minute, 30*time.Second)
		for i, s := range w.stores {
			if s.CA() == nil || s.CA().Under(w.only(next)) {
				t.Errorf("replica %d: the new CA signs before all can know it", i)
			}
		}
		late := w.replica()
		synctest.Wait()
		select {
		case <-late.Ready():
		default:
			t.Error("a new replica does not know the roots")
		}
		if late.CA() != nil {
			t.Error("a new replica signs before all can know its root")
		}
		w.pass(10*time.Minute, 30*time.Second)
		for i, s := range w.stores {
			if s.CA() == nil || !s.CA().Under(w.only(next)) {
				t.Errorf("replica %d: the new CA does not sign", i)
			}
			if !before.Under(s.Bundle()) {
				t.Errorf("replica %d: the old root is not believed any more", i)
			}
		}
		w.pass(24*time.Hour, 2*time.Hour)
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		for i, s := range w.stores {
			if before.Under(s.Bundle()) || string(s.Bundle().PEM()) != string(w.only(next).PEM()) {
				t.Errorf("replica %d: the old root is believed still", i)
			}
		}
		w.meet("in the end")
		w.api.mu.Lock()
		defer w.api.mu.Unlock()
		if n := w.api.rootWrites; n != 3 {
			t.Errorf("the ConfigMap was written %d times, want 3: made, with the new root, with its end, and without the old one", n)
		}
	})
}

// only is what a Secret lists.
func (w *town) only(secret *corev1.Secret) *identity.Bundle {
	w.Helper()
	b, err := identity.ParseBundle(secret.Data[rootsKey])
	if err != nil {
		w.Fatal(err)
	}
	return b
}

// The user's Secret comes before ours, and is never kept in its place.
func TestUsersSecretComesFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &apiServer{}
		a.put(secretOf(t))
		a.bring(secretOf(t))
		s := newTestStore(t, a.start(t))
		if err := s.refresh(t.Context()); err != nil || string(s.CA().Bundle().PEM()) != string(a.users.Data[rootsKey]) {
			t.Fatalf("both are there: %v, want the user's in force at once", err)
		}
		a.users.Data = nil
		a.bring(a.users)
		if err := s.refresh(t.Context()); err == nil || !strings.Contains(err.Error(), "secret cacerts: ca-cert.pem") {
			t.Errorf("damaged: %v, want an error that names it, and not the other one", err)
		}
		a.users, a.secret = nil, nil
		users := s.CA()
		if err := errors.Join(s.refresh(t.Context()), wait(spread), s.refresh(t.Context())); err != nil {
			t.Fatal(err)
		}
		if users.Under(s.CA().Bundle()) || a.writes != 1 {
			t.Errorf("%d writes, want a CA of ours made, and the user's key nowhere", a.writes)
		}
	})
}

// Who lists the new root before it is needed has the new CA sign at once.
func TestRootThatIsKnownWaitsForNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &apiServer{}
		now, next := secretOf(t), secretOf(t)
		a.bring(now)
		s := newTestStore(t, a.start(t))
		if err := s.refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
		both := slices.Concat(now.Data[rootsKey], next.Data[rootsKey])
		now.Data[rootsKey] = both
		a.bring(now)
		if err := errors.Join(s.refresh(t.Context()), wait(spread)); err != nil {
			t.Fatal(err)
		}
		next.Data[rootsKey] = both
		a.bring(next)
		if err := s.refresh(t.Context()); err != nil || !s.CA().Under(s.Bundle()) || s.CA() != s.read {
			t.Errorf("%v, want the new CA in force", err)
		}
		if h := a.history(t); len(h) != 2 || !h[0].Until.IsZero() || !h[1].Until.IsZero() {
			t.Errorf("history %v, want both listed", h)
		}
	})
}

// Of two replicas that see another root at once the first says since when.
func TestTheFirstOfTwoReplicasSaysSinceWhen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &apiServer{}
		a.bring(secretOf(t))
		config := a.start(t)
		s, other := newTestStore(t, config), newTestStore(t, config)
		for i := range 2 { // the ConfigMap is made, and changed
			a.before = func() {
				if err := other.refresh(t.Context()); err != nil {
					t.Error(err)
				}
				time.Sleep(time.Second)
			}
			if err := s.refresh(t.Context()); err != nil {
				t.Fatal(err)
			}
			if a.rootWrites != i+1 || string(s.Bundle().PEM()) != string(other.Bundle().PEM()) {
				t.Errorf("%d writes, want %d, and the same believed by both", a.rootWrites, i+1)
			}
			a.bring(secretOf(t))
		}
	})
}

// cert-manager keeps a CA in a Secret of type kubernetes.io/tls.
func TestSecretOfCertManager(t *testing.T) {
	a := &apiServer{}
	s := secretOf(t)
	s.Data = map[string][]byte{tlsCertKey: s.Data[certKey], tlsKeyKey: s.Data[keyKey], tlsRootsKey: s.Data[rootsKey]}
	a.bring(s)
	store := newTestStore(t, a.start(t))
	if err := store.refresh(t.Context()); err != nil || store.CA() == nil || string(store.Bundle().PEM()) != string(s.Data[tlsRootsKey]) {
		t.Errorf("%v, want its CA in force", err)
	}
	delete(s.Data, tlsRootsKey)
	a.bring(s)
	if err := store.refresh(t.Context()); err == nil || !strings.Contains(err.Error(), "root-cert.pem: bundle of 0 roots") {
		t.Errorf("without roots: %v, want an error that says so", err)
	}
}

// What is revoked stays so when the list goes with its CA.
func TestRevocationListsAreBelievedAsLongAsTheirRoots(t *testing.T) {
	list := "-----BEGIN X509 CRL-----\nMA==\n-----END X509 CRL-----\n"
	root := string(secretOf(t).Data[rootsKey])
	at := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	h := history{}.followed([]string{root, list}, at)
	h = h.followed([]string{"other"}, at.Add(time.Hour))
	h = h.followed([]string{"other"}, at.Add(24*time.Hour))
	if len(h) != 3 || h[1].PEM != root || h[2].PEM != list || !h[2].Until.Equal(at.Add(time.Hour+overlap)) {
		t.Errorf("a day later: %v, want the root and the list until an overlap has passed", h)
	}
	if h = h.followed([]string{"other"}, at.Add(26*time.Hour)); len(h) != 1 {
		t.Errorf("after the overlap: %v, want what is listed", h)
	}
	if h = h.followed([]string{"other", root}, at.Add(27*time.Hour)); len(h) != 2 || !h[1].Since.Equal(at.Add(27*time.Hour)) {
		t.Errorf("listed again: %v, want it as one that nobody knows", h)
	}
}

func (a *apiServer) history(t *testing.T) (h history) {
	t.Helper()
	if err := json.Unmarshal([]byte(a.roots.Data[historyKey]), &h); err != nil {
		t.Fatal(err)
	}
	return h
}

func TestDamagedHistoryIsNeverOverwritten(t *testing.T) {
	a := &apiServer{}
	a.put(secretOf(t))
	a.putRoots(&corev1.ConfigMap{Data: map[string]string{historyKey: "{"}})
	s := newTestStore(t, a.start(t))
	if err := s.refresh(t.Context()); err == nil || !strings.Contains(err.Error(), "fairway-system/fairway-roots: history.json") || a.rootWrites != 1 {
		t.Errorf("%v, %d writes, want an error that names it", err, a.rootWrites)
	}
	if s.Bundle() != nil || s.CA() != nil {
		t.Error("something is believed")
	}
}

// A CA that waits says so once.
func TestWaitingIsSaidOnce(t *testing.T) {
	var log strings.Builder
	a := &apiServer{}
	a.put(secretOf(t))
	s := newTestStore(t, a.start(t))
	s.log = slog.New(slog.NewTextHandler(&log, nil))
	for i := range 4 {
		if err := s.refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			a.put(secretOf(t))
		}
	}
	if n := strings.Count(log.String(), "CA waits until all know its root"); n != 1 {
		t.Errorf("said %d times, want once:\n%s", n, log.String())
	}
}
