package istio

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"fairway.dev/routing"
	"fairway.dev/routing/dialect"
	"fairway.dev/routing/dialecttest"
)

// doorWorld has a fleet with two listeners of Gateway API, and Gateways that
// share its ports.
const doorWorld = `
kind: Gateway
metadata: {namespace: istio-system, name: ingress}
spec:
  gatewayClassName: fairway
  infrastructure: {labels: {istio: ingressgateway}}
  allowedListeners: {namespaces: {from: All}}
  listeners:
  - {name: web, port: 8080, protocol: HTTP, hostname: "*.example.com"}
  - {name: all, port: 8081, protocol: HTTP}
---
kind: ListenerSet
metadata: {namespace: team, name: set}
spec:
  parentRef: {namespace: istio-system, name: ingress}
  listeners: [{name: http, port: 8082, protocol: HTTP, hostname: set.example.com}]
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {namespace: shop, name: edge, creationTimestamp: "2026-01-02T00:00:00Z"}
spec:
  selector: {istio: ingressgateway}
  servers:
  - port: {number: 80, name: http, protocol: HTTP}
    hosts: [shop.example.com, "shop/*.shop.example.com", "./own.example.com"]
  - port: {number: 80, name: http, protocol: HTTP}
    hosts: [old.example.com]
    tls: {httpsRedirect: true}
  - port: {number: 443, name: tls, protocol: TLS}
    hosts: ["*.example.com", pass.example.com]
    tls: {mode: PASSTHROUGH}
  - port: {number: 15443, name: tls, protocol: TLS}
    hosts: ["*.local"]
    tls: {mode: AUTO_PASSTHROUGH}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {namespace: shop, name: web}
spec:
  selector: {istio: ingressgateway}
  servers:
  - port: {number: 8080, name: http, protocol: HTTP}
    hosts: ["*"]
  - port: {number: 8081, name: http, protocol: HTTP}
    hosts: [shop.example.com]
  - port: {number: 8082, name: http, protocol: HTTP}
    hosts: [set.example.com, moved.example.com]
  - port: {number: 8083, name: http, protocol: HTTP}
    hosts: [set.example.com]
    tls: {httpsRedirect: true}
  - port: {number: 443, name: tls, protocol: TLS}
    hosts: [pass.example.com]
    tls: {mode: PASSTHROUGH}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {namespace: shop, name: tcp}
spec:
  selector: {istio: ingressgateway}
  servers:
  - port: {number: 9000, name: tcp, protocol: TCP}
    hosts: [db.example.com]
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {namespace: shop, name: unbound}
spec:
  selector: {istio: nowhere}
  servers:
  - port: {number: 9000, name: tcp, protocol: TCP}
    hosts: ["*"]
`

// doorsOf asks a sheet for doors, as a VirtualService's formula does.
func doorsOf(t *testing.T, world, gateway, namespace string, hosts ...string) ([]door, *routing.Problem) {
	t.Helper()
	w := dialecttest.World{}
	load(t, w, world)
	tr := newTranslator(w, inCluster)
	const ask = dialect.Verdicts + dialect.IstioKinds + 120
	var doors []door
	var problem *routing.Problem
	j := &joint{opts: Options{RootNamespace: "istio-system"}, gateway: tr}
	j.define(tr.Sheet(), ask, func(r *reading) dialect.Outcome {
		doors, problem = r.doors(gateway, namespace, hosts)
		return dialect.Outcome{}
	})
	asking := routing.ObjectKey{Kind: "Question"}
	w[asking] = "what doors are there?"
	tr.Sheet().Plant("Question", func(routing.ObjectKey) []dialect.ID { return []dialect.ID{{Kind: ask}} })
	tr.Update(w.Keys())
	return doors, problem
}

func printDoors(doors []door) string {
	var lines []string
	for _, d := range doors {
		line := fmt.Sprintf("%s %s %d %v", strings.TrimPrefix(string(d.listener), d.fleet+"/"), d.protocol, d.port, d.hosts)
		if d.passthrough {
			line += " passes"
		}
		lines = append(lines, line)
	}
	slices.Sort(lines)
	return strings.Join(lines, "; ")
}

// VirtualService.hosts and Gateway.servers.hosts: what they have in common, and
// from which namespaces (Server.hosts).
func TestDoors(t *testing.T) {
	tests := []struct {
		gateway, namespace string
		hosts              []string
		want               string
	}{
		{"edge", "shop", []string{"shop.example.com"}, "http:80 HTTP 80 [shop.example.com]; tls:443:*.example.com TLS 443 [shop.example.com] passes"},
		{"shop/edge", "team", []string{"a.shop.example.com"}, "tls:443:*.example.com TLS 443 [a.shop.example.com] passes"}, // the namespace is not let in
		{"./edge", "shop", []string{"a.shop.example.com"}, "http:80 HTTP 80 [a.shop.example.com]; tls:443:*.example.com TLS 443 [a.shop.example.com] passes"},
		{"edge.shop.svc.cluster.local", "team", []string{"shop.example.com"}, "http:80 HTTP 80 [shop.example.com]; tls:443:*.example.com TLS 443 [shop.example.com] passes"},
		{"edge", "shop", []string{"old.example.com"}, "http:80:old.example.com HTTP 80 [old.example.com]; tls:443:*.example.com TLS 443 [old.example.com] passes"},
		{"edge", "shop", []string{"*"}, "http:80 HTTP 80 [shop.example.com *.shop.example.com own.example.com]; http:80:old.example.com HTTP 80 [old.example.com]; " +
			"tls:443:*.example.com TLS 443 [*.example.com] passes; tls:443:pass.example.com TLS 443 [pass.example.com] passes"},
		{"edge", "shop", []string{"pass.example.com", "x.org"}, "tls:443:*.example.com TLS 443 [pass.example.com] passes; tls:443:pass.example.com TLS 443 [pass.example.com] passes"},
		// Listeners of Gateway API have the port: the one with the hostname, and
		// beside the one that is not for all another.
		{"web", "shop", []string{"a.example.com"}, "http:8080 HTTP 8080 [a.example.com]; web HTTP 8080 [a.example.com]"},
		{"web", "shop", []string{"a.example.org"}, "http:8080 HTTP 8080 [a.example.org]"},
		{"web", "shop", []string{"shop.example.com"}, "all HTTP 8081 [shop.example.com]; http:8080 HTTP 8080 [shop.example.com]; web HTTP 8080 [shop.example.com]"},
		// An older Gateway has pass.example.com.
		{"web", "shop", []string{"pass.example.com"}, "http:8080 HTTP 8080 [pass.example.com]; web HTTP 8080 [pass.example.com]"},
		{"web", "shop", []string{"set.example.com"}, "ListenerSet/team/set/http HTTP 8082 [set.example.com]; http:8080 HTTP 8080 [set.example.com]; " +
			"http:8082 HTTP 8082 [set.example.com]; http:8083:set.example.com HTTP 8083 [set.example.com]; web HTTP 8080 [set.example.com]"},
		{"tcp", "shop", []string{"db.example.com"}, "tcp:9000 TCP 9000 [*]"},
	}
	for _, tt := range tests {
		doors, problem := doorsOf(t, doorWorld, tt.gateway, tt.namespace, tt.hosts...)
		if got := printDoors(doors); got != tt.want || problem != nil {
			t.Errorf("%s from %s, %v:\n got %s, %v\nwant %s", tt.gateway, tt.namespace, tt.hosts, got, problem, tt.want)
		}
	}
}

// Without a door there is a reason.
func TestNoDoors(t *testing.T) {
	tests := []struct {
		gateway, namespace, host string
		want                     routing.Reason
	}{
		{"missing", "shop", "shop.example.com", reasonGatewayNotFound},
		{"edge", "team", "shop.example.com", reasonGatewayNotFound}, // a name without a namespace is of one's own
		{"unbound", "shop", "shop.example.com", reasonGatewayNotServed},
		{"edge", "shop", "example.org", reasonHostNotServed},
		{"edge", "shop", "x.local", reasonHostNotServed}, // AUTO_PASSTHROUGH is for no VirtualService
		{"tcp", "shop", "other.example.com", reasonHostNotServed},
		{"shop/edge", "team", "own.other.example.org", reasonHostNotServed},
	}
	for _, tt := range tests {
		doors, problem := doorsOf(t, doorWorld, tt.gateway, tt.namespace, tt.host)
		if len(doors) > 0 || problem == nil || problem.Reason != tt.want {
			t.Errorf("%s from %s, %s: %v, %v; want %s", tt.gateway, tt.namespace, tt.host, doors, problem, tt.want)
		}
	}
	const barred = `
kind: Gateway
metadata: {namespace: istio-system, name: ingress}
spec: {gatewayClassName: fairway, listeners: []}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {namespace: shop, name: edge}
spec:
  servers:
  - port: {number: 80, name: http, protocol: HTTP}
    hosts: ["./*"]
`
	if doors, problem := doorsOf(t, barred, "shop/edge", "team", "x.example.com"); len(doors) > 0 || problem == nil || problem.Reason != reasonNamespaceNotAllowed {
		t.Errorf("%v, %v; want %s", doors, problem, reasonNamespaceNotAllowed)
	}
}

// What two patterns have in common is the narrower one, by the long way round.
func FuzzNarrower(f *testing.F) {
	for _, p := range [][2]string{{"*", "a.b"}, {"*.b", "a.b"}, {"*.b", "*.a.b"}, {"*.b", "b"}, {"a", "a"}, {"*", "*"}} {
		f.Add(p[0], p[1])
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		if checkServerHost(a) != nil || checkServerHost(b) != nil {
			return
		}
		got := narrower(a, b)
		if got != narrower(b, a) {
			t.Errorf("%q and %q: %q, the other way round %q", a, b, got, narrower(b, a))
		}
		wide := slices.Collect(widerPatterns(b))
		if covers := a == b || slices.Contains(wide, a); covers != patternCovers(a, b) || covers && got != b {
			t.Errorf("%q covers %q: %v, its wider patterns are %q, in common %q", a, b, patternCovers(a, b), wide, got)
		}
	})
}
