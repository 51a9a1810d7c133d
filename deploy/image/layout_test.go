package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/x509"
	"encoding/json"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"
)

func testImage() *image {
	return &image{
		ref: "localhost/fairway:test", created: time.Unix(1700000000, 0).UTC(), labels: map[string]string{"a": "b", "c": "d"},
		platforms: []platform{
			{"linux", "amd64", [][]file{ground(), {{"fairway", 0o755, []byte("amd64 binary")}}}},
			{"linux", "arm64", [][]file{ground(), {{"fairway", 0o755, []byte("arm64 binary")}}}},
		},
	}
}

func archive(t *testing.T, im *image) []byte {
	t.Helper()
	var b bytes.Buffer
	if _, err := im.write(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// unpack reads a tar into its files' contents and modes.
func unpack(t *testing.T, data []byte) (contents map[string][]byte, modes map[string]int64) {
	t.Helper()
	contents, modes = map[string][]byte{}, map[string]int64{}
	for r := tar.NewReader(bytes.NewReader(data)); ; {
		h, err := r.Next()
		if err == io.EOF {
			return contents, modes
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Uid != 0 || h.Gid != 0 || h.ModTime.Unix() != 1700000000 {
			t.Errorf("%s: owner %d:%d, time %v, want root and the image's time", h.Name, h.Uid, h.Gid, h.ModTime)
		}
		if contents[h.Name], err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
		modes[h.Name] = h.Mode
	}
}

func TestSameBytesTwice(t *testing.T) {
	if !bytes.Equal(archive(t, testImage()), archive(t, testImage())) {
		t.Error("two archives of the same image differ")
	}
}

// image-spec 1.1, image-layout.md: a blob's name is its content's digest.
func TestBlobsAreNamedByTheirContent(t *testing.T) {
	files, _ := unpack(t, archive(t, testImage()))
	n := 0
	for name, data := range files {
		if hex, ok := strings.CutPrefix(name, "blobs/sha256/"); ok && hex != "" {
			n++
			if digest(data) != "sha256:"+hex {
				t.Errorf("%s has the digest %s", name, digest(data))
			}
		}
	}
	// An index, two manifests, two configs, two binaries, and the ground that both share.
	if n != 8 {
		t.Errorf("%d blobs, want 8", n)
	}
	if got := string(files["oci-layout"]); got != `{"imageLayoutVersion":"1.0.0"}` {
		t.Errorf("oci-layout = %s", got)
	}
}

func blob[T any](t *testing.T, files map[string][]byte, d descriptor) (v T) {
	t.Helper()
	data := files["blobs/sha256/"+strings.TrimPrefix(d.Digest, "sha256:")]
	if len(data) != d.Size {
		t.Fatalf("%s has %d bytes, its descriptor says %d", d.Digest, len(data), d.Size)
	}
	if err := json.Unmarshal(data, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

func TestEachPlatformRunsItsBinary(t *testing.T) {
	files, _ := unpack(t, archive(t, testImage()))
	var entry index
	if err := json.Unmarshal(files["index.json"], &entry); err != nil {
		t.Fatal(err)
	}
	if got := entry.Manifests[0].Annotations["io.containerd.image.name"]; got != "localhost/fairway:test" {
		t.Errorf("the image's name is %q", got)
	}
	for i, d := range blob[index](t, files, entry.Manifests[0]).Manifests {
		arch := []string{"amd64", "arm64"}[i]
		if d.Platform.OS != "linux" || d.Platform.Architecture != arch {
			t.Errorf("platform %d = %+v, want linux/%s", i, d.Platform, arch)
		}
		m := blob[manifest](t, files, d)
		c := blob[config](t, files, m.Config)
		if c.Config.User != "65532:65532" || !slices.Equal(c.Config.Entrypoint, []string{"/fairway"}) || c.Architecture != arch {
			t.Errorf("config of %s = %+v", arch, c)
		}
		if !maps.Equal(c.Config.Labels, testImage().labels) {
			t.Errorf("labels = %v", c.Config.Labels)
		}
		for j, l := range m.Layers {
			z, err := gzip.NewReader(bytes.NewReader(files["blobs/sha256/"+strings.TrimPrefix(l.Digest, "sha256:")]))
			if err != nil {
				t.Fatal(err)
			}
			plain, err := io.ReadAll(z)
			if err != nil {
				t.Fatal(err)
			}
			if digest(plain) != c.RootFS.DiffIDs[j] {
				t.Errorf("layer %d of %s: diff id %s, want %s", j, arch, c.RootFS.DiffIDs[j], digest(plain))
			}
			if j == 0 {
				continue
			}
			contents, modes := unpack(t, plain)
			if string(contents["fairway"]) != arch+" binary" || modes["fairway"] != 0o755 {
				t.Errorf("/fairway of %s = %q, mode %o", arch, contents["fairway"], modes["fairway"])
			}
		}
	}
}

func TestRootsAreReadable(t *testing.T) {
	if pool := x509.NewCertPool(); !pool.AppendCertsFromPEM(roots()) || pool.Equal(x509.NewCertPool()) {
		t.Error("no root certificate in the bundle")
	}
	if n := strings.Count(string(roots()), "BEGIN CERTIFICATE"); n < 100 {
		t.Errorf("%d root certificates, want the whole programme's", n)
	}
}
