package hop

import (
	"cmp"
	"time"

	"fairway.dev/gateway/http2"
)

// Windows are as large as ztunnel's where a tunnel keeps up: 4 MiB a stream,
// which fills 1 Gbit/s over 30 ms, and 16 MiB a connection. A tunnel begins with
// what one whose reader is slow may make us hold, message.HighWater, and
// connections hold 16 MiB more at most, all their tunnels together.
const (
	firstWindow  = 64 << 10
	streamWindow = 4 << 20
	connWindow   = 16 << 20

	pingAfter   = 10 * time.Second
	pingTimeout = 20 * time.Second
	maxStreams  = 200
	// stall is how long a stream may have something to send and no window: a
	// connection through a tunnel may rest, like any other. That the peer is
	// there, PING tells.
	stall = time.Hour
)

// ServerLimits returns the Limits of a Server: what a Server's Options leave out.
// 200 streams, an hour without any, PING after 10 seconds of silence.
func ServerLimits() *http2.Limits {
	l := ClientLimits()
	l.MaxStreams, l.IdleTimeout = maxStreams, time.Hour
	l.HeaderBytes, l.HeaderFields = 80<<10, 128 // what an edge takes, and what gateways add to it
	l.PingAfter, l.PingTimeout = pingAfter, pingTimeout
	l.Tunnels, l.ManyClients = true, true
	return l
}

// ClientLimits returns the Limits of connections to other gateways: what those
// that a Dialer or a Client was given leave out.
func ClientLimits() *http2.Limits {
	return &http2.Limits{
		StreamWindow: firstWindow, MaxStreamWindow: streamWindow, ConnWindow: connWindow, WriteStall: stall,
	}
}

// fill returns l with what it leaves out as standard has it.
func fill(l, standard *http2.Limits) *http2.Limits {
	if l == nil {
		return standard
	}
	f := *l
	f.MaxStreams = cmp.Or(l.MaxStreams, standard.MaxStreams)
	f.HeaderBytes = cmp.Or(l.HeaderBytes, standard.HeaderBytes)
	f.HeaderFields = cmp.Or(l.HeaderFields, standard.HeaderFields)
	f.StreamWindow = cmp.Or(l.StreamWindow, standard.StreamWindow)
	f.MaxStreamWindow = cmp.Or(l.MaxStreamWindow, standard.MaxStreamWindow)
	f.ConnWindow = cmp.Or(l.ConnWindow, standard.ConnWindow)
	f.IdleTimeout = cmp.Or(l.IdleTimeout, standard.IdleTimeout)
	f.WriteStall = cmp.Or(l.WriteStall, standard.WriteStall)
	f.PingAfter = cmp.Or(l.PingAfter, standard.PingAfter)
	f.PingTimeout = cmp.Or(l.PingTimeout, standard.PingTimeout)
	f.Tunnels = l.Tunnels || standard.Tunnels
	f.ManyClients = l.ManyClients || standard.ManyClients
	return &f
}
