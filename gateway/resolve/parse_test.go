package resolve

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

func TestParseConfig(t *testing.T) {
	none := "[127.0.0.1:53 [::1]:53]"
	for _, tt := range []struct{ text, want string }{
		{"", none + " [] 5s 2"},
		{"# nameserver 10.0.0.1\n; nameserver 10.0.0.2\nnameserver\nnameserver x\n", none + " [] 5s 2"},
		{"nameserver 10.0.0.1\nnameserver fd00::1\nnameserver 10.0.0.3\nnameserver 10.0.0.4", "[10.0.0.1:53 [fd00::1]:53 10.0.0.3:53] [] 5s 2"},
		{"domain a\nsearch b. c\n", none + " [b c] 5s 2"},
		{"options timeout:1 attempts:3 rotate ndots:5", none + " [] 1s 3"},
		{"options timeout:0 attempts:x", none + " [] 5s 2"},
		{"options timeout:9999999999 attempts:100", none + " [] 5s 5"},
	} {
		c := parseConfig([]byte(tt.text))
		if got := fmt.Sprint(c.servers, c.search, c.timeout, c.attempts); got != tt.want {
			t.Errorf("%q: %s, want %s", tt.text, got, tt.want)
		}
	}
}

func TestParseHosts(t *testing.T) {
	text := []byte("127.0.0.1\tlocalhost\n10.0.0.1 a A.example # b\n::ffff:10.0.0.2 a\nfe80::1%eth0 a\nx a\n10.0.0.3\n")
	for host, want := range map[string]string{"a": "[10.0.0.1 10.0.0.2]", "a.EXAMPLE": "[10.0.0.1]", "b": "[]", "": "[]"} {
		if got := fmt.Sprint(parseHosts(text, host)); got != want {
			t.Errorf("%q: %s, want %s", host, got, want)
		}
	}
}

func FuzzConfig(f *testing.F) {
	f.Add([]byte("nameserver 10.0.0.1\nsearch a b\noptions timeout:2"), "a")
	f.Add([]byte("10.0.0.1 a b # c"), "b")
	f.Fuzz(func(t *testing.T, text []byte, host string) {
		c := parseConfig(text)
		if len(c.servers) == 0 || len(c.servers) > maxServers || c.timeout <= 0 || c.timeout > askTimeout || c.attempts < 1 || c.attempts > maxAttempts {
			t.Errorf("%q: %+v", text, c)
		}
		for _, a := range parseHosts(text, host) {
			if !a.IsValid() {
				t.Errorf("%q: an address that is none", text)
			}
		}
	})
}

func FuzzAnswer(f *testing.F) {
	q, err := newQuery("www.example.com.", dnsmessage.TypeA)
	if err != nil {
		f.Fatal(err)
	}
	q.id = 1
	asked := dnsmessage.Question{Name: q.name, Type: q.kind, Class: dnsmessage.ClassINET}
	for _, r := range []record{
		{addrs: []string{"192.0.2.1", "192.0.2.2"}, ttl: 60},
		{addrs: []string{"192.0.2.1"}, ttl: 60, alias: "a.example.net."},
		{alias: "www.example.com.", ttl: 5}, {ttl: 30, rcode: dnsmessage.RCodeNameError}, {large: true}, {rcode: dnsmessage.RCodeRefused},
	} {
		f.Add(r.pack("udp", asked, 1))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := q.parse(b)
		if err != nil && len(a.addrs) > 0 {
			t.Errorf("%x: addresses and an error", b)
		}
		if len(a.addrs) > maxAddrs || a.ttl < 0 || a.ttl > 1<<31*time.Second {
			t.Errorf("%x: %d addresses for %v", b, len(a.addrs), a.ttl)
		}
		if slices.ContainsFunc(a.addrs, netip.Addr.Is6) {
			t.Errorf("%x: %v, want addresses of the family that was asked for", b, a.addrs)
		}
	})
}
