package convert

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"go.yaml.in/yaml/v3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	ingressv1 "k8s.io/api/networking/v1"
)

// header is what tells which object a document is.
type header struct {
	APIVersion string            `json:"apiVersion"`
	Kind       string            `json:"kind"`
	Items      []json.RawMessage `json:"items"`
}

// Read adds the objects of a text of YAML or JSON to the input: of the kinds that
// it has, and of lists of them. It returns the kinds of others, which are passed
// over. What stands before a document that does not parse has been added.
func (in *Input) Read(text []byte) (passed []string, err error) {
	docs := yaml.NewDecoder(bytes.NewReader(text))
	for {
		var tree any
		if err := docs.Decode(&tree); errors.Is(err, io.EOF) {
			return passed, nil
		} else if err != nil {
			return passed, err
		}
		if tree == nil {
			continue // nothing but comments
		}
		doc, err := json.Marshal(tree)
		if err != nil {
			return passed, err
		}
		more, err := in.read(doc)
		passed = append(passed, more...)
		if err != nil {
			return passed, err
		}
	}
}

func (in *Input) read(doc []byte) (passed []string, err error) {
	var h header
	if err := json.Unmarshal(doc, &h); err != nil {
		return nil, err
	}
	if strings.HasSuffix(h.Kind, "List") && h.Items != nil {
		for _, item := range h.Items {
			more, err := in.read(item)
			passed = append(passed, more...)
			if err != nil {
				return passed, err
			}
		}
		return passed, nil
	}
	group, _, _ := strings.Cut(h.APIVersion, "/")
	switch group + " " + h.Kind {
	case "networking.istio.io Gateway":
		in.Gateways, err = read(in.Gateways, doc, new(networkingv1.Gateway))
	case "networking.istio.io VirtualService":
		in.VirtualServices, err = read(in.VirtualServices, doc, new(networkingv1.VirtualService))
	case "networking.istio.io DestinationRule":
		in.DestinationRules, err = read(in.DestinationRules, doc, new(networkingv1.DestinationRule))
	case "networking.istio.io ServiceEntry":
		in.ServiceEntries, err = read(in.ServiceEntries, doc, new(networkingv1.ServiceEntry))
	case "networking.k8s.io Ingress":
		in.Ingresses, err = read(in.Ingresses, doc, new(ingressv1.Ingress))
	case "v1 Service":
		in.Services, err = read(in.Services, doc, new(corev1.Service))
	default:
		return []string{h.Kind}, nil
	}
	return nil, err
}

func read[T any](list []*T, doc []byte, o *T) ([]*T, error) {
	if err := json.Unmarshal(doc, o); err != nil {
		return list, fmt.Errorf("%.80s: %w", doc, err)
	}
	return append(list, o), nil
}

// YAML writes the objects as documents, each with the findings of the objects
// that it was made of in front.
func (r *Result) YAML() ([]byte, error) {
	var b strings.Builder
	for i, o := range r.Objects {
		if i > 0 {
			b.WriteString("---\n")
		}
		for _, from := range r.From[o] {
			fmt.Fprintf(&b, "# Of %s.\n", from)
			for _, p := range r.Findings {
				if p.Origin.At("") == from.Origin() && r.first(from) == o {
					fmt.Fprintf(&b, "#   %s\n", Line(p))
				}
			}
		}
		text, err := manifest(o)
		if err != nil {
			return nil, err
		}
		b.Write(text)
	}
	return []byte(b.String()), nil
}

// manifest is an object as its author would write it.
func manifest(o Object) ([]byte, error) {
	text, err := json.Marshal(o)
	if err != nil {
		return nil, err
	}
	var tree map[string]any
	if err := yaml.Unmarshal(text, &tree); err != nil { // which keeps numbers whole, unlike JSON
		return nil, err
	}
	delete(tree, "status")
	if m, ok := tree["metadata"].(map[string]any); ok {
		delete(m, "creationTimestamp")
	}
	var b bytes.Buffer
	enc := yaml.NewEncoder(&b)
	enc.SetIndent(2)
	if err := enc.Encode(tree); err != nil {
		return nil, err
	}
	return b.Bytes(), enc.Close()
}
