package authz

import (
	"crypto/tls"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"fairway.dev/gateway/message"
	"fairway.dev/routing"
)

// claims is a token.
type claims map[string][]string

func (c claims) Claim(path []string) []string {
	return c[fmt.Sprint(path)]
}

// A world draws policies and attributes of few words, so that they meet.
type world struct{ *rand.Rand }

func (w world) one(list ...string) string { return list[w.IntN(len(list))] }

func (w world) some(most int, of ...string) (list []string) {
	for range w.IntN(most + 1) {
		list = append(list, w.one(of...))
	}
	return list
}

// patterns are none, mostly.
func (w world) patterns(of ...string) routing.Patterns {
	if w.IntN(3) > 0 {
		return routing.Patterns{}
	}
	return routing.Patterns{In: w.some(2, of...), Out: w.some(1, of...)}
}

func (w world) prefixes() (p routing.Prefixes) {
	if w.IntN(3) > 0 {
		return p
	}
	for _, s := range w.some(2, addressPatterns...) {
		b, err := routing.ParseBlock(s)
		if err != nil {
			panic(err)
		}
		p.In = append(p.In, b)
	}
	return p
}

var (
	identities = []string{
		"", "spiffe://td/ns/shop/sa/cart", "spiffe://td/ns/shop/sa/web", "spiffe://old/ns/shop/sa/cart", "spiffe://other/ns/bank/sa/cart",
		"spiffe://cluster.local/ns/shop/sa/cart", "spiffe://td/ns/shop/x/y/sa/cart/more/z", "spiffe://td/ns/shop/ns/shop/sa/cartx/sa/cart",
		"spiffe:///ns/shop/sa/cart", "spiffe://td/nsx/shop/sa/cart/", "https://td/ns/shop/sa/cart", "spiffe://td", "spiffe://td/ns/shop/sa/cart/",
		"spiffe://td/ns/shop//sa/cart", "spiffe:///ns/shop/ns/shop/sa/cart", "spiffe://td/ns/shop/sa/carts/sa/cart",
	}
	principalPatterns = []string{
		"*", "td/ns/shop/sa/cart", "old/ns/shop/sa/cart", "cluster.local/ns/shop/sa/cart", "*/ns/shop/sa/cart", "td/ns/shop/*", "*cart",
		"*d/ns/shop/sa/cart", "o*/ns/shop/sa/cart", "other/ns/bank/sa/cart", "https://td*", "a*b", "spiffe://td/ns/shop/sa/cart",
	}
	namespacePatterns = []string{"shop", "bank", "*", "sh*", "*op", "s*p", "shop/sa", "*/sa"}
	accountPatterns   = []string{"cart", "shop/cart", "bank/cart", "web", "shop/car"}
	domainPatterns    = []string{"td", "old", "*", "o*", "*d", "other", "cluster.local"}
	addressPatterns   = []string{"10.0.0.1", "10.0.0.0/8", "fd00::/8", "fd00::1", "0.0.0.0/0", "192.168.0.0/16"}
	addresses         = []string{"10.0.0.1", "10.9.9.9", "fd00::1", "192.168.1.1", "::ffff:10.0.0.1"}
	hostPatterns      = []string{"shop.example", "SHOP.example", "*.example", "shop.*", "shop.example:80", "*:80", "shop.example:*", "*", "[::1]", "[::1]:80", "shop.example.", "*e.:80"}
	hostValues        = []string{"shop.example", "Shop.Example", "shop.example:80", "shop.example.", "shop.example.:80", "other.example:8080", "[::1]", "[::1]:80", "shop.exampler"}
	pathPatterns      = []string{"/", "/a", "/a*", "*/b", "*", "/a/{*}", "/a/{**}", "/{*}/b", "/a/{**}/", "/{*}/b/{**}", "{**}/b", "/a/{*}/{*}", "/a*b", "/a/{**}/b"}
	pathValues        = []string{"/", "/a", "/a/", "/a/b", "/a/b/", "/a//", "/ab", "/b/b/c", "/a|x/b", "*", "/a/b/b", "/a/x/y", "/a*b"}
	methodPatterns    = []string{"GET", "POST", "*", "P*", "*T", "get"}
	requestPatterns   = []string{"*", "https://iss/me", "https://iss/*", "*/me", "*iss/me", "*me", "https://iss*", "https://iss", "https://iss/m*", "*/*", "other/you"}
	textPatterns      = []string{"a", "a*", "*a", "*", "b", "ab", "**", "*b*"}
	textValues        = []string{"a", "ab", "ba", "", "b", "a, b", "*", "b*"}
)

func (w world) source() routing.AuthorizationSource {
	return routing.AuthorizationSource{
		Principals: w.patterns(principalPatterns...), RequestPrincipals: w.patterns(requestPatterns...), Namespaces: w.patterns(namespacePatterns...),
		ServiceAccounts: w.patterns(accountPatterns...), TrustDomains: w.patterns(domainPatterns...), IPBlocks: w.prefixes(), RemoteIPBlocks: w.prefixes(),
	}
}

func (w world) operation() routing.AuthorizationOperation {
	o := routing.AuthorizationOperation{Hosts: w.patterns(hostPatterns...), Methods: w.patterns(methodPatterns...), Paths: w.patterns(pathPatterns...)}
	if w.IntN(4) == 0 {
		o.Ports = routing.PortSet{In: []uint16{80}}
	}
	if w.IntN(8) == 0 {
		o.Ports.Out = []uint16{443}
	}
	return o
}

func (w world) condition() routing.AuthorizationCondition {
	keys := []struct {
		key string
		of  []string
	}{
		{"request.headers[X-A]", textPatterns}, {"request.headers[:method]", methodPatterns}, {"request.headers[:path]", pathPatterns[:5]},
		{"request.headers[host]", hostPatterns[:4]}, {"source.ip", addressPatterns}, {"remote.ip", addressPatterns},
		{"source.namespace", namespacePatterns}, {"source.serviceAccount", accountPatterns}, {"source.trustDomain", domainPatterns},
		{"source.principal", principalPatterns}, {"request.auth.principal", requestPatterns}, {"request.auth.audiences", textPatterns},
		{"request.auth.presenter", textPatterns}, {"request.auth.claims[a]", textPatterns}, {"request.auth.claims[a][b]", textPatterns},
		{"destination.ip", addressPatterns}, {"destination.port", []string{"80", "443"}}, {"connection.sni", hostPatterns[:4]},
	}
	k := keys[w.IntN(len(keys))]
	return routing.AuthorizationCondition{Key: k.key, Values: routing.Patterns{In: []string{w.one(k.of...)}, Out: w.some(1, k.of...)}}
}

func (w world) rule() (r routing.AuthorizationRule) {
	for range w.IntN(3) {
		r.From = append(r.From, w.source())
	}
	for range w.IntN(3) {
		r.To = append(r.To, w.operation())
	}
	for range w.IntN(2) {
		r.When = append(r.When, w.condition())
	}
	return r
}

func (w world) policies() (list []*routing.Policy) {
	for i := range w.IntN(5) {
		a := &routing.Authorization{Action: []routing.AuthorizationAction{routing.Allow, routing.Allow, routing.Deny, routing.Custom, routing.Audit}[w.IntN(5)]}
		for range w.IntN(3) {
			a.Rules = append(a.Rules, w.rule())
		}
		a.DryRun = w.IntN(6) == 0
		if a.Action == routing.Custom && w.IntN(3) > 0 {
			a.External = &routing.ExternalAuth{}
		}
		if w.IntN(30) == 0 {
			a.Broken = "by chance"
		}
		name := routing.PolicyName(fmt.Sprintf("AuthorizationPolicy/shop/%d", i))
		list = append(list, &routing.Policy{Name: name, Origin: routing.Origin{Namespace: w.one("shop", "bank")}, Authorization: a})
	}
	return list
}

func (w world) attributes() *Attributes {
	addr := func() netip.Addr { return netip.MustParseAddr(w.one(addresses...)) }
	a := &Attributes{
		Peer:        &message.Peer{Identity: w.one(identities...), Remote: netip.AddrPortFrom(addr(), 1234)},
		Destination: addr(), Port: []uint16{80, 443}[w.IntN(2)],
	}
	if w.IntN(4) > 0 {
		a.RemoteIP = addr()
	}
	if w.IntN(2) == 0 {
		a.Peer.TLS = &tls.ConnectionState{ServerName: w.one("shop.example", "SHOP.EXAMPLE", "other", "")}
	}
	if w.IntN(4) == 0 {
		return a
	}
	a.Host, a.Path = w.one(hostValues...), w.one(pathValues...)
	a.Request = &message.Request{Method: w.one("GET", "POST", "PUT"), Authority: a.Host, Path: a.Path, Query: w.one("", "?q")}
	for range w.IntN(3) {
		a.Request.Fields.Append(w.one("x-a", "X-A"), w.one(textValues...))
	}
	if w.IntN(2) == 0 {
		a.Token = claims{
			"[iss]": {w.one("https://iss", "iss", "other")}, "[sub]": w.some(2, "me", "you", ""), "[aud]": w.some(2, textValues...),
			"[azp]": w.some(1, textValues...), "[a]": w.some(2, textValues...), "[a b]": w.some(2, textValues...),
		}
	}
	return a
}

// judge compares a Set with the oracle, for some who ask.
func judge(t *testing.T, seed uint64) {
	w := world{rand.New(rand.NewPCG(seed, 0))}
	policies := w.policies()
	o := oracle{domains: [][]string{nil, {"td"}, {"td", "old"}}[w.IntN(3)]}
	set := New(policies, nil, o.domains)
	for range 20 {
		a := w.attributes()
		var asked []routing.PolicyName
		for _, q := range set.Custom(nil, a) {
			asked = append(asked, q.Policy)
		}
		d := set.Check(a)
		allowed, by, ask := o.decide(policies, a)
		if d.Allowed != allowed || d.Policy != by || !slices.Equal(asked, ask) {
			t.Fatalf("seed %d: policies\n%s\nattributes %+v, peer %+v, request %+v: %+v, asked %q; oracle: %v by %q, asked %q",
				seed, print(policies), a, a.Peer, a.Request, d, asked, allowed, by, ask)
		}
		for _, p := range policies {
			audited := p.Authorization.Action == routing.Audit && (p.Authorization.Broken != "" || o.policy(p, a))
			if slices.Contains(d.Audited, p.Name) != audited {
				t.Fatalf("seed %d: %s is among the audited %q: want %v", seed, p.Name, d.Audited, audited)
			}
		}
	}
}

func print(policies []*routing.Policy) (s string) {
	for _, p := range policies {
		s += fmt.Sprintf("%s in %s: %+v\n", p.Name, p.Origin.Namespace, *p.Authorization)
	}
	return s
}

// Any policies decide as the oracle does, which reads them word by word.
func TestSetsDecideAsTheOracleDoes(t *testing.T) {
	for seed := range uint64(3000) {
		judge(t, seed)
	}
}

func FuzzSet(f *testing.F) {
	f.Add(uint64(1))
	f.Fuzz(judge)
}
