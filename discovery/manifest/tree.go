package manifest

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"sync"

	"go.yaml.in/yaml/v3"
	"sigs.k8s.io/json"
)

// Limits on one document, or one file. The largest object that the API server takes (3 MiB)
// is far within them, and so is a List of thousands; what is beyond them would
// cost memory out of proportion to its size.
const (
	maxDepth   = 100
	maxLines   = 1 << 19 // and commas: each may be a node of some 200 bytes
	maxAliased = 100_000 // nodes that come in by aliases
	maxObjects = 50_000  // in a file, which is as many as it has documents
)

var errTooComplex = errors.New("too complex")

// A tree is a document as JSON has it: map[string]any, []any, string, int64,
// float64, bool and nil.
type tree = map[string]any

// A text is a document that was parsed, as a tree and, for the lines of its
// fields, as nodes.
type text struct {
	root  any
	line  int               // of the root, from 0
	nodes func() *yaml.Node // nil where there are none
}

// parse reads one document.
func parse(doc []byte) (text, error) {
	if n := bytes.Count(doc, []byte("\n")) + bytes.Count(doc, []byte(",")); n > maxLines {
		return text{}, fmt.Errorf("%w: %d lines and commas, want at most %d", errTooComplex, n, maxLines)
	}
	if isJSON(doc) {
		if root, err := parseJSON(doc); err == nil {
			// To YAML, a tab between tokens is an error; to JSON, space.
			return text{root, 0, sync.OnceValue(func() *yaml.Node {
				n, _ := parseNodes(bytes.ReplaceAll(doc, []byte("\t"), []byte(" ")))
				return n
			})}, nil
		} else if errors.Is(err, errTooComplex) || errors.Is(err, errTwice) {
			return text{}, err
		}
	}
	n, err := parseNodes(doc)
	if err != nil {
		return text{}, err
	}
	var g grower
	root, err := g.value(n, 0)
	return text{root, n.Line - 1, func() *yaml.Node { return n }}, err
}

// errTwice is two fields of one name in one mapping.
var errTwice = errors.New("given twice")

func parseJSON(doc []byte) (any, error) {
	var root any
	strict, err := json.UnmarshalStrict(doc, &root)
	if err != nil {
		return nil, err
	}
	if len(strict) > 0 {
		return nil, fmt.Errorf("%w: %w", errTwice, strict[0])
	}
	return root, checkDepth(root, 0)
}

func checkDepth(v any, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("%w: nested deeper than %d", errTooComplex, maxDepth)
	}
	switch v := v.(type) {
	case map[string]any:
		for _, e := range v {
			if err := checkDepth(e, depth+1); err != nil {
				return err
			}
		}
	case []any:
		for _, e := range v {
			if err := checkDepth(e, depth+1); err != nil {
				return err
			}
		}
	}
	return nil
}

// parseNodes reads one YAML document and returns what is in it.
func parseNodes(doc []byte) (*yaml.Node, error) {
	d := yaml.NewDecoder(bytes.NewReader(doc))
	var n, more yaml.Node
	if err := d.Decode(&n); err != nil {
		return nil, err
	}
	if err := d.Decode(&more); err != io.EOF {
		return nil, errors.New("more than one document, or not UTF-8: want documents in UTF-8, with --- between them")
	}
	return n.Content[0], nil
}

// A grower makes a tree of YAML nodes as kubectl does: by the rules of YAML
// 1.1, so "on" and "yes" are booleans, and then as JSON.
type grower struct {
	inside  int // aliases
	aliased int // nodes that were reached inside aliases
}

func (g *grower) value(n *yaml.Node, depth int) (any, error) {
	if depth > maxDepth {
		return nil, atLine(n, fmt.Errorf("%w: nested deeper than %d", errTooComplex, maxDepth))
	}
	if g.inside > 0 {
		if g.aliased++; g.aliased > maxAliased {
			return nil, atLine(n, fmt.Errorf("%w: aliases repeat more than %d nodes", errTooComplex, maxAliased))
		}
	}
	switch n.Kind {
	case yaml.AliasNode:
		g.inside++
		defer func() { g.inside-- }()
		return g.value(n.Alias, depth+1)
	case yaml.SequenceNode:
		list := make([]any, 0, len(n.Content))
		for _, c := range n.Content {
			v, err := g.value(c, depth+1)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		return list, nil
	case yaml.MappingNode:
		m := make(tree, len(n.Content)/2)
		return m, g.fill(m, n, depth)
	default:
		v, err := scalar(n)
		if err != nil {
			return nil, atLine(n, err)
		}
		return v, nil
	}
}

// fill puts the fields of a mapping into m, its own before those that it
// merges ("<<").
func (g *grower) fill(m tree, n *yaml.Node, depth int) error {
	var merged []*yaml.Node
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if isMerge(key) {
			merged = append(merged, value)
			continue
		}
		name, err := g.key(key)
		if err != nil {
			return atLine(key, err)
		}
		if _, ok := m[name]; ok {
			return atLine(key, fmt.Errorf("%q: %w in one mapping", name, errTwice))
		}
		v, err := g.value(value, depth+1)
		if err != nil {
			return err
		}
		m[name] = v
	}
	for _, n := range merged {
		if err := g.merge(m, n, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// merge adds to m what it has not yet of a mapping, or of several in order.
func (g *grower) merge(m tree, n *yaml.Node, depth int) error {
	v, err := g.value(n, depth)
	if err != nil {
		return err
	}
	list, ok := v.([]any)
	if !ok {
		list = []any{v}
	}
	for _, v := range list {
		from, ok := v.(tree)
		if !ok {
			return atLine(n, errors.New("<<: want a mapping, or a list of them"))
		}
		for name, v := range from {
			if _, ok := m[name]; !ok {
				m[name] = v
			}
		}
	}
	return nil
}

func isMerge(key *yaml.Node) bool {
	return key.Kind == yaml.ScalarNode && key.Value == "<<" && (key.Tag == "" || key.Tag == "!!merge")
}

// key returns a field's name. JSON has only strings there: numbers and
// booleans become how JSON writes them.
func (g *grower) key(n *yaml.Node) (string, error) {
	v, err := g.value(n, maxDepth-1)
	if err != nil {
		return "", err
	}
	switch v := v.(type) {
	case string:
		return v, nil
	case bool:
		return strconv.FormatBool(v), nil
	case int64:
		return strconv.FormatInt(v, 10), nil
	case float64:
		return strconv.FormatFloat(v, 'g', -1, 64), nil
	}
	return "", errors.New("a field's name: want a string")
}

func scalar(n *yaml.Node) (any, error) {
	plain := n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle) == 0
	if n.Style&yaml.TaggedStyle != 0 {
		switch n.Tag {
		case "!!binary":
			b, err := base64.StdEncoding.DecodeString(n.Value)
			return string(b), err
		case "!!int", "!!float", "!!bool", "!!null":
			plain = true
		default:
			return n.Value, nil
		}
	}
	if !plain {
		return n.Value, nil
	}
	return resolve(n.Value)
}

// resolve reads a plain scalar by the rules of YAML 1.1, but for base 60.
// Times stay strings, as they are in JSON.
func resolve(s string) (any, error) {
	switch s {
	case "", "~", "null", "Null", "NULL":
		return nil, nil
	case "y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON":
		return true, nil
	case "n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF":
		return false, nil
	case ".nan", ".NaN", ".NAN", ".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF", "-.inf", "-.Inf", "-.INF":
		return nil, fmt.Errorf("%s: want a number that JSON can write", s)
	}
	if c := s[0]; c != '+' && c != '-' && c != '.' && (c < '0' || c > '9') {
		return s, nil
	}
	return number(s), nil
}

// number returns the number that s is, or s.
func number(s string) any {
	digits := s
	if s[0] != '.' {
		digits = string(bytes.ReplaceAll([]byte(s), []byte("_"), nil))
	}
	if n, err := strconv.ParseInt(digits, 0, 64); err == nil {
		return n
	}
	if n, err := strconv.ParseUint(digits, 0, 64); err == nil {
		return float64(n)
	}
	for i, c := range []byte(digits) {
		sign := c == '+' || c == '-'
		if (c < '0' || c > '9') && c != '.' && c != 'e' && c != 'E' && !(sign && (i == 0 || digits[i-1]|0x20 == 'e')) {
			return s
		}
	}
	x, err := strconv.ParseFloat(digits, 64)
	switch {
	case err != nil:
		return s
	case x == math.Trunc(x) && math.Abs(x) < 1<<53:
		return int64(x) // JSON writes 1e3 as 1000
	}
	return x
}

// atLine gives err its line, in the form in which the parser does.
func atLine(n *yaml.Node, err error) error {
	if yamlLine.MatchString(err.Error()) {
		return err
	}
	return fmt.Errorf("yaml: line %d: %w", n.Line, err)
}
