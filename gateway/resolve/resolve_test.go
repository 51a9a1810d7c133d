package resolve

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

func TestNamesAndWhatIsAsked(t *testing.T) {
	for _, tt := range []struct {
		host  string
		want  string
		asked []string
	}{
		{"10.9.9.9", "[10.9.9.9]", nil},
		{"::ffff:10.9.9.9", "[10.9.9.9]", nil},
		{"localhost", "[127.0.0.1 ::1]", nil},
		{"api.LOCALHOST.", "[127.0.0.1 ::1]", nil},
		{"Legacy", "[10.1.1.1]", nil},
		{"api.example.com", "[192.0.2.1 192.0.2.2]", []string{"udp 10.0.0.10:53 api.example.com. TypeA"}},
		{"api.example.com.", "[192.0.2.1 192.0.2.2]", []string{"udp 10.0.0.10:53 api.example.com. TypeA"}},
		// The search list is for names without a dot, whatever ndots says.
		{"cart", "[10.2.2.2]", []string{"udp 10.0.0.10:53 cart.shop.svc.cluster.local. TypeA", "udp 10.0.0.10:53 cart.cluster.local. TypeA"}},
		{"big.example.com", "[192.0.2.3]", []string{"udp 10.0.0.10:53 big.example.com. TypeA", "tcp 10.0.0.10:53 big.example.com. TypeA"}},
		{"www.example.com", "[192.0.2.4]", []string{"udp 10.0.0.10:53 www.example.com. TypeA"}},
		{"no.example.com", "the name has no address", []string{"udp 10.0.0.10:53 no.example.com. TypeA"}},
		{"only6.example.com", "the name has no address", []string{"udp 10.0.0.10:53 only6.example.com. TypeA"}},
		{strings.Repeat("a.", 200), "name", nil},
	} {
		onServer(t, Options{}, func(s *nameserver) {
			s.set("api.example.com.", record{addrs: []string{"192.0.2.2", "192.0.2.1", "192.0.2.2"}, ttl: 60})
			s.set("cart.cluster.local.", record{addrs: []string{"10.2.2.2"}, ttl: 60})
			s.set("big.example.com.", record{addrs: []string{"192.0.2.3"}, ttl: 60, large: true})
			s.set("www.example.com.", record{addrs: []string{"192.0.2.4"}, ttl: 60, alias: "EDGE.example.net."})
			s.set("only6.example.com.", record{addrs: []string{"2001:db8::1"}, ttl: 60})
			var l listener
			defer s.r.Watch(tt.host, l.changed)()
			got := l.heard(0)
			if len(got) != 1 || !strings.HasPrefix(got[0], tt.want) {
				t.Errorf("%s: heard %q, want %q", tt.host, got, tt.want)
			}
			if asked := s.questions(); !slices.Equal(asked, tt.asked) {
				t.Errorf("%s: asked %q, want %q", tt.host, asked, tt.asked)
			}
		})
	}
}

func TestBothFamilies(t *testing.T) {
	onServer(t, Options{Families: []string{"ip4", "ip6"}}, func(s *nameserver) {
		s.set("a.example.", record{addrs: []string{"192.0.2.1", "2001:db8::1"}, ttl: 60})
		s.set("b.example.", record{addrs: []string{"2001:db8::2"}, ttl: 60})
		var a, b listener
		defer s.r.Watch("a.example", a.changed)()
		defer s.r.Watch("b.example", b.changed)()
		a.want(t, "both", 0, "[192.0.2.1 2001:db8::1]")
		b.want(t, "one has nothing", 0, "[2001:db8::2]")
	})
}

// What one family's server failed to tell is no change, but the other's is
// better than nothing.
func TestHalfAnAnswer(t *testing.T) {
	onServer(t, Options{Families: []string{"ip4", "ip6"}}, func(s *nameserver) {
		full := record{addrs: []string{"192.0.2.1", "2001:db8::1"}, ttl: 60}
		broken := func(_, _ string, q dnsmessage.Question, id uint16) [][]byte {
			if q.Type == dnsmessage.TypeAAAA {
				return [][]byte{record{rcode: dnsmessage.RCodeServerFailure}.pack("udp", q, id)}
			}
			return [][]byte{full.pack("udp", q, id)}
		}
		s.reply = broken
		var l listener
		defer s.r.Watch("a.example", l.changed)()
		l.want(t, "at first", 0, "[192.0.2.1]")
		s.mu.Lock()
		s.reply = nil
		s.zone["a.example."] = full
		s.mu.Unlock()
		l.want(t, "then all of it", 2*time.Second, "[192.0.2.1 2001:db8::1]")
		s.mu.Lock()
		s.reply = broken
		s.mu.Unlock()
		l.want(t, "then half of it", 10*time.Minute)
	})
}

// DNS by TTL: asked for again a little before the answer is over, and told only
// where something has changed.
func TestTTL(t *testing.T) {
	for _, tt := range []struct {
		ttl  uint32
		want time.Duration // what it counts as
	}{
		{60, time.Minute}, {0, leastTTL}, {1, leastTTL}, {86400, mostTTL}, {1 << 31, leastTTL},
	} {
		onServer(t, Options{}, func(s *nameserver) {
			s.set("a.example.", record{addrs: []string{"192.0.2.1"}, ttl: tt.ttl})
			var l listener
			defer s.r.Watch("a.example", l.changed)()
			l.want(t, "at first", 0, "[192.0.2.1]")
			s.questions()
			l.want(t, "while it holds", tt.want*79/100)
			if got := s.questions(); len(got) != 0 {
				t.Errorf("TTL %d: asked %q while it holds", tt.ttl, got)
			}
			l.want(t, "after it was asked again", tt.want*17/100)
			if got := s.questions(); len(got) != 1 {
				t.Errorf("TTL %d: asked %q, want one question before %v are over", tt.ttl, got, tt.want)
			}
			s.set("a.example.", record{addrs: []string{"192.0.2.1", "192.0.2.2"}, ttl: tt.ttl})
			l.want(t, "after a change", tt.want, "[192.0.2.1 192.0.2.2]")
		})
	}
}

// The last good answer is kept, whatever a server's troubles are.
func TestLastGoodAnswerIsKept(t *testing.T) {
	for name, trouble := range map[string]func(network, server string, q dnsmessage.Question, id uint16) [][]byte{
		"silence": func(string, string, dnsmessage.Question, uint16) [][]byte { return nil },
		"SERVFAIL": func(_, _ string, q dnsmessage.Question, id uint16) [][]byte {
			return [][]byte{record{rcode: dnsmessage.RCodeServerFailure}.pack("udp", q, id)}
		},
		"REFUSED": func(_, _ string, q dnsmessage.Question, id uint16) [][]byte {
			return [][]byte{record{rcode: dnsmessage.RCodeRefused}.pack("udp", q, id)}
		},
		"garbage": func(string, string, dnsmessage.Question, uint16) [][]byte { return [][]byte{{1, 2, 3}} },
	} {
		onServer(t, Options{}, func(s *nameserver) {
			s.set("a.example.", record{addrs: []string{"192.0.2.1"}, ttl: 10})
			var l listener
			defer s.r.Watch("a.example", l.changed)()
			l.want(t, name+": at first", 0, "[192.0.2.1]")
			s.mu.Lock()
			s.reply = trouble
			s.mu.Unlock()
			l.want(t, name, 24*time.Hour)
			s.questions()
			l.heard(time.Hour)
			if n := len(s.questions()); n > 2*120+4 {
				t.Errorf("%s: asked %d times in an hour, want every 30 seconds at most, twice each", name, n)
			}
			s.mu.Lock()
			s.reply = nil
			s.zone["a.example."] = record{addrs: []string{"192.0.2.9"}, ttl: 10}
			s.mu.Unlock()
			l.want(t, name+": once it is over", 45*time.Second, "[192.0.2.9]")
		})
	}
}

// That there is no such name holds once it was said twice.
func TestNoSuchName(t *testing.T) {
	onServer(t, Options{}, func(s *nameserver) {
		s.set("a.example.", record{addrs: []string{"192.0.2.1"}, ttl: 10})
		var l listener
		defer s.r.Watch("a.example", l.changed)()
		l.want(t, "at first", 0, "[192.0.2.1]")
		s.set("a.example.", record{rcode: dnsmessage.RCodeNameError, ttl: 20})
		l.want(t, "said once", 15*time.Second)
		l.want(t, "said twice", 20*time.Second, "the name has no address")
		l.want(t, "said again", time.Minute)
		s.set("a.example.", record{addrs: []string{"192.0.2.1"}, ttl: 10})
		l.want(t, "it is back", 20*time.Second, "[192.0.2.1]")
	})
}

// RFC 2308 section 5.
func TestNegativeAnswersHold(t *testing.T) {
	for _, tt := range []struct {
		ttl  uint32
		want time.Duration
	}{{20, 20 * time.Second}, {0, leastTTL}, {3600, mostNone}} {
		onServer(t, Options{}, func(s *nameserver) {
			s.set("a.example.", record{rcode: dnsmessage.RCodeNameError, ttl: tt.ttl})
			var l listener
			defer s.r.Watch("a.example", l.changed)()
			l.want(t, "at first", 0, "the name has no address")
			s.questions()
			l.heard(tt.want - time.Second)
			if got := s.questions(); len(got) != 0 {
				t.Errorf("minimum TTL %d: asked %q before %v are over", tt.ttl, got, tt.want)
			}
			l.heard(time.Second)
			if got := s.questions(); len(got) != 1 {
				t.Errorf("minimum TTL %d: asked %q after %v", tt.ttl, got, tt.want)
			}
		})
	}
}

// An answer to another question, or with another id, is not ours (RFC 5452).
func TestForgedAnswersAreNotTaken(t *testing.T) {
	onServer(t, Options{}, func(s *nameserver) {
		good, bad := record{addrs: []string{"192.0.2.1"}, ttl: 60}, record{addrs: []string{"192.0.2.66"}, ttl: 60}
		s.reply = func(_, _ string, q dnsmessage.Question, id uint16) [][]byte {
			other := q
			other.Name = dnsmessage.MustNewName("b.example.")
			return [][]byte{{}, bad.pack("udp", q, id+1), bad.pack("udp", other, id), good.pack("udp", q, id)}
		}
		var l listener
		defer s.r.Watch("a.example", l.changed)()
		l.want(t, "after forged answers", 0, "[192.0.2.1]")
	})
}

func TestNextServerIsAsked(t *testing.T) {
	onServer(t, Options{}, func(s *nameserver) {
		write(t, s.r.o.Config, "nameserver 10.0.0.10\nnameserver 10.0.0.11\n")
		s.reply = func(_, server string, q dnsmessage.Question, id uint16) [][]byte {
			if server == "10.0.0.10:53" {
				return nil
			}
			return [][]byte{record{addrs: []string{"192.0.2.1"}, ttl: 60}.pack("udp", q, id)}
		}
		var l listener
		defer s.r.Watch("a.example", l.changed)()
		l.want(t, "while the first is asked", 4*time.Second)
		l.want(t, "after its time", time.Second, "[192.0.2.1]")
	})
}

func TestWatchersShareQuestions(t *testing.T) {
	onServer(t, Options{}, func(s *nameserver) {
		s.set("a.example.", record{addrs: []string{"192.0.2.1"}, ttl: 10})
		var a, b listener
		stopA := s.r.Watch("a.example", a.changed)
		a.want(t, "the first", 0, "[192.0.2.1]")
		stopB := s.r.Watch("a.example", b.changed)
		b.want(t, "one that comes later", 0, "[192.0.2.1]")
		if got := s.questions(); len(got) != 1 {
			t.Errorf("asked %q, want once", got)
		}
		stopA()
		s.set("a.example.", record{addrs: []string{"192.0.2.2"}, ttl: 10})
		b.want(t, "the one that is left", 10*time.Second, "[192.0.2.2]")
		a.want(t, "the one that is not", 0)
		stopB()
		s.questions()
		time.Sleep(time.Hour)
		synctest.Wait()
		if got := s.questions(); len(got) != 0 {
			t.Errorf("asked %q though nobody watches", got)
		}
	})
}

func TestQuestionsAreBounded(t *testing.T) {
	onServer(t, Options{}, func(s *nameserver) {
		s.reply = func(string, string, dnsmessage.Question, uint16) [][]byte { return nil }
		var l listener
		for i := range 100 {
			defer s.r.Watch(fmt.Sprint("a", i, ".example"), l.changed)()
		}
		l.heard(time.Second)
		if got := len(s.questions()); got != maxQuestion {
			t.Errorf("%d questions at a time, want %d", got, maxQuestion)
		}
	})
}

func TestIsPublic(t *testing.T) {
	for text, want := range map[string]bool{
		"8.8.8.8": true, "2606:4700::1111": true, "::ffff:8.8.8.8": true,
		"127.0.0.1": false, "::1": false, "0.0.0.0": false, "::": false, "10.0.0.1": false, "192.168.1.1": false,
		"172.16.0.1": false, "169.254.169.254": false, "fe80::1": false, "fd00::1": false, "100.64.0.1": false,
		"224.0.0.1": false, "ff02::1": false, "255.255.255.255": false, "::ffff:127.0.0.1": false,
		"64:ff9b::a00:1": false, "2002:7f00:1::": false, "192.0.2.1": false, "2001:db8::1": false,
	} {
		if got := IsPublic(netip.MustParseAddr(text)); got != want {
			t.Errorf("IsPublic(%s) = %v, want %v", text, got, want)
		}
	}
}
