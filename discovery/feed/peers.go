package feed

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"

	"fairway.dev/routing"
)

// peerPods is what a peer has told us. It is guarded by the fleet's lock.
type peerPods struct {
	versions map[string]string
	pods     map[string]*podState
	sets     map[string]map[routing.ListenerName]string // by the resource's name
}

func newPeerPods() *peerPods {
	return &peerPods{
		versions: map[string]string{}, pods: map[string]*podState{}, sets: map[string]map[routing.ListenerName]string{},
	}
}

// of appends the states of a Gateway's pods.
func (p *peerPods) of(gateway string, states []PodState) []PodState {
	for _, s := range p.pods {
		if s.Gateway != gateway {
			continue
		}
		states = append(states, PodState{
			Pod: s.Pod, Node: s.Node, Program: s.Program, Replica: s.Replica, Gateway: s.Gateway, Version: s.Version, Connected: s.Connected,
			Listeners: p.sets[listenersKind+s.Listeners], Problems: fromWire(s.Problems),
		})
	}
	return states
}

// take applies a response and returns the gateways that it is about, and which
// resources could not be read.
func (p *peerPods) take(r *discoveryv3.DeltaDiscoveryResponse) (gateways []string, err error) {
	for _, name := range r.GetRemovedResources() {
		gateways = append(gateways, p.remove(name)...)
	}
	for _, res := range r.GetResources() {
		if res.GetName() == generationName {
			continue
		}
		value, bad := decodePodState(res.GetName(), res.GetResource().GetValue())
		if bad != nil {
			err = fmt.Errorf("%s: %w", res.GetName(), bad)
			continue
		}
		p.versions[res.GetName()] = res.GetVersion()
		switch v := value.(type) {
		case *podState:
			p.pods[res.GetName()] = v
			gateways = append(gateways, v.Gateway)
		case map[routing.ListenerName]string:
			p.sets[res.GetName()] = v
		}
	}
	return gateways, err
}

func (p *peerPods) remove(name string) (gateways []string) {
	if s := p.pods[name]; s != nil {
		gateways = append(gateways, s.Gateway)
	}
	delete(p.pods, name)
	delete(p.sets, name)
	delete(p.versions, name)
	return gateways
}

// forget forgets all pods.
func (p *peerPods) forget() (gateways []string) {
	for name := range p.versions {
		gateways = append(gateways, p.remove(name)...)
	}
	return gateways
}

// A peer follows the pods of another replica.
type peer struct {
	address string
	replica string // ours
	dialer  dialer
	fleet   *fleet
	log     *slog.Logger

	gone    *time.Timer // runs while the peer is away: its pods are forgotten then
	heard   bool        // on the stream that is open
	ourself bool        // it is this replica
}

// run follows the peer until ctx ends, or it turns out to be ourself.
func (p *peer) run(ctx context.Context) {
	p.gone = time.NewTimer(grace)
	p.gone.Stop()
	var retry backoff
	for ctx.Err() == nil && !p.ourself {
		began := time.Now()
		err := p.follow(ctx)
		if p.heard {
			p.heard = false
			p.gone.Reset(grace)
		}
		if ctx.Err() == nil && !p.ourself {
			p.log.Debug("peer away", "peer", p.address, "err", err)
			p.pause(ctx, retry.after(time.Since(began), err))
		}
	}
	time.AfterFunc(grace, func() { p.fleet.merge(p, (*peerPods).forget) })
}

func (p *peer) pause(ctx context.Context, d time.Duration) {
	again := time.After(d)
	for {
		select {
		case <-again:
			return
		case <-p.gone.C:
			p.fleet.merge(p, (*peerPods).forget)
		case <-ctx.Done():
			return
		}
	}
}

// follow opens a stream to the peer and takes what it says until that ends.
func (p *peer) follow(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	l := newLink()
	ended := make(chan error, 1)
	go func() { ended <- l.run(ctx, &p.dialer, p.first()) }()
	defer cancel()
	for {
		select {
		case r := <-l.responses:
			if p.ourself = r.GetControlPlane().GetIdentifier() == p.replica; p.ourself {
				cancel()
				return <-ended
			}
			if !p.heard {
				p.heard = true
				p.gone.Stop()
			}
			select {
			case l.requests <- p.take(r):
			case err := <-ended:
				return err
			}
		case <-p.gone.C:
			p.fleet.merge(p, (*peerPods).forget)
		case err := <-ended:
			return err
		}
	}
}

// first returns the request that a stream begins with.
func (p *peer) first() *discoveryv3.DeltaDiscoveryRequest {
	r := &discoveryv3.DeltaDiscoveryRequest{
		Node: &corev3.Node{Id: p.replica}, TypeUrl: PodStateType, ResourceNamesSubscribe: []string{wildcard},
	}
	p.fleet.merge(p, func(known *peerPods) []string {
		r.InitialResourceVersions = maps.Clone(known.versions)
		return nil
	})
	return r
}

// take applies a response and returns its acknowledgement.
func (p *peer) take(r *discoveryv3.DeltaDiscoveryResponse) *discoveryv3.DeltaDiscoveryRequest {
	answer := &discoveryv3.DeltaDiscoveryRequest{TypeUrl: PodStateType, ResponseNonce: r.GetNonce()}
	p.fleet.merge(p, func(known *peerPods) []string {
		gateways, err := known.take(r)
		if err != nil {
			p.log.Warn("state of pods not understood", "peer", p.address, "err", err)
			answer.ErrorDetail = &rpcstatus.Status{Code: int32(codes.InvalidArgument), Message: cut(err.Error())}
		}
		return gateways
	})
	return answer
}

// SetPeers says where the other replicas of control are: gRPC targets, as
// "10.0.0.7:15012". This one may be among them. The last call counts.
func (s *Server) SetPeers(addresses []string) {
	for {
		select {
		case s.peers <- slices.Clone(addresses):
			return
		case <-s.peers: // nobody has taken up the call before
		}
	}
}

// followPeers keeps a peer for each address, until ctx ends.
func (s *Server) followPeers(ctx context.Context) {
	var tasks sync.WaitGroup
	defer tasks.Wait()
	running := map[string]context.CancelFunc{}
	for {
		var addresses []string
		select {
		case <-ctx.Done():
			return
		case addresses = <-s.peers:
		}
		for address, stop := range running {
			if !slices.Contains(addresses, address) {
				stop()
				delete(running, address)
			}
		}
		if s.options.PeerCredentials == nil {
			continue
		}
		for _, address := range addresses {
			if _, ok := running[address]; ok {
				continue
			}
			p := &peer{
				address: address, replica: s.options.Replica, fleet: s.fleet, log: s.options.Log,
				dialer: dialer{target: address, credentials: s.options.PeerCredentials, options: s.options.peerOptions},
			}
			peerCtx, stop := context.WithCancel(ctx)
			running[address] = stop
			tasks.Go(func() { p.run(peerCtx) })
		}
	}
}
