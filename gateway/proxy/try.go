package proxy

import (
	"net/http"
	"strconv"
	"time"

	"fairway.dev/gateway/loop"
	"fairway.dev/gateway/message"
	"fairway.dev/gateway/telemetry"
	"fairway.dev/gateway/upstream"
)

// A try sends a request to one endpoint: the Receiver of the backend's stream.
// It outlives its part in an exchange where the rest of a response that
// nobody wants is read, so that the connection can be used again.
type try struct {
	on    *local
	wait  upstream.Wait
	timer loop.Timer // of the try, or of the reading of the rest

	attempt
}

// attempt is what of a try ends with it.
type attempt struct {
	e    *exchange // nil once the response is not wanted
	ep   *upstream.Endpoint
	up   message.Stream // nil until there is a connection
	sent time.Time      // the request's head

	outcome       upstream.Outcome // once the response's head is there
	requestSent   bool             // all of it
	responseEnded bool
	interim       int // 1xx heads
	owed          int // bytes of the response, not yet Consumed
	rest          int // bytes that an unwanted response may still have
}

const (
	// maxInterim bounds the 1xx heads of a response.
	maxInterim = 32
	// maxRest and restTime bound what is read of a response that nobody wants.
	maxRest  = 64 << 10
	restTime = time.Second
)

// startTry picks an endpoint and gets a connection to it. The exchange may be
// over when it returns.
func (e *exchange) startTry() {
	l := e.on
	e.want.Host, e.want.Here = e.req.Authority, e.peer.Abroad
	ep, err := e.cluster.Pick(l.loop, &e.want)
	if err != nil {
		e.lacks(err)
		return
	}
	t := l.takeTry()
	t.e, t.ep = e, ep
	e.try, e.last = t, ep
	e.rec.Attempts++
	e.rec.Endpoint, e.rec.Upstream = ep.AddrFor(e.peer), 0
	t.wait.Use, t.wait.Client, t.wait.Proto, t.wait.Host = upstream.Requests, e.peer, e.req.Spoken(), e.req.Authority
	if e.req.Upgrade != "" {
		t.wait.Use = upstream.Upgrades
	}
	aim(&e.req.Hop, ep)
	fill(&t.wait, &e.req.Hop, e.share.cluster)
	e.cluster.Connect(l.loop, ep, &t.wait)
}

// Connected sends the request. It implements upstream.Waiter.
func (t *try) Connected(conn message.Client, reused bool) {
	e := t.e
	t.sent = t.on.loop.Now()
	if d := e.rule.backend; d > 0 && !e.faulted {
		t.on.loop.Arm(&t.timer, d)
	}
	upgrade := e.req.Upgrade != ""
	last := !upgrade && e.requestEnded && len(e.body) == 0 && len(e.trailers) == 0
	t.requestSent = last
	t.up = conn.Open(e.req, last, t)
	if !last && !upgrade {
		e.catchUp(t)
	}
}

// ConnectFailed ends a try that sent nothing. It implements upstream.Waiter.
func (t *try) ConnectFailed(err error) {
	e := t.e
	t.close(upstream.NoConnection)
	e.fail(connectFailure(err))
}

// Head takes the head of the response.
func (t *try) Head(resp *message.Response, last bool) {
	e := t.e
	switch {
	case resp.Status < 200 && resp.Status != 101:
		t.interimHead(resp)
	case resp.Status == 101 && (e.req.Upgrade == "" || last):
		t.cancel(upstream.Reset)
		e.fail(&badResponse)
	default:
		t.finalHead(resp, last)
	}
}

// interimHead passes a 1xx head on (RFC 9110 section 15.2), unless the client
// is too old to know them.
func (t *try) interimHead(resp *message.Response) {
	e := t.e
	e.moved()
	if t.interim++; t.interim > maxInterim {
		t.cancel(upstream.Reset)
		e.fail(&badResponse)
		return
	}
	if e.req.Proto != message.HTTP10 {
		e.down.Head(resp, false)
	}
}

func (t *try) finalHead(resp *message.Response, last bool) {
	e := t.e
	e.moved()
	e.rec.Upstream = t.on.loop.Now().Sub(t.sent)
	t.outcome = e.outcomeOf(resp, last)
	if e.wantsAnother(resp, last) && e.again(telemetry.RetryStatus, false) {
		e.avoid()
		t.discard(last)
		return
	}
	if e.broke {
		// "additional retries to the backend MUST return a 503 response to
		// the client" (BackendTrafficPolicySpec.retryConstraint).
		t.discard(last)
		e.answer(&budgetSpent)
		return
	}
	e.respond(t, resp, last)
}

// outcomeOf returns what the head of a response says of the endpoint's health.
func (e *exchange) outcomeOf(resp *message.Response, last bool) upstream.Outcome {
	if !e.grpc || !last || resp.Status != http.StatusOK {
		return upstream.Answered(resp.Status)
	}
	text, _ := resp.Fields.Get(message.GRPCStatus)
	n, err := strconv.ParseUint(text, 10, 8)
	if err != nil {
		return upstream.Success
	}
	return upstream.AnsweredCall(int(n))
}

// Data takes body bytes of the response.
func (t *try) Data(p []byte) {
	e := t.e
	if e == nil {
		if t.rest -= len(p); t.rest < 0 {
			t.cancel(t.outcome)
			return
		}
		t.up.Consumed(len(p))
		return
	}
	e.moved()
	e.rec.BytesSent += int64(len(p))
	e.down.Data(p)
	t.owed += len(p)
	if e.down.Queued() <= message.HighWater {
		t.repay()
	}
}

// End takes the end of the response.
func (t *try) End(trailers message.Fields) {
	e := t.e
	switch {
	case e == nil:
		t.close(t.outcome)
	case e.tunnel:
		t.responseEnded = true
		if e.requestEnded {
			t.finish()
			e.end(nil)
			return
		}
		e.moved()
		e.down.End(nil)
	default:
		e.noteGRPC(trailers)
		t.part()
		e.end(trailers)
		t.finish() // which may take trailers away
	}
}

// Abort takes the news that the response will not be whole.
func (t *try) Abort(err error) {
	e := t.e
	if !t.requestSent {
		t.up.Abort(err)
	}
	if e == nil {
		t.close(t.outcome)
		return
	}
	f := abortFailure(err)
	if e.headSent {
		t.close(t.outcome)
		e.rec.Flags |= f.answer.flags
		e.abort(err)
		return
	}
	t.close(f.outcome)
	e.fail(f)
}

// Drained lets the request go on once the backend has taken what there was.
func (t *try) Drained() {
	if t.e != nil {
		t.e.moved()
		t.settle()
	}
}

// settle lets the client send more, unless the backend takes less than it sends.
func (t *try) settle() {
	e := t.e
	if e.owed > 0 && t.up.Queued() <= message.HighWater {
		n := e.owed
		e.owed = 0
		e.down.Consumed(n)
	}
}

// repay lets the backend send more.
func (t *try) repay() {
	if t.owed > 0 {
		n := t.owed
		t.owed = 0
		t.up.Consumed(n)
	}
}

// expired is what the timer fires.
func (t *try) expired() {
	e := t.e
	switch {
	case e == nil:
		t.cancel(t.outcome)
	case e.headSent:
		t.cancel(t.outcome)
		e.rec.Flags |= telemetry.UpstreamTimeout
		e.abort(errSlow)
	default:
		t.cancel(upstream.Timeout)
		e.fail(&tryTimedOut)
	}
}

// cancel ends a try whose response is not whole. Once there was a response's
// head, that is what counts for the endpoint's health, not o. Nor does it
// count against an endpoint that a client kept waiting.
func (t *try) cancel(o upstream.Outcome) {
	if t.up == nil {
		t.wait.Cancel()
		t.close(upstream.Abandoned)
		return
	}
	switch {
	case t.e == nil:
	case t.e.headSent:
		o = t.outcome
	case o == upstream.Timeout && t.e.awaitsClient():
		o = upstream.Abandoned
	}
	t.up.Abort(errCancelled)
	t.close(o)
}

// part takes a try out of its exchange.
func (t *try) part() {
	t.e.try = nil
	t.e = nil
}

// finish ends a try whose response is whole.
func (t *try) finish() {
	if !t.requestSent {
		t.up.Abort(errCancelled)
	}
	t.close(t.outcome)
}

// discard takes a try out of its exchange, which does not want its response.
// What is left of that is read, if it is little and the request was sent.
func (t *try) discard(last bool) {
	switch {
	case last:
		t.finish()
	case !t.requestSent:
		t.up.Abort(errCancelled)
		t.close(t.outcome)
	default:
		t.part()
		t.rest = maxRest
		t.on.loop.Arm(&t.timer, restTime)
	}
}

// close ends a try on which nothing more is called.
func (t *try) close(o upstream.Outcome) {
	if t.e != nil {
		t.part()
	}
	t.on.loop.Disarm(&t.timer)
	t.ep.Done(t.on.loop, o)
	t.on.putTry(t)
}
