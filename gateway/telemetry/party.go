package telemetry

import (
	"cmp"
	"strings"
	"unique"
)

// A Party is one end of an exchange in the mesh, in the words of Istio's labels.
// What is empty is not known. All of it comes from configuration and from
// certificates, nothing from what a client wrote.
type Party struct {
	Workload, Namespace string // "cart-v1" of "shop"
	Principal           string // "spiffe://cluster.local/ns/shop/sa/cart"
	App, Version        string
	Service, Revision   string // canonical
}

// A PartyID stands for a Party: two of one Party are equal, and the zero PartyID is
// nobody that is known. Making one is not for every exchange.
type PartyID = unique.Handle[Party]

// PartyOf is what an identity says of who has it:
// "spiffe://cluster.local/ns/shop/sa/cart".
func PartyOf(identity string) Party {
	_, rest, _ := strings.Cut(identity, "/ns/")
	namespace, _, ok := strings.Cut(rest, "/sa/")
	if !ok {
		namespace = ""
	}
	return Party{Namespace: namespace, Principal: identity}
}

// ID returns what stands for p.
func (p Party) ID() PartyID { return unique.Make(p) }

// Ends say where an exchange came from, and where it went. The zero Ends are those
// of an exchange at the edge of the mesh: its source is the gateway itself, and of
// its destination no more is known than the Service.
type Ends struct {
	From, To PartyID
	// Door says that it came to a door of a waypoint (routing.Listener.Inside): the
	// source is From, and the reporter is "waypoint".
	Door bool
	// Onward says that it went from a door to another waypoint, which reports it as
	// "waypoint" too: this one is its source's, and the reporter is "source".
	Onward bool
	// Mutual says that the client has come through TLS of the mesh.
	Mutual bool
}

// crowd is everybody, where there is no room for one and each.
var crowd = Party{
	Workload: other, Namespace: other, Principal: other, App: other, Version: other, Service: other, Revision: other,
}.ID()

var nobody PartyID

// partyLabels are the values of a Party's labels: workload, namespace, principal, app,
// version, the cluster's name, canonical service and revision.
func partyLabels(id PartyID, cluster string) [8]string {
	if id == nobody {
		return [8]string{}
	}
	p := id.Value()
	if id != crowd {
		p.Revision = cmp.Or(p.Revision, "latest") // as Istio has it
	} else {
		cluster = other
	}
	return [8]string{p.Workload, p.Namespace, p.Principal, p.App, p.Version, cluster, p.Service, p.Revision}
}
