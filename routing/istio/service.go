package istio

import (
	"fairway.dev/routing"
	"fairway.dev/routing/dialect"
)

// A destination is what a route sends to.
type destination struct {
	host   string // as it is written: short names are of namespace
	subset string
	port   uint32 // 0: the only one
	// namespace is that of the object which names it.
	namespace string
	// client is the namespace of the gateway pods that send: its
	// DestinationRules count first.
	client string
	use    use
}

// use is what is sent.
type use uint8

const (
	useHTTP use = iota
	useTCP
	useTLS // passed through: no policy adds another TLS
)

// A resolution is what a destination comes to: a cluster, or why there is none.
type resolution struct {
	cluster routing.ClusterName
	reason  routing.Reason
	message string
}

// resolve finds the cluster of a destination, and has it there. Clients whose
// DestinationRules are the same get the same cluster.
func (r *reading) resolve(d destination) resolution { return resolution{} }

func (j *joint) joinServices(s *dialect.Sheet) {}
