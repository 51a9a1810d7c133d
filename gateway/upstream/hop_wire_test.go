package upstream

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"fairway.dev/gateway/hop"
	"fairway.dev/gateway/hop/hoptest"
	"fairway.dev/gateway/loop"
	"fairway.dev/gateway/message"
	"fairway.dev/routing"
)

// An errand is a request over sockets, which tells how it ended.
type errand struct {
	Wait
	req  message.Request
	body []byte
	came chan string
}

func (e *errand) Connected(conn message.Client, _ bool) { conn.Open(&e.req, true, e) }
func (e *errand) ConnectFailed(err error)               { e.came <- err.Error() }
func (e *errand) Head(_ *message.Response, last bool) {
	if last {
		e.End(nil)
	}
}
func (e *errand) Data(p []byte)      { e.body = append(e.body, p...) }
func (e *errand) End(message.Fields) { e.came <- string(e.body) }
func (e *errand) Abort(err error)    { e.came <- err.Error() }
func (e *errand) Drained()           {}

// A teller answers native requests with who the client is said to be.
type teller struct{}

func (teller) Exchange(s message.ServerStream, _ *message.Request, _ bool) message.Receiver {
	s.Head(&message.Response{Status: 200, Length: message.Unknown}, false)
	s.Data([]byte(s.Peer().Identity + " by " + s.Peer().Gateway))
	s.End(nil)
	return nothing{}
}

// Over sockets and TLS of the mesh, to gateways of ours, to strangers, and to
// whoever is not who was wanted.
func TestWaypointsOverSockets(t *testing.T) {
	const edge = "spiffe://cluster.local/ns/edge/sa/gateway"
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, r.Host+" in "+r.Proto)
	}))
	defer backend.Close()
	behind := backend.Listener.Addr().String()
	for name, tt := range map[string]struct {
		proves, alpn string
		want         string
	}{
		"a gateway of the fleet": {waypointIdentity, hop.Native, webIdentity + " by " + edge},
		"a stranger":             {waypointIdentity, "h2", "cart in HTTP/1.1"},
		"somebody else":          {cartIdentity, hop.Native, "peer is " + cartIdentity + ", want " + waypointIdentity},
	} {
		mesh, far, l := hoptest.NewMesh(t), hoptest.Loop(t), hoptest.Loop(t)
		at := mesh.Serve(far, tt.proves, &hoptest.Relay{Handler: teller{}}, tt.alpn)
		s := NewSet(Options{Loops: []*loop.Loop{l}, Hop: mesh.Dialer(edge)})
		cluster := routing.WaypointCluster("shop/waypoint")
		s.Put(&routing.Cluster{Name: cluster})
		s.PutEndpoints(&routing.Endpoints{Cluster: cluster, List: []routing.Endpoint{{Addr: at, Identity: waypointIdentity, Ready: true}}})
		for i := range 3 {
			e := &errand{came: make(chan string, 1), req: message.Request{
				Method: "GET", Scheme: "http", Authority: "cart", Path: "/", Proto: message.HTTP11,
				Hop: message.Hop{Target: behind, Source: webIdentity, Client: netip.MustParseAddrPort("10.1.0.1:1000")},
			}}
			e.Waiter, e.Authority, e.Source = e, behind, webIdentity
			l.Post(func() {
				ep, err := s.Cluster(cluster).Pick(l, &Want{})
				if err != nil {
					e.came <- err.Error()
					return
				}
				s.Cluster(cluster).Connect(l, ep, &e.Wait)
			})
			select {
			case got := <-e.came:
				if !strings.HasSuffix(got, tt.want) {
					t.Errorf("%s, request %d: %q, want %q", name, i, got, tt.want)
				}
			case <-time.After(hoptest.Patience):
				t.Fatalf("%s, request %d: no answer", name, i)
			}
		}
		want := 1
		if tt.proves != waypointIdentity {
			want = 0
		}
		if n := s.Stats()[0].Endpoints[0].Connections; n != want {
			t.Errorf("%s: %d connections after three requests, want %d", name, n, want)
		}
	}
}
