package listen

import (
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"fairway.dev/gateway/loop"
	"fairway.dev/gateway/loop/looptest"
	"fairway.dev/gateway/message"
	"fairway.dev/gateway/proxyproto"
	"fairway.dev/routing"
)

// introduce answers with the client's address before all else.
func introduce(c loop.Conn, p *message.Peer) Codec {
	return &greeter{name: p.Remote.String() + " " + p.RemoteIP + " to " + p.Local.String(), conn: c}
}

func introducing(o *Options) { o.HTTP1, o.HTTP2 = introduce, introduce }

const fromV1 = "PROXY TCP4 192.0.2.7 198.51.100.1 51234 443\r\n"

var fromV2 = string(proxyproto.Append(nil, 2, proxyproto.Header{}))

func TestProxyHeaderSaysWhoTheClientIs(t *testing.T) {
	s := startSet(t, 1, introducing)
	for _, mode := range []routing.ProxyProtocol{routing.ProxyProtocolRequired, routing.ProxyProtocolOptional} {
		addr := apply(t, s, Port{Addr: anyPort, ProxyProtocol: mode})
		if got, want := say(t, dial(t, addr), fromV1+"x"), "192.0.2.7:51234 192.0.2.7 to 198.51.100.1:443:x\n"; got != want {
			t.Errorf("%s: %q, want %q", mode, got, want)
		}
		local := dial(t, addr)
		if got, want := say(t, local, fromV2+"x"), local.LocalAddr().String(); !strings.HasPrefix(got, want) || !strings.HasSuffix(got, ":x\n") {
			t.Errorf("%s, the proxy speaks for itself: %q, want %q to say x", mode, got, want)
		}
	}
}

func TestProxyHeaderMayComeInPieces(t *testing.T) {
	s := startSet(t, 1, introducing)
	c := dial(t, apply(t, s, Port{Addr: anyPort, ProxyProtocol: routing.ProxyProtocolRequired})).(*net.TCPConn)
	c.SetNoDelay(true)
	text := fromV1 + "x"
	for i := range len(text) - 1 {
		if _, err := io.WriteString(c, text[i:i+1]); err != nil {
			t.Fatal(err)
		}
	}
	if got := say(t, c, text[len(text)-1:]); !strings.HasPrefix(got, "192.0.2.7:51234") {
		t.Errorf("got %q", got)
	}
}

func TestProxyHeaderComesBeforeTLS(t *testing.T) {
	server, client := looptest.TLSConfigs(t)
	s := startSet(t, 1, introducing)
	choose := func(*loop.Loop, *message.Peer, string) Choice { return Choice{TLS: server} }
	for name, port := range map[string]Port{
		"HTTPS":           {TLS: server},
		"chosen by name":  {Choose: choose, Peek: true},
		"chosen at once":  {Choose: choose},
		"after a timeout": {TLS: server, ProxyProtocol: routing.ProxyProtocolOptional},
	} {
		port.Addr = anyPort
		if port.ProxyProtocol == "" {
			port.ProxyProtocol = routing.ProxyProtocolRequired
		}
		c := dial(t, apply(t, s, port))
		if _, err := io.WriteString(c, fromV1); err != nil {
			t.Fatal(err)
		}
		if got := say(t, tls.Client(c, client), "x"); !strings.HasPrefix(got, "192.0.2.7:51234") {
			t.Errorf("%s: %q, want the client of the header", name, got)
		}
		s.Apply(nil)
	}
}

func TestProxyHeaderIsOptionalWhereThePortSaysSo(t *testing.T) {
	s := startSet(t, 1, introducing)
	addr := apply(t, s, Port{Addr: anyPort, ProxyProtocol: routing.ProxyProtocolOptional})
	c := dial(t, addr)
	if got := say(t, c, "x"); !strings.HasPrefix(got, c.LocalAddr().String()) {
		t.Errorf("got %q, want the connection's own client", got)
	}
}

// A client that waits for the server to speak shows no header.
func TestOptionalProxyHeaderIsNotWaitedForForever(t *testing.T) {
	s := startSet(t, 1, func(o *Options) { o.HandshakeTimeout = 10 * time.Millisecond })
	greets := Choice{Codecs: func(c loop.Conn, _ *message.Peer) Codec {
		c.Write([]byte("220 ready"))
		c.Finish()
		return &greeter{conn: c}
	}}
	addr := apply(t, s, Port{
		Addr: anyPort, ProxyProtocol: routing.ProxyProtocolOptional,
		Choose: func(*loop.Loop, *message.Peer, string) Choice { return greets },
	})
	if got, err := io.ReadAll(dial(t, addr)); string(got) != "220 ready" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
}

// helloFor is a ClientHello for a name.
func helloFor(name string) []byte { return helloOf(&tls.Config{ServerName: name}) }

func TestConnectionsThatCannotBeServedAreRefusedAndCounted(t *testing.T) {
	whole := helloFor("a.example")
	required := Port{ProxyProtocol: routing.ProxyProtocolRequired}
	peek := Port{Peek: true, Choose: func(*loop.Loop, *message.Peer, string) Choice {
		t.Error("asked what to do with a connection that shows no name")
		return Choice{Codecs: greet("chosen")}
	}}
	tests := []struct {
		name string
		port Port
		sent string
		want Refusal
	}{
		{"no header", required, "GET / HTTP/1.1\r\n", ProxyHeaderMissing},
		{"malformed header", required, "PROXY TCP5 \r\n", ProxyHeaderMalformed},
		{"malformed, where it is optional", Port{ProxyProtocol: routing.ProxyProtocolOptional}, "PROXY TCP5 \r\n", ProxyHeaderMalformed},
		{"half a header", required, fromV1[:20], ProxyHeaderSlow},
		{"nothing, where a header is required", required, "", ProxyHeaderSlow},
		{"half a header, where it is optional", Port{ProxyProtocol: routing.ProxyProtocolOptional}, fromV1[:20], ProxyHeaderSlow},
		{"a header, and then nothing", Port{ProxyProtocol: routing.ProxyProtocolRequired, Peek: true, Choose: peek.Choose}, fromV1, HelloSlow},
		{"no ClientHello", peek, "GET / HTTP/1.1\r\n", HelloMalformed},
		{"half a ClientHello", peek, string(whole[:len(whole)/2]), HelloSlow},
		{"an endless ClientHello", peek, string(records(append(whole[:recordHeaderSize:recordHeaderSize], bytes.Repeat([]byte{1, 0, 0x3f, 0xff}, 4096)...), 1)), HelloTooLong},
		{"nothing, on a plain port", Port{}, "", FirstByteSlow},
		{"less than the preface, on a plain port", Port{}, "PRI", FirstByteSlow},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			refused := make(chan Refusal, 1)
			s := startSet(t, 1, func(o *Options) {
				o.HandshakeTimeout, o.FirstByteTimeout = 20*time.Millisecond, 20*time.Millisecond
				o.Events.Refused = func(_ int, why Refusal) { refused <- why }
			})
			tt.port.Addr = anyPort
			c := dial(t, apply(t, s, tt.port))
			if _, err := io.WriteString(c, tt.sent); err != nil {
				t.Fatal(err)
			}
			if got, _ := io.ReadAll(c); len(got) > 0 { // a reset where not all was read
				t.Errorf("the client is told %q", got)
			}
			if why := <-refused; why != tt.want {
				t.Errorf("refused for %s, want %s", refusalText[why], refusalText[tt.want])
			}
		})
	}
}

func TestNameInTheClientHelloDecides(t *testing.T) {
	server, client := looptest.TLSConfigs(t)
	s := startSet(t, 1, nil)
	raw := make(chan []byte, 1)
	addr := apply(t, s, Port{Addr: anyPort, Peek: true, Choose: func(_ *loop.Loop, _ *message.Peer, name string) Choice {
		switch name {
		case "http.example":
			return Choice{TLS: server}
		case "stream.example":
			return Choice{TLS: server, Codecs: greet("stream")}
		case "raw.example":
			return Choice{Codecs: func(c loop.Conn, _ *message.Peer) Codec { return &tell{conn: c, got: raw} }}
		}
		return Choice{Codecs: func(c loop.Conn, _ *message.Peer) Codec { c.Close(); return &greeter{conn: c} }}
	}})
	for name, want := range map[string]string{
		"http.example": "http1:x\n", "HTTP.example": "http1:x\n", "stream.example": "stream:x\n",
	} {
		config := client.Clone()
		config.ServerName, config.InsecureSkipVerify = name, true
		if got := say(t, tls.Client(dial(t, addr), config), "x"); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	hello := helloFor("raw.example")
	if _, err := dial(t, addr).Write(hello); err != nil {
		t.Fatal(err)
	}
	if got := <-raw; !bytes.Equal(got, hello) {
		t.Errorf("%d bytes are handed on, want all %d that were looked at", len(got), len(hello))
	}
	// Refused by FIN: crypto/tls would have sent an alert.
	if _, err := tls.Dial("tcp", addr.String(), &tls.Config{ServerName: "other.example"}); err != io.EOF {
		t.Errorf("a name that nobody has: %v, want EOF", err)
	}
}

// tell hands on what it reads.
type tell struct {
	conn loop.Conn
	got  chan []byte
}

func (g *tell) Data(p []byte) { g.got <- bytes.Clone(p) }
func (g *tell) EOF()          { g.conn.Finish() }
func (g *tell) Drained()      {}
func (g *tell) Closed(error)  {}
func (g *tell) Drain()        {}

func TestStreamsOfAPortAreChosenAtOnce(t *testing.T) {
	s := startSet(t, 1, nil)
	addr := apply(t, s, Port{Addr: anyPort, Choose: func(_ *loop.Loop, _ *message.Peer, name string) Choice {
		if name != "" {
			t.Errorf("asked about %q", name)
		}
		return Choice{Codecs: func(c loop.Conn, _ *message.Peer) Codec {
			c.Write([]byte("220 ready\n"))
			return &greeter{"tcp", c}
		}}
	}})
	if got := say(t, dial(t, addr), ""); got != "220 ready\n" { // the server speaks first
		t.Errorf("got %q", got)
	}
}

func TestEachRefusalHasItsText(t *testing.T) {
	seen := map[string]bool{}
	for why, text := range Refusals() {
		if text == "" || seen[text] {
			t.Errorf("refusal %d has the text %q", why, text)
		}
		seen[text] = true
	}
}
