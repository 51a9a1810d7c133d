// Package leader lets one replica of control do what only one may do: write
// status, keep fleets. The replicas agree by a Lease.
//
// The law: of two replicas' turns the first has ended before the second
// begins, as far as clocks run at one speed: who cannot renew the Lease stops
// before it expires, and it is released only when the turn has ended.
package leader

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"k8s.io/klog/v2"
)

// How long a Lease holds without being renewed, how long its holder tries to
// renew it before it stops, and how often anybody tries. They are those of
// Kubernetes' own controllers.
const (
	leaseDuration = 15 * time.Second
	renewDeadline = 10 * time.Second
	retryPeriod   = 2 * time.Second
)

// Options say what is agreed on. All but Log are required.
type Options struct {
	Namespace, Name string // of the Lease
	Identity        string // of this replica: its pod's name
	Log             *slog.Logger
}

// An Election is a replica's part in the agreement. It needs to get, create
// and update Leases in its namespace.
type Election struct {
	options Options
	lock    resourcelock.Interface
}

// New returns an Election that this replica does not take part in before Run.
func New(config *rest.Config, o Options) (*Election, error) {
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("leader election: %w", err)
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Election{options: o, lock: &resourcelock.LeaseLock{
		LeaseMeta:  metav1.ObjectMeta{Namespace: o.Namespace, Name: o.Name},
		Client:     client.CoordinationV1(),
		LockConfig: resourcelock.ResourceLockConfig{Identity: o.Identity},
	}}, nil
}

// Run calls lead whenever this replica holds the Lease, with a context that
// ends when it does no more, and returns when ctx has ended and lead with it.
func (e *Election) Run(ctx context.Context, lead func(context.Context)) error {
	for ctx.Err() == nil {
		if err := e.turn(ctx, lead); err != nil {
			return err
		}
	}
	return nil
}

// turn waits for the Lease and leads until it is lost or ctx ends.
func (e *Election) turn(ctx context.Context, lead func(context.Context)) error {
	// Ending hold releases the Lease, which is for when lead has returned. What
	// happens is logged here.
	hold, release := context.WithCancel(klog.NewContext(context.WithoutCancel(ctx), klog.Logger{}))
	defer release()
	// Either lead is called, and waited for, or it never will be.
	var decided atomic.Bool
	ended := make(chan struct{})
	elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Lock: e.lock, Name: e.options.Name, ReleaseOnCancel: true,
		LeaseDuration: leaseDuration, RenewDeadline: renewDeadline, RetryPeriod: retryPeriod,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(held context.Context) {
				if !decided.CompareAndSwap(false, true) {
					return
				}
				defer close(ended)
				held, cancel := context.WithCancel(held)
				defer cancel()
				defer context.AfterFunc(ctx, cancel)()
				lead(held)
			},
			OnStoppedLeading: func() {},
			OnNewLeader:      func(identity string) { e.options.Log.Info("leader", "replica", identity) },
		},
	})
	if err != nil {
		return fmt.Errorf("leader election: %w", err)
	}
	over := make(chan struct{})
	go func() {
		defer close(over)
		elector.Run(hold)
	}()
	select {
	case <-ctx.Done():
	case <-over:
	case <-ended:
	}
	if !decided.CompareAndSwap(false, true) {
		<-ended
	}
	release()
	<-over
	return nil
}
