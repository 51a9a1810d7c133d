package server

import (
	"context"
	"sync"

	"fairway.dev/gateway/tracing"
)

// exportSpans starts what sends spans to their collectors, until endSpans.
func (s *Server) exportSpans() *tracing.Exporter {
	e := tracing.New(tracing.Options{
		Loops: s.options.Loops, Version: s.options.Version, Dial: s.clusters.Dial, Spans: s.options.Metrics.Spans, Log: s.options.Log,
	})
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { e.Run(ctx) })
	s.endSpans = func() {
		cancel()
		running.Wait()
	}
	return e
}
