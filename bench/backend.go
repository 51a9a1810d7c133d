package main

import (
	"bytes"
	"fmt"
	"net"
)

// Small and large are the bodies of canned answers, in bytes.
const (
	small = 1 << 10
	large = 1 << 20
)

// canned is an HTTP/1.1 backend that answers every request with the same
// bytes: cheap, because what it costs is taken from the load generator's core.
type canned struct {
	ln     net.Listener
	answer []byte
}

func serveCanned(size int) (*canned, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	head := fmt.Sprintf("HTTP/1.1 200 OK\r\nServer: canned\r\nDate: Sat, 21 Nov 2026 10:00:00 GMT\r\n"+
		"Content-Type: text/plain\r\nContent-Length: %d\r\n\r\n", size)
	c := &canned{ln: ln, answer: append([]byte(head), bytes.Repeat([]byte("x"), size)...)}
	go c.accept()
	return c, nil
}

func (c *canned) port() int { return c.ln.Addr().(*net.TCPAddr).Port }

func (c *canned) close() { c.ln.Close() }

func (c *canned) accept() {
	for {
		conn, err := c.ln.Accept()
		if err != nil {
			return
		}
		go c.serve(conn)
	}
}

// serve counts the ends of heads: no request here has a body.
func (c *canned) serve(conn net.Conn) {
	defer conn.Close()
	buf := make([]byte, 16<<10)
	n := 0
	for {
		m, err := conn.Read(buf[n:])
		if err != nil {
			return
		}
		n += m
		rest := buf[:n]
		for {
			_, after, found := bytes.Cut(rest, []byte("\r\n\r\n"))
			if !found {
				break
			}
			rest = after
			if _, err := conn.Write(c.answer); err != nil {
				return
			}
		}
		n = copy(buf, rest)
		if n == len(buf) {
			return
		}
	}
}
