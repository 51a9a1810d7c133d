package http2

import "fairway.dev/gateway/loop"

// shared is what the connections of one loop use in turns, so that those at
// rest hold nothing.
type shared struct {
	spaces  []*workspace
	streams []*stream
}

var perLoop loop.Local[shared]

// How much is kept for the next time: a workspace for each message that one
// message may set off, and streams for a busy connection or two.
const (
	keepSpaces  = 4
	keepStreams = 256
)

// space lends a workspace.
func (sh *shared) space() *workspace {
	if n := len(sh.spaces); n > 0 {
		w := sh.spaces[n-1]
		sh.spaces = sh.spaces[:n-1]
		return w
	}
	return new(workspace)
}

// takeBack takes a workspace back, unless a large message made it large.
func (sh *shared) takeBack(w *workspace) {
	if len(sh.spaces) < keepSpaces && cap(w.block.buf)+cap(w.out) <= 64<<10 && cap(w.fields) <= 256 {
		sh.spaces = append(sh.spaces, w)
	}
}

func (sh *shared) stream() *stream {
	if n := len(sh.streams); n > 0 {
		s := sh.streams[n-1]
		sh.streams = sh.streams[:n-1]
		return s
	}
	return new(stream)
}

func (sh *shared) takeBackStream(s *stream) {
	if len(sh.streams) < keepStreams {
		sh.streams = append(sh.streams, s)
	}
}
