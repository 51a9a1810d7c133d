package feed

import (
	"context"
	"log/slog"
	"time"

	"google.golang.org/grpc/credentials"

	"fairway.dev/routing"
)

// ClientOptions are what a Client needs. All but Dir, Zone and Log are required.
type ClientOptions struct {
	Control     string // "fairway-control.fairway-system.svc:15012"
	Credentials credentials.TransportCredentials
	Gateway     string // "namespace/name"
	Pod         string // "namespace/name"
	Node        string // of Kubernetes
	// Apply puts a change in force, atomically, and returns all Problems that
	// then stand. It is called by the goroutine of Run.
	Apply func(*routing.Delta) []*routing.Problem
	// Dir, if set, is where the last good state is kept. It holds keys.
	Dir string
	// Zone, if set, is called with the zone of the pod's node when control
	// says it, before Apply, by the goroutine of Run.
	Zone func(zone string)
	Log  *slog.Logger
}

// A Client keeps a pod's Spec as control has it.
type Client struct{}

// NewClient returns a Client that has nothing.
func NewClient(o ClientOptions) *Client { panic("skeleton") }

// Run applies the last good state and then what control sends, until ctx ends.
func (c *Client) Run(ctx context.Context) { panic("skeleton") }

// Report sends Problems that changed since Apply returned them: all that
// stand now. Any goroutine may call it.
func (c *Client) Report(problems []*routing.Problem) { panic("skeleton") }

// Status returns how the Client stands. Any goroutine may call it.
func (c *Client) Status() Status { panic("skeleton") }

// Status is for readiness and for people.
type Status struct {
	Loaded    bool      // a state is in force: from control, or the last good one
	Connected bool      // a stream to control is open and in step
	InStep    time.Time // when the pod last knew to have what control has; zero is never
	Version   string    // of the state in force
}
