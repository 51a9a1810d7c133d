package hop

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"fairway.dev/gateway/http2"
	"fairway.dev/gateway/loop"
	"fairway.dev/gateway/message"
)

// A reply is what a client sees of a response.
type reply struct {
	message.Stream
	status  int
	body    string
	ended   bool
	aborted error
}

func (a *reply) Head(resp *message.Response, last bool) { a.status, a.ended = resp.Status, last }
func (a *reply) Data(p []byte)                          { a.body += string(p); a.Consumed(len(p)) }
func (a *reply) End(message.Fields)                     { a.ended = true }
func (a *reply) Abort(err error)                        { a.aborted = err }
func (a *reply) Drained()                               {}

// peerOf returns a client of a new Server that says whatever the test wants.
func (r *rig) peerOf() *http2.Client {
	conn := r.serve()
	c := http2.NewClient(conn, http2.ClientOptions{MaxStreams: 500})
	conn.Handle(c)
	r.loop.Settle()
	return c
}

func ask(c message.Client, req message.Request) *reply {
	a := &reply{}
	if req.Method == "" {
		req.Method, req.Scheme, req.Authority, req.Path = "GET", "http", "cart.shop", "/"
	}
	a.Stream = c.Open(&req, true, a)
	return a
}

// fields makes fields of names and values in turn.
func fields(pairs ...string) (f message.Fields) {
	for i := 0; i < len(pairs); i += 2 {
		f.Append(pairs[i], pairs[i+1])
	}
	return f
}

// A talker answers each request with what it saw of it.
type talker struct{ peers []*message.Peer }

func (h *talker) Exchange(s message.ServerStream, req *message.Request, last bool) message.Receiver {
	p := s.Peer()
	h.peers = append(h.peers, p)
	text := fmt.Sprintf("%s %s %s%s for %q at %v by %q", req.Method, req.Scheme, req.Authority, req.Path, p.Identity, p.Remote, p.Gateway)
	for _, f := range req.Fields {
		text += ", " + f.Text + ": " + f.Value
	}
	s.Head(&message.Response{Status: 200, Length: int64(len(text))}, false)
	s.Data([]byte(text))
	s.End(nil)
	return nothing{}
}

func TestWhoIsRefused(t *testing.T) {
	connect := func(authority string, pairs ...string) message.Request {
		return message.Request{Method: "CONNECT", Authority: authority, Length: message.Unknown, Fields: fields(pairs...)}
	}
	get := func(pairs ...string) message.Request { return message.Request{Fields: fields(pairs...)} }
	tests := []struct {
		name, alpn, own string
		req             message.Request
		want            int
		why             string
	}{
		{"no CONNECT", "h2", edgeID, get(), 400, "GET of a peer that speaks h2: want CONNECT"}, // ztunnel's answer
		{"a native request of a stranger", "h2", edgeID, get(targetField, cart), 400, "want CONNECT"},
		{"no target", Native, edgeID, get(), 400, "without x-fairway-target"},
		{"two targets", Native, edgeID, get(targetField, cart, targetField, cart), 400, "twice"},
		{"a target without a port", Native, edgeID, get(targetField, "10.96.0.5"), 400, "want HOST:PORT"},
		{"a source that is none", Native, edgeID, get(targetField, cart, sourceField, "cart"), 400, "x-fairway-source"},
		{"a client that is none", Native, edgeID, get(targetField, cart, clientField, "192.0.2.1"), 400, "x-fairway-client"},
		{"a client that is long", Native, edgeID, get(targetField, cart, clientField, "192.0.2.1:"+strings.Repeat("0", 1<<10)+"80"), 400, "x-fairway-client"},
		{"no port", "h2", edgeID, connect("10.96.0.5"), 400, `authority "10.96.0.5": want HOST:PORT`}, // RFC 9110 section 9.3.6
		{"an empty port", "h2", edgeID, connect("10.96.0.5:"), 400, "want a port"},
		{"port 0", "h2", edgeID, connect("10.96.0.5:0"), 400, "want a port"},
		{"nobody has it", "h2", edgeID, connect("10.96.0.9:80"), 404, "nothing there"},
		{"one who may not", "h2", edgeID, connect("10.96.0.8:80"), 401, "policy"},
		{"a request of one who may not", Native, edgeID, get(targetField, "10.96.0.8:80"), 401, "policy"},
		{"no certificate", "h2", "", connect(cart), 401, "shows no certificate"},
		{"a certificate of no service account", "h2", "spiffe://cluster.local/cart", connect(cart), 401, "another path"},
		{"a request of nobody", Native, "https://example.org", get(targetField, cart), 401, "another scheme"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, tt.alpn)
			r.own = tt.own
			r.host.refuse["10.96.0.9:80"] = &Refusal{Status: 404, Reason: "nothing there"}
			r.host.refuse["10.96.0.8:80"] = &Refusal{Status: 401, Reason: "policy"}
			a := ask(r.peerOf(), tt.req)
			r.loop.Settle()
			if a.status != tt.want || !a.ended {
				t.Errorf("the answer is %d, want %d", a.status, tt.want)
			}
			if len(r.refused) != 1 || !strings.Contains(r.refused[0], fmt.Sprint(": ", tt.want, " ")) || !strings.Contains(r.refused[0], tt.why) {
				t.Errorf("Refused heard %q, want once %d %s", r.refused, tt.want, tt.why)
			}
			if len(r.host.tunnels) > 0 {
				t.Error("there is a tunnel")
			}
		})
	}
}

func TestWhatAStrangerSaysIsNotBelieved(t *testing.T) {
	r := newRig(t, "h2")
	c := r.peerOf()
	a := ask(c, message.Request{Method: "CONNECT", Authority: cart, Length: message.Unknown, Fields: fields(
		sourceField, cartID, clientField, "192.0.2.1:4711", "baggage", "k8s.namespace.name=shop", "forwarded", `for="192.0.2.9:1"`,
		"x-istio-source", "waypoint")})
	r.loop.Settle()
	got := r.host.arrivals[0]
	if a.status != 200 || got.Source != "" || got.Client.IsValid() || got.Peer.Identity != edgeID || got.Authority != cart {
		t.Errorf("status %d, the host saw %+v of %s; want a tunnel to %s and no word of the client", a.status, got, got.Peer.Identity, cart)
	}
}

func TestNativeTunnelSaysForWhom(t *testing.T) {
	for _, source := range []string{cartID, message.Nobody, ""} {
		r := newRig(t, Native)
		to := r.target()
		to.Source = source
		r.tunnel(to)
		if got := r.host.arrivals[0]; got.Source != source || got.Client != aClient || got.Authority != cart {
			t.Errorf("the host saw %+v, want source %q and client %v", got, source, aClient)
		}
	}
}

func TestNativeRequest(t *testing.T) {
	r := newRig(t, Native)
	h := &talker{}
	r.host.handler = h
	conn := r.serve()
	c := NewClient(conn, http2.ClientOptions{})
	conn.Handle(c)
	req := message.Request{
		Method: "GET", Scheme: "https", Authority: "cart.shop", Path: "/a",
		Fields: fields("accept", "*/*", sourceField, "spiffe://cluster.local/ns/evil/sa/evil", "x-fairway-admin", "yes", "x-fairwayish", "stays"),
		Hop:    message.Hop{Target: cart, Source: cartID, Client: aClient},
	}
	for range 3 {
		a := &reply{}
		a.Stream = c.Open(&req, true, a)
		r.loop.Settle()
		want := `GET http cart.shop/a for "` + cartID + `" at 192.0.2.1:4711 by "` + edgeID + `", accept: */*, x-fairwayish: stays`
		if a.body != want {
			t.Errorf("the handler saw\n%s, want\n%s", a.body, want)
		}
		if got := len(req.Fields); got != 2 {
			t.Errorf("the request has %d fields afterwards, want the two that are the client's own", got)
		}
	}
	if r.host.exchanges != 1 || h.peers[0] != h.peers[2] {
		t.Errorf("the Host was asked %d times, want once", r.host.exchanges)
	}
}

// A switcher switches protocols, and sends back what comes.
type switcher struct {
	nothing
	s message.ServerStream
}

func (*switcher) Exchange(s message.ServerStream, req *message.Request, last bool) message.Receiver {
	s.Head(&message.Response{Status: 101, Fields: fields("x-for", s.Peer().Identity)}, false)
	return &switcher{s: s}
}
func (x *switcher) Data(p []byte)      { x.s.Data(p); x.s.Consumed(len(p)) }
func (x *switcher) End(message.Fields) { x.s.End(nil) }

// A WebSocket is a native request, too, and waits for no SETTINGS.
func TestNativeUpgrade(t *testing.T) {
	r := newRig(t, Native)
	r.host.handler = &switcher{}
	conn := r.serve()
	c := NewClient(conn, http2.ClientOptions{})
	conn.Handle(c)
	a := ask(c, message.Request{
		Method: "GET", Scheme: "http", Authority: "cart.shop", Path: "/chat", Upgrade: "websocket", Length: message.Unknown,
		Hop: message.Hop{Target: cart, Source: cartID},
	})
	a.Stream.Data([]byte("ping"))
	a.Stream.End(nil)
	r.loop.Settle()
	if a.status != 101 || a.body != "ping" || !a.ended {
		t.Errorf("status %d, body %q, ended %v, aborted %v; want a socket that echoes", a.status, a.body, a.ended, a.aborted)
	}
}

func TestAnswersHoldForAGeneration(t *testing.T) {
	r := newRig(t, Native)
	r.host.handler = &talker{}
	c := r.peerOf()
	asked := func(source string) int {
		before := len(r.host.arrivals)
		a := ask(c, message.Request{Fields: fields(targetField, cart, sourceField, source)})
		r.loop.Settle()
		if a.status == 0 {
			t.Fatal("no answer")
		}
		return len(r.host.arrivals) - before
	}
	steps := []struct {
		name   string
		source string
		before func()
		want   int
	}{
		{"the first", cartID, nil, 1},
		{"the same again", cartID, nil, 0},
		{"for another", shopID, nil, 1},
		{"the first still", cartID, nil, 0},
		{"after a change", cartID, func() { r.host.generation++ }, 1},
		{"and again", cartID, nil, 0},
		{"refused now", cartID, func() { r.host.generation++; r.host.refuse[cart] = &Refusal{Status: 401} }, 1},
		{"a refusal is not kept", cartID, nil, 1},
	}
	for _, s := range steps {
		if s.before != nil {
			s.before()
		}
		if got := asked(s.source); got != s.want {
			t.Errorf("%s: the Host was asked %d times, want %d", s.name, got, s.want)
		}
	}
}

func TestAnswersAreBounded(t *testing.T) {
	var k answers
	for i := range 3 * maxAnswers {
		s := said{client: fmt.Sprint(i % maxAnswers)}
		if got := k.get(&s, 1); (got != nil) != (i >= maxAnswers) {
			t.Fatalf("request %d of %d clients that take turns: answer %v is kept, want them all from round 2 on", i, maxAnswers, got)
		} else if got == nil {
			k.put(s, &answer{})
		}
	}
	for i := range 3 * maxAnswers {
		s := said{client: fmt.Sprint("other ", i)}
		k.put(s, &answer{})
		if k.get(&s, 1) == nil || len(k.of) != maxAnswers {
			t.Fatalf("%d answers are kept, want %d, and the last among them", len(k.of), maxAnswers)
		}
	}
	if k.get(&said{client: "other 1"}, 2) != nil || len(k.of) > 0 {
		t.Errorf("%d answers are kept of another generation, want none", len(k.of))
	}
}

// RFC 9113 section 6.8: what is under way ends as it would have, what comes
// later goes elsewhere.
func TestDrain(t *testing.T) {
	r := newRig(t, Native)
	near, far := r.tunnel(r.target())
	r.servers[0].Drain()
	r.loop.Settle()
	near.conn.Write([]byte("still"))
	r.loop.Settle()
	far.want(t, "still")
	_, far2 := r.tunnel(r.target())
	if len(r.dials) != 2 {
		t.Errorf("%d connections, want another for the tunnel after GOAWAY", len(r.dials))
	}
	near.conn.Finish()
	far.conn.Finish()
	r.loop.Advance(time.Second)
	if !r.ends[0].Closed() || r.ends[1].Closed() {
		t.Errorf("closed: the first %v, the second %v; want the first", r.ends[0].Closed(), r.ends[1].Closed())
	}
	far2.want(t, "")
}

// A connection whose other end is gone without a word: PING after 10 seconds,
// and 20 to answer.
func TestSilentPeersAreGivenUp(t *testing.T) {
	for _, side := range []string{"dialler", "dialled"} {
		t.Run(side, func(t *testing.T) {
			r := newRig(t, Native)
			near, far := r.tunnel(r.target())
			e, mute := near, r.ends[0]
			if side == "dialled" {
				e, mute = far, r.dials[0].near
			}
			r.loop.Advance(time.Hour) // all is well
			e.want(t, "")
			mute.Block()
			r.loop.Advance(29 * time.Second)
			e.want(t, "")
			r.loop.Advance(2 * time.Second)
			e.want(t, "; closed: connection closed")
		})
	}
}

func TestTwoHundredTunnelsOnAConnection(t *testing.T) {
	r := newRig(t, "h2")
	r.dialer.opt.Streams = 200
	var near, far []*end
	for range 200 {
		a, b := r.tunnel(r.target())
		near, far = append(near, a), append(far, b)
	}
	if len(r.dials) != 1 {
		t.Fatalf("%d connections, want 1", len(r.dials))
	}
	// One that nobody reads keeps back none of the others.
	far[0].conn.Pause()
	for near[0].conn.Queued() <= message.HighWater {
		near[0].conn.Write(make([]byte, 64<<10))
		r.loop.Settle()
	}
	for i := 1; i < 200; i++ {
		near[i].conn.Write(make([]byte, 100<<10))
	}
	r.loop.Settle()
	for i := 1; i < 200; i++ {
		if n := far[i].got.Len(); n != 100<<10 {
			t.Fatalf("tunnel %d brought %d bytes, want %d", i, n, 100<<10)
		}
	}
	r.tunnel(r.target())
	if len(r.dials) != 2 {
		t.Errorf("%d connections for 201 tunnels, want 2", len(r.dials))
	}
}

func FuzzSaid(f *testing.F) {
	f.Add(cart, cartID, "192.0.2.1:4711")
	f.Add("[2001:db8::1]:80", message.Nobody, "[2001:db8::2]:1")
	f.Add("cart.shop.svc.cluster.local:80", "", "")
	f.Add("u@a:80", "spiffe://", ":")
	f.Add("a:00080", "x", "192.0.2.1:99999")
	f.Fuzz(func(t *testing.T, target, source, client string) {
		fs := fields("a", "b", targetField, target, "X-Fairway-Source", source, clientField, client, "x-fairway-other", "c", "d", "e")
		s, err := takeSaid(&fs)
		if err != nil || len(fs) != 2 {
			t.Fatalf("error %v, left %v", err, fs)
		}
		a, err := s.arrival(&message.Peer{}, s.target)
		if a.Authority != target || a.Source != source {
			t.Fatalf("arrived as %+v", a)
		}
		if err != nil {
			return
		}
		if !message.IsAuthority(target) {
			t.Errorf("authority %q is taken", target)
		}
		// What was understood is what a gateway of ours would have said.
		var again message.Fields
		tell(&again, &message.Hop{Target: a.Authority, Source: a.Source, Client: a.Client}, nil)
		s2, err := takeSaid(&again)
		if err != nil {
			t.Fatal(err)
		}
		b, err := s2.arrival(a.Peer, s2.target)
		if err != nil || *b != *a {
			t.Errorf("%+v came back as %+v, error %v", a, b, err)
		}
	})
}

// FuzzServer gives a Server any bytes from a peer.
func FuzzServer(f *testing.F) {
	l := loop.NewManual(time.Unix(1e9, 0))
	near, far := loop.Pipe(l)
	var sent end
	far.Handle(&sent)
	c := http2.NewClient(near, http2.ClientOptions{})
	ask(c, message.Request{Method: "CONNECT", Authority: cart}).Stream.Data([]byte("ping"))
	ask(c, message.Request{Fields: fields(targetField, cart)})
	l.Settle()
	f.Add(true, sent.got.Bytes())
	f.Add(false, sent.got.Bytes())
	f.Fuzz(func(t *testing.T, native bool, in []byte) {
		r := newRig(t, map[bool]string{true: Native, false: "h2"}[native])
		r.host.handler = &talker{}
		conn := r.serve()
		conn.Handle(&end{conn: conn})
		conn.Write(in)
		r.loop.Settle()
		for _, e := range r.host.tunnels {
			e.conn.Write([]byte("pong"))
			e.conn.Finish()
		}
		r.loop.Advance(2 * time.Hour)
		for _, e := range r.host.tunnels {
			if n := len(e.events); n == 0 || !strings.HasPrefix(e.events[n-1], "closed") {
				t.Errorf("a tunnel heard %v, want in the end that it is closed", e.events)
			}
		}
		if !r.ends[0].Closed() {
			t.Error("the connection is open after an hour of nothing")
		}
	})
}
