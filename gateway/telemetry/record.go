package telemetry

import (
	"net/netip"
	"time"

	"fairway.dev/gateway/message"
)

// Flags say what was out of the ordinary about an exchange, under the names
// that Envoy and Istio give their response flags. Of Envoy's those are left out
// for which there is no cause here: LH, LR, RLSE, IH, UMSDR, RFCF, NFCF, DO and
// UDO. The cause of each of the others is in the documentation of the packages
// proxy and stream.
type Flags uint32

const (
	NoRoute               Flags = 1 << iota // NR: no rule matched
	NoHealthyUpstream                       // UH: the cluster has no endpoint to use
	UpstreamFailure                         // UF: could not connect
	UpstreamOverflow                        // UO: a limit of the cluster was reached
	UpstreamRetryLimit                      // URX: the last of the tries failed too
	UpstreamTimeout                         // UT: the backend was too slow
	UpstreamClosed                          // UC: the backend closed the connection
	UpstreamReset                           // UR: the backend reset the stream
	UpstreamProtocolError                   // UPE: the backend broke the protocol
	DownstreamClosed                        // DC: the client went away
	DownstreamProtocol                      // DPE: the client broke the protocol
	RateLimited                             // RL: over a rate limit, or nobody could count it
	Unauthorized                            // UAEX: authorization refused
	NoCluster                               // NC: the rule's backend does not exist
	Overload                                // OM: shed because we are overloaded
	Delayed                                 // DI: a fault delayed it
	Faulted                                 // FI: a fault answered it
	StreamIdle                              // SI: nothing moved for too long
	DurationTimeout                         // DT: a connection lasted as long as it may
	NameFailure                             // DF: DNS has no address for an endpoint's name
	DownstreamReset                         // DR: the client reset the stream, its connection stays
)

// A Record is what is told about one exchange when it ends. Its strings are
// valid during the call that takes it.
type Record struct {
	Start         time.Time
	Duration      time.Duration // first byte of the request's head to the last of the response
	Upstream      time.Duration // last try: head sent to response head; 0 without one
	Method        string
	Authority     string
	Path          string // without the query, which may hold secrets
	Proto         message.Proto
	Status        int
	GRPCStatus    int // -1 where there is none
	Flags         Flags
	BytesReceived int64 // of bodies
	BytesSent     int64
	Attempts      int
	Remote        netip.AddrPort
	Endpoint      netip.AddrPort
	RequestID     string
	UserAgent     string
	TLS           bool
	Client        ClientCertificate
	Policy        string // what has refused the request; empty: no policy has
	Audit         string // what policies say that refuse nobody
	Source        string // who the client is in the mesh; empty: nobody knows
	Ends          Ends
}

// A ClientCertificate is what a client showed of itself in its TLS handshake.
type ClientCertificate uint8

const (
	NoClientCertificate ClientCertificate = iota
	UnverifiedClient                      // it leads to none of the listener's roots
	VerifiedClient
	numClientCertificates
)

var clientText = [numClientCertificates]string{UnverifiedClient: "unverified", VerifiedClient: "verified"}
