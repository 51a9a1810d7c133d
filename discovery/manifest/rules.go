package manifest

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	celgo "github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	structural "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel/model"
	"k8s.io/apimachinery/pkg/util/validation/field"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	apicel "k8s.io/apiserver/pkg/cel"
	"k8s.io/apiserver/pkg/cel/common"
	"k8s.io/apiserver/pkg/cel/environment"
)

// rules are the x-kubernetes-validations of a schema: those of one node, and
// of all below it. They are compiled and evaluated by the API server's own
// packages; only the walk is ours, as its own builds the schemas of an
// object's fields anew for each field that a rule mentions, which was half of
// the time and two thirds of the memory that a load took. A test holds the two
// against each other.
type rules struct {
	view     *view
	programs []program
	fields   map[string]*rules
	items    *rules
	values   *rules // of a mapping with names that the schema does not list
}

// A program is one rule.
type program struct {
	celgo.Program
	source, message string
}

// A view is a schema as the values of rules see it.
type view struct {
	model.Structural
	items      common.Schema
	properties map[string]common.Schema
	additional *view
}

func newView(s *structural.Structural) *view {
	v := &view{Structural: model.Structural{Structural: s}}
	if s.Items != nil {
		v.items = newView(s.Items)
	}
	if s.Properties != nil {
		v.properties = make(map[string]common.Schema, len(s.Properties))
	}
	for name, p := range s.Properties {
		v.properties[name] = newView(&p)
	}
	if a := s.AdditionalProperties; a != nil && a.Structural != nil {
		v.additional = newView(a.Structural)
	}
	return v
}

func (v *view) Items() common.Schema                 { return v.items }
func (v *view) Properties() map[string]common.Schema { return v.properties }
func (v *view) AdditionalProperties() common.SchemaOrBool {
	if v.additional == nil {
		return v.Structural.AdditionalProperties()
	}
	return v
}

// Schema and Allows make a view its own common.SchemaOrBool.
func (v *view) Schema() common.Schema { return v.additional }
func (v *view) Allows() bool          { return true }

// compileRules compiles the rules of a resource's schema; nil where it has
// none. It takes what the definitions of Gateway API use: no messages or
// places that are computed.
func compileRules(s *structural.Structural) (*rules, error) {
	v := newView(model.WithTypeAndObjectMeta(s))
	return compileNode(s, v, model.SchemaDeclType(s, true), environment.MustBaseEnvSet(environment.DefaultCompatibilityVersion()))
}

func compileNode(s *structural.Structural, v *view, t *apicel.DeclType, env *environment.EnvSet) (*rules, error) {
	r := &rules{view: v, fields: map[string]*rules{}}
	errs := []error{r.compile(s, t, env)}
	var err error
	if s.Items != nil && t != nil {
		r.items, err = compileNode(s.Items, v.items.(*view), t.ElemType, env)
		errs = append(errs, err)
	}
	if v.additional != nil && t != nil {
		r.values, err = compileNode(s.AdditionalProperties.Structural, v.additional, t.ElemType, env)
		errs = append(errs, err)
	}
	for name, p := range s.Properties {
		escaped, ok := apicel.Escape(name)
		if !ok || t == nil || t.Fields[escaped] == nil {
			continue // a field that rules cannot name, of a type that they do not know
		}
		child, err := compileNode(&p, v.properties[name].(*view), t.Fields[escaped].Type, env)
		errs = append(errs, err)
		if child != nil {
			r.fields[name] = child
		}
	}
	if len(r.programs)+len(r.fields) == 0 && r.items == nil && r.values == nil {
		r = nil
	}
	return r, errors.Join(errs...)
}

// compile compiles the rules of one node. Those that compare with an earlier
// version of the object (oldSelf) never apply to one that is created.
func (r *rules) compile(s *structural.Structural, t *apicel.DeclType, env *environment.EnvSet) error {
	results, err := cel.Compile(s, t, celconfig.PerCallLimit, env, cel.StoredExpressionsEnvLoader())
	if err != nil {
		return err
	}
	for i, c := range results {
		rule := s.XValidations[i]
		switch {
		case c.Error != nil:
			return c.Error
		case rule.MessageExpression != "" || rule.FieldPath != "" || rule.Reason != nil || rule.OptionalOldSelf != nil:
			return fmt.Errorf("rule %q: want one without messageExpression, fieldPath, reason and optionalOldSelf", rule.Rule)
		case c.Program != nil && !c.UsesOldSelf:
			r.programs = append(r.programs, program{c.Program, strings.TrimSpace(rule.Rule), strings.TrimSpace(rule.Message)})
		}
	}
	return nil
}

// A budget bounds what the rules may cost on one object, in CEL's units.
type budget int64

// validate evaluates the rules on a value. The order of errors is that of
// fields.
func (r *rules) validate(at *field.Path, value any, left *budget) (errs field.ErrorList) {
	if r == nil || value == nil || *left < 0 {
		return nil
	}
	if len(r.programs) > 0 {
		self := activation{common.UnstructuredToVal(value, r.view)}
		for _, p := range r.programs {
			if broken := p.evaluate(self, left); broken != nil {
				what := shown(value)
				if broken.unable {
					what = r.view.Type()
				}
				errs = append(errs, field.Invalid(at, what, broken.message))
			}
		}
	}
	switch value := value.(type) {
	case []any:
		for i, v := range value {
			if r.items == nil {
				break
			}
			errs = append(errs, r.items.validate(at.Index(i), v, left)...)
		}
	case tree:
		for name, v := range value {
			errs = append(errs, r.fields[name].validate(at.Child(name), v, left)...)
			errs = append(errs, r.values.validate(at.Key(name), v, left)...)
		}
	}
	return errs
}

// broken is why a rule does not hold, or that it cannot be evaluated: on a text
// that is no duration, say.
type broken struct {
	message string
	unable  bool
}

// evaluate returns nil where the rule holds.
func (p program) evaluate(self activation, left *budget) *broken {
	if *left < 0 {
		return nil
	}
	result, details, err := p.Eval(self)
	cost := uint64(math.MaxInt64)
	if details != nil && details.ActualCost() != nil {
		cost = *details.ActualCost()
	}
	*left -= budget(min(cost, math.MaxInt64))
	what := cmp.Or(p.message, "failed rule: "+p.source)
	switch {
	case *left < 0:
		return &broken{message: "validation failed due to running out of cost budget, no further validation rules will be run"}
	case err != nil:
		return &broken{fmt.Sprintf("%v evaluating rule: %s", err, cmp.Or(p.message, p.source)), true}
	case result != types.True:
		return &broken{message: what}
	}
	return nil
}

// activation gives a rule its self.
type activation struct{ self ref.Val }

func (a activation) ResolveName(name string) (any, bool) { return a.self, name == cel.ScopedVarName }
func (a activation) Parent() celgo.Activation            { return nil }

// shown is what an error says of the value: what is large is left out.
func shown(value any) any {
	switch value.(type) {
	case tree, []any:
		return field.OmitValueType{}
	}
	return value
}

// byField orders errors, which come in the order of Go's maps.
func byField(errs field.ErrorList) field.ErrorList {
	slices.SortStableFunc(errs, func(a, b *field.Error) int {
		return cmp.Or(cmp.Compare(a.Field, b.Field), cmp.Compare(a.Detail, b.Detail))
	})
	return errs
}
