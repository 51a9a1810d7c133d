package cluster

import (
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	networking "istio.io/api/networking/v1alpha3"
)

// Pods are watched for the DestinationRules that look at their labels, and for
// no others.
func TestDestinationRulesThatReadPods(t *testing.T) {
	for spec, want := range map[string]bool{
		`{"host": "a"}`: false,
		`{"host": "a", "trafficPolicy": {"loadBalancer": {"simple": "RANDOM"}, "outlierDetection": {}}}`:                                              false,
		`{"host": "a", "subsets": [{"name": "v1"}]}`:                                                                                                  true,
		`{"host": "a", "trafficPolicy": {"loadBalancer": {"localityLbSetting": {"failoverPriority": ["version"]}}}}`:                                  true,
		`{"host": "a", "trafficPolicy": {"portLevelSettings": [{"port": {"number": 80}, "loadBalancer": {"localityLbSetting": {"enabled": true}}}]}}`: true,
	} {
		rule := &networking.DestinationRule{}
		if err := protojson.Unmarshal([]byte(spec), rule); err != nil {
			t.Fatal(err)
		}
		if got := readsPods(rule); got != want {
			t.Errorf("%s: %t, want %t", spec, got, want)
		}
	}
}
