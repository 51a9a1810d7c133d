package tlsmgr

import (
	"crypto/tls"
	"fmt"
	"strings"
	"testing"
	"time"
)

// hello is a client that takes every kind of key.
func hello(name string) *tls.ClientHelloInfo {
	return &tls.ClientHelloInfo{
		ServerName:        name,
		SupportedVersions: []uint16{tls.VersionTLS13, tls.VersionTLS12},
		SignatureSchemes:  []tls.SignatureScheme{tls.ECDSAWithP256AndSHA256, tls.PSSWithSHA256},
	}
}

// name is the common name of what a table shows, or "" for nothing.
func name(t *testing.T, table *Table, h *tls.ClientHelloInfo) string {
	t.Helper()
	cert, err := table.Certificate(h)
	if err != nil {
		t.Fatal(err)
	}
	if cert == nil {
		return ""
	}
	return cert.Leaf.Subject.CommonName
}

func TestTheMostSpecificListenerCounts(t *testing.T) {
	s := store(t, nil,
		pair(t, "any", ecdsaKey(), "any.example"), pair(t, "exact", ecdsaKey(), "shop.example"),
		pair(t, "wild", ecdsaKey(), "*.shop.example"), pair(t, "deep", ecdsaKey(), "*.eu.shop.example"))
	exact := Listener{Hostname: "shop.example", Certificates: []string{"exact"}}
	wild := Listener{Hostname: "*.shop.example", Certificates: []string{"wild"}}
	deep := Listener{Hostname: "*.eu.shop.example", Certificates: []string{"deep"}}
	any := Listener{Certificates: []string{"any"}}
	gone := Listener{Hostname: "gone.example", Certificates: []string{"gone"}}
	tests := []struct {
		listeners []Listener
		sni       string
		want      string
	}{
		{[]Listener{any, wild, exact, deep}, "shop.example", "exact"},
		{[]Listener{any, wild, exact, deep}, "SHOP.Example", "exact"},     // names have no case
		{[]Listener{any, wild, exact, deep}, "cart.shop.example", "wild"}, //
		{[]Listener{any, wild, exact, deep}, "a.b.shop.example", "wild"},  // any number of labels, as Gateway API has it
		{[]Listener{any, wild, exact, deep}, "a.eu.shop.example", "deep"}, // the longer suffix
		{[]Listener{any, wild, exact, deep}, "eu.shop.example", "wild"},   // "*." needs a label
		{[]Listener{any, wild, exact, deep}, "other.example", "any"},
		{[]Listener{any, wild, exact, deep}, "", "any"},
		{[]Listener{wild, exact}, "other.example", ""}, // nobody's
		{[]Listener{wild, exact}, "xshop.example", ""}, // whole labels only
		{[]Listener{wild, exact}, "", "wild"},          // no name: the first listener's
		{[]Listener{gone}, "gone.example", ""},         // its pair is not there, and no other listener's will do
		{[]Listener{any, gone}, "gone.example", ""},
		{[]Listener{exact, {Hostname: "shop.example", Certificates: []string{"any"}}}, "shop.example", "exact"}, // the first of two
		{nil, "shop.example", ""},
		{nil, "", ""},
	}
	for _, tt := range tests {
		if got := name(t, s.Table(tt.listeners), hello(tt.sni)); got != tt.want {
			t.Errorf("%v, asked for %q: shown %q, want %q", tt.listeners, tt.sni, got, tt.want)
		}
	}
}

func TestTheFirstCertificateThatCoversTheNameCounts(t *testing.T) {
	s := store(t, nil,
		pair(t, "rsa", rsaKey(), "shop.example"), pair(t, "ecdsa", ecdsaKey(), "shop.example"),
		pair(t, "wild", ecdsaKey(), "*.shop.example"), pair(t, "cart", ecdsaKey(), "Cart.shop.example"),
		pair(t, "both", ecdsaKey(), "shop.example", "*.shop.example"))
	onlyRSA := hello("shop.example")
	onlyRSA.SignatureSchemes = []tls.SignatureScheme{tls.PSSWithSHA256}
	onlyECDSA := hello("shop.example")
	onlyECDSA.SignatureSchemes = []tls.SignatureScheme{tls.ECDSAWithP256AndSHA256}
	neither := hello("shop.example")
	neither.SignatureSchemes = []tls.SignatureScheme{tls.Ed25519}
	tests := []struct {
		certificates string
		hello        *tls.ClientHelloInfo
		want         string
	}{
		{"rsa ecdsa", hello("shop.example"), "rsa"},
		{"ecdsa rsa", hello("shop.example"), "ecdsa"}, // the author's order
		{"ecdsa rsa", onlyRSA, "rsa"},
		{"rsa ecdsa", onlyECDSA, "ecdsa"},
		{"rsa ecdsa", neither, "rsa"},                         // the handshake will say why
		{"rsa wild cart", hello("cart.shop.example"), "wild"}, // the author's order, not the longer name's
		{"rsa cart wild", hello("cart.shop.example"), "cart"},
		{"rsa cart wild", hello("list.shop.example"), "wild"},
		{"rsa wild", hello("a.b.shop.example"), "rsa"}, // X.509's wildcard is one label: none covers it, so the first
		{"ecdsa wild", hello(""), "ecdsa"},
		{"gone wild both", hello("cart.shop.example"), "wild"},
		{"both both", hello("shop.example"), "both"},
		{"cart", hello("other.shop.example"), "cart"}, // the only one
	}
	for _, tt := range tests {
		table := s.Table([]Listener{{Certificates: strings.Fields(tt.certificates)}})
		if got := name(t, table, tt.hello); got != tt.want {
			t.Errorf("of %q for %q, schemes %v: shown %q, want %q", tt.certificates, tt.hello.ServerName, tt.hello.SignatureSchemes, got, tt.want)
		}
	}
}

// What is decided from a ClientHello by hand above is what a real one does.
func TestHandshakesGetTheKeyThatTheyCanCheck(t *testing.T) {
	s := store(t, nil, pair(t, "ecdsa", ecdsaKey(), "shop.example"), pair(t, "rsa", rsaKey(), "shop.example"))
	server := serving(s, Listener{Certificates: []string{"ecdsa", "rsa"}})
	old := func(suite uint16) *tls.Config {
		return &tls.Config{ServerName: "shop.example", MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{suite}}
	}
	tests := []struct {
		client *tls.Config
		want   string
	}{
		{&tls.Config{ServerName: "shop.example"}, "ecdsa"},
		{old(tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256), "rsa"},
		{old(tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256), "ecdsa"},
	}
	for _, tt := range tests {
		if got := shown(server, tt.client); got != tt.want {
			t.Errorf("suites %v: shown %s, want %s", tt.client.CipherSuites, got, tt.want)
		}
	}
}

// crypto/tls takes names of up to 64 KiB; to look for each of their suffixes
// would cost seconds.
func TestLongNamesAreRefusedAtOnce(t *testing.T) {
	s := store(t, nil, pair(t, "wild", ecdsaKey(), "*.shop.example"))
	table := s.Table([]Listener{{Hostname: "*.shop.example", Certificates: []string{"wild"}}, {Certificates: []string{"wild"}}})
	start := time.Now()
	long := hello(strings.Repeat("a.", 30000) + "shop.example")
	if got := name(t, table, long); got != "" {
		t.Errorf("a name of %d bytes is shown %q, want nothing", len(long.ServerName), got)
	}
	if took := time.Since(start); took > 100*time.Millisecond {
		t.Errorf("took %v", took)
	}
	if got := name(t, table, hello(strings.Repeat("a.", 120)+"shop.example")); got != "wild" {
		t.Errorf("a name of 252 bytes is shown %q, want wild", got)
	}
}

// slowCertificate is the literal reading of the rules, as an oracle.
func slowCertificate(s *Store, listeners []Listener, name string) *tls.Certificate {
	best, length := -1, -1
	for i, l := range listeners {
		covers, n := false, len(l.Hostname)
		switch {
		case l.Hostname == "":
			covers = true
		case strings.HasPrefix(l.Hostname, "*."):
			covers = strings.HasSuffix(name, l.Hostname[1:]) && len(name) >= len(l.Hostname)
		default:
			covers = name == l.Hostname
			n = 1000 // the most specific of all
		}
		if covers && n > length {
			best, length = i, n
		}
	}
	if best < 0 {
		return nil
	}
	var first *tls.Certificate
	for _, c := range listeners[best].Certificates {
		cert := s.Certificate(c)
		if first == nil {
			first = cert
		}
		if cert != nil && cert.Leaf.VerifyHostname(name) == nil {
			return cert
		}
	}
	return first
}

func FuzzTable(f *testing.F) {
	var certs []string
	s := NewStore(nil)
	for i, names := range []string{"a.b", "*.b", "a.a.b", "*.a.b", "b *.b", "b a.b"} {
		c := fmt.Sprint("cert", i)
		if problem := s.Put(pair(f, c, ecdsaKey(), strings.Fields(names)...)); problem != nil {
			f.Fatal(problem)
		}
		certs = append(certs, c)
	}
	f.Add("a.b", "a.b *.b", uint64(0x123456789abcdef))
	f.Add("b.a.b", "*.a.b *.b", uint64(7))
	f.Add("a.b", "a.b", uint64(81985529216486770)) // a certificate that is named twice
	f.Fuzz(func(t *testing.T, name, hostnames string, pick uint64) {
		if err := validName(name); err != nil {
			return
		}
		var listeners []Listener
		seen := map[string]bool{}
		for h := range strings.FieldsSeq(hostnames) {
			h = strings.ToLower(strings.TrimSuffix(h, "."))
			if seen[h] || validName(strings.TrimPrefix(h, "*.")) != nil {
				continue
			}
			seen[h] = true
			l := Listener{Hostname: h}
			for range 3 {
				l.Certificates = append(l.Certificates, certs[pick%uint64(len(certs))])
				pick /= uint64(len(certs))
			}
			listeners = append(listeners, l)
		}
		got, err := s.Table(listeners).Certificate(hello(name))
		if err != nil {
			t.Fatal(err)
		}
		if want := slowCertificate(s, listeners, name); got != want {
			t.Errorf("%v for %q: fast %v, oracle %v", listeners, name, common(got), common(want))
		}
	})
}

func common(c *tls.Certificate) string {
	if c == nil {
		return "none"
	}
	return c.Leaf.Subject.CommonName
}

// many is a store with n pairs and a listener for each.
func many(b *testing.B, n int) (*Store, []Listener) {
	b.Helper()
	s := NewStore(nil)
	p := pair(b, "shop/tls", ecdsaKey(), "shop.example")
	listeners := make([]Listener, n)
	for i := range n {
		p.Name = fmt.Sprint("shop/tls", i)
		if problem := s.Put(p); problem != nil {
			b.Fatal(problem)
		}
		listeners[i] = Listener{Hostname: fmt.Sprintf("shop%d.example", i), Certificates: []string{p.Name}}
	}
	return s, listeners
}

func BenchmarkLookupOf10000(b *testing.B) {
	s, listeners := many(b, 10000)
	table := s.Table(listeners)
	h := hello("shop7777.example")
	b.ReportAllocs()
	for b.Loop() {
		if c, err := table.Certificate(h); c == nil || err != nil {
			b.Fatal("no certificate", err)
		}
	}
}

func BenchmarkLookupInOneListenerOf10000(b *testing.B) {
	s, listeners := many(b, 10000)
	all := Listener{}
	for _, l := range listeners {
		all.Certificates = append(all.Certificates, l.Certificates...)
	}
	table := s.Table([]Listener{all})
	h := hello("shop.example")
	b.ReportAllocs()
	for b.Loop() {
		if c, err := table.Certificate(h); c == nil || err != nil {
			b.Fatal("no certificate", err)
		}
	}
}

func BenchmarkTableOf10000(b *testing.B) {
	s, listeners := many(b, 10000)
	b.ReportAllocs()
	for b.Loop() {
		s.Table(listeners)
	}
}

func BenchmarkPut(b *testing.B) {
	for name, p := range map[string]Pair{
		"ecdsa": pair(b, "shop/tls", ecdsaKey(), "shop.example"), "rsa": pair(b, "shop/tls", rsaKey(), "shop.example"),
	} {
		b.Run(name+"/new", func(b *testing.B) {
			for b.Loop() {
				if problem := NewStore(nil).Put(p); problem != nil {
					b.Fatal(problem)
				}
			}
		})
		b.Run(name+"/same", func(b *testing.B) {
			s := store(b, nil, p)
			for b.Loop() {
				if problem := s.Put(p); problem != nil {
					b.Fatal(problem)
				}
			}
		})
	}
}
