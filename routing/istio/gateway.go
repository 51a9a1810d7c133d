package istio

import (
	"fairway.dev/routing"
	"fairway.dev/routing/dialect"
)

// A door is a listener that a VirtualService may be attached to, by way of a
// Gateway that it names.
type door struct {
	listener routing.ListenerName
	fleet    string // the Gateway whose pods serve it: "istio-system/ingress"
	gateway  string // the Gateway of the dialect, as matches name it: "shop/edge"
	port     uint32 // of the listener
	protocol routing.Protocol
	// passthrough says that TLS is not ended here: tls routes apply, and no others.
	passthrough bool
	// hosts are those of the VirtualService that the server lets in here, wider
	// or narrower: the intersection, in lower case. "*" for any.
	hosts []string
}

// doors returns the listeners to which a VirtualService of a namespace, with
// those hosts, is attached by naming a Gateway ("edge", "shop/edge"). It says
// why there are none.
func (r *reading) doors(gateway, namespace string, hosts []string) ([]door, *routing.Problem) {
	return nil, nil
}

func (j *joint) joinGateways(s *dialect.Sheet) {}
