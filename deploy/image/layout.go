package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"time"
)

// The media types of OCI image-spec 1.1.
const (
	typeIndex    = "application/vnd.oci.image.index.v1+json"
	typeManifest = "application/vnd.oci.image.manifest.v1+json"
	typeConfig   = "application/vnd.oci.image.config.v1+json"
	typeLayer    = "application/vnd.oci.image.layer.v1.tar+gzip"
)

// An image is what the archive holds: one program for one or more platforms.
type image struct {
	ref       string
	created   time.Time
	labels    map[string]string
	platforms []platform
}

// A platform is the image of one operating system and architecture.
type platform struct {
	os, arch string
	layers   [][]file
}

// A file is an entry of a layer; a name that ends in a slash is a folder.
type file struct {
	name string
	mode int64
	data []byte
}

// descriptor, manifest, index and config are the parts of image-spec's JSON
// that are written here.
type descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int               `json:"size"`
	Platform    *platformJSON     `json:"platform,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

type platformJSON struct {
	OS           string `json:"os"`
	Architecture string `json:"architecture"`
}

type manifest struct {
	SchemaVersion int               `json:"schemaVersion"`
	MediaType     string            `json:"mediaType"`
	Config        descriptor        `json:"config"`
	Layers        []descriptor      `json:"layers"`
	Annotations   map[string]string `json:"annotations,omitempty"`
}

type index struct {
	SchemaVersion int               `json:"schemaVersion"`
	MediaType     string            `json:"mediaType"`
	Manifests     []descriptor      `json:"manifests"`
	Annotations   map[string]string `json:"annotations,omitempty"`
}

type config struct {
	Created string `json:"created"`
	platformJSON
	Config struct {
		User       string            `json:"User"`
		Entrypoint []string          `json:"Entrypoint"`
		WorkingDir string            `json:"WorkingDir"`
		Labels     map[string]string `json:"Labels"`
	} `json:"config"`
	RootFS struct {
		Type    string   `json:"type"`
		DiffIDs []string `json:"diff_ids"`
	} `json:"rootfs"`
}

// blobs are the contents of the layout by their digest.
type blobs map[string][]byte

func digest(data []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(data)) }

func (b blobs) add(mediaType string, data []byte) descriptor {
	d := digest(data)
	b[d] = data
	return descriptor{MediaType: mediaType, Digest: d, Size: len(data)}
}

func (b blobs) addJSON(mediaType string, v any) (descriptor, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return descriptor{}, err
	}
	return b.add(mediaType, data), nil
}

// write writes the archive to w and returns the digest of the image index,
// which is what a registry will know the image by.
func (im *image) write(w io.Writer) (string, error) {
	content := blobs{}
	all := index{SchemaVersion: 2, MediaType: typeIndex, Annotations: im.labels}
	for _, p := range im.platforms {
		d, err := im.addPlatform(content, p)
		if err != nil {
			return "", fmt.Errorf("%s/%s: %w", p.os, p.arch, err)
		}
		all.Manifests = append(all.Manifests, d)
	}
	top, err := content.addJSON(typeIndex, all)
	if err != nil {
		return "", err
	}
	top.Annotations = map[string]string{
		"io.containerd.image.name":          im.ref,
		"org.opencontainers.image.ref.name": im.ref,
	}
	entry, err := json.Marshal(index{SchemaVersion: 2, MediaType: typeIndex, Manifests: []descriptor{top}})
	if err != nil {
		return "", err
	}
	files := []file{
		{"oci-layout", 0o644, []byte(`{"imageLayoutVersion":"1.0.0"}`)},
		{"index.json", 0o644, entry},
		{"blobs/", 0o755, nil},
		{"blobs/sha256/", 0o755, nil},
	}
	digests := make([]string, 0, len(content))
	for d := range content {
		digests = append(digests, d)
	}
	slices.Sort(digests)
	for _, d := range digests {
		files = append(files, file{"blobs/sha256/" + d[len("sha256:"):], 0o644, content[d]})
	}
	return top.Digest, writeTar(w, im.created, files)
}

// addPlatform adds the layers, the config and the manifest of one platform.
func (im *image) addPlatform(content blobs, p platform) (descriptor, error) {
	on := platformJSON{OS: p.os, Architecture: p.arch}
	c := config{Created: im.created.Format(time.RFC3339), platformJSON: on}
	c.Config.User = user + ":" + user
	c.Config.Entrypoint = []string{"/fairway"}
	c.Config.WorkingDir = "/"
	c.Config.Labels = im.labels
	c.RootFS.Type = "layers"
	m := manifest{SchemaVersion: 2, MediaType: typeManifest, Annotations: im.labels}
	for _, files := range p.layers {
		var plain, packed bytes.Buffer
		if err := writeTar(&plain, im.created, files); err != nil {
			return descriptor{}, err
		}
		z := gzip.NewWriter(&packed)
		if _, err := z.Write(plain.Bytes()); err != nil {
			return descriptor{}, err
		}
		if err := z.Close(); err != nil {
			return descriptor{}, err
		}
		// The diff id is of the layer as it was before it was packed.
		c.RootFS.DiffIDs = append(c.RootFS.DiffIDs, digest(plain.Bytes()))
		m.Layers = append(m.Layers, content.add(typeLayer, packed.Bytes()))
	}
	var err error
	if m.Config, err = content.addJSON(typeConfig, c); err != nil {
		return descriptor{}, err
	}
	d, err := content.addJSON(typeManifest, m)
	d.Platform = &on
	return d, err
}

// writeTar writes files, all of root's and of one time.
func writeTar(w io.Writer, at time.Time, files []file) error {
	t := tar.NewWriter(w)
	for _, f := range files {
		h := &tar.Header{Name: f.name, Mode: f.mode, Size: int64(len(f.data)), ModTime: at, Typeflag: tar.TypeReg, Format: tar.FormatUSTAR}
		if f.name[len(f.name)-1] == '/' {
			h.Typeflag = tar.TypeDir
		}
		if err := t.WriteHeader(h); err != nil {
			return err
		}
		if _, err := t.Write(f.data); err != nil {
			return err
		}
	}
	return t.Close()
}
