package analysis

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"

	"fairway.dev/routing"
)

// object reads the spec of an object named shop/o.
func object(t testing.TB, kind, spec string) any {
	t.Helper()
	o := map[string]any{
		"VirtualService": new(networkingv1.VirtualService), "DestinationRule": new(networkingv1.DestinationRule),
		"Gateway": new(networkingv1.Gateway), "ServiceEntry": new(networkingv1.ServiceEntry), "WorkloadEntry": new(networkingv1.WorkloadEntry),
		"AuthorizationPolicy": new(securityv1.AuthorizationPolicy), "RequestAuthentication": new(securityv1.RequestAuthentication),
		"PeerAuthentication": new(securityv1.PeerAuthentication),
	}[kind]
	var tree any
	if err := yaml.Unmarshal([]byte(spec), &tree); err != nil {
		t.Fatalf("%v in\n%s", err, spec)
	}
	text, err := json.Marshal(map[string]any{"metadata": map[string]any{"name": "o", "namespace": "shop"}, "spec": tree})
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, o); err != nil {
		t.Fatalf("%v in\n%s", err, spec)
	}
	return o
}

// lines are the findings as "Reason field" or "Level Reason field".
func lines(problems []*routing.Problem) string {
	var list []string
	for _, p := range problems {
		list = append(list, strings.TrimSpace(fmt.Sprintf("%s %s %s", p.Level, p.Reason, p.Origin.Field)))
	}
	return strings.Join(list, "; ")
}

// rule puts the text of a rule into a VirtualService.
func rule(text string) string {
	return "{hosts: [a.example], gateways: [edge], http: [" + text + "]}"
}

const to = "route: [{destination: {host: a}}]"

var validateTests = []struct{ kind, spec, want string }{
	{"VirtualService", rule("{" + to + "}"), ""},
	{"VirtualService", "{hosts: [a.example]}", "MissingField spec"},
	{"VirtualService", "{hosts: ['*'], http: [{" + to + "}]}", "InvalidHost spec.hosts[0]"},                          // of the mesh
	{"VirtualService", "{hosts: ['*'], gateways: [edge], http: [{" + to + "}]}", ""},                                 // of a Gateway
	{"VirtualService", "{hosts: ['*.a.example', b.a.example], http: [{" + to + "}]}", "DuplicateHost spec.hosts[1]"}, // one covers the other
	{"VirtualService", "{hosts: [a_b], http: [{" + to + "}]}", "InvalidHost spec.hosts[0]"},                          //
	{"VirtualService", "{hosts: [10.0.0.1], http: [{" + to + "}]}", ""},                                              //
	{"VirtualService", "{gateways: [edge], http: [{" + to + "}]}", "ConflictingFields spec.gateways"},                // a delegate
	{"VirtualService", "{http: [{delegate: {name: x}}]}", "ConflictingFields spec.http[0].delegate"},                 // of a delegate
	{"VirtualService", "{hosts: [a], gateways: [edge.shop], http: [{" + to + "}]}", "Warning DeprecatedField spec.gateways[0]"},
	{"VirtualService", "{hosts: [a], gateways: [a/b/c], http: [{" + to + "}]}", "InvalidName spec.gateways[0]"},
	{"VirtualService", "{hosts: [a], gateways: [Edge], http: [{" + to + "}]}", "InvalidName spec.gateways[0]"},
	{"VirtualService", "{hosts: [a], exportTo: ['*', shop], http: [{" + to + "}]}", "ConflictingFields spec.exportTo"},
	{"VirtualService", "{hosts: [a], exportTo: ['.', shop], http: [{" + to + "}]}", "DuplicateName spec.exportTo[1]"},
	{"VirtualService", "{hosts: [a], exportTo: ['~'], http: [{" + to + "}]}", "InvalidName spec.exportTo[0]"},

	{"VirtualService", rule("{}"), "MissingField spec.http[0]"},
	{"VirtualService", rule("{" + to + ", redirect: {uri: /}}"), "ConflictingFields spec.http[0]"},
	{"VirtualService", rule("{redirect: {uri: /}, directResponse: {status: 200}}"), "ConflictingFields spec.http[0]"},
	{"VirtualService", rule("{redirect: {uri: /}, rewrite: {uri: /}}"), "ConflictingFields spec.http[0]"},
	{"VirtualService", rule("{directResponse: {status: 200}, fault: {abort: {httpStatus: 500, percentage: {value: 1}}}}"), "ConflictingFields spec.http[0]"},
	{"VirtualService", rule("{delegate: {name: x}, " + to + "}"), "ConflictingFields spec.http[0]"},
	{"VirtualService", rule("{directResponse: {status: 199}}"), "InvalidStatus spec.http[0].directResponse.status"},
	{"VirtualService", rule("{redirect: {}}"), "MissingField spec.http[0].redirect"},
	{"VirtualService", rule("{redirect: {uri: /, redirectCode: 200}}"), "InvalidStatus spec.http[0].redirect.redirectCode"},
	{"VirtualService", rule("{redirect: {uri: /, scheme: ftp}}"), "InvalidValue spec.http[0].redirect.scheme"},
	{"VirtualService", rule("{redirect: {uri: /, port: 70000}}"), "InvalidPort spec.http[0].redirect.port"},
	{"VirtualService", rule("{redirect: {uri: /, prefixRewrite: /}}"), "ConflictingFields spec.http[0].redirect"},
	{"VirtualService", rule("{match: [{uri: {exact: /a}}], redirect: {prefixRewrite: /}}"), "ConflictingFields spec.http[0].redirect.prefixRewrite"},

	{"VirtualService", rule("{match: [{uri: {regex: '('}}], " + to + "}"), "InvalidRegex spec.http[0].match[0].uri.regex"},
	{"VirtualService", rule("{match: [{uri: {regex: '(?=a)'}}], " + to + "}"), "InvalidRegex spec.http[0].match[0].uri.regex"}, // not RE2
	{"VirtualService", rule("{match: [{uri: {regex: " + strings.Repeat("a", 1025) + "}}], " + to + "}"), "InvalidRegex spec.http[0].match[0].uri.regex"},
	{"VirtualService", rule("{match: [{uri: {prefix: ''}}], " + to + "}"), ""}, // any path
	{"VirtualService", rule("{match: [{method: {prefix: ''}}], " + to + "}"), "InvalidMatch spec.http[0].match[0].method.prefix"},
	{"VirtualService", rule("{match: [{headers: {x: {regex: '*'}}}], " + to + "}"), ""}, // any value
	{"VirtualService", rule("{match: [{headers: {'a b': {exact: x}}}], " + to + "}"), `InvalidHeader spec.http[0].match[0].headers["a b"]`},
	{"VirtualService", rule("{match: [{headers: {'@request.auth.claims.sub': {exact: x}}}], " + to + "}"), ""},
	{"VirtualService", "{hosts: [a], http: [{match: [{headers: {'@request.auth.claims.sub': {exact: x}}}], " + to + "}]}",
		`InvalidMatch spec.http[0].match[0].headers["@request.auth.claims.sub"]`},
	{"VirtualService", rule("{match: [{queryParams: {q: {regex: '['}}}], " + to + "}"), `InvalidRegex spec.http[0].match[0].queryParams["q"].regex`},
	{"VirtualService", rule("{match: [{port: 65536}], " + to + "}"), "InvalidPort spec.http[0].match[0].port"},
	{"VirtualService", rule("{match: [{sourceLabels: {'a b': c}}], " + to + "}"), `InvalidLabel spec.http[0].match[0].sourceLabels["a b"]`},
	{"VirtualService", rule("{match: [{sourceNamespace: A}], " + to + "}"), "InvalidName spec.http[0].match[0].sourceNamespace"},

	{"VirtualService", rule("{route: [{}]}"), "MissingField spec.http[0].route[0].destination"},
	{"VirtualService", rule("{route: [{destination: {host: '*'}}]}"), "InvalidHost spec.http[0].route[0].destination.host"},
	{"VirtualService", rule("{route: [{destination: {host: a, subset: V_1}}]}"), "InvalidName spec.http[0].route[0].destination.subset"},
	{"VirtualService", rule("{route: [{destination: {host: a, port: {}}}]}"), "InvalidPort spec.http[0].route[0].destination.port.number"},
	{"VirtualService", rule("{route: [{destination: {host: a}, weight: 0}]}"), ""}, // a single destination has all
	{"VirtualService", rule("{route: [{destination: {host: a}}, {destination: {host: b}}]}"), "InvalidWeight spec.http[0].route"},
	{"VirtualService", rule("{route: [{destination: {host: a}, weight: -1}, {destination: {host: b}, weight: 101}]}"), "InvalidWeight spec.http[0].route[0].weight"},
	{"VirtualService", rule("{route: [{destination: {host: a}, weight: 1}, {destination: {host: b}, weight: 3}]}"), "Info WeightsNotHundred spec.http[0].route"},

	{"VirtualService", rule("{headers: {request: {set: {Host: x}}}, " + to + "}"), ""}, // the host is rewritten
	{"VirtualService", rule("{headers: {response: {set: {Host: x}}}, " + to + "}"), `InvalidHeader spec.http[0].headers.response.set["Host"]`},
	{"VirtualService", rule("{headers: {request: {remove: [':path']}}, " + to + "}"), "InvalidHeader spec.http[0].headers.request.remove[0]"},
	{"VirtualService", rule(`{headers: {request: {add: {x: "a\nb"}}}, ` + to + "}"), `InvalidHeader spec.http[0].headers.request.add["x"]`},
	{"VirtualService", rule("{headers: {request: {add: {x: '%REQ(a)%'}}}, " + to + "}"), `Warning UnsupportedOperator spec.http[0].headers.request.add["x"]`},
	{"VirtualService", rule("{rewrite: {authority: a}, headers: {request: {set: {Host: x}}}, " + to + "}"), "ConflictingFields spec.http[0]"},
	{"VirtualService", rule("{rewrite: {}, " + to + "}"), "MissingField spec.http[0].rewrite"},
	{"VirtualService", rule("{rewrite: {uri: /, uriRegexRewrite: {match: a, rewrite: b}}, " + to + "}"), "ConflictingFields spec.http[0].rewrite"},
	{"VirtualService", rule("{rewrite: {uriRegexRewrite: {match: '(', rewrite: b}}, " + to + "}"), "InvalidRegex spec.http[0].rewrite.uriRegexRewrite.match"},

	{"VirtualService", rule("{timeout: 0s, " + to + "}"), ""}, // none
	{"VirtualService", rule("{timeout: -1s, " + to + "}"), "InvalidDuration spec.http[0].timeout"},
	{"VirtualService", rule("{timeout: 0.0001s, " + to + "}"), "InvalidDuration spec.http[0].timeout"},
	{"VirtualService", rule("{retries: {attempts: -1}, " + to + "}"), "InvalidValue spec.http[0].retries.attempts"},
	{"VirtualService", rule("{retries: {attempts: 0, retryOn: 5xx}, " + to + "}"), "ConflictingFields spec.http[0].retries"},
	{"VirtualService", rule("{retries: {attempts: 1, retryOn: '5xx,503,connect-failure'}, " + to + "}"), ""},
	{"VirtualService", rule("{retries: {attempts: 1, retryOn: '5xx, reset'}, " + to + "}"), "InvalidValue spec.http[0].retries.retryOn"}, // a blank
	{"VirtualService", rule("{retries: {attempts: 1, perTryTimeout: 0s}, " + to + "}"), "InvalidDuration spec.http[0].retries.perTryTimeout"},

	{"VirtualService", rule("{fault: {}, " + to + "}"), "MissingField spec.http[0].fault"},
	{"VirtualService", rule("{fault: {delay: {percentage: {value: 101}, fixedDelay: 1s}}, " + to + "}"), "InvalidPercentage spec.http[0].fault.delay.percentage.value"},
	{"VirtualService", rule("{fault: {delay: {percent: 1, fixedDelay: 1s}}, " + to + "}"), "Warning DeprecatedField spec.http[0].fault.delay.percent"},
	{"VirtualService", rule("{fault: {delay: {percentage: {value: 1}, exponentialDelay: 1s}}, " + to + "}"), "UnsupportedField spec.http[0].fault.delay.exponentialDelay"},
	{"VirtualService", rule("{fault: {abort: {httpStatus: 500}}, " + to + "}"), "Warning IneffectiveField spec.http[0].fault.abort.percentage"}, // never
	{"VirtualService", rule("{fault: {abort: {grpcStatus: NO, percentage: {value: 1}}}, " + to + "}"), "InvalidStatus spec.http[0].fault.abort.grpcStatus"},

	{"VirtualService", rule("{mirror: {host: b}, mirrors: [{destination: {host: c}}], " + to + "}"), "ConflictingFields spec.http[0]"},
	{"VirtualService", rule("{mirrors: [{}], " + to + "}"), "MissingField spec.http[0].mirrors[0].destination"},
	{"VirtualService", rule("{mirror: {host: b}, mirrorPercent: 101, " + to + "}"),
		"Warning DeprecatedField spec.http[0].mirrorPercent; InvalidPercentage spec.http[0].mirrorPercent"},
	{"VirtualService", rule("{corsPolicy: {allowOrigin: ['*']}, " + to + "}"), "Warning DeprecatedField spec.http[0].corsPolicy.allowOrigin"},
	{"VirtualService", rule("{corsPolicy: {allowOrigins: [{}]}, " + to + "}"), "InvalidMatch spec.http[0].corsPolicy.allowOrigins[0]"},
	{"VirtualService", rule("{corsPolicy: {maxAge: 1.5s}, " + to + "}"), "InvalidDuration spec.http[0].corsPolicy.maxAge"},

	{"VirtualService", "{hosts: [a], tls: [{" + to + "}]}", "MissingField spec.tls[0].match"},
	{"VirtualService", "{hosts: [a], tls: [{match: [{port: 443}], " + to + "}]}", "MissingField spec.tls[0].match[0].sniHosts"},
	{"VirtualService", "{hosts: ['*.b'], tls: [{match: [{sniHosts: [a.b, c]}], " + to + "}]}", "InvalidHost spec.tls[0].match[0].sniHosts[1]"},
	{"VirtualService", "{hosts: [a], tls: [{match: [{sniHosts: [a], destinationSubnets: [x]}], " + to + "}]}", "InvalidAddress spec.tls[0].match[0].destinationSubnets[0]"},
	{"VirtualService", "{hosts: [a], tcp: [{}]}", "MissingField spec.tcp[0].route"},
	{"VirtualService", "{hosts: [a], tcp: [{match: [{sourceSubnet: 10.0.0.0/33}], " + to + "}]}", "InvalidAddress spec.tcp[0].match[0].sourceSubnet"},

	{"DestinationRule", "{host: a}", ""},
	{"DestinationRule", "{host: 'a b'}", "InvalidHost spec.host"},
	{"DestinationRule", "{host: a, subsets: [{name: v1}, {name: v1}]}", "DuplicateName spec.subsets[1].name"},
	{"DestinationRule", "{host: a, subsets: [{name: v1, labels: {x: 'a b'}}]}", `InvalidLabel spec.subsets[0].labels["x"]`},
	{"DestinationRule", "{host: a, trafficPolicy: {}}", "MissingField spec.trafficPolicy"},
	{"DestinationRule", "{host: a, trafficPolicy: {connectionPool: {}}}", "MissingField spec.trafficPolicy.connectionPool"},
	{"DestinationRule", "{host: a, trafficPolicy: {connectionPool: {tcp: {maxConnections: -1}}}}", "InvalidValue spec.trafficPolicy.connectionPool.tcp.maxConnections"},
	{"DestinationRule", "{host: a, trafficPolicy: {connectionPool: {tcp: {idleTimeout: 0s}}}}", ""}, // none
	{"DestinationRule", "{host: a, trafficPolicy: {connectionPool: {http: {useClientProtocol: true, h2UpgradePolicy: UPGRADE}}}}", "ConflictingFields spec.trafficPolicy.connectionPool.http"},
	{"DestinationRule", "{host: a, trafficPolicy: {connectionPool: {http: {http2KeepAlive: {interval: 1s}}}}}", "MissingField spec.trafficPolicy.connectionPool.http.http2KeepAlive"},
	{"DestinationRule", "{host: a, trafficPolicy: {outlierDetection: {consecutiveErrors: 5}}}", "Warning DeprecatedField spec.trafficPolicy.outlierDetection.consecutiveErrors"},
	{"DestinationRule", "{host: a, trafficPolicy: {outlierDetection: {maxEjectionPercent: 101}}}", "InvalidPercentage spec.trafficPolicy.outlierDetection.maxEjectionPercent"},
	{"DestinationRule", "{host: a, trafficPolicy: {outlierDetection: {consecutiveLocalOriginFailures: 5}}}", "ConflictingFields spec.trafficPolicy.outlierDetection.consecutiveLocalOriginFailures"},
	{"DestinationRule", "{host: a, trafficPolicy: {loadBalancer: {simple: LEAST_CONN}}}", "Warning DeprecatedField spec.trafficPolicy.loadBalancer.simple"},
	{"DestinationRule", "{host: a, trafficPolicy: {loadBalancer: {consistentHash: {httpCookie: {ttl: 0s}}}}}", "MissingField spec.trafficPolicy.loadBalancer.consistentHash.httpCookie.name"},
	{"DestinationRule", "{host: a, trafficPolicy: {loadBalancer: {consistentHash: {useSourceIp: true, maglev: {tableSize: 100}}}}}", "InvalidValue spec.trafficPolicy.loadBalancer.consistentHash.maglev.tableSize"},
	{"DestinationRule", "{host: a, trafficPolicy: {loadBalancer: {warmup: {aggression: 0}}}}",
		"MissingField spec.trafficPolicy.loadBalancer.warmup.duration; InvalidValue spec.trafficPolicy.loadBalancer.warmup.aggression"},
	{"DestinationRule", "{host: a, trafficPolicy: {loadBalancer: {localityLbSetting: {distribute: [{from: 'a/*', to: {'b/*': 50}}]}}}}", "InvalidWeight spec.trafficPolicy.loadBalancer.localityLbSetting.distribute[0].to"},
	{"DestinationRule", "{host: a, trafficPolicy: {loadBalancer: {localityLbSetting: {failover: [{from: a, to: b}]}}}}", "Warning IneffectiveField spec.trafficPolicy.loadBalancer.localityLbSetting"},
	{"DestinationRule", "{host: a, trafficPolicy: {portLevelSettings: [{tls: {mode: SIMPLE}}]}}", "MissingField spec.trafficPolicy.portLevelSettings[0].port"},
	{"DestinationRule", "{host: a, trafficPolicy: {tls: {mode: MUTUAL}}}", "MissingField spec.trafficPolicy.tls"},
	{"DestinationRule", "{host: a, trafficPolicy: {tls: {mode: SIMPLE, credentialName: a, caCertificates: /a}}}", "ConflictingFields spec.trafficPolicy.tls"},
	{"DestinationRule", "{host: a, trafficPolicy: {tls: {mode: SIMPLE, insecureSkipVerify: true, subjectAltNames: [a]}}}", "ConflictingFields spec.trafficPolicy.tls"},
	{"DestinationRule", "{host: a, trafficPolicy: {tunnel: {protocol: GET, targetHost: a, targetPort: 1}}}", "InvalidValue spec.trafficPolicy.tunnel.protocol"},
	{"DestinationRule", "{host: a, exportTo: ['*'], workloadSelector: {matchLabels: {a: b}}}", "ConflictingFields spec.exportTo[0]"},

	{"Gateway", "{servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}]}", ""},
	{"Gateway", "{}", "MissingField spec.servers"},
	{"Gateway", "{servers: [{port: {number: 80, name: http, protocol: HTTP}}]}", "MissingField spec.servers[0].hosts"},
	{"Gateway", "{servers: [{port: {number: 80, name: a, protocol: HTTP}, hosts: ['shop/*', './a', '*/b', 'S/*']}]}", "InvalidName spec.servers[0].hosts[3]"},
	{"Gateway", "{servers: [{port: {number: 80, name: a, protocol: HTTP}, hosts: [a]}, {port: {number: 81, name: a, protocol: HTTP}, hosts: [a]}]}", "DuplicateName spec.servers[1].port.name"},
	{"Gateway", "{servers: [{port: {number: 80, name: a, protocol: QUIC}, hosts: [a]}]}", "InvalidProtocol spec.servers[0].port.protocol"},
	{"Gateway", "{servers: [{port: {number: 80, name: a, protocol: HTTP, targetPort: 81}, hosts: [a]}]}", "Warning DeprecatedField spec.servers[0].port.targetPort"},
	{"Gateway", "{servers: [{port: {number: 80, name: a, protocol: HTTP}, hosts: [a], tls: {httpsRedirect: true}}]}", ""},
	{"Gateway", "{servers: [{port: {number: 80, name: a, protocol: HTTP}, hosts: [a], tls: {mode: SIMPLE, credentialName: a}}]}", "ConflictingFields spec.servers[0].tls"},
	{"Gateway", "{servers: [{port: {number: 443, name: a, protocol: HTTPS}, hosts: [a]}]}", "MissingField spec.servers[0].tls"},
	{"Gateway", "{servers: [{port: {number: 443, name: a, protocol: HTTPS}, hosts: [a], tls: {mode: SIMPLE}}]}", "MissingField spec.servers[0].tls"},
	{"Gateway", "{servers: [{port: {number: 443, name: a, protocol: HTTPS}, hosts: [a], tls: {mode: SIMPLE, credentialName: a, credentialNames: [b]}}]}", "ConflictingFields spec.servers[0].tls"},
	{"Gateway", "{servers: [{port: {number: 443, name: a, protocol: TLS}, hosts: [a], tls: {mode: PASSTHROUGH, credentialName: a}}]}", "Warning IneffectiveField spec.servers[0].tls"},
	{"Gateway", "{servers: [{port: {number: 443, name: a, protocol: HTTPS}, hosts: [a], tls: {mode: ISTIO_MUTUAL, credentialName: a}}]}", "ConflictingFields spec.servers[0].tls"},
	{"Gateway", "{servers: [{port: {number: 443, name: a, protocol: HTTPS}, hosts: [a], tls: {mode: SIMPLE, credentialName: a, minProtocolVersion: TLSV1_3, maxProtocolVersion: TLSV1_2}}]}", "ConflictingFields spec.servers[0].tls.minProtocolVersion"},
	{"Gateway", "{servers: [{bind: x, port: {number: 80, name: a, protocol: HTTP}, hosts: [a]}]}", "InvalidAddress spec.servers[0].bind"},
	{"Gateway", "{selector: {a: 'b c'}, servers: [{port: {number: 80, name: a, protocol: HTTP}, hosts: [a]}]}", `InvalidLabel spec.selector["a"]`},

	{"ServiceEntry", "{hosts: [a.example], ports: [{number: 80, name: http, protocol: HTTP}], resolution: DNS}", ""},
	{"ServiceEntry", "{hosts: ['*'], ports: [{number: 80, name: http, protocol: HTTP}]}", "InvalidHost spec.hosts[0]"},
	{"ServiceEntry", "{hosts: [a.example], ports: []}", "Warning MissingField spec.ports"},
	{"ServiceEntry", "{hosts: [a], ports: [{number: 80, name: a}, {number: 80, name: b}]}", "DuplicateName spec.ports[1]"},
	{"ServiceEntry", "{hosts: [a], ports: [{number: 80, name: a, protocol: QUIC}]}", "InvalidProtocol spec.ports[0].protocol"},
	{"ServiceEntry", "{hosts: [a, b], resolution: DNS, ports: [{number: 80, name: a, protocol: TCP}]}", "ConflictingFields spec.ports[0].protocol"},
	{"ServiceEntry", "{hosts: ['*.a'], resolution: DNS, ports: [{number: 80, name: a, protocol: HTTP}]}", "InvalidHost spec.hosts[0]"},
	{"ServiceEntry", "{hosts: [a], resolution: DYNAMIC_DNS, ports: [{number: 80, name: a, protocol: HTTP}]}", "InvalidHost spec.hosts[0]"},
	{"ServiceEntry", "{hosts: [a], addresses: [10.0.0.0/8], resolution: DNS, ports: [{number: 80, name: a, protocol: HTTP}]}", "ConflictingFields spec.addresses[0]"},
	{"ServiceEntry", "{hosts: [a], ports: [{number: 80, name: a, protocol: HTTP}], endpoints: [{address: 10.0.0.1}]}", "ConflictingFields spec.endpoints"},
	{"ServiceEntry", "{hosts: [a], resolution: STATIC, ports: [{number: 80, name: a, protocol: HTTP}], endpoints: [{address: b.example}]}", "InvalidAddress spec.endpoints[0].address"},
	{"ServiceEntry", "{hosts: [a], resolution: DNS, ports: [{number: 80, name: a, protocol: HTTP}], endpoints: [{address: b.example, ports: {b: 1}}]}", `InvalidPort spec.endpoints[0].ports["b"]`},
	{"ServiceEntry", "{hosts: [a], resolution: DNS_ROUND_ROBIN, ports: [{number: 80, name: a, protocol: HTTP}], endpoints: [{address: b.c}, {address: d.e}]}", "ConflictingFields spec.endpoints"},
	{"ServiceEntry", "{hosts: [a], resolution: STATIC, ports: [{number: 80, name: a, protocol: HTTP}], workloadSelector: {}}", "Warning IneffectiveField spec.workloadSelector"},
	{"ServiceEntry", "{hosts: [a], resolution: STATIC, ports: [{number: 80, name: a, protocol: HTTP}], exportTo: ['~']}", ""},

	{"WorkloadEntry", "{address: 10.0.0.1}", ""},
	{"WorkloadEntry", "{address: vm.example}", ""},
	{"WorkloadEntry", "{}", "MissingField spec.address"},
	{"WorkloadEntry", "{network: n}", ""},
	{"WorkloadEntry", "{address: 'a b'}", "InvalidAddress spec.address"},
	{"WorkloadEntry", "{address: 'unix://a'}", "InvalidAddress spec.address"},
	{"WorkloadEntry", "{address: 'unix:///a', ports: {a: 1}}", "ConflictingFields spec.ports"},
	{"WorkloadEntry", "{address: 10.0.0.1, ports: {a: 0}}", `InvalidPort spec.ports["a"]`},
}

func TestValidate(t *testing.T) {
	for _, tt := range slices.Concat(validateTests, securityTests) {
		if got := lines(Validate(object(t, tt.kind, tt.spec))); got != tt.want {
			t.Errorf("%s %s:\n got %s\nwant %s", tt.kind, tt.spec, got, tt.want)
		}
	}
}

// Each finding says what to do, and where.
func TestFindingsAreWhole(t *testing.T) {
	for _, tt := range slices.Concat(validateTests, securityTests) {
		for _, p := range Validate(object(t, tt.kind, tt.spec)) {
			if p.Fix == "" || p.Err == nil || p.Origin.Name != "o" || p.Origin.Namespace != "shop" || p.Origin.Field == "" {
				t.Errorf("%s %s: %+v: want an origin, a text and a fix", tt.kind, tt.spec, p)
			}
		}
	}
}

func TestValidateKnowsOnlyItsKinds(t *testing.T) {
	if got := Validate(new(networkingv1.Sidecar)); got != nil {
		t.Errorf("Validate(Sidecar) = %v, want nothing", got)
	}
}

func TestCovers(t *testing.T) {
	tests := []struct {
		wide, narrow string
		want         bool
	}{
		{"*", "a.example", true},
		{"*.example", "a.example", true},
		{"*.example", "*.a.example", true},
		{"*.a.example", "*.example", false},
		{"*.example", "example", false},
		{"a.example", "a.example", true},
	}
	for _, tt := range tests {
		if got := covers(tt.wide, tt.narrow); got != tt.want {
			t.Errorf("covers(%q, %q) = %v, want %v", tt.wide, tt.narrow, got, tt.want)
		}
	}
}

// Whatever comes, Validate answers, and each finding with an origin.
func FuzzValidate(f *testing.F) {
	for _, tt := range slices.Concat(validateTests, securityTests) {
		tree := map[string]any{}
		if err := yaml.Unmarshal([]byte(tt.spec), &tree); err != nil {
			f.Fatal(err)
		}
		text, _ := json.Marshal(map[string]any{"spec": tree})
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		for _, o := range []any{new(networkingv1.VirtualService), new(networkingv1.DestinationRule), new(networkingv1.Gateway),
			new(networkingv1.ServiceEntry), new(networkingv1.WorkloadEntry),
			new(securityv1.AuthorizationPolicy), new(securityv1.RequestAuthentication), new(securityv1.PeerAuthentication)} {
			if json.Unmarshal(text, o) != nil {
				continue
			}
			for _, p := range Validate(o) {
				if p.Origin.Field == "" || p.Reason == "" || p.Fix == "" {
					t.Fatalf("%s: %+v", text, p)
				}
			}
		}
	})
}
