package gatewayapi

import (
	"net/netip"
	"strings"
	"time"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"fairway.dev/routing"
	"fairway.dev/routing/v1alpha1"
)

// A parentName names a Gateway.
type parentName struct{ ns, name string }

func (p parentName) String() string { return p.ns + "/" + p.name }

// gatewayNamed is the parentName that prints so.
func gatewayNamed(text string) parentName {
	ns, name, _ := strings.Cut(text, "/")
	return parentName{ns, name}
}

// cell is a cell that belongs to a Gateway.
func (p parentName) cell(kind cellKind, part string) cellID {
	return cellID{Kind: kind, NS: p.ns, Name: p.name, Part: part}
}

// A holder is an object that has listeners, and that routes may name as
// a parent: a Gateway or a ListenerSet.
type holder struct{ kind, ns, name string }

func (h holder) String() string { return h.kind + " " + h.ns + "/" + h.name }

// cell is a cell that belongs to a holder.
func (h holder) cell(kind cellKind) cellID {
	return cellID{Kind: kind, NS: h.ns, Name: h.name, Part: h.kind}
}

// holderOf is the holder that such a cell belongs to.
func holderOf(id cellID) holder { return holder{id.Part, id.NS, id.Name} }

// listener is the Spec's name of a listener: "shop/edge/https" of a Gateway,
// "ListenerSet/shop/team/https".
func (h holder) listener(section gatewayv1.SectionName) routing.ListenerName {
	name := routing.ListenerName(h.ns + "/" + h.name + "/" + string(section))
	if h.kind != "Gateway" {
		name = routing.ListenerName(h.kind) + "/" + name
	}
	return name
}

// A roster is the listeners of a holder, as they stand in it.
type roster struct {
	gateway   parentName // that they belong to
	rank      rank
	created   time.Time
	listeners []*listener
	// admitted says that they take part: the Gateway is ours and lets the
	// holder in.
	admitted bool
}

// roster returns the listeners of a holder; nil where there is no such object.
func (r *reading) roster(h holder) *roster {
	if h.kind == "Gateway" {
		if g, _ := r.Value(cellID{Kind: gatewayCell, NS: h.ns, Name: h.name}).(*gateway); g != nil {
			return &g.roster
		}
		return nil
	}
	if s, _ := r.Value(cellID{Kind: setCell, NS: h.ns, Name: h.name}).(*listenerSet); s != nil {
		return &s.roster
	}
	return nil
}

// A frame is what a Gateway says that holds for all its listeners, those of its
// ListenerSets too. An edit of its own listeners leaves it as it is.
type frame struct {
	gateway   parentName
	ours      bool // all else is empty where it is not
	created   time.Time
	accepted  verdict      // before its listeners have a say
	usable    verdict      // of the addresses that were asked for
	addresses []netip.Addr // to bind; none: the server's default
	sets      admission
	frontend  *gatewayv1.FrontendTLSConfig
	client    *gatewayv1.SecretObjectReference // spec.tls.backend.clientCertificateRef
	proxy     *v1alpha1.ProxyProtocol
	labels    map[string]string // of the pods
}

// frame takes the frame out of a Gateway. Where there is no Gateway its value
// is nil.
func (t *Translator) frame(r *reading) outcome {
	g, _ := r.Value(cellID{Kind: gatewayCell, NS: r.ID.NS, Name: r.ID.Name}).(*gateway)
	if g == nil {
		return outcome{}
	}
	return outcome{Value: &g.frame}
}

// frame reads the frame of a Gateway; nil where there is none.
func (r *reading) frame(gw parentName) *frame {
	f, _ := r.Value(gw.cell(frameCell, "")).(*frame)
	return f
}

// serves reports whether the Gateway may have listeners in force at all.
func (f *frame) serves() bool {
	return f.accepted.ok() && (f.usable.ok() || len(f.addresses) > 0)
}

// proxyProtocol is what the parameters say about a listener's port.
func (f *frame) proxyProtocol(l *listener) routing.ProxyProtocol {
	if f.proxy == nil || l.protocol == gatewayv1.UDPProtocolType {
		return routing.ProxyProtocolOff
	}
	mode := or(f.proxy.Mode, v1alpha1.ProxyProtocolOff)
	if l.protocol == hboneProtocol {
		mode = v1alpha1.ProxyProtocolOff // no load balancer stands before a waypoint, unless its port is named
	}
	for _, p := range f.proxy.Ports {
		if p.Port == int32(l.port) {
			mode = p.Mode
		}
	}
	switch mode {
	case v1alpha1.ProxyProtocolRequired:
		return routing.ProxyProtocolRequired
	case v1alpha1.ProxyProtocolOptional:
		return routing.ProxyProtocolOptional
	}
	return routing.ProxyProtocolOff
}

// listeners says what comes of the listeners of a holder, and makes those that
// are in force. Its value is a []listenerState, nil where the holder does not
// take part.
func (t *Translator) listeners(r *reading) outcome {
	h := holderOf(r.ID)
	o := r.roster(h)
	if o == nil || !o.admitted {
		return outcome{}
	}
	f := r.frame(o.gateway)
	places := r.Value(h.cell(standingCell)).([]place)
	states := make([]listenerState, len(o.listeners))
	var out outcome
	for i, l := range o.listeners {
		states[i] = t.listenerState(r, h, f, l, places[i])
		if states[i].programmed.ok() {
			part := l.part(h, o.created, f, &states[i])
			if l.protocol == hboneProtocol {
				part.Mesh = t.believes(r, f.gateway)
			} else if t.shaper.Listener != nil { // what goes through HBONE is for doors
				t.shaper.Listener(r.Reading, f.gateway.ns, f.gateway.name, f.labels, part)
			}
			section := ""
			if h.kind == "Gateway" {
				section = string(l.name)
			}
			r.limitListener(part, f.gateway, section)
			out.Parts = append(out.Parts, part)
		}
	}
	out.Value = states
	return out
}

// open lists the listeners of a holder that are in force: routes need to know
// no more of what comes of a listener.
func (t *Translator) open(r *reading) outcome {
	h := holderOf(r.ID)
	o := r.roster(h)
	states, _ := r.Value(h.cell(listenersCell)).([]listenerState)
	var names []gatewayv1.SectionName
	for i, s := range states {
		if s.programmed.ok() {
			names = append(names, o.listeners[i].name)
		}
	}
	return outcome{Value: names}
}

// report fills in what comes of the listeners of a holder.
func (o *roster) report(r *reading, h holder, states []listenerState, generation int64, report *Report) {
	attached := r.Bag(h.cell(routesAt))
	for i, l := range o.listeners {
		s := &states[i]
		reportNotes(report, s.problems)
		report.Listeners = append(report.Listeners, gatewayv1.ListenerStatus{
			Name:           l.name,
			SupportedKinds: l.kinds,
			AttachedRoutes: int32(attached[string(l.name)]),
			Conditions:     conditions(generation, s.conditions()...),
		})
		name := routing.ListenerName("")
		if s.programmed.ok() {
			name = h.listener(l.name)
		}
		report.Names = append(report.Names, name)
	}
}
