package main

import (
	"crypto/tls"
	"io"
	"net"
	"time"
)

// strangerAddr is where the waypoint before a stranger finds the one behind it.
const strangerAddr = "127.77.0.4"

// A stranger stands between two waypoints that have to take each other for one:
// it ends the TLS of both and speaks h2 by ALPN, so that nothing of what
// gateways of Fairway have between them can be agreed on. What it costs itself
// is the client's core's, and in the latency.
type stranger struct {
	ln   net.Listener
	to   string
	dial *tls.Dialer
}

// startStranger has a stranger between the waypoint of web, which finds it at
// addr, and that of shop, which is at to.
func (a *authority) startStranger(addr, to string) (*stranger, error) {
	var certs []tls.Certificate
	for _, namespace := range []string{"shop", "web"} { // to either it is the other
		der, key, err := a.sign(namespace)
		if err != nil {
			return nil, err
		}
		certs = append(certs, tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key})
	}
	ln, err := tls.Listen("tcp", addr, &tls.Config{
		Certificates: certs[:1], ClientAuth: tls.RequireAnyClientCert, MinVersion: tls.VersionTLS13, NextProtos: []string{"h2"},
	})
	if err != nil {
		return nil, err
	}
	s := &stranger{ln: ln, to: to, dial: &tls.Dialer{NetDialer: &net.Dialer{Timeout: 10 * time.Second}, Config: &tls.Config{
		// The certificate has no name, and it is the bench that has made it.
		InsecureSkipVerify: true, Certificates: certs[1:], MinVersion: tls.VersionTLS13, NextProtos: []string{"h2"},
	}}}
	go s.accept()
	return s, nil
}

func (s *stranger) accept() {
	for {
		in, err := s.ln.Accept()
		if err != nil {
			return
		}
		go s.relay(in)
	}
}

// relay hands on bytes both ways until one side ends, as each does with its
// waypoint.
func (s *stranger) relay(in net.Conn) {
	defer in.Close()
	out, err := s.dial.Dial("tcp", s.to)
	if err != nil {
		return
	}
	defer out.Close()
	go func() {
		defer in.Close()
		io.Copy(in, out)
	}()
	io.Copy(out, in)
}

// stop takes no more connections.
func (s *stranger) stop() { s.ln.Close() }
