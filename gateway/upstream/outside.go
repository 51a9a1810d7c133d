package upstream

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"

	"fairway.dev/routing"
)

// Dial opens a connection to one of a cluster's ready endpoints, for who is not
// on a loop, and sends little: the first, of a random order, that lets itself be
// connected to. With a cluster that speaks TLS it is TLS, and offers alpn. The
// connection counts against no limit. Any goroutine may call it.
func (s *Set) Dial(ctx context.Context, name routing.ClusterName, alpn string) (net.Conn, error) {
	c := s.Cluster(name)
	if c == nil {
		return nil, fmt.Errorf("no cluster %q", name)
	}
	v := c.view.Load()
	w := v.config.way
	if w.err != nil {
		return nil, w.err
	}
	errs := []error{fmt.Errorf("cluster %s: no endpoint is ready", name)}
	for _, i := range rand.Perm(len(v.usable)) {
		conn, err := dialOutside(ctx, v.usable[i].ep.addr.String(), w, alpn)
		if err == nil {
			return conn, nil
		}
		errs = append(errs[:0], err)
	}
	return nil, errors.Join(errs...)
}

func dialOutside(ctx context.Context, address string, w *way, alpn string) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil || w.tls == nil {
		return conn, err
	}
	config := w.tls.Clone()
	config.NextProtos = []string{alpn}
	secure := tls.Client(conn, config)
	if err := secure.HandshakeContext(ctx); err != nil {
		conn.Close()
		return nil, err
	}
	return secure, nil
}
