package routing

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math"
	"math/big"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestInvalidListenersAreLeftOut(t *testing.T) {
	tests := map[string]Listener{
		"port 0":                         {Protocol: HTTP},
		"an empty address":               {Port: 80, Protocol: HTTP, Addresses: make([]netip.Addr, 1)},
		"protocol HTTPS without TLS":     {Port: 80, Protocol: HTTPS},
		`protocol "SPDY"`:                {Port: 80, Protocol: "SPDY"},
		`hostname "*": want none`:        {Port: 80, Protocol: HTTP, Hostname: "*"},
		`host "Shop": character 'S'`:     {Port: 80, Protocol: HTTP, Hostname: "Shop"},
		`host "a..b": want labels`:       {Port: 80, Protocol: HTTP, Hostname: "a..b"},
		"host of 260 bytes":              {Port: 80, Protocol: HTTP, Hostname: strings.Repeat("abcd.", 52)},
		`host "a.*.b": character '*'`:    {Port: 80, Protocol: HTTP, Hostname: "*.a.*.b"},
		"protocol HTTPS with a redirect": {Port: 80, Protocol: HTTPS, TLS: &ListenerTLS{}, RedirectHTTPS: true},
		"certificates of clients":        {Port: 80, Protocol: TLS, TLS: &ListenerTLS{Passthrough: true, Client: &ClientValidation{Roots: []byte(testRoots)}}},
	}
	for want, l := range tests {
		s := oneListener(route("r", "h", prefix("/")))
		l.Name = "ns/gw/http"
		s.Listeners[l.Name] = &l
		snap, p := oneProblem(t, s)
		if !strings.HasPrefix(p.Err.Error(), want) || len(snap.Ports()) != 0 {
			t.Errorf("problem %s, %d ports; want %s and none", p.Err, len(snap.Ports()), want)
		}
	}
}

// testRoots is a certificate; routing does not care whose.
const testRoots = `-----BEGIN CERTIFICATE-----
MIIBVzCB/aADAgECAgEBMAoGCCqGSM49BAMCMBoxGDAWBgNVBAMTD3Jvb3RzIG9m
IGEgdGVzdDAgFw03MDAxMDEwMDAwMDBaGA8yMTAwMDEwMTAwMDAwMFowGjEYMBYG
A1UEAxMPcm9vdHMgb2YgYSB0ZXN0MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE
uH/82lkXJT463MG+ZutpUmju/GIFJLxz4IiU0Z6zSh7PRNqW565cm1dakX6GQHp5
sCyJn+shLPIYiI7USNglhaMyMDAwDwYDVR0TAQH/BAUwAwEB/zAdBgNVHQ4EFgQU
pxmVrQJsJogV4kAC2rSMl8+Dn4QwCgYIKoZIzj0EAwIDSQAwRgIhAMX13SGGkwzk
OCHH87UaK1YIk91fwzn4EzCHAx+o7BI9AiEAsFUL8z+BUff6wu/UvK+1iMlwifql
LPd7UJ5hKS0TNsA=
-----END CERTIFICATE-----
`

// A broken security part is never dropped and never opened: the listener keeps
// what is its own from less specific ones, and lets nobody in.
func TestListenerThatCannotKeepPeopleOutIsShut(t *testing.T) {
	clients := func(v ClientValidation) Listener {
		v.Roots = []byte(testRoots)
		return Listener{TLS: &ListenerTLS{Client: &v}}
	}
	roots := func(pem string) Listener {
		return Listener{TLS: &ListenerTLS{Client: &ClientValidation{Roots: []byte(pem), AllowInsecure: true}}}
	}
	jwt := func(j JWTRule) Listener { return Listener{TLS: &ListenerTLS{}, JWT: []JWTRule{{Issuer: "i"}, j}} }
	tests := map[string]Listener{
		"roots for clients: no certificate":                              roots(""),
		"roots for clients: no":                                          roots("no PEM"),
		"roots for":                                                      roots("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
		"tls: version 0x0300":                                            {TLS: &ListenerTLS{MinVersion: 0x300}},
		"tls: version 0x0305":                                            {TLS: &ListenerTLS{MaxVersion: 0x305}},
		"tls: TLS 1.1 at most and TLS 1.2":                               {TLS: &ListenerTLS{MaxVersion: tls.VersionTLS11}},
		"tls: TLS 1.2 at most and TLS 1.3":                               {TLS: &ListenerTLS{MinVersion: tls.VersionTLS13, MaxVersion: tls.VersionTLS12}},
		"tls: cipher suite 0x1301":                                       {TLS: &ListenerTLS{CipherSuites: []uint16{tls.TLS_AES_128_GCM_SHA256}}},
		"tls: cipher suite 0x0000":                                       {TLS: &ListenerTLS{CipherSuites: []uint16{0}}},
		`name "" of clients`:                                             clients(ClientValidation{SANs: []string{"a", ""}}),
		`name "*" of clients`:                                            clients(ClientValidation{SANs: []string{"*"}}),
		`name "a*b" of clients`:                                          clients(ClientValidation{SANs: []string{"a*b"}}),
		`name "*a*" of clients`:                                          clients(ClientValidation{SANs: []string{"*a*"}}),
		`key "AAAA" of clients`:                                          clients(ClientValidation{SPKI: []string{"AAAA"}}),
		`certificate "00" of clients`:                                    clients(ClientValidation{Hashes: []string{"00"}}),
		"certificates of clients: revocations: no PEM":                   clients(ClientValidation{CRL: []byte("x")}),
		`certificates of clients: revocations: PEM of "CERTIFICATE"`:     clients(ClientValidation{CRL: []byte(testRoots)}),
		"certificates of clients: revocations: x509":                     clients(ClientValidation{CRL: pem.EncodeToMemory(&pem.Block{Type: "X509 CRL"})}),
		"neither an issuer":                                              jwt(JWTRule{}),
		"keys: want a JSON Web Key Set":                                  jwt(JWTRule{Keys: []byte(`{"key": 1}`)}),
		`keys at "ftp://a"`:                                              jwt(JWTRule{URL: "ftp://a"}),
		`keys at "https:///a"`:                                           jwt(JWTRule{URL: "https:///a"}),
		"timeout -1ns":                                                   jwt(JWTRule{Issuer: "i", Timeout: -1}),
		"a token in a query parameter without":                           jwt(JWTRule{Issuer: "i", Params: []string{""}}),
		`header or cookie "a b": want a token`:                           jwt(JWTRule{Issuer: "i", Headers: []Header{{"a b", ""}}}),
		`header or cookie ""`:                                            jwt(JWTRule{Issuer: "i", Cookies: []string{""}}),
		`header "x" of a claim without a name`:                           jwt(JWTRule{Issuer: "i", Claims: []ClaimHeader{{Header: "x"}}}),
		`header or cookie "Content-Length": want a token, and not a hea`: jwt(JWTRule{Issuer: "i", PayloadHeader: "Content-Length"}),
	}
	for want, shut := range tests {
		shut.Name, shut.Port, shut.Protocol, shut.Hostname, shut.Origin = "ns/gw/shut", 443, HTTPS, "shop.example", Origin{Name: "shut"}
		open := &Listener{Name: "ns/gw/open", Origin: Origin{Name: "open"}, Port: 443, Protocol: HTTPS, TLS: &ListenerTLS{}}
		any := route("r", "*", prefix("/"))
		any.Attached = []Attachment{{shut.Name, []string{"*"}}, {open.Name, []string{"*"}}}
		s := oneListener(any)
		s.Listeners = map[ListenerName]*Listener{shut.Name: &shut, open.Name: open}
		snap, p := oneProblem(t, s)
		if p.Origin != shut.Origin || !strings.HasPrefix(p.Err.Error(), want) || !strings.HasSuffix(p.Err.Error(), "nobody is let in") {
			t.Errorf("problem %v, want %s of %v", p, want, shut.Origin)
		}
		if isJWT := len(shut.JWT) > 0; (p.Reason == InvalidJWTRule) != isJWT || (p.Reason == InvalidListener) == isJWT {
			t.Errorf("%s: reason %s", want, p.Reason)
		}
		r := Request{SNI: "shop.example", Host: "shop.example", Method: "GET", Path: "/"}
		if res := snap.Ports()[0].Match(&r); res.Listener != &shut || !res.Shut || res.Target != nil {
			t.Errorf("%s: %+v, want the listener, and shut", want, res)
		}
		if text := snap.Ports()[0].Explain(&r).String(); !strings.Contains(text, "lets nobody in") {
			t.Errorf("%s: explained by %s", want, text)
		}
		repaired := shut
		repaired.TLS, repaired.JWT = &ListenerTLS{Client: &ClientValidation{Roots: []byte(testRoots)}}, nil
		snap, problems := snap.Update(&Delta{Listeners: []*Listener{&repaired}})
		if res := snap.Ports()[0].Match(&r); len(problems) > 0 || res.Shut || res.Target == nil {
			t.Errorf("%s, repaired: %+v, problems %v", want, res, problems)
		}
	}
}

// What its dialect has closed is shut, and the dialect says why.
func TestClosedListenerIsShut(t *testing.T) {
	s := streamSpec([]*Listener{{Name: "l", Protocol: TLS, TLS: &ListenerTLS{Closed: true}}}, stream("r", 1, Attachment{"l", []string{"*"}}))
	snap, problems := Compile(s)
	if res := snap.Port(port443).MatchStream("a", "", netip.Addr{}, netip.Addr{}); !res.Shut || res.Target != nil || len(problems) > 0 {
		t.Errorf("%+v, problems %v; want it shut without one", res, problems)
	}
}

func TestListenersThatKeepPeopleOut(t *testing.T) {
	for i, l := range []Listener{
		{TLS: &ListenerTLS{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS10, CipherSuites: []uint16{tls.TLS_RSA_WITH_AES_128_CBC_SHA, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256}}},
		{TLS: &ListenerTLS{Client: &ClientValidation{
			Roots: []byte(testRoots), SANs: []string{"a.example", "*.example", "spiffe://a/*"}, CRL: testRevocations(t),
			SPKI: []string{"47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="}, Hashes: []string{"E3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
		}}},
		{JWT: []JWTRule{
			{Issuer: "i", URL: "https://a.example/keys", Headers: []Header{{"Authorization", "Bearer "}}, Params: []string{"token"}, Cookies: []string{"t"}},
			{Keys: []byte(`{"keys": []}`), PayloadHeader: "x-payload", Claims: []ClaimHeader{{"x-sub", "sub"}}},
		}},
	} {
		if p := checkSecurity(&l); p != nil {
			t.Errorf("listener %d: %v, want no problem", i, p)
		}
	}
}

// testRevocations are two lists without an entry, of a CA that lives as long as
// the test.
func testRevocations(t *testing.T) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ca := &x509.Certificate{KeyUsage: x509.KeyUsageCRLSign, SubjectKeyId: []byte{1}}
	der, err := x509.CreateRevocationList(rand.Reader, &x509.RevocationList{Number: big.NewInt(1), NextUpdate: time.Unix(1, 0)}, ca, key)
	if err != nil {
		t.Fatal(err)
	}
	block := pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der})
	return slices.Concat(block, []byte("\n"), block)
}

// What is told of requests keeps none of them out.
func TestListenerWithoutTracingStaysInForce(t *testing.T) {
	s := oneListener(route("r", "h", prefix("/")))
	listener := func(change func(*Tracing)) *Listener {
		tracing := &Tracing{Cluster: "b", Percent: 1, Path: "/v1/traces", Header: []Header{{"authorization", "secret"}}, Tags: []Tag{{Name: "a"}}}
		change(tracing)
		return &Listener{Name: "ns/gw/http", Port: 80, Protocol: HTTP, Telemetry: &Telemetry{Tracing: tracing}}
	}
	tests := map[string]func(*Tracing){
		`no cluster "gone" for spans`:   func(t *Tracing) { t.Cluster = "gone" },
		"spans of 101 % of the":         func(t *Tracing) { t.Percent = 101 },
		"spans of NaN %":                func(t *Tracing) { t.Percent = math.NaN() },
		`spans to path "v1"`:            func(t *Tracing) { t.Path = "v1" },
		`spans: path "/ ": character`:   func(t *Tracing) { t.Path = "/ " },
		`spans: host "a/b"`:             func(t *Tracing) { t.Authority = "a/b" },
		`spans: header "a b"`:           func(t *Tracing) { t.Header[0].Name = "a b" },
		`spans: header "Upgrade", `:     func(t *Tracing) { t.Header[0].Name = "Upgrade" },
		`spans: header "authorization"`: func(t *Tracing) { t.Header[0].Value = "a\nb" },
		`tag "" of header ""`:           func(t *Tracing) { t.Tags[0].Name = "" },
		`tag "a" of header "b c"`:       func(t *Tracing) { t.Tags[0].Header = "b c" },
	}
	for want, change := range tests {
		l := listener(change)
		s.Listeners[l.Name] = l
		snap, p := oneProblem(t, s)
		if p.Level != Warning || !strings.HasPrefix(p.Err.Error(), want) || strings.Contains(p.Err.Error(), "secret") {
			t.Errorf("%s: %v, want the warning %s", p.Level, p.Err, want)
		}
		r := get("h", "/")
		if snap.Port(port80).Match(&r).Target == nil || snap.Tracing(l) != nil {
			t.Errorf("%s: want requests served, and not traced", want)
		}
	}
	l := listener(func(t *Tracing) {})
	s.Listeners[l.Name] = l
	snap, problems := Compile(s)
	if len(problems) > 0 || snap.Tracing(l) != l.Telemetry.Tracing {
		t.Errorf("tracing %v, problems %v", snap.Tracing(l), problems)
	}
	if strings.Contains(dump(snap), "secret") {
		t.Error("a header for the collector is in the dump")
	}
	// The cluster comes and goes.
	var gone Delta
	gone.Removed.Clusters = []ClusterName{"b"}
	if snap, problems = snap.Update(&gone); len(problems) != 2 || snap.Tracing(l) != nil {
		t.Errorf("the cluster went: tracing %v, problems %v; want the listener's and the route's", snap.Tracing(l), problems)
	}
	if snap, problems = snap.Update(&Delta{Clusters: []*Cluster{{Name: "b"}}}); len(problems) != 0 || snap.Tracing(l) == nil {
		t.Errorf("the cluster came: tracing %v, problems %v", snap.Tracing(l), problems)
	}
	lost := listener(func(t *Tracing) { t.Cluster = "gone" })
	warned, _ := snap.Update(&Delta{Listeners: []*Listener{lost}})
	if _, problems := warned.Update(&Delta{Listeners: []*Listener{{Name: lost.Name, Port: 80, Protocol: HTTP}}}); len(problems) > 0 {
		t.Errorf("nobody asks for spans any longer: %v", problems)
	}
	silent := listener(func(t *Tracing) { t.Silent, t.Cluster = true, "" })
	if _, problems := snap.Update(&Delta{Listeners: []*Listener{silent}}); len(problems) > 0 {
		t.Errorf("without spans there is a problem with where they go: %v", problems)
	}
}

func TestInvalidClustersAreLeftOut(t *testing.T) {
	tests := map[string]Cluster{
		`protocol "SPDY"`:           {Protocol: "SPDY"},
		"TLS with protocol UDP":     {Protocol: UpstreamUDP, TLS: &UpstreamTLS{ServerName: "a.example.com"}},
		"retries for 101 %":         {Retries: &RetryBudget{Percent: 101, Interval: time.Second}},
		"retries in an interval":    {Retries: &RetryBudget{Percent: 20, Interval: time.Millisecond}},
		"at least 1 retries in 0s":  {Retries: &RetryBudget{Percent: 20, Interval: time.Second, Least: 1}},
		"PROXY protocol version 3":  {Protocol: UpstreamTCP, ProxyProtocol: 3},
		`balance "fair"`:            {Balance: Balance{Kind: "fair"}},
		`hash on "moon"`:            {Balance: Balance{HashOn: "moon"}},
		`hash on "header:"`:         {Balance: Balance{HashOn: "header:"}},
		"ejection after 0 failures": {Ejection: Ejection{MaxPercent: 101}},
		"server name: host \"a b\"": {TLS: &UpstreamTLS{ServerName: "a b"}},
		"tls without a name":        {TLS: &UpstreamTLS{}},
		`resolve "moon"`:            {Resolve: "moon"},
		"protocol TCP to the host":  {Protocol: UpstreamTCP, Resolve: ResolveHost},
		"a cookie to give out where the hash is on \"header:a\"": {Balance: Balance{HashOn: "header:a", Cookie: &HashCookie{}}},
		"cookie for -1ns":                                             {Balance: Balance{HashOn: "cookie:a", Cookie: &HashCookie{TTL: -1}}},
		`cookie attribute of "/;": cha`:                               {Balance: Balance{HashOn: "cookie:a", Cookie: &HashCookie{Path: "/;"}}},
		`cookie attribute "a b": want`:                                {Balance: Balance{HashOn: "cookie:a", Cookie: &HashCookie{Attributes: []Header{{"a b", ""}}}}},
		`cookie attribute of "a\r\nb"`:                                {Balance: Balance{HashOn: "cookie:a", Cookie: &HashCookie{Attributes: []Header{{"a", "a\r\nb"}}}}},
		`a table of 9 entries for bal`:                                {Balance: Balance{Size: 9}},
		"a table of -1 entries for":                                   {Balance: Balance{Kind: RingHash, Size: -1}},
		"a table of 8388609 entries":                                  {Balance: Balance{Kind: RingHash, Size: 8<<20 + 1}},
		"a table of 5000012 entries":                                  {Balance: Balance{Kind: Maglev, Size: 5000012}},
		`a table of 65536 entries for balance "maglev": want a prime`: {Balance: Balance{Kind: Maglev, Size: 65536}},
		"locality: both shares":                                       {Balance: Balance{Locality: &Locality{Distribute: []Distribution{{"a", map[string]uint32{"a": 100}}}, Failover: []Failover{{"a", "b"}}}}},
		`locality: 99 % of the requests`:                              {Balance: Balance{Locality: &Locality{Distribute: []Distribution{{"a", map[string]uint32{"a": 98, "b": 1}}}}}},
		`locality: 4294967395 % of the`:                               {Balance: Balance{Locality: &Locality{Distribute: []Distribution{{"a", map[string]uint32{"a": 100, "b": 1<<32 - 1}}}}}},
		`locality: place "a//b"`:                                      {Balance: Balance{Locality: &Locality{Distribute: []Distribution{{"a//b", map[string]uint32{"a": 100}}}}}},
		`locality: place "*/a"`:                                       {Balance: Balance{Locality: &Locality{Distribute: []Distribution{{"a", map[string]uint32{"*/a": 100}}}}}},
		`locality: place "a/b/c/d"`:                                   {Balance: Balance{Locality: &Locality{Distribute: []Distribution{{"a/b/c/d", nil}}}}},
		`locality: failover from "a" to`:                              {Balance: Balance{Locality: &Locality{Failover: []Failover{{"a", "a"}}}}},
		`locality: failover from "a/b"`:                               {Balance: Balance{Locality: &Locality{Failover: []Failover{{"a/b", "c"}}}}},
		`locality: priority label "=a"`:                               {Balance: Balance{Locality: &Locality{Priority: []string{"a", "=a"}}}},
		"slow start for -1ns":                                         {SlowStart: -1},
		"slow start for 1s from 101 %":                                {SlowStart: time.Second, SlowStartLeast: 101},
		"slow start for 2s from 1 % with aggression +Inf":             {SlowStart: 2 * time.Second, SlowStartLeast: 1, SlowStartAggression: math.Inf(1)},
		"slow start for 3s from NaN %":                                {SlowStart: 3 * time.Second, SlowStartLeast: math.NaN()},
		"connections for -1ns":                                        {ConnectionAge: -1},
		"keep-alive of 128 probes":                                    {KeepAlive: &KeepAlive{Probes: 128}},
		"keep-alive of 0 probes after -1ns":                           {KeepAlive: &KeepAlive{Idle: -1}},
		"keep-alive of 0 probes after 0s, each 9h6m8s":                {KeepAlive: &KeepAlive{Interval: 32768 * time.Second}},
		"ping after -1ns":                                             {Ping: &Ping{Interval: -1}},
		"outliers: after -2, 0 and 0":                                 {Outliers: &OutlierDetection{Consecutive5xx: -2}},
		"outliers: after 0, 0 and -1":                                 {Outliers: &OutlierDetection{ConsecutiveGateway: -1}},
		"outliers: each -1ns":                                         {Outliers: &OutlierDetection{Interval: -1}},
		"outliers: 101 % at most":                                     {Outliers: &OutlierDetection{MaxPercent: 101}},
		"outliers: 0 % at most, and not below -1":                     {Outliers: &OutlierDetection{MinHealthPercent: -1}},
		"outliers: status 600":                                        {Outliers: &OutlierDetection{Codes: []int{500, 600}}},
		"health check with protocol UDP":                              {Protocol: UpstreamUDP, Health: &HealthCheck{}},
		"health check of the host":                                    {Resolve: ResolveHost, Health: &HealthCheck{}},
		"health check over HTTP and gRPC":                             {Health: &HealthCheck{HTTP: &HTTPCheck{Path: "/"}, GRPC: text("")}},
		"health check each -1ns":                                      {Health: &HealthCheck{Interval: -1}},
		`health check: method "a b"`:                                  {Health: &HealthCheck{HTTP: &HTTPCheck{Path: "/", Method: "a b"}}},
		`health check: path ""`:                                       {Health: &HealthCheck{HTTP: &HTTPCheck{}}},
		`health check: path "/ "`:                                     {Health: &HealthCheck{HTTP: &HTTPCheck{Path: "/ "}}},
		`health check: path "a b"`:                                    {Health: &HealthCheck{HTTP: &HTTPCheck{Path: "/?a b"}}},
		`health check: host "a/b"`:                                    {Health: &HealthCheck{HTTP: &HTTPCheck{Path: "/", Host: "a/b"}}},
		`health check: header "te", `:                                 {Health: &HealthCheck{HTTP: &HTTPCheck{Path: "/", Header: []Header{{"te", ""}}}}},
		"health check: statuses 300-200":                              {Health: &HealthCheck{HTTP: &HTTPCheck{Path: "/", Statuses: []StatusRange{{300, 200}}}}},
		"tls for the host of each":                                    {Protocol: UpstreamTCP, TLS: &UpstreamTLS{NameFromHost: true}},
		"revocations: no PEM":                                         {TLS: &UpstreamTLS{ServerName: "a", CRL: []byte("x")}},
		"roots: no certificate":                                       {TLS: &UpstreamTLS{ServerName: "a", Roots: []byte("x")}},
	}
	for want, c := range tests {
		s := oneListener()
		c.Name = "bad"
		s.Clusters[c.Name] = &c
		snap, p := oneProblem(t, s)
		if p.Reason != InvalidCluster || !strings.HasPrefix(p.Err.Error(), want) {
			t.Errorf("%s: %s, want %s", p.Reason, p.Err, want)
		}
		if snap.Cluster("bad") != nil || len(slices.Collect(snap.Clusters())) != 1 {
			t.Errorf("%s: the cluster is in force", want)
		}
	}
}

func TestValidClusters(t *testing.T) {
	for i, c := range []Cluster{
		{Protocol: UpstreamAuto, TLS: &UpstreamTLS{Insecure: true}},
		{TLS: &UpstreamTLS{SANs: []string{"spiffe://x"}}},
		{Balance: Balance{Kind: Maglev, HashOn: "query:a b"}},
		{Balance: Balance{Kind: RingHash, HashOn: "source-ip"}},
		{Balance: Balance{HashOn: "cookie:c"}, Limits: Limits{Connections: -1}},
		{Retries: &RetryBudget{Interval: time.Hour}},
		{Retries: &RetryBudget{Percent: 100, Interval: time.Second, Least: 1, LeastInterval: time.Millisecond}},
		{Protocol: UpstreamTCP, TLS: &UpstreamTLS{ServerName: "a"}, ProxyProtocol: 2},
		{Protocol: UpstreamClient, Resolve: ResolveHost, TLS: &UpstreamTLS{NameFromHost: true, CRL: testRevocations(t)}},
		{Balance: Balance{Kind: RingHash, HashOn: "cookie:a", Size: 8 << 20, Cookie: &HashCookie{TTL: time.Hour, Path: "/", Attributes: []Header{{"SameSite", "Lax"}, {"Secure", ""}}}}},
		{Balance: Balance{Kind: Maglev, Size: 65537, Locality: &Locality{Distribute: []Distribution{{"a/b/*", map[string]uint32{"a/b/c": 70, "*": 30}}}}}},
		{Balance: Balance{Locality: &Locality{Failover: []Failover{{"a", "b"}}, Priority: []string{"topology.kubernetes.io/zone", "version=v1"}}}},
		{Health: &HealthCheck{}, Outliers: &OutlierDetection{Consecutive5xx: -1, ConsecutiveLocal: -1, MaxPercent: 100, Codes: []int{429}}},
		{Health: &HealthCheck{GRPC: text("")}, KeepAlive: &KeepAlive{9, 2 * time.Hour, time.Minute}, Ping: &Ping{}},
		{Health: &HealthCheck{HTTP: &HTTPCheck{Path: "/ready?full=1&x=?", Host: "a:8080", Header: []Header{{"x-a", "b"}}, Statuses: []StatusRange{{200, 399}}}}},
		{SlowStart: time.Minute, SlowStartLeast: 0.5, SlowStartAggression: 1.5, Resolve: ResolveOne},
	} {
		if p := checkCluster(&c); p != nil {
			t.Errorf("cluster %d: %v, want no problem", i, p)
		}
	}
}

// An endpoint's name that is none has no addresses, and the others stay.
func TestEndpointsWithBadNames(t *testing.T) {
	at := netip.MustParseAddrPort("0.0.0.0:80")
	s := oneListener()
	s.Clusters["b"].Origin = Origin{Kind: "ServiceEntry", Name: "b"}
	for want, e := range map[string]Endpoint{
		`endpoint 1 of b: host "a b"`:                          {Host: "a b", Addr: at},
		"endpoint 1 of b: a.example at invalid AddrPort: want": {Host: "a.example"},
		"endpoint 1 of b: a.example at 0.0.0.0:0: want":        {Host: "a.example", Addr: netip.AddrPortFrom(at.Addr(), 0)},
	} {
		s.Endpoints = map[ClusterName]*Endpoints{"b": {Cluster: "b", List: []Endpoint{{Host: "ok.example.", Addr: at}, e}}}
		snap, p := oneProblem(t, s)
		if p.Reason != InvalidEndpoint || p.Origin.Name != "b" || !strings.HasPrefix(p.Err.Error(), want) {
			t.Errorf("%s: %v, want %s", p.Reason, p, want)
		}
		if snap.Cluster("b") == nil || len(snap.Endpoints("b").List) != 2 {
			t.Errorf("%s: want the cluster in force", want)
		}
		if _, problems := snap.Update(&Delta{Endpoints: []*Endpoints{{Cluster: "b"}}}); len(problems) > 0 {
			t.Errorf("repaired: %v", problems)
		}
	}
}

// Requests for any host must not be sent to whatever host they name: that
// would be an open proxy.
func TestHostsOfDynamicClustersAreBounded(t *testing.T) {
	s := oneListener(route("open", "*", prefix("/")), route("bounded", "*.example.com", prefix("/")))
	snap, _ := Compile(s)
	snap, problems := snap.Update(&Delta{Clusters: []*Cluster{{Name: "b", Resolve: ResolveHost}}})
	if len(problems) != 1 || problems[0].Reason != UnboundedHost || problems[0].Origin.Name != "open" {
		t.Fatalf("problems %v, want one of the route for any host", problems)
	}
	for host, want := range map[string]int{"a.example.com": 0, "other.org": 500} {
		r := get(host, "/")
		if b := snap.Port(port80).Match(&r).Target.Action.Backends[0]; b.Status != want {
			t.Errorf("%s: status %d of the share, want %d", host, b.Status, want)
		}
	}
	if _, problems = snap.Update(&Delta{Clusters: []*Cluster{{Name: "b"}}}); len(problems) > 0 {
		t.Errorf("the cluster has endpoints again: %v", problems)
	}
	auth := route("auth", "*", prefix("/"))
	auth.Rules[0].Action.Auth = &ExternalAuth{Cluster: "dynamic"}
	auth.Rules[0].Action.Mirrors = []Mirror{{Cluster: "dynamic", Numerator: 1, Denominator: 1}}
	s = oneListener(auth)
	s.Clusters["dynamic"] = &Cluster{Name: "dynamic", Resolve: ResolveHost}
	if _, problems = Compile(s); len(problems) != 2 {
		t.Errorf("to ask and to mirror to: problems %v, want two", problems)
	}
}

// HTTPRewrite.uriRegexRewrite: RE2's substitutions.
func TestSubstitutions(t *testing.T) {
	for _, with := range []string{"", "/a", `\0`, `/\2/\1`, `\\`} {
		if err := (&RegexEdit{"(a)(b)", with}).check(); err != nil {
			t.Errorf("%q: %v", with, err)
		}
	}
}
