package gatewayapi

import (
	"net/netip"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"fairway.dev/routing"
	"fairway.dev/routing/dialect"
	"fairway.dev/routing/v1alpha1"
)

// A Fleet is a Gateway of ours whose listeners may be in force, as another
// dialect sees it: pods with labels.
type Fleet struct {
	Labels    map[string]string // of the pods
	Addresses []netip.Addr      // to bind; none: the server's default
	frame     *frame
}

// Fleet returns the fleet of a Gateway; nil where there is no such Gateway, it
// is not ours, or nothing of it can be in force.
func (t *Translator) Fleet(r *dialect.Reading, ns, name string) *Fleet {
	g, _ := r.Value(cellID{Kind: gatewayCell, NS: ns, Name: name}).(*gateway)
	if g == nil || !g.ours || !g.serves() {
		return nil
	}
	return &Fleet{Labels: g.labels, Addresses: g.addresses, frame: &g.frame}
}

// ProxyProtocol is what connections to a TCP port of the fleet begin with.
func (f *Fleet) ProxyProtocol(port uint16) routing.ProxyProtocol {
	return f.frame.proxyProtocol(&listener{port: port, protocol: gatewayv1.TCPProtocolType})
}

// Reserved says for what the gateway needs a TCP port itself; empty: it does not.
func (t *Translator) Reserved(port uint16) string { return t.opts.reserved()[port] }

// PodLabels are the labels of the pods that serve a Gateway, by which others
// select them: those of its infrastructure, of its parameters, and ours over
// both. A name that is too long for a label's value is left out.
func PodLabels(o *gatewayv1.Gateway, parameters *v1alpha1.GatewayParameters) map[string]string {
	all := map[string]string{}
	if infra := o.Spec.Infrastructure; infra != nil {
		for k, v := range infra.Labels {
			all[string(k)] = string(v)
		}
	}
	if parameters != nil && parameters.Spec.Pods != nil {
		for k, v := range parameters.Spec.Pods.Labels {
			all[k] = v
		}
	}
	for k, v := range map[string]string{
		gatewayv1.GatewayNameLabelKey:      o.Name,
		gatewayv1.GatewayClassNameLabelKey: string(o.Spec.GatewayClassName),
		"app.kubernetes.io/name":           "fairway",
		"app.kubernetes.io/component":      "gateway",
		"app.kubernetes.io/managed-by":     "fairway",
	} {
		if delete(all, k); len(v) <= 63 {
			all[k] = v
		}
	}
	return all
}

// An OpenListener is a listener of a Gateway or a ListenerSet that is in force.
type OpenListener struct {
	Name        routing.ListenerName
	Port        uint16
	Protocol    routing.Protocol
	Hostname    string // a pattern: "*" for any
	Passthrough bool   // of TLS
}

// OpenListeners returns the listeners in force of a Gateway or a ListenerSet,
// which is what kind says, that routes may be attached to, and the Gateway that
// they belong to.
func (t *Translator) OpenListeners(r *dialect.Reading, kind, ns, name string) (ofNS, ofName string, list []OpenListener) {
	h, in := holder{kind, ns, name}, &reading{r}
	o := in.roster(h)
	if o == nil || !o.admitted {
		return "", "", nil
	}
	open, _ := r.Value(h.cell(openCell)).([]gatewayv1.SectionName)
	for _, l := range o.listeners {
		if len(open) == 0 || open[0] != l.name {
			continue // open has the order of the listeners
		}
		open = open[1:]
		if l.protocol == hboneProtocol {
			continue // what goes through it is for doors
		}
		list = append(list, OpenListener{h.listener(l.name), l.port, routing.Protocol(l.protocol), pattern(l.hostname), l.passesThrough()})
	}
	return o.gateway.ns, o.gateway.name, list
}
