// Package http2 turns bytes into messages and back over HTTP/2 (RFC 9113),
// on both sides: [Server] for clients of ours, [Client] for backends.
//
// Both are push parsers over a [loop.Conn]: bytes come in by Data in any
// splits, messages go out by calls on message.Receiver, and all of it runs on
// one loop. The package decides framing, header compression (RFC 7541), the
// life of streams, flow control, whose turn it is to send, and when a peer
// has become a flood ([Limits]). It knows nothing of routes or policy.
//
// Frames and header blocks are read and written here, in place: what
// golang.org/x/net/http2 and hpack have for it allocates for each, so they
// lend their names and Huffman's code, and judge the rest in tests.
//
// The one law: a body byte is never held on its way in. It is handed to the
// Receiver in the call that brought it, and the peer may send more only after
// the Receiver has said Consumed.
package http2
