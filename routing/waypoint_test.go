package routing

import "testing"

func TestClustersOfWaypointsAreToldByTheirNames(t *testing.T) {
	tests := []struct {
		name    ClusterName
		gateway string
		ok      bool
	}{
		{WaypointCluster("shop/waypoint"), "shop/waypoint", true},
		{NetworkCluster("west"), "~/west", true},
		{"mesh/cart:8080", "", false},    // a Service of the namespace mesh
		{"mesh/cart:8080/v1", "", false}, // and a part of its endpoints
		{"shop/mesh:80", "", false},
		{"mesh/", "", false},
	}
	for _, tt := range tests {
		gateway, ok := tt.name.Waypoint()
		if ok != tt.ok || ok && gateway != tt.gateway {
			t.Errorf("%s: %q, %v; want %q, %v", tt.name, gateway, ok, tt.gateway, tt.ok)
		}
	}
}
