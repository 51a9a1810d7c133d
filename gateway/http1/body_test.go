package http1

import (
	"strings"
	"testing"

	"fairway.dev/gateway/message"
)

const chunkedPost = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"

func TestBodies(t *testing.T) {
	tests := []struct {
		section string // of RFC 9112
		in      string
		body    string
		tail    string
	}{
		{"6.2", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello", "hello", ""},
		{"7.1", chunkedPost + "5\r\nhello\r\n0\r\n\r\n", "hello", ""},
		{"7.1 several chunks", chunkedPost + "2\r\nhe\r\n00003\r\nllo\r\n000\r\n\r\n", "hello", ""},
		{"7.1 hexadecimal", chunkedPost + "a\r\n0123456789\r\nB\r\n01234567890\r\n0\r\n\r\n", "012345678901234567890", ""},
		{"7.1 an empty body", chunkedPost + "0\r\n\r\n", "", ""},
		{"7.1 chunk data that looks like framing", chunkedPost + "5\r\n0\r\n\r\n\r\n0\r\n\r\n", "0\r\n\r\n", ""},
		{"7.1.1 extensions", chunkedPost + "2;a=b\r\nhe\r\n3;c=\"d e\";f\r\nllo\r\n0;x\r\n\r\n", "hello", ""},
		{"7.1.2 trailers", chunkedPost + "5\r\nhello\r\n0\r\nX-Sum: 1 \r\nY:2\r\n\r\n", "hello", "[X-Sum: 1][Y: 2]"},
	}
	for _, tt := range tests {
		d := newDesk(Limits{})
		d.far.send(tt.in)
		u := d.user(t)
		if !u.ended || u.err != nil || u.body.String() != tt.body || u.tail != tt.tail {
			t.Errorf("%s: %q: body %q, trailers %q, ended %v, error %v; want %q, %q", tt.section, tt.in, u.body.String(), u.tail, u.ended, u.err, tt.body, tt.tail)
		}
		u.ok("fine")
		if got := d.far.take(); got != okText("fine") {
			t.Errorf("%s: answered %q, want %q", tt.section, got, okText("fine"))
		}
	}
}

func TestRefusedBodies(t *testing.T) {
	tests := []struct {
		section string // of RFC 9112, unless it says otherwise
		in      string // behind the head
		want    Refusal
		reason  message.Reason
	}{
		{"7.1 a sign", "+5\r\nhello\r\n0\r\n\r\n", BadChunk, message.Malformed},
		{"7.1 a sign", "-5\r\nhello\r\n0\r\n\r\n", BadChunk, message.Malformed},
		{"7.1 0x", "0x5\r\nhello\r\n0\r\n\r\n", BadChunk, message.Malformed},
		{"7.1 no size", "\r\nhello\r\n0\r\n\r\n", BadChunk, message.Malformed},
		{"7.1 no size, but an extension", ";a\r\nhello\r\n0\r\n\r\n", BadChunk, message.Malformed},
		{"7.1 no hexadecimal", "g\r\n", BadChunk, message.Malformed},
		{"7.1 over 63 bits", "8000000000000000\r\n", BadChunk, message.Malformed},
		{"7.1 over 64 bits", "10000000000000005\r\nhello\r\n", BadChunk, message.Malformed},
		{"7.1 a space before", " 5\r\nhello\r\n", BadChunk, message.Malformed},
		{"7.1 a space behind", "5 \r\nhello\r\n", BadChunk, message.Malformed},
		{"7.1 a space before the extension", "5 ;a\r\nhello\r\n", BadChunk, message.Malformed},
		{"7.1 an underscore", "1_0\r\n", BadChunk, message.Malformed},
		{"7.1 bare LF behind the size", "5\nhello\r\n", BadChunk, message.Malformed},
		{"7.1 bare CR behind the size", "5\rhello\r\n", BadChunk, message.Malformed},
		{"7.1 bare LF in an extension", "5;a\nhello\r\n", BadChunk, message.Malformed},
		{"7.1 bare CR in an extension", "5;a\rb\r\nhello\r\n", BadChunk, message.Malformed},
		{"7.1 no line end behind the data", "5\r\nhello0\r\n\r\n", BadChunk, message.Malformed},
		{"7.1 bare LF behind the data", "5\r\nhello\n0\r\n\r\n", BadChunk, message.Malformed},
		{"7.1 bare CR behind the data", "5\r\nhello\r0\r\n\r\n", BadChunk, message.Malformed},
		{"7.1 more data than the size says", "5\r\nhello!\r\n0\r\n\r\n", BadChunk, message.Malformed},
		{"7.1.1 extensions without end", "5;" + strings.Repeat("a", 20000), ChunkExtension, message.TooLarge},
		{"7.1.1 many small extensions", strings.Repeat("1;"+strings.Repeat("a", 100)+"\r\nx\r\n", 200), ChunkExtension, message.TooLarge},
		{"7.1.2 a space before the colon", "0\r\nX : y\r\n\r\n", BadName, message.Malformed},
		{"7.1.2 a folded line", "0\r\n X: y\r\n\r\n", FoldedLine, message.Malformed},
		{"7.1.2 NUL", "0\r\nX: \x00\r\n\r\n", BadValue, message.Malformed},
		{"7.1.2 bare LF", "0\r\nX: y\n\r\n", BadLineEnd, message.Malformed},
		{"7.1.2 bare LF at the end", "0\r\n\n", BadLineEnd, message.Malformed},
		{"RFC 9110 6.5.1 a length", "0\r\nContent-Length: 5\r\n\r\n", BadTrailer, message.Malformed},
		{"RFC 9110 6.5.1 a coding", "0\r\nTransfer-Encoding: chunked\r\n\r\n", BadTrailer, message.Malformed},
		{"RFC 9110 6.5.1 a host", "0\r\nHost: b\r\n\r\n", BadTrailer, message.Malformed},
		{"7.1.2 many trailers", "0\r\n" + strings.Repeat("X: y\r\n", 10000) + "\r\n", TooManyFields, message.TooLarge},
		{"7.1.2 large trailers", "0\r\nX: " + strings.Repeat("y", 1<<20) + "\r\n\r\n", HeadTooLarge, message.TooLarge},
	}
	for _, tt := range tests {
		d := newDesk(Limits{})
		d.far.send(chunkedPost)
		u := d.user(t)
		d.far.send(tt.in)
		want := string(appendRefusal(nil, tt.want, []byte(noonField)))
		if got := d.far.take(); len(d.refused) != 1 || d.refused[0] != tt.want.String() || got != want {
			t.Errorf("%s: %.80q: refused as %v and answered %q, want %s and %q", tt.section, tt.in, d.refused, got, tt.want, want)
		}
		if u.ended || u.reason() != tt.reason || !d.far.over() {
			t.Errorf("%s: %.80q: ended %v, error %v, connection over %v; want an error with %q", tt.section, tt.in, u.ended, u.err, d.far.over(), tt.reason)
		}
		u.s.Abort(nil) // the user's last word changes nothing
		if len(d.server.shared.requests) != 1 {
			t.Errorf("%s: the request was not recycled", tt.section)
		}
	}
}

// RFC 9112 section 6.3: after the head of a response no other can be sent, so
// a body that turns out to be malformed cuts the connection.
func TestMalformedBodyAfterTheResponseBegan(t *testing.T) {
	d := newDesk(Limits{})
	d.far.send(chunkedPost)
	u := d.user(t)
	u.s.Head(&message.Response{Status: 200, Length: message.Unknown}, false)
	d.far.take()
	d.far.send("x")
	if got := d.far.take(); got != "" || !d.far.closed || u.reason() != message.Malformed {
		t.Errorf("sent %q, closed %v, told %v; want nothing, true and malformed", got, d.far.closed, u.err)
	}
}
