package manifest

import (
	"context"
	"encoding/json"
	"errors"
	"sync"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	structural "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/listtype"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/objectmeta"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	celconfig "k8s.io/apiserver/pkg/apis/cel"

	"fairway.dev/deploy/crds"
)

// A schema is what a CustomResourceDefinition says of a kind's objects. It is
// compiled when the first object asks, and serves any number of goroutines.
type schema struct {
	plural  string
	compile func() compiled
}

type compiled struct {
	shape  *structural.Structural
	values validation.SchemaValidator
	rules  *rules // nil where there are none
}

func newSchema(plural string) *schema {
	return &schema{plural, sync.OnceValue(func() compiled {
		c, err := compileSchema(plural)
		if err != nil { // no input can cause it: the file is part of the program
			panic("bug: " + plural + ": " + err.Error())
		}
		return c
	})}
}

func compileSchema(plural string) (compiled, error) {
	data, err := crds.Files.ReadFile(gatewayGroup + "_" + plural + ".yaml")
	if err != nil {
		return compiled{}, err
	}
	props, err := schemaProps(data)
	if err != nil {
		return compiled{}, err
	}
	shape, err := structural.NewStructural(props)
	if err != nil {
		return compiled{}, err
	}
	shape = shape.DeepCopy() // it shares its defaults with props
	if err := defaulting.PruneDefaults(shape); err != nil {
		return compiled{}, err
	}
	values, _, err := validation.NewSchemaValidator(props)
	if err != nil {
		return compiled{}, err
	}
	rules, err := compileRules(shape)
	return compiled{shape, values, rules}, err
}

// schemaProps returns the schema of version v1 in a definition.
func schemaProps(data []byte) (*apiextensions.JSONSchemaProps, error) {
	t, err := parse(data)
	if err != nil {
		return nil, err
	}
	data, err = json.Marshal(t.root)
	if err != nil {
		return nil, err
	}
	var crd apiextensionsv1.CustomResourceDefinition
	if err := json.Unmarshal(data, &crd); err != nil {
		return nil, err
	}
	for _, v := range crd.Spec.Versions {
		if v.Name == "v1" {
			var in apiextensions.CustomResourceValidation
			err := apiextensionsv1.Convert_v1_CustomResourceValidation_To_apiextensions_CustomResourceValidation(v.Schema, &in, nil)
			return in.OpenAPIV3Schema, err
		}
	}
	return nil, errors.New("no version v1")
}

// admit does to t what the API server does to an object that is created with
// strict field validation: it refuses unknown fields, sets defaults and
// validates. What is refused may be half changed.
//
// Rules about a change of an object (oldSelf) hold nothing here: a folder has
// no memory of what it once was.
func (k *kind) admit(t tree) []fault {
	c := k.schema.compile()
	meta, faults := c.prune(t)
	if len(faults) > 0 {
		return faults
	}
	k.complete(meta)
	errs := k.checkMeta(meta)
	defaulting.PruneNonNullableNullsWithoutDefaults(t, c.shape)
	defaulting.Default(t, c.shape)
	delete(t, "status") // nobody's to give but ours
	errs = append(errs, validation.ValidateCustomResource(nil, t, c.values)...)
	errs = append(errs, objectmeta.Validate(context.Background(), nil, t, c.shape, false)...)
	errs = append(errs, listtype.ValidateListSetsAndMaps(nil, c.shape, t)...)
	if !blocksRules(errs) {
		left := budget(celconfig.RuntimeCELCostBudget)
		errs = append(errs, c.rules.validate(nil, t, &left)...)
	}
	return fieldFaults(InvalidObject, byField(errs))
}

// prune finds fields that the schema does not know, and reads the metadata.
func (c compiled) prune(t tree) (*metav1.ObjectMeta, []fault) {
	meta, found, unknown, err := objectmeta.GetObjectMetaWithOptions(t, objectmeta.ObjectMetaOptions{ReturnUnknownFieldPaths: true})
	if err != nil {
		return nil, []fault{typeFault("metadata", err)}
	}
	if !found {
		meta = &metav1.ObjectMeta{}
	}
	track := structural.UnknownFieldPathOptions{TrackUnknownFieldPaths: true}
	unknown = append(unknown, pruning.PruneWithOptions(t, c.shape, true, track)...)
	return meta, unknownFaults(unknown)
}

func unknownFaults(fields []string) []fault {
	faults := make([]fault, 0, len(fields))
	for _, f := range fields {
		faults = append(faults, fault{field: f, reason: UnknownField, err: errors.New("unknown field: want one that the API has")})
	}
	return faults
}

// blocksRules reports whether what is wrong already would mislead the rules.
func blocksRules(errs field.ErrorList) bool {
	for _, e := range errs {
		switch e.Type {
		case field.ErrorTypeNotSupported, field.ErrorTypeRequired, field.ErrorTypeTooLong,
			field.ErrorTypeTooMany, field.ErrorTypeTypeInvalid:
			return true
		}
	}
	return false
}
