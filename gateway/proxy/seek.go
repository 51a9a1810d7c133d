package proxy

import (
	"errors"

	"fairway.dev/gateway/upstream"
)

// lacks goes on without an endpoint: to one whose address is to be found first,
// or to the answer that says that there is none.
func (e *exchange) lacks(err error) {
	switch {
	case errors.Is(err, upstream.ErrUnresolved) && !e.sought:
		e.sought = true
		e.seeking = e.cluster.Resolve(e.on.loop, e.req.Authority, e.found)
	case errors.Is(err, upstream.ErrOverflow):
		e.answer(&overflowed)
	case errors.Is(err, upstream.ErrNoEndpoints) && errors.Is(err, upstream.ErrNoAddress):
		e.answer(&nameless)
	case errors.Is(err, upstream.ErrNoEndpoints):
		e.rec.Policy = Absent(e.cluster.Spec().Name)
		e.answer(&noEndpoint)
	default:
		e.answer(&noAddress)
	}
}

// found hears what came of the search for the host's addresses.
func (e *exchange) found(err error) {
	e.seeking = nil
	if err != nil {
		e.lacks(err)
		return
	}
	e.startTry()
}
