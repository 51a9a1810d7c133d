package routing

import (
	"fmt"
	"strings"
)

// Telemetry is what is told of the exchanges of a listener (Istio's Telemetry).
type Telemetry struct {
	AccessLog *AccessLog // nil: the process's own
	Tracing   *Tracing   // nil: none
}

// An AccessLog says which exchanges are logged.
type AccessLog struct {
	Off bool
	// Filter is an expression of CEL over Istio's attributes ("response.code >=
	// 400"); empty: all.
	Filter string
}

// Tracing is where spans go, and which requests have them.
type Tracing struct {
	// Cluster takes spans in OTLP: over gRPC, or over HTTP where Path is not
	// empty.
	Cluster   ClusterName
	Path      string
	Authority string   // that the collector is asked under, in HTTP
	Header    []Header `dump:"names"` // of each export
	Service   string   // resource attribute service.name; of doors that gateways share empty
	Percent   float64  // of the requests whose caller has not decided
	Tags      []Tag
	Silent    bool // context is passed on, and no span is made
}

// A Tag is an attribute of each span: a literal, or a header's value.
type Tag struct{ Name, Literal, Header, Default string }

// check says why no spans can be made.
func (t *Tracing) check() error {
	if !(t.Percent >= 0 && t.Percent <= 100) {
		return fmt.Errorf("spans of %v %% of the requests: want 0-100", t.Percent)
	}
	if t.Path != "" && t.Path[0] != '/' {
		return fmt.Errorf("spans to path %q: want one that begins with /", t.Path)
	}
	if err := checkPathText(t.Path); err != nil {
		return fmt.Errorf("spans: %w", err)
	}
	if err := checkAuthority(t.Authority); err != nil {
		return fmt.Errorf("spans: %w", err)
	}
	for _, h := range t.Header {
		if err := checkField(h); err != nil {
			return fmt.Errorf("spans: %w", err)
		}
	}
	for _, tag := range t.Tags {
		if tag.Name == "" || tag.Header != "" && !isToken(tag.Header) {
			return fmt.Errorf("tag %q of header %q: want a name, and a token", tag.Name, tag.Header)
		}
	}
	return nil
}

// Tracing returns where the spans of a listener's exchanges go; nil where none
// are made, as nobody asks for any, or as what is asked for cannot work.
// Requests are served all the same. Those of doors that gateways share go by the
// name of the gateway that is served.
func (s *Snapshot) Tracing(l *Listener) *Tracing {
	if l.Telemetry == nil || l.Telemetry.Tracing == nil || s.tracingProblem(l) != nil {
		return nil
	}
	t := l.Telemetry.Tracing
	if t.Service == "" && l.Shared() && len(s.waypoints) > 0 {
		own := *t
		namespace, name, _ := strings.Cut(s.waypoints[0], "/")
		own.Service = name + "." + namespace
		t = &own
	}
	return t
}

// tracingProblem says why l, which asks for spans, has none.
func (s *Snapshot) tracingProblem(l *Listener) *Problem {
	t := l.Telemetry.Tracing
	reason, err := InvalidListener, t.check()
	if err == nil && !t.Silent && s.Cluster(t.Cluster) == nil {
		reason, err = BackendNotFound, fmt.Errorf("no cluster %q for spans", t.Cluster)
	}
	if err == nil {
		return nil
	}
	return &Problem{Origin: l.Origin, Reason: reason, Err: fmt.Errorf("%w; requests are not traced", err), Level: Warning}
}
