// Package stream hands bytes on that are not HTTP: TCP connections, TLS
// connections whose ClientHello names the way (passed through as they are, or
// terminated here), and sessions of UDP datagrams.
//
// Where a stream goes is proxy's to say ([proxy.Proxy.Stream]), and which
// endpoint takes it, and whether that is healthy, upstream's. The package joins
// the two sides.
//
// The one law: what happens to one side of a stream is told to the other. An
// end of one direction is passed on behind the bytes before it, and the other
// direction goes on; a reset is passed on as a reset; a side that does not take
// what it is sent holds the other one back.
//
// The package does not know what the bytes mean. What it says of a stream when
// that has ended is one line in the access log, and istio_tcp_* in metrics.
package stream
