package provision

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"fairway.dev/routing/v1alpha1"
)

// maxAddresses is how many GatewayStatus.addresses may have.
const maxAddresses = 16

// An assigned address is one of a live Service, or of a node.
type assigned struct {
	kind  gatewayv1.AddressType
	value string
}

// addresses returns the addresses that the Gateway has, and what it is told
// where it lacks one. It says when time alone may change that.
func (t *term) addresses(ctx context.Context, w *Wanted) (out []gatewayv1.GatewayStatusAddress, lacks *Trouble, again time.Duration, err error) {
	var have []assigned
	var newest time.Time
	for _, s := range t.liveServices(w) {
		if created := s.CreationTimestamp.Time; created.After(newest) {
			newest = created
		}
		of, err := t.assignedTo(ctx, s)
		if err != nil {
			return nil, nil, 0, err
		}
		have = append(have, of...)
	}
	requests := w.requests()
	out = w.listed(have, requests)
	for _, r := range requests {
		if !slices.ContainsFunc(have, r.metBy) {
			lacks, again = w.lacking(r, newest, t.o.patience())
			return out, lacks, again, nil
		}
	}
	if len(out) == 0 {
		lacks = w.unassigned()
	}
	return out, lacks, 0, nil
}

// liveServices are the Services that w wants, as far as there are any; without
// ports those that are left.
func (t *term) liveServices(w *Wanted) (out []*corev1.Service) {
	wanted := w.services()
	for _, o := range t.ownedBy(kindService, keyOf(w.Gateway)) {
		named := func(s *corev1.Service) bool { return s.Name == o.GetName() }
		if gatewayOf(o).UID == w.Gateway.UID && (len(wanted) == 0 || slices.ContainsFunc(wanted, named)) {
			out = append(out, o.(*corev1.Service))
		}
	}
	slices.SortFunc(out, func(a, b *corev1.Service) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

// metBy reports whether a is what r asks for.
func (r request) metBy(a assigned) bool {
	return r.kind == a.kind && (r.value == "" || strings.EqualFold(r.value, a.value))
}

// listed are the addresses for status: those that were asked for first, then
// the others that the load balancer gave; a name where there is no IP address,
// or where it was asked for. A Service's own address is not one of a Gateway
// that asks for others.
func (w *Wanted) listed(have []assigned, requests []request) (out []gatewayv1.GatewayStatusAddress) {
	add := func(a assigned) {
		same := func(o gatewayv1.GatewayStatusAddress) bool { return *o.Type == a.kind && o.Value == a.value }
		if len(out) < maxAddresses && !slices.ContainsFunc(out, same) {
			out = append(out, gatewayv1.GatewayStatusAddress{Type: &a.kind, Value: a.value})
		}
	}
	for _, r := range requests {
		for _, a := range have {
			if r.metBy(a) {
				add(a)
			}
		}
	}
	if len(requests) > 0 && w.serviceType() != corev1.ServiceTypeLoadBalancer {
		return out
	}
	numbers := slices.ContainsFunc(have, func(a assigned) bool { return a.kind == gatewayv1.IPAddressType })
	for _, a := range have {
		if a.kind == gatewayv1.IPAddressType || !numbers {
			add(a)
		}
	}
	return out
}

// assignedTo are the addresses that a Service really has.
func (t *term) assignedTo(ctx context.Context, s *corev1.Service) (out []assigned, err error) {
	add := func(kind gatewayv1.AddressType, values ...string) {
		for _, v := range values {
			if v != "" && v != corev1.ClusterIPNone {
				out = append(out, assigned{kind, v})
			}
		}
	}
	switch s.Spec.Type {
	case corev1.ServiceTypeLoadBalancer:
		for _, in := range s.Status.LoadBalancer.Ingress {
			add(gatewayv1.IPAddressType, in.IP)
			add(gatewayv1.HostnameAddressType, in.Hostname)
		}
	case corev1.ServiceTypeNodePort:
		values, err := t.nodeAddresses(ctx)
		if err != nil {
			return nil, err
		}
		add(gatewayv1.IPAddressType, s.Spec.ExternalIPs...)
		add(gatewayv1.IPAddressType, values...)
	default:
		add(gatewayv1.IPAddressType, s.Spec.ExternalIPs...)
		add(gatewayv1.IPAddressType, s.Spec.ClusterIPs...)
		add(gatewayv1.HostnameAddressType, s.Name+"."+s.Namespace+".svc")
	}
	return out, nil
}

// lacking is what a Gateway is told that has not got an address that it asks
// for since its Services were made, and when to look again.
func (w *Wanted) lacking(r request, since time.Time, patience time.Duration) (*Trouble, time.Duration) {
	if r.value == "" {
		return &Trouble{gatewayv1.GatewayReasonAddressNotAssigned,
			fmt.Sprintf("spec.addresses: no address of type %s assigned", r.kind)}, 0
	}
	waited := time.Since(since)
	if since.IsZero() || waited < patience {
		return &Trouble{gatewayv1.GatewayReasonAddressNotAssigned,
			fmt.Sprintf("spec.addresses: %s %q is not assigned yet", r.kind, r.value)}, max(patience-waited, 0)
	}
	return &Trouble{gatewayv1.GatewayReasonAddressNotUsable,
		fmt.Sprintf("spec.addresses: %s %q is not assigned after %v: want one that the %s can have", r.kind, r.value, patience, w.where())}, 0
}

func (w *Wanted) where() string {
	if w.serviceType() == corev1.ServiceTypeLoadBalancer {
		return "cluster's load balancer"
	}
	where := fmt.Sprintf("Service of type %s", w.serviceType())
	if !w.Parameters.Delegates(v1alpha1.DelegateExternalIPs) {
		where += fmt.Sprintf(" (others are externalIPs, which is for classes whose parameters have %s in spec.delegated)", v1alpha1.DelegateExternalIPs)
	}
	return where
}

// unassigned is what a Gateway is told that has no address at all.
func (w *Wanted) unassigned() *Trouble {
	var why string
	switch {
	case len(w.Ports) == 0:
		why = "no listener is in force, so that there is no Service"
	case w.serviceType() == corev1.ServiceTypeLoadBalancer:
		why = "no load balancer has given Service " + w.name() + " an address yet: a cluster without one wants spec.service.type ClusterIP or NodePort in GatewayParameters"
	default:
		why = fmt.Sprintf("Service %s of type %s has no address yet", w.name(), w.serviceType())
	}
	return &Trouble{gatewayv1.GatewayReasonAddressNotAssigned, why}
}
