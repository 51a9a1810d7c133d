package listen

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"fairway.dev/gateway/loop"
	"fairway.dev/gateway/loop/looptest"
	"fairway.dev/gateway/message"
)

func TestRequestsAreToldFromOtherProtocols(t *testing.T) {
	tests := []struct {
		p        string
		is, sure bool
	}{
		{"GET / HTTP/1.1\r\n", true, true},
		{"GET /", true, true},
		{"get /", true, true}, // a method that nobody knows is for the codec to refuse
		{"M-SEARCH * HTTP/1.1", true, true},
		{"OPTIONS *", true, true},
		{"GET http://a.example/ HTTP/1.1", true, true},
		{"GET HTTPS://a.example/ HTTP/1.1", true, true},
		{"CONNECT a.example:443 HTTP/1.1", true, true},
		{"G", false, false},
		{"GET ", false, false},
		{"GET ht", false, false},
		{"", false, false},
		{strings.Repeat("A", maxMethod), false, false},
		{strings.Repeat("A", maxMethod+1), false, true},
		{strings.Repeat("A", maxMethod+1) + " /", false, true},
		{"EHLO mail.example\r\n", false, true},
		{"USER ftp\r\n", false, true},
		{"SSH-2.0-OpenSSH_9.9 Debian-1\r\n", false, true},
		{"*1\r\n$4\r\nPING\r\n", false, true}, // RESP
		{"PING\r\n", false, true},
		{" GET /", false, true},
		{"\x16\x03\x01\x02\x00", false, true}, // a ClientHello
		{"\x00\x00\x00\x08\x04\xd2\x16\x2f", false, true},
		{"GET\t/ HTTP/1.1", false, true},
		{"G\xc3\xa9T / HTTP/1.1", false, true},
	}
	for _, tt := range tests {
		if is, sure := beginsRequest([]byte(tt.p)); is != tt.is || sure != tt.sure {
			t.Errorf("%.40q: %v, sure %v; want %v, %v", tt.p, is, sure, tt.is, tt.sure)
		}
	}
}

// FuzzDetect holds that more bytes never change what was sure, and that what was
// not sure is short.
func FuzzDetect(f *testing.F) {
	f.Add([]byte("GET / HTTP/1.1\r\n"))
	f.Add([]byte("GET https://a.example"))
	f.Add([]byte("EHLO mail.example"))
	f.Fuzz(func(t *testing.T, p []byte) {
		was, sureBefore := false, false
		for n := range len(p) + 1 {
			is, sure := beginsRequest(p[:n])
			if sureBefore && (is != was || !sure) {
				t.Fatalf("%q is %v, sure %v, and a byte less was %v for sure", p[:n], is, sure, was)
			}
			if is && !sure || !sure && n > maxMethod+len(" https://") {
				t.Fatalf("%q is %v, sure %v", p[:n], is, sure)
			}
			was, sureBefore = is, sure
		}
	})
}

func TestWhatIsNotHTTPGoesToTheStream(t *testing.T) {
	port := Port{Detect: true, Choose: func(_ *loop.Loop, _ *message.Peer, name string) Choice {
		if name != "" {
			t.Errorf("asked about %q", name)
		}
		return Choice{Codecs: func(c loop.Conn, _ *message.Peer) Codec {
			c.Write([]byte("stream "))
			return &greeter{"took", c}
		}}
	}}
	for _, tt := range []struct {
		name string
		sent []string
		wait time.Duration
		want string
	}{
		{"a request", []string{"GET / HTTP/1.1\r\n"}, 0, "http1:GET / HTTP/1.1\r\n\n"},
		{"a request in pieces", []string{"GE", "T", " ", "/"}, 0, "http1:GET /\n"},
		{"HTTP/2, in pieces", []string{string(preface[:3]), string(preface[3:])}, 0, "http2:" + string(preface) + "\n"},
		{"nearly HTTP/2", []string{"PRI", "NT x"}, 0, "stream took:PRINT x\n"},
		{"other bytes, in pieces", []string{"USE", "R x"}, 0, "stream took:USER x\n"},
		{"nothing", nil, time.Second, "stream "},
		{"what tells nothing", []string{"PRI"}, time.Second, "stream took:PRI\n"},
	} {
		s := newScene(nil)
		_, c := s.adopt(port)
		for _, text := range tt.sent {
			c.say(s, text)
		}
		if tt.wait > 0 {
			s.loop.Advance(tt.wait - time.Millisecond)
			if c.got != "" {
				t.Errorf("%s: %q before the timeout", tt.name, c.got)
			}
			s.loop.Advance(time.Millisecond)
		}
		if c.got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, c.got, tt.want)
		}
		if s.loop.Advance(time.Hour); len(s.refused) > 0 {
			t.Errorf("%s: refused for %v after it was handed on", tt.name, s.refused)
		}
	}
}

// A client may have sent all that it has to send before anybody can tell.
func TestShortMessagesArriveWhole(t *testing.T) {
	for text, want := range map[string]string{"PING": "stream:PING\n", "": ""} {
		s := newScene(nil)
		_, c := s.adopt(Port{Detect: true, Choose: func(*loop.Loop, *message.Peer, string) Choice { return Choice{Codecs: greet("stream")} }})
		c.conn.Write([]byte(text))
		c.conn.CloseWrite()
		s.loop.Settle()
		if c.got != want || !c.eof && c.err == nil {
			t.Errorf("%q: answered %q, ended %v or %v; want %q, and the end", text, c.got, c.eof, c.err, want)
		}
		s.wantGone(t)
	}
}

func TestDetectTimeoutMayBeAnother(t *testing.T) {
	s := newScene(nil)
	_, c := s.adopt(Port{Detect: true, DetectTimeout: 10 * time.Second, Choose: func(*loop.Loop, *message.Peer, string) Choice {
		return Choice{Codecs: func(c loop.Conn, _ *message.Peer) Codec {
			c.Write([]byte("220 ready"))
			return &greeter{conn: c}
		}}
	}})
	s.loop.Advance(9 * time.Second)
	if c.got != "" {
		t.Errorf("%q after 9 s", c.got)
	}
	if s.loop.Advance(time.Second); c.got != "220 ready" {
		t.Errorf("%q after 10 s", c.got)
	}
}

// One that is detected while it drains is handed on, and drained then.
func TestDetectionGoesOnWhileDraining(t *testing.T) {
	s := newScene(nil)
	_, c := s.adopt(Port{Detect: true, Choose: func(*loop.Loop, *message.Peer, string) Choice { return Choice{Codecs: greet("stream")} }})
	s.set.Drain()
	s.loop.Settle()
	c.say(s, "USER x")
	if c.got != "stream:USER x\n" || !c.eof {
		t.Errorf("%q, ended %v; want the stream's answer, and its end", c.got, c.eof)
	}
	s.wantGone(t)
}

func TestAcceptedConnectionsAreDetectedToo(t *testing.T) {
	s := startSet(t, 1, nil)
	addr := apply(t, s, Port{Addr: anyPort, Detect: true, Choose: func(*loop.Loop, *message.Peer, string) Choice {
		return Choice{Codecs: greet("stream")}
	}})
	for text, want := range map[string]string{"GET /": "http1:GET /\n", "USER x": "stream:USER x\n"} {
		if got := say(t, dial(t, addr), text); got != want {
			t.Errorf("%q went to %q, want %q", text, got, want)
		}
	}
}

// Who the client is, is known before it is asked whether that may come in.
func TestPeerIsKnownBeforeItIsRefused(t *testing.T) {
	var log bytes.Buffer
	refused := make(chan Refusal, 1)
	s := startSet(t, 1, func(o *Options) {
		o.Log = slog.New(slog.NewTextHandler(&log, nil))
		o.Events.Refused = func(_ int, why Refusal) { refused <- why }
		o.HTTP1 = func(c loop.Conn, p *message.Peer) Codec { return &greeter{p.Identity, c} }
	})
	const front, evil = "spiffe://cluster.local/ns/web/sa/front", "spiffe://cluster.local/ns/evil/sa/default"
	var who atomic.Value
	who.Store(front)
	addr := apply(t, s, Port{
		Addr: anyPort,
		Peer: func(p *message.Peer) {
			if p.RemoteIP != "127.0.0.1" || p.Identity != "" {
				t.Errorf("asked about %+v", p)
			}
			p.Identity = who.Load().(string)
		},
		Refuse: func(p *message.Peer) error {
			if p.Identity == front {
				return nil
			}
			return errors.New("AuthorizationPolicy shop/viewers: " + p.Identity)
		},
	})
	if got := say(t, dial(t, addr), "x"); got != front+":x\n" {
		t.Errorf("the codec says %q, want the identity", got)
	}
	who.Store(evil)
	if got, _ := io.ReadAll(dial(t, addr)); len(got) > 0 {
		t.Errorf("a client that is refused is told %q", got)
	}
	if why := <-refused; why != NotAllowed {
		t.Errorf("refused for %s", refusalText[why])
	}
	logged := make(chan struct{})
	s.loops[0].loop.Post(func() { close(logged) })
	<-logged
	if line := log.String(); !strings.Contains(line, "not_allowed") || !strings.Contains(line, "shop/viewers: "+evil) || !strings.Contains(line, "127.0.0.1") {
		t.Errorf("log %q, want the reason, the policy and who it was", line)
	}
}

func TestCodecsOfAPortTakeAllConnections(t *testing.T) {
	server, client := looptest.TLSConfigs(t, "h2", "http/1.1")
	s := startSet(t, 1, nil)
	plain := apply(t, s, Port{Addr: anyPort, Codecs: greet("own")})
	if got := say(t, dial(t, plain), "GET / HTTP/1.1"); got != "own:GET / HTTP/1.1\n" {
		t.Errorf("plain: %q", got)
	}
	s.Apply(nil)
	addr := apply(t, s, Port{Addr: anyPort, TLS: server, Codecs: greet("own")})
	if got := say(t, tls.Client(dial(t, addr), client), "x"); got != "own:x\n" {
		t.Errorf("after TLS: %q", got)
	}
}
