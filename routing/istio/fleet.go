package istio

import (
	"maps"
	"net/netip"
	"slices"
	"strings"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"fairway.dev/routing"
	"fairway.dev/routing/dialect"
	"fairway.dev/routing/gatewayapi"
)

// A fleetName names a fleet: a Gateway of Gateway API whose pods serve.
type fleetName struct{ ns, name string }

func (f fleetName) String() string { return f.ns + "/" + f.name }

// cell is a cell that belongs to a fleet.
func (f fleetName) cell(kind dialect.Kind, part string) dialect.ID {
	return dialect.ID{Kind: kind, NS: f.ns, Name: f.name, Part: part}
}

// A fleet is what Gateways of this dialect need to know of one.
type fleet struct {
	labels    map[string]string
	addresses []netip.Addr // to bind; none: the server's default
	pods      *gatewayapi.Fleet
}

// fleet reads a fleet; nil where there is none.
func (r *reading) fleet(name fleetName) *fleet {
	if r.j.opts.AnySelector {
		return &fleet{}
	}
	f, _ := r.Value(name.cell(fleetCell, "")).(*fleet)
	return f
}

func (f *fleet) proxyProtocol(port uint16) routing.ProxyProtocol {
	if f.pods == nil {
		return routing.ProxyProtocolOff
	}
	return f.pods.ProxyProtocol(port)
}

// fleetOf makes a fleet of a Gateway of Gateway API, and lets it be found by
// each of its labels.
func fleetOf(r *reading) dialect.Outcome {
	pods := r.j.gateway.Fleet(r.Reading, r.ID.NS, r.ID.Name)
	if pods == nil {
		return dialect.Outcome{Gone: object[gatewayv1.Gateway](r, "Gateway", r.ID.NS, r.ID.Name) == nil}
	}
	f := &fleet{labels: pods.Labels, addresses: pods.Addresses, pods: pods}
	name := fleetName{r.ID.NS, r.ID.Name}
	out := dialect.Outcome{Value: f, Gifts: []dialect.Gift{{To: withLabel("", ""), Item: name}}}
	for _, k := range slices.Sorted(maps.Keys(f.labels)) {
		out.Gifts = append(out.Gifts, dialect.Gift{To: withLabel(k, f.labels[k]), Item: name})
	}
	return out
}

// withLabel is the bag of the fleets whose pods have a label; of all without one.
func withLabel(key, value string) dialect.ID {
	return dialect.ID{Kind: fleetsWith, Name: key, Part: value}
}

// selected returns the fleets whose pods a selector matches, in order. None
// matches all (Gateway.selector).
func (r *reading) selected(selector map[string]string) []fleetName {
	if r.j.opts.AnySelector {
		ns, name, _ := strings.Cut(r.j.opts.Fleet, "/")
		return []fleetName{{ns, name}}
	}
	keys := slices.Sorted(maps.Keys(selector))
	first := withLabel("", "")
	if len(keys) > 0 {
		first = withLabel(keys[0], selector[keys[0]])
	}
	var found []fleetName
	for item := range r.Bag(first) {
		name := item.(fleetName)
		if f := r.fleet(name); f != nil && selects(f.labels, selector) {
			found = append(found, name)
		}
	}
	slices.SortFunc(found, func(a, b fleetName) int { return strings.Compare(a.String(), b.String()) })
	return found
}

// selects reports whether labels have all that a selector names.
func selects(labels, selector map[string]string) bool {
	for k, v := range selector {
		if got, ok := labels[k]; !ok || got != v {
			return false
		}
	}
	return true
}

// guests gives the listeners of a Gateway or a ListenerSet of Gateway API to
// the fleet that they are in force on: servers of this dialect share their
// ports with them.
func guests(r *reading) dialect.Outcome {
	ns, name, list := r.j.gateway.OpenListeners(r.Reading, r.ID.Part, r.ID.NS, r.ID.Name)
	if len(list) == 0 {
		return dialect.Outcome{Gone: object[gatewayv1.Gateway](r, r.ID.Part, r.ID.NS, r.ID.Name) == nil &&
			object[gatewayv1.ListenerSet](r, r.ID.Part, r.ID.NS, r.ID.Name) == nil}
	}
	at := fleetName{ns, name}
	if r.j.opts.AnySelector { // all Gateways share one process
		at = r.selected(nil)[0]
	}
	var out dialect.Outcome
	for _, l := range list {
		if l.Protocol != routing.UDP {
			out.Gifts = append(out.Gifts, dialect.Gift{To: at.cell(guestsOn, socketOf(l.Port, netip.Addr{})), Item: l})
		}
	}
	return out
}

// guests returns the listeners of Gateway API on a socket, by name.
func (r *reading) guests(at fleetName, socket string) []gatewayapi.OpenListener {
	var list []gatewayapi.OpenListener
	for item := range r.Bag(at.cell(guestsOn, socket)) {
		list = append(list, item.(gatewayapi.OpenListener))
	}
	slices.SortFunc(list, func(a, b gatewayapi.OpenListener) int { return strings.Compare(string(a.Name), string(b.Name)) })
	return list
}
