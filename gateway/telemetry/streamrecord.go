package telemetry

import (
	"net/netip"
	"time"
)

// A StreamKind is what a stream is made of.
type StreamKind uint8

const (
	StreamTCP StreamKind = iota
	StreamTLS            // passed through, or terminated
	StreamUDP
	numStreamKinds
)

var streamKindText = [numStreamKinds]string{StreamTCP: "TCP", StreamTLS: "TLS", StreamUDP: "UDP"}

// String returns the form used in access logs: "TCP".
func (k StreamKind) String() string { return streamKindText[k] }

// A StreamRecord is what is told about one stream when it ends: a connection,
// or a session of datagrams.
type StreamRecord struct {
	Kind          StreamKind
	Start         time.Time
	Duration      time.Duration
	Connect       time.Duration // how long it took to reach the endpoint; 0 where none was reached
	Name          string        // of the ClientHello; valid during the call that takes the record
	Flags         Flags
	BytesReceived int64 // from the client
	BytesSent     int64 // to the client
	// Datagrams are counted for sessions of UDP.
	DatagramsReceived int64
	DatagramsSent     int64
	Attempts          int // endpoints that were tried
	Remote            netip.AddrPort
	Endpoint          netip.AddrPort
	TLS               bool   // terminated here
	Policy            string // what has refused the connection; empty: no policy has
	Source            string // who the client is in the mesh; empty: nobody knows
	Ends              Ends
}
