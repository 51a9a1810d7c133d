package ratelimit

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"time"
)

// What of RESP, Redis's protocol of version 2, is spoken: commands as arrays of
// bulk strings, and for answers integers and errors.

// maxReply bounds a line of a reply, in bytes.
const maxReply = 512

// appendCommand appends a command and its arguments.
func appendCommand(b []byte, words ...string) []byte {
	b = append(b, '*')
	b = strconv.AppendInt(b, int64(len(words)), 10)
	for _, w := range words {
		b = append(b, "\r\n$"...)
		b = strconv.AppendInt(b, int64(len(w)), 10)
		b = append(b, "\r\n"...)
		b = append(b, w...)
	}
	return append(b, "\r\n"...)
}

// repliesOf is how many replies appendCount has for each rule.
const repliesOf = 2

// appendCount appends what counts a request for a key, and has the count go with
// its window: PEXPIRE again and again does not put that off for long, as the key
// is that of one window.
func appendCount(b []byte, key string, per time.Duration) []byte {
	b = appendCommand(b, "INCR", key)
	return appendCommand(b, "PEXPIRE", key, strconv.FormatInt((per+time.Second).Milliseconds(), 10))
}

// errUnexpected says that whoever is there does not speak RESP as we do.
var errUnexpected = errors.New("not a reply to INCR and PEXPIRE: want an integer or an error")

// A refusal is an error that the store replies.
type refusal string

func (r refusal) Error() string { return string(r) }

// readReply reads the reply at the beginning of b, and how long it is; 0: it is
// not whole yet. A refusal is a reply too. After any other error the connection is
// of no use.
func readReply(b []byte) (value int64, size int, err error) {
	end := bytes.Index(b[:min(len(b), maxReply)], []byte("\r\n"))
	switch {
	case end < 0 && len(b) >= maxReply:
		return 0, 0, fmt.Errorf("a reply of more than %d bytes", maxReply)
	case len(b) > 0 && b[0] != ':' && b[0] != '-':
		return 0, 0, errUnexpected
	case end < 0:
		return 0, 0, nil
	case b[0] == '-':
		return 0, end + 2, refusal(b[1:end])
	}
	value, err = strconv.ParseInt(string(b[1:end]), 10, 64)
	if err != nil {
		return 0, 0, fmt.Errorf("reply %q: want an integer", b[:end])
	}
	return value, end + 2, nil
}
