package cluster

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/rest"
)

// An apiServer speaks list, watch and discovery over HTTP as the real one
// does, in JSON.
type apiServer struct {
	t    testing.TB
	http *httptest.Server // another one after each restart
	addr string

	mu      sync.Mutex
	changed *sync.Cond
	edits   int                                          // of definitions
	version int                                          // resourceVersion of the last event
	floor   int                                          // watches from before are told to list again
	objects map[schema.GroupResource]map[string]resource // by "namespace/name"
	events  []event                                      // since floor
	serves  map[schema.GroupVersion]map[string]bool      // plurals
	refuses map[string]int                               // plural: status of lists and watches
	fails   map[string]int                               // "secrets/namespace/name": status of its GET
	held    map[string]chan struct{}                     // "secrets/namespace/name": its GET waits
	asked   map[string]int                               // what was asked for: "GET secrets/shop/tls", "LIST ...", "WATCH ..."
	agents  map[string]bool                              // User-Agents
	streams bool                                         // lists, too
	open    map[context.Context]context.CancelFunc       // watches
}

type resource = map[string]any

type event struct {
	version int
	kind    string // ADDED, MODIFIED, DELETED
	of      schema.GroupResource
	object  resource
}

// allServed is the first version of every kind.
func allServed() map[schema.GroupVersion]map[string]bool {
	served := map[schema.GroupVersion]map[string]bool{}
	for _, k := range kinds {
		for _, v := range k.versions[:1] {
			gv := k.resource(v).GroupVersion()
			if served[gv] == nil {
				served[gv] = map[string]bool{}
			}
			served[gv][k.plural] = true
		}
	}
	return served
}

func newAPIServer(t testing.TB) *apiServer {
	a := &apiServer{
		t: t, version: 100, streams: true, serves: allServed(),
		objects: map[schema.GroupResource]map[string]resource{},
		refuses: map[string]int{}, fails: map[string]int{}, held: map[string]chan struct{}{},
		asked: map[string]int{}, agents: map[string]bool{}, open: map[context.Context]context.CancelFunc{},
	}
	a.changed = sync.NewCond(&a.mu)
	a.up()
	t.Cleanup(a.down)
	for _, k := range kinds {
		if k.defined() {
			a.define(k.name)
		}
	}
	return a
}

// up opens the server's port.
func (a *apiServer) up() {
	ln, err := net.Listen("tcp", cmp.Or(a.addr, "127.0.0.1:0"))
	if err != nil {
		a.t.Fatal(err)
	}
	a.addr = ln.Addr().String()
	a.http = &httptest.Server{Listener: ln, Config: &http.Server{Handler: a}}
	a.http.Start()
}

// down closes the port and all connections.
func (a *apiServer) down() {
	a.set(func() {
		for _, cancel := range a.open {
			cancel()
		}
	})
	a.http.CloseClientConnections()
	a.http.Close()
}

func (a *apiServer) config() *rest.Config { return &rest.Config{Host: a.addr} }

// define makes a kind's definition, or edits it.
func (a *apiServer) define(kind string) {
	k := kindNamed(kind)
	a.mu.Lock()
	a.edits++
	edit := a.edits
	a.mu.Unlock()
	a.apply(fmt.Sprintf(`
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata:
  name: %s
  annotations: {gateway.networking.k8s.io/bundle-version: v1.6.3, else: where}
spec: {group: %s, edit: %d}
`, k.definition().Name, k.group, edit))
}

// serve says in which versions a kind is served.
func (a *apiServer) serve(kind string, versions ...string) {
	k := kindNamed(kind)
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, v := range k.versions {
		gv := k.resource(v).GroupVersion()
		if a.serves[gv] == nil {
			a.serves[gv] = map[string]bool{}
		}
		delete(a.serves[gv], k.plural)
		if slices.Contains(versions, v) {
			a.serves[gv][k.plural] = true
		}
	}
}

// apply creates or replaces objects, given as YAML. As the real one does it
// keeps the status unless there is one given, and counts generations.
func (a *apiServer) apply(manifests string) {
	a.t.Helper()
	for _, text := range strings.Split(manifests, "\n---\n") {
		var o resource
		if err := yaml.Unmarshal([]byte(text), &o); err != nil {
			a.t.Fatal(err)
		}
		a.put(o)
	}
}

func (a *apiServer) put(o resource) {
	gv, err := schema.ParseGroupVersion(o["apiVersion"].(string))
	if err != nil {
		a.t.Fatal(err)
	}
	k := kindOf(gv.Group, o["kind"].(string))
	of := schema.GroupResource{Group: k.group, Resource: k.plural}
	meta := o["metadata"].(map[string]any)
	name := nameOf(meta)
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.objects[of] == nil {
		a.objects[of] = map[string]resource{}
	}
	a.version++
	kind := "ADDED"
	old, ok := a.objects[of][name]
	if ok {
		kind = "MODIFIED"
		was := old["metadata"].(map[string]any)
		meta["uid"], meta["generation"], meta["creationTimestamp"] = was["uid"], was["generation"], was["creationTimestamp"]
		if !reflect.DeepEqual(old["spec"], o["spec"]) {
			meta["generation"] = was["generation"].(int) + 1
		}
		if o["status"] == nil {
			o["status"] = old["status"]
		}
	} else {
		meta["uid"], meta["generation"] = fmt.Sprintf("uid-%d", a.version), 1
		meta["creationTimestamp"] = "2026-01-02T03:04:05Z"
	}
	meta["resourceVersion"] = strconv.Itoa(a.version)
	meta["managedFields"] = []any{map[string]any{"manager": "kubectl", "operation": "Update", "fieldsType": "FieldsV1", "fieldsV1": map[string]any{"f:spec": map[string]any{}}}}
	a.objects[of][name] = o
	a.record(kind, of, o)
}

// delete deletes an object: "HTTPRoute", "shop/cart".
func (a *apiServer) delete(kind, name string) {
	k := kindNamed(kind)
	of := schema.GroupResource{Group: k.group, Resource: k.plural}
	a.mu.Lock()
	defer a.mu.Unlock()
	o := clone(a.objects[of][name])
	delete(a.objects[of], name)
	a.version++
	o["metadata"].(map[string]any)["resourceVersion"] = strconv.Itoa(a.version)
	a.record("DELETED", of, o)
}

func (a *apiServer) record(kind string, of schema.GroupResource, o resource) {
	a.events = append(a.events, event{a.version, kind, of, o})
	a.changed.Broadcast()
}

// set changes what the server does.
func (a *apiServer) set(change func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	change()
	a.changed.Broadcast()
}

// compact forgets the events so far.
func (a *apiServer) compact() {
	a.set(func() { a.events, a.floor = nil, a.version })
}

// count returns how often something was asked for.
func (a *apiServer) count(what string) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.asked[what]
}

func (a *apiServer) userAgents() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Collect(maps.Keys(a.agents))
}

func nameOf(meta map[string]any) string {
	namespace, _ := meta["namespace"].(string)
	return namespace + "/" + meta["name"].(string)
}

func clone(o resource) resource {
	c := maps.Clone(o)
	c["metadata"] = maps.Clone(o["metadata"].(map[string]any))
	return c
}

func (a *apiServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	a.agents[r.UserAgent()] = true
	a.mu.Unlock()
	path := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	gv := schema.GroupVersion{Version: "v1"}
	if path[0] == "apis" {
		gv.Group, path = path[1], path[1:]
	}
	gv.Version, path = path[1], path[2:]
	switch {
	case len(path) == 0:
		a.discover(w, gv)
	case len(path) == 4: // namespaces/NAMESPACE/PLURAL/NAME
		a.get(w, r, path[2], path[1]+"/"+path[3])
	default:
		a.collection(w, r, gv.WithResource(path[0]))
	}
}

func (a *apiServer) discover(w http.ResponseWriter, gv schema.GroupVersion) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.serves[gv]) == 0 {
		refuse(w, http.StatusNotFound, metav1.StatusReasonNotFound, "no such version")
		return
	}
	list := metav1.APIResourceList{GroupVersion: gv.String()}
	for plural := range a.serves[gv] {
		list.APIResources = append(list.APIResources, metav1.APIResource{Name: plural})
	}
	write(w, list)
}

func (a *apiServer) get(w http.ResponseWriter, r *http.Request, plural, name string) {
	what := plural + "/" + name
	a.mu.Lock()
	a.asked["GET "+what]++
	a.changed.Broadcast()
	gate, status := a.held[what], a.fails[what]
	a.mu.Unlock()
	if gate != nil {
		select {
		case <-gate:
		case <-r.Context().Done():
			return
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	o, ok := a.objects[schema.GroupResource{Resource: plural}][name]
	switch {
	case status == http.StatusForbidden:
		refuse(w, status, metav1.StatusReasonForbidden, what+" is forbidden")
	case status != 0:
		refuse(w, status, metav1.StatusReasonInternalError, what+" failed")
	case !ok:
		refuse(w, http.StatusNotFound, metav1.StatusReasonNotFound, what+" not found")
	default:
		write(w, o)
	}
}

// waitFor waits until something was asked for.
func (a *apiServer) waitFor(what string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for a.asked[what] == 0 {
		a.changed.Wait()
	}
}

func (a *apiServer) collection(w http.ResponseWriter, r *http.Request, gvr schema.GroupVersionResource) {
	q := r.URL.Query()
	verb := "LIST "
	if q.Get("watch") != "" {
		verb = "WATCH "
	}
	a.mu.Lock()
	a.asked[verb+gvr.Resource]++
	a.changed.Broadcast()
	status, served, streams := a.refuses[gvr.Resource], a.serves[gvr.GroupVersion()][gvr.Resource], a.streams
	a.mu.Unlock()
	switch {
	case !served:
		refuse(w, http.StatusNotFound, metav1.StatusReasonNotFound, "the server could not find the requested resource")
	case status == http.StatusForbidden:
		refuse(w, status, metav1.StatusReasonForbidden, gvr.Resource+" is forbidden: User cannot list resource")
	case status != 0:
		refuse(w, status, metav1.StatusReasonInternalError, "conversion webhook failed")
	case verb == "LIST ":
		a.list(w, r, gvr)
	case q.Get("sendInitialEvents") != "" && !streams:
		refuse(w, http.StatusUnprocessableEntity, metav1.StatusReasonInvalid, "sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled")
	default:
		a.watch(w, r, gvr, q.Get("sendInitialEvents") != "")
	}
}

// shape is how an object goes over the wire.
func shape(r *http.Request, gvr schema.GroupVersionResource, o resource) resource {
	c := clone(o)
	c["apiVersion"] = gvr.GroupVersion().String()
	if strings.Contains(r.Header.Get("Accept"), "as=PartialObjectMetadata") {
		return resource{"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": c["metadata"]}
	}
	return c
}

func (a *apiServer) list(w http.ResponseWriter, r *http.Request, gvr schema.GroupVersionResource) {
	a.mu.Lock()
	defer a.mu.Unlock()
	items := []any{}
	for _, o := range a.objects[gvr.GroupResource()] {
		items = append(items, shape(r, gvr, o))
	}
	list := resource{
		"apiVersion": gvr.GroupVersion().String(), "kind": servedKind(gvr) + "List",
		"metadata": map[string]any{"resourceVersion": strconv.Itoa(a.version)}, "items": items,
	}
	if strings.Contains(r.Header.Get("Accept"), "as=PartialObjectMetadata") {
		list["apiVersion"], list["kind"] = "meta.k8s.io/v1", "PartialObjectMetadataList"
	}
	write(w, list)
}

// watch sends events until the client or the server hangs up.
func (a *apiServer) watch(w http.ResponseWriter, r *http.Request, gvr schema.GroupVersionResource, initial bool) {
	w.Header().Set("Content-Type", "application/json")
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(ctx, func() { a.set(func() {}) })()
	at, _ := strconv.Atoi(r.URL.Query().Get("resourceVersion"))
	send := func(kind string, o any) {
		json.NewEncoder(w).Encode(map[string]any{"type": kind, "object": o})
	}

	a.mu.Lock()
	defer a.mu.Unlock()
	a.open[ctx] = cancel
	defer delete(a.open, ctx)
	if at < a.floor && !initial {
		send("ERROR", metav1.Status{Status: "Failure", Code: http.StatusGone, Reason: metav1.StatusReasonExpired, Message: "too old resource version"})
		return
	}
	if initial {
		for _, o := range a.objects[gvr.GroupResource()] {
			send("ADDED", shape(r, gvr, o))
		}
		at = a.version
		send("BOOKMARK", shape(r, gvr, resource{"kind": servedKind(gvr), "metadata": map[string]any{
			"resourceVersion": strconv.Itoa(at), "annotations": map[string]any{metav1.InitialEventsAnnotationKey: "true"},
		}}))
	}
	seen, floor := 0, a.floor
	for ctx.Err() == nil {
		for _, e := range a.events[seen:] {
			if e.version > at && e.of == gvr.GroupResource() {
				send(e.kind, shape(r, gvr, e.object))
			}
		}
		seen = len(a.events)
		w.(http.Flusher).Flush()
		a.changed.Wait()
		if a.floor != floor {
			return
		}
	}
}

func servedKind(gvr schema.GroupVersionResource) string {
	for _, k := range kinds {
		if k.plural == gvr.Resource && k.group == gvr.Group {
			return k.apiKind()
		}
	}
	return ""
}

func write(w http.ResponseWriter, o any) {
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(o)
}

func refuse(w http.ResponseWriter, code int, reason metav1.StatusReason, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	json.NewEncoder(w).Encode(metav1.Status{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"},
		Status:   "Failure", Code: int32(code), Reason: reason, Message: message,
	})
}
