package feed

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"

	"fairway.dev/routing"
	"fairway.dev/tlsmgr/identity"
)

// ErrUnknownGateway is what Options.Authorize returns for a Gateway that is
// not there yet, or no more: the pod comes again.
var ErrUnknownGateway = errors.New("unknown gateway")

// Options are what a Server needs. Authorize and Log are required.
type Options struct {
	// Replica names this replica of control among the others: its pod's name.
	Replica string
	// Authorize returns nil if a peer with that proven ID may have what the
	// Gateway "namespace/name" serves: it runs as the service account that was
	// provisioned for it. Node agents ask for CaptureGateway. ErrUnknownGateway,
	// wrapped or not, makes the pod come again; any other error refuses it. Called
	// from any goroutine.
	Authorize func(peer identity.ID, gateway string) error
	// Control is who the other replicas are, and who may read PodStates. If
	// zero, nobody may.
	Control identity.ID
	// PeerCredentials open connections to the other replicas. Without them
	// SetPeers has no effect.
	PeerCredentials credentials.TransportCredentials
	// Place, if set, returns where a pod of the Gateway "namespace/name" on a
	// Kubernetes node is, which may be "" or one that nobody knows. Called
	// from any goroutine.
	Place func(gateway, node string) Place
	// OnFleet, if set, is called after Fleet(gateway) has changed; calls are
	// one at a time, and several changes may make one.
	OnFleet func(gateway string)

	// AckTimeout is how long a pod may make no progress with what it was sent
	// before its stream is closed. If zero, 30 seconds.
	AckTimeout time.Duration
	// MaxAge is how long a stream lives, give or take a tenth, so that pods
	// spread over replicas anew. If zero, 30 minutes.
	MaxAge time.Duration

	Log *slog.Logger

	peerOptions []grpc.DialOption // for tests: how to reach the peers
}

func (o *Options) ackTimeout() time.Duration {
	if o.AckTimeout == 0 {
		return 30 * time.Second
	}
	return o.AckTimeout
}

func (o *Options) maxAge() time.Duration {
	if o.MaxAge == 0 {
		return 30 * time.Minute
	}
	return o.MaxAge
}

// ServerOptions returns what the gRPC server that a Server is registered with
// should be made with, beside its credentials: dead pods are found, and a
// thousand connections stay small.
func ServerOptions() []grpc.ServerOption {
	const (
		readBuffer = 8 << 10     // requests are small
		idleFor    = time.Minute // that a connection is for nothing
	)
	return []grpc.ServerOption{
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: pingAfter, Timeout: pingTimeout, MaxConnectionIdle: idleFor}),
		grpc.ForceServerCodecV2(newCodec()),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: pingAfter / 2, PermitWithoutStream: true}),
		grpc.MaxConcurrentStreams(16),
		grpc.ConnectionTimeout(dialTimeout),
		grpc.ReadBufferSize(readBuffer),
	}
}

// A Server sends each pod of the fleet its Gateway's part of the Spec.
type Server struct {
	options   Options
	world     *world
	fleet     *fleet
	opened    chan struct{}
	openOnce  sync.Once
	closed    chan struct{}
	admission *admission
	streams   atomic.Uint64 // the number of the last one
	peers     chan []string
	counts    counts
	warned    atomic.Pointer[string] // the last warning about a pod
	views     *viewSet
}

// NewServer returns a Server that has nothing to send and is not open.
func NewServer(o Options) *Server {
	s := &Server{
		options: o, fleet: newFleet(), views: newViewSet(),
		opened: make(chan struct{}), closed: make(chan struct{}),
		admission: newAdmission(), peers: make(chan []string, 1),
	}
	s.world = newWorld(s.views, o.Log)
	return s
}

// Register adds the service to a gRPC server, whose credentials are of
// package identity.
func (s *Server) Register(r grpc.ServiceRegistrar) {
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(r, &service{server: s})
}

// Run calls OnFleet and keeps up with the peers until ctx ends; then it ends
// all streams. It is called once.
func (s *Server) Run(ctx context.Context) {
	var tasks sync.WaitGroup
	tasks.Go(func() { s.fleet.announce(ctx, s.onFleet) })
	tasks.Go(func() { s.followPeers(ctx) })
	<-ctx.Done()
	close(s.closed)
	tasks.Wait()
}

func (s *Server) onFleet(gateway string) {
	if s.options.OnFleet != nil {
		s.options.OnFleet(gateway)
	}
}

// Update takes a change of the whole Spec. One goroutine calls it. The parts
// must not change afterwards.
func (s *Server) Update(d *routing.Delta) {
	for _, v := range s.world.update(d) {
		v.wake()
	}
}

// Open lets streams begin: what Update was given is the whole Spec. Before
// that nothing is sent, as a part of it would empty the fleet.
func (s *Server) Open() { s.openOnce.Do(func() { close(s.opened) }) }

// Wanted returns the versions of a Gateway's listeners that its pods should
// have in force. A listener's version covers its certificates. Doors are not
// there: a Gateway is Programmed by what it binds, and a waypoint may have a
// door for each port of each Service of the cluster. Whether what is on doors is
// in force, Version tells. The map is shared: do not change it.
func (s *Server) Wanted(gateway string) map[routing.ListenerName]string {
	v := s.views.of(gateway)
	if v == nil {
		return nil
	}
	v.mu.RLock()
	defer v.mu.RUnlock()
	return v.wanted.versions
}

// Version returns that of all that a Gateway's pods should have in force, as
// PodState.Version; "" where there is nothing for them. Those of node agents
// differ by node.
func (s *Server) Version(gateway string) string {
	v := s.views.of(gateway)
	if v == nil {
		return ""
	}
	v.hold()
	defer v.release()
	return v.digestFor("").String()
}

// Fleet returns what is known of a Gateway's pods, by all replicas.
func (s *Server) Fleet(gateway string) Fleet { return s.fleet.of(gateway) }

// Problems returns what a Gateway's pods have reported, each thing once. It is
// all that there is to know: what translation lets through compiles, which its
// own tests hold, so that control keeps no Snapshot of each view (8 MB for
// 5,000 routes) to find it out once more.
func (s *Server) Problems(gateway string) []*routing.Problem {
	var list []*routing.Problem
	seen := map[string]bool{}
	for _, pod := range s.Fleet(gateway).Pods {
		for _, p := range pod.Problems {
			if text := string(p.Reason) + " " + p.Error(); !seen[text] {
				seen[text] = true
				list = append(list, p)
			}
		}
	}
	return list
}
