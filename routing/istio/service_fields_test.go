package istio

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"
	meshv1alpha1 "istio.io/api/mesh/v1alpha1"
	networking "istio.io/api/networking/v1alpha3"
	security "istio.io/api/security/v1beta1"
)

// TestEveryFieldIsInAGoldenFile holds that no field of what can be sent to, and of
// what says who may, is forgotten, nor any that a later version of the API adds.
// Below messages that are refused as a whole nothing is looked at.
func TestEveryFieldIsInAGoldenFile(t *testing.T) {
	checkFields(t, []string{destinationFiles}, &networking.DestinationRule{}, &networking.ServiceEntry{}, &networking.WorkloadEntry{})
	checkFields(t, meshFiles, &security.AuthorizationPolicy{}, &security.RequestAuthentication{}, &security.PeerAuthentication{},
		&meshv1alpha1.MeshConfig_ExtensionProvider_EnvoyExternalAuthorizationHttpProvider{},
		&meshv1alpha1.MeshConfig_ExtensionProvider_EnvoyExternalAuthorizationGrpcProvider{})
}

// checkFields holds that each field of messages is in one of some files.
func checkFields(t *testing.T, patterns []string, specs ...protoreflect.ProtoMessage) {
	t.Helper()
	var files []string
	for _, pattern := range patterns {
		list, err := filepath.Glob(pattern)
		if err != nil || len(list) == 0 {
			t.Fatalf("%s: no golden files: %v", pattern, err)
		}
		files = append(files, list...)
	}
	var all strings.Builder
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(text)
	}
	refused := map[protoreflect.Name]bool{"ZoneAwareLoadBalancerSetting": true}
	seen := map[protoreflect.FullName]bool{}
	var walk func(m protoreflect.MessageDescriptor)
	walk = func(m protoreflect.MessageDescriptor) {
		if seen[m.FullName()] || refused[m.Name()] || !strings.HasPrefix(string(m.FullName()), "istio.") {
			return
		}
		seen[m.FullName()] = true
		for i := range m.Fields().Len() {
			f := m.Fields().Get(i)
			if !strings.Contains(all.String(), f.JSONName()+":") {
				t.Errorf("no golden file has %s of %s", f.JSONName(), m.Name())
			}
			if next := f.Message(); next != nil && !f.IsMap() {
				walk(next)
			}
		}
	}
	for _, spec := range specs {
		walk(spec.ProtoReflect().Descriptor())
	}
}
