package upstream

import (
	"net/netip"
	"strings"
	"testing"

	"fairway.dev/gateway/message"
	"fairway.dev/routing"
)

func TestHashOnWhatTheClusterSays(t *testing.T) {
	peer := &message.Peer{Remote: netip.MustParseAddrPort("192.0.2.1:1234")}
	request := func(query string, fields ...string) *message.Request {
		r := &message.Request{Query: query}
		for i := 0; i < len(fields); i += 2 {
			r.Fields.Append(fields[i], fields[i+1])
		}
		return r
	}
	full := request("?a=1&user=ann&b", "X-User", "ann", "Cookie", "a=b; user=ann;c", "ETag", "ann")
	for _, tt := range []struct {
		on   string
		req  *message.Request
		want string // what is hashed; "-" for nothing
	}{
		{"header:x-user", full, "ann"},
		{"header:X-USER", full, "ann"},
		{"header:etag", full, "ann"}, // one that has a number
		{"header:x-other", full, "-"},
		{"header:x-user", request("", "x-user", "a", "X-User", "b"), "a,b"},
		{"header:x-user", request("", "x-user", ""), ""}, // empty, but there
		{"cookie:user", full, "ann"},
		{"cookie:c", full, ""},
		{"cookie:USER", full, "-"}, // names of cookies have case
		{"cookie:use", full, "-"},
		{"cookie:user", request("", "cookie", "a=b", "cookie", "user=ann"), "ann"}, // RFC 9113 section 8.2.3
		{"cookie:user", request("", "cookie", "user=x=y"), "x=y"},
		{"query:user", full, "ann"},
		{"query:b", full, ""},
		{"query:use", full, "-"},
		{"query:user", request(""), "-"},
		{"query:user", request("?user=a&user=b"), "a"},
	} {
		s := newStage(t, 1)
		c := s.cluster(routing.Cluster{Balance: routing.Balance{Kind: routing.RingHash, HashOn: tt.on}})
		got, ok := c.Hash(tt.req, peer)
		if tt.want == "-" {
			if ok {
				t.Errorf("%s of %v %q: hashed, want nothing to hash", tt.on, tt.req.Fields, tt.req.Query)
			}
			continue
		}
		if want := newDigest.write(tt.want).sum(); !ok || got != want {
			t.Errorf("%s of %v %q: %x, %v; want the hash of %q", tt.on, tt.req.Fields, tt.req.Query, got, ok, tt.want)
		}
	}
}

func TestHashOnSourceAddress(t *testing.T) {
	s := newStage(t, 1)
	hash := func(on, remote string) uint64 {
		c := s.cluster(routing.Cluster{Balance: routing.Balance{Kind: routing.Maglev, HashOn: on}})
		h, ok := c.Hash(&message.Request{}, &message.Peer{Remote: netip.MustParseAddrPort(remote)})
		if !ok {
			t.Errorf("HashOn %q: nothing hashed", on)
		}
		return h
	}
	want := hash("source-ip", "192.0.2.1:1")
	for _, tt := range []struct {
		on, remote string
		same       bool
	}{
		{"source-ip", "192.0.2.1:2", true}, // whatever the port
		{"source-ip", "[::ffff:192.0.2.1]:1", true},
		{"", "192.0.2.1:1", true}, // the default
		{"header:", "192.0.2.1:1", true},
		{"source-ip", "192.0.2.2:1", false},
		{"source-ip", "[2001:db8::1]:1", false},
	} {
		if got := hash(tt.on, tt.remote); (got == want) != tt.same {
			t.Errorf("HashOn %q, %s: %x and %x, same = %v wanted", tt.on, tt.remote, got, want, tt.same)
		}
	}
}

func TestOnlyHashingClustersHash(t *testing.T) {
	s := newStage(t, 1)
	c := s.cluster(routing.Cluster{Balance: routing.Balance{Kind: routing.LeastRequest, HashOn: "source-ip"}})
	if _, ok := c.Hash(&message.Request{}, &message.Peer{}); ok {
		t.Error("a cluster that balances by load hashed a request")
	}
}

// TestHashStays holds the function itself: gateways of two versions that
// stand side by side in a rolling update must agree.
func TestHashStays(t *testing.T) {
	for text, want := range map[string]uint64{"": 0xefd01f60ba992926, "ann": 0x6ef4c3aba814f113} {
		if got := newDigest.write(text).sum(); got != want {
			t.Errorf("hash of %q = %#x, want %#x", text, got, want)
		}
	}
	if got, want := identityOf(netip.MustParseAddrPort("10.0.0.1:80")), uint64(0x9f5705fe1668a2e); got != want {
		t.Errorf("identity = %#x, want %#x", got, want)
	}
}

// slowCookie is RFC 6265's cookie-string read literally.
func slowCookie(value, name string) (string, bool) {
	for pair := range strings.SplitSeq(value, ";") {
		pair = strings.Trim(pair, " \t")
		if pair == name || strings.HasPrefix(pair, name+"=") {
			return strings.TrimPrefix(strings.TrimPrefix(pair, name), "="), true
		}
	}
	return "", false
}

func FuzzCookieHash(f *testing.F) {
	f.Add("a=b; c=d", "c")
	f.Add("a; b=;=c;;", "b")
	f.Fuzz(func(t *testing.T, value, name string) {
		if name == "" || strings.ContainsAny(name, "=; \t") {
			return
		}
		fields := message.Fields{{ID: message.Cookie, Value: value}}
		got, ok := cookieHash(fields, name)
		text, want := slowCookie(value, name)
		if ok != want || ok && got != newDigest.write(text).sum() {
			t.Errorf("value %q, name %q: fast %x %v, oracle %q %v", value, name, got, ok, text, want)
		}
	})
}

// slowQuery looks through all parameters.
func slowQuery(query, name string) (string, bool) {
	for pair := range strings.SplitSeq(strings.TrimPrefix(query, "?"), "&") {
		if pair == name || strings.HasPrefix(pair, name+"=") {
			return strings.TrimPrefix(strings.TrimPrefix(pair, name), "="), true
		}
	}
	return "", false
}

func FuzzQueryHash(f *testing.F) {
	f.Add("?a=b&c=d", "c")
	f.Add("?a&b=&=c&&", "b")
	f.Fuzz(func(t *testing.T, query, name string) {
		if name == "" || strings.ContainsAny(name, "=&") {
			return
		}
		got, ok := queryHash(query, name)
		text, want := slowQuery(query, name)
		if ok != want || ok && got != newDigest.write(text).sum() {
			t.Errorf("query %q, name %q: fast %x %v, oracle %q %v", query, name, got, ok, text, want)
		}
	})
}
