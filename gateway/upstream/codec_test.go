package upstream

import (
	"net/netip"
	"testing"
	"time"

	"fairway.dev/gateway/http1"
	"fairway.dev/gateway/http2"
	"fairway.dev/gateway/loop"
	"fairway.dev/gateway/message"
	"fairway.dev/routing"
)

// A backend answers requests on pipes with the codecs' server sides.
type backend struct {
	streams []message.ServerStream // that have no answer yet
	codecs  []interface{ Drain() }
}

func (b *backend) Exchange(s message.ServerStream, _ *message.Request, _ bool) message.Receiver {
	b.streams = append(b.streams, s)
	return nothing{}
}

// answer ends the first exchange that has no answer.
func (b *backend) answer() {
	b.streams[0].Head(&message.Response{Status: 200}, true)
	b.streams = b.streams[1:]
}

func (b *backend) dial(proto message.Proto) DialFunc {
	return func(l *loop.Loop, _ netip.AddrPort, _ loop.Opening, _ time.Duration, done func(Conn, string, error)) func() {
		l.Defer(func() {
			ours, theirs := loop.Pipe(l)
			var codec interface {
				loop.Handler
				Drain()
			}
			if proto == message.HTTP2 {
				codec = http2.NewServer(theirs, &message.Peer{}, b, nil)
			} else {
				codec = http1.NewServer(theirs, &message.Peer{}, b, nil)
			}
			theirs.Handle(codec)
			b.codecs = append(b.codecs, codec)
			done(ours, "", nil)
		})
		return func() { panic("nobody cancels here") }
	}
}

// nothing is a Receiver that does not care.
type nothing struct{}

func (nothing) Data([]byte)        {}
func (nothing) End(message.Fields) {}
func (nothing) Abort(error)        {}
func (nothing) Drained()           {}

// A visit is a whole exchange through a real codec.
type visit struct {
	Wait
	nothing
	reused bool
	status int
	err    error
}

func (v *visit) Connected(conn message.Client, reused bool) {
	v.reused = reused
	conn.Open(&message.Request{Method: "GET", Scheme: "http", Authority: "a", Path: "/", Proto: message.HTTP11}, true, v)
}

func (v *visit) ConnectFailed(err error)             { v.err = err }
func (v *visit) Head(resp *message.Response, _ bool) { v.status = resp.Status }

// TestPoolsOfRealCodecs holds what the pools need of http1 and http2: that
// they tell what is free and what is closed.
func TestPoolsOfRealCodecs(t *testing.T) {
	for proto, protocol := range map[message.Proto]routing.Upstream{
		message.HTTP11: routing.UpstreamHTTP1, message.HTTP2: routing.UpstreamHTTP2,
	} {
		t.Run(proto.String(), func(t *testing.T) {
			s, b := newStage(t, 1), &backend{}
			s.set.o.Dial, s.set.o.NewClient = b.dial(proto), s.set.o.newClient
			c := s.cluster(routing.Cluster{Protocol: protocol, IdleTimeout: time.Minute}, 1)
			begin := func() *visit {
				t.Helper()
				v := &visit{}
				v.Waiter = v
				c.Connect(s.loops[0], s.endpoint(c, 1), &v.Wait)
				s.settle()
				if v.err != nil || len(b.streams) == 0 {
					t.Fatalf("the request did not arrive: %v", v.err)
				}
				return v
			}
			complete := func(v *visit) {
				t.Helper()
				b.answer()
				if s.settle(); v.status != 200 {
					t.Fatalf("status %d, want 200", v.status)
				}
			}
			connections := func(when string, want int) {
				t.Helper()
				s.settle()
				if got := int(s.endpoint(c, 1).places.taken.Load()); got != want {
					t.Errorf("%d connections %s, want %d", got, when, want)
				}
			}

			complete(begin())
			second := begin()
			complete(second)
			if !second.reused || len(b.codecs) != 1 {
				t.Errorf("second request: reused = %v, %d connections were made; want one used again", second.reused, len(b.codecs))
			}
			s.run(2 * time.Minute)
			connections("after the idle timeout", 0)

			complete(begin())
			b.codecs[1].Drain()
			s.run(5 * time.Second)
			connections("after the backend closed an idle one", 0)

			busy := begin()
			c.eachPool([]*Endpoint{s.endpoint(c, 1)}, (*pool).drain)
			connections("while a drained one has an exchange", 1)
			complete(busy)
			s.run(5 * time.Second)
			connections("after its exchange", 0)
			if third := begin(); third.reused {
				t.Error("a drained connection was used again")
			}
		})
	}
}
