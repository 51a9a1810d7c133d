package feed

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/test/bufconn"

	"fairway.dev/routing"
	"fairway.dev/tlsmgr/identity"
)

var quiet = slog.New(slog.DiscardHandler)

var (
	edgeID    = identity.ID{TrustDomain: "cluster.local", Namespace: "shop", ServiceAccount: "edge-fairway"}
	otherID   = identity.ID{TrustDomain: "cluster.local", Namespace: "bank", ServiceAccount: "edge-fairway"}
	agentID   = identity.ID{TrustDomain: "cluster.local", Namespace: "fairway-system", ServiceAccount: "fairway-capture"}
	controlID = identity.ID{TrustDomain: "cluster.local", Namespace: "fairway-system", ServiceAccount: "fairway-control"}
)

// A mesh is a CA and the certificates of its members.
type mesh struct {
	ca   *identity.CA
	mu   sync.Mutex
	owns map[identity.ID]*tls.Certificate
}

func newMesh(t testing.TB) *mesh {
	t.Helper()
	ca, err := identity.NewCA("cluster.local")
	if err != nil {
		t.Fatal(err)
	}
	return &mesh{ca: ca, owns: map[identity.ID]*tls.Certificate{}}
}

func (m *mesh) roots() *identity.Bundle { return m.ca.Bundle() }

// own returns the certificate of id.
func (m *mesh) own(id identity.ID) identity.Own {
	return func() (*tls.Certificate, error) {
		m.mu.Lock()
		defer m.mu.Unlock()
		if cert := m.owns[id]; cert != nil {
			return cert, nil
		}
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil, err
		}
		der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
		if err != nil {
			return nil, err
		}
		chain, err := m.ca.Sign(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}), identity.Claim{ID: id})
		if err != nil {
			return nil, err
		}
		block, _ := pem.Decode(chain[0])
		m.owns[id] = &tls.Certificate{Certificate: [][]byte{block.Bytes}, PrivateKey: key}
		return m.owns[id], nil
	}
}

func (m *mesh) client(id identity.ID) credentials.TransportCredentials {
	return credentials.NewTLS(identity.ClientConfig(m.own(id), m.roots, identity.Only(controlID)))
}

// authorize knows the Gateways shop/edge and bank/edge, and node agents.
func authorize(peer identity.ID, gateway string) error {
	owners := map[string]identity.ID{"shop/edge": edgeID, "bank/edge": otherID, CaptureGateway: agentID}
	owner, ok := owners[gateway]
	switch {
	case !ok:
		return fmt.Errorf("%w %q", ErrUnknownGateway, gateway)
	case owner != peer:
		return errors.New("not the Gateway's service account")
	}
	return nil
}

// A control is a Server on a pipe, with TLS.
type control struct {
	*Server
	mesh *mesh
	pipe *bufconn.Listener
	stop func() // ends it as a kill would
}

func startControl(t testing.TB, m *mesh, change func(*Options)) *control {
	t.Helper()
	c := &control{mesh: m, pipe: bufconn.Listen(1 << 20)}
	o := Options{Replica: "control-a", Authorize: authorize, Control: controlID, Log: quiet}
	if change != nil {
		change(&o)
	}
	c.Server = NewServer(o)
	g := grpc.NewServer(append(ServerOptions(), grpc.Creds(credentials.NewTLS(identity.ServerConfig(m.own(controlID), m.roots, identity.Anyone))))...)
	c.Register(g)
	ctx, cancel := context.WithCancel(context.Background())
	var tasks sync.WaitGroup
	tasks.Go(func() { c.Run(ctx) })
	tasks.Go(func() { g.Serve(c.pipe) })
	c.stop = sync.OnceFunc(func() { cancel(); g.Stop(); tasks.Wait() })
	t.Cleanup(c.stop)
	return c
}

func (c *control) dialOptions() []grpc.DialOption {
	return []grpc.DialOption{grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return c.pipe.DialContext(ctx) })}
}

// A tap is a bare stream, for the protocol's rules.
type tap struct {
	t      testing.TB
	stream grpc.BidiStreamingClient[discoveryv3.DeltaDiscoveryRequest, discoveryv3.DeltaDiscoveryResponse]
	came   chan *discoveryv3.DeltaDiscoveryResponse
	ended  chan error
	close  func()
}

func (c *control) tap(t testing.TB, id identity.ID) *tap {
	t.Helper()
	d := dialer{target: "passthrough:control", credentials: c.mesh.client(id), options: c.dialOptions()}
	conn, err := d.dial()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	stream, err := discoveryv3.NewAggregatedDiscoveryServiceClient(conn).DeltaAggregatedResources(ctx)
	if err != nil {
		t.Fatal(err)
	}
	p := &tap{t: t, stream: stream, came: make(chan *discoveryv3.DeltaDiscoveryResponse, 1000), ended: make(chan error, 1)}
	p.close = sync.OnceFunc(func() { cancel(); conn.Close() })
	t.Cleanup(p.close)
	go func() {
		for {
			r, err := stream.Recv()
			if err != nil {
				p.ended <- err
				return
			}
			p.came <- r
		}
	}()
	return p
}

func (p *tap) send(r *discoveryv3.DeltaDiscoveryRequest) {
	p.t.Helper()
	if r.TypeUrl == "" {
		r.TypeUrl = PartType
	}
	if err := p.stream.Send(r); err != nil {
		p.t.Fatal(err)
	}
}

// patience bounds what tests wait for; nothing is expected to take as long.
const patience = 20 * time.Second

// next returns the next response.
func (p *tap) next() *discoveryv3.DeltaDiscoveryResponse {
	p.t.Helper()
	select {
	case r := <-p.came:
		return r
	case err := <-p.ended:
		p.t.Fatalf("the stream ended: %v", err)
	case <-time.After(patience):
		p.t.Fatal("no response")
	}
	return nil
}

func (p *tap) ack(r *discoveryv3.DeltaDiscoveryResponse) {
	p.t.Helper()
	p.send(&discoveryv3.DeltaDiscoveryRequest{ResponseNonce: r.Nonce, TypeUrl: r.TypeUrl})
}

// end returns why the stream ended.
func (p *tap) end() error {
	p.t.Helper()
	select {
	case err := <-p.ended:
		return err
	case <-time.After(patience):
		p.t.Fatal("the stream does not end")
	}
	return nil
}

// summary returns the names in a response: "a b -c" where c is removed.
func summary(r *discoveryv3.DeltaDiscoveryResponse) string {
	var words []string
	for _, res := range r.Resources {
		words = append(words, res.Name)
	}
	for _, name := range r.RemovedResources {
		words = append(words, "-"+name)
	}
	slices.SortFunc(words, func(a, b string) int { return strings.Compare(strings.TrimPrefix(a, "-"), strings.TrimPrefix(b, "-")) })
	return strings.Join(words, " ")
}

// Parts of a Spec.

func listener(gateway, name string, certificates ...routing.CertificateName) *routing.Listener {
	l := &routing.Listener{
		Name: routing.ListenerName(gateway + "/" + name), Gateway: gateway, Port: 80, Protocol: routing.HTTP,
		Origin: routing.Origin{Kind: "Gateway", Namespace: strings.Split(gateway, "/")[0], Name: strings.Split(gateway, "/")[1]},
	}
	if len(certificates) > 0 {
		l.Protocol, l.Port, l.TLS = routing.HTTPS, 443, &routing.ListenerTLS{Certificates: certificates}
	}
	return l
}

// route returns a route to clusters, attached to listeners.
func route(name string, clusters []routing.ClusterName, listeners ...routing.ListenerName) *routing.Route {
	r := &routing.Route{
		Name:   routing.RouteName("HTTPRoute/" + name),
		Origin: routing.Origin{Kind: "HTTPRoute", Namespace: strings.Split(name, "/")[0], Name: strings.Split(name, "/")[1]},
	}
	for _, l := range listeners {
		r.Attached = append(r.Attached, routing.Attachment{Listener: l, Hosts: []string{"*"}})
	}
	var action routing.Action
	for _, c := range clusters {
		action.Backends = append(action.Backends, routing.Backend{Cluster: c, Weight: 1})
	}
	r.Rules = []routing.Rule{{Action: action}}
	return r
}

func cluster(name routing.ClusterName) *routing.Cluster {
	return &routing.Cluster{Name: name, Protocol: routing.UpstreamHTTP1}
}

func endpoints(name routing.ClusterName, addrs ...string) *routing.Endpoints {
	e := &routing.Endpoints{Cluster: name}
	for _, a := range addrs {
		e.List = append(e.List, routing.Endpoint{Addr: netip.MustParseAddrPort(a), Ready: true, Serving: true})
	}
	return e
}

func pair(name routing.CertificateName, key string) *routing.Certificate {
	return &routing.Certificate{Name: name, Chain: []byte("chain of " + name), Key: []byte(key)}
}

// shop is a Gateway with a route.
func shop() *routing.Delta {
	return &routing.Delta{
		Listeners: []*routing.Listener{listener("shop/edge", "http")},
		Routes:    []*routing.Route{route("shop/cart", []routing.ClusterName{"shop/cart:80"}, "shop/edge/http")},
		Clusters:  []*routing.Cluster{cluster("shop/cart:80")},
		Endpoints: []*routing.Endpoints{endpoints("shop/cart:80", "10.0.0.1:80")},
	}
}

const shopNames = "cluster/shop/cart:80 endpoints/shop/cart:80 generation listener/shop/edge/http route/HTTPRoute/shop/cart"

// dialTo dials the control that the channel has at that time.
func dialTo(current chan *control) []grpc.DialOption {
	return []grpc.DialOption{grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
		c := <-current
		current <- c
		return c.pipe.DialContext(ctx)
	})}
}

// dialByName dials the control whose number is the address.
func dialByName(controls *[3]*control) []grpc.DialOption {
	return []grpc.DialOption{grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
		return controls[address[0]-'0'].pipe.DialContext(ctx)
	})}
}
