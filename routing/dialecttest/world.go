// Package dialecttest has what tests of the dialects share: a [World] that is
// read from YAML, and the [Result] of translating it, which prints. Only tests
// import it.
package dialecttest

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"fairway.dev/routing"
)

// A World is what a test says there is.
type World map[routing.ObjectKey]any

// Get returns an object, or nil.
func (w World) Get(k routing.ObjectKey) any { return w[k] }

// Keys are those of all objects, in their order.
func (w World) Keys() []routing.ObjectKey {
	return slices.SortedFunc(maps.Keys(w), routing.ObjectKey.Compare)
}

// Decode makes an object of a document's JSON, and says which kind it has in
// keys.
type Decode func(apiVersion, kind string, doc []byte) (key string, o metav1.Object, err error)

// Load puts the documents of a YAML text into the world. It returns their keys.
func (w World) Load(t testing.TB, text string, decode Decode) []routing.ObjectKey {
	t.Helper()
	var keys []routing.ObjectKey
	docs := yaml.NewDecoder(strings.NewReader(text))
	for {
		var doc map[string]any
		if err := docs.Decode(&doc); errors.Is(err, io.EOF) {
			return keys
		} else if err != nil {
			t.Fatalf("%v in\n%s", err, text)
		}
		if doc == nil {
			continue
		}
		data, err := json.Marshal(doc)
		if err != nil {
			t.Fatal(err)
		}
		version, _ := doc["apiVersion"].(string)
		kind, _ := doc["kind"].(string)
		key, o, err := decode(version, kind, data)
		if err != nil {
			t.Fatalf("%s %s: %v in\n%s", version, kind, err, data)
		}
		keys = append(keys, w.Put(key, o))
	}
}

// Strict decodes JSON into v, and refuses what v has no field for.
func Strict(data []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	return d.Decode(v)
}

// Put adds an object as the API server would: with a generation.
func (w World) Put(kind string, o metav1.Object) routing.ObjectKey {
	if o.GetGeneration() == 0 {
		o.SetGeneration(1)
	}
	k := routing.ObjectKey{Kind: kind, Namespace: o.GetNamespace(), Name: o.GetName()}
	w[k] = o
	return k
}

// Day is when things in tests are created, so that age is plain to see; 0 is
// never.
func Day(n int) metav1.Time {
	if n == 0 {
		return metav1.Time{}
	}
	return metav1.Time{Time: time.Date(2026, 1, n, 0, 0, 0, 0, time.UTC)}
}
