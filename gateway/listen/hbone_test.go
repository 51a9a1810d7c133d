package listen

import (
	"io"
	"net/netip"
	"testing"

	"fairway.dev/gateway/hop"
	"fairway.dev/gateway/hop/hoptest"
	"fairway.dev/gateway/loop"
	"fairway.dev/gateway/message"
)

const (
	frontID    = "spiffe://cluster.local/ns/web/sa/front"
	waypointID = "spiffe://cluster.local/ns/shop/sa/waypoint"
)

// A house is a hop.Host whose tunnels are connections of one door.
type house struct {
	set  *Set
	door *Port
}

func (h *house) Generation() uint64 { return 1 }

func (h *house) Tunnel(_ *loop.Loop, a *hop.Arrival) (func(*hop.Conn), error) {
	return func(c *hop.Conn) {
		h.set.Adopt(c, h.door, message.Peer{Remote: netip.MustParseAddrPort("10.1.0.1:1000"), Identity: a.Peer.Identity})
	}, nil
}

func (h *house) Exchange(*loop.Loop, *hop.Arrival) (*message.Peer, message.Handler, error) {
	return nil, nil, &hop.Refusal{Status: 404, Reason: "no requests here"}
}

// Over sockets and TLS: the connection of HBONE is one of the port's, and each
// tunnel in it is one of the door's.
func TestTunnelsOfAPortAreConnectionsOfADoor(t *testing.T) {
	for _, alpn := range []string{hop.Native, "h2"} {
		t.Run(alpn, func(t *testing.T) {
			mesh, l := hoptest.NewMesh(t), hoptest.Loop(t)
			closed := make(chan string, 10)
			s := startSet(t, 2, func(o *Options) {
				o.HTTP1 = func(c loop.Conn, p *message.Peer) Codec { return &greeter{p.Identity, c} }
			})
			home := &house{s, &Port{Mark: "door", Closed: func(int) { closed <- "door" }}}
			addr := apply(t, s, Port{
				Addr: anyPort, TLS: mesh.Server(waypointID, alpn), Closed: func(int) { closed <- "HBONE" },
				Codecs: func(c loop.Conn, peer *message.Peer) Codec {
					return hop.NewServer(c, peer, hop.ServerOptions{Host: home})
				},
			})
			to := hop.Target{Addr: addr, Identity: waypointID, Authority: "10.96.0.5:80"}
			entry := hoptest.Enter(t, l, mesh.Dialer(frontID), to)
			first, second := hoptest.Dial(t, entry), hoptest.Dial(t, entry)
			for _, c := range []io.ReadWriter{first, second} {
				if _, err := io.WriteString(c, "GET /\n"); err != nil {
					t.Fatal(err)
				}
				want := frontID + ":GET /\n\n"
				got := make([]byte, len(want))
				if _, err := io.ReadFull(c, got); err != nil || string(got) != want {
					t.Fatalf("got %q, %v; want %q", got, err, want)
				}
			}
			if n := s.Open(); n != 3 {
				t.Errorf("%d connections are open, want 3: two in one", n)
			}
			first.CloseWrite() // and so does the greeter
			if rest, err := io.ReadAll(first); err != nil || len(rest) > 0 {
				t.Errorf("the end of a tunnel: %q, %v", rest, err)
			}
			if what := <-closed; what != "door" {
				t.Errorf("%s was closed first, want the tunnel alone", what)
			}
			s.Drain()
			if rest, err := io.ReadAll(second); err != nil || len(rest) > 0 {
				t.Errorf("what was drained ends with %q, %v; want a clean end", rest, err)
			}
			second.Close()
			if a, b := <-closed, <-closed; a != "door" || b != "HBONE" {
				t.Errorf("closed %s, then %s; want the tunnel before its connection", a, b)
			}
		})
	}
}
