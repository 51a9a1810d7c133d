package istio

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"
	networking "istio.io/api/networking/v1alpha3"
)

// TestEveryFieldIsInAGoldenFile holds that no field of what can be sent to is
// forgotten, nor any that a later version of the API adds. Below messages that
// are refused as a whole nothing is looked at.
func TestEveryFieldIsInAGoldenFile(t *testing.T) {
	files, err := filepath.Glob("testdata/destinations/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no golden files: %v", err)
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
	for _, spec := range []protoreflect.ProtoMessage{&networking.DestinationRule{}, &networking.ServiceEntry{}, &networking.WorkloadEntry{}} {
		walk(spec.ProtoReflect().Descriptor())
	}
}
