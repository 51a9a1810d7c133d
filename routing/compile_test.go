package routing

import (
	"crypto/tls"
	"encoding/json"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// withAction is a Spec of one route with that action, sent to cluster "b"
// where the action decides nothing itself.
func withAction(a Action) *Spec {
	r := route("r", "h", prefix("/"))
	if a.Backends == nil && a.Redirect == nil && a.Status == 0 {
		a.Backends = r.Rules[0].Action.Backends
	}
	r.Rules[0].Action = a
	return oneListener(r)
}

// oneProblem returns the only problem of a Spec.
func oneProblem(t *testing.T, s *Spec) (*Snapshot, *Problem) {
	t.Helper()
	snap, problems := Compile(s)
	if len(problems) != 1 {
		t.Fatalf("problems %v, want one", problems)
	}
	return snap, problems[0]
}

func text(s string) *string { return &s }

// Law 1: half of an action may be worse than none.
func TestInvalidActionClosesItsRule(t *testing.T) {
	tests := map[string]Action{
		"2 of status, redirect":               {Status: 404, Redirect: &Redirect{Status: 301}},
		"status 99":                           {Status: 99},
		"status 1 of a share":                 {Backends: []Backend{{Cluster: "b", Weight: 1, Status: 1}}},
		`redirect to scheme "ftp"`:            {Redirect: &Redirect{Scheme: "ftp", Status: 301}},
		"redirect with status 200":            {Redirect: &Redirect{Status: 200}},
		`redirect: host "a b"`:                {Redirect: &Redirect{Host: "a b", Status: 301}},
		"rewrite: 2 of a full path, a prefix": {Rewrite: &Rewrite{Path: PathEdit{Full: text("/"), Prefix: text("/")}}},
		`rewrite: path "/a?b"`:                {Rewrite: &Rewrite{Path: PathEdit{Full: text("/a?b")}}},
		`rewrite: path "/a\r\nx: y"`:          {Rewrite: &Rewrite{Path: PathEdit{Prefix: text("/a\r\nx: y")}}},
		`rewrite: host "a/b"`:                 {Rewrite: &Rewrite{Host: "a/b"}},
		`header "a b": want a token`:          {Request: HeaderChange{Set: []Header{{"a b", ""}}}},
		`header "": want a token`:             {Response: HeaderChange{Remove: []string{""}}},
		`header "a": a value of more than`:    {Response: HeaderChange{Add: []Header{{"a", "b\r\nc: d"}}}},
		"retry -1 times":                      {Retry: &Retry{Attempts: -1}},
		"retry on status 600":                 {Retry: &Retry{Codes: []int{503, 600}}},
		`session name "a;b"`:                  {Session: &Session{Name: "a;b"}},
		"session for -1s":                     {Session: &Session{Name: "a", Absolute: -time.Second}},
		`session path "/;x"`:                  {Session: &Session{Name: "a", Path: "/;x"}},
		`cors: origin "shop.example.com"`:     {CORS: &CORS{AllowOrigins: []string{"shop.example.com"}}},
		`cors: name "GET,PUT"`:                {CORS: &CORS{AllowMethods: []string{"GET,PUT"}}},
		"cors: maximum age -1s":               {CORS: &CORS{MaxAge: -time.Second}},
		"a body without a status":             {Body: "gone"},
		"a body of 1048577 bytes":             {Status: 200, Body: strings.Repeat("a", 1<<20+1)},
		"fault: delay of -1s":                 {Fault: &Fault{Delay: -1 * time.Second}},
		"fault: delay of 2/1":                 {Fault: &Fault{DelayShare: Share{2, 1}}},
		"fault: delay of 0/0, abort of 1/0":   {Fault: &Fault{AbortShare: Share{1, 0}}},
		"fault: status 503 and grpc":          {Fault: &Fault{Status: 503, GRPC: 14}},
		"fault: status 199":                   {Fault: &Fault{Status: 199}},
		"fault: grpc-status -1":               {Fault: &Fault{GRPC: -1}},
		`retry on "moon"`:                     {Retry: &Retry{On: []RetryOn{RetryOn5xx, "moon"}}},
		"rewrite: 2 of a full path":           {Rewrite: &Rewrite{Path: PathEdit{Matched: text("/"), Regex: &RegexEdit{Pattern: "a"}}}},
		`rewrite: path "/a#b"`:                {Rewrite: &Rewrite{Path: PathEdit{Matched: text("/a#b")}}},
		"rewrite: an empty regular":           {Rewrite: &Rewrite{Path: PathEdit{Regex: &RegexEdit{}}}},
		"rewrite: error parsing regexp":       {Rewrite: &Rewrite{Path: PathEdit{Regex: &RegexEdit{Pattern: "("}}}},
		"rewrite: regular expression of":      {Rewrite: &Rewrite{Path: PathEdit{Regex: &RegexEdit{Pattern: "(abcdefgh){1000}"}}}},
		`rewrite: substitution "\\2": group`:  {Rewrite: &Rewrite{Path: PathEdit{Regex: &RegexEdit{"(a)", `\2`}}}},
		`rewrite: substitution "a\\": a`:      {Rewrite: &Rewrite{Path: PathEdit{Regex: &RegexEdit{"(a)", `a\`}}}},
		`rewrite: substitution "\\x": 'x'`:    {Rewrite: &Rewrite{Path: PathEdit{Regex: &RegexEdit{"(a)", `\x`}}}},
		`rewrite: substitution: path "?"`:     {Rewrite: &Rewrite{Path: PathEdit{Regex: &RegexEdit{"(a)", `\1?`}}}},
		`redirect to the port of "moon"`:      {Redirect: &Redirect{Status: 301, PortFrom: "moon"}},
		`cors: origin Exact "a"`:              {CORS: &CORS{AllowOriginTexts: []OriginMatch{{TextExact, "a"}}}},
		`cors: origin "("`:                    {CORS: &CORS{AllowOriginTexts: []OriginMatch{{TextRegex, "("}}}},
		`rewrite: path "/a b"`:                {Backends: []Backend{{Cluster: "b", Weight: 1, Rewrite: &Rewrite{Path: PathEdit{Full: text("/a b")}}}}},
		"redirect with status 0":              {Backends: []Backend{{Weight: 1, Redirect: &Redirect{}}}},
		`header "x:y": want a token`:          {Backends: []Backend{{Cluster: "b", Weight: 1, Request: HeaderChange{Remove: []string{"x:y"}}}}},
		`cors: origin "://"`:                  {Backends: []Backend{{Cluster: "b", Weight: 1, CORS: &CORS{AllowOrigins: []string{"://"}}}}},
		`ask who may pass: no cluster "gone"`: {Auth: &ExternalAuth{Cluster: "gone"}},
		"a body of 65537 bytes":               {Auth: &ExternalAuth{Cluster: "b", MaxBody: 65537}},
		`path "auth" to ask at`:               {Auth: &ExternalAuth{Cluster: "b", Path: "auth"}},
		`external auth: path "/a?b"`:          {Auth: &ExternalAuth{Cluster: "b", Path: "/a?b"}},
		`external auth: name "a b"`:           {Auth: &ExternalAuth{Cluster: "b", Request: []string{"a b"}}},
		`cors: origin "https://a b": want "`:  {CORS: &CORS{AllowOrigins: []string{"*", "https://*.example.com", "https://a b"}}},
	}
	for want, action := range tests {
		snap, p := oneProblem(t, withAction(action))
		if p.Reason != InvalidAction || !strings.HasPrefix(p.Err.Error(), want) {
			t.Errorf("%s: %s, want %s", p.Reason, p.Err, want)
		}
		r := get("h", "/")
		if a := snap.Port(port80).Match(&r).Target.Action; !reflect.DeepEqual(a, &Action{Status: 500}) {
			t.Errorf("%s: action %s, want status 500 and nothing else", want, details(a))
		}
	}
}

func TestPrefixEditWantsPrefixMatches(t *testing.T) {
	s := withAction(Action{Rewrite: &Rewrite{Path: PathEdit{Prefix: text("/x")}}})
	s.Routes["HTTPRoute/ns/r"].Rules[0].Matches = []Match{prefix("/a"), exact("/b")}
	if _, p := oneProblem(t, s); !strings.Contains(p.Error(), "where match 1 is not by prefix") {
		t.Errorf("problem %v", p)
	}
}

// HTTPRouteRule.backendRefs: no weight at all is answered with 500, and that is
// what the author says.
func TestRuleWithoutShareAnswers500(t *testing.T) {
	for _, backends := range [][]Backend{nil, {{Cluster: "b"}}, {{Cluster: "b"}, {Cluster: "b"}}} {
		r := route("r", "h", prefix("/"))
		r.Rules[0].Action = Action{Backends: backends, Request: HeaderChange{Remove: []string{"x"}}}
		snap, problems := Compile(oneListener(r))
		req := get("h", "/")
		if a := snap.Port(port80).Match(&req).Target.Action; a.Status != 500 || len(problems) != 0 {
			t.Errorf("%d backends without weight: %s, problems %v; want 500 and none", len(backends), details(a), problems)
		}
	}
}

func TestShareWithoutClusterAnswers500(t *testing.T) {
	origin := Origin{Kind: "HTTPRoute", Namespace: "ns", Name: "r", Field: "spec.rules[0].backendRefs[1]"}
	s := withAction(Action{Backends: []Backend{
		{Cluster: "b", Weight: 9},
		{Cluster: "gone", Weight: 1, Origin: origin},
		{Cluster: "refused", Weight: 1, Status: 500, Reason: "RefNotPermitted"}, // told by the dialect
		{Redirect: &Redirect{Status: 302}, Weight: 1},
	}})
	snap, p := oneProblem(t, s)
	if p.Reason != BackendNotFound || p.Origin != origin {
		t.Errorf("problem %s %v, want %s at %s", p.Reason, p, BackendNotFound, origin)
	}
	r := get("h", "/")
	var statuses []int
	for _, b := range snap.Port(port80).Match(&r).Target.Action.Backends {
		statuses = append(statuses, b.Status)
	}
	if want := []int{0, 500, 500, 0}; !slices.Equal(statuses, want) {
		t.Errorf("statuses of the shares %v, want %v", statuses, want)
	}
	if b := s.Routes["HTTPRoute/ns/r"].Rules[0].Action.Backends[1]; b.Status != 0 {
		t.Error("Compile changed the Spec")
	}
}

// What nobody waits for, and what is not the route's to write, is left out.
func TestPartsThatAreLeftOut(t *testing.T) {
	tests := map[string]Action{
		`mirror: no cluster "gone"`:       {Mirrors: []Mirror{{Cluster: "gone", Numerator: 1, Denominator: 1}}},
		"mirror of 2/1":                   {Mirrors: []Mirror{{Cluster: "b", Numerator: 2, Denominator: 1}}},
		"mirror of 0/0":                   {Backends: []Backend{{Cluster: "b", Weight: 1, Mirrors: []Mirror{{Cluster: "b"}}}}},
		`edit of header "Content-Length"`: {Request: HeaderChange{Set: []Header{{"Content-Length", "0"}}}},
		`edit of header "connection"`:     {Response: HeaderChange{Remove: []string{"connection"}}},
	}
	for want, action := range tests {
		snap, p := oneProblem(t, withAction(action))
		if !strings.HasPrefix(p.Err.Error(), want) {
			t.Errorf("problem %s, want %s", p.Err, want)
		}
		r := get("h", "/")
		a := snap.Port(port80).Match(&r).Target.Action
		if a.Status != 0 || len(a.Mirrors)+len(a.Backends[0].Mirrors)+len(a.Request.Set)+len(a.Response.Remove) != 0 {
			t.Errorf("%s: action %s, want it left out", want, details(a))
		}
	}
}

func TestMirrorsThatCanWorkStay(t *testing.T) {
	mirrors := []Mirror{{Cluster: "b", Numerator: 1, Denominator: 10}, {Cluster: "b", Denominator: 1}}
	snap, problems := Compile(withAction(Action{Mirrors: mirrors}))
	r := get("h", "/")
	if got := snap.Port(port80).Match(&r).Target.Action.Mirrors; !slices.Equal(got, mirrors) || len(problems) != 0 {
		t.Errorf("mirrors %v, problems %v; want %v and none", got, problems, mirrors)
	}
}

func TestRuleWithInvalidMatchIsLeftOut(t *testing.T) {
	value := func(name, value string) []ValueMatch {
		return []ValueMatch{{Name: name, Value: value, Kind: TextRegex}}
	}
	tests := map[string]Match{
		"match 1: path: error parsing regexp: missing closing ): `(`":         regex("("),
		"match 1: path: error parsing regexp: unexpected ): `a)|(b`":          regex("a)|(b"),
		"match 1: path: regular expression of 10002 instructions":             regex("(abcdefgh){1000}"),
		`match 1: path: "shop": want '/' in front`:                            prefix("shop"),
		`match 1: path: "": want '/' in front`:                                exact(""),
		`match 1: path: method "a/b": want a name without '/'`:                {Path: PathMatch{Kind: PathMethod, Value: "a/b"}},
		`match 1: path: method "": want a name without '/'`:                   {Path: PathMatch{Kind: PathMethod}},
		"match 1: path: kind 9":                                               {Path: PathMatch{Kind: 9, Value: "/"}},
		`match 1: method "GET PUT": want a token`:                             {Method: "GET PUT"},
		"match 1: header without a name":                                      {Headers: value("", "")},
		`match 1: header "X-A": want a token in lower case`:                   {Headers: value("X-A", "")},
		"match 1: header \"a\": error parsing regexp: missing closing ]: `[`": {Headers: value("a", "[")},
		"match 1: query parameter \"a\": error parsing":                       {Query: value("a", "*")},
	}
	for want, match := range tests {
		r := route("r", "h", prefix("/a"), prefix("/b"))
		r.Rules[0].Matches = append(r.Rules[0].Matches, match)
		snap, p := oneProblem(t, oneListener(r))
		if p.Reason != InvalidMatch || !strings.HasPrefix(p.Err.Error(), want) {
			t.Errorf("%s: %s, want %s", p.Reason, p.Err, want)
		}
		a, b := get("h", "/a"), get("h", "/b")
		if port := snap.Port(port80); port.Match(&a).Target != nil || port.Match(&b).Target == nil {
			t.Errorf("%s: want the rule left out, and not the other one", want)
		}
	}
}

func TestListenersThatClash(t *testing.T) {
	listener := func(name string, p Protocol, hostname string, created int64) *Listener {
		l := &Listener{Name: ListenerName(name), Origin: Origin{Name: name}, Port: 80, Protocol: p, Hostname: hostname, TLS: &ListenerTLS{}}
		if created != 0 {
			l.Created = time.Unix(created, 0)
		}
		return l
	}
	tests := []struct {
		about  string
		list   []*Listener
		want   []ListenerName // in force
		reason Reason
	}{
		{"the older one has the port", []*Listener{listener("a", HTTPS, "", 2), listener("b", HTTP, "", 1)}, []ListenerName{"b"}, ProtocolConflict},
		{"the first name where both have no age", []*Listener{listener("b", HTTPS, "", 0), listener("a", HTTP, "", 0)}, []ListenerName{"a"}, ProtocolConflict},
		{"no age is the youngest", []*Listener{listener("a", TCP, "", 0), listener("b", HTTP, "", 9)}, []ListenerName{"b"}, ProtocolConflict},
		{"one hostname", []*Listener{listener("a", HTTP, "h", 2), listener("b", HTTP, "h", 1), listener("c", HTTP, "", 3)}, []ListenerName{"b", "c"}, HostnameConflict},
		{"HTTPS and TLS share a port", []*Listener{listener("a", HTTPS, "h", 0), listener("b", TLS, "i", 0)}, []ListenerName{"a", "b"}, ""},
		{"HTTPS and TLS do not share a hostname", []*Listener{listener("a", HTTPS, "h", 0), listener("b", TLS, "h", 0)}, []ListenerName{"a"}, HostnameConflict},
		{"TCP has no hostnames", []*Listener{listener("a", TCP, "h", 0), listener("b", TCP, "i", 0)}, []ListenerName{"a"}, HostnameConflict},
		{"TCP and UDP do not meet", []*Listener{listener("a", TCP, "", 0), listener("b", UDP, "", 0)}, []ListenerName{"a", "b"}, ""},
	}
	for _, tt := range tests {
		s := &Spec{Listeners: map[ListenerName]*Listener{}}
		for _, l := range tt.list {
			s.Listeners[l.Name] = l
		}
		snap, problems := Compile(s)
		var got []ListenerName
		for _, p := range snap.Ports() {
			for _, l := range p.Listeners() {
				got = append(got, l.Name)
			}
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s: in force %v, want %v", tt.about, got, tt.want)
		}
		if n := truth(tt.reason != ""); len(problems) != n || n == 1 && problems[0].Reason != tt.reason {
			t.Errorf("%s: problems %v, want %q", tt.about, problems, tt.reason)
		}
	}
}

func TestListenerOnSeveralAddresses(t *testing.T) {
	s := oneListener(route("r", "h", prefix("/")))
	l := *s.Listeners["ns/gw/http"]
	l.Addresses = []netip.Addr{netip.MustParseAddr("::1"), netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("::ffff:10.0.0.1")}
	s.Listeners[l.Name] = &l
	snap, _ := Compile(s)
	var keys []string
	for _, p := range snap.Ports() {
		keys = append(keys, p.Key.String())
		r := get("h", "/")
		if p.Match(&r).Target == nil {
			t.Errorf("%s: no target", p.Key)
		}
	}
	if want := []string{"10.0.0.1:80", "[::1]:80"}; !slices.Equal(keys, want) {
		t.Errorf("ports %v, want %v", keys, want)
	}
}

func TestAttachmentToNothing(t *testing.T) {
	r := route("r", "h", prefix("/"))
	r.Attached = append(r.Attached, Attachment{"ns/gw/gone", []string{"h"}}, Attachment{"ns/gw/http", []string{"H", "h"}})
	_, problems := Compile(oneListener(r))
	want := []string{`host "H": character 'H', want a-z, 0-9, '-', '_' and '.'`, `no listener "ns/gw/gone"`}
	var got []string
	for _, p := range problems {
		got = append(got, p.Err.Error())
	}
	if !slices.Equal(got, want) {
		t.Errorf("problems %q, want %q", got, want)
	}
}

// fullSpec has a value in every field that the package can print.
func fullSpec() *Spec {
	s := oneListener(route("r", "*.example.com", Match{
		Path: regex("/.*").Path, Method: "GET",
		Headers: []ValueMatch{{Name: "x-env", Value: "test"}}, Query: []ValueMatch{{Name: "q", Value: "a|b", Kind: TextRegex}},
	}), route("s", "x.example.com", prefix("/shop"), exact("/cart")))
	s.Routes["HTTPRoute/ns/r"].Created = time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	s.Routes["HTTPRoute/ns/s"].Rules[0].Action = Action{
		Backends: []Backend{{Cluster: "b", Weight: 90}, {Cluster: "gone", Weight: 10, Origin: Origin{Kind: "HTTPRoute", Namespace: "ns", Name: "s", File: "shop.yaml", Line: 3}}},
		Rewrite:  &Rewrite{Path: PathEdit{Prefix: text("")}},
		Timeouts: Timeouts{Request: time.Second, Backend: -1},
		CORS:     &CORS{AllowOrigins: []string{"*"}, AllowHeaders: []string{}},
	}
	s.Listeners["ns/gw/https"] = &Listener{
		Name: "ns/gw/https", Addresses: []netip.Addr{netip.MustParseAddr("fe80::1%eth0")}, Port: 443, Protocol: HTTPS,
		Hostname: "x.example.com", TLS: &ListenerTLS{Certificates: []CertificateName{"ns/tls"}},
	}
	s.Clusters["c"] = &Cluster{Name: "c", TLS: &UpstreamTLS{ServerName: "c", Roots: nil, Insecure: true}, Service: "c", Namespace: "ns", Port: 8080}
	s.Endpoints = map[ClusterName]*Endpoints{"c": {Cluster: "c", List: []Endpoint{{Addr: netip.MustParseAddrPort("10.0.0.1:8080"), Ready: true, Workload: "c-1"}}}}
	s.Certificates = map[CertificateName]*Certificate{"ns/tls": {Name: "ns/tls", Chain: []byte("chain")}}
	addIstio(s)
	return s
}

// addIstio adds to s what only Istio's API has words for.
func addIstio(s *Spec) {
	v := ordered("v", "x.example.com",
		Match{
			Path:    PathMatch{PathTextPrefix, "/V", true},
			Headers: []ValueMatch{{Name: ":scheme", Value: "https"}, {Name: "x-a", Kind: TextPrefix, Value: "b", Not: true}, {Name: "x-c", Kind: TextPresent, Not: true}},
			Query:   []ValueMatch{{Name: "q", Kind: TextPresent}}, Sources: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")},
			Destinations: []netip.Prefix{netip.MustParsePrefix("::/0"), netip.MustParsePrefix("192.0.2.1/32")},
			Claims:       []ClaimMatch{{Path: []string{"realm", "role"}, Kind: TextRegex, Value: "a.*", Not: true}},
		}, Match{})
	v.Name = "VirtualService/ns/v"
	v.Rules[0].Action.Fault = &Fault{Delay: time.Second, DelayShare: Share{1, 100}, GRPC: 14, AbortShare: Share{1, 2}}
	v.Rules[0].Action.Rewrite = &Rewrite{Host: "v", Path: PathEdit{Regex: &RegexEdit{"/(a)", `/\1`}}}
	v.Rules[0].Action.Retry = &Retry{Attempts: 2, On: []RetryOn{RetryOnConnectFailure, RetryOnUnavailable}}
	v.Rules[0].Action.CORS = &CORS{AllowOriginTexts: []OriginMatch{{TextPrefix, "https://a"}}, ForwardUnmatched: true}
	v.Rules[1].Action = Action{Status: 200, Body: "ok"}
	r := ordered("redirect", "x.example.com", textPrefix("/old"))
	r.Rules[0].Action = Action{Redirect: &Redirect{Status: 301, PortFrom: RedirectPortListener, Path: PathEdit{Matched: text("/new")}}}
	s.Routes[v.Name], s.Routes[r.Name] = v, r
	l := s.Listeners["ns/gw/https"]
	l.Group, l.TLS.MinVersion, l.TLS.CipherSuites = "server", tls.VersionTLS12, []uint16{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256}
	l.TLS.Client = &ClientValidation{Roots: []byte(testRoots), SANs: []string{"a*"}}
	l.JWT = []JWTRule{{Issuer: "i", Keys: []byte(`{"keys":[]}`), Claims: []ClaimHeader{{"x-sub", "sub"}}}}
	l.Telemetry = &Telemetry{
		AccessLog: &AccessLog{Filter: "response.code >= 400"},
		Tracing:   &Tracing{Cluster: "c", Percent: 1.5, Header: []Header{{"authorization", "secret"}}, Tags: []Tag{{Name: "a", Literal: "b"}}},
	}
	c := s.Clusters["c"]
	c.Outliers, c.Resolve, c.KeepAlive = &OutlierDetection{Consecutive5xx: -1}, ResolveOne, &KeepAlive{Probes: 3}
	c.Health = &HealthCheck{HTTP: &HTTPCheck{Path: "/", Header: []Header{{"x-key", "secret"}}, Statuses: []StatusRange{{200, 204}}}}
	c.Balance = Balance{Kind: RingHash, HashOn: "cookie:a", Cookie: &HashCookie{TTL: time.Hour}, Locality: &Locality{
		Distribute: []Distribution{{"a/*", map[string]uint32{"a/x": 80, "b": 20}}}, Priority: []string{"zone"},
	}}
	e := s.Endpoints["c"]
	e.List = append(e.List, Endpoint{Host: "c.example", Addr: netip.MustParseAddrPort("0.0.0.0:80"), Labels: map[string]string{"zone": "x", "a": "b"}})
}

func TestPartsByName(t *testing.T) {
	s := fullSpec()
	snap, _ := Compile(s)
	if got := snap.Certificate("ns/tls"); got != s.Certificates["ns/tls"] || snap.Certificate("gone") != nil {
		t.Errorf("Certificate returns %v, want the Spec's", got)
	}
	if got := slices.Collect(snap.Certificates()); len(got) != 1 || got[0] != s.Certificates["ns/tls"] {
		t.Errorf("Certificates yields %v, want the one of the Spec", got)
	}
	for range snap.Clusters() {
		break // it stops when told to
	}
	if got := snap.Cluster("c"); got != s.Clusters["c"] {
		t.Errorf("Cluster returns %v, want the Spec's", got)
	}
}

func TestJSONIsLossless(t *testing.T) {
	s := fullSpec()
	data, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	var got Spec
	if err := json.Unmarshal(data, &got); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(&got, s) {
		t.Errorf("from JSON %+v, want %+v", got, s)
	}
}

func TestKeysDoNotPrint(t *testing.T) {
	s := fullSpec()
	s.Certificates["ns/tls"].Key = []byte("secret")
	s.Listeners["ns/gw/https"].Telemetry.Tracing.Header, s.Clusters["c"].Health.HTTP.Header = nil, nil
	snap, _ := Compile(s)
	data, _ := json.Marshal(s)
	for _, text := range []string{dump(snap), string(data), details(s.Certificates["ns/tls"])} {
		if strings.Contains(text, "secret") || strings.Contains(text, "c2VjcmV0") {
			t.Errorf("the key is in %s", text)
		}
	}
}

// Headers that the gateway sends of its own may be passwords; they are on the
// wire between control and fleet, and in no dump.
func TestHeadersOfItsOwnDoNotPrint(t *testing.T) {
	snap, _ := Compile(fullSpec())
	if text := dump(snap); strings.Contains(text, "secret") || !strings.Contains(text, "x-key") {
		t.Errorf("want the names of headers and no values in %s", text)
	}
}

func TestTextKindText(t *testing.T) {
	for _, k := range []TextKind{TextExact, TextPrefix, TextRegex, TextPresent} {
		data, _ := k.MarshalText()
		var got TextKind = 9
		if err := got.UnmarshalText(data); err != nil || got != k || string(data) != k.String() {
			t.Errorf("%v: text %s, back %v, %v", k, data, got, err)
		}
	}
	if _, err := TextKind(9).MarshalText(); err == nil || TextKind(9).String() != "TextKind(9)" {
		t.Error("TextKind(9) has a text")
	}
	var k TextKind
	if err := k.UnmarshalText([]byte("Suffix")); err == nil {
		t.Error(`"Suffix" is a TextKind`)
	}
}

func TestPathKindText(t *testing.T) {
	for _, k := range []PathKind{PathPrefix, PathExact, PathRegex, PathMethod, PathTextPrefix} {
		data, _ := k.MarshalText()
		var got PathKind = 9
		if err := got.UnmarshalText(data); err != nil || got != k || string(data) != k.String() {
			t.Errorf("%v: text %s, back %v, %v", k, data, got, err)
		}
	}
	if _, err := PathKind(9).MarshalText(); err == nil || PathKind(9).String() != "PathKind(9)" {
		t.Error("PathKind(9) has a text")
	}
	var k PathKind
	if err := k.UnmarshalText([]byte("Suffix")); err == nil {
		t.Error(`"Suffix" is a PathKind`)
	}
}

// FuzzCompile holds that no Spec makes the package panic, and that a Spec's
// JSON form says all that matters.
func FuzzCompile(f *testing.F) {
	for seed := range uint64(3) {
		data, _ := json.Marshal((&dice{randomBytes(seed, 200)}).spec())
		f.Add(data)
	}
	data, _ := json.Marshal(fullSpec())
	f.Add(data)
	f.Fuzz(func(t *testing.T, data []byte) {
		var s, again Spec
		if json.Unmarshal(data, &s) != nil {
			return
		}
		snap, problems := Compile(&s)
		for _, p := range problems {
			if p.Error() == "" || p.Reason == "" {
				t.Errorf("a problem that says nothing: %#v", p)
			}
		}
		d := &dice{data}
		for _, p := range snap.Ports() {
			for _, r := range d.requests() {
				checkExplanation(t, p, &r)
			}
		}
		data, err := json.Marshal(&s)
		if err != nil {
			t.Fatalf("to JSON: %v", err)
		}
		if err := json.Unmarshal(data, &again); err != nil {
			t.Fatalf("from JSON: %v", err)
		}
		other, _ := Compile(&again)
		if got, want := dump(other), dump(snap); got != want {
			t.Errorf("through JSON:\n%s\nwas\n%s", got, want)
		}
	})
}
