package cluster

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"fairway.dev/routing"
)

var (
	tlsKey = key("Secret", "shop", "tls")
	caKey  = key("ConfigMap", "shop", "ca")
)

func secretText(value string) string {
	return fmt.Sprintf("apiVersion: v1\nkind: Secret\nmetadata: {name: tls, namespace: shop}\ntype: Opaque\nstringData: {}\ndata: {a: %s}\n", value)
}

// reads makes the translation one that reads these contents.
func (o *observer) reads(keys ...routing.ObjectKey) {
	for _, k := range keys {
		o.wants[k] = true
		o.Get(k)
	}
}

// What the first translation asks for comes with the Changes up to the one
// that has no More.
func TestContentsThatAreReadFromTheStart(t *testing.T) {
	a := newAPIServer(t)
	a.apply(shop)
	o := observe(t, a, Options{})
	if c := o.next(); !c.More || slices.Contains(c.Keys, tlsKey) {
		t.Errorf("first Change %+v: want More, and no Secret that nobody has read yet", c)
	}
	o.reads(tlsKey, caKey, key("Secret", "shop", "none"))
	if n := o.Pending(); n != 2 {
		t.Errorf("Pending() = %d, want the two that there are", n)
	}
	var got []string
	for {
		c := o.next()
		got = append(got, texts(c.Keys)...)
		if !c.More {
			break
		}
	}
	if slices.Sort(got); !slices.Equal(got, []string{"ConfigMap shop/ca", "Secret shop/tls"}) {
		t.Errorf("%q came, want the two that are read", got)
	}
	s := get[corev1.Secret](t, o, tlsKey)
	if s.Type != corev1.SecretTypeTLS || string(s.Data["tls.key"]) != "key" || s.Annotations != nil {
		t.Errorf("Secret %+v", s)
	}
	if cm := get[corev1.ConfigMap](t, o, caKey); cm.Data["ca.crt"] != "root" {
		t.Errorf("ConfigMap %+v", cm)
	}
	if n := o.Pending(); n != 0 {
		t.Errorf("Pending() = %d, want 0", n)
	}
}

// Later a translation has what it reads at once: an edit that names another
// certificate is one Change, and nothing in between.
func TestContentsThatAreReadLater(t *testing.T) {
	a := newAPIServer(t)
	a.apply(shop)
	o := observe(t, a, Options{})
	o.start()
	o.waitReady()
	a.apply("apiVersion: v1\nkind: Namespace\nmetadata: {name: x}\n")
	if c := o.next(); c.More {
		t.Errorf("%+v has More, but nobody has asked for anything", c)
	}
	o.wants[tlsKey] = true
	if s := get[corev1.Secret](t, o, tlsKey); string(s.Data["tls.key"]) != "key" {
		t.Errorf("Secret %+v", s)
	}
	if n := o.Pending(); n != 0 {
		t.Errorf("Pending() = %d, want 0", n)
	}
	// One that appears when it is read already.
	late := key("Secret", "shop", "late")
	o.wants[late] = true
	if o.Get(late) != nil || o.Pending() != 0 {
		t.Errorf("Get(%v) = %v, %d pending, want none", late, o.Get(late), o.Pending())
	}
	a.apply("apiVersion: v1\nkind: Secret\nmetadata: {name: late, namespace: shop}\ndata: {a: eA==}\n")
	if c := o.next(); !slices.Equal(c.Keys, []routing.ObjectKey{late}) {
		t.Errorf("Change %+v, want the Secret that appeared, and not the one that was read at once", c)
	}
}

// A translation does not wait for long: what is late comes with a Change.
func TestContentThatIsLate(t *testing.T) {
	a := newAPIServer(t)
	a.apply(shop)
	gate := make(chan struct{})
	a.held["secrets/shop/tls"] = gate
	o := observe(t, a, Options{})
	o.start()
	o.waitReady()
	a.apply("apiVersion: v1\nkind: Namespace\nmetadata: {name: x}\n")
	o.next()
	o.reads(tlsKey)
	if n := o.Pending(); n != 1 {
		t.Errorf("Pending() = %d, want the Secret that is late", n)
	}
	a.set(func() { delete(a.held, "secrets/shop/tls") })
	close(gate)
	if c := o.next(); c.More || !slices.Equal(c.Keys, []routing.ObjectKey{tlsKey}) {
		t.Errorf("Change %+v, want the Secret", c)
	}
}

// While a changed Secret is fetched the old one stays; what comes is the
// newest, and a change of what nobody reads is none.
func TestRotation(t *testing.T) {
	a := newAPIServer(t)
	a.apply(secretText("b25l"))
	o := observe(t, a, Options{})
	o.next()
	o.reads(tlsKey)
	o.start1()
	gate := make(chan struct{})
	a.set(func() { a.held["secrets/shop/tls"] = gate; a.asked = map[string]int{} })
	a.apply(secretText("dHdv"))
	o.goOn()
	a.waitFor("GET secrets/shop/tls")
	a.apply(secretText("dGhyZWU="))
	if s := get[corev1.Secret](t, o, tlsKey); string(s.Data["a"]) != "one" {
		t.Errorf("while it is fetched the Secret is %q, want the old one", s.Data)
	}
	close(gate)
	o.wait(func([]string) bool { return string(get[corev1.Secret](t, o, tlsKey).Data["a"]) == "three" })

	a.apply(strings.Replace(secretText("dGhyZWU="), "namespace: shop", "namespace: shop, labels: {a: b}", 1))
	a.apply("apiVersion: v1\nkind: Secret\nmetadata: {name: other, namespace: shop}\ndata: {a: eA==}\n")
	a.apply(secretText("Zm91cg=="))
	o.wait(func([]string) bool { return string(get[corev1.Secret](t, o, tlsKey).Data["a"]) == "four" })
	if n := a.count("GET secrets/shop/other"); n != 0 {
		t.Errorf("a Secret that nobody reads was fetched %d times", n)
	}
	a.delete("Secret", "shop/tls")
	o.wait(func(keys []string) bool { return o.Get(tlsKey) == nil && slices.Contains(keys, "Secret shop/tls") })
}

// start1 goes on until a Change has no More.
func (o *observer) start1() {
	o.t.Helper()
	for o.next().More {
	}
}

// The API server's word that nothing but labels has changed costs a fetch, and
// no Change.
func TestContentThatStaysTheSame(t *testing.T) {
	a := newAPIServer(t)
	a.apply(secretText("b25l"))
	o := observe(t, a, Options{})
	o.next()
	o.reads(tlsKey)
	o.start1()
	before := get[corev1.Secret](t, o, tlsKey)
	a.set(func() { a.asked = map[string]int{} })
	o.goOn()
	a.apply(strings.Replace(secretText("b25l"), "namespace: shop", "namespace: shop, labels: {a: b}", 1))
	a.waitFor("GET secrets/shop/tls")
	a.apply(secretText("dHdv"))
	for {
		c := o.next()
		now := get[corev1.Secret](t, o, tlsKey)
		if len(c.Keys) > 0 && string(now.Data["a"]) == string(before.Data["a"]) {
			t.Errorf("Change %+v for a Secret that holds the same", c)
		}
		if string(now.Data["a"]) == "two" {
			break
		}
	}
}

func TestContentNobodyReadsIsLetGo(t *testing.T) {
	a := newAPIServer(t)
	a.apply(secretText("b25l"))
	o := observe(t, a, Options{})
	o.next()
	o.reads(tlsKey)
	o.start1()
	get[corev1.Secret](t, o, tlsKey)
	sweep := func() {
		o.inbox.put(func(m *mail) { m.alarms.sweep = true })
		a.apply(fmt.Sprintf("apiVersion: v1\nkind: Namespace\nmetadata: {name: n%d}\n", a.version))
		o.next()
	}
	sweep()
	get[corev1.Secret](t, o, tlsKey) // it is read still
	delete(o.wants, tlsKey)
	sweep()
	if s := o.world.Get(tlsKey); s != nil {
		t.Errorf("a Secret that nobody reads is held: %v", s)
	}
	o.wants[tlsKey] = true
	get[corev1.Secret](t, o, tlsKey) // it is read again
}

// A content that cannot be had is waited for, not for ever, and comes when it
// can be had.
func TestContentThatCannotBeFetched(t *testing.T) {
	for _, status := range []int{http.StatusForbidden, http.StatusInternalServerError} {
		for _, patience := range []time.Duration{time.Millisecond, time.Hour} {
			a := newAPIServer(t)
			a.apply(secretText("b25l"))
			a.fails["secrets/shop/tls"] = status
			o := observe(t, a, Options{Patience: patience})
			o.next()
			o.reads(tlsKey)
			o.goOn()
			if patience < time.Hour {
				o.start1()
				if o.Get(tlsKey) != nil {
					t.Errorf("%d: the Secret is there", status)
				}
				if !strings.Contains(o.log.String(), "content cannot be read") {
					t.Errorf("%d: the log does not say so:\n%s", status, o.log)
				}
			} else {
				a.waitFor("GET secrets/shop/tls")
			}
			a.set(func() { delete(a.fails, "secrets/shop/tls") })
			got := o.wait(func(keys []string) bool { return slices.Contains(keys, "Secret shop/tls") })
			if len(got) != 1 || o.Pending() != 0 {
				t.Errorf("%d: %q came, %d are pending, want the Secret and none", status, got, o.Pending())
			}
		}
	}
}

// However many contents are read, the API server is asked for a few at a time.
func TestFetchesAreBounded(t *testing.T) {
	a := newAPIServer(t)
	const n = 3 * fetchers
	gate := make(chan struct{})
	var keys []routing.ObjectKey
	for i := range n {
		k := key("Secret", "shop", fmt.Sprintf("s%d", i))
		keys = append(keys, k)
		a.apply(fmt.Sprintf("apiVersion: v1\nkind: Secret\nmetadata: {name: s%d, namespace: shop}\ndata: {a: eA==}\n", i))
		a.held["secrets/shop/"+k.Name] = gate
	}
	o := observe(t, a, Options{})
	o.next()
	o.reads(keys...)
	o.goOn()
	a.mu.Lock()
	asked := func() (count int) {
		for _, k := range keys {
			count += a.asked["GET secrets/shop/"+k.Name]
		}
		return count
	}
	for asked() < fetchers {
		a.changed.Wait()
	}
	if got := asked(); got != fetchers {
		t.Errorf("%d fetches at once, want %d", got, fetchers)
	}
	a.mu.Unlock()
	close(gate)
	if got := o.wait(func(keys []string) bool { return len(keys) == n }); len(got) != n {
		t.Errorf("%d Secrets came, want %d", len(got), n)
	}
}
