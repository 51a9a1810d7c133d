package feed

import (
	"errors"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/types/known/structpb"

	"fairway.dev/routing"
)

// The fields of Node.metadata.
const (
	gatewayField  = "gateway"  // "namespace/name"
	nodeField     = "node"     // of Kubernetes
	programField  = "program"  // its version
	problemsField = "problems" // all that stand; in acknowledgements
	refusedField  = "refused"  // names of resources that could not be read; beside problems; "*" is too many
)

const (
	maxProblems = 100 // of a pod; more are left out
	maxText     = 256 // bytes of each field
)

// Refused is the reason of a resource that a pod could not read.
const Refused routing.Reason = "Refused"

// A problem is routing.Problem on the wire.
type problem struct {
	Origin routing.Origin
	Reason routing.Reason
	Text   string
}

func wireProblems(list []*routing.Problem) []problem {
	var out []problem
	for _, p := range list[:min(len(list), maxProblems)] {
		text := ""
		if p.Err != nil {
			text = p.Err.Error()
		}
		out = append(out, problem{p.Origin, p.Reason, text})
	}
	return out
}

func fromWire(list []problem) []*routing.Problem {
	var out []*routing.Problem
	for _, p := range list[:min(len(list), maxProblems)] {
		out = append(out, &routing.Problem{Origin: p.Origin, Reason: p.Reason, Err: errors.New(p.Text)})
	}
	return out
}

// metadataOf returns Node.metadata of an acknowledgement. What is beyond the
// bounds is cut.
func metadataOf(problems []*routing.Problem, refused []string) *structpb.Struct {
	var list, names []*structpb.Value
	for _, p := range wireProblems(problems) {
		list = append(list, structpb.NewStructValue(&structpb.Struct{Fields: map[string]*structpb.Value{
			"kind":      text(p.Origin.Kind),
			"namespace": text(p.Origin.Namespace),
			"name":      text(p.Origin.Name),
			"field":     text(p.Origin.Field),
			"reason":    text(string(p.Reason)),
			"text":      text(p.Text),
		}}))
	}
	if len(refused) > maxProblems {
		refused = []string{wildcard} // so many that it does not matter which
	}
	for _, name := range refused {
		names = append(names, structpb.NewStringValue(name))
	}
	return &structpb.Struct{Fields: map[string]*structpb.Value{
		problemsField: structpb.NewListValue(&structpb.ListValue{Values: list}),
		refusedField:  structpb.NewListValue(&structpb.ListValue{Values: names}),
	}}
}

// problemsOf reads what metadataOf writes; ok is whether it is there. It
// believes nothing about sizes.
func problemsOf(m *structpb.Struct) (problems []*routing.Problem, refused []string, ok bool) {
	value, ok := m.GetFields()[problemsField]
	if !ok {
		return nil, nil, false
	}
	for _, v := range firstOf(value) {
		f := v.GetStructValue().GetFields()
		problems = append(problems, &routing.Problem{
			Origin: routing.Origin{
				Kind: cut(f["kind"].GetStringValue()), Namespace: cut(f["namespace"].GetStringValue()),
				Name: cut(f["name"].GetStringValue()), Field: cut(f["field"].GetStringValue()),
			},
			Reason: routing.Reason(cut(f["reason"].GetStringValue())),
			Err:    errors.New(cut(f["text"].GetStringValue())),
		})
	}
	for _, v := range firstOf(m.GetFields()[refusedField]) {
		name := v.GetStringValue()
		if len(name) > maxNameBytes {
			name = wildcard // of no resource, so that nothing may be believed
		}
		refused = append(refused, name)
	}
	return problems, refused, true
}

func firstOf(v *structpb.Value) []*structpb.Value {
	list := v.GetListValue().GetValues()
	return list[:min(len(list), maxProblems)]
}

func text(s string) *structpb.Value { return structpb.NewStringValue(cut(s)) }

// cut returns the beginning of s that is short enough, as UTF-8.
func cut(s string) string {
	if len(s) > maxText {
		s = s[:maxText]
		for !utf8.ValidString(s) && len(s) > maxText-utf8.UTFMax {
			s = s[:len(s)-1]
		}
	}
	return strings.ToValidUTF8(s, "?")
}
