package main

import (
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
)

// istioEdge is a Gateway of Istio's API with a plain server for all hosts.
const istioEdge = `
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge, namespace: shop}
spec:
  selector: {istio: ingressgateway}
  servers:
  - {port: {number: {{.HTTP}}, name: http, protocol: HTTP}, hosts: ["*"]}
`

// virtualService is one of the edge Gateway, with the given rules.
func virtualService(name, host, rules string) string {
	return agedVirtualService(name, "", host, rules)
}

func agedVirtualService(name, created, host, rules string) string {
	if created != "" {
		created = fmt.Sprintf(", creationTimestamp: %q", created)
	}
	return fmt.Sprintf(`---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: %s, namespace: shop%s}
spec:
  hosts: [%q]
  gateways: [edge]
  http:
%s
`, name, created, host, rules)
}

// rules joins rules of a VirtualService, each in one line.
func rules(list ...string) string { return "  - " + strings.Join(list, "\n  - ") }

// destination sends to a Service of the tests.
func destination(name string) string {
	return "route: [{destination: {host: " + name + "}}]"
}

// TestVirtualService holds what Istio's users are used to, and what surprises
// others: by field of networking.istio.io/v1 VirtualService.
func TestVirtualService(t *testing.T) {
	t.Parallel()
	var mirrored atomic.Int64
	shadow := make(chan string, 10)
	manifests := map[string]string{
		"edge.yaml": istioEdge,
		"a.yaml":    service("a", startBackend(t, told("a"))), "b.yaml": service("b", startBackend(t, told("b"))),
		"c.yaml": service("c", startBackend(t, told("c"))),
		"m.yaml": service("m", startBackend(t, func(_ http.ResponseWriter, r *http.Request) {
			mirrored.Add(1)
			shadow <- r.Host
		})),
		"order.yaml": virtualService("order", "order.test", rules(
			"{match: [{uri: {prefix: /foo}}], "+destination("a")+"}",
			"{match: [{uri: {prefix: /foobar}}], "+destination("b")+"}",
			"{match: [{uri: {exact: /Exact}, ignoreUriCase: true}], "+destination("b")+"}",
			`{match: [{uri: {regex: "/x[0-9]"}}], `+destination("b")+"}",
			"{match: [{queryParams: {q: {exact: '1'}}}, {headers: {x-a: {prefix: ab}}}], "+destination("b")+"}",
			"{match: [{withoutHeaders: {x-keep: {}}, uri: {prefix: /without}}], "+destination("b")+"}",
			"{match: [{method: {regex: PUT|DELETE}}], "+destination("b")+"}",
			destination("c"))),
		"merge-old.yaml":   agedVirtualService("merge-old", "2024-01-01T00:00:00Z", "merge.test", rules("{match: [{uri: {prefix: /both}}], "+destination("a")+"}", destination("a"))),
		"merge-young.yaml": agedVirtualService("merge-young", "2025-01-01T00:00:00Z", "merge.test", rules("{match: [{uri: {prefix: /both}}], "+destination("b")+"}", "{match: [{uri: {prefix: /young}}], "+destination("b")+"}")),
		"wild.yaml":        virtualService("wild", "*.host.test", rules(destination("a"))),
		"one.yaml":         virtualService("one", "one.host.test", rules("{match: [{uri: {prefix: /only}}], "+destination("b")+"}")),
		"rewrite.yaml": virtualService("rewrite", "rewrite.test", rules(
			"{match: [{uri: {prefix: /strip/}}], rewrite: {uri: /}, "+destination("a")+"}",
			"{match: [{uri: {prefix: /a}}], rewrite: {uri: /}, "+destination("a")+"}",
			"{match: [{uri: {exact: /e}}], rewrite: {uri: /n, authority: other.test}, "+destination("a")+"}",
			`{match: [{uri: {prefix: /r/}}], rewrite: {uriRegexRewrite: {match: "/r/([a-z]+)/([0-9]+)", rewrite: "/\\2/\\1"}}, `+destination("a")+"}")),
		"answers.yaml": virtualService("answers", "answers.test", rules(
			"{match: [{uri: {prefix: /moved}}], redirect: {uri: /new, redirectCode: 307}}",
			"{match: [{uri: {prefix: /authority}}], redirect: {authority: other.test}}",
			"{match: [{uri: {prefix: /https}}], redirect: {scheme: https, derivePort: FROM_PROTOCOL_DEFAULT}}",
			"{match: [{uri: {prefix: /direct}}], directResponse: {status: 418, body: {string: a teapot}}}",
			"{match: [{uri: {prefix: /aborted}}], fault: {abort: {httpStatus: 555, percentage: {value: 100}}}, "+destination("a")+"}",
			"{match: [{uri: {prefix: /never}}], fault: {abort: {httpStatus: 555}}, "+destination("a")+"}",
			"{match: [{uri: {prefix: /unknown}}], "+destination("nobody")+"}",
			"{match: [{uri: {prefix: /subset}}], route: [{destination: {host: a, subset: v9}}]}",
			"{match: [{uri: {prefix: /zero}}], route: [{destination: {host: a}, weight: 0}]}",
			"{match: [{uri: {prefix: /dropped}}], route: [{destination: {host: a}, weight: 0}, {destination: {host: b}, weight: 1}]}",
			"{match: [{uri: {prefix: /mirror}}], mirror: {host: m}, "+destination("a")+"}",
			"{match: [{uri: {prefix: /unmirrored}}], mirror: {host: m}, mirrorPercentage: {value: 0}, "+destination("a")+"}",
			"{match: [{uri: {prefix: /slow}}], timeout: 0.05s, "+destination("a")+"}",
			"{match: [{uri: {exact: /flaky}}], retries: {attempts: 3, retryOn: 'connect-failure,503', backoff: 1ms}, "+destination("a")+"}",
			"{match: [{uri: {prefix: /once}}], rewrite: {uri: /flaky}, "+destination("b")+"}",
			"{match: [{uri: {prefix: /host}}], headers: {request: {set: {Host: set.test}}}, "+destination("a")+"}",
			"{match: [{uri: {prefix: /fields}}], headers: {request: {set: {x-set: s}, remove: [x-gone]}, response: {add: {x-added: r}, remove: [x-two]}}, "+destination("a")+"}",
			"{match: [{uri: {prefix: /cors}}], corsPolicy: {allowOrigins: [{regex: 'https://.*[.]good[.]test'}], allowMethods: [GET]}, "+destination("a")+"}",
			"{match: [{uri: {prefix: /strict}}], corsPolicy: {allowOrigins: [{exact: 'https://good.test'}], unmatchedPreflights: IGNORE}, "+destination("a")+"}")),
		"delegate.yaml": virtualService("root", "delegate.test", rules("{match: [{uri: {prefix: /team}}], delegate: {name: team}, headers: {response: {set: {x-rule: root}}}}")) + `---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: team, namespace: shop}
spec:
  http:
  - {match: [{uri: {prefix: /team/b}}], route: [{destination: {host: b}}]}
  - {match: [{uri: {prefix: /other}}], route: [{destination: {host: c}}]}
  - {route: [{destination: {host: a}}]}
`,
	}
	r := startRig(t, nil, manifests)
	for _, tt := range []struct {
		name, host, request string
		headers             []string
		status              int
		want                string // how the body begins, or "Field: value" of the response
	}{
		{"the first rule that matches, in the author's order", "order.test", "GET /foobar", nil, 200, "a"},
		{"a prefix is of the text, not of segments", "order.test", "GET /foodie", nil, 200, "a"},
		{"ignoreUriCase", "order.test", "GET /eXACT", nil, 200, "b"},
		{"a regex covers the whole path", "order.test", "GET /x12", nil, 200, "c"},
		{"a regex is without the query", "order.test", "GET /x1?z", nil, 200, "b"},
		{"queryParams", "order.test", "GET /?q=1", nil, 200, "b"},
		{"matches are alternatives", "order.test", "GET /", []string{"X-A: abc"}, 200, "b"},
		{"withoutHeaders, absent", "order.test", "GET /without", nil, 200, "b"},
		{"withoutHeaders, there", "order.test", "GET /without", []string{"X-Keep: 1"}, 200, "c"},
		{"method by regex", "order.test", "DELETE /", nil, 200, "b"},
		{"a rule without a match takes all", "order.test", "GET /none", nil, 200, "c"},
		{"the port in Host does not count", "order.test:99", "GET /foo", nil, 200, "a"},
		{"of two VirtualServices the older comes first", "merge.test", "GET /both", nil, 200, "a"},
		{"catch-alls come last of all", "merge.test", "GET /young", nil, 200, "b"},
		{"a catch-all of the older", "merge.test", "GET /none", nil, 200, "a"},
		{"the most specific host alone counts", "one.host.test", "GET /", nil, 404, ""},
		{"the most specific host", "one.host.test", "GET /only", nil, 200, "b"},
		{"a wildcard", "two.host.test", "GET /", nil, 200, "a"},
		{"no host", "nobody.test", "GET /", nil, 404, ""},
		{"rewrite of a prefix's bytes", "rewrite.test", "GET /strip/x?q=1", nil, 200, "a GET rewrite.test /x?q=1"},
		{"rewrite of a prefix's bytes leaves two slashes", "rewrite.test", "GET /a/x", nil, 200, "a GET rewrite.test //x"},
		{"rewrite of an exact match, and of the authority", "rewrite.test", "GET /e?q=1", nil, 200, "a GET other.test /n?q=1"},
		{"rewrite by regex", "rewrite.test", "GET /r/ab/12?q", nil, 200, "a GET rewrite.test /12/ab?q"},
		{"redirect.uri is the whole path", "answers.test", "GET /moved/deep?q", nil, 307, "Location: http://answers.test/new?q"},
		{"redirect.authority", "answers.test", "GET /authority/x", nil, 301, "Location: http://other.test/authority/x"},
		{"redirect.derivePort", "answers.test", "GET /https", nil, 301, "Location: https://answers.test/https"},
		{"directResponse", "answers.test", "GET /direct", nil, 418, "a teapot"},
		{"fault.abort", "answers.test", "GET /aborted", nil, 555, ""},
		{"a fault without a percentage is never", "answers.test", "GET /never", nil, 200, "a"},
		{"a destination that nobody knows", "answers.test", "GET /unknown", nil, 503, ""},
		{"a subset that nobody knows", "answers.test", "GET /subset", nil, 503, ""},
		{"a single destination has all, whatever its weight", "answers.test", "GET /zero", nil, 200, "a"},
		{"weight 0 beside others has none", "answers.test", "GET /dropped", nil, 200, "b"},
		{"timeout", "answers.test", "GET /slow", nil, 504, ""},
		{"retryOn with a number", "answers.test", "GET /flaky", nil, 200, "a"},
		{"no status is retried by default", "answers.test", "GET /once", nil, 503, ""},
		{"headers.request.set of Host", "answers.test", "GET /host", nil, 200, "a GET set.test /host"},
		{"headers.request", "answers.test", "GET /fields", []string{"X-Gone: 1"}, 200, "Saw-X-Set: s"},
		{"headers.request.remove", "answers.test", "GET /fields", []string{"X-Gone: 1"}, 200, "Saw-X-Gone: "},
		{"headers.response.add", "answers.test", "GET /fields", nil, 200, "X-Added: r"},
		{"headers.response.remove", "answers.test", "GET /fields", nil, 200, "X-Two: "},
		{"cors: a preflight", "answers.test", "OPTIONS /cors", []string{"Origin: https://x.good.test", "Access-Control-Request-Method: GET"}, 200, "Access-Control-Allow-Origin: https://x.good.test"},
		{"cors: another's preflight is forwarded", "answers.test", "OPTIONS /cors", []string{"Origin: https://bad.test", "Access-Control-Request-Method: GET"}, 200, "a OPTIONS"},
		{"cors: unmatchedPreflights IGNORE", "answers.test", "OPTIONS /strict", []string{"Origin: https://bad.test", "Access-Control-Request-Method: GET"}, 200, "Access-Control-Allow-Origin: "},
		{"a delegate's rule", "delegate.test", "GET /team/b", nil, 200, "b"},
		{"a delegate's rule has what its root says", "delegate.test", "GET /team/b", nil, 200, "X-Rule: root"},
		{"a delegate's catch-all is within the root's match", "delegate.test", "GET /team/x", nil, 200, "a"},
		{"a delegate takes nothing outside of it", "delegate.test", "GET /other", nil, 404, ""},
		{"mirror", "answers.test", "GET /mirror", nil, 200, "a"},
		{"mirrorPercentage 0", "answers.test", "GET /unmirrored", nil, 200, "a"},
	} {
		a := r.ask(r.client(), tt.host, tt.request, tt.headers...)
		if a.StatusCode != tt.status {
			t.Errorf("%s: status %d, want %d: %s", tt.name, a.StatusCode, tt.status, a.body)
			continue
		}
		want := tt.want
		if name, value, ok := strings.Cut(want, ": "); ok {
			if got := a.Header.Get(name); got != value {
				t.Errorf("%s: %s: %q, want %q", tt.name, name, got, value)
			}
		} else if !strings.HasPrefix(a.body, want) {
			t.Errorf("%s: %q, want %q", tt.name, a.body, want)
		}
	}
	if host := <-shadow; host != "answers.test" {
		t.Errorf("the mirror was asked for %q, want the request's own host", host)
	}
	if n := mirrored.Load(); n != 1 {
		t.Errorf("%d requests were mirrored, want 1", n)
	}
}
