package provision

import (
	"slices"
	"strings"
	"testing"
)

// Who has a node proxy speak HBONE shows no certificate, and needs no token that
// istiod takes.
func TestMeshCAIsForWhoSpeaksHBONE(t *testing.T) {
	ca := &MeshCA{Address: "istiod.istio-system.svc:15012", ClusterID: "Kubernetes", TrustDomain: "cluster.local"}
	for _, tt := range []struct {
		name, listener string
		port           Port
		ca             *MeshCA
		want           bool
	}{
		{"a waypoint", mesh, hbone, ca, true},
		{"an ingress gateway, which hops to waypoints", "{name: http, port: 80, protocol: HTTP}", http80, ca, true},
		{"in a sandwich", mesh, sandwich, ca, false},
		{"by control", mesh, hbone, nil, false},
	} {
		w := wanted(t, gateway(t, "listeners: ["+tt.listener+"]"), "{}", tt.port)
		spec := w.podTemplate(&Options{MeshCA: tt.ca}).Spec
		flag := slices.ContainsFunc(spec.Containers[0].Args, func(arg string) bool { return strings.HasPrefix(arg, "-mesh-ca=") })
		volumes, mounts := len(spec.Volumes) == 3, len(spec.Containers[0].VolumeMounts) == 3
		if flag != tt.want || volumes != tt.want || mounts != tt.want {
			t.Errorf("%s: flag %v, volume %v, mounted %v, want all %v", tt.name, flag, volumes, mounts, tt.want)
		}
	}
}
