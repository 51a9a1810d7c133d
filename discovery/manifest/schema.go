package manifest

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
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

// A schema is what a CustomResourceDefinition says of a kind's objects in one
// version. It is compiled when the first object asks, and serves any number of
// goroutines.
type schema struct {
	compile func() compiled
}

type compiled struct {
	shape  *structural.Structural
	values validation.SchemaValidator
	rules  *rules // nil where there are none
}

// withSchemas gives the kinds that have definitions their schemas.
func withSchemas(kinds []*kind) []*kind {
	for _, k := range kinds {
		if k.plural == "" {
			continue
		}
		k.schemas = map[string]*schema{}
		for _, version := range k.versions {
			k.schemas[version] = &schema{sync.OnceValue(func() compiled {
				c, err := k.compileSchema(version)
				if err != nil { // no input can cause it: the file is part of the program
					panic("bug: " + k.plural + ": " + err.Error())
				}
				return c
			})}
		}
	}
	return kinds
}

func (k *kind) compileSchema(version string) (compiled, error) {
	crd, err := k.definition()
	if err != nil {
		return compiled{}, err
	}
	props, err := schemaProps(crd, version)
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

// definition returns the kind's CustomResourceDefinition.
func (k *kind) definition() (*apiextensionsv1.CustomResourceDefinition, error) {
	name := k.group + "_" + k.plural + ".yaml"
	if strings.HasSuffix(k.group, "istio.io") {
		name = "istio/" + name
	}
	data, err := crds.Files.ReadFile(name)
	if err != nil {
		return nil, err
	}
	t, err := parse(data)
	if err != nil {
		return nil, err
	}
	data, err = json.Marshal(t.root)
	if err != nil {
		return nil, err
	}
	crd := &apiextensionsv1.CustomResourceDefinition{}
	return crd, json.Unmarshal(data, crd)
}

// schemaProps returns the schema of a version in a definition.
func schemaProps(crd *apiextensionsv1.CustomResourceDefinition, version string) (*apiextensions.JSONSchemaProps, error) {
	for _, v := range crd.Spec.Versions {
		if v.Name == version {
			var in apiextensions.CustomResourceValidation
			err := apiextensionsv1.Convert_v1_CustomResourceValidation_To_apiextensions_CustomResourceValidation(v.Schema, &in, nil)
			return in.OpenAPIV3Schema, err
		}
	}
	return nil, errors.New("no version " + version)
}

// admit does to t what the API server does to an object that is created with
// strict field validation: it refuses unknown fields, sets defaults and
// validates, by the schema of the version that the object is written in. What
// is refused may be half changed.
//
// Rules about a change of an object (oldSelf) hold nothing here: a folder has
// no memory of what it once was.
func (k *kind) admit(t tree, version string) []fault {
	c := k.schemas[version].compile()
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
