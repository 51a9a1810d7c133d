package main

import "testing"

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
