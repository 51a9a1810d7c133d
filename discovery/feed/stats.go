package feed

import "sync/atomic"

// Stats counts what a Server does, for metrics.
type Stats struct {
	Streams   int64 // open
	Slow      int64 // closed as their pod made no progress
	Refused   int64 // responses that a pod could not read all of
	Responses int64 // sent
	Resources int64 // in those
}

// counts is Stats while it is counted.
type counts struct{ streams, slow, refused, responses, resources atomic.Int64 }

// Stats returns what was counted. Any goroutine may call it.
func (s *Server) Stats() Stats {
	return Stats{
		Streams: s.counts.streams.Load(), Slow: s.counts.slow.Load(), Refused: s.counts.refused.Load(),
		Responses: s.counts.responses.Load(), Resources: s.counts.resources.Load(),
	}
}
