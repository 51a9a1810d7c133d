package istio

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"testing"

	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/encoding/protojson"
	networking "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"fairway.dev/routing"
	"fairway.dev/routing/dialecttest"
)

// fuzzWorld is what a VirtualService in question finds.
const fuzzWorld = oracleWorld + `
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {namespace: shop, name: edge, creationTimestamp: "2026-01-01T00:00:00Z"}
spec:
  selector: {istio: ingressgateway}
  servers:
  - {port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"]}
  - {port: {number: 443, name: tls, protocol: TLS}, hosts: ["*.example.com"], tls: {mode: PASSTHROUGH}}
  - {port: {number: 5432, name: tcp, protocol: TCP}, hosts: ["*"]}
---
kind: Service
metadata: {namespace: shop, name: reviews}
spec: {ports: [{name: http, port: 9080}]}
---
kind: Service
metadata: {namespace: shop, name: ratings}
spec: {ports: [{name: http, port: 9080}, {name: tcp, port: 9090}]}
`

// FuzzVirtualService holds that whatever stands in a VirtualService, and in its
// delegate, its Report says what cannot work: Compile has nothing to add.
func FuzzVirtualService(f *testing.F) {
	for _, file := range routeFiles(f) {
		for _, spec := range specsIn(f, file) {
			f.Add(spec)
		}
	}
	f.Add([]byte(`{"hosts":["a.example.com"],"gateways":["edge"],"http":[null,{"match":[null],"route":[null],"mirrors":[null],"corsPolicy":{"allowOrigins":[null]},"fault":{"delay":{},"abort":{}},"rewrite":{},"headers":{}}],"tls":[null,{"match":[null],"route":[null]}],"tcp":[null,{"match":[null],"route":[null]}]}`))
	f.Add([]byte(`{"hosts":["*"],"gateways":["edge"],"http":[{"rewrite":{"uriRegexRewrite":{"match":"(a)","rewrite":"/\\2"}},"route":[{"destination":{"host":"reviews"}}]}]}`))
	for _, rule := range []string{
		`{"match":[{"queryParams":{"":{"exact":"a"}}},{"headers":{"":{"exact":"a"}}},{"headers":{"@request.auth.claims[a][]":{}}},{"headers":{"@request.auth.claims..":{"exact":"a"}}}],"directResponse":{"status":200}}`,
		`{"match":[{"headers":{"\u212a":{"exact":"a"},"x\u0000":{}}},{"uri":{"exact":"/a b"}},{"uri":{"prefix":"/\u00e4"}},{"method":{"exact":""}},{"uri":{"regex":"a{1000}"}}],"directResponse":{"status":200}}`,
		`{"redirect":{"authority":"[::1]:80","uri":"x"}}`,
		`{"redirect":{"authority":"10.0.0.1","derivePort":7}}`,
		`{"redirect":{}}`,
		`{"route":[{"destination":{"host":"reviews"},"headers":{"request":{"set":{"host":"a b"}}}}]}`,
		`{"route":[{"destination":{"host":"reviews"},"weight":2147483647},{"destination":{"host":"ratings"},"weight":2147483647}]}`,
		`{"route":[{"destination":{"host":"reviews","port":{"number":4294967295}},"weight":-2147483648}]}`,
		`{"route":[{"destination":{"host":"reviews"}}],"retries":{"attempts":2147483647,"retryOn":"99,600,1000,x,,"}}`,
		`{"route":[{"destination":{"host":"reviews"}}],"timeout":"315576000000s","retries":{"attempts":1,"backoff":"315576000000s"}}`,
		`{"route":[{"destination":{"host":"reviews"}}],"corsPolicy":{"allowOrigins":[{"exact":"http://a b"},{"regex":"("}],"allowMethods":[""]}}`,
		`{"route":[{"destination":{"host":"reviews"}}],"fault":{"delay":{"fixedDelay":"315576000000s","percentage":{"value":1e-9}},"abort":{"grpcStatus":"OK","percentage":{"value":100}}}}`,
		`{"route":[{"destination":{"host":"reviews"}}],"rewrite":{"uri":"no-slash","authority":":"}}`,
	} {
		f.Add([]byte(`{"hosts":["a.example.com"],"gateways":["edge"],"http":[` + rule + `]}`))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		w := dialecttest.World{}
		load(t, w, fuzzWorld)
		for _, name := range []string{"fuzzed", "part"} {
			o := &networkingv1.VirtualService{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name}}
			if protojson.Unmarshal(data, &o.Spec) != nil {
				return
			}
			if name == "part" {
				o.Spec.Hosts = nil
			}
			w.Put(KindVirtualService, o)
		}
		root := &networkingv1.VirtualService{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "root"}}
		root.Spec.Hosts, root.Spec.Gateways = []string{"root.example.com"}, []string{"edge"}
		root.Spec.Http = []*networking.HTTPRoute{{Delegate: &networking.Delegate{Name: "part"}, Headers: &networking.Headers{}}}
		w.Put(KindVirtualService, root)
		_, problems := routing.Compile(&translate(w, inCluster).Spec)
		for _, p := range problems {
			t.Errorf("%s: %v of\n%s", p.Reason, p, data)
		}
	})
}

// specsIn returns the specs of VirtualServices in a file, as JSON.
func specsIn(f *testing.F, file string) (specs [][]byte) {
	f.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		f.Fatal(err)
	}
	docs := yaml.NewDecoder(bytes.NewReader(text))
	for {
		var doc map[string]any
		if err := docs.Decode(&doc); errors.Is(err, io.EOF) {
			return specs
		} else if err != nil {
			f.Fatal(err)
		}
		if doc["kind"] != KindVirtualService {
			continue
		}
		spec, err := json.Marshal(doc["spec"])
		if err != nil {
			f.Fatal(err)
		}
		specs = append(specs, spec)
	}
}
