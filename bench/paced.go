package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"
)

// paced sends requests of HTTP/1.1 at a rate, as far apart in time as each
// other, on connections that take turns. They are open, and have carried a
// request each, before the count begins; a request that waits for the one
// before it on its connection has its wait counted.
type paced struct {
	conns int
	rate  int // requests a second, all connections together
}

// pacedPatience is how long answers may be late before the round has failed.
const pacedPatience = 10 * time.Second

func (p paced) run(ctx context.Context, b *bench, target string) (outcome, error) {
	lines, err := p.open(ctx, target)
	defer func() {
		for _, l := range lines {
			l.conn.Close()
		}
	}()
	if err != nil {
		return outcome{}, err
	}
	b.begin()
	started := time.Now()
	err = p.send(ctx, lines, started, roundTime)
	o := outcome{seconds: time.Since(started).Seconds()}
	var all []time.Duration
	for _, l := range lines {
		all = append(all, l.took...)
		err = cmp.Or(err, l.err)
	}
	if len(all) == 0 {
		return o, cmp.Or(err, errors.New("nothing was answered"))
	}
	o.requests = len(all)
	slices.Sort(all)
	o.p50, o.p99 = quantile(all, 0.50), quantile(all, 0.99)
	return o, err
}

// open connects, and asks once on each connection.
func (p paced) open(ctx context.Context, target string) ([]*line, error) {
	u, err := url.Parse(target)
	if err != nil {
		return nil, err
	}
	var dialer net.Dialer
	var lines []*line
	for range p.conns {
		conn, err := dialer.DialContext(ctx, "tcp", u.Host)
		if err != nil {
			return lines, err
		}
		conn.SetDeadline(time.Now().Add(roundTime + 2*pacedPatience))
		l := &line{conn: conn, reader: bufio.NewReader(conn), request: fmt.Appendf(nil, "GET / HTTP/1.1\r\nHost: %s\r\n\r\n", host)}
		lines = append(lines, l)
		if err := l.ask(); err != nil {
			return lines, err
		}
	}
	return lines, nil
}

// send has the lines ask in turn for as long as said, and waits for the answers.
func (p paced) send(ctx context.Context, lines []*line, started time.Time, long time.Duration) error {
	n := int(float64(p.rate) * long.Seconds())
	var wg sync.WaitGroup
	defer wg.Wait()
	for _, l := range lines {
		l.due = make(chan time.Time, n/len(lines)+1)
		defer close(l.due)
		wg.Go(l.serve)
	}
	for i := range n {
		at := started.Add(time.Duration(i) * time.Second / time.Duration(p.rate))
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Until(at)):
		}
		lines[i%len(lines)].due <- time.Now()
	}
	return nil
}

func quantile(sorted []time.Duration, q float64) time.Duration {
	return sorted[int(q*float64(len(sorted)-1))]
}

// A line is a connection of a paced load.
type line struct {
	conn    net.Conn
	reader  *bufio.Reader
	request []byte
	due     chan time.Time // when a request was to be sent

	took []time.Duration
	err  error
}

// serve asks whenever it is time to, until due is closed or something fails.
func (l *line) serve() {
	for at := range l.due {
		if l.err = l.ask(); l.err != nil {
			l.conn.Close()
			return
		}
		l.took = append(l.took, time.Since(at))
	}
}

// ask sends the request and reads the answer.
func (l *line) ask() error {
	if _, err := l.conn.Write(l.request); err != nil {
		return err
	}
	resp, err := http.ReadResponse(l.reader, nil)
	if err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("status %s", resp.Status)
	}
	return nil
}
