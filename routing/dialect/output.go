package dialect

import (
	"cmp"
	"reflect"
	"slices"

	"fairway.dev/routing"
)

// An output gathers what one Update changes.
type output struct {
	delta   *routing.Delta
	reports []Report
}

// A partName tells parts apart: the kind is the part's type.
type partName struct {
	kind reflect.Type
	name string
}

func nameOf(part any) partName {
	n := partName{kind: reflect.TypeOf(part)}
	switch p := part.(type) {
	case *routing.Listener:
		n.name = string(p.Name)
	case *routing.Route:
		n.name = string(p.Name)
	case *routing.Cluster:
		n.name = string(p.Name)
	case *routing.Endpoints:
		n.name = string(p.Cluster)
	case *routing.Certificate:
		n.name = string(p.Name)
	case *routing.Policy:
		n.name = string(p.Name)
	case *routing.Workload:
		n.name = string(p.Name)
	case *routing.Capture:
		n.name = string(p.Name)
	}
	return n
}

// parts notes what changed between the parts of a cell, and returns the new
// ones, with the old one wherever it is the same: identity tells those who
// compile that there is nothing to do.
func (o *output) parts(was, now []any) []any {
	place := placesOf(now)
	for _, p := range was {
		if place(p) < 0 {
			o.remove(p)
		}
	}
	place = placesOf(was)
	for i, p := range now {
		if j := place(p); j >= 0 && reflect.DeepEqual(was[j], p) {
			now[i] = was[j]
		} else {
			o.put(p)
		}
	}
	return now
}

// placesOf finds a part among others by its name; -1: it is not there. Few cells
// have more than a handful of parts, but the doors of a Service may be many.
func placesOf(parts []any) func(part any) int {
	if len(parts) <= 16 {
		return func(part any) int {
			name := nameOf(part)
			return slices.IndexFunc(parts, func(p any) bool { return nameOf(p) == name })
		}
	}
	places := make(map[partName]int, len(parts))
	for i, p := range parts {
		places[nameOf(p)] = i
	}
	return func(part any) int {
		if i, ok := places[nameOf(part)]; ok {
			return i
		}
		return -1
	}
}

func (o *output) put(part any) {
	d := o.delta
	switch p := part.(type) {
	case *routing.Listener:
		d.Listeners = append(d.Listeners, p)
	case *routing.Route:
		d.Routes = append(d.Routes, p)
	case *routing.Cluster:
		d.Clusters = append(d.Clusters, p)
	case *routing.Endpoints:
		d.Endpoints = append(d.Endpoints, p)
	case *routing.Certificate:
		d.Certificates = append(d.Certificates, p)
	case *routing.Policy:
		d.Policies = append(d.Policies, p)
	case *routing.Workload:
		d.Workloads = append(d.Workloads, p)
	case *routing.Capture:
		d.Captures = append(d.Captures, p)
	}
}

// remove takes a part out. Endpoints go with their cluster, which reads them.
func (o *output) remove(part any) {
	r := &o.delta.Removed
	switch p := part.(type) {
	case *routing.Listener:
		r.Listeners = append(r.Listeners, p.Name)
	case *routing.Route:
		r.Routes = append(r.Routes, p.Name)
	case *routing.Cluster:
		r.Clusters = append(r.Clusters, p.Name)
	case *routing.Certificate:
		r.Certificates = append(r.Certificates, p.Name)
	case *routing.Policy:
		r.Policies = append(r.Policies, p.Name)
	case *routing.Workload:
		r.Workloads = append(r.Workloads, p.Name)
	case *routing.Capture:
		r.Captures = append(r.Captures, p.Name)
	}
}

func (o *output) report(was, now *Report) {
	switch {
	case now != nil:
		o.reports = append(o.reports, *now)
	case was != nil:
		o.reports = append(o.reports, Report{Object: was.Object, Gone: true})
	}
}

// take returns what was gathered, in the order of names, and starts anew.
func (o *output) take() (*routing.Delta, []Report) {
	d, reports := o.delta, o.reports
	o.delta, o.reports = &routing.Delta{}, nil
	sortDelta(d)
	// What is removed is so by the last word of the one cell that owns it.
	d.Listeners = without(d.Listeners, d.Removed.Listeners, func(l *routing.Listener) routing.ListenerName { return l.Name })
	d.Routes = without(d.Routes, d.Removed.Routes, func(r *routing.Route) routing.RouteName { return r.Name })
	d.Clusters = without(d.Clusters, d.Removed.Clusters, func(c *routing.Cluster) routing.ClusterName { return c.Name })
	d.Endpoints = without(d.Endpoints, d.Removed.Clusters, func(e *routing.Endpoints) routing.ClusterName { return e.Cluster })
	d.Certificates = without(d.Certificates, d.Removed.Certificates, func(c *routing.Certificate) routing.CertificateName { return c.Name })
	d.Policies = without(d.Policies, d.Removed.Policies, func(p *routing.Policy) routing.PolicyName { return p.Name })
	d.Workloads = without(d.Workloads, d.Removed.Workloads, func(w *routing.Workload) routing.WorkloadName { return w.Name })
	d.Captures = without(d.Captures, d.Removed.Captures, func(c *routing.Capture) routing.CaptureName { return c.Name })

	slices.SortStableFunc(reports, func(a, b Report) int { return a.Object.Compare(b.Object) })
	last := reports[:0]
	for i, r := range reports {
		if i+1 == len(reports) || reports[i+1].Object != r.Object {
			last = append(last, r)
		}
	}
	return d, last
}

// without returns the parts whose names are not in a sorted list.
func without[P any, N cmp.Ordered](parts []P, removed []N, name func(P) N) []P {
	return slices.DeleteFunc(parts, func(p P) bool {
		_, found := slices.BinarySearch(removed, name(p))
		return found
	})
}

func sortDelta(d *routing.Delta) {
	slices.SortFunc(d.Listeners, func(a, b *routing.Listener) int { return cmp.Compare(a.Name, b.Name) })
	slices.SortFunc(d.Routes, func(a, b *routing.Route) int { return cmp.Compare(a.Name, b.Name) })
	slices.SortFunc(d.Clusters, func(a, b *routing.Cluster) int { return cmp.Compare(a.Name, b.Name) })
	slices.SortFunc(d.Endpoints, func(a, b *routing.Endpoints) int { return cmp.Compare(a.Cluster, b.Cluster) })
	slices.SortFunc(d.Certificates, func(a, b *routing.Certificate) int { return cmp.Compare(a.Name, b.Name) })
	slices.SortFunc(d.Policies, func(a, b *routing.Policy) int { return cmp.Compare(a.Name, b.Name) })
	slices.SortFunc(d.Workloads, func(a, b *routing.Workload) int { return cmp.Compare(a.Name, b.Name) })
	slices.SortFunc(d.Captures, func(a, b *routing.Capture) int { return cmp.Compare(a.Name, b.Name) })
	slices.Sort(d.Removed.Listeners)
	slices.Sort(d.Removed.Routes)
	slices.Sort(d.Removed.Clusters)
	slices.Sort(d.Removed.Certificates)
	slices.Sort(d.Removed.Policies)
	slices.Sort(d.Removed.Workloads)
	slices.Sort(d.Removed.Captures)
}
