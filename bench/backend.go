package main

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"net"
	"strings"
)

// Small and large are the bodies of canned answers, in bytes.
const (
	small = 1 << 10
	large = 1 << 20
)

// canned is an HTTP/1.1 backend that answers every request with the same
// bytes: cheap, because what it costs is taken from the load generator's core.
// Who asks for the connection to be closed gets that.
type canned struct {
	ln       net.Listener
	answer   []byte
	farewell []byte // the answer to who wants no other on the connection
}

// serveCanned answers with bodies of a size, over TLS where config is not nil.
func serveCanned(size int, config *tls.Config) (*canned, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	if config != nil {
		ln = tls.NewListener(ln, config)
	}
	head := fmt.Sprintf("HTTP/1.1 200 OK\r\nServer: canned\r\nDate: Sat, 21 Nov 2026 10:00:00 GMT\r\n"+
		"Content-Type: text/plain\r\nContent-Length: %d\r\n\r\n", size)
	body := bytes.Repeat([]byte("x"), size)
	c := &canned{ln: ln, answer: append([]byte(head), body...)}
	head = strings.TrimSuffix(head, "\r\n") + "Connection: close\r\n\r\n"
	c.farewell = append([]byte(head), body...)
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
			head := rest[:len(rest)-len(after)]
			rest = after
			if bytes.Contains(head, []byte("Connection: close")) {
				conn.Write(c.farewell)
				return
			}
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
