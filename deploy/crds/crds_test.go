package crds

import (
	"bytes"
	"io/fs"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/gateway-api/pkg/consts"
)

// What a cluster needs for all that Fairway serves.
func TestDefinitions(t *testing.T) {
	names, err := fs.Glob(Files, "*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"fairway.dev_gatewayparameters.yaml",
		"fairway.dev_ratelimitpolicies.yaml",
		"gateway.networking.k8s.io_backendtlspolicies.yaml",
		"gateway.networking.k8s.io_gatewayclasses.yaml",
		"gateway.networking.k8s.io_gateways.yaml",
		"gateway.networking.k8s.io_grpcroutes.yaml",
		"gateway.networking.k8s.io_httproutes.yaml",
		"gateway.networking.k8s.io_listenersets.yaml",
		"gateway.networking.k8s.io_referencegrants.yaml",
		"gateway.networking.k8s.io_tcproutes.yaml",
		"gateway.networking.k8s.io_tlsroutes.yaml",
		"gateway.networking.k8s.io_udproutes.yaml",
		"gateway.networking.x-k8s.io_xbackendtrafficpolicies.yaml",
	}
	if !slices.Equal(names, want) {
		t.Errorf("definitions %q, want %q", names, want)
	}
}

// Gateway API's definitions are those of the module whose types the program
// reads them into, and of the channel that has what Fairway serves.
func TestVersion(t *testing.T) {
	entries, err := Files.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), "gateway.networking.") {
			continue
		}
		text, err := Files.ReadFile(e.Name())
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{
			consts.BundleVersionAnnotation + ": " + consts.BundleVersion + "\n",
			consts.ChannelAnnotation + ": experimental\n",
		} {
			if !bytes.Contains(text, []byte(want)) {
				t.Errorf("%s: no %q", e.Name(), want)
			}
		}
	}
}
