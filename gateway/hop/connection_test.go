package hop_test

import (
	"crypto/tls"
	"net"
	"testing"

	"fairway.dev/gateway/hop"
	"fairway.dev/gateway/hop/hoptest"
	"fairway.dev/gateway/http2"
)

// BenchmarkConnection is what a connection between two gateways costs from its
// first byte to its last, with HTTP/2's first words and GOAWAY and an event loop
// at either end: against one with the same certificates on which nothing but
// crypto/tls shakes hands, in goroutines. They take turns. The handshake by itself
// is BenchmarkHop's in tlsmgr/identity.
func BenchmarkConnection(b *testing.B) {
	m := hoptest.NewMesh(b)
	ways := []func(){bareConnection(b, m), hopConnection(b, m)}
	var cost [2]int64
	n := 0
	for b.Loop() {
		n += 2
		for _, way := range []int{0, 1, 1, 0} {
			before := cpuTime()
			ways[way]()
			cost[way] += cpuTime() - before
		}
	}
	b.ReportMetric(float64(cost[0])/float64(n), "bare-cpu-ns")
	b.ReportMetric(float64(cost[1])/float64(n), "hop-cpu-ns")
	b.ReportMetric(float64(cost[1])/float64(cost[0]), "hop/bare")
}

func bareConnection(b *testing.B, m *hoptest.Mesh) func() {
	server, own := m.Server(shopID, hop.Native), m.Own(edgeID)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				s := tls.Server(c, server)
				s.Write([]byte{1})
				s.Read(make([]byte, 1))
				s.Close()
			}()
		}
	}()
	return func() {
		config := m.Client(own, shopID)
		config.NextProtos = []string{hop.Native, "h2"}
		c, err := tls.Dial("tcp", ln.Addr().String(), config)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := c.Read(make([]byte, 1)); err != nil {
			b.Fatal(err)
		}
		c.Close()
	}
}

func hopConnection(b *testing.B, m *hoptest.Mesh) func() {
	l, far := hoptest.Loop(b), hoptest.Loop(b)
	at := m.Serve(far, shopID, &hoptest.Relay{}, hop.Native)
	d := m.Dialer(edgeID)
	closed := make(chan error)
	to := hop.Target{Addr: at, Identity: shopID, Authority: "10.96.0.5:80", Requests: true}
	dialled := func(c hop.Conner, _ bool, err error) {
		if err != nil {
			closed <- err
			return
		}
		client := hop.NewClient(c, http2.ClientOptions{OnClosed: func(_ *http2.Client, err error) { closed <- err }})
		c.Handle(client)
		client.Drain()
	}
	return func() {
		l.Post(func() { d.Dial(l, to, hoptest.Patience, dialled) })
		if err := <-closed; err != nil {
			b.Fatal(err)
		}
	}
}
