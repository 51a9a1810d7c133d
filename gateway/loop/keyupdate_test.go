package loop

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"fairway.dev/gateway/loop/looptest"
)

// A sealer makes the records of a TLS 1.3 client with AES-128-GCM: it does
// what crypto/tls has no function for (RFC 8446 sections 5.2 and 7.3).
type sealer struct {
	t      *testing.T
	secret []byte
	seq    byte
}

func (s *sealer) expand(label string, size int) []byte {
	label = "tls13 " + label
	info := append([]byte{0, byte(size), byte(len(label))}, label...)
	key, err := hkdf.Expand(sha256.New, s.secret, string(append(info, 0)), size)
	if err != nil {
		s.t.Fatal(err)
	}
	return key
}

// seal appends a record of the content type kind.
func (s *sealer) seal(b []byte, kind byte, content ...byte) []byte {
	block, err := aes.NewCipher(s.expand("key", 16))
	if err != nil {
		s.t.Fatal(err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		s.t.Fatal(err)
	}
	nonce := s.expand("iv", 12)
	nonce[11] ^= s.seq
	s.seq++
	content = append(content, kind)
	header := []byte{23, 3, 3, 0, byte(len(content) + aead.Overhead())}
	return aead.Seal(append(b, header...), nonce, content, header)
}

// update appends a KeyUpdate that asks for one in return (section 4.6.3).
func (s *sealer) update(b []byte) []byte {
	b = s.seal(b, 22, 24, 0, 0, 1, 1)
	s.secret, s.seq = s.expand("traffic upd", 32), 0
	return b
}

// clientSecret finds the client's first traffic secret in a key log.
func clientSecret(t *testing.T, log string) []byte {
	t.Helper()
	_, rest, _ := strings.Cut(log, "CLIENT_TRAFFIC_SECRET_0 ")
	line, _, _ := strings.Cut(rest, "\n")
	secret, err := hex.DecodeString(line[strings.IndexByte(line, ' ')+1:])
	if err != nil {
		t.Fatal(err)
	}
	return secret
}

// sealing returns a server's socket that hears events, and its peer, with who
// goes on sealing for that one. One record has been sent.
func sealing(t *testing.T, l *Loop) (*events, *tls.Conn, *sealer) {
	t.Helper()
	server, client := looptest.TLSConfigs(t)
	var log bytes.Buffer
	client.KeyLogWriter = &log
	h := &events{heard: make(chan any, 1<<16)}
	tcp, err := net.Dial("tcp", serveTLS(t, l, server, h).String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tcp.Close() })
	c := tls.Client(tcp, client)
	if err := c.Handshake(); err != nil {
		t.Fatal(err)
	}
	if suite := c.ConnectionState().CipherSuite; suite != tls.TLS_AES_128_GCM_SHA256 {
		t.Fatalf("suite %s, want AES-128-GCM, which the test speaks", tls.CipherSuiteName(suite))
	}
	c.Write([]byte("x"))
	heardWithin(t, h)
	return h, c, &sealer{t: t, secret: clientSecret(t, log.String()), seq: 1}
}

func TestKeyUpdatesThatNobodyReadsEndTheConnection(t *testing.T) {
	l := startLoop(t)
	h, c, s := sealing(t, l)
	tcp := c.NetConn()
	small := make(chan error)
	l.Post(func() { small <- unix.SetsockoptInt(h.s.fd, unix.SOL_SOCKET, unix.SO_SNDBUF, 4<<10) })
	if err := errors.Join(<-small, tcp.(*net.TCPConn).SetReadBuffer(4<<10)); err != nil {
		t.Fatal(err)
	}
	var flood []byte
	for range 4 * maxAnswers / 30 {
		flood = s.seal(s.update(flood), 23, 'y') // data makes the update look useful
	}
	go tcp.Write(flood)
	for {
		if err, ok := heardWithin(t, h).(error); ok {
			if err != errDeaf {
				t.Errorf("ended with %v, want %v", err, errDeaf)
			}
			return
		}
	}
}

func TestKeyUpdateBehindOurEndIsTaken(t *testing.T) {
	l := startLoop(t)
	h, c, s := sealing(t, l)
	l.Post(h.s.CloseWrite)
	if _, err := c.Read(make([]byte, 1)); err != io.EOF {
		t.Fatalf("read: %v, want the end of the stream", err)
	}
	closeNotify := []byte{1, 0}
	c.NetConn().Write(s.seal(s.update(nil), 23, 'y'))
	if got := heardWithin(t, h); got != "y" {
		t.Fatalf("heard %v, want y", got)
	}
	c.NetConn().Write(s.seal(nil, 21, closeNotify...))
	if got := heardWithin(t, h); got != (heardEOF{}) {
		t.Errorf("heard %v, want EOF", got)
	}
}
