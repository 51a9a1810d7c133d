package http1

import (
	"fairway.dev/gateway/loop"
	"fairway.dev/gateway/message"
)

// A Server is the gateway's end of a client's connection. It is the
// loop.Handler of that connection.
type Server struct {
	conn    loop.Conn
	peer    *message.Peer
	handler message.Handler
	lim     *Limits
}

// NewServer returns a Server on conn that hands requests to h. The caller
// makes it the handler of conn; bytes read before that are given to Data.
// Nil limits are the defaults.
func NewServer(conn loop.Conn, peer *message.Peer, h message.Handler, lim *Limits) *Server {
	return &Server{conn: conn, peer: peer, handler: h, lim: lim}
}

// Drain ends the connection after the exchange under way, whose response says
// so where its head is still to come; at once if there is none.
func (s *Server) Drain() {}

// Data, EOF, Drained and Closed are the connection's events.
func (s *Server) Data(p []byte)    {}
func (s *Server) EOF()             {}
func (s *Server) Drained()         {}
func (s *Server) Closed(err error) {}
