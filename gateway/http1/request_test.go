package http1

import (
	"crypto/tls"
	"strings"
	"testing"

	"fairway.dev/gateway/loop"
	"fairway.dev/gateway/message"
)

// begun is a request line and Host, for rows about other fields.
const begun = "GET / HTTP/1.1\r\nHost: a\r\n"

// TestRefusedRequests holds law 8: what could be read in two ways is answered
// with an error, counted by its name, handed on to nobody, and ends the
// connection.
func TestRefusedRequests(t *testing.T) {
	tests := []struct {
		section string // of RFC 9112, unless it says otherwise
		in      string
		want    Refusal
	}{
		{"2.2 bare LF ends a line", "GET / HTTP/1.1\nHost: a\n\n", BadLineEnd},
		{"2.2 bare LF ends a field", "GET / HTTP/1.1\r\nHost: a\n\r\n", BadLineEnd},
		{"2.2 bare LF ends the head", begun + "\n", BadLineEnd},
		{"2.2 bare LF before the request", "\nGET / HTTP/1.1\r\n", BadLineEnd},
		{"2.2 bare CR in a value", begun + "X: a\rb\r\n\r\n", BadLineEnd},
		{"2.2 bare CR before the LF", begun + "X: a\r\r\n\r\n", BadLineEnd},
		{"2.2 bare CR in the head's end", begun + "\r\r\n", BadLineEnd},
		{"2.2 white space before the first field", "GET / HTTP/1.1\r\n Host: a\r\n\r\n", FoldedLine},
		{"2.2 empty lines without end", "\r\n\r\n\r\n\r\n\r\n" + begun + "\r\n", BadStartLine},
		{"2.3 no version", "GET /\r\n\r\n", BadStartLine},
		{"2.3 no version, but a space in the next line", "GET /\r\nHost: HTTP/1.1\r\n\r\n", BadStartLine},
		{"2.3 two digits", "GET / HTTP/1.10\r\nHost: a\r\n\r\n", BadStartLine},
		{"2.3 one digit", "GET / HTTP/1\r\nHost: a\r\n\r\n", BadStartLine},
		{"2.3 lower case", "GET / http/1.1\r\nHost: a\r\n\r\n", BadStartLine},
		{"2.3 no such minor", "GET / HTTP/1.x\r\nHost: a\r\n\r\n", BadStartLine},
		{"2.3 another major", "GET / HTTP/2.0\r\nHost: a\r\n\r\n", BadVersion},
		{"2.3 another major", "GET / HTTP/0.9\r\nHost: a\r\n\r\n", BadVersion},
		{"2.3 HTTP/2's preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", BadVersion},
		{"3 two spaces", "GET  / HTTP/1.1\r\nHost: a\r\n\r\n", BadStartLine},
		{"3 two spaces", "GET /  HTTP/1.1\r\nHost: a\r\n\r\n", BadStartLine},
		{"3 a space behind", "GET / HTTP/1.1 \r\nHost: a\r\n\r\n", BadStartLine},
		{"3 a space before", " GET / HTTP/1.1\r\nHost: a\r\n\r\n", BadStartLine},
		{"3 a tab", "GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", BadStartLine},
		{"3 a tab", "GET /\tHTTP/1.1\r\nHost: a\r\n\r\n", BadStartLine},
		{"3 a space in the target", "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", BadStartLine},
		{"3.1 a method that is no token", "G(T / HTTP/1.1\r\nHost: a\r\n\r\n", BadMethod},
		{"3.1 a method that is no token", "G\x00T / HTTP/1.1\r\nHost: a\r\n\r\n", BadMethod},
		{"3.1 a method that is no token", "GET: / HTTP/1.1\r\nHost: a\r\n\r\n", BadMethod},
		{"3.1 not HTTP at all", "\x16\x03\x01\x02\x00\x01\n", BadMethod},
		{"3.2 no host", "GET / HTTP/1.1\r\nX: y\r\n\r\n", NoHost},
		{"3.2 an empty host", "GET / HTTP/1.1\r\nHost:\r\n\r\n", NoHost},
		{"3.2 no host, though the target has one", "GET http://a/ HTTP/1.1\r\n\r\n", NoHost},
		{"3.2 two hosts", begun + "Host: b\r\n\r\n", SeveralHosts},
		{"3.2 two equal hosts", begun + "hOST: a\r\n\r\n", SeveralHosts},
		{"3.2 two hosts in one", "GET / HTTP/1.1\r\nHost: a b\r\n\r\n", BadHost},
		{"3.2 a host with a path", "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", BadHost},
		{"3.2 a host with a user", "GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", BadHost},
		{"3.2 a port that is none", "GET / HTTP/1.1\r\nHost: a:x\r\n\r\n", BadHost},
		{"3.2 a port that is too large", "GET / HTTP/1.1\r\nHost: a:65536\r\n\r\n", BadHost},
		{"3.2 half a literal", "GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", BadHost},
		{"3.2 non-ASCII", "GET / HTTP/1.1\r\nHost: \xc3\xa4\r\n\r\n", BadHost},
		{"3.2.1 a fragment", "GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", BadTarget},
		{"3.2.1 a quote", "GET /\"a HTTP/1.1\r\nHost: a\r\n\r\n", BadTarget},
		{"3.2.1 a backslash", "GET /a\\..\\b HTTP/1.1\r\nHost: a\r\n\r\n", BadTarget},
		{"3.2.1 half an escape", "GET /a%2 HTTP/1.1\r\nHost: a\r\n\r\n", BadTarget},
		{"3.2.1 no escape", "GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n", BadTarget},
		{"3.2.1 non-ASCII", "GET /\xc3\xa4 HTTP/1.1\r\nHost: a\r\n\r\n", BadTarget},
		{"3.2.1 non-ASCII in the query", "GET /?\xff HTTP/1.1\r\nHost: a\r\n\r\n", BadTarget},
		{"3.2.1 a control character", "GET /\x01 HTTP/1.1\r\nHost: a\r\n\r\n", BadTarget},
		{"3.2.1 DEL", "GET /\x7f HTTP/1.1\r\nHost: a\r\n\r\n", BadTarget},
		{"3.2.1 no slash", "GET a HTTP/1.1\r\nHost: a\r\n\r\n", BadTarget},
		{"3.2.2 another scheme", "GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", BadTarget},
		{"3.2.2 no authority", "GET http:/// HTTP/1.1\r\nHost: a\r\n\r\n", BadTarget},
		{"3.2.2 a user", "GET http://u:p@a/ HTTP/1.1\r\nHost: a\r\n\r\n", BadTarget},
		{"3.2.2 a fragment", "GET http://a#b HTTP/1.1\r\nHost: a\r\n\r\n", BadTarget},
		{"3.2.2 a bad query", "GET http://a?b#c HTTP/1.1\r\nHost: a\r\n\r\n", BadTarget},
		{"3.2.2 a host that disagrees", "GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n", HostDisagrees},
		{"3.2.2 a port that disagrees", "GET http://a:81/ HTTP/1.1\r\nHost: a\r\n\r\n", HostDisagrees},
		{"RFC 9110 7.4 https without TLS", "GET https://a/ HTTP/1.1\r\nHost: a\r\n\r\n", BadTarget},
		{"3.2.3 authority form", "CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n", Connect},
		{"3.2.4 asterisk form", "GET * HTTP/1.1\r\nHost: a\r\n\r\n", BadTarget},
		{"3.2.4 asterisk form", "OPTIONS ** HTTP/1.1\r\nHost: a\r\n\r\n", BadTarget},
		{"5.1 a space before the colon", begun + "X : y\r\n\r\n", BadName},
		{"5.1 a tab before the colon", begun + "X\t: y\r\n\r\n", BadName},
		{"5.1 a space before the colon", "GET / HTTP/1.1\r\nHost : a\r\n\r\n", BadName},
		{"5.1 no name", begun + ": y\r\n\r\n", BadName},
		{"5.1 no colon", begun + "X\r\n\r\n", BadName},
		{"5.1 a name that is no token", begun + "X(Y): y\r\n\r\n", BadName},
		{"5.1 NUL in a name", begun + "X\x00Y: y\r\n\r\n", BadName},
		{"5.1 non-ASCII in a name", begun + "\xc3\xa4: y\r\n\r\n", BadName},
		{"5.2 a folded line", begun + "X: y\r\n z\r\n\r\n", FoldedLine},
		{"5.2 a folded line", begun + "X: y\r\n\tz\r\n\r\n", FoldedLine},
		{"RFC 9110 5.5 NUL in a value", begun + "X: a\x00b\r\n\r\n", BadValue},
		{"RFC 9110 5.5 a control character in a value", begun + "X: a\x0bb\r\n\r\n", BadValue},
		{"RFC 9110 5.5 DEL in a value", begun + "X: a\x7fb\r\n\r\n", BadValue},
		{"6.1 both lengths", begun + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", BothLengths},
		{"6.1 both lengths", begun + "Transfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n", BothLengths},
		{"6.1 a coding besides chunked", begun + "Transfer-Encoding: gzip, chunked\r\n\r\n", UnknownCoding},
		{"6.1 chunked in HTTP/1.0", "GET / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", BadCoding},
		{"6.3 chunked is not last", begun + "Transfer-Encoding: chunked, gzip\r\n\r\n", BadCoding},
		{"6.3 chunked twice", begun + "Transfer-Encoding: chunked, chunked\r\n\r\n", BadCoding},
		{"6.3 chunked twice", begun + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", BadCoding},
		{"6.3 no chunked", begun + "Transfer-Encoding: identity\r\n\r\n", BadCoding},
		{"6.3 no chunked", begun + "Transfer-Encoding: xchunked\r\n\r\n", BadCoding},
		{"6.3 no chunked", begun + "Transfer-Encoding:\r\n\r\n", BadCoding},
		{"6.3 chunked with something", begun + "Transfer-Encoding: chunked;q=1\r\n\r\n", BadCoding},
		{"6.3 chunked in quotes", begun + "Transfer-Encoding: \"chunked\"\r\n\r\n", BadCoding},
		{"6.3 an empty element", begun + "Transfer-Encoding: chunked,\r\n\r\n", BadCoding},
		{"6.3 two lengths", begun + "Content-Length: 5\r\nContent-Length: 6\r\n\r\n", SeveralLengths},
		{"6.3 two equal lengths", begun + "Content-Length: 5\r\ncontent-length: 5\r\n\r\n", SeveralLengths},
		{"6.3 a list of lengths", begun + "Content-Length: 5, 5\r\n\r\n", SeveralLengths},
		{"6.3 a sign", begun + "Content-Length: +5\r\n\r\n", BadLength},
		{"6.3 a sign", begun + "Content-Length: -5\r\n\r\n", BadLength},
		{"6.3 a space", begun + "Content-Length: 5 5\r\n\r\n", BadLength},
		{"6.3 hexadecimal", begun + "Content-Length: 0x5\r\n\r\n", BadLength},
		{"6.3 nothing", begun + "Content-Length:\r\n\r\n", BadLength},
		{"6.3 over 63 bits", begun + "Content-Length: 9223372036854775808\r\n\r\n", BadLength},
		{"6.3 over 64 bits", begun + "Content-Length: 18446744073709551621\r\n\r\n", BadLength},
		{"RFC 9110 7.6.1 an option that is no token", begun + "Connection: a b\r\n\r\n", BadConnection},
		{"RFC 9110 7.6.1 too many options", begun + "Connection: " + strings.Repeat("a,", 40) + "\r\n\r\n", BadConnection},
		{"3 a long line", "GET /" + strings.Repeat("a", 1<<20) + " HTTP/1.1\r\nHost: a\r\n\r\n", LineTooLong},
		{"3 a long line in a head that is not too large", "GET /" + strings.Repeat("a", 17<<10) + " HTTP/1.1\r\nHost: a\r\n\r\n", LineTooLong},
		{"3 a long line without end", strings.Repeat("a", 1<<20), LineTooLong},
		{"5.4 a large head", begun + "X: " + strings.Repeat("a", 64<<10) + "\r\n\r\n", HeadTooLarge},
		{"5.4 a large head", begun + strings.Repeat("X: "+strings.Repeat("a", 1000)+"\r\n", 100) + "\r\n", HeadTooLarge},
		{"5.4 many fields", begun + strings.Repeat("X: y\r\n", 10000) + "\r\n", TooManyFields},
	}
	for _, tt := range tests {
		d := newDesk(Limits{})
		d.far.send(tt.in)
		got := d.far.take()
		want := string(appendRefusal(nil, tt.want, []byte(noonField)))
		if len(d.refused) != 1 || d.refused[0] != tt.want.String() || got != want {
			t.Errorf("%s: %.80q: refused as %v and answered %q, want [%s] and %q", tt.section, tt.in, d.refused, got, tt.want, want)
		}
		if len(d.users) != 0 || !d.far.over() {
			t.Errorf("%s: %.80q: %d requests handed on, connection over: %v; want 0, true", tt.section, tt.in, len(d.users), d.far.over())
		}
	}
}

func TestRefusalsHaveTheirStatus(t *testing.T) {
	tests := []struct {
		why  Refusal
		want string
	}{
		{BadStartLine, "HTTP/1.1 400 Bad Request"},
		{BadVersion, "HTTP/1.1 505 HTTP Version Not Supported"},        // RFC 9110 section 15.6.6
		{LineTooLong, "HTTP/1.1 414 Request URI Too Long"},             // RFC 9112 section 3
		{HeadTooLarge, "HTTP/1.1 431 Request Header Fields Too Large"}, // RFC 6585 section 5
		{TooManyFields, "HTTP/1.1 431 Request Header Fields Too Large"},
		{UnknownCoding, "HTTP/1.1 501 Not Implemented"}, // RFC 9112 section 6.1
		{Connect, "HTTP/1.1 501 Not Implemented"},       // RFC 9110 section 15.6.2
		{HeadSlow, "HTTP/1.1 408 Request Timeout"},      // RFC 9110 section 15.5.9
	}
	for _, tt := range tests {
		want := tt.want + "\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
		if got := string(appendRefusal(nil, tt.why, nil)); got != want {
			t.Errorf("%s is answered %q, want %q", tt.why, got, want)
		}
	}
	for r := accepted + 1; r < numRefusals; r++ {
		if r.String() == "" || r.Status() < 400 {
			t.Errorf("refusal %d has the name %q and the status %d", r, r, r.Status())
		}
	}
}

func TestRefusalsByIndex(t *testing.T) {
	for i, text := range Refusals() {
		if want := Refusal(i).String(); text != want {
			t.Errorf("text %d is %q, want %q", i, text, want)
		}
	}
}

// RFC 9110 section 4.2.2: what came over TLS is https.
func TestSchemes(t *testing.T) {
	secure := &message.Peer{TLS: new(tls.ConnectionState)}
	for _, tt := range []struct {
		peer       *message.Peer
		target     string
		want, host string
	}{
		{plain, "/", "http", "a"},
		{secure, "/", "https", "a"},
		{secure, "https://a:443/", "https", "a:443"},
		{secure, "http://a/", "https", "a"},
	} {
		d := &desk{loop: loop.NewManual(noon)}
		s := NewServer(&wire{l: d.loop}, tt.peer, d, nil)
		s.Data([]byte("GET " + tt.target + " HTTP/1.1\r\nHost: a\r\n\r\n"))
		if len(d.users) != 1 {
			t.Errorf("%s: refused", tt.target)
			continue
		}
		if u := d.users[0]; u.req.Scheme != tt.want || u.req.Authority != tt.host || u.s.Peer() != tt.peer {
			t.Errorf("%s: scheme %q, host %q, want %q, %q", tt.target, u.req.Scheme, u.req.Authority, tt.want, tt.host)
		}
	}
}

func TestAcceptedRequests(t *testing.T) {
	tests := []struct {
		section string // of RFC 9112, unless it says otherwise
		in      string
		want    string
	}{
		{"3", "GET /a?b=c HTTP/1.1\r\nHost: a\r\nX-Y: z\r\n\r\n", "HTTP/1.1 GET a /a|?b=c [X-Y: z] 0"},
		{"2.2 empty lines before", "\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 GET a /| 0"},
		{"2.3 a later minor version", "GET / HTTP/1.2\r\nHost: a\r\n\r\n", "HTTP/1.1 GET a /| 0"},
		{"2.3 HTTP/1.0 needs no host", "GET / HTTP/1.0\r\n\r\n", "HTTP/1.0 GET  /| 0"},
		{"3.1 any method", "m-search / HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 m-search a /| 0"},
		{"3.2 a literal and a port", "GET / HTTP/1.1\r\nHost: [2001:db8::1]:8080\r\n\r\n", "HTTP/1.1 GET [2001:db8::1]:8080 /| 0"},
		{"3.2.1 what browsers send", "GET /%7Ea|[b];c?d=%&{e}^`\\'?/ HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 GET a /%7Ea|[b];c|?d=%&{e}^`\\'?/ 0"},
		{"3.2.1 two slashes", "GET //b/c HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 GET a //b/c| 0"},
		{"3.2.2 absolute form", "GET http://a.b/c?d HTTP/1.1\r\nHost: a.b\r\n\r\n", "HTTP/1.1 GET a.b /c|?d 0"},
		{"3.2.2 absolute form, in any case, port by default", "GET HTTP://A:80 HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 GET A:80 /| 0"},
		{"3.2.2 absolute form without a path", "GET http://a?b HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 GET a /|?b 0"},
		{"3.2.2 absolute form in HTTP/1.0", "GET http://a/ HTTP/1.0\r\n\r\n", "HTTP/1.0 GET a /| 0"},
		{"3.2.4 asterisk form", "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 OPTIONS a *| 0"},
		{"3.2.4 and its absolute form", "OPTIONS http://a HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 OPTIONS a *| 0"},
		{"5.1 white space around values", begun + "X:y\r\nZ: \t a \tb \t \r\nE:\r\n\r\n", "HTTP/1.1 GET a /| [X: y][Z: a \tb][E: ] 0"},
		{"RFC 9110 5.5 obs-text", begun + "X: \xc3\xa4\xff\r\n\r\n", "HTTP/1.1 GET a /| [X: \xc3\xa4\xff] 0"},
		{"6.2", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0005\r\n\r\n", "HTTP/1.1 POST a /| 5"},
		{"6.1", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: CHUNKED\r\n\r\n", "HTTP/1.1 POST a /| -1"},
		{"RFC 9110 7.6.1 fields of one hop", begun +
			"Connection: close, X-One\r\nX-One: 1\r\nx-one: 2\r\nX-Two: 2\r\nKeep-Alive: 5\r\nProxy-Connection: x\r\nTE: gzip, Trailers\r\nConnection: te,,cookie\r\nCookie: c\r\nUpgrade: x\r\n\r\n",
			"HTTP/1.1 GET a /| [X-Two: 2] 0 trailers"},
		{"RFC 9110 10.1.4 TE", begun + "TE: gzip;q=1, deflate\r\n\r\n", "HTTP/1.1 GET a /| 0"},
		{"RFC 9110 7.8 upgrade", begun + "Connection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n\r\n", "HTTP/1.1 GET a /| 0 upgrade=websocket"},
		{"RFC 9110 7.8 another protocol", begun + "Connection: Upgrade\r\nUpgrade: h2c, Foo/2.1\r\nHTTP2-Settings: x\r\n\r\n", "HTTP/1.1 GET a /| 0 upgrade=foo/2.1"},
		{"RFC 9110 7.8 no upgrade without Connection", begun + "Upgrade: websocket\r\n\r\n", "HTTP/1.1 GET a /| 0"},
		{"RFC 9110 7.8 nor in HTTP/1.0", "GET / HTTP/1.0\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n", "HTTP/1.0 GET  /| 0"},
		{"RFC 9113 3.1 nor to HTTP/2", begun + "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\n\r\n", "HTTP/1.1 GET a /| 0"},
		{"RFC 9110 10.1.1 expectations go on", begun + "Content-Length: 1\r\nExpect: 100-continue\r\n\r\n", "HTTP/1.1 GET a /| [Expect: 100-continue] 1"},
		{"RFC 9110 10.1.1 but not from HTTP/1.0", "PUT / HTTP/1.0\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\n", "HTTP/1.0 PUT  /| 1"},
	}
	for _, tt := range tests {
		d := newDesk(Limits{})
		d.far.send(tt.in)
		if len(d.said) != 1 || strings.ReplaceAll(d.said[0], "  ", " ") != strings.ReplaceAll(tt.want, "  ", " ") {
			t.Errorf("%s: %q\n came as %q, refused %v\n want    %q", tt.section, tt.in, d.said, d.refused, tt.want)
		}
	}
}
