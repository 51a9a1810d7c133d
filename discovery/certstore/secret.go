package certstore

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	storeLabel       = "fairway.dev/certstore"
	keyAnnotation    = "fairway.dev/key"    // the file, or the folder of a site
	filesAnnotation  = "fairway.dev/file."  // and the file: when it was written, and its size
	secretNamePrefix = "fairway-certstore-" // before a digest of the key
	wholeFile        = "value"              // of a file that has a Secret of its own
)

// A place is where a file is kept.
type place struct {
	secret string // the Secret's name
	key    string // the file, or its site's folder
	file   string // the key of the Secret's data
}

// placeOf returns where a file is. A file of a site is one that is called as its
// folder is, with an extension: certificates/ca/shop.example.com/shop.example.com.crt.
func placeOf(key string) (place, error) {
	if key == "" || key != path.Clean(key) || strings.HasPrefix(key, "/") || strings.HasPrefix(key, "../") || key == ".." || key == "." {
		return place{}, fmt.Errorf("key %q: want a path without a leading or trailing slash", key)
	}
	folder, name := path.Split(key)
	folder = strings.TrimSuffix(folder, "/")
	at := place{key: key, file: wholeFile}
	if ext := path.Ext(name); len(ext) > 1 && folder != "" && name == path.Base(folder)+ext && isDataKey(ext[1:]) && ext[1:] != wholeFile {
		at.key, at.file = folder, ext[1:]
	}
	at.secret = SecretName(at.key)
	return at, nil
}

// isDataKey reports whether text can be a part of an annotation's name and of a
// Secret's key.
func isDataKey(text string) bool {
	for _, c := range []byte(text) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') {
			return false
		}
	}
	return len(text) <= 32
}

// SecretName is the name of the Secret of a site, by its folder, or of another
// file.
func SecretName(key string) string {
	sum := sha256.Sum256([]byte(key))
	return secretNamePrefix + hex.EncodeToString(sum[:16])
}

// path returns the key of a file in the Secret of that key.
func pathOf(key, file string) string {
	if file == wholeFile {
		return key
	}
	return key + "/" + path.Base(key) + "." + file
}

// note is what an annotation says of a file.
func note(value []byte, now time.Time) string {
	return fmt.Sprintf("%s %d", now.UTC().Format(time.RFC3339Nano), len(value))
}

func (p place) annotation() string { return filesAnnotation + p.file }

func (p place) patch(value []byte, now time.Time) any {
	return map[string]any{
		"metadata": map[string]any{"annotations": map[string]string{p.annotation(): note(value, now), keyAnnotation: p.key}},
		"data":     map[string][]byte{p.file: value},
	}
}

func (p place) cut() any {
	return map[string]any{
		"metadata": map[string]any{"annotations": map[string]any{p.annotation(): nil}},
		"data":     map[string]any{p.file: nil},
	}
}

func (p place) newSecret(value []byte, now time.Time) *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Name: p.secret,
			Labels: map[string]string{
				storeLabel: "true", "app.kubernetes.io/name": "fairway", "app.kubernetes.io/managed-by": "fairway",
			},
			Annotations: map[string]string{keyAnnotation: p.key, p.annotation(): note(value, now)},
		},
		Data: map[string][]byte{p.file: value},
	}
}

// metadata is a Secret without its contents.
type metadata struct {
	metav1.ObjectMeta `json:"metadata"`
}

// A file is one in a Secret.
type file struct {
	path     string
	modified time.Time
	size     int64
}

func (m *metadata) key() string { return m.Annotations[keyAnnotation] }

// files returns the files of the Secret by the keys of its data.
func (m *metadata) files() []string {
	var out []string
	for name := range m.Annotations {
		if f, ok := strings.CutPrefix(name, filesAnnotation); ok {
			out = append(out, f)
		}
	}
	return out
}

// paths returns the files of the Secret. What somebody else has made of its
// annotations counts as nothing.
func (m *metadata) paths() []file {
	if m.key() == "" || m.Name != SecretName(m.key()) {
		return nil
	}
	var out []file
	for _, name := range m.files() {
		when, size, _ := strings.Cut(m.Annotations[filesAnnotation+name], " ")
		f := file{path: pathOf(m.key(), name)}
		f.modified, _ = time.Parse(time.RFC3339Nano, when)
		f.modified = cmp.Or(f.modified, m.CreationTimestamp.Time)
		fmt.Sscan(size, &f.size)
		out = append(out, f)
	}
	return out
}

// file returns the file of a key, if the Secret holds it.
func (m *metadata) file(key string) *file {
	for _, f := range m.paths() {
		if f.path == key {
			return &f
		}
	}
	return nil
}
