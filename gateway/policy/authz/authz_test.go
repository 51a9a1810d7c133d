package authz

import (
	"crypto/tls"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"fairway.dev/gateway/message"
	"fairway.dev/routing"
)

// asks are the attributes of a request of cart to shop.example, edited.
func asks(edit func(a *Attributes)) *Attributes {
	a := &Attributes{
		Peer: &message.Peer{
			Remote:   netip.MustParseAddrPort("10.0.0.1:4711"),
			Identity: "spiffe://td/ns/shop/sa/cart",
			TLS:      &tls.ConnectionState{ServerName: "shop.example"},
		},
		RemoteIP: netip.MustParseAddr("203.0.113.4"), Destination: netip.MustParseAddr("10.96.0.5"), Port: 80,
		Request: &message.Request{Method: "GET", Authority: "shop.example:80", Path: "/a/b"},
		Host:    "shop.example:80", Path: "/a/b",
		Token: claims{"[iss]": {"https://iss/x"}, "[sub]": {"me"}, "[aud]": {"web", "app"}, "[azp]": {"app"}, "[groups]": {"dev", "ops"}, "[a b]": {"deep"}},
	}
	a.Request.Fields.Append("X-User", "me")
	if edit != nil {
		edit(a)
	}
	return a
}

// connects are the attributes of a connection of which no requests are seen.
func connects(a *Attributes) { a.Request, a.Host, a.Path, a.Token = nil, "", "", nil }

func anonymous(a *Attributes) { a.Peer.Identity = "" }

func tokenless(a *Attributes) { a.Token = nil }

func atHost(s string) func(*Attributes) { return func(a *Attributes) { a.Host = s } }

func atPath(s string) func(*Attributes) { return func(a *Attributes) { a.Path = s } }

func is(identity string) func(*Attributes) { return func(a *Attributes) { a.Peer.Identity = identity } }

func in(list ...string) routing.Patterns { return routing.Patterns{In: list} }

func out(list ...string) routing.Patterns { return routing.Patterns{Out: list} }

func from(s routing.AuthorizationSource) routing.AuthorizationRule {
	return routing.AuthorizationRule{From: []routing.AuthorizationSource{s}}
}

func to(o routing.AuthorizationOperation) routing.AuthorizationRule {
	return routing.AuthorizationRule{To: []routing.AuthorizationOperation{o}}
}

func when(key string, values routing.Patterns) routing.AuthorizationRule {
	return routing.AuthorizationRule{When: []routing.AuthorizationCondition{{Key: key, Values: values}}}
}

func policy(name string, action routing.AuthorizationAction, rules ...routing.AuthorizationRule) *routing.Policy {
	return &routing.Policy{
		Name: routing.PolicyName(name), Origin: routing.Origin{Kind: "AuthorizationPolicy", Namespace: "shop", Name: name},
		Authorization: &routing.Authorization{Action: action, Rules: rules},
	}
}

// What each field and each key holds for (AuthorizationPolicy of security.istio.io/v1).
func TestRules(t *testing.T) {
	type (
		src = routing.AuthorizationSource
		op  = routing.AuthorizationOperation
	)
	blocks := func(list ...string) (p routing.Prefixes) {
		for _, s := range list {
			b, err := routing.ParseBlock(s)
			if err != nil {
				t.Fatal(err)
			}
			p.In = append(p.In, b)
		}
		return p
	}
	tests := []struct {
		what string
		rule routing.AuthorizationRule
		who  func(*Attributes)
		want bool
	}{
		{"rules: [{}] holds for all", routing.AuthorizationRule{}, nil, true},

		{"source.principals", from(src{Principals: in("td/ns/shop/sa/cart")}), nil, true},
		{"another principal", from(src{Principals: in("td/ns/shop/sa/web")}), nil, false},
		{"a principal by prefix", from(src{Principals: in("td/ns/shop/*")}), nil, true},
		{"a principal by suffix", from(src{Principals: in("*/sa/cart")}), nil, true},
		{"any principal", from(src{Principals: in("*")}), nil, true},
		{"any principal, of nobody that is known", from(src{Principals: in("*")}), anonymous, false},
		{"a principal has no scheme", from(src{Principals: in("spiffe://td/ns/shop/sa/cart")}), nil, false},
		{"notPrincipals", from(src{Principals: out("td/ns/shop/sa/cart")}), nil, false},
		{"notPrincipals of nobody that is known", from(src{Principals: out("*")}), anonymous, true},
		{"an alias of the trust domain", from(src{Principals: in("td/ns/shop/sa/cart")}), is("spiffe://old/ns/shop/sa/cart"), true},
		{"the trust domain for its alias", from(src{Principals: in("old/ns/shop/sa/cart")}), nil, true},
		{"cluster.local is the mesh's domain", from(src{Principals: in("cluster.local/ns/shop/sa/cart")}), nil, true},
		{"a domain that is no alias", from(src{Principals: in("other/ns/shop/sa/cart")}), nil, false},

		{"source.requestPrincipals: the last slash splits", from(src{RequestPrincipals: in("https://iss/x/me")}), nil, true},
		{"requestPrincipals by issuer", from(src{RequestPrincipals: in("https://iss/x/*")}), nil, true},
		{"requestPrincipals by subject", from(src{RequestPrincipals: in("*/me")}), nil, true},
		{"requestPrincipals: there is a token", from(src{RequestPrincipals: in("*")}), nil, true},
		{"requestPrincipals without a token", from(src{RequestPrincipals: in("*")}), tokenless, false},
		{"notRequestPrincipals without a token", from(src{RequestPrincipals: out("*")}), tokenless, true},

		{"source.namespaces", from(src{Namespaces: in("shop")}), nil, true},
		{"another namespace", from(src{Namespaces: in("sho")}), nil, false},
		{"namespaces by prefix", from(src{Namespaces: in("sh*")}), nil, true},
		{"namespaces of nobody that is known", from(src{Namespaces: in("*")}), anonymous, false},
		{"notNamespaces", from(src{Namespaces: out("shop")}), nil, false},
		{"notNamespaces of nobody that is known", from(src{Namespaces: out("shop")}), anonymous, true},

		{"source.serviceAccounts", from(src{ServiceAccounts: in("shop/cart")}), nil, true},
		{"serviceAccounts of the policy's namespace", from(src{ServiceAccounts: in("cart")}), nil, true},
		{"serviceAccounts of another namespace", from(src{ServiceAccounts: in("cart")}), is("spiffe://td/ns/bank/sa/cart"), false},
		{"a service account is a whole segment", from(src{ServiceAccounts: in("car")}), nil, false},
		{"notServiceAccounts", from(src{ServiceAccounts: out("cart")}), nil, false},

		{"source.trustDomains", from(src{TrustDomains: in("td")}), nil, true},
		{"trustDomains of an alias", from(src{TrustDomains: in("td")}), is("spiffe://old/ns/shop/sa/cart"), true},
		{"any trust domain", from(src{TrustDomains: in("*")}), nil, true},
		{"any trust domain, of nobody that is known", from(src{TrustDomains: in("*")}), anonymous, false},
		{"notTrustDomains", from(src{TrustDomains: out("t*")}), nil, false},

		{"source.ipBlocks is the connection's peer", from(src{IPBlocks: blocks("10.0.0.0/8")}), nil, true},
		{"ipBlocks of the client", from(src{IPBlocks: blocks("203.0.113.4")}), nil, false},
		{"source.remoteIpBlocks is the client", from(src{RemoteIPBlocks: blocks("203.0.113.4")}), nil, true},
		{"remoteIpBlocks of a client that nobody knows", from(src{RemoteIPBlocks: blocks("0.0.0.0/0", "::/0")}), func(a *Attributes) { a.RemoteIP = netip.Addr{} }, false},
		{"an IPv4 address in IPv6", from(src{IPBlocks: blocks("10.0.0.1")}), func(a *Attributes) { a.Peer.Remote = netip.MustParseAddrPort("[::ffff:10.0.0.1]:1") }, true},

		{"operation.hosts without a port hold for any", to(op{Hosts: in("shop.example")}), nil, true},
		{"hosts in any case", to(op{Hosts: in("SHOP.example")}), atHost("Shop.Example"), true},
		{"hosts with a port", to(op{Hosts: in("shop.example:80")}), nil, true},
		{"hosts with another port", to(op{Hosts: in("shop.example:81")}), nil, false},
		{"hosts with any port, of one without", to(op{Hosts: in("shop.example:*")}), atHost("shop.example"), false},
		{"hosts by suffix", to(op{Hosts: in("*.example")}), nil, true},
		{"a dot at the end is no way round", to(op{Hosts: in("shop.example")}), atHost("shop.example.:80"), true},
		{"notHosts", to(op{Hosts: out("shop.example")}), nil, false},
		{"the Kelvin sign is no k", to(op{Hosts: in("k.example")}), atHost("\u212a.example"), false},

		{"operation.ports", to(op{Ports: routing.PortSet{In: []uint16{80}}}), nil, true},
		{"notPorts", to(op{Ports: routing.PortSet{Out: []uint16{80}}}), nil, false},
		{"operation.methods", to(op{Methods: in("GET")}), nil, true},
		{"methods in their own case", to(op{Methods: in("get")}), nil, false},
		{"notMethods", to(op{Methods: out("GET")}), nil, false},

		{"operation.paths", to(op{Paths: in("/a/b")}), nil, true},
		{"paths by prefix", to(op{Paths: in("/a*")}), nil, true},
		{"paths by suffix", to(op{Paths: in("*/b")}), nil, true},
		{"any path", to(op{Paths: in("*")}), nil, true},
		{"notPaths", to(op{Paths: out("/a*")}), nil, false},
		{"{*} is one segment", to(op{Paths: in("/a/{*}")}), nil, true},
		{"{*} is not two", to(op{Paths: in("/a/{*}")}), atPath("/a/b/c"), false},
		{"{*} is not empty", to(op{Paths: in("/a/{*}")}), atPath("/a/"), false},
		{"{*} is of any character but a slash", to(op{Paths: in("/a/{*}")}), atPath("/a/b|c"), true},
		{"{**} is any text", to(op{Paths: in("/a/{**}")}), atPath("/a/b/c"), true},
		{"{**} may be nothing", to(op{Paths: in("/a/{**}")}), atPath("/a/"), true},
		{"{**} has its slash in front", to(op{Paths: in("/a/{**}")}), atPath("/a"), false},
		{"/foo/{**}/ of the documentation", to(op{Paths: in("/foo/{**}/")}), atPath("/foo//"), true},
		{"/foo/{*}/bar/{**} of the documentation", to(op{Paths: in("/foo/{*}/bar/{**}")}), atPath("/foo/buzz/bar/baz"), true},

		{"request.headers[x]", when("request.headers[X-User]", in("me")), nil, true},
		{"request.headers[x] that is there", when("request.headers[x-user]", in("*")), func(a *Attributes) { a.Request.Fields[0].Value = "" }, true},
		{"request.headers[x] that is not there", when("request.headers[x-a]", in("*")), nil, false},
		{"request.headers[x] that is not there, notValues", when("request.headers[x-a]", out("evil")), nil, true},
		{"request.headers[:authority]", when("request.headers[:authority]", in("shop.example:80")), nil, true},
		{"source.ip", when("source.ip", in("10.0.0.0/8")), nil, true},
		{"remote.ip", when("remote.ip", in("203.0.113.4")), nil, true},
		{"remote.ip, notValues", when("remote.ip", out("203.0.113.0/24")), nil, false},
		{"source.namespace", when("source.namespace", in("shop")), nil, true},
		{"source.serviceAccount", when("source.serviceAccount", in("shop/cart")), nil, true},
		{"source.trustDomain", when("source.trustDomain", in("td")), nil, true},
		{"source.principal", when("source.principal", in("*/sa/cart")), nil, true},
		{"request.auth.principal", when("request.auth.principal", in("https://iss/x/me")), nil, true},
		{"request.auth.audiences: one of them", when("request.auth.audiences", in("app")), nil, true},
		{"request.auth.presenter", when("request.auth.presenter", in("app")), nil, true},
		{"request.auth.claims[a]: one of a list", when("request.auth.claims[groups]", in("ops")), nil, true},
		{"request.auth.claims[a], notValues", when("request.auth.claims[groups]", out("ops")), nil, false},
		{"request.auth.claims[a], notValues without a token", when("request.auth.claims[groups]", out("ops")), tokenless, true},
		{"request.auth.claims[a][b]", when("request.auth.claims[a][b]", in("deep")), nil, true},
		{"destination.ip", when("destination.ip", in("10.96.0.0/12")), nil, true},
		{"destination.port", when("destination.port", in("80")), nil, true},
		{"connection.sni", when("connection.sni", in("*.example")), nil, true},
		{"connection.sni without TLS", when("connection.sni", in("*")), func(a *Attributes) { a.Peer.TLS = nil }, false},

		{"of a rule all has to hold", routing.AuthorizationRule{
			From: []src{{Namespaces: in("shop")}}, To: []op{{Methods: in("GET")}}, When: []routing.AuthorizationCondition{{Key: "source.ip", Values: in("10.9.9.9")}},
		}, nil, false},
		{"of from one is enough", routing.AuthorizationRule{From: []src{{Namespaces: in("bank")}, {Namespaces: in("shop")}}}, nil, true},
		{"of to one is enough", routing.AuthorizationRule{To: []op{{Methods: in("PUT")}, {Methods: in("GET")}}}, nil, true},
		{"of a source all has to hold", from(src{Namespaces: in("shop"), Principals: out("*cart")}), nil, false},
	}
	for _, tt := range tests {
		d := New([]*routing.Policy{policy("a", routing.Allow, tt.rule)}, nil, []string{"td", "old"}).Check(asks(tt.who))
		if d.Allowed != tt.want || d.Broken != "" {
			t.Errorf("%s: %+v, want %v", tt.what, d, tt.want)
		}
		d = New([]*routing.Policy{policy("a", routing.Deny, tt.rule)}, nil, []string{"td", "old"}).Check(asks(tt.who))
		if d.Allowed == tt.want {
			t.Errorf("%s, of DENY: %+v, want %v", tt.what, d, !tt.want)
		}
	}
}

// What the actions come to, in their order.
func TestActions(t *testing.T) {
	all := routing.AuthorizationRule{}
	get, put := to(routing.AuthorizationOperation{Methods: in("GET")}), to(routing.AuthorizationOperation{Methods: in("PUT")})
	asked := func(p *routing.Policy) *routing.Policy {
		p.Authorization.External = &routing.ExternalAuth{Cluster: "auth"}
		return p
	}
	tried := func(p *routing.Policy) *routing.Policy {
		p.Authorization.DryRun = true
		return p
	}
	broken := func(p *routing.Policy) *routing.Policy {
		p.Authorization.Broken = "no such provider"
		return p
	}
	tests := []struct {
		what     string
		policies []*routing.Policy
		missing  []routing.PolicyName
		who      func(*Attributes)
		want     string // the Decision, then who is asked, audited and tried
	}{
		{"without policies all pass", nil, nil, nil, "allowed"},
		{"spec: {} refuses all", []*routing.Policy{policy("none", routing.Allow)}, nil, nil, "no ALLOW policy holds of none"},
		{"rules: [{}] lets all pass", []*routing.Policy{policy("all", routing.Allow, all)}, nil, nil, "allowed"},
		{"DENY without rules holds for nothing", []*routing.Policy{policy("d", routing.Deny)}, nil, nil, "allowed"},
		{"DENY comes before ALLOW", []*routing.Policy{policy("a", routing.Allow, all), policy("d", routing.Deny, get)}, nil, nil, "d refuses"},
		{"one ALLOW policy is enough", []*routing.Policy{policy("a", routing.Allow, put), policy("b", routing.Allow, get)}, nil, nil, "allowed"},
		{"no ALLOW policy", []*routing.Policy{policy("b", routing.Allow, put), policy("a", routing.Allow)}, nil, nil, "no ALLOW policy holds of a, b"},
		{"of DENY policies the first by name is named", []*routing.Policy{policy("e", routing.Deny, all), policy("d", routing.Deny, get)}, nil, nil, "d refuses"},
		{"AUDIT tells and refuses nobody", []*routing.Policy{policy("x", routing.Audit, get), policy("y", routing.Audit, put)}, nil, nil, "allowed, audited x"},
		{"AUDIT of one who is refused", []*routing.Policy{policy("x", routing.Audit, get), policy("d", routing.Deny, get)}, nil, nil, "d refuses, audited x"},
		{"CUSTOM is asked where it holds", []*routing.Policy{asked(policy("c", routing.Custom, get)), asked(policy("e", routing.Custom, put))}, nil, nil, "allowed, asked c"},
		{"CUSTOM with nobody to ask refuses", []*routing.Policy{policy("c", routing.Custom, get), policy("a", routing.Allow, all)}, nil, nil, "c refuses all: there is nobody to ask"},
		{"CUSTOM with nobody to ask, about nothing", []*routing.Policy{policy("c", routing.Custom, put)}, nil, nil, "allowed"},
		{"DENY tried", []*routing.Policy{tried(policy("d", routing.Deny, get))}, nil, nil, "allowed, tried d"},
		{"ALLOW tried", []*routing.Policy{tried(policy("a", routing.Allow, put)), tried(policy("b", routing.Allow))}, nil, nil, "allowed, tried a b"},
		{"ALLOW tried, and one holds", []*routing.Policy{tried(policy("a", routing.Allow, put)), tried(policy("b", routing.Allow, get))}, nil, nil, "allowed"},
		{"ALLOW tried does not count", []*routing.Policy{tried(policy("a", routing.Allow, get)), policy("b", routing.Allow, put)}, nil, nil, "no ALLOW policy holds of b"},
		{"CUSTOM tried is not asked", []*routing.Policy{tried(asked(policy("c", routing.Custom, get)))}, nil, nil, "allowed, tried c"},

		{"a policy that is not there refuses all", []*routing.Policy{policy("a", routing.Allow, all)}, []routing.PolicyName{"gone"}, nil, "gone refuses all: it is not there"},
		{"a broken ALLOW policy refuses all", []*routing.Policy{broken(policy("b", routing.Allow, all)), policy("a", routing.Allow, all)}, nil, nil, "b refuses all: no such provider"},
		{"a broken DENY policy refuses all", []*routing.Policy{broken(policy("b", routing.Deny))}, nil, nil, "b refuses all: no such provider"},
		{"where all are refused nobody is asked", []*routing.Policy{broken(policy("b", routing.Deny)), asked(policy("c", routing.Custom, get))}, nil, nil, "b refuses all: no such provider"},
		{"a broken AUDIT policy refuses nobody", []*routing.Policy{broken(policy("x", routing.Audit))}, nil, nil, "allowed, audited x"},
		{"a broken policy that is tried refuses nobody", []*routing.Policy{tried(broken(policy("x", routing.Deny)))}, nil, nil, "allowed, tried x"},
		{"a policy about nothing", []*routing.Policy{{Name: "n"}}, nil, nil, "n refuses all: it is about nothing"},
		{"a rate limit is no matter of this room", []*routing.Policy{{Name: "r", RateLimit: &routing.RateLimit{}}}, nil, nil, "allowed"},

		{"ALLOW of HTTP on a connection never holds", []*routing.Policy{policy("a", routing.Allow, get)}, nil, connects, "no ALLOW policy holds of a"},
		{"not even by what is not of HTTP", []*routing.Policy{policy("a", routing.Allow, routing.AuthorizationRule{
			From: []routing.AuthorizationSource{{Namespaces: in("shop")}, {RequestPrincipals: in("*")}},
		})}, nil, connects, "no ALLOW policy holds of a"},
		{"ALLOW of HTTP, notPaths, on a connection", []*routing.Policy{policy("a", routing.Allow, to(routing.AuthorizationOperation{Paths: out("/x")}))}, nil, connects, "no ALLOW policy holds of a"},
		{"ALLOW of something else on a connection", []*routing.Policy{policy("a", routing.Allow, from(routing.AuthorizationSource{Namespaces: in("shop")}))}, nil, connects, "allowed"},
		{"DENY of HTTP on a connection gets wider", []*routing.Policy{policy("d", routing.Deny, routing.AuthorizationRule{
			From: []routing.AuthorizationSource{{Namespaces: in("shop")}}, To: []routing.AuthorizationOperation{{Methods: in("PUT")}},
		})}, nil, connects, "d refuses"},
		{"DENY on a connection, of somebody else", []*routing.Policy{policy("d", routing.Deny, routing.AuthorizationRule{
			From: []routing.AuthorizationSource{{Namespaces: in("bank")}}, To: []routing.AuthorizationOperation{{Methods: in("PUT")}},
		})}, nil, connects, "allowed"},
	}
	for _, tt := range tests {
		s, a := New(tt.policies, tt.missing, nil), asks(tt.who)
		var names []routing.PolicyName
		for _, q := range s.Custom(nil, a) {
			names = append(names, q.Policy)
		}
		d := s.Check(a)
		got := d.String() + named(", asked", names) + named(", audited", d.Audited) + named(", tried", d.Tried)
		if got != tt.want {
			t.Errorf("%s: %s, want %s", tt.what, got, tt.want)
		}
		if s.Empty() != (len(tt.missing) == 0 && !slices.ContainsFunc(tt.policies, func(p *routing.Policy) bool { return p.RateLimit == nil })) {
			t.Errorf("%s: Empty() = %v", tt.what, s.Empty())
		}
	}
}

func named(what string, names []routing.PolicyName) string {
	for _, n := range names {
		what += " " + string(n)
	}
	if len(names) == 0 {
		return ""
	}
	return what
}

// What cannot be had as it was written refuses all, and says why.
func TestBrokenPolicies(t *testing.T) {
	type (
		src = routing.AuthorizationSource
		op  = routing.AuthorizationOperation
	)
	tests := []struct {
		rule routing.AuthorizationRule
		want string
	}{
		{when("experimental.envoy.filters.network.mysql_proxy[db]", in("a")), `rules[0]: when[0]: key "experimental.envoy.filters.network.mysql_proxy[db]": not known`},
		{when("destination.labels[version]", in("v1")), `rules[0]: when[0]: key "destination.labels[version]": not known`},
		{when("source.ip", in("10.0.0.300")), `rules[0]: when[0]: source.ip: block "10.0.0.300": want an address`},
		{when("destination.port", in("http")), `rules[0]: when[0]: destination.port: port "http": want 0-65535`},
		{when("source.namespace", routing.Patterns{}), `rules[0]: when[0]: key "source.namespace" without values`},
		{when("request.headers", in("a")), `rules[0]: when[0]: key "request.headers": want request.headers[NAME]`},
		{to(op{Paths: in("/a/{*}.txt")}), `rules[0]: to[0]: paths: path template "/a/{*}.txt": want "{*}" and "{**}" as whole segments, and no other star or brace`},
		{to(op{Paths: in("/{**}/a/{*}")}), `rules[0]: to[0]: paths: path template "/{**}/a/{*}": want "{**}" to be the last of its operators`},
		{to(op{Hosts: out("")}), `rules[0]: to[0]: hosts: an empty pattern`},
		{from(src{ServiceAccounts: in("shop/*")}), `rules[0]: from[0]: service accounts: service account "shop/*": want NAME or NAMESPACE/NAME, without "*"`},
		{from(src{IPBlocks: routing.Prefixes{In: []netip.Prefix{{}}}}), `rules[0]: from[0]: IP blocks: an empty block: want an address and how many bits of it count`},
	}
	for _, tt := range tests {
		for _, action := range []routing.AuthorizationAction{routing.Allow, routing.Deny, routing.Custom} {
			p := policy("p", action, tt.rule)
			if got := Compile(p, nil).Broken(); got != tt.want {
				t.Errorf("%+v: %s, want %s", tt.rule, got, tt.want)
			}
			for _, who := range []func(*Attributes){nil, anonymous, connects} {
				if d := New([]*routing.Policy{p}, nil, nil).Check(asks(who)); d.Allowed || !strings.HasPrefix(d.String(), "p refuses all: rules[0]: ") {
					t.Errorf("%s, %+v: %s", action, tt.rule, d.String())
				}
			}
		}
	}
	if d := New([]*routing.Policy{policy("p", "MAYBE")}, nil, nil).Check(asks(nil)); d.Allowed || d.Broken == "" {
		t.Errorf("an action that is not known: %+v", d)
	}
}

// ordinary is a policy of each of the common kinds of rules.
func ordinary(name string) *routing.Policy {
	return policy(name, routing.Deny, routing.AuthorizationRule{
		From: []routing.AuthorizationSource{{Principals: in("td/ns/bank/sa/x", "td/ns/bank/*"), Namespaces: out("shop")}, {IPBlocks: routing.Prefixes{In: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}}},
		To:   []routing.AuthorizationOperation{{Hosts: in("*.example", "shop.example:80"), Paths: in("/x/{*}", "/admin*"), Methods: in("PUT")}, {Methods: in("DELETE")}},
		When: []routing.AuthorizationCondition{{Key: "request.headers[x-user]", Values: in("me")}, {Key: "request.auth.claims[groups]", Values: in("ops")}},
	})
}

func ordinarySet(n int) *Set {
	list := []*routing.Policy{policy("allow", routing.Allow, from(routing.AuthorizationSource{ServiceAccounts: in("shop/cart"), TrustDomains: in("td")}))}
	for i := range n - 1 {
		list = append(list, ordinary("deny"+string(rune('0'+i%10))))
	}
	return New(list, nil, []string{"td", "old"})
}

func TestCheckDoesNotAllocate(t *testing.T) {
	s, refused := ordinarySet(10), New([]*routing.Policy{policy("a", routing.Allow), policy("c", routing.Custom, routing.AuthorizationRule{})}, nil, nil)
	a, questions := asks(nil), make([]Question, 0, 4)
	if !s.Check(a).Allowed || refused.Check(a).Allowed {
		t.Fatal("not what was meant")
	}
	if n := testing.AllocsPerRun(100, func() { s.Check(a); refused.Check(a); refused.Custom(questions, a) }); n != 0 {
		t.Errorf("Check allocates %v times, want 0", n)
	}
}

func benchmark(b *testing.B, n int) {
	s, a := ordinarySet(n), asks(nil)
	b.ReportAllocs()
	for b.Loop() {
		if d := s.Check(a); !d.Allowed {
			b.Fatal(d)
		}
	}
}

func BenchmarkCheck1Policy(b *testing.B)     { benchmark(b, 1) }
func BenchmarkCheck100Policies(b *testing.B) { benchmark(b, 100) }
