package apitest

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// A call is a request, understood.
type call struct {
	kind                  kind
	ns, name, subresource string
	body                  []byte
}

// RoundTrip answers a request; it makes the Server a http.RoundTripper.
func (s *Server) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	c, err := understand(r)
	if err == nil && c.name == "" && r.Method == http.MethodGet && r.URL.Query().Get("watch") != "" {
		if code := s.refusal(r); code == 0 {
			return s.watch(r, c), nil
		}
	}
	rec := httptest.NewRecorder()
	var out any
	if err == nil {
		if code := s.refusal(r); code != 0 {
			err = apierrors.NewGenericServerResponse(code, r.Method, schema.GroupResource{}, "", "the test refuses it", 0, true)
		} else {
			out, err = s.answer(r, c)
		}
	}
	rec.Header().Set("Content-Type", "application/json")
	if err != nil {
		status := apierrors.NewInternalError(err).Status()
		var known apierrors.APIStatus
		if errors.As(err, &known) {
			status = known.Status()
		}
		status.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}
		rec.WriteHeader(int(status.Code))
		out = status
	}
	if err := json.NewEncoder(rec).Encode(out); err != nil {
		return nil, err
	}
	s.mu.Lock()
	s.asked = append(s.asked, Request{r.Method, r.URL.Path, r.Header.Get("Content-Type"), string(c.body), rec.Code})
	s.mu.Unlock()
	return rec.Result(), nil
}

func (s *Server) refusal(r *http.Request) int {
	s.mu.Lock()
	refuse := s.refuse
	s.mu.Unlock()
	if refuse == nil {
		return 0
	}
	return refuse(r.Method, r.URL.Path)
}

// understand reads /api/v1/namespaces/NS/RESOURCE/NAME/SUBRESOURCE, and its
// like with a group or without a namespace.
func understand(r *http.Request) (c call, err error) {
	if r.Body != nil {
		if c.body, err = io.ReadAll(r.Body); err != nil {
			return c, err
		}
	}
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	var gv schema.GroupVersion
	switch {
	case len(parts) > 2 && parts[0] == "api":
		gv, parts = schema.GroupVersion{Version: parts[1]}, parts[2:]
	case len(parts) > 3 && parts[0] == "apis":
		gv, parts = schema.GroupVersion{Group: parts[1], Version: parts[2]}, parts[3:]
	default:
		return c, apierrors.NewNotFound(schema.GroupResource{}, r.URL.Path)
	}
	if parts[0] == "namespaces" && len(parts) > 2 {
		c.ns, parts = parts[1], parts[2:]
	}
	i := slices.IndexFunc(kinds, func(k kind) bool { return k.GroupVersion() == gv && k.resource == parts[0] })
	if i < 0 {
		return c, apierrors.NewNotFound(gv.WithResource(parts[0]).GroupResource(), "")
	}
	c.kind = kinds[i]
	parts = append(parts, "", "")
	c.name, c.subresource = parts[1], parts[2]
	return c, nil
}

func (c call) groupResource() schema.GroupResource {
	return c.kind.GroupVersion().WithResource(c.kind.resource).GroupResource()
}

func (s *Server) answer(r *http.Request, c call) (any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case r.Method == http.MethodGet && c.name == "":
		return Object{
			"apiVersion": c.kind.GroupVersion().String(),
			"kind":       c.kind.Kind + "List",
			"metadata":   Object{"resourceVersion": fmt.Sprint(s.version)},
			"items":      s.selected(c.kind, c.ns, r.URL.Query().Get("labelSelector")),
		}, nil
	case r.Method == http.MethodPatch:
		return s.patch(r, c)
	case r.Method == http.MethodPost:
		return s.create(c)
	}
	o := s.objects[id(c.kind, c.ns, c.name)]
	if o == nil {
		return nil, apierrors.NewNotFound(c.groupResource(), c.name)
	}
	switch r.Method {
	case http.MethodGet:
		return o, nil
	case http.MethodDelete:
		return s.delete(c, o)
	}
	return nil, apierrors.NewMethodNotSupported(c.groupResource(), r.Method)
}

// create makes an object, unless there is one of its name.
func (s *Server) create(c call) (any, error) {
	var o Object
	if err := json.Unmarshal(c.body, &o); err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	name, _ := child(o, "metadata")["name"].(string)
	if name != "" && c.ns != "" {
		child(o, "metadata")["namespace"] = c.ns
	}
	switch {
	case name == "":
		return nil, apierrors.NewBadRequest("no name")
	case s.objects[id(c.kind, c.ns, name)] != nil:
		return nil, apierrors.NewAlreadyExists(c.groupResource(), name)
	}
	return s.put(c.kind, c.ns, name, nil, o), nil
}

func (s *Server) delete(c call, o Object) (any, error) {
	var opts metav1.DeleteOptions
	if len(c.body) > 0 {
		if err := json.Unmarshal(c.body, &opts); err != nil {
			return nil, apierrors.NewBadRequest(err.Error())
		}
	}
	meta := o["metadata"].(Object)
	if p := opts.Preconditions; p != nil && p.UID != nil && string(*p.UID) != meta["uid"] {
		return nil, apierrors.NewConflict(c.groupResource(), c.name, fmt.Errorf("uid %s, and not %v", *p.UID, meta["uid"]))
	}
	if p := opts.Preconditions; p != nil && p.ResourceVersion != nil && *p.ResourceVersion != meta["resourceVersion"] {
		return nil, apierrors.NewConflict(c.groupResource(), c.name, fmt.Errorf("version %s, and not %v", *p.ResourceVersion, meta["resourceVersion"]))
	}
	if finalizers, _ := meta["finalizers"].([]any); len(finalizers) > 0 {
		changed := normal(o)
		changed["metadata"].(Object)["deletionTimestamp"] = meta["creationTimestamp"]
		return s.put(c.kind, c.ns, c.name, o, changed), nil
	}
	s.take(c.kind, c.ns, c.name)
	return metav1.Status{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}, Status: metav1.StatusSuccess}, nil
}

// watch answers with the events from now on, after all objects where they are
// asked for (sendInitialEvents), until the request ends.
func (s *Server) watch(r *http.Request, c call) *http.Response {
	body, w := io.Pipe()
	go s.stream(r, c, w)
	return &http.Response{
		Status: "200 OK", StatusCode: http.StatusOK, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{"Content-Type": {"application/json"}}, Body: body, Request: r,
	}
}

func (s *Server) stream(r *http.Request, c call, w *io.PipeWriter) {
	stop := r.Context().Done()
	go func() { <-stop; w.CloseWithError(r.Context().Err()) }()
	out := json.NewEncoder(w)
	query := r.URL.Query()
	send := func(what string, o Object) bool { return out.Encode(Object{"type": what, "object": o}) == nil }

	s.mu.Lock()
	next := len(s.events)
	var first []Object
	version := fmt.Sprint(s.version)
	initial := query.Get("sendInitialEvents") == "true"
	if initial {
		first = s.selected(c.kind, c.ns, query.Get("labelSelector"))
	} else {
		next = s.since(query.Get("resourceVersion"))
	}
	s.mu.Unlock()
	for _, o := range first {
		if !send("ADDED", o) {
			return
		}
	}
	if initial && !send("BOOKMARK", Object{
		"apiVersion": c.kind.GroupVersion().String(), "kind": c.kind.Kind,
		"metadata": Object{"resourceVersion": version, "annotations": Object{metav1.InitialEventsAnnotationKey: "true"}},
	}) {
		return
	}
	seen := map[any]bool{} // UIDs of objects that the selector took
	for _, o := range first {
		seen[o["metadata"].(Object)["uid"]] = true
	}
	for {
		s.mu.Lock()
		events, more := s.events[next:], s.more
		next = len(s.events)
		s.mu.Unlock()
		for _, e := range events {
			if e.of != c.kind || c.ns != "" && e.object["metadata"].(Object)["namespace"] != c.ns {
				continue
			}
			what, uid := e.kind, e.object["metadata"].(Object)["uid"]
			if !takes(e.object, c.ns, query.Get("labelSelector")) {
				what = "DELETED" // from what is watched
			}
			if what == "DELETED" && !seen[uid] && query.Get("labelSelector") != "" {
				continue
			}
			seen[uid] = what != "DELETED"
			if !send(what, e.object) {
				return
			}
		}
		select {
		case <-more:
		case <-stop:
			return
		}
	}
}

// since returns the first event after a resourceVersion.
func (s *Server) since(version string) int {
	for i, e := range s.events {
		if v := e.object["metadata"].(Object)["resourceVersion"].(string); len(v) > len(version) || len(v) == len(version) && v > version {
			return i
		}
	}
	return len(s.events)
}
