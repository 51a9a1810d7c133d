package istio

import (
	"fmt"
	"testing"

	"fairway.dev/routing"
	"fairway.dev/routing/dialecttest"
)

// What a Telemetry says of one Gateway is not told at the doors that gateways
// share: that Gateway has doors of its own, as long as there is such a Telemetry.
func TestTelemetryOfOneGatewayIsToldThereAlone(t *testing.T) {
	const mesh = `
apiVersion: v1
kind: Namespace
metadata: {name: %[1]s, labels: {istio.io/use-waypoint: waypoint}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {namespace: %[1]s, name: waypoint}
spec:
  gatewayClassName: fairway
  listeners: [{name: mesh, port: 15008, protocol: HBONE}]
---
`
	const cart = `
apiVersion: v1
kind: Service
metadata: {namespace: shop, name: cart}
spec: {clusterIP: 10.96.0.5, ports: [{name: http, port: 80}]}
---
`
	telemetry := func(ns, target string) string {
		return fmt.Sprintf(`
apiVersion: telemetry.istio.io/v1
kind: Telemetry
metadata: {namespace: %s, name: quiet}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, %s}]
  accessLogging: [{disabled: true}]
---
`, ns, target)
	}
	for _, tt := range []struct {
		name, telemetry string
		apart           bool
	}{
		{"none", "", false},
		{"of the Gateway", telemetry("bank", "kind: Gateway, name: waypoint"), true},
		{"of its class", telemetry("istio-system", "kind: GatewayClass, name: fairway"), true},
		{"of another Gateway", telemetry("bank", "kind: Gateway, name: other"), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := dialecttest.World{}
			load(t, w, fmt.Sprintf(mesh, "shop")+fmt.Sprintf(mesh, "bank")+cart+tt.telemetry)
			d, _ := newTranslator(w, inCluster).Update(w.Keys())
			quiet := map[routing.ListenerName]bool{}
			for _, l := range d.Listeners {
				if l.Inside {
					quiet[l.Name] = l.Telemetry != nil && l.Telemetry.AccessLog != nil && l.Telemetry.AccessLog.Off
				}
			}
			if off, apart := quiet["bank/waypoint/cart.shop:80"]; apart != tt.apart || off != tt.apart {
				t.Errorf("bank's waypoint has a door of its own: %v, that does not log: %v; want %v", apart, off, tt.apart)
			}
			if off, there := quiet["~/cart.shop:80"]; !there || off {
				t.Errorf("there is a shared door: %v, that does not log: %v; want true, false", there, off)
			}
		})
	}
}
