package upstream

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"fairway.dev/gateway/resolve"
	"fairway.dev/routing"
)

// A phonebook is a resolver whose answers come when the test says so.
type phonebook struct {
	watched map[string][]resolve.Changed
	stopped []string
}

func (b *phonebook) watch(host string, changed resolve.Changed) (stop func()) {
	b.watched[host] = append(b.watched[host], changed)
	return func() {
		b.watched[host] = nil
		b.stopped = append(b.stopped, host)
	}
}

func (b *phonebook) say(host string, addrs ...string) {
	var list []netip.Addr
	for _, text := range addrs {
		list = append(list, netip.MustParseAddr(text))
	}
	var err error
	if list == nil {
		err = errors.New("no such name")
	}
	for _, changed := range b.watched[host] {
		changed(list, err)
	}
}

// named puts a cluster whose endpoints are names at port 443, and one address.
func (s *stage) named(b *phonebook, spec routing.Cluster, names ...string) *Cluster {
	s.t.Helper()
	b.watched = map[string][]resolve.Changed{}
	s.set.o.Watch = b.watch
	spec.Name = "c"
	s.set.Put(&spec)
	s.names(names...)
	return s.set.Cluster("c")
}

func (s *stage) names(names ...string) {
	var list []routing.Endpoint
	for _, name := range names {
		e := routing.Endpoint{Host: name, Addr: netip.AddrPortFrom(netip.Addr{}, 443), Ready: true, Serving: true}
		if addr, err := netip.ParseAddr(name); err == nil {
			e.Host, e.Addr = "", netip.AddrPortFrom(addr, 443)
		}
		list = append(list, e)
	}
	s.set.PutEndpoints(&routing.Endpoints{Cluster: "c", List: list})
}

// addrs returns the addresses of the cluster's endpoints, in order.
func (s *stage) addrs() string {
	var list []string
	for _, ep := range s.set.Stats()[0].Endpoints {
		list = append(list, ep.Addr.String())
	}
	slices.Sort(list)
	return strings.Join(list, " ")
}

// ServiceEntry.resolution DNS: each address of a name is an endpoint.
func TestNamesOfEndpoints(t *testing.T) {
	s, b := newStage(t, 1), &phonebook{}
	s.named(b, routing.Cluster{}, "a.example", "10.9.9.9", "b.example")
	if got := s.addrs(); got != "10.9.9.9:443" {
		t.Errorf("before an answer: %s, want the one that has an address", got)
	}
	s.names("a.example", "b.example")
	if _, err := s.set.Cluster("c").Pick(s.loops[0], &Want{}); !errors.Is(err, ErrNoEndpoints) || !errors.Is(err, ErrNoAddress) {
		t.Errorf("before an answer, with names alone: %v, want ErrNoEndpoints for want of an address", err)
	}
	s.names("a.example", "10.9.9.9", "b.example")
	b.say("a.example", "192.0.2.1", "192.0.2.2")
	b.say("b.example")
	if got := s.addrs(); got != "10.9.9.9:443 192.0.2.1:443 192.0.2.2:443" {
		t.Errorf("after an answer: %s", got)
	}
	kept := s.set.Cluster("c").view.Load().byAddr[netip.MustParseAddrPort("192.0.2.2:443")].ep
	b.say("a.example", "192.0.2.2", "192.0.2.3")
	b.say("b.example", "192.0.2.2")
	if got := s.addrs(); got != "10.9.9.9:443 192.0.2.2:443 192.0.2.3:443" {
		t.Errorf("after another: %s", got)
	}
	if s.set.Cluster("c").view.Load().byAddr[kept.addr].ep != kept {
		t.Error("an address that stays lost its health and connections")
	}
	s.names("b.example")
	if got := s.addrs(); got != "192.0.2.2:443" || !slices.Equal(b.stopped, []string{"a.example"}) {
		t.Errorf("without a.example: %s, no longer watched: %v", got, b.stopped)
	}
	s.set.Remove("c")
	if !slices.Equal(b.stopped, []string{"a.example", "b.example"}) {
		t.Errorf("after the cluster is gone no longer watched: %v, want both", b.stopped)
	}
}

// An answer that is on its way when nobody wants it any longer changes nothing.
func TestLateAnswerIsNotTaken(t *testing.T) {
	s, b := newStage(t, 1), &phonebook{}
	s.named(b, routing.Cluster{}, "a.example")
	late := b.watched["a.example"][0]
	s.names("10.9.9.9")
	late([]netip.Addr{netip.MustParseAddr("192.0.2.1")}, nil)
	if got := s.addrs(); got != "10.9.9.9:443" {
		t.Errorf("%s, want the address alone", got)
	}
}

// DNS_ROUND_ROBIN: one address at a time, the same while the name has it.
func TestOneAddressOfAName(t *testing.T) {
	s, b := newStage(t, 1), &phonebook{}
	s.named(b, routing.Cluster{Resolve: routing.ResolveOne}, "a.example")
	b.say("a.example", "192.0.2.1", "192.0.2.2", "192.0.2.3")
	first := s.addrs()
	if strings.Contains(first, " ") || first == "" {
		t.Fatalf("%q, want one address", first)
	}
	b.say("a.example", "192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4")
	if got := s.addrs(); got != first {
		t.Errorf("%s, then %s: want the same while the name has it", first, got)
	}
	b.say("a.example", "192.0.2.9")
	if got := s.addrs(); got != "192.0.2.9:443" {
		t.Errorf("%s once the name has it no longer, want another", got)
	}
	s.set.Put(&routing.Cluster{Name: "c"})
	b.say("a.example", "192.0.2.8", "192.0.2.9")
	if got := s.addrs(); got != "192.0.2.8:443 192.0.2.9:443" {
		t.Errorf("%s once all are wanted", got)
	}
}

// resolve asks for the addresses of a host, and returns what it came to.
func (s *stage) resolve(c *Cluster, host string, answer func()) (err error) {
	s.t.Helper()
	told := make(chan error, 1)
	s.set.Cluster("c").Resolve(s.loops[0], host, func(err error) { told <- err })
	deadline := time.After(5 * time.Second)
	for {
		s.settle()
		s.set.mu.Lock()
		if answer != nil && c.asked[hostOf(host)] != nil {
			s.set.mu.Unlock()
			answer()
			answer = nil
			continue
		}
		s.set.mu.Unlock()
		select {
		case err := <-told:
			return err
		case <-deadline:
			s.t.Fatal("no answer")
		default:
		}
	}
}

// DYNAMIC_DNS: the request's host says where it goes, within the entry's hosts.
func TestHostOfTheRequest(t *testing.T) {
	s, b := newStage(t, 1), &phonebook{}
	c := s.named(b, routing.Cluster{Resolve: routing.ResolveHost, TLS: &routing.UpstreamTLS{NameFromHost: true}}, "*.example.com", "one.example.org")
	want := &Want{Host: "API.example.com:80"}
	if _, err := c.Pick(s.loops[0], want); !errors.Is(err, ErrUnresolved) {
		t.Fatalf("Pick: %v, want ErrUnresolved", err)
	}
	if err := s.resolve(c, want.Host, func() { b.say("api.example.com", "8.8.8.8", "10.0.0.1") }); err != nil {
		t.Fatalf("Resolve: %v", err)
	}
	for range 10 {
		ep, err := c.Pick(s.loops[0], want)
		if err != nil || ep.Addr().String() != "8.8.8.8:443" {
			t.Fatalf("Pick: %v, %v; want the public address, at the entry's port", ep, err)
		}
		x := s.connect(c, s.loops[0], ep)
		s.settle()
		if x.client == nil || s.dials[0].config.ServerName != "api.example.com" {
			t.Fatalf("connection: %v, to a server named %q", x.err, s.dials[0].config.ServerName)
		}
		x.client.end()
		ep.Done(s.loops[0], Success)
	}
	if n := c.pending.Load(); n != 0 {
		t.Errorf("%d pending, want 0", n)
	}
	if got := s.addrs(); got != "8.8.8.8:443" {
		t.Errorf("state of %s, want the host's address", got)
	}
	for host, answer := range map[string]string{
		"two.example.org": "", "example.com": "", "10.0.0.1": "", "": "", // not the entry's
		"in.example.com": "10.0.0.1", "meta.example.com": "169.254.169.254", "self.example.com": "127.0.0.1", "none.example.com": "none",
	} {
		err := s.resolve(c, host, func() {
			if answer == "none" {
				b.say(host)
			} else {
				b.say(host, answer)
			}
		})
		if !errors.Is(err, ErrNoAddress) {
			t.Errorf("%q, which is %q: %v, want ErrNoAddress", host, answer, err)
		}
		if _, err := c.Pick(s.loops[0], &Want{Host: host}); answer != "" && !errors.Is(err, ErrNoAddress) {
			t.Errorf("%q: Pick: %v, want ErrNoAddress", host, err)
		}
	}
	s.names("one.example.org")
	if _, err := c.Pick(s.loops[0], want); !errors.Is(err, ErrUnresolved) {
		t.Errorf("a host that the entry has no longer: %v, want ErrUnresolved", err)
	}
	s.set.Remove("c")
	if len(c.asked) != 0 {
		t.Errorf("%d hosts are watched after the cluster is gone", len(c.asked))
	}
}

func TestHostsAreBounded(t *testing.T) {
	s, b := newStage(t, 1), &phonebook{}
	c := s.named(b, routing.Cluster{Resolve: routing.ResolveHost}, "*")
	for i := range maxHosts {
		host := fmt.Sprint("a", i, ".example")
		if err := s.resolve(c, host, func() { b.say(host, "8.8.8.8") }); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.resolve(c, "more.example", nil); !errors.Is(err, ErrOverflow) {
		t.Errorf("one more: %v, want ErrOverflow", err)
	}
	s.run(hostIdle / 2)
	if _, err := c.Pick(s.loops[0], &Want{Host: "a7.example"}); err != nil {
		t.Fatal(err)
	}
	s.run(hostIdle/2 + time.Second)
	if err := s.resolve(c, "more.example", func() { b.say("more.example", "8.8.8.8") }); err != nil {
		t.Errorf("once the others are idle: %v", err)
	}
	if n := len(c.asked); n != 2 {
		t.Errorf("%d hosts are known, want the one in use and the new one", n)
	}
}

func TestResolveHasADeadline(t *testing.T) {
	s, b := newStage(t, 1), &phonebook{}
	c := s.named(b, routing.Cluster{Resolve: routing.ResolveHost}, "*")
	var got []error
	c.Resolve(s.loops[0], "a.example", func(err error) { got = append(got, err) })
	c.Resolve(s.loops[0], "a.example", func(err error) { t.Error("told after it was cancelled") })()
	s.run(resolveTimeout)
	if len(got) != 1 || !errors.Is(got[0], ErrNoAddress) || !errors.Is(got[0], ErrTimeout) {
		t.Errorf("%v, want one that wraps ErrNoAddress and ErrTimeout", got)
	}
}

func TestHostPickDoesNotAllocate(t *testing.T) {
	s, b := newStage(t, 1), &phonebook{}
	c := s.named(b, routing.Cluster{Resolve: routing.ResolveHost}, "*")
	if err := s.resolve(c, "a.example", func() { b.say("a.example", "8.8.8.8") }); err != nil {
		t.Fatal(err)
	}
	for _, authority := range []string{"a.example", "a.example:8080"} {
		want := &Want{Host: authority}
		if n := testing.AllocsPerRun(100, func() {
			if _, err := c.Pick(s.loops[0], want); err != nil {
				t.Fatal(err)
			}
		}); n != 0 {
			t.Errorf("%s: a pick allocates %v times, want 0", authority, n)
		}
	}
}

func TestHostOf(t *testing.T) {
	for authority, want := range map[string]string{
		"a.example": "a.example", "A.Example.": "a.example", "a.example:80": "a.example", "a.example.:80": "a.example",
		"[2001:DB8::1]:80": "2001:db8::1", "[::1]": "::1", "": "", ":80": "",
	} {
		if got := hostOf(authority); got != want {
			t.Errorf("hostOf(%q) = %q, want %q", authority, got, want)
		}
	}
}

func TestCovers(t *testing.T) {
	for _, tt := range []struct {
		pattern, host string
		want          bool
	}{
		{"*.example.com", "a.example.com", true}, {"*.example.com", "a.b.example.com", true}, {"*.example.com", "example.com", false},
		{"*.example.com", ".example.com", false}, {"*.example.com", "aexample.com", false}, {"*", "a", true}, {"*", "", false},
		{"a.example", "a.example", true}, {"a.example", "b.a.example", false},
	} {
		if got := covers(tt.pattern, tt.host); got != tt.want {
			t.Errorf("covers(%q, %q) = %v, want %v", tt.pattern, tt.host, got, tt.want)
		}
	}
}
