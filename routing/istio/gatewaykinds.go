package istio

import "fairway.dev/routing/dialect"

// Bags of Gateways and fleets.
const (
	fleetsWith  = dialect.Bags + gatewayKinds + iota // the fleets whose pods have a label
	guestsOn                                         // the listeners of Gateway API on a socket of a fleet
	stakesIn                                         // the servers that want a socket of a fleet, in order of age
	bidsFor                                          // the servers that want a host on a socket, in order of age
	redirectsAt                                      // those of them that redirect to https
	automaticOn                                      // the listeners that pass TLS on to any Service
)

// What is read of objects by themselves.
const (
	meshCell       = dialect.Parsed + gatewayKinds + iota // MeshConfig
	credentialCell                                        // a Secret as a key pair
	authorityCell                                         // a Secret or ConfigMap as the CA of clients
)

// What becomes of Gateways.
const (
	fleetCell     = dialect.Listeners + gatewayKinds + iota // Gateway of Gateway API: its pods
	guestsCell                                              // Gateway or ListenerSet of Gateway API: its listeners
	gatewayCell                                             // Gateway: what stands in it, and its fleets
	socketCell                                              // of a fleet: what a port speaks
	serverTLSCell                                           // of a Gateway: the TLS of a server on a fleet
	listenerCell                                            // of a fleet: a listener
	entrancesCell                                           // of a Gateway: where VirtualServices come in
)

// Routes that nobody has written.
const (
	automaticCell = dialect.Routes + gatewayKinds + iota // Service: its routes where TLS is passed on to any
	redirectCell                                         // Gateway: its redirects at listeners of Gateway API
)

// What is reported.
const (
	gatewayReportCell = dialect.Verdicts + gatewayKinds + iota // Gateway
	meshReportCell                                             // the ConfigMap with MeshConfig
	refusedCell                                                // EnvoyFilter, Sidecar, WasmPlugin
)
