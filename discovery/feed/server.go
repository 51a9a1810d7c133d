package feed

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"google.golang.org/grpc"

	"fairway.dev/routing"
	"fairway.dev/tlsmgr/identity"
)

// ErrUnknownGateway is what Options.Authorize returns for a Gateway that is
// not there yet, or no more: the pod waits.
var ErrUnknownGateway = errors.New("unknown gateway")

// Options are what a Server needs. Authorize is required.
type Options struct {
	// Replica names this replica of control among the others: its pod's name.
	Replica string
	// Authorize returns nil if a peer with that proven ID may have what the
	// Gateway "namespace/name" serves: it runs as the service account that was
	// provisioned for it. ErrUnknownGateway, wrapped or not, makes the pod
	// wait; any other error refuses it. Called from any goroutine.
	Authorize func(peer identity.ID, gateway string) error
	// Control is who the other replicas are, and who may read PodStates.
	Control identity.ID
	// Zone, if set, returns the zone of a Kubernetes node, "" if unknown.
	// Called from any goroutine.
	Zone func(node string) string
	// OnFleet, if set, is called after Fleet(gateway) has changed; calls are
	// one at a time, and several changes may make one.
	OnFleet func(gateway string)

	// AckTimeout is how long a pod may take for an acknowledgement before its
	// stream is closed. If zero, 30 seconds.
	AckTimeout time.Duration
	// MaxAge is how long a stream lives, give or take a tenth, so that pods
	// spread over replicas anew. If zero, 30 minutes.
	MaxAge time.Duration

	Log *slog.Logger
}

// A Server sends each pod of the fleet its Gateway's part of the Spec.
type Server struct{}

// NewServer returns a Server that has nothing to send and is not open.
func NewServer(o Options) *Server { panic("skeleton") }

// Register adds the service to a gRPC server.
func (s *Server) Register(r grpc.ServiceRegistrar) { panic("skeleton") }

// Run calls OnFleet and keeps up with the peers until ctx ends; then it ends
// all streams.
func (s *Server) Run(ctx context.Context) { panic("skeleton") }

// Update takes a change of the whole Spec. One goroutine calls it.
func (s *Server) Update(d *routing.Delta) { panic("skeleton") }

// Open lets streams begin: what Update was given is the whole Spec. Before
// that nothing is sent, as a part of it would empty the fleet.
func (s *Server) Open() { panic("skeleton") }

// SetPeers says where the other replicas of control are ("10.0.0.7:15012").
func (s *Server) SetPeers(addresses []string) { panic("skeleton") }

// Wanted returns the versions of a Gateway's listeners that its pods should
// have in force. A listener's version covers its certificates. The map is
// shared: do not change it.
func (s *Server) Wanted(gateway string) map[routing.ListenerName]string { panic("skeleton") }

// Fleet returns what is known of a Gateway's pods, by all replicas.
func (s *Server) Fleet(gateway string) Fleet { panic("skeleton") }

// Problems returns why parts of a Gateway's view are not in force.
func (s *Server) Problems(gateway string) []*routing.Problem { panic("skeleton") }

// A Fleet is a Gateway's pods.
type Fleet struct {
	Pods []PodState // by name
}

// PodState is what a pod has in force.
type PodState struct {
	Pod       string // "namespace/name"
	Node      string // of Kubernetes
	Replica   string // of control, that the pod is connected to
	Gateway   string // "namespace/name"
	Version   string // of the view in force; "" before the first acknowledgement
	Connected time.Time
	// Listeners are the versions in force, to be compared with those of
	// Wanted. The map is shared: do not change it.
	Listeners map[routing.ListenerName]string
	// Problems are what the pod reported: ports that it could not bind,
	// certificates that it could not use, resources that it could not read.
	Problems []*routing.Problem
}
