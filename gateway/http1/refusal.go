package http1

import (
	"errors"

	"fairway.dev/gateway/message"
)

// A Refusal is why a message was refused. Its text is a metric label and does
// not change.
type Refusal uint8

const (
	accepted Refusal = iota

	BadStartLine   // RFC 9112 sections 3 and 4: not three parts, or one that is malformed
	BadMethod      // RFC 9110 section 9.1: not a token
	BadTarget      // RFC 9112 section 3.2: a form or a character that no target has
	BadVersion     // RFC 9112 section 2.3: a version that is not HTTP/1
	BadName        // RFC 9112 section 5.1: not a token, or a space before the colon
	BadValue       // RFC 9110 section 5.5: a control character in a field's value
	FoldedLine     // RFC 9112 section 5.2: a field that goes on in the next line
	BadLineEnd     // RFC 9112 section 2.2: CR or LF alone
	NoHost         // RFC 9112 section 3.2: none in HTTP/1.1, or an empty one
	SeveralHosts   // RFC 9112 section 3.2
	BadHost        // RFC 9112 section 3.2: not a host and a port
	HostDisagrees  // RFC 9112 section 3.2.2: it is not the target's
	BothLengths    // RFC 9112 section 6.1: Content-Length and Transfer-Encoding
	SeveralLengths // RFC 9112 section 6.3: Content-Length twice, or a list of them
	BadLength      // RFC 9110 section 8.6: not a number that fits 63 bits
	BadCoding      // RFC 9112 section 6.3: chunked is not the last coding, or not once, or it is HTTP/1.0
	UnknownCoding  // RFC 9112 section 6.1: a coding besides chunked
	BadChunk       // RFC 9112 section 7.1: a size or an end of a chunk
	ChunkExtension // RFC 9112 section 7.1.1: more extensions than anybody needs
	BadTrailer     // RFC 9110 section 6.5.1: a field that has no place behind a body
	BadConnection  // RFC 9110 section 7.6.1: not a list of tokens, or too long a list
	Connect        // RFC 9110 section 9.3.6: CONNECT, to a gateway that is no proxy for it
	LineTooLong    // a limit, and RFC 9112 section 3
	HeadTooLarge   // a limit, and RFC 6585 section 5
	TooManyFields  // a limit
	TooManyInterim // a limit: more 1xx responses than anybody needs
	HeadSlow       // a deadline passed while a head came
	BodySlow       // a deadline passed while a body came
	WriteStalled   // a deadline passed while the peer read nothing
	BadStatus      // RFC 9110 section 15: not 100 to 599, or a 101 that nobody asked for
	Idled          // no request within IdleTimeout: closed without an answer
	numRefusals
)

var refusals = [numRefusals]struct {
	text   string
	status int // what the client is answered
}{
	BadStartLine: {"start_line", 400}, BadMethod: {"method", 400}, BadTarget: {"target", 400},
	BadVersion: {"version", 505}, BadName: {"field_name", 400}, BadValue: {"field_value", 400},
	FoldedLine: {"folded_line", 400}, BadLineEnd: {"line_end", 400}, NoHost: {"no_host", 400},
	SeveralHosts: {"several_hosts", 400}, BadHost: {"host", 400}, HostDisagrees: {"host_disagrees", 400},
	BothLengths: {"both_lengths", 400}, SeveralLengths: {"several_lengths", 400}, BadLength: {"length", 400},
	BadCoding: {"transfer_encoding", 400}, UnknownCoding: {"transfer_coding", 501}, BadChunk: {"chunk", 400},
	ChunkExtension: {"chunk_extension", 400}, BadTrailer: {"trailer", 400}, BadConnection: {"connection", 400},
	Connect: {"connect", 501}, LineTooLong: {"line_too_long", 414}, HeadTooLarge: {"head_too_large", 431},
	TooManyFields: {"too_many_fields", 431}, TooManyInterim: {"too_many_interim", 502},
	HeadSlow: {"head_slow", 408}, BodySlow: {"body_slow", 408}, WriteStalled: {"write_stalled", 408},
	BadStatus: {"status", 502}, Idled: {"idle_time", 408},
}

// String returns the refusal's name.
func (r Refusal) String() string { return refusals[r].text }

// Status returns the status that answers a request so refused.
func (r Refusal) Status() int { return refusals[r].status }

// Error makes a Refusal the cause in a message.Error.
func (r Refusal) Error() string { return "refused: " + refusals[r].text }

// errFraming is told to a user who sends more or less of a body than its head
// said.
var errFraming = errors.New("body not as long as its head said")

// reason says what a Refusal means to those who take part in the exchange.
func (r Refusal) reason() message.Reason {
	switch r {
	case LineTooLong, HeadTooLarge, TooManyFields, TooManyInterim, ChunkExtension:
		return message.TooLarge
	case HeadSlow, BodySlow, WriteStalled:
		return message.Slow
	}
	return message.Malformed
}

// Refusals returns the text of each Refusal at its own index.
func Refusals() []string {
	texts := make([]string, numRefusals)
	for r := range numRefusals {
		texts[r] = r.String()
	}
	return texts
}
