package istio

import (
	"fmt"
	"testing"

	networking "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"fairway.dev/routing"
	"fairway.dev/routing/dialect"
	"fairway.dev/routing/dialecttest"
)

// gatewayFor returns the Gateway of one of many teams, with hosts of its own on
// ports that all share.
func gatewayFor(i int, hosts ...string) *networkingv1.Gateway {
	o := &networkingv1.Gateway{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: fmt.Sprint("g", i)}}
	o.Spec.Selector = map[string]string{"istio": "ingressgateway"}
	own := append([]string{fmt.Sprintf("h%d.example.com", i)}, hosts...)
	o.Spec.Servers = []*networking.Server{
		{Port: &networking.Port{Number: 80, Name: "http", Protocol: "HTTP"}, Hosts: own},
		{Port: &networking.Port{Number: 443, Name: "https", Protocol: "HTTPS"}, Hosts: own,
			Tls: &networking.ServerTLSSettings{Mode: networking.ServerTLSSettings_SIMPLE, CredentialName: fmt.Sprint("c", i)}},
	}
	return o
}

func manyGateways(n int) dialecttest.World {
	w := dialecttest.World{}
	f := &gatewayv1.Gateway{ObjectMeta: metav1.ObjectMeta{Namespace: "istio-system", Name: "ingress"}}
	f.Spec.GatewayClassName = "fairway"
	f.Spec.Infrastructure = &gatewayv1.GatewayInfrastructure{Labels: map[gatewayv1.LabelKey]gatewayv1.LabelValue{"istio": "ingressgateway"}}
	w.Put("Gateway", f)
	for i := range n {
		w.Put(KindGateway, gatewayFor(i))
		w.Put("Service", &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: fmt.Sprint("s", i)}})
	}
	return w
}

// TestEditsTouchTheirOwnGateway holds the cost of an edit: whatever the number
// of Gateways on a port, it runs the formulas of one.
func TestEditsTouchTheirOwnGateway(t *testing.T) {
	w := manyGateways(1000)
	tr := newTranslator(w, inCluster)
	tr.Update(w.Keys())
	var ran []dialect.ID
	tr.Sheet().Trace(func(id dialect.ID) { ran = append(ran, id) })
	tests := []struct {
		name   string
		edit   func() routing.ObjectKey
		atMost int
	}{
		{"another host", func() routing.ObjectKey { return w.Put(KindGateway, gatewayFor(500, "more.example.com")) }, 10},
		{"as it was", func() routing.ObjectKey { return w.Put(KindGateway, gatewayFor(500)) }, 10},
		{"a new one", func() routing.ObjectKey { return w.Put(KindGateway, gatewayFor(1000)) }, 12},
		{"its Secret", func() routing.ObjectKey {
			return w.Put("Secret", &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "istio-system", Name: "c500"}})
		}, 4},
		{"a listener of Gateway API on another port", func() routing.ObjectKey {
			f := *w[routing.ObjectKey{Kind: "Gateway", Namespace: "istio-system", Name: "ingress"}].(*gatewayv1.Gateway)
			f.Spec.Listeners = []gatewayv1.Listener{{Name: "web", Port: 8080, Protocol: "HTTP"}}
			return w.Put("Gateway", &f)
		}, 25},
	}
	for _, tt := range tests {
		ran = nil
		tr.Update([]routing.ObjectKey{tt.edit()})
		if len(ran) > tt.atMost {
			t.Errorf("%s: %d formulas ran, want at most %d: %v", tt.name, len(ran), tt.atMost, ran[:min(len(ran), 40)])
		}
	}
}
