package gatewayapi

import (
	"time"

	"fairway.dev/routing"
)

// meshKinds is the first number of a stage for what waypoints need.
const meshKinds cellKind = 64

// A Door is a listener of a waypoint for a port of a Service, or of what another
// dialect has like it (see routing.Listener.Inside).
type Door struct {
	Listener routing.ListenerName
	Gateway  string // of the waypoint: "shop/waypoint"; or routing.CallingGateways
	Shared   bool   // it is that of many
	Own      bool   // the waypoint is that of what the door is for: it enforces policy
	From     string // the namespace whose workloads alone it is for; empty: all
	Port     uint16
	PortName string
	Protocol routing.Protocol

	// What the door is for.
	Kind, Namespace, Name string
	Selector              map[string]string // of its pods; nil: none is known
}

// An Enrolled is what may have a waypoint: a Service, a ServiceEntry.
type Enrolled struct {
	Kind, Namespace, Name string
	Labels, Annotations   map[string]string
	Origin                routing.Origin
	Created               time.Time
	Addresses             []string // those that clients dial
	Names                 []string // its DNS names
	Claimed               bool     // the author's word for these, not the cluster's (routing.Listener)
	Ports                 []EnrolledPort
	Selector              map[string]string
}

// An EnrolledPort is a port that clients dial.
type EnrolledPort struct {
	Port     uint16
	Name     string           // may be empty
	Protocol routing.Protocol // HTTP, TLS or TCP
	Detect   bool             // nobody said which: HTTP if it looks like it
	To       routing.ClusterName

	secure cellID // the cell of To, where it speaks TLS
}
