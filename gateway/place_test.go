package main

import (
	"maps"
	"testing"

	"fairway.dev/discovery/feed"
)

// The label istio-locality has dots for slashes, and may say less than all.
func TestPartsOfALocality(t *testing.T) {
	tests := []struct{ label, region, zone, subZone string }{
		{"europe-west1.europe-west1-b.rack-7", "europe-west1", "europe-west1-b", "rack-7"},
		{"europe-west1.europe-west1-b", "europe-west1", "europe-west1-b", ""},
		{"europe-west1", "europe-west1", "", ""},
		{"a.b.c.d", "a", "b", "c.d"},
	}
	for _, tt := range tests {
		if region, zone, subZone := partsOf(tt.label); region != tt.region || zone != tt.zone || subZone != tt.subZone {
			t.Errorf("partsOf(%q) = %q, %q, %q, want %q, %q, %q", tt.label, region, zone, subZone, tt.region, tt.zone, tt.subZone)
		}
	}
}

// failoverPriority of a DestinationRule names labels of the topology beside
// those of pods.
func TestLabelsOfThePlace(t *testing.T) {
	p := feed.Place{Region: "r", Zone: "z", Labels: map[string]string{"version": "v1", "topology.kubernetes.io/zone": "what the pod says"}}
	want := map[string]string{
		"version": "v1", "topology.kubernetes.io/region": "r", "topology.kubernetes.io/zone": "z", "kubernetes.io/hostname": "node-1",
	}
	if got := topology(p, "node-1"); !maps.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if len(p.Labels) != 2 {
		t.Error("the labels of the pod have changed")
	}
}
