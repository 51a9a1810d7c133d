package feed

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"
)

const (
	dialTimeout  = 10 * time.Second // to open a stream and send its first request
	pingAfter    = 20 * time.Second // of silence
	pingTimeout  = 10 * time.Second
	firstRetry   = 100 * time.Millisecond
	slowestRetry = 5 * time.Second
	// steady is how long a stream lasts that did not end for a reason that
	// will end the next one too.
	steady = 10 * time.Second
	// refusedRetry is for peers that control does not let in: it has to learn
	// of them first, or never will.
	refusedRetry = 2 * time.Second
)

// A dialer opens streams. Each has a connection of its own: a Service spreads
// connections, not streams, over replicas.
type dialer struct {
	target      string // a gRPC target: "dns:///fairway-control.fairway-system.svc:15012"
	credentials credentials.TransportCredentials
	options     []grpc.DialOption
}

func (d *dialer) dial() (*grpc.ClientConn, error) {
	return grpc.NewClient(d.target, append([]grpc.DialOption{
		grpc.WithTransportCredentials(d.credentials),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: pingAfter, Timeout: pingTimeout, PermitWithoutStream: true}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage)),
		// Where the name has many addresses, pods do not all take the first.
		grpc.WithDefaultServiceConfig(`{"loadBalancingConfig":[{"pick_first":{"shuffleAddressList":true}}]}`),
		grpc.WithDisableServiceConfig(),
		grpc.WithNoProxy(), // control is in the cluster, whatever the environment says
	}, d.options...)...)
}

// A link is one stream, from the side of the subscriber.
type link struct {
	responses chan *discoveryv3.DeltaDiscoveryResponse // what comes; run's caller reads it
	requests  chan *discoveryv3.DeltaDiscoveryRequest  // what goes after the first request
	worked    bool                                     // its user has got what it wanted by it
}

func newLink() *link {
	return &link{
		responses: make(chan *discoveryv3.DeltaDiscoveryResponse),
		// As many as responses that are answered while one waits for the wire.
		requests: make(chan *discoveryv3.DeltaDiscoveryRequest, 16),
	}
}

// run opens a stream, sends first, and passes on what comes and goes until the
// stream or ctx ends. It returns why.
func (l *link) run(ctx context.Context, d *dialer, first *discoveryv3.DeltaDiscoveryRequest) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	conn, err := d.dial()
	if err != nil {
		return err
	}
	defer conn.Close()
	timeout := time.AfterFunc(dialTimeout, cancel)
	stream, err := discoveryv3.NewAggregatedDiscoveryServiceClient(conn).DeltaAggregatedResources(ctx)
	if err != nil {
		return err
	}
	if err := stream.Send(first); err != nil {
		return ended(stream, err)
	}
	if !timeout.Stop() {
		return fmt.Errorf("no stream within %s", dialTimeout)
	}
	received := make(chan error, 1)
	go func() { received <- l.receive(ctx, stream) }()
	for {
		select {
		case r := <-l.requests:
			if err := stream.Send(r); err != nil {
				return <-received // says why
			}
		case err := <-received:
			return err
		}
	}
}

func (l *link) receive(ctx context.Context, stream grpc.BidiStreamingClient[discoveryv3.DeltaDiscoveryRequest, discoveryv3.DeltaDiscoveryResponse]) error {
	for {
		r, err := stream.Recv()
		if err != nil {
			return err
		}
		select {
		case l.responses <- r:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// ended returns the stream's status, which Send does not know.
func ended(stream grpc.BidiStreamingClient[discoveryv3.DeltaDiscoveryRequest, discoveryv3.DeltaDiscoveryResponse], err error) error {
	if !errors.Is(err, io.EOF) {
		return err
	}
	_, err = stream.Recv()
	return err
}

// A backoff is how long to wait before the next stream. The zero backoff is ready.
type backoff struct{ last time.Duration }

// after returns the wait after a stream that lasted that long and ended so:
// longer each time, and different for each pod.
func (b *backoff) after(lasted time.Duration, err error) time.Duration {
	if lasted >= steady {
		b.last = 0
	}
	b.last = min(max(2*b.last, firstRetry), slowestRetry)
	switch status.Code(err) {
	case codes.PermissionDenied, codes.Unauthenticated:
		b.last = max(b.last, refusedRetry)
	}
	return b.last/2 + rand.N(b.last)
}
