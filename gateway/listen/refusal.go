package listen

// A Refusal is why a connection was closed before anybody spoke its protocol.
// Its text is a metric label and does not change.
type Refusal uint8

const (
	// TooMany: it was one over MaxConnections.
	TooMany Refusal = iota
	// FirstByteSlow: its client said nothing for FirstByteTimeout.
	FirstByteSlow
	// ProxyHeaderMissing: it did not begin with the PROXY protocol header that
	// its port requires.
	ProxyHeaderMissing
	// ProxyHeaderMalformed: it began with one that is malformed, or longer than
	// proxyproto.MaxSize.
	ProxyHeaderMalformed
	// ProxyHeaderSlow: the header was not whole within HandshakeTimeout.
	ProxyHeaderSlow
	// HelloMalformed: it did not begin with a ClientHello, on a port where the
	// name in it decides.
	HelloMalformed
	// HelloTooLong: its ClientHello was not whole after 16 KiB.
	HelloTooLong
	// HelloSlow: its ClientHello was not whole within HandshakeTimeout.
	HelloSlow
	// NotAllowed: Port.Refuse says so.
	NotAllowed
	// TunnelTLS: its TLS was to end here, and it came out of a tunnel, where there
	// is none to end.
	TunnelTLS
	// LedNowhere: Port.Lead says so of its PROXY protocol header.
	LedNowhere
	numRefusals
)

var refusalText = [numRefusals]string{
	TooMany: "connections", FirstByteSlow: "first_byte_slow",
	ProxyHeaderMissing: "proxy_header_missing", ProxyHeaderMalformed: "proxy_header", ProxyHeaderSlow: "proxy_header_slow",
	HelloMalformed: "client_hello", HelloTooLong: "client_hello_too_long", HelloSlow: "client_hello_slow",
	NotAllowed: "not_allowed", TunnelTLS: "tls_in_tunnel",
	LedNowhere: "proxy_header_led_nowhere",
}

// Refusals returns the texts of all Refusals, each at its own index.
func Refusals() []string { return refusalText[:] }
