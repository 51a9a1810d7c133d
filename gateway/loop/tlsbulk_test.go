package loop

import (
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"runtime"
	"testing"
	"time"

	"fairway.dev/gateway/loop/looptest"
)

// A counter tells when as many bytes have come as were waited for.
type counter struct {
	left int
	done chan bool
}

func (c *counter) Data(p []byte) {
	if c.left -= len(p); c.left == 0 {
		c.done <- true
	}
}
func (c *counter) EOF()         {}
func (c *counter) Drained()     {}
func (c *counter) Closed(error) {}

// What comes faster than it is read is decrypted out of the loop's own buffer.
func TestBulkOverTLSIsNotCopiedToTheHeap(t *testing.T) {
	const size = 4 << 20
	l := startLoop(t)
	server, client := looptest.TLSConfigs(t)
	h := &counter{left: size, done: make(chan bool)}
	addr := serve(t, l, func(s *Socket) {
		s.ServeTLS(server, nil, 5*time.Second, func(_ tls.ConnectionState, err error) {
			if err != nil {
				t.Error(err)
				return
			}
			s.Handle(h)
		})
	})
	c, err := tls.Dial("tcp", addr.String(), client)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	send := func() uint64 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		if _, err := c.Write(make([]byte, size)); err != nil {
			t.Fatal(err)
		}
		<-h.done
		runtime.ReadMemStats(&after)
		l.Post(func() { h.left = size })
		return after.TotalAlloc - before.TotalAlloc - size
	}
	send() // and both sides have their buffers
	if n := send(); n > size/8 {
		t.Errorf("%d bytes over TLS allocate %d, want next to nothing", size, n)
	}
}

// A taped connection keeps what is read from it.
type taped struct {
	net.Conn
	tape bytes.Buffer
}

func (c *taped) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.tape.Write(p[:n])
	return n, err
}

// records returns the lengths of the records on tape (RFC 8446 section 5.2).
func records(tape []byte) (lengths []int) {
	for len(tape) >= 5 {
		n := int(tape[3])<<8 | int(tape[4])
		lengths = append(lengths, n)
		tape = tape[min(5+n, len(tape)):]
	}
	return lengths
}

// Frames of HTTP/2, a header and a payload each, fill records to their end.
func TestPiecesFillRecords(t *testing.T) {
	l := startLoop(t)
	server, client := looptest.TLSConfigs(t)
	server.DynamicRecordSizingDisabled = true // which has the first ones small
	var pieces [][]byte
	for i := range 6 {
		pieces = append(pieces, bytes.Repeat([]byte{byte('a' + i)}, 9), bytes.Repeat([]byte{byte('A' + i)}, maxPlaintext))
	}
	pieces = append(pieces, bytes.Repeat([]byte("z"), 3*maxPlaintext+5))
	all := bytes.Join(pieces, nil)
	addr := serve(t, l, func(s *Socket) {
		s.ServeTLS(server, nil, 5*time.Second, func(_ tls.ConnectionState, err error) {
			if err != nil {
				t.Error(err)
				return
			}
			s.Handle(&counter{})
			for _, p := range pieces {
				s.Write(p)
			}
		})
	})
	raw, err := net.Dial("tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	tape := &taped{Conn: raw}
	c := tls.Client(tape, client)
	if err := c.Handshake(); err != nil {
		t.Fatal(err)
	}
	before := len(records(tape.tape.Bytes()))
	got := make([]byte, len(all))
	if _, err := io.ReadFull(c, got); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, all) {
		t.Error("what comes is not what was written")
	}
	lengths := records(tape.tape.Bytes())[before:]
	if most := len(all)/maxPlaintext + 2; len(lengths) > most {
		t.Errorf("%d bytes in %d pieces make records of %v bytes, want %d records at most", len(all), len(pieces), lengths, most)
	}
}
