package apitest

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	patchtypes "k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/client-go/applyconfigurations"
	"k8s.io/client-go/kubernetes/scheme"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	gatewayconfigurations "sigs.k8s.io/gateway-api/applyconfiguration"
)

// patch changes an object as the type of the request's content says.
func (s *Server) patch(r *http.Request, c call) (any, error) {
	old := s.objects[id(c.kind, c.ns, c.name)]
	kind := patchtypes.PatchType(r.Header.Get("Content-Type"))
	if old == nil && kind != patchtypes.ApplyPatchType {
		return nil, apierrors.NewNotFound(c.groupResource(), c.name)
	}
	var o Object
	var err error
	if kind == patchtypes.ApplyPatchType {
		o, err = s.apply(r, c, old)
	} else {
		o, err = edited(kind, c, old)
	}
	if err != nil {
		return nil, err
	}
	if path := s.invalid[c.kind.resource]; path != "" {
		return nil, apierrors.NewInvalid(c.kind.GroupKind(), c.name, field.ErrorList{field.Invalid(field.NewPath(path), "", "the test refuses it")})
	}
	if old != nil {
		if err := c.locked(old, o); err != nil {
			return nil, err
		}
		o = c.part(old, o)
	}
	return s.put(c.kind, c.ns, c.name, old, o), nil
}

// locked returns an error if o was made for another object, or another version
// of it, than old.
func (c call) locked(old, o Object) error {
	was, is := old["metadata"].(Object), o["metadata"].(Object)
	for _, field := range []string{"uid", "resourceVersion"} {
		if is[field] == nil {
			is[field] = was[field]
		}
		if was[field] != is[field] {
			return apierrors.NewConflict(c.groupResource(), c.name, fmt.Errorf("%s %v, and not %v", field, is[field], was[field]))
		}
	}
	return nil
}

// part is what a request may change: the status through its subresource, and
// all else without.
func (c call) part(old, o Object) Object {
	if !c.kind.status {
		return o
	}
	status := old["status"]
	if c.subresource == "status" {
		status, o = o["status"], normal(old)
	}
	delete(o, "status")
	if status != nil {
		o["status"] = status
	}
	return o
}

// edited is old after a merge patch (RFC 7386) or a JSON patch (RFC 6902).
func edited(kind patchtypes.PatchType, c call, old Object) (Object, error) {
	before, err := json.Marshal(old)
	if err != nil {
		return nil, err
	}
	var after []byte
	switch kind {
	case patchtypes.MergePatchType:
		after, err = jsonpatch.MergePatch(before, c.body)
	case patchtypes.JSONPatchType:
		var p jsonpatch.Patch
		if p, err = jsonpatch.DecodePatch(c.body); err == nil {
			after, err = p.Apply(before)
		}
		if err != nil { // a test that does not hold, too
			return nil, apierrors.NewGenericServerResponse(http.StatusUnprocessableEntity, "", c.groupResource(), c.name, err.Error(), 0, false)
		}
	default:
		return nil, apierrors.NewBadRequest("content type " + string(kind))
	}
	if err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	var o Object
	err = json.Unmarshal(after, &o)
	return o, err
}

// apply is old after a server-side apply.
func (s *Server) apply(r *http.Request, c call, old Object) (Object, error) {
	var applied Object
	if err := json.Unmarshal(c.body, &applied); err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	m, err := manager(c.kind)
	if err != nil {
		return nil, err
	}
	meta := applied["metadata"].(Object)
	if old == nil && meta["uid"] != nil {
		return nil, apierrors.NewConflict(c.groupResource(), c.name, errors.New("a uid, and no object"))
	}
	if old != nil {
		if err := c.locked(old, normal(applied)); err != nil {
			return nil, err
		}
	}
	live, err := typed(c.kind, old)
	if err != nil {
		return nil, err
	}
	delete(meta, "uid")
	delete(meta, "resourceVersion")
	config := &unstructured.Unstructured{Object: applied}
	config.SetGroupVersionKind(c.kind.GroupVersionKind)
	out, err := m.Apply(live, config, r.URL.Query().Get("fieldManager"), r.URL.Query().Get("force") == "true")
	if err != nil {
		return nil, err
	}
	return object(out)
}

// typed is o as Kubernetes' own type; without o an empty one.
func typed(k kind, o Object) (runtime.Object, error) {
	out, err := types.New(k.GroupVersionKind)
	if err != nil {
		return nil, err
	}
	if o != nil {
		data, err := json.Marshal(o)
		if err != nil {
			return nil, err
		}
		if err := json.Unmarshal(data, out); err != nil {
			return nil, err
		}
	}
	out.GetObjectKind().SetGroupVersionKind(k.GroupVersionKind)
	return out, nil
}

// object is what JSON has of a typed object.
func object(typed runtime.Object) (out Object, err error) {
	data, err := json.Marshal(typed)
	if err != nil {
		return nil, err
	}
	err = json.Unmarshal(data, &out)
	return out, err
}

// managed is o, after another manager changed old to it, with what that means
// for whose fields are whose. Kinds of custom resources have no such record.
func managed(k kind, old, o Object, by string) (Object, error) {
	if !scheme.Scheme.Recognizes(k.GroupVersionKind) {
		return o, nil
	}
	m, err := manager(k)
	if err != nil {
		return nil, err
	}
	before, err := typed(k, old)
	if err != nil {
		return nil, err
	}
	after, err := typed(k, o)
	if err != nil {
		return nil, err
	}
	out, err := m.Update(before, after, by)
	if err != nil {
		return nil, err
	}
	return object(out)
}

// nothing is a defaulter that sets nothing.
type nothing struct{}

func (nothing) Default(runtime.Object) {}

// manager is the API server's own keeper of whose fields are whose.
func manager(k kind) (*managedfields.FieldManager, error) {
	if !types.Recognizes(k.GroupVersionKind) {
		return nil, fmt.Errorf("%v: server-side apply is for kinds of Kubernetes and Gateway API", k.GroupVersionKind)
	}
	converter := applyconfigurations.NewTypeConverter(types)
	if k.Group == gatewayv1.GroupName {
		converter = gatewayconfigurations.NewTypeConverter(types)
	}
	return managedfields.NewDefaultFieldManager(converter, types, nothing{}, types, k.GroupVersionKind, k.GroupVersion(), "", nil)
}

// types are those whose fields the server knows.
var types = func() *runtime.Scheme {
	all := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{scheme.AddToScheme, gatewayv1.Install} {
		if err := add(all); err != nil {
			panic("bug: " + err.Error()) // two types of one name
		}
	}
	return all
}()
