package istio

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"fairway.dev/routing/dialecttest"
	"fairway.dev/routing/gatewayapi"
)

// FuzzTargetPart holds that the part of a cell says all of a target.
func FuzzTargetPart(f *testing.F) {
	f.Add(80, "", "", "")
	f.Add(-8080, "#tcp", "v1", "infra")
	f.Fuzz(func(t *testing.T, port int, as, subset, client string) {
		if as != "" && (as[0] != '#' || strings.ContainsAny(as, "|~")) || strings.ContainsAny(subset, "|~") || strings.Contains(client, "~") {
			return // no target
		}
		want := target{port, gatewayapi.Use(as), subset, client}
		if got := parseTarget(want.part()); got != want {
			t.Errorf("parseTarget(%q) = %+v, want %+v", want.part(), got, want)
		}
	})
}

// FuzzDestinationRule holds that whatever stands in a rule, the clusters that
// come of it can be in force.
func FuzzDestinationRule(f *testing.F) {
	f.Add(`{"host":"s","trafficPolicy":{"loadBalancer":{"consistentHash":{"httpCookie":{"name":"a","ttl":"1s","attributes":[{"name":"b"}]},"maglev":{"tableSize":"7"}}}}}`)
	f.Add(`{"host":"*","trafficPolicy":{"tls":{"mode":"SIMPLE","subjectAltNames":["a"],"sni":"b"},"outlierDetection":{"outlierDetectionHttpErrorCodes":[500]}}}`)
	f.Add(`{"host":"s","trafficPolicy":{"connectionPool":{"tcp":{"idleTimeout":"0s","tcpKeepalive":{"probes":4294967295}},"http":{"useClientProtocol":true}}}}`)
	f.Add(`{"host":"s","trafficPolicy":{"loadBalancer":{"localityLbSetting":{"distribute":[{"from":"a/*","to":{"b":100}}]},"warmup":{"duration":"1s","aggression":2}}}}`)
	f.Add(`{"host":"s","trafficPolicy":{"outlierDetection":{},"loadBalancer":{"localityLbSetting":{"failoverPriority":["","a=b"]}},"retryBudget":{"percent":1e300}}}`)
	f.Add(`{"host":"s","subsets":[{"name":"v1","trafficPolicy":{"portLevelSettings":[{"port":{"number":80},"tls":{"mode":"SIMPLE"}}]}}]}`)
	f.Fuzz(func(t *testing.T, spec string) {
		o := &networkingv1.DestinationRule{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "r"}}
		if protojson.Unmarshal([]byte(spec), &o.Spec) != nil {
			return
		}
		w := dialecttest.World{}
		svc := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "s"}}
		svc.Spec.Ports = []corev1.ServicePort{{Name: "http", Port: 80}}
		w.Put("Service", svc)
		w.Put(KindDestinationRule, o)
		w.Put("ConfigMap", lines("s from shop by infra", "s|v1 from shop by infra", "s from shop by infra tcp", "s from shop by infra tls"))
		checkClusters(t, dialecttest.NewResult().Apply(newSender(w, inCluster).Update(w.Keys())))
	})
}

// FuzzServiceEntry holds the same for ServiceEntries, and that nothing in one
// breaks the formulas.
func FuzzServiceEntry(f *testing.F) {
	f.Add(`{"hosts":["a.b"],"ports":[{"number":80,"name":"http","protocol":"HTTP"}],"resolution":"DNS"}`)
	f.Add(`{"hosts":["*.b"],"ports":[{"number":80,"name":"tcp","protocol":"TCP","targetPort":1}],"resolution":"DYNAMIC_DNS"}`)
	f.Add(`{"hosts":["a.b"],"ports":[{"number":80,"name":"h"}],"resolution":"STATIC","endpoints":[{"address":"1.2.3.4","ports":{"h":9},"locality":"a/b/c/d","weight":2}]}`)
	f.Fuzz(func(t *testing.T, spec string) {
		o := &networkingv1.ServiceEntry{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "e"}}
		if protojson.Unmarshal([]byte(spec), &o.Spec) != nil {
			return
		}
		w := dialecttest.World{}
		w.Put(KindServiceEntry, o)
		w.Put("ConfigMap", lines("a.b from shop by infra", "*.b from shop by infra", "a.b:80 from shop by infra tcp", "*.b:80 from shop by infra tls"))
		checkClusters(t, dialecttest.NewResult().Apply(newSender(w, inCluster).Update(w.Keys())))
	})
}

// lines are what routes send to.
func lines(list ...string) *corev1.ConfigMap {
	m := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "send"}}
	m.Data = map[string]string{"lines": strings.Join(list, "\n")}
	return m
}
