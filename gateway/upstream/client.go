package upstream

import (
	"fairway.dev/gateway/hop"
	"fairway.dev/gateway/http1"
	"fairway.dev/gateway/http2"
	"fairway.dev/gateway/message"
	"fairway.dev/routing"
)

// ClientEvents are what a pool hears of a connection that it made, and how that
// is to behave.
type ClientEvents struct {
	// Free tells that Client.Free has grown, from 0 or from more.
	Free func()
	// Closed tells that the connection is gone, also after Close and Drain.
	// It is called once and is the last call, and never comes from inside a
	// call made on the Client.
	Closed func(err error)
	// HTTP2 is for connections that speak that.
	HTTP2 HTTP2Settings
	// Gateway says that the connection is to a gateway of the fleet, which takes
	// requests with what their Hop says.
	Gateway bool
}

// HTTP2Settings are a cluster's for HTTP/2. What is zero is up to the codec.
type HTTP2Settings struct {
	Streams int           // at once
	Ping    *routing.Ping // asks whether a silent peer is there
}

// newClient puts the codec for proto on conn.
func (o *Options) newClient(conn Conn, proto message.Proto, ev ClientEvents) message.Client {
	i := conn.Loop().Index()
	if proto == message.HTTP2 {
		options := http2.ClientOptions{
			OnFree:     func(*http2.Client) { ev.Free() },
			OnClosed:   func(_ *http2.Client, err error) { ev.Closed(err) },
			Limits:     onLoop(o.HTTP2, i),
			MaxStreams: ev.HTTP2.Streams,
		}
		if ping := ev.HTTP2.Ping; ping != nil {
			options.PingAfter, options.PingTimeout, options.PingAlways = ping.Interval, ping.Timeout, true
		}
		if ev.Gateway {
			c := hop.NewClient(conn, options)
			conn.Handle(c)
			return c
		}
		c := http2.NewClient(conn, options)
		conn.Handle(c)
		return c
	}
	c := http1.NewClient(conn, http1.ClientOptions{
		OnFree:   func(*http1.Client) { ev.Free() },
		OnClosed: func(_ *http1.Client, err error) { ev.Closed(err) },
		Limits:   onLoop(o.HTTP1, i),
	})
	conn.Handle(c)
	return c
}

func onLoop[T any](limits []*T, index int) *T {
	if limits == nil {
		return nil
	}
	return limits[index]
}
