package dialecttest

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"fairway.dev/routing"
	"fairway.dev/routing/dialect"
)

// A Result is what Updates have come to: what a fleet and an API server hold.
type Result struct {
	Spec    routing.Spec
	Reports map[routing.ObjectKey]dialect.Report
}

// NewResult returns the Result of no Update.
func NewResult() *Result {
	return &Result{
		Spec: routing.Spec{
			Listeners:    map[routing.ListenerName]*routing.Listener{},
			Routes:       map[routing.RouteName]*routing.Route{},
			Clusters:     map[routing.ClusterName]*routing.Cluster{},
			Endpoints:    map[routing.ClusterName]*routing.Endpoints{},
			Certificates: map[routing.CertificateName]*routing.Certificate{},
			Policies:     map[routing.PolicyName]*routing.Policy{},
			Workloads:    map[routing.WorkloadName]*routing.Workload{},
			Captures:     map[routing.CaptureName]*routing.Capture{},
		},
		Reports: map[routing.ObjectKey]dialect.Report{},
	}
}

// Apply does what is to be done with what an Update returns.
func (r *Result) Apply(d *routing.Delta, reports []dialect.Report) *Result {
	for _, n := range d.Removed.Listeners {
		delete(r.Spec.Listeners, n)
	}
	for _, n := range d.Removed.Routes {
		delete(r.Spec.Routes, n)
	}
	for _, n := range d.Removed.Clusters {
		delete(r.Spec.Clusters, n)
		delete(r.Spec.Endpoints, n)
	}
	for _, n := range d.Removed.Certificates {
		delete(r.Spec.Certificates, n)
	}
	for _, n := range d.Removed.Policies {
		delete(r.Spec.Policies, n)
	}
	for _, n := range d.Removed.Workloads {
		delete(r.Spec.Workloads, n)
	}
	for _, n := range d.Removed.Captures {
		delete(r.Spec.Captures, n)
	}
	for _, p := range d.Listeners {
		r.Spec.Listeners[p.Name] = p
	}
	for _, p := range d.Routes {
		r.Spec.Routes[p.Name] = p
	}
	for _, p := range d.Clusters {
		r.Spec.Clusters[p.Name] = p
	}
	for _, p := range d.Endpoints {
		r.Spec.Endpoints[p.Cluster] = p
	}
	for _, p := range d.Certificates {
		r.Spec.Certificates[p.Name] = p
	}
	for _, p := range d.Policies {
		r.Spec.Policies[p.Name] = p
	}
	for _, p := range d.Workloads {
		r.Spec.Workloads[p.Name] = p
	}
	for _, p := range d.Captures {
		r.Spec.Captures[p.Name] = p
	}
	for _, report := range reports {
		if report.Gone {
			delete(r.Reports, report.Object)
		} else {
			r.Reports[report.Object] = report
		}
	}
	return r
}

// Dump prints the Spec, zero values left out, and then the Reports.
func (r *Result) Dump() string {
	var b strings.Builder
	dumpParts(&b, "listener", r.Spec.Listeners)
	dumpParts(&b, "route", r.Spec.Routes)
	dumpParts(&b, "cluster", r.Spec.Clusters)
	dumpParts(&b, "endpoints", r.Spec.Endpoints)
	dumpParts(&b, "certificate", r.Spec.Certificates)
	dumpParts(&b, "policy", r.Spec.Policies)
	dumpParts(&b, "workload", r.Spec.Workloads)
	dumpParts(&b, "capture", r.Spec.Captures)
	for _, k := range slices.SortedFunc(maps.Keys(r.Reports), routing.ObjectKey.Compare) {
		b.WriteString(r.Reports[k].String())
	}
	return b.String()
}

func dumpParts[N ~string, P any](b *strings.Builder, kind string, parts map[N]P) {
	for _, n := range slices.Sorted(maps.Keys(parts)) {
		fmt.Fprintf(b, "%s %s\n", kind, n)
		dumpStruct(b, "  ", reflect.ValueOf(parts[n]).Elem())
	}
}

// dumpStruct prints the fields that hold something.
func dumpStruct(b *strings.Builder, indent string, v reflect.Value) {
	for i := range v.NumField() {
		name, f := v.Type().Field(i).Name, v.Field(i)
		if f.IsZero() || name == "Name" && indent == "  " {
			continue
		}
		for f.Kind() == reflect.Pointer {
			f = f.Elem()
		}
		_, prints := f.Interface().(fmt.Stringer)
		switch {
		case prints:
			fmt.Fprintf(b, "%s%s: %v\n", indent, name, f.Interface())
		case f.Type() == reflect.TypeFor[[]byte]():
			fmt.Fprintf(b, "%s%s: %d bytes\n", indent, name, f.Len())
		case f.Kind() == reflect.Struct:
			fmt.Fprintf(b, "%s%s:\n", indent, name)
			dumpStruct(b, indent+"  ", f)
		case f.Kind() == reflect.Slice && f.Type().Elem().Kind() == reflect.Struct && !isFlat(f.Type().Elem()):
			for j := range f.Len() {
				fmt.Fprintf(b, "%s%s[%d]:\n", indent, name, j)
				dumpStruct(b, indent+"  ", f.Index(j))
			}
		default:
			fmt.Fprintf(b, "%s%s: %v\n", indent, name, f.Interface())
		}
	}
}

// isFlat reports whether values of a type print well on one line.
func isFlat(t reflect.Type) bool {
	return t == reflect.TypeFor[routing.Header]() || t.Implements(reflect.TypeFor[fmt.Stringer]())
}
