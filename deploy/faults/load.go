package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"time"
)

// requestTimeout is after how long a request without an answer is lost.
const requestTimeout = 5 * time.Second

// workers are the clients of a load; each has one request at a time.
const workers = 20

// A load sends requests at a steady rate. A client keeps its connection for a few
// requests, so that there are old connections and new ones at any time.
type load struct {
	target target
	cancel context.CancelFunc
	done   sync.WaitGroup

	mu    sync.Mutex
	tally tally
}

// A tally is what became of a load.
type tally struct {
	Sent     int
	Lost     []time.Time    // when those were sent that were lost
	Kinds    map[string]int // how often which error was seen
	Backends map[string]int // how often which one answered
}

// A target is what a load's requests go to.
type target struct {
	Address string // without port: 80 and 443
	Host    string

	// Roots verify the target's certificate. If nil, nothing goes over TLS; half
	// of the clients do otherwise.
	Roots *tls.Config `json:"-"`

	// Steady has half of the clients keep their connections for as long as the
	// other side does.
	Steady bool

	// Fields are those that every answer has.
	Fields []string
}

// startLoad sends rate requests per second until stop is called.
func startLoad(t target, rate int) *load {
	ctx, cancel := context.WithCancel(context.Background())
	l := &load{target: t, cancel: cancel, tally: tally{Kinds: map[string]int{}, Backends: map[string]int{}}}
	every := time.Second * workers / time.Duration(rate)
	for i := range workers {
		l.done.Go(func() { l.work(ctx, i, every) })
	}
	return l
}

// stop ends the load, waits for its last answers and says what became of it.
func (l *load) stop() *tally {
	l.cancel()
	l.done.Wait()
	return &l.tally
}

// perConnection is how many requests a client sends before it opens a new
// connection: every tenth is a first one.
const perConnection = 10

func (l *load) work(ctx context.Context, i int, every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	c := &client{target: l.target, secure: i%2 == 1 && l.target.Roots != nil}
	steady := i%4 >= 2 && l.target.Steady
	defer c.close()
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if n%perConnection == 0 && !steady {
			c.close()
		}
		at := time.Now()
		used := c.conn != nil
		header, err := c.do()
		l.mu.Lock()
		l.tally.add(at, header, err, used)
		l.mu.Unlock()
	}
}

// add counts a request that was sent at the time; used as in kind.
func (t *tally) add(at time.Time, header http.Header, err error, used bool) {
	t.Sent++
	if err != nil {
		t.Lost = append(t.Lost, at)
		t.Kinds[kind(err, used)]++
		return
	}
	if backend := header.Get("X-Backend"); backend != "" {
		t.Backends[backend]++
	}
}

// kind is err without what is different each time; used says that the
// connection had an answer before.
func kind(err error, used bool) string {
	var op *net.OpError
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return "no answer in time"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		if used {
			return "a connection in use closed without an answer"
		}
		return "a new connection closed without an answer"
	case errors.As(err, &op):
		return op.Op + ": " + op.Err.Error()
	}
	return err.Error()
}

// A client sends one request after the other on a connection that it opens
// where it has none. It retries nothing.
type client struct {
	target target
	secure bool
	conn   net.Conn
	r      *bufio.Reader
}

func (c *client) close() {
	if c.conn != nil {
		c.conn.Close()
		c.conn = nil
	}
}

// do sends a request and returns the answer's header. Anything but 200 with the
// whole body and the target's fields is an error.
func (c *client) do() (http.Header, error) {
	if c.conn != nil && c.ended() {
		c.close() // the gateway said so before we asked: nobody's request is lost
	}
	if c.conn == nil {
		if err := c.dial(); err != nil {
			return nil, err
		}
	}
	c.conn.SetDeadline(time.Now().Add(requestTimeout))
	header, keep, err := c.exchange()
	if err != nil || !keep {
		c.close()
	}
	return header, err
}

// ended reports whether the other side has closed an idle connection.
func (c *client) ended() bool {
	c.conn.SetReadDeadline(time.Now().Add(50 * time.Microsecond))
	_, err := c.r.Peek(1)
	return err != nil && !errors.Is(err, os.ErrDeadlineExceeded)
}

func (c *client) dial() error {
	d := &net.Dialer{Timeout: requestTimeout}
	port := "80"
	if c.secure {
		port = "443"
	}
	conn, err := d.Dial("tcp", net.JoinHostPort(c.target.Address, port))
	if err != nil {
		return err
	}
	if c.secure {
		conn.SetDeadline(time.Now().Add(requestTimeout))
		config := c.target.Roots.Clone()
		config.ServerName = c.target.Host
		s := tls.Client(conn, config)
		if err := s.Handshake(); err != nil {
			conn.Close()
			return fmt.Errorf("handshake: %w", err)
		}
		conn = s
	}
	c.conn, c.r = conn, bufio.NewReader(conn)
	return nil
}

func (c *client) exchange() (h http.Header, keep bool, err error) {
	if _, err := fmt.Fprintf(c.conn, "GET / HTTP/1.1\r\nHost: %s\r\n\r\n", c.target.Host); err != nil {
		return nil, false, err
	}
	resp, err := http.ReadResponse(c.r, nil)
	if err != nil {
		return nil, false, err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return nil, false, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, false, fmt.Errorf("status %d", resp.StatusCode)
	}
	for _, name := range c.target.Fields {
		if resp.Header.Get(name) == "" {
			return nil, false, fmt.Errorf("an answer without %s", name)
		}
	}
	return resp.Header, !resp.Close, nil
}
