package gatewayapi

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"fairway.dev/routing"
	"fairway.dev/routing/dialect"
)

// A facade is what a Service is to routes that have it as their parent.
type facade struct {
	ports   []facadePort
	doors   []Door
	foreign bool   // its waypoint is another controller's
	why     string // it has none that works
}

type facadePort struct {
	number uint16
	name   string
}

// facade makes the doors of a Service, and what node agents do about its ports.
// Where there is no Service its value is nil.
func (t *Translator) facade(r *reading) outcome {
	svc := object[corev1.Service](r, "Service", r.ID.NS, r.ID.Name)
	if svc == nil {
		return outcome{Gone: true}
	}
	f := &facade{}
	for i := range svc.Spec.Ports {
		f.ports = append(f.ports, facadePort{uint16(svc.Spec.Ports[i].Port), svc.Spec.Ports[i].Name})
	}
	b := r.bindingOf(r.ID.NS, r.ID.Name)
	if b == nil {
		f.why = fmt.Sprintf("Service %s/%s is not enrolled: want the label %s on it, or on its namespace", r.ID.NS, r.ID.Name, waypointLabel)
		return outcome{Value: f, Parts: t.farDoors(r, svc)}
	}
	f.foreign, f.why = b.works() && !b.ours, b.message
	r.settings(r.ID.NS, r.ID.Name) // for its report
	if !r.enforced(b) {
		return outcome{Value: f, Parts: t.farDoors(r, svc)}
	}
	e := t.enrolled(r, svc)
	var out outcome
	f.doors, out.Parts = t.doorsOf(r, &e, b)
	out.Value = f
	for _, w := range b.waypoints() { // policies about TLS to the Service are the waypoint's to keep
		out.Gifts = append(out.Gifts, gift{To: cellID{Kind: usersOf, NS: r.ID.NS, Name: r.ID.Name}, Item: w})
	}
	return out
}

// enrolled is a Service with its ports of TCP.
func (t *Translator) enrolled(r *reading, svc *corev1.Service) Enrolled {
	e := Enrolled{
		Kind: "Service", Namespace: svc.Namespace, Name: svc.Name, Labels: svc.Labels,
		Origin:   routing.Origin{Kind: "Service", Namespace: svc.Namespace, Name: svc.Name},
		Created:  svc.CreationTimestamp.Time,
		Names:    []string{svc.Name + "." + svc.Namespace + ".svc." + t.opts.clusterDomain()},
		Selector: svc.Spec.Selector,
	}
	for _, addr := range clusterIPs(svc) {
		e.Addresses = append(e.Addresses, addr.String())
	}
	for i := range svc.Spec.Ports {
		p := &svc.Spec.Ports[i]
		if portProtocol(p) != corev1.ProtocolTCP || p.Port < 1 || p.Port > 65535 {
			continue
		}
		out := EnrolledPort{Port: uint16(p.Port), Name: p.Name}
		out.Protocol, out.Detect = doorProtocol(p)
		if out.Detect && r.isStream(&out) {
			out.Protocol, out.Detect = routing.TCP, false
		}
		to := target{port: out.Port, use: doorUses[out.Protocol]}
		if res := r.Value(cellID{Kind: backendCell, NS: svc.Namespace, Name: svc.Name, Part: to.part()}).(resolution); res.reason == "" {
			r.Value(res.cluster)
			out.To = clusterName(res.cluster)
			if res.secure {
				out.secure = res.cluster
			}
		}
		e.Ports = append(e.Ports, out)
	}
	return e
}

// doorUses are who sends to a port from a door.
var doorUses = map[routing.Protocol]use{routing.HTTP: clientUse, routing.TLS: tlsUse, routing.TCP: tcpUse}

// spoken are the protocols that clients speak to a port, as its author says it:
// in appProtocol, or in its name up to a dash.
var spoken = map[string]routing.Protocol{
	"http": routing.HTTP, "http2": routing.HTTP, "h2c": routing.HTTP, "grpc": routing.HTTP, "grpc-web": routing.HTTP,
	"kubernetes.io/h2c": routing.HTTP, "kubernetes.io/ws": routing.HTTP,
	"https": routing.TLS, "tls": routing.TLS, "kubernetes.io/wss": routing.TLS,
	"tcp": routing.TCP, "mysql": routing.TCP, "mongo": routing.TCP, "redis": routing.TCP,
}

// doorProtocol is what clients speak to a port; detect: nobody said it. An
// appProtocol that is not known is passed on as it is.
func doorProtocol(p *corev1.ServicePort) (protocol routing.Protocol, detect bool) {
	if p.AppProtocol != nil && *p.AppProtocol != "" {
		if known, ok := spoken[strings.ToLower(*p.AppProtocol)]; ok {
			return known, false
		}
		return routing.TCP, false
	}
	hint, _, _ := strings.Cut(p.Name, "-")
	if known, ok := spoken[hint]; ok {
		return known, false
	}
	return routing.HTTP, true
}

// Doors returns the doors of what is enrolled in another dialect, and as parts
// their listeners and what node agents do. It is for formulas of the stage
// Listeners.
func (t *Translator) Doors(r *dialect.Reading, e Enrolled) (doors []Door, parts []any) {
	in := &reading{r}
	b := in.bindingFor(&e)
	if !in.enforced(b) {
		return nil, nil
	}
	return t.doorsOf(in, &e, b)
}

// DoorsOf returns the doors of a Service. It is for formulas of the stage
// Listeners with a number from dialect.IstioKinds, and of later stages.
func DoorsOf(r *dialect.Reading, ns, service string) []Door {
	if f, _ := r.Value(cellID{Kind: facadeCell, NS: ns, Name: service}).(*facade); f != nil {
		return f.doors
	}
	return nil
}

// ConsumerGift has what is enrolled get doors for the workloads of a namespace
// alone, as long as it is given: the namespace has routes to it of its own. It
// is for formulas of the stage Parsed.
func ConsumerGift(kind, ns, name, consumer string) dialect.Gift {
	return gift{To: cellID{Kind: consumersOf, NS: ns, Name: name, Part: kind}, Item: consumer}
}

// A porch is where something has doors: at a waypoint, and for whom.
type porch struct {
	waypoint parentName
	own      bool
	shared   bool // at all through which workloads call: there is no waypoint then
	far      bool // for who calls from other networks, by name
	from     string
}

// porches finds where something has doors: at its own waypoints, at those through
// which workloads of other namespaces call it, which share one, and besides for
// each namespace that has routes to it of its own.
func (r *reading) porches(e *Enrolled, b *binding) []porch {
	own := b.waypoints()
	var list []porch
	for _, w := range own {
		list = append(list, porch{waypoint: w, own: true})
	}
	list = append(list, r.sharedPorches(own)...)
	for _, w := range r.exportedAt(e.Kind, e.Namespace, e.Labels) {
		if !slices.Contains(own, w) && !r.calls(w) {
			list = append(list, porch{waypoint: w, far: true})
		}
	}
	var consumers []string
	for item := range r.Bag(cellID{Kind: consumersOf, NS: e.Namespace, Name: e.Name, Part: e.Kind}) {
		consumers = append(consumers, item.(string))
	}
	slices.Sort(consumers)
	for _, ns := range consumers {
		if w := r.consumerOf(ns); w != (parentName{}) {
			list = append(list, porch{waypoint: w, own: slices.Contains(own, w), from: ns})
		}
	}
	return list
}

// doorsOf makes the doors of what has to be reached by a waypoint.
func (t *Translator) doorsOf(r *reading, e *Enrolled, b *binding) (doors []Door, parts []any) {
	addresses := addressesOf(e.Addresses)
	captures := make([]uint16, len(e.Ports))
	for i, p := range e.Ports {
		captures[i] = r.meshPort(MeshPortKey(captureName(e, p.Port)))
	}
	porches := r.porches(e, b)
	doors, parts = t.build(r, e, porches, captures)
	if b.works() && !b.ours && !slices.ContainsFunc(porches, func(p porch) bool { return !p.far }) {
		return doors, parts // all else of it is another controller's affair
	}
	for i, p := range e.Ports {
		c := &routing.Capture{Name: captureName(e, p.Port), Addresses: addresses, Port: p.Port, Claimed: e.Claimed, To: captures[i]}
		if b.works() && b.ours {
			c.Waypoint = b.waypoint.String()
			if b.canary != nil && b.canary.ours { // others do not take what node agents capture
				c.Canary = b.share()
			}
		}
		parts = append(parts, c)
	}
	return doors, parts
}

// farDoors makes the doors of what nobody has to go by a waypoint for: those for
// who calls from other networks.
func (t *Translator) farDoors(r *reading, svc *corev1.Service) (parts []any) {
	var list []porch
	for _, w := range r.exportedAt("Service", svc.Namespace, svc.Labels) {
		list = append(list, porch{waypoint: w, far: true})
	}
	if list == nil || len(clusterIPs(svc)) == 0 || isOfGateway(&svc.ObjectMeta) || svc.Spec.Type == corev1.ServiceTypeExternalName {
		return nil
	}
	e := t.enrolled(r, svc)
	_, parts = t.build(r, &e, list, make([]uint16, len(e.Ports)))
	return parts
}

// build makes the doors of porches.
func (t *Translator) build(r *reading, e *Enrolled, porches []porch, captures []uint16) (doors []Door, parts []any) {
	addresses := addressesOf(e.Addresses)
	for _, at := range porches {
		var pods map[string]string
		if !at.shared {
			f := r.frame(at.waypoint)
			if f == nil || !f.serves() {
				continue
			}
			pods = f.labels
		}
		for i := range e.Ports {
			l := at.listener(e, &e.Ports[i], addresses)
			if !at.far {
				l.Capture = captures[i]
			}
			if at.own {
				l.To = r.shownTo(at.waypoint, &e.Ports[i])
			}
			d := Door{
				Listener: l.Name, Gateway: l.Gateway, Shared: at.shared, Own: at.own, From: at.from,
				Port: l.Port, PortName: e.Ports[i].Name, Protocol: l.Protocol,
				Kind: e.Kind, Namespace: e.Namespace, Name: e.Name, Selector: e.Selector,
			}
			if t.shaper.Door != nil {
				t.shaper.Door(r.Reading, d, pods, l)
			}
			r.limitDoor(l, &d, at.waypoint)
			doors, parts = append(doors, d), append(parts, l)
		}
	}
	return doors, parts
}

// shownTo is the cluster of a port as a waypoint has it that shows a certificate
// to backends (spec.tls.backend): see variant.
func (r *reading) shownTo(waypoint parentName, p *EnrolledPort) routing.ClusterName {
	if p.secure == (cellID{}) {
		return p.To
	}
	cell := p.secure
	to := parseTarget(cell.Part)
	if to.client = r.Value(waypoint.cell(identityCell, "")).(identity).certificate; to.client == "" {
		return p.To
	}
	cell.Part = to.part()
	r.Value(cell)
	return clusterName(cell)
}

// listener is the door of a port: "shop/waypoint/cart.shop:80", "~/cart.shop:80"
// where gateways share it, and with "@bazaar" behind it for the workloads of that
// namespace.
func (at porch) listener(e *Enrolled, p *EnrolledPort, addresses []netip.Addr) *routing.Listener {
	what := e.Name + "." + e.Namespace
	if e.Kind != "Service" {
		what = e.Kind + "/" + what
	}
	name := fmt.Sprintf("%s/%s:%d", at.gateway(), what, p.Port)
	if at.from != "" {
		name += "@" + at.from
	}
	l := &routing.Listener{
		Name:      routing.ListenerName(name),
		Origin:    e.Origin,
		Created:   e.Created,
		Gateway:   at.gateway(),
		Addresses: addresses,
		Port:      p.Port,
		Protocol:  p.Protocol,
		Inside:    true,
		Names:     e.Names,
		Claimed:   e.Claimed,
		From:      at.from,
		To:        p.To,
		Detect:    p.Detect,
	}
	if p.Protocol == routing.TLS {
		l.TLS = &routing.ListenerTLS{Passthrough: true}
	}
	return l
}

// captureName is "shop/cart:80" of a Service.
func captureName(e *Enrolled, port uint16) routing.CaptureName {
	name := fmt.Sprintf("%s/%s:%d", e.Namespace, e.Name, port)
	if e.Kind != "Service" {
		name = e.Kind + "/" + name
	}
	return routing.CaptureName(name)
}
