package feed

import (
	"slices"

	"fairway.dev/routing"
)

// mesh takes the workloads and captures of a change. Nothing leads to them: a
// workload says whose it is, and captures are for all node agents.
func (w *world) mesh(d *routing.Delta) {
	for name, part := range edits(d.Removed.Workloads, d.Workloads, func(p *routing.Workload) routing.WorkloadName { return p.Name }) {
		w.setWorkload(name, part)
	}
	for name, part := range edits(d.Removed.Captures, d.Captures, func(p *routing.Capture) routing.CaptureName { return p.Name }) {
		w.setCapture(name, part)
	}
}

// setWorkload puts a workload, or nothing where it is nil, in the place of the
// old one.
func (w *world) setWorkload(name routing.WorkloadName, part *routing.Workload) {
	var r *resource
	var after []*view
	at := ""
	if part != nil {
		if r = w.fits(newResource(PartType, workloadName(name), part)); r == nil {
			return
		}
		at = part.Node
		after = w.viewsOf(part)
	}
	before := w.workloads[name]
	n := w.refer(workloadName(name))
	moved := n.at != at // then it is gone for the agent of the old node
	for _, v := range before {
		if moved || !slices.Contains(after, v) {
			w.release(v, n)
		}
		w.views.release(v)
	}
	n.at = at
	w.set(n.name, r, leads{})
	for _, v := range after {
		if moved || !slices.Contains(before, v) {
			w.hold(v, n)
		}
	}
	if w.workloads[name] = after; after == nil {
		delete(w.workloads, name)
	}
	w.unrefer(n)
}

// viewsOf returns the views that have a workload, one user more of each: of
// the waypoints that vouch for it, and of the agent of its node, if that has
// anything to do for it.
func (w *world) viewsOf(part *routing.Workload) []*view {
	gateways := slices.Sorted(slices.Values(part.Gateways))
	if part.Node != "" && (part.Captured || part.Strict || len(part.StrictPorts) > 0) {
		gateways = append(gateways, CaptureGateway)
	}
	var views []*view
	for _, gateway := range slices.Compact(gateways) {
		views = append(views, w.views.acquire(gateway))
	}
	return views
}

// setCapture puts a capture, or nothing where it is nil, in the place of the
// old one.
func (w *world) setCapture(name routing.CaptureName, part *routing.Capture) {
	v := w.captures[name]
	switch {
	case part == nil && v != nil:
		delete(w.captures, name)
		w.release(v, w.node(captureName(name)))
		w.views.release(v)
		w.set(captureName(name), nil, leads{})
	case part != nil:
		r := w.fits(newResource(PartType, captureName(name), part))
		if r == nil {
			return
		}
		w.set(captureName(name), r, leads{})
		if v == nil {
			v = w.views.acquire(CaptureGateway)
			w.captures[name] = v
			w.hold(v, w.node(captureName(name)))
		}
	}
}
