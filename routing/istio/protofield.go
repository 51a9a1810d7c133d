package istio

import (
	"slices"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// setFields returns the fields of a message that are set, but for some, as they
// are written in YAML and in their order.
func setFields(m proto.Message, but ...string) []string {
	var fields []protoreflect.FieldDescriptor
	m.ProtoReflect().Range(func(f protoreflect.FieldDescriptor, _ protoreflect.Value) bool {
		fields = append(fields, f)
		return true
	})
	slices.SortFunc(fields, func(a, b protoreflect.FieldDescriptor) int { return a.Index() - b.Index() })
	var names []string
	for _, f := range fields {
		if name := f.JSONName(); !slices.Contains(but, name) {
			names = append(names, name)
		}
	}
	return names
}
