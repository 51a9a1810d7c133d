package telemetry

// UDP counts the datagrams of all sessions. Sessions themselves are counted as
// connections of protocol "udp" are: see Metrics.Connections.
type UDP struct {
	Datagrams *Tally[Direction] // taken from clients, and sent to them
	Bytes     *Tally[Direction] // of their payloads
	Dropped   *Tally[UDPDrop]   // in either direction, by why
}

// A Direction is a client's.
type Direction uint8

const (
	FromClients Direction = iota
	ToClients
	numDirections
)

var directionText = [numDirections]string{FromClients: "in", ToClients: "out"}

// A UDPDrop is why a datagram went nowhere.
type UDPDrop uint8

const (
	DropNoRoute      UDPDrop = iota // no route is attached, or its backend is not valid
	DropNoEndpoint                  // the cluster has none
	DropUnreachable                 // ICMP, or the kernel, said so of two endpoints in turn
	DropReceiveQueue                // the kernel's queue of the port was full
	DropSendQueue                   // the kernel's queue of the other side was full
	DropError                       // the kernel refused to send it
	numUDPDrops
)

var udpDropText = [numUDPDrops]string{
	DropNoRoute: "no_route", DropNoEndpoint: "no_endpoint", DropUnreachable: "unreachable",
	DropReceiveQueue: "receive_queue", DropSendQueue: "send_queue", DropError: "error",
}

func newUDP(m *Metrics) *UDP {
	return &UDP{
		Datagrams: newTally[Direction](m, "fairway_udp_datagrams_total",
			"Datagrams taken from clients, and sent to them.", "direction", directionText[:]),
		Bytes: newTally[Direction](m, "fairway_udp_bytes_total",
			"Bytes of datagrams taken from clients, and sent to them.", "direction", directionText[:]),
		Dropped: newTally[UDPDrop](m, "fairway_udp_dropped_total",
			"Datagrams that were dropped, by why.", "reason", udpDropText[:]),
	}
}
