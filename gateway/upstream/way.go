package upstream

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"

	"fairway.dev/gateway/message"
	"fairway.dev/routing"
)

// A way is how one talks to a cluster's endpoints. Connections made in one
// way are not used once another is asked for.
type way struct {
	protocol routing.Upstream
	spec     *routing.UpstreamTLS
	tls      *tls.Config // nil: plain, or err says why there is none
	// err is why the TLS settings cannot work. Every connect fails with it:
	// what asked for TLS is never sent plain, nor unverified.
	err   error
	proxy uint8 // version of the PROXY protocol header that comes first; 0: none
	// named says that the server's name is the host of each request: connections
	// are shared by requests for one host only.
	named bool

	// upgrade is the way for requests that switch protocols, where it is
	// another: HTTP/1.1, if ALPN might choose HTTP/2. Few backends take
	// RFC 8441's WebSockets, and none says so before it is connected.
	upgrade *way
	// stream and opaque are the ways for streams, where they are others:
	// without ALPN, as their protocol is not known, and without TLS.
	stream, opaque *way
	// second is the way for requests of clients that speak HTTP/2, where the
	// cluster speaks what its clients do, and HTTP/1.1 with all others.
	second *way
}

// of returns the way for a use.
func (w *way) of(u Use) *way {
	other := [uses]*way{Upgrades: w.upgrade, Streams: w.stream, Opaque: w.opaque, seconds: w.second}[u]
	if other != nil {
		return other
	}
	return w
}

// ofHTTP2 returns a way that is surely HTTP/2.
func (w *way) ofHTTP2() *way {
	switch {
	case w.err != nil || w.protocol == routing.UpstreamHTTP2:
		return w
	case w.second != nil:
		return w.second
	case w.tls != nil:
		return w.speaking(routing.UpstreamHTTP2, nextProtos(routing.UpstreamHTTP2))
	}
	return &way{protocol: routing.UpstreamHTTP2, proxy: w.proxy}
}

// newWay returns the way that c asks for: old where it is the same.
func (s *Set) newWay(c *routing.Cluster, old *way) *way {
	if old != nil && old.protocol == c.Protocol && old.proxy == c.ProxyProtocol && sameTLS(old.spec, c.TLS) {
		return old
	}
	if _, ok := c.Name.Waypoint(); ok {
		return waypointWay(c)
	}
	w := &way{protocol: c.Protocol, spec: c.TLS, proxy: c.ProxyProtocol}
	if c.TLS == nil {
		if c.Protocol == routing.UpstreamClient {
			w.second = &way{protocol: routing.UpstreamHTTP2, proxy: c.ProxyProtocol}
		}
		return w
	}
	w.opaque = &way{proxy: c.ProxyProtocol}
	w.named = c.TLS.NameFromHost && c.TLS.ServerName == ""
	if w.tls, w.err = s.clientTLS(c.TLS, c.Protocol); w.err != nil {
		return w
	}
	w.stream = w.speaking("", nil)
	if c.Protocol == routing.UpstreamClient {
		w.second = w.speaking(routing.UpstreamHTTP2, nextProtos(routing.UpstreamHTTP2))
	}
	if c.Protocol == routing.UpstreamAuto {
		w.upgrade = w.speaking(routing.UpstreamHTTP1, nextProtos(routing.UpstreamHTTP1))
	}
	return w
}

// speaking returns w, which has TLS, with another protocol.
func (w *way) speaking(protocol routing.Upstream, alpn []string) *way {
	other := &way{protocol: protocol, spec: w.spec, tls: w.tls.Clone(), proxy: w.proxy, named: w.named}
	other.tls.NextProtos = alpn
	return other
}

func sameTLS(a, b *routing.UpstreamTLS) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.ServerName == b.ServerName && a.Insecure == b.Insecure && a.Certificate == b.Certificate && a.NameFromHost == b.NameFromHost &&
		slices.Equal(a.SANs, b.SANs) && bytes.Equal(a.Roots, b.Roots) && bytes.Equal(a.CRL, b.CRL)
}

// proto returns what is spoken on a connection where TLS agreed on alpn. A
// backend that knows no ALPN gets what the cluster says.
func (w *way) proto(alpn string) message.Proto {
	if w.protocol == routing.UpstreamHTTP2 || alpn == "h2" {
		return message.HTTP2
	}
	return message.HTTP11
}

// room returns how many exchanges one connection is thought to carry at a
// time before it has said so; 0 where its protocol is not known.
func (w *way) room(u Use) int {
	switch {
	case u.isStream():
		return 1
	case w.protocol == routing.UpstreamHTTP2:
		return 100
	case w.protocol == routing.UpstreamAuto && w.tls != nil:
		return 0
	}
	return 1
}

// clientTLS builds the settings that t asks for.
func (s *Set) clientTLS(t *routing.UpstreamTLS, protocol routing.Upstream) (*tls.Config, error) {
	config := &tls.Config{
		ServerName:         t.ServerName,
		InsecureSkipVerify: t.Insecure,
		MinVersion:         tls.VersionTLS12,
		NextProtos:         nextProtos(protocol),
	}
	if len(t.Roots) > 0 {
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(t.Roots) {
			return nil, errors.New("roots to verify endpoints with: no certificate in the PEM, want at least one")
		}
	}
	if t.ServerName == "" && !t.NameFromHost && len(t.SANs) == 0 && !t.Insecure {
		return nil, errors.New("no name to verify endpoints by: want a server name or subject alternative names")
	}
	if err := verifyBy(config, t); err != nil {
		return nil, err
	}
	if t.Certificate != "" {
		config.GetClientCertificate = s.clientCertificate(t.Certificate)
	}
	return config, nil
}

func nextProtos(protocol routing.Upstream) []string {
	switch protocol {
	case routing.UpstreamHTTP2:
		return []string{"h2"}
	case routing.UpstreamAuto:
		return []string{"h2", "http/1.1"}
	}
	return []string{"http/1.1"}
}

var errNoCertificate = errors.New("client certificate is not there")

// clientCertificate asks for the certificate anew in each handshake: it is
// renewed while connections are made.
func (s *Set) clientCertificate(name routing.CertificateName) func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
	return func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		if s.o.Certificate != nil {
			if cert := s.o.Certificate(name); cert != nil {
				return cert, nil
			}
		}
		return nil, fmt.Errorf("%s: %w", name, errNoCertificate)
	}
}
