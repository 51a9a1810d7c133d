package gatewayapi

import (
	"fmt"
	"strconv"
	"strings"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"fairway.dev/routing"
)

// inboundBindingAnnotation of a Gateway, or else of its GatewayClass, is Istio's
// word for how ztunnel hands on what it takes out of HBONE for a waypoint's pods:
// "PROXY/15088" (WaypointInboundBinding; ApplicationTunnel of ztunnel's
// workload.proto).
const inboundBindingAnnotation = "ambient.istio.io/waypoint-inbound-binding"

// proxyProtocol is what Istio has a listener speak at the port of the binding. It is
// served with the one of protocol HBONE and not by itself; but who may use the
// waypoint, istiod reads there first (makeAllowedRoutes in waypoints.go).
const proxyProtocol gatewayv1.ProtocolType = "istio.io/PROXY"

// ztunnelPorts are those that ztunnel takes for itself in the network of a pod that
// it captures.
var ztunnelPorts = map[uint16]string{
	15001: "connections that leave", 15006: "connections that come", 15008: "HBONE", 15053: "DNS", 15080: "SOCKS",
}

// sandwich reads how tunnels come to a waypoint: by which port, behind PROXY
// protocol headers, 0 where it speaks HBONE itself; or why it cannot be had as it
// is asked for, and where that is said. A waypoint that cannot is none: to serve
// it in another way would be to guess who is to be believed.
func (t *Translator) sandwich(r *reading, m *member, o *gatewayv1.Gateway) (port uint16, field string, refused error) {
	value, ok := o.Annotations[inboundBindingAnnotation]
	field, of := "metadata.annotations["+inboundBindingAnnotation+"]", ""
	if !ok {
		gc := object[gatewayv1.GatewayClass](r, "GatewayClass", "", string(o.Spec.GatewayClassName))
		if gc == nil {
			return 0, "", nil
		}
		if value, ok = gc.Annotations[inboundBindingAnnotation]; !ok {
			return 0, "", nil
		}
		field, of = "spec.gatewayClassName", "GatewayClass "+gc.Name+": "
	}
	port, err := parseInboundBinding(value)
	if err == nil && m.port != routing.HBONEPort {
		err = fmt.Errorf("the listener of protocol HBONE has port %d: want %d, which is ztunnel's", m.port, routing.HBONEPort)
	}
	if err == nil {
		err = t.freeForTunnels(o, port)
	}
	if err != nil {
		return 0, field, fmt.Errorf("%s%s %q: %w", of, inboundBindingAnnotation, value, err)
	}
	return port, "", nil
}

// parseInboundBinding reads PROTOCOL or PROTOCOL/PORT.
func parseInboundBinding(value string) (port uint16, err error) {
	protocol, number, named := strings.Cut(value, "/")
	switch {
	case protocol == "NONE":
		return 0, fmt.Errorf("ztunnel would pass bytes on without a word about whose they are and where they go: want PROXY/PORT, or no annotation")
	case protocol != "PROXY":
		return 0, fmt.Errorf("want PROXY/PORT, as PROXY/15088")
	case !named:
		return 0, fmt.Errorf("without a port ztunnel connects to whichever its client has asked for: want PROXY/PORT, as PROXY/15088")
	}
	n, err := strconv.ParseUint(number, 10, 16)
	if err != nil || n == 0 || strconv.FormatUint(n, 10) != number {
		return 0, fmt.Errorf("port %q: want 1-65535", number)
	}
	return uint16(n), nil
}

// freeForTunnels says who else needs the port in a pod.
func (t *Translator) freeForTunnels(o *gatewayv1.Gateway, port uint16) error {
	if what, ok := ztunnelPorts[port]; ok {
		return fmt.Errorf("port %d: ztunnel needs it for %s: want another", port, what)
	}
	if what, ok := t.opts.reserved()[port]; ok {
		return fmt.Errorf("port %d: the gateway needs it for %s: want another", port, what)
	}
	for i := range o.Spec.Listeners {
		l := &o.Spec.Listeners[i]
		if l.Port == gatewayv1.PortNumber(port) && l.Protocol != gatewayv1.UDPProtocolType && routeKinds[l.Protocol] != nil {
			return fmt.Errorf("port %d: listener %s has it: want another", port, l.Name)
		}
	}
	return nil
}

// bindTunnels has m say how tunnels come to it: not at all, where that cannot be.
func (t *Translator) bindTunnels(r *reading, m *member, o *gatewayv1.Gateway) {
	port, field, err := t.sandwich(r, m, o)
	if m.sandwich = port; err != nil {
		m.refused = no(string(gatewayv1.ListenerReasonUnsupportedValue), "%v", err)
		m.notes = append(m.notes, m.refused.at(field))
		m.port = 0
	}
	for i := range o.Spec.Listeners {
		if spec := &o.Spec.Listeners[i]; spec.Protocol == proxyProtocol && port != 0 && spec.Port == gatewayv1.PortNumber(port) {
			var l listener
			l.parseNamespaces(spec.AllowedRoutes)
			m.from, m.selector = l.from, l.selector
		}
	}
}

// bound says of a listener of protocol HBONE how tunnels come, or that they do not.
func (m *member) bound(s *listenerState) {
	switch {
	case m == nil:
	case m.refused.reason != "":
		s.accepted = m.refused
	case m.sandwich != 0:
		s.accepted.message = fmt.Sprintf("ztunnel speaks HBONE: tunnels come to port %d of the pods, behind PROXY protocol headers", m.sandwich)
	}
}
