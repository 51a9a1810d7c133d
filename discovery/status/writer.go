package status

import (
	"context"
	"log/slog"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"fairway.dev/discovery/feed"
	"fairway.dev/discovery/provision"
	"fairway.dev/routing"
	"fairway.dev/routing/gatewayapi"
)

// Options are what a Writer needs. Only those that say so may be zero. The
// functions are called from any goroutine.
type Options struct {
	// Config leads to the API server. Its QPS and Burst are not looked at: the
	// Writer has its own bound.
	Config         *rest.Config
	ControllerName gatewayv1.GatewayController

	// Resource returns where the API server has the objects of a kind, in the
	// version that it serves; false where it has none.
	Resource func(kind string) (schema.GroupVersionResource, bool)
	// Object returns the object as it was last watched, a pointer to its API
	// type with status, or nil. If Object is nil, objects are asked for.
	Object func(routing.ObjectKey) any

	// Wanted and Fleet are the feed's, of the Gateway "namespace/name".
	Wanted func(gateway string) map[routing.ListenerName]string
	Fleet  func(gateway string) feed.Fleet

	// Patience is how long a change waits for the fleet's acknowledgement
	// before it is written that it is pending. If zero, 1.5 seconds.
	Patience time.Duration

	// Log gets what is done. If nil, nothing is logged.
	Log *slog.Logger
}

// A Writer writes what is known of objects into their status. Its methods may
// be called from any goroutine.
type Writer struct {
	o Options
}

// New returns a Writer that knows nothing yet.
func New(o Options) *Writer { return &Writer{o: o} }

// Report takes the outcome for an object. It is called after the feed has what
// comes with it.
func (w *Writer) Report(r gatewayapi.Report) {}

// Changed says that an object, or its status, is another than it was: somebody
// else may have written it.
func (w *Writer) Changed(key routing.ObjectKey) {}

// FleetChanged says that Fleet returns something else for a Gateway.
func (w *Writer) FleetChanged(gateway string) {}

// Provisioned takes what provisioning knows of a Gateway.
func (w *Writer) Provisioned(s provision.State) {}

// Run writes until ctx ends: the leader's, one at a time. It may be called
// again after it has returned.
func (w *Writer) Run(ctx context.Context) {}
