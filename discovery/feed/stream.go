package feed

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"fairway.dev/routing"
	"fairway.dev/tlsmgr/identity"
)

const (
	maxName  = 512              // bytes of a pod's, a node's or a Gateway's name
	startFor = 10 * time.Second // that a stream may wait to begin
	firstFor = 10 * time.Second // that a client may take for its first request
)

type deltaStream = discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesServer

// service is the Server towards gRPC.
type service struct {
	discoveryv3.UnimplementedAggregatedDiscoveryServiceServer
	server *Server
}

// DeltaAggregatedResources is one pod's stream, or one peer's.
func (s *service) DeltaAggregatedResources(stream deltaStream) error {
	id, err := identity.OfPeer(stream.Context())
	if err != nil {
		return status.Errorf(codes.Unauthenticated, "%v", err)
	}
	return s.server.serve(stream, id)
}

// A podStream is one stream. Its receiver handles requests, its sender sends
// what subscriptions have, and serve watches both.
type podStream struct {
	server *Server
	stream deltaStream
	peer   identity.ID
	number uint64
	work   chan struct{} // there may be something to send

	mu      sync.Mutex               // guards what follows; taken before all others
	known   bool                     // who it says that it is, in state
	subs    map[string]*subscription // by type
	view    *view                    // of a pod
	state   PodState                 // of a pod
	place   Place                    // of a pod
	inForce *listenerSet             // by its last acknowledgement
	refused []string                 // resources that it could not read
	begun   bool                     // the fleet knows the pod
	over    bool                     // serve has returned
}

// serve runs a stream until it ends, makes no progress, or is old enough.
func (s *Server) serve(stream deltaStream, peer identity.ID) error {
	admitted, err := s.admit(stream.Context(), peer)
	if err != nil {
		return err
	}
	defer admitted()
	p := &podStream{
		server: s, stream: stream, peer: peer, number: s.streams.Add(1),
		work: make(chan struct{}, 1), subs: map[string]*subscription{}, inForce: noListeners,
	}
	s.counts.streams.Add(1)
	defer s.counts.streams.Add(-1)
	defer p.end()
	// Neither ends before its stream, which ends when serve returns.
	failed := make(chan error, 2)
	go func() { failed <- p.receive(admitted) }()
	go func() { failed <- p.send() }()
	return p.watch(failed)
}

// admit waits for Open, and for the stream's turn; not for long, as another
// replica may be ready, and have time.
func (s *Server) admit(ctx context.Context, peer identity.ID) (admitted func(), err error) {
	ctx, cancel := context.WithTimeout(ctx, startFor)
	defer cancel()
	select {
	case <-s.opened:
		if admitted, err = s.admission.enter(ctx, peer); err == nil {
			return admitted, nil
		}
	case <-s.closed:
		return nil, errClosing
	case <-ctx.Done():
	}
	return nil, errBusy
}

var errBusy = status.Error(codes.Unavailable, "control is busy, or has yet to read the cluster: connect again")

var errClosing = status.Error(codes.Unavailable, "control is closing, connect to another replica")

// watch returns when the stream has to end.
func (p *podStream) watch(failed <-chan error) error {
	s := p.server
	began := time.Now()
	old := s.options.maxAge()
	old += rand.N(old/5+1) - old/10
	tick := time.NewTicker(min(s.options.ackTimeout()/4, firstFor/2))
	defer tick.Stop()
	for {
		select {
		case err := <-failed:
			return err
		case <-s.closed:
			return errClosing
		case now := <-tick.C:
			stalled, idle := p.stalled(now)
			switch {
			case stalled > s.options.ackTimeout():
				s.counts.slow.Add(1)
				return status.Errorf(codes.DeadlineExceeded, "no acknowledgement for %s", stalled.Round(time.Second))
			case !p.isKnown() && now.Sub(began) > firstFor:
				return status.Errorf(codes.DeadlineExceeded, "no request for %s", firstFor)
			case idle && now.Sub(began) > old:
				return status.Error(codes.Unavailable, "stream is old, connect again")
			}
		}
	}
}

// stalled returns for how long the client has made no progress, and whether it
// owes none.
func (p *podStream) stalled(now time.Time) (longest time.Duration, idle bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	idle = true
	for _, sub := range p.subs {
		d := sub.stalled(now)
		longest = max(longest, d)
		idle = idle && d == 0
	}
	return longest, idle
}

func (p *podStream) isKnown() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.known
}

// end takes the stream out of what it has joined.
func (p *podStream) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.over = true
	for _, sub := range p.subs {
		sub.from.leave(sub)
	}
	if p.view != nil {
		p.server.views.release(p.view)
	}
	if p.begun {
		p.server.fleet.leave(p.number, &p.state)
	}
}

func (p *podStream) wake() {
	select {
	case p.work <- struct{}{}:
	default:
	}
}

func (p *podStream) send() error {
	ctx := p.stream.Context()
	for {
		select {
		case <-p.work:
		case <-ctx.Done():
			return ctx.Err()
		}
		for {
			sub, r := p.next()
			if r == nil {
				break
			}
			if err := p.stream.Send(r); err != nil {
				return err
			}
			sub.sent(time.Now())
			p.server.counts.responses.Add(1)
			p.server.counts.resources.Add(int64(len(r.Resources)))
		}
	}
}

func (p *podStream) next() (*subscription, *discoveryv3.DeltaDiscoveryResponse) {
	p.findPlace()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, sub := range p.subs {
		if r := sub.next(time.Now()); r != nil {
			r.ControlPlane = &corev3.ControlPlane{Identifier: p.server.options.Replica}
			return sub, r
		}
	}
	return nil, nil
}

// findPlace asks where the pod is. No lock is held, as whoever knows may be
// waiting for one in Update.
func (p *podStream) findPlace() {
	p.mu.Lock()
	gateway, node := p.state.Gateway, p.state.Node
	p.mu.Unlock()
	if p.server.options.Place == nil || gateway == "" {
		return
	}
	place := p.server.options.Place(gateway, node)
	p.mu.Lock()
	p.place = place
	p.mu.Unlock()
}

// receive takes requests; it calls admitted after the first.
func (p *podStream) receive(admitted func()) error {
	for {
		r, err := p.stream.Recv()
		if err != nil {
			return err
		}
		if err := p.take(r); err != nil {
			return err
		}
		admitted()
		p.wake()
	}
}

// take takes one request, which may subscribe, acknowledge, or both.
func (p *podStream) take(r *discoveryv3.DeltaDiscoveryRequest) error {
	p.mu.Lock()
	if !p.known {
		if err := p.meet(r.GetNode()); err != nil {
			p.mu.Unlock()
			return err
		}
	}
	sub := p.subs[r.GetTypeUrl()]
	p.mu.Unlock()
	if sub == nil {
		return p.begin(r)
	}
	if err := sub.change(r); err != nil {
		return status.Errorf(codes.ResourceExhausted, "%v", err)
	}
	var done *mark
	if nonce := r.GetResponseNonce(); nonce != "" {
		if r.GetErrorDetail() != nil {
			p.server.counts.refused.Add(1)
			p.server.warn("part refused by a pod", p.state.Gateway, p.peer, errors.New(cut(r.GetErrorDetail().GetMessage())))
		}
		done = sub.acknowledge(nonce, time.Now())
	}
	if r.GetTypeUrl() == PartType {
		p.report(r, done)
	}
	return nil
}

// meet notes who the client says that it is. It is called with the lock held.
func (p *podStream) meet(node *corev3.Node) error {
	if node == nil {
		return status.Error(codes.InvalidArgument, "first request without a node")
	}
	fields := node.GetMetadata().GetFields()
	p.state = PodState{
		Pod: node.GetId(), Node: fields[nodeField].GetStringValue(), Gateway: fields[gatewayField].GetStringValue(),
		Program: fields[programField].GetStringValue(), Replica: p.server.options.Replica, Connected: time.Now().UTC(),
	}
	if s := p.state; len(s.Pod) > maxName || len(s.Node) > maxName || len(s.Gateway) > maxName || len(s.Program) > maxName {
		return status.Errorf(codes.InvalidArgument, "pod %.100q on %.100q of %.100q: want names of Kubernetes", s.Pod, s.Node, s.Gateway)
	}
	if p.state.Gateway == routing.CallingGateways {
		return status.Errorf(codes.InvalidArgument, "pod of %q, which is no Gateway", p.state.Gateway)
	}
	if p.state.Gateway == CaptureGateway && p.state.Node == "" {
		return status.Error(codes.InvalidArgument, "node agent without its node")
	}
	p.known = true
	return nil
}

// begin takes the first request of a type.
func (p *podStream) begin(r *discoveryv3.DeltaDiscoveryRequest) error {
	switch r.GetTypeUrl() {
	case PartType:
		return p.beginParts(r)
	case PodStateType:
		if p.peer != p.server.options.Control {
			return status.Errorf(codes.PermissionDenied, "%s may not read the state of pods", p.peer)
		}
		pods := p.server.fleet.pods
		sub := newSubscription(PodStateType, pods, func() (*resource, mark) {
			version := pods.digest.String()
			return makeResource(PodStateType, generationName, version, marshal(&generation{Version: version, Number: pods.number})), mark{}
		}, p.wake)
		sub.from.join(sub)
		return p.add(sub, r)
	}
	return status.Errorf(codes.InvalidArgument, "type %.100q: want %s", r.GetTypeUrl(), PartType)
}

func (p *podStream) beginParts(r *discoveryv3.DeltaDiscoveryRequest) error {
	if err := p.authorize(); err != nil {
		return err
	}
	p.mu.Lock()
	if p.over {
		p.mu.Unlock()
		return errClosing
	}
	p.view = p.server.views.acquire(p.state.Gateway)
	p.mu.Unlock()
	sub := newSubscription(PartType, p.view.collection, p.closing, p.wake)
	sub.scope = p.scope()
	sub.from.join(sub)
	if err := p.add(sub, r); err != nil {
		return err
	}
	p.report(r, nil)
	return nil
}

// scope is what the pod sees of its view besides what is for all.
func (p *podStream) scope() string {
	if p.state.Gateway == CaptureGateway {
		return p.state.Node
	}
	return ""
}

// authorize asks whether the pod may have what it asks for. One whose Gateway
// is not known yet comes again: it would wait at others' expense.
func (p *podStream) authorize() error {
	gateway := p.state.Gateway
	err := p.server.options.Authorize(p.peer, gateway)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, ErrUnknownGateway):
		return status.Errorf(codes.Unavailable, "%v: connect again", err)
	}
	p.server.warn("pod refused", gateway, p.peer, err)
	return status.Errorf(codes.PermissionDenied, "%v", err)
}

// warn logs what may be true of a thousand pods, that try again and again, once.
func (s *Server) warn(what, gateway string, peer identity.ID, err error) {
	text := what + gateway + peer.String() + err.Error()
	if last := s.warned.Swap(&text); last == nil || *last != text {
		s.options.Log.Warn(what, "gateway", gateway, "peer", peer.String(), "err", err)
	}
}

// add makes a subscription one of the stream's.
func (p *podStream) add(sub *subscription, r *discoveryv3.DeltaDiscoveryRequest) error {
	if err := sub.begin(r); err != nil {
		sub.from.leave(sub)
		return status.Errorf(codes.ResourceExhausted, "%v", err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.over {
		sub.from.leave(sub)
		return errClosing
	}
	p.subs[sub.typeURL] = sub
	return nil
}

// closing returns the resource that closes a run, and what its acknowledgement
// means. It is called with the lock held, and the view's for reading.
func (p *podStream) closing() (*resource, mark) {
	version, number := p.view.digestFor(p.scope()).String(), p.view.number
	if common := p.view.followed(); common != nil {
		number += common.number
	}
	at := p.place
	g := &generation{Version: version, Number: number, Region: at.Region, Zone: at.Zone, SubZone: at.SubZone, Labels: at.Labels}
	return makeResource(PartType, generationName, version, marshal(g)), mark{version, p.view.wanted}
}

// report notes what a request says about the pod: that it has put a run in
// force, and its Problems.
func (p *podStream) report(r *discoveryv3.DeltaDiscoveryRequest, done *mark) {
	problems, refused, said := problemsOf(r.GetNode().GetMetadata())
	if r.GetErrorDetail() != nil && !said {
		done = nil // refused as a whole
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.over || p.begun && done == nil && !said {
		return
	}
	p.begun = true
	if done != nil {
		p.state.Version, p.inForce = done.version, done.listeners
	}
	if said {
		p.state.Problems, p.refused = problems, refused
	}
	set := p.inForce
	if len(p.refused) > 0 {
		set = p.view.without(set, p.refused)
	}
	p.server.fleet.set(p.number, p.state, set)
}
