package istio

import (
	"cmp"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"fairway.dev/routing"
	"fairway.dev/routing/dialect"
)

// A bid is a server that wants a socket of a fleet, or a host on it. Of two
// that cannot both have it the older Gateway's wins, and of one Gateway's the
// first.
type bid struct {
	created int64  // of the Gateway; one without an age is the youngest
	gateway string // "shop/edge"
	server  int
	class   portClass
}

func bidOf(created time.Time, gateway string, i int, class portClass) bid {
	b := bid{math.MaxInt64, gateway, i, class}
	if !created.IsZero() {
		b.created = created.UnixNano()
	}
	return b
}

// Before orders bids by who wins.
func (b bid) Before(other dialect.Ordered) bool {
	o := other.(bid)
	return cmp.Or(cmp.Compare(b.created, o.created), strings.Compare(b.gateway, o.gateway), cmp.Compare(b.server, o.server),
		strings.Compare(string(b.class), string(o.class))) < 0
}

// first returns the first bid of a class in a bag.
func (r *reading) first(bag dialect.ID, class portClass) (bid, bool) {
	for _, o := range r.Order(bag) {
		if b := o.(bid); b.class == class {
			return b, true
		}
	}
	return bid{}, false
}

// A socketState is what a port of a fleet speaks.
type socketState struct {
	class portClass
	guest routing.ListenerName // of Gateway API, which decides; empty: owner does
	owner bid                  // the first of that class; zero: there is none
}

// socket decides what a port of a fleet speaks: what listeners of Gateway API
// do, else what the oldest Gateway wants.
func (j *joint) socket(r *reading) dialect.Outcome {
	at := fleetName{r.ID.NS, r.ID.Name}
	var s socketState
	stakes := at.cell(stakesIn, r.ID.Part)
	if guests := r.guests(at, r.ID.Part); len(guests) > 0 {
		s.class, s.guest = classOf(guests[0].Protocol), guests[0].Name
	} else if order := r.Order(stakes); len(order) > 0 {
		s.class = order[0].(bid).class
	}
	s.owner, _ = r.first(stakes, s.class)
	return dialect.Outcome{Value: s}
}

func (r *reading) socket(at fleetName, socket string) socketState {
	return r.Value(at.cell(socketCell, socket)).(socketState)
}

// place returns the pattern of the listener that a host of plain HTTP is served
// by. In Istio all servers of a port share one table of routes, and so do they
// here: one listener without a hostname. Hosts that redirect to https have
// listeners of their own, and so have those that do not, where a wider one does.
func (r *reading) place(at fleetName, socket, host string) string {
	if r.redirects(at, socket, host) {
		return host
	}
	for w := range widerPatterns(host) {
		if r.redirects(at, socket, w) {
			return host
		}
	}
	return everyHost
}

func (r *reading) redirects(at fleetName, socket, host string) bool {
	return len(r.Bag(at.cell(redirectsAt, socket+"/"+host))) > 0
}

// A listenerState is what a listener of a fleet comes to.
type listenerState struct {
	name  routing.ListenerName // empty: there is none
	by    bid                  // whose it is
	guest routing.ListenerName // of Gateway API, which has the host in its place
}

// listener makes the listener for a host on a port of a fleet, for the server
// that wins it.
func (j *joint) listener(r *reading) dialect.Outcome {
	at := fleetName{r.ID.NS, r.ID.Name}
	socket, host, _ := strings.Cut(r.ID.Part, "/")
	port := r.socket(at, socket)
	for _, g := range r.guests(at, socket) {
		if g.Hostname == host {
			return dialect.Outcome{Value: listenerState{guest: g.Name}}
		}
	}
	by, found := port.owner, port.owner.gateway != ""
	if port.class != classHTTP || host != everyHost {
		by, found = r.first(at.cell(bidsFor, r.ID.Part), port.class)
	}
	f := r.fleet(at)
	if !found || f == nil {
		return dialect.Outcome{Value: listenerState{}}
	}
	g, s := r.serverOf(by)
	l := &routing.Listener{
		Name:          routing.ListenerName(at.String() + "/" + string(port.class) + ":" + strings.TrimSuffix(socket+":"+host, ":"+everyHost)),
		Origin:        g.key().Origin().At(s.field),
		Created:       g.created,
		Gateway:       at.String(),
		Addresses:     f.addresses,
		Port:          s.port,
		Protocol:      s.protocol,
		ProxyProtocol: f.proxyProtocol(s.port),
		RedirectHTTPS: port.class == classHTTP && r.redirects(at, socket, host),
	}
	if s.bind.IsValid() {
		l.Addresses = append(slices.Clip(l.Addresses)[:0:0], s.bind)
	}
	if host != everyHost {
		l.Hostname = host
	}
	if port.class == classTLS {
		l.TLS = r.serverTLS(by, at).tls
		l.Group = by.gateway + "/" + strconv.Itoa(by.server)
	}
	r.j.applyPolicies(r, at, f.labels, l)
	return dialect.Outcome{Value: listenerState{name: l.Name, by: by}, Parts: []any{l}}
}

func (r *reading) listener(at fleetName, socket, host string) listenerState {
	return r.Value(at.cell(listenerCell, socket+"/"+host)).(listenerState)
}

// serverOf reads the server that a bid is of.
func (r *reading) serverOf(b bid) (*gateway, *server) {
	ns, name, _ := strings.Cut(b.gateway, "/")
	g := r.Value(dialect.ID{Kind: gatewayCell, NS: ns, Name: name}).(*gateway)
	return g, g.servers[b.server]
}
