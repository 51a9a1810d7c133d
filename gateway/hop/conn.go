package hop

// A Conn is one end of a tunnel: a loop.Conn over a stream of HTTP/2.
type Conn struct{}
