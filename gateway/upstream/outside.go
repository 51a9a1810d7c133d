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
// connection counts against no limit. Clusters that are reached by way of a
// waypoint or in tunnels are refused: those connections are loops' only. Any
// goroutine may call it.
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
	if hop := v.config.spec.Hop; hop != nil && (!hop.Inside || hop.Beyond != nil) {
		return nil, fmt.Errorf("cluster %s: reached by way of %s, want one that is reached straight", name, hop.Gateway)
	}
	errs := []error{fmt.Errorf("cluster %s: no endpoint is ready", name)}
	for _, i := range rand.Perm(len(v.usable)) {
		ep := v.usable[i].ep
		if ep.waypoint || ep.tunnels() {
			errs = append(errs[:0], fmt.Errorf("endpoint %s: reached in tunnels, want one that is reached by TCP", ep.addr))
			continue
		}
		conn, err := dialOutside(ctx, ep.addr.String(), w, alpn)
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
