package http1

import (
	"net/http"
	"time"

	"fairway.dev/gateway/loop"
	"fairway.dev/gateway/message"
)

// shared is what the connections of one loop use in turn: an idle one has
// nothing of it.
type shared struct {
	requests  []*message.Request
	responses []*message.Response
	lists     []*message.Fields
	arenas    []*message.Arena
	buffers   [][]byte
	scratch   []byte // heads are written here

	dateLine []byte
	second   int64 // that dateLine tells
}

var perLoop loop.Local[shared]

const (
	keepFree   = 1024     // of each kind
	smallest   = 1 << 10  // of buffers
	keepBuffer = 16 << 10 // what is larger is not kept
)

func take[T any](free *[]*T) *T {
	if n := len(*free); n > 0 {
		t := (*free)[n-1]
		*free = (*free)[:n-1]
		return t
	}
	return new(T)
}

func give[T any](free *[]*T, t *T) {
	if len(*free) < keepFree {
		*free = append(*free, t)
	}
}

func (s *shared) request() *message.Request { return take(&s.requests) }

func (s *shared) releaseRequest(r *message.Request) {
	r.Reset()
	give(&s.requests, r)
}

func (s *shared) response() *message.Response { return take(&s.responses) }

func (s *shared) releaseResponse(r *message.Response) {
	*r = message.Response{Fields: r.Fields[:0]}
	give(&s.responses, r)
}

func (s *shared) fields() *message.Fields { return take(&s.lists) }

func (s *shared) releaseFields(f *message.Fields) {
	*f = (*f)[:0]
	give(&s.lists, f)
}

func (s *shared) arena() *message.Arena { return take(&s.arenas) }

func (s *shared) releaseArena(a *message.Arena) {
	a.Reset()
	give(&s.arenas, a)
}

// buffer returns an empty buffer.
func (s *shared) buffer() []byte {
	if n := len(s.buffers); n > 0 {
		b := s.buffers[n-1]
		s.buffers = s.buffers[:n-1]
		return b
	}
	return make([]byte, 0, smallest)
}

func (s *shared) releaseBuffer(b []byte) {
	if cap(b) <= keepBuffer && len(s.buffers) < keepFree {
		s.buffers = append(s.buffers, b[:0])
	}
}

// date returns a Date field for now (RFC 9110 section 6.6.1).
func (s *shared) date(now time.Time) []byte {
	if sec := now.Unix(); sec != s.second || s.dateLine == nil {
		s.second = sec
		s.dateLine = append(s.dateLine[:0], "Date: "...)
		s.dateLine = now.UTC().AppendFormat(s.dateLine, http.TimeFormat)
		s.dateLine = append(s.dateLine, "\r\n"...)
	}
	return s.dateLine
}
