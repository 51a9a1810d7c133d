package admin

import (
	"net/netip"
	"regexp"
	"strings"
	"testing"

	"fairway.dev/routing"
)

func TestExplainFindsThePort(t *testing.T) {
	snap, _ := routing.Compile(spec())
	tests := []struct {
		method, url string
		headers     []string
		want        string // a regular expression
		err         string
	}{
		{"", "http://shop.example:8080/cart", []string{"canary: yes"}, `^GET shop\.example/cart on \*:8080\n[\s\S]*taken:[^\n]*canary`, ""},
		// What the proxy does before it looks for a rule.
		{"", "http://shop.example/x/%2E./cart/.", []string{"canary: yes"}, `^GET shop\.example/cart/ on[\s\S]*taken:[^\n]*canary`, ""},
		{"", "https://shop.example/secure", nil, `taken:[^\n]*header x-forwarded-proto "https"`, ""},
		{"", "http://shop.example/secure", nil, `header x-forwarded-proto is "http", want "https"`, ""},
		{"", "http://shop.example/secure", []string{"X-Forwarded-Proto: https"}, `taken:[^\n]*header x-forwarded-proto`, ""}, // of a trusted hop
		{"", "http://shop.example/a%00b", nil, "", `an encoded NUL: 400`},
		{"", "http://SHOP.example", nil, `^GET shop\.example/ on \*:8080\n`, ""}, // no port 80: something maps it
		{"POST", "https://shop.example/cart?x=1", nil, `^POST shop\.example/cart\S* on \*:443\n[\s\S]*taken:`, ""},
		{"", "https://other.example/", []string{"Host: shop.example:443"}, `^GET shop\.example/ on \*:443\n`, ""},
		{"", "http://shop.example:99/", nil, "", `no port 99 for HTTP; the gateway has: \*:443 \(HTTPS\), \*:8080 \(HTTP\)`},
		{"", "http://shop.example:443/", nil, "", `no port 443 for HTTP`}, // it speaks HTTPS
		{"", "ftp://shop.example/", nil, "", `want http://host/path`},
		{"", "http://shop.example/%zz", nil, "", `invalid URL escape`},
		{"", "http://shop.example/", []string{"canary"}, "", `header "canary": want name: value`},
	}
	for _, tt := range tests {
		got, err := Explain(snap, Question{Method: tt.method, URL: tt.url, Headers: tt.headers})
		switch {
		case tt.err != "" && (err == nil || !regexp.MustCompile(tt.err).MatchString(err.Error())):
			t.Errorf("Explain(%s %s): error %v, want %s", tt.method, tt.url, err, tt.err)
		case tt.err == "" && (err != nil || !regexp.MustCompile(tt.want).MatchString(got)):
			t.Errorf("Explain(%s %s): %v\n%s\nwant a match of %s", tt.method, tt.url, err, got, tt.want)
		}
	}
}

func TestExplainWithoutPorts(t *testing.T) {
	snap, _ := routing.Compile(&routing.Spec{})
	if _, err := Explain(snap, Question{URL: "http://shop.example/"}); err == nil || err.Error() != "no port 80 for HTTP; the gateway has: none" {
		t.Errorf("error %v, want that there is no port", err)
	}
}

// HTTPMatchRequest.scheme and authority of a VirtualService.
func TestExplainKnowsSchemeAndAuthority(t *testing.T) {
	s := spec()
	r := s.Routes["HTTPRoute/shop/cart"]
	r.Rules[0].Matches = []routing.Match{{Headers: []routing.ValueMatch{{Name: ":scheme", Value: "https"}, {Name: ":authority", Value: "Shop.example:443"}}}}
	snap, _ := routing.Compile(s)
	for _, host := range []string{"https://Shop.example:443/", "https://other.example/"} {
		got, err := Explain(snap, Question{URL: host, Headers: []string{"Host: Shop.example:443"}})
		if err != nil || !regexp.MustCompile(`taken:[^\n]*header :authority`).MatchString(got) {
			t.Errorf("%s: %v\n%s\nwant it taken", host, err, got)
		}
	}
	if got, err := Explain(snap, Question{URL: "https://shop.example/"}); err != nil || !regexp.MustCompile(`header :authority is "shop\.example"`).MatchString(got) {
		t.Errorf("%v\n%s\nwant it passed over for its authority", err, got)
	}
}

// A waypoint's doors are found by what clients dial, and its policies are told
// with what they come to.
func TestExplainDoorsAndPolicies(t *testing.T) {
	snap, problems := routing.Compile(&routing.Spec{
		Listeners: map[routing.ListenerName]*routing.Listener{"shop/waypoint/cart.shop:80": {
			Name: "shop/waypoint/cart.shop:80", Gateway: "shop/waypoint", Protocol: routing.HTTP, Port: 80,
			Inside: true, Addresses: []netip.Addr{netip.MustParseAddr("10.96.0.5")}, Names: []string{"cart.shop.svc.cluster.local"}, To: "shop/cart:80",
			Policies: []routing.PolicyName{"AuthorizationPolicy/shop/viewers", "AuthorizationPolicy/shop/gone"},
		}},
		Clusters: map[routing.ClusterName]*routing.Cluster{"shop/cart:80": {Name: "shop/cart:80"}},
		Policies: map[routing.PolicyName]*routing.Policy{"AuthorizationPolicy/shop/viewers": {
			Name: "AuthorizationPolicy/shop/viewers",
			Authorization: &routing.Authorization{Action: routing.Allow, Rules: []routing.AuthorizationRule{{
				From: []routing.AuthorizationSource{{Namespaces: routing.Patterns{In: []string{"web"}}}},
			}}},
		}},
	})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	for _, url := range []string{"http://10.96.0.5/", "http://cart.shop:80/x", "http://Cart.shop.svc/", "http://cart.shop.svc.cluster.local/"} {
		got, err := Explain(snap, Question{URL: url, Source: "spiffe://cluster.local/ns/web/sa/front", Address: netip.MustParseAddr("10.1.1.1")})
		for _, want := range []string{
			"all requests: shop/cart:80", "policy AuthorizationPolicy/shop/viewers", "ALLOW", "policy AuthorizationPolicy/shop/gone: not there",
			"without a token: AuthorizationPolicy/shop/gone refuses all",
		} {
			if err != nil || !strings.Contains(got, want) {
				t.Errorf("Explain(%s): %v\n%s\nwant %q", url, err, got, want)
			}
		}
	}
}

func TestExplainOfANameThatIsNone(t *testing.T) {
	snap, _ := routing.Compile(&routing.Spec{Listeners: map[routing.ListenerName]*routing.Listener{"d": {
		Name: "d", Protocol: routing.HTTP, Port: 80, Inside: true, Addresses: []netip.Addr{netip.MustParseAddr("10.96.0.5")}, Names: []string{"cart.shop.svc.cluster.local"},
	}}})
	for _, url := range []string{"http://cart/", "http://cart.sho/", "http://cart.shop:81/", "http://shop.svc.cluster.local/"} {
		if got, err := Explain(snap, Question{URL: url, Address: netip.MustParseAddr("10.1.1.1")}); err == nil {
			t.Errorf("Explain(%s) = %s, want that there is no such port", url, got)
		}
	}
}

// A pod's door is for any port, and its policies are asked about that one.
func TestExplainDoorsForAnyPort(t *testing.T) {
	snap, problems := routing.Compile(&routing.Spec{
		Listeners: map[routing.ListenerName]*routing.Listener{"pod": {
			Name: "pod", Gateway: "shop/waypoint", Protocol: routing.HTTP, Inside: true, Addresses: []netip.Addr{netip.MustParseAddr("10.0.0.7")},
			To: "Pod/shop/cart", Policies: []routing.PolicyName{"AuthorizationPolicy/shop/admin"},
		}},
		Clusters: map[routing.ClusterName]*routing.Cluster{"Pod/shop/cart": {Name: "Pod/shop/cart"}},
		Policies: map[routing.PolicyName]*routing.Policy{"AuthorizationPolicy/shop/admin": {
			Name: "AuthorizationPolicy/shop/admin",
			Authorization: &routing.Authorization{Action: routing.Deny, Rules: []routing.AuthorizationRule{{
				To: []routing.AuthorizationOperation{{Ports: routing.PortSet{In: []uint16{9000}}}},
			}}},
		}},
	})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	for url, want := range map[string]string{
		"http://10.0.0.7:9000/": "without a token: AuthorizationPolicy/shop/admin refuses",
		"http://10.0.0.7:8080/": "without a token: allowed",
		"http://10.0.0.7/":      "without a token: allowed",
	} {
		got, err := Explain(snap, Question{URL: url, Source: "spiffe://cluster.local/ns/web/sa/front"})
		if err != nil || !strings.Contains(got, want) || !strings.Contains(got, "all requests: Pod/shop/cart") {
			t.Errorf("Explain(%s): %v\n%s\nwant %q", url, err, got, want)
		}
	}
}
