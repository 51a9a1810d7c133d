package main

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"time"
)

// A client asks a Gateway, one request after the other on a connection that it
// keeps.
type client struct{ http *http.Client }

// requestTime bounds each request.
const requestTime = 10 * time.Second

func newClient(e *edge) *client {
	dial := func(ctx context.Context, _, addr string) (net.Conn, error) {
		_, port, err := net.SplitHostPort(addr)
		if err != nil {
			return nil, err
		}
		return (&net.Dialer{}).DialContext(ctx, "tcp", net.JoinHostPort(e.address, port))
	}
	return &client{&http.Client{
		Timeout: requestTime,
		Transport: &http.Transport{
			DialContext:     dial,
			TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, // the certificate is this program's own
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

func (c *client) close() { c.http.CloseIdleConnections() }

// get asks for a URL and returns the answer's status and header.
func (c *client) get(ctx context.Context, url string) (int, http.Header, error) {
	return c.do(ctx, http.MethodGet, url)
}

func (c *client) do(ctx context.Context, method, url string) (int, http.Header, error) {
	r, err := http.NewRequestWithContext(ctx, method, url, nil)
	if err != nil {
		return 0, nil, err
	}
	resp, err := c.http.Do(r)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, resp.Header, err
}

// answered waits until a URL is answered with 200, and returns how often it was
// answered with something that is neither that nor 404.
func (c *client) answered(ctx context.Context, url string, most time.Duration) (wrong int, err error) {
	err = await(ctx, most, 5*time.Millisecond, url+" is answered", func() bool {
		status, _, err := c.get(ctx, url)
		switch {
		case err == nil && status == http.StatusOK:
			return true
		case err != nil || status != http.StatusNotFound:
			wrong++
		}
		return false
	})
	return wrong, err
}
