package crds

import (
	"bytes"
	"io/fs"
	"testing"

	"sigs.k8s.io/gateway-api/pkg/consts"
)

// The definitions are those of the module whose types the program reads them
// into, and of the channel that has what Fairway serves.
func TestVersion(t *testing.T) {
	files, err := fs.Glob(Files, "gateway.networking.k8s.io_*.yaml")
	if err != nil || len(files) != 6 {
		t.Fatalf("%d definitions of Gateway API (%v), want 6", len(files), err)
	}
	for _, f := range files {
		text, err := Files.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{
			consts.BundleVersionAnnotation + ": " + consts.BundleVersion + "\n",
			consts.ChannelAnnotation + ": experimental\n",
		} {
			if !bytes.Contains(text, []byte(want)) {
				t.Errorf("%s: no %q", f, want)
			}
		}
	}
}
