package http2

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"sync"
	"testing"
	"time"

	h2 "golang.org/x/net/http2"

	"fairway.dev/gateway/loop"
	"fairway.dev/gateway/message"
)

// A bridge joins one end of a loop.Pipe to a net.Conn, so that the codec and
// golang.org/x/net's can judge each other. The loop runs on a goroutine of
// its own, which takes jobs.
type bridge struct {
	end  *loop.PipeConn
	jobs chan func()
	out  chan []byte
	once sync.Once
}

// newBridge returns a loop's end of a connection, and the other for x/net.
func newBridge(t *testing.T) (*bridge, *loop.PipeConn, net.Conn) {
	l := loop.NewManual(time.Now())
	near, far := loop.Pipe(l)
	ours, theirs := net.Pipe()
	b := &bridge{end: near, jobs: make(chan func()), out: make(chan []byte, 1<<16)}
	near.Handle(b)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { // the loop
		for {
			select {
			case job := <-b.jobs:
				job()
				l.Settle()
			case <-ctx.Done():
				return
			}
		}
	})
	running.Go(func() {
		buf := make([]byte, 100000)
		for {
			n, err := ours.Read(buf)
			if !b.do(ctx, func() { near.Write(buf[:n]) }) {
				return
			}
			if err != nil {
				b.do(ctx, near.CloseWrite)
				return
			}
		}
	})
	running.Go(func() {
		for {
			select {
			case p, ok := <-b.out:
				if !ok {
					ours.Close()
					return
				}
				ours.Write(p)
			case <-ctx.Done():
				return
			}
		}
	})
	t.Cleanup(func() {
		ours.Close()
		theirs.Close()
		cancel()
		running.Wait()
	})
	return b, far, theirs
}

// do runs a job on the loop and waits for it.
func (b *bridge) do(ctx context.Context, job func()) bool {
	done := make(chan struct{})
	select {
	case b.jobs <- func() { job(); close(done) }:
		<-done
		return true
	case <-ctx.Done():
		return false
	}
}

func (b *bridge) Data(p []byte)    { b.out <- bytes.Clone(p) }
func (b *bridge) EOF()             { b.once.Do(func() { close(b.out) }) }
func (b *bridge) Drained()         {}
func (b *bridge) Closed(err error) { b.once.Do(func() { close(b.out) }) }

// clerk answers net/http's client: with an echo, and more as the path says.
type clerk struct {
	waiting chan struct{} // a request for /wait has come
	aborted chan error
}

type clerkExchange struct {
	echo
	c *clerk
}

func (c *clerk) Exchange(s message.ServerStream, req *message.Request, last bool) message.Receiver {
	x := &clerkExchange{echo{s: s}, c}
	resp := &message.Response{Status: 200, Length: message.Unknown}
	resp.Fields.Append("X-Method", strings.Clone(req.Method))
	if v, ok := req.Fields.Value("x-large"); ok {
		resp.Fields.Append("x-large", v)
	}
	switch {
	case req.Path == "/hints":
		hints := &message.Response{Status: 103}
		hints.Fields.Append("link", "</style.css>")
		s.Head(hints, false)
	case req.Path == "/wait":
		close(c.waiting)
		return x
	case req.Method == "HEAD":
		resp.Length = 77
		last = true
	case req.Path == "/early":
		resp.Status, last = 413, true
	}
	s.Head(resp, last)
	return x
}

func (x *clerkExchange) End(trailers message.Fields) {
	var f message.Fields
	f.Append("x-sum", "1")
	for _, t := range trailers {
		f.Append(strings.Clone(t.Text), strings.Clone(t.Value))
	}
	x.s.End(f)
}

func (x *clerkExchange) Abort(err error) {
	x.s.Abort(err)
	x.c.aborted <- err
}

func newTransport(t *testing.T, h message.Handler) *h2.ClientConn {
	b, far, theirs := newBridge(t)
	b.do(t.Context(), func() { far.Handle(NewServer(far, &message.Peer{}, h, nil)) })
	cc, err := (&h2.Transport{AllowHTTP: true}).NewClientConn(theirs)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cc.Close() })
	return cc
}

func send(t *testing.T, cc *h2.ClientConn, method, path string, body io.Reader, header http.Header) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, "http://shop.example"+path, body)
	if err != nil {
		t.Fatal(err)
	}
	if header != nil {
		req.Header = header
	}
	resp, err := cc.RoundTrip(req)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("%s %s: body: %v", method, path, err)
	}
	return resp, string(got)
}

func TestServerWithTheClientOfNetHTTP(t *testing.T) {
	c := &clerk{make(chan struct{}), make(chan error, 10)}
	cc := newTransport(t, c)

	if resp, _ := send(t, cc, "GET", "/", nil, nil); resp.StatusCode != 200 || resp.Header.Get("X-Method") != "GET" {
		t.Errorf("GET: %v", resp)
	}
	if resp, _ := send(t, cc, "HEAD", "/", nil, nil); resp.ContentLength != 77 {
		t.Errorf("HEAD: content-length %d, want 77", resp.ContentLength)
	}
	large := strings.Repeat("0123456789abcdef", 5<<16) // 5 MiB
	resp, got := send(t, cc, "POST", "/", strings.NewReader(large), nil)
	if got != large || resp.Trailer.Get("X-Sum") != "1" {
		t.Errorf("POST of 5 MiB: %d bytes came back, trailers %v", len(got), resp.Trailer)
	}
	value := strings.Repeat("v", 40000)
	if resp, _ := send(t, cc, "GET", "/", nil, http.Header{"X-Large": {value}}); resp.Header.Get("X-Large") != value {
		t.Errorf("a field of 40,000 bytes came back with %d", len(resp.Header.Get("X-Large")))
	}
	if resp, _ := send(t, cc, "POST", "/early", strings.NewReader(large), nil); resp.StatusCode != 413 {
		t.Errorf("early answer: %d", resp.StatusCode)
	}

	hints := ""
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
		hints = fmt.Sprint(code, h.Get("Link"))
		return nil
	}})
	req, _ := http.NewRequestWithContext(ctx, "GET", "http://shop.example/hints", nil)
	if _, err := cc.RoundTrip(req); err != nil || hints != "103</style.css>" {
		t.Errorf("early hints: %q, %v", hints, err)
	}

	ctx, cancel := context.WithCancel(t.Context())
	req, _ = http.NewRequestWithContext(ctx, "GET", "http://shop.example/wait", nil)
	go func() {
		<-c.waiting
		cancel()
	}()
	if _, err := cc.RoundTrip(req); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if err := <-c.aborted; err.(*message.Error).Reason != message.Reset {
		t.Errorf("cancelled: the server heard %v", err)
	}

	var all sync.WaitGroup
	for i := range 60 {
		all.Go(func() {
			body := strings.Repeat(fmt.Sprint(i, " "), 10000)
			if _, got := send(t, cc, "PUT", "/", strings.NewReader(body), nil); got != body {
				t.Errorf("request %d: %d bytes came back, want %d", i, len(got), len(body))
			}
		})
	}
	all.Wait()
}

func TestClientWithTheServerOfNetHTTP(t *testing.T) {
	b, far, theirs := newBridge(t)
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Trailer", "X-Sum")
		w.Header().Set("X-Seen", fmt.Sprint(r.Method, r.Host, r.URL, r.ContentLength))
		w.WriteHeader(200)
		if _, err := io.Copy(w, r.Body); err != nil {
			t.Error(err)
		}
		w.Header().Set("X-Sum", "1"+r.Trailer.Get("X-Part"))
	})
	mux.HandleFunc("/panic", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	go (&h2.Server{}).ServeConn(theirs, &h2.ServeConnOpts{Handler: mux, Context: t.Context()})
	var cli *Client
	closed := make(chan error, 1)
	b.do(t.Context(), func() {
		cli = NewClient(far, ClientOptions{OnClosed: func(_ *Client, err error) { closed <- err }})
		far.Handle(cli)
	})
	// ask sends a request with a body and waits for its end.
	ask := func(path, body string, trailers ...string) *waiter {
		w := &waiter{done: make(chan struct{})}
		var f message.Fields
		for i := 0; i < len(trailers); i += 2 {
			f.Append(trailers[i], trailers[i+1])
		}
		b.do(t.Context(), func() {
			req := &message.Request{Method: "POST", Scheme: "http", Authority: "shop.example", Path: path, Length: message.Unknown, Trailers: true}
			for i := range f {
				req.Fields.Append("trailer", f[i].Text)
			}
			w.Stream = cli.Open(req, false, w)
			w.Stream.Data([]byte(body))
			w.Stream.End(f)
		})
		<-w.done
		return w
	}
	large := strings.Repeat("0123456789abcdef", 5<<16)
	w := ask("/echo", large, "X-Part", "2")
	if w.status != 200 || string(w.got) != large || w.trailers != ", x-sum: 12" || w.seen != "POSTshop.example/echo -1" {
		t.Errorf("%d bytes came back, trailers %q, the server saw %q (%v)", len(w.got), w.trailers, w.seen, w.aborted)
	}
	if w := ask("/panic", ""); w.aborted == nil || w.aborted.(*message.Error).Reason != message.Reset {
		t.Errorf("a handler that panics: %v", w.aborted)
	}
	var all sync.WaitGroup
	for i := range 60 {
		all.Go(func() {
			body := strings.Repeat(fmt.Sprint(i, " "), 10000)
			if w := ask("/", body); string(w.got) != body {
				t.Errorf("request %d: %d bytes came back, want %d (%v)", i, len(w.got), len(body), w.aborted)
			}
		})
	}
	all.Wait()
	b.do(t.Context(), cli.Drain)
	if err := <-closed; err != nil {
		t.Errorf("drained: %v", err)
	}
}

// A waiter is an asker that can be waited for.
type waiter struct {
	asker
	status int
	seen   string
	done   chan struct{}
}

func (w *waiter) Head(resp *message.Response, last bool) {
	w.status = resp.Status
	seen, _ := resp.Fields.Value("x-seen")
	w.seen = strings.Clone(seen)
	if last {
		close(w.done)
	}
}
func (w *waiter) Data(p []byte) { w.got = append(w.got, p...); w.Consumed(len(p)) }
func (w *waiter) End(trailers message.Fields) {
	w.asker.End(trailers)
	close(w.done)
}
func (w *waiter) Abort(err error) {
	w.aborted = err
	w.Stream.Abort(err)
	close(w.done)
}
