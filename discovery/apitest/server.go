// Package apitest is for tests only: an API server in memory, as far as the
// rooms that write to Kubernetes need one.
//
// A [Server] lists and watches, creates, patches and deletes. What writers rely
// on is the real thing: optimistic locking by resourceVersion and UID,
// server-side apply by the API server's own code, the status subresource,
// generations, finalizers. There is no validation, and of defaults there are
// few: one replica, a Service's cluster IP.
//
// Requests do not go over a network, so that a test with a Server can run in a
// bubble of testing/synctest.
package apitest

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/rest"
)

// An Object is what JSON has of an object.
type Object = map[string]any

// A kind is one that the server has.
type kind struct {
	schema.GroupVersionKind
	resource   string
	namespaced bool
	status     bool // there is a status subresource
}

// kinds are those that the server has.
var kinds = []kind{
	of("", "v1", "Namespace", "namespaces").withStatus().ofCluster(),
	of("", "v1", "ServiceAccount", "serviceaccounts"),
	of("", "v1", "ConfigMap", "configmaps"),
	of("", "v1", "Secret", "secrets"),
	of("coordination.k8s.io", "v1", "Lease", "leases"),
	of("", "v1", "Service", "services").withStatus(),
	of("", "v1", "Pod", "pods").withStatus(),
	of("", "v1", "Node", "nodes").withStatus().ofCluster(),
	of("apps", "v1", "Deployment", "deployments").withStatus(),
	of("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets").withStatus(),
	of("autoscaling", "v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers").withStatus(),
	of("gateway.networking.k8s.io", "v1", "GatewayClass", "gatewayclasses").withStatus().ofCluster(),
	of("gateway.networking.k8s.io", "v1", "Gateway", "gateways").withStatus(),
	of("gateway.networking.k8s.io", "v1", "ListenerSet", "listenersets").withStatus(),
	of("gateway.networking.k8s.io", "v1", "HTTPRoute", "httproutes").withStatus(),
	of("gateway.networking.k8s.io", "v1", "GRPCRoute", "grpcroutes").withStatus(),
	of("gateway.networking.k8s.io", "v1", "BackendTLSPolicy", "backendtlspolicies").withStatus(),
	of("networking.istio.io", "v1", "VirtualService", "virtualservices").withStatus(),
	of("admissionregistration.k8s.io", "v1", "ValidatingWebhookConfiguration", "validatingwebhookconfigurations").ofCluster(),
}

func of(group, version, name, resource string) kind {
	return kind{schema.GroupVersionKind{Group: group, Version: version, Kind: name}, resource, true, false}
}

func (k kind) withStatus() kind { k.status = true; return k }
func (k kind) ofCluster() kind  { k.namespaced = false; return k }

// Resource returns where the server has the objects of a kind.
func Resource(name string) (schema.GroupVersionResource, bool) {
	i := slices.IndexFunc(kinds, func(k kind) bool { return k.Kind == name })
	if i < 0 {
		return schema.GroupVersionResource{}, false
	}
	return kinds[i].GroupVersion().WithResource(kinds[i].resource), true
}

// A Request is one that the server has answered. Watches are not among them.
type Request struct {
	Method string
	Path   string
	Type   string // of the body's content
	Body   string
	Code   int // of the answer
}

// A Server is an API server. Its methods may be called from any goroutine.
type Server struct {
	t testing.TB

	mu      sync.Mutex
	version int
	objects map[string]Object // by resource, namespace and name
	events  []event
	more    chan struct{} // closed, and another one, with each event
	asked   []Request
	refuse  func(method, path string) int
	invalid map[string]string // fields, by resource
	dropped string            // a field of status
}

type event struct {
	kind   string // ADDED, MODIFIED, DELETED
	of     kind
	object Object
}

// New returns a Server without objects.
func New(t testing.TB) *Server {
	return &Server{t: t, version: 1000, objects: map[string]Object{}, more: make(chan struct{}), invalid: map[string]string{}}
}

// Config is for clients of the server.
func (s *Server) Config() *rest.Config {
	return &rest.Config{Host: "http://apitest", Transport: s, QPS: -1, ContentConfig: rest.ContentConfig{ContentType: "application/json"}}
}

// Refuse makes the server answer with the code that f returns; 0 is none.
func (s *Server) Refuse(f func(method, path string) int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refuse = f
}

// RefuseField makes the server refuse to write a field of a resource's objects,
// as validation does.
func (s *Server) RefuseField(resource, field string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.invalid[resource] = field
}

// Drop makes the server drop a field of every status, as it does with those
// that a definition does not have.
func (s *Server) Drop(field string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dropped = field
}

// Requests returns what was asked for since the last call, but for watches.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	asked := s.asked
	s.asked = nil
	return asked
}

// Writes returns those of Requests that were to change something.
func (s *Server) Writes() []Request {
	return slices.DeleteFunc(s.Requests(), func(r Request) bool { return r.Method == http.MethodGet })
}

// Apply creates objects, given as YAML, or replaces all but their status.
func (s *Server) Apply(manifests string) {
	s.t.Helper()
	for _, text := range strings.Split(manifests, "\n---\n") {
		var o Object
		if err := yaml.Unmarshal([]byte(text), &o); err != nil {
			s.t.Fatal(err)
		}
		k := s.kindNamed(o["kind"].(string))
		meta := o["metadata"].(Object)
		ns, _ := meta["namespace"].(string)
		name := meta["name"].(string)
		s.mu.Lock()
		old := s.objects[id(k, ns, name)]
		if old != nil {
			for _, kept := range []string{"uid", "creationTimestamp", "generation", "resourceVersion", "managedFields", "finalizers"} {
				if meta[kept] == nil && old["metadata"].(Object)[kept] != nil {
					meta[kept] = old["metadata"].(Object)[kept]
				}
			}
			if o["status"] == nil && old["status"] != nil {
				o["status"] = old["status"]
			}
		}
		s.put(k, ns, name, old, normal(o))
		s.mu.Unlock()
	}
}

// Object returns an object; nil where there is none.
func (s *Server) Object(kind, ns, name string) Object {
	k := s.kindNamed(kind)
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.objects[id(k, ns, name)]
	if o == nil {
		return nil
	}
	return normal(o)
}

// Names returns the names of the objects of a kind in a namespace, in order.
func (s *Server) Names(kind, ns string) []string {
	prefix := s.kindNamed(kind).resource + "/" + ns + "/"
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []string
	for key := range s.objects {
		if name, ok := strings.CutPrefix(key, prefix); ok {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

// Edit lets another manager change an object, in any of its fields.
func (s *Server) Edit(manager, kind, ns, name string, change func(Object)) {
	s.t.Helper()
	k := s.kindNamed(kind)
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.objects[id(k, ns, name)]
	if old == nil {
		s.t.Errorf("edit %s %s/%s: not there", kind, ns, name)
		return
	}
	o := normal(old)
	change(o)
	o, err := managed(k, old, normal(o), manager)
	if err != nil {
		s.t.Errorf("edit %s %s/%s: %v", kind, ns, name, err)
		return
	}
	s.put(k, ns, name, old, o)
}

// Delete deletes an object, whatever finalizers it has.
func (s *Server) Delete(kind, ns, name string) {
	s.t.Helper()
	k := s.kindNamed(kind)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.objects[id(k, ns, name)] == nil {
		s.t.Errorf("delete %s %s/%s: not there", kind, ns, name)
		return
	}
	s.take(k, ns, name)
}

func (s *Server) kindNamed(name string) kind {
	i := slices.IndexFunc(kinds, func(k kind) bool { return k.Kind == name })
	if i < 0 {
		s.t.Fatalf("kind %s: not one of the server's", name)
	}
	return kinds[i]
}

func id(k kind, ns, name string) string { return k.resource + "/" + ns + "/" + name }

// put stores o in the place of old, unless it is the same, and returns what
// there is now.
func (s *Server) put(k kind, ns, name string, old, o Object) Object {
	o["apiVersion"], o["kind"] = k.GroupVersion().String(), k.Kind
	meta := o["metadata"].(Object)
	delete(child(o, "status"), s.dropped)
	if old != nil && same(timeless(old), timeless(o)) {
		return old
	}
	s.version++
	what := "MODIFIED"
	if old == nil {
		what = "ADDED"
		meta["uid"] = fmt.Sprintf("uid-%d", s.version)
		meta["creationTimestamp"] = time.Now().UTC().Format(time.RFC3339)
		if meta["generation"] == nil { // a test may say that it was edited before
			meta["generation"] = float64(1)
		}
		defaults(k, o, s.version)
	} else if !same(old["spec"], o["spec"]) {
		meta["generation"] = old["metadata"].(Object)["generation"].(float64) + 1
	}
	meta["resourceVersion"] = strconv.Itoa(s.version)
	if finalizers, _ := meta["finalizers"].([]any); meta["deletionTimestamp"] != nil && len(finalizers) == 0 {
		s.take(k, ns, name)
		return o
	}
	s.objects[id(k, ns, name)] = o
	s.tell(event{what, k, o})
	return o
}

// timeless is o without the times of its managed fields: where nothing else is
// different there is nothing to write.
func timeless(o Object) Object {
	o = normal(o)
	fields, _ := o["metadata"].(Object)["managedFields"].([]any)
	for _, entry := range fields {
		delete(entry.(Object), "time")
	}
	return o
}

// take removes an object.
func (s *Server) take(k kind, ns, name string) {
	o := normal(s.objects[id(k, ns, name)])
	delete(s.objects, id(k, ns, name))
	s.version++
	o["metadata"].(Object)["resourceVersion"] = strconv.Itoa(s.version)
	s.tell(event{"DELETED", k, o})
}

func (s *Server) tell(e event) {
	s.events = append(s.events, e)
	close(s.more)
	s.more = make(chan struct{})
}

// defaults are those that the API server writes into a new object.
func defaults(k kind, o Object, n int) {
	spec, _ := o["spec"].(Object)
	switch {
	case k.Kind == "Deployment" && spec["replicas"] == nil:
		spec["replicas"] = float64(1)
	case k.Kind == "Service":
		ip := fmt.Sprintf("10.96.%d.%d", n/250%250, n%250)
		spec["clusterIP"], spec["clusterIPs"] = ip, []any{ip}
	}
}

// selected returns the objects of a kind in a namespace, or all, that a
// selector takes, in order.
func (s *Server) selected(k kind, ns, selector string) []Object {
	var out []Object
	for _, key := range slices.Sorted(maps.Keys(s.objects)) {
		if strings.HasPrefix(key, k.resource+"/") && takes(s.objects[key], ns, selector) {
			out = append(out, s.objects[key])
		}
	}
	return out
}

func takes(o Object, ns, selector string) bool {
	meta := o["metadata"].(Object)
	if ns != "" && meta["namespace"] != ns {
		return false
	}
	set := labels.Set{}
	for k, v := range child(meta, "labels") {
		set[k] = fmt.Sprint(v)
	}
	want, err := labels.Parse(selector)
	return err == nil && want.Matches(set)
}

func child(o Object, name string) Object {
	c, _ := o[name].(Object)
	return c
}

// normal returns o as JSON brings it, and a copy.
func normal(o Object) Object {
	data, err := json.Marshal(o)
	if err != nil {
		panic(err) // a test's own object
	}
	var out Object
	if err := json.Unmarshal(data, &out); err != nil {
		panic(err)
	}
	return out
}

func same(a, b any) bool {
	left, err := json.Marshal(a)
	if err != nil {
		panic(err) // it came out of JSON
	}
	right, err := json.Marshal(b)
	if err != nil {
		panic(err)
	}
	return string(left) == string(right)
}
