package feed

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"
	"unique"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"

	"fairway.dev/routing"
)

// saveEvery is how often the last good state is written at most.
const saveEvery = 10 * time.Second

// ClientOptions are what a Client needs. Those up to Apply, and Log,
// are required.
type ClientOptions struct {
	Control     string // a gRPC target: "fairway-control.fairway-system.svc:15012"
	Credentials credentials.TransportCredentials
	Gateway     string // "namespace/name"
	Pod         string // "namespace/name"
	Node        string // of Kubernetes
	// Apply puts a change in force, atomically, and returns all Problems that
	// then stand. It is called by the goroutine of Run.
	Apply func(*routing.Delta) []*routing.Problem
	// Restore, if set, is given the last good state in Apply's place, by who has
	// something newer, perhaps, from before it began. Apply follows once control
	// has said what is otherwise, if that is nothing, too.
	Restore func(*routing.Delta) []*routing.Problem
	// Dir, if set, is where the last good state is kept. It holds keys.
	Dir string
	// Program is the version of the program, for people. It may be empty.
	Program string
	// Place, if set, is called with where the pod is when control says another
	// place than before, ahead of Apply, by the goroutine of Run.
	Place func(Place)
	// Changed, if set, is called when the Status has changed, by the goroutine
	// of Run.
	Changed func(Status)
	// VersionsOnly is for load tests: parts are not read, only their versions
	// are kept, and Apply is given empty changes.
	VersionsOnly bool
	// DialOptions are added to those of connections.
	DialOptions []grpc.DialOption
	Log         *slog.Logger
}

// A Client keeps a pod's Spec as control has it.
type Client struct {
	options ClientOptions
	dialer  dialer
	state   *clientState
	file    *stateFile // nil without a directory
	reports chan []*routing.Problem
	status  atomic.Pointer[Status]

	problems []*routing.Problem // that stand
	link     *link              // nil while there is none
	fresh    bool               // this stream was told that we have nothing, and has closed no run
	clean    bool               // control was told on this stream that nothing is wrong
	wayward  bool               // starting over did not help: versions are not compared on this stream
	told     bool               // that control is away
	restored bool               // Restore was called, and Apply was not yet
	saved    time.Time
}

// Status is for readiness and for people.
type Status struct {
	Loaded    bool      // a state is in force: from control, or the last good one
	Connected bool      // a stream to control is open, and what it sent is in force
	InStep    time.Time // when the pod last had what control has; zero is never
	Version   string    // of the state in force, as PodState.Version
}

// NewClient returns a Client that has nothing.
func NewClient(o ClientOptions) *Client {
	c := &Client{
		options: o, state: newClientState(), reports: make(chan []*routing.Problem, 1),
		dialer: dialer{target: o.Control, credentials: o.Credentials, options: o.DialOptions},
	}
	c.status.Store(&Status{})
	if o.VersionsOnly {
		c.state.decode = func(string, []byte) (any, error) { return unread{}, nil }
		c.state.nameOf = func(name string) string { return unique.Make(name).Value() } // all pods have the same
	}
	if o.Dir != "" {
		c.file = newStateFile(o.Dir)
	}
	return c
}

// Status returns how the Client stands. Any goroutine may call it.
func (c *Client) Status() Status {
	s := *c.status.Load()
	if s.Connected {
		s.InStep = time.Now()
	}
	return s
}

// Report sends Problems that changed since Apply returned them: all that
// stand now. Any goroutine may call it; it does not wait.
func (c *Client) Report(problems []*routing.Problem) {
	for {
		select {
		case c.reports <- problems:
			return
		case <-c.reports: // outdated before it was sent
		}
	}
}

// Run applies the last good state and then what control sends, until ctx ends.
func (c *Client) Run(ctx context.Context) {
	c.restore()
	var retry backoff
	for {
		began := time.Now()
		err := c.follow(ctx)
		if ctx.Err() != nil {
			break
		}
		c.say(err)
		c.pause(ctx, retry.after(time.Since(began), err))
		if ctx.Err() != nil {
			break
		}
	}
	c.save()
}

// say logs why a stream has ended: once while none succeeds.
func (c *Client) say(err error) {
	switch {
	case c.told:
		c.options.Log.Debug("control away", "err", err)
	case c.link.worked:
		c.options.Log.Info("stream from control ended, beginning another", "err", err)
	default:
		c.options.Log.Warn("control away, trying again", "err", err)
		c.told = true
	}
}

// restore applies the last good state, if there is one.
func (c *Client) restore() {
	if c.file == nil {
		return
	}
	began := time.Now()
	parts, place, err := c.file.load()
	if err != nil {
		c.options.Log.Warn("last good state not usable, starting from nothing", "err", err)
		return
	}
	if parts == nil {
		return
	}
	c.state.restore(parts, place)
	c.setPlace(place)
	if c.options.Restore != nil {
		c.problems, c.restored = c.options.Restore(c.state.everything()), true
	} else {
		c.apply(c.state.everything())
	}
	c.loaded(false)
	c.options.Log.Info("last good state in force", "took", time.Since(began))
}

func (c *Client) setPlace(p Place) {
	if c.options.Place != nil && !p.Equal(Place{}) {
		c.options.Place(p)
	}
}

// apply puts a change in force.
func (c *Client) apply(d *routing.Delta) {
	began := time.Now()
	c.problems, c.restored = c.options.Apply(d), false
	c.options.Log.Debug("change in force", "took", time.Since(began))
}

// loaded notes that what the state says is in force.
func (c *Client) loaded(inStep bool) {
	s := c.Status()
	s.Loaded, s.Connected, s.Version = true, inStep, c.state.digest.String()
	c.setStatus(s)
}

func (c *Client) setStatus(s Status) {
	before := *c.status.Load()
	c.status.Store(&s)
	before.InStep = s.InStep
	if c.options.Changed != nil && s != before {
		c.options.Changed(s)
	}
}

// pause waits before the next stream.
func (c *Client) pause(ctx context.Context, d time.Duration) {
	again := time.After(d)
	for {
		select {
		case <-again:
			return
		case c.problems = <-c.reports: // the next stream begins with them
		case <-c.saveTimer():
			c.save()
		case <-ctx.Done():
			return
		}
	}
}

// follow opens a stream and takes what control sends until it ends.
func (c *Client) follow(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	c.link = newLink()
	defer c.lost()
	ended := make(chan error, 1)
	first := c.first()
	go func() { ended <- c.link.run(ctx, &c.dialer, first) }()
	for {
		var answer *discoveryv3.DeltaDiscoveryRequest
		select {
		case r := <-c.link.responses:
			var err error
			if answer, err = c.take(r); err != nil {
				cancel()
				<-ended
				return err
			}
		case c.problems = <-c.reports:
			answer = &discoveryv3.DeltaDiscoveryRequest{TypeUrl: PartType, Node: c.standing()}
		case <-c.saveTimer():
			c.save()
			continue
		case err := <-ended:
			return err
		}
		select {
		case c.link.requests <- answer:
		case err := <-ended:
			return err
		}
	}
}

// lost notes that there is no stream.
func (c *Client) lost() {
	c.state.abandon()
	s := c.Status()
	s.Connected = false
	c.setStatus(s)
}

// first returns the request that a stream begins with.
func (c *Client) first() *discoveryv3.DeltaDiscoveryRequest {
	versions := c.state.versions()
	c.fresh, c.wayward = len(versions) == 0, false
	return &discoveryv3.DeltaDiscoveryRequest{
		Node: c.node(), TypeUrl: PartType, ResourceNamesSubscribe: []string{wildcard}, InitialResourceVersions: versions,
	}
}

// node says who the pod is and how it stands.
func (c *Client) node() *corev3.Node {
	n := c.standing()
	n.Id = c.options.Pod
	n.Metadata.Fields[gatewayField] = text(c.options.Gateway)
	n.Metadata.Fields[nodeField] = text(c.options.Node)
	n.Metadata.Fields[programField] = text(c.options.Program)
	return n
}

// standing says how the pod stands.
func (c *Client) standing() *corev3.Node {
	refused := c.state.refusedNames()
	c.clean = len(refused)+len(c.problems) == 0
	return &corev3.Node{Metadata: metadataOf(slices.Concat(c.state.refusals(), c.problems), refused)}
}

// take takes a response and returns its acknowledgement. The run that it
// closes is put in force. An error ends the stream.
func (c *Client) take(r *discoveryv3.DeltaDiscoveryResponse) (*discoveryv3.DeltaDiscoveryRequest, error) {
	answer := &discoveryv3.DeltaDiscoveryRequest{TypeUrl: PartType, ResponseNonce: r.GetNonce()}
	end, err := c.state.take(r)
	if err != nil {
		c.options.Log.Warn("part not understood, the one before stays", "err", err)
		answer.ErrorDetail = &rpcstatus.Status{Code: int32(codes.InvalidArgument), Message: cut(err.Error())}
	}
	if end == nil {
		return answer, nil
	}
	if at := end.place(); !at.Equal(c.state.place) {
		c.state.place = at
		c.setPlace(at)
	}
	delta := c.state.close()
	if delta == nil && (c.restored || !c.Status().Loaded) {
		delta = &routing.Delta{} // the Gateway has nothing else, and that is in force
	}
	if delta != nil {
		c.apply(delta)
	}
	c.loaded(true)
	c.link.worked, c.told = true, false
	if !c.clean || len(c.problems) > 0 || answer.ErrorDetail != nil {
		answer.Node = c.standing()
	}
	return answer, c.check(end)
}

// check compares what we have with what control says that we should have.
func (c *Client) check(end *generation) error {
	fresh := c.fresh
	c.fresh = false
	if c.wayward || c.state.digest.String() == end.Version {
		return nil
	}
	err := fmt.Errorf("state is of version %s, want %s", c.state.digest, end.Version)
	if fresh {
		// What was sent is in force at least.
		c.wayward = true
		c.options.Log.Error("all of the state is not what control says", "err", err)
		return nil
	}
	c.state.distrust()
	return fmt.Errorf("%w: starting over", err)
}

// saveTimer fires when the state is to be written: never if it has not changed.
func (c *Client) saveTimer() <-chan time.Time {
	if c.file == nil || !c.state.changed() {
		return nil
	}
	return time.After(time.Until(c.saved.Add(saveEvery)))
}

// save writes the state if it has changed.
func (c *Client) save() {
	if c.file == nil || !c.state.changed() {
		return
	}
	c.saved = time.Now()
	if err := c.file.save(c.state); err != nil {
		c.options.Log.Error("last good state not written", "err", err)
	}
}
