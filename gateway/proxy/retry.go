package proxy

import (
	"errors"
	"strconv"
	"time"

	"fairway.dev/gateway/hop"
	"fairway.dev/gateway/message"
	"fairway.dev/gateway/telemetry"
	"fairway.dev/gateway/upstream"
	"fairway.dev/routing"
)

// A retryPolicy says when and how often a try is repeated.
type retryPolicy struct {
	attempts int // after the first
	codes    [8]uint64
	grpc     uint32 // the statuses of gRPC to try again on, by their bits
	backoff  time.Duration
	// explicit: the rule asks for retries, not only the default.
	explicit bool
	// waits: the rule names the least time before a try.
	waits bool
	// named: the rule names conditions, and failures are those that it does.
	named    bool
	failures failureKind
}

// failureKind are failures that bring no response.
type failureKind uint8

const (
	neverConnected failureKind = 1 << iota
	neverBegun                 // refused
	brokenOff
)

// conditions are what routing.RetryOn's names mean, as Envoy has them.
var conditions = map[routing.RetryOn]struct {
	failures    failureKind
	first, last int // statuses
	grpc        uint32
}{
	routing.RetryOn5xx:              {neverConnected | neverBegun | brokenOff, 500, 599, 0},
	routing.RetryOnGatewayError:     {neverConnected | neverBegun | brokenOff, 502, 504, 0},
	routing.RetryOnReset:            {neverConnected | neverBegun | brokenOff, 0, 0, 0},
	routing.RetryOnResetBefore:      {neverConnected, 0, 0, 0},
	routing.RetryOnConnectFailure:   {neverConnected, 0, 0, 0},
	routing.RetryOnRefusedStream:    {neverBegun, 0, 0, 0},
	routing.RetryOnRetriable4xx:     {0, 409, 409, 0},
	routing.RetryOnCodes:            {},
	routing.RetryOnCancelled:        {0, 0, 0, 1 << grpcCancelled},
	routing.RetryOnDeadlineExceeded: {0, 0, 0, 1 << grpcDeadlineExceeded},
	routing.RetryOnInternal:         {0, 0, 0, 1 << grpcInternal},
	routing.RetryOnExhausted:        {0, 0, 0, 1 << grpcResourceExhausted},
	routing.RetryOnUnavailable:      {0, 0, 0, 1 << grpcUnavailable},
}

const (
	defaultAttempts = 2
	defaultBackoff  = 25 * time.Millisecond
	maxBackoff      = 10 // times the first
)

// defaultGRPC is Istio's "unavailable,cancelled".
const defaultGRPC = 1<<grpcUnavailable | 1<<grpcCancelled

func newRetryPolicy(r *routing.Retry) retryPolicy {
	if r == nil {
		return retryPolicy{attempts: defaultAttempts, backoff: defaultBackoff, grpc: defaultGRPC}
	}
	p := retryPolicy{attempts: r.Attempts, backoff: r.Backoff, explicit: true, waits: r.Backoff > 0, named: len(r.On) > 0}
	if !p.waits {
		p.backoff = defaultBackoff
	}
	if !p.named {
		p.grpc = defaultGRPC
	}
	for _, code := range r.Codes {
		p.list(code, code)
	}
	for _, on := range r.On {
		c := conditions[on]
		p.failures |= c.failures
		p.grpc |= c.grpc
		p.list(c.first, c.last)
	}
	return p
}

// list adds statuses to try again on.
func (p *retryPolicy) list(first, last int) {
	for code := max(first, 100); code <= min(last, 599); code++ {
		i := code - 100
		p.codes[i/64] |= 1 << (i % 64)
	}
}

// lists reports whether the rule names a status to try again on.
func (p *retryPolicy) lists(status int) bool {
	i := status - 100
	return i >= 0 && i < 500 && p.codes[i/64]&(1<<(i%64)) != 0
}

// A failure is how a try ended that brought no response.
type failure struct {
	answer  answer
	outcome upstream.Outcome
	cause   telemetry.RetryCause
	// unbegun: the backend has not begun to process the request.
	unbegun bool
	// final: another try is no use.
	final bool
}

// Statuses are Envoy's, on which people have their alerts.
var (
	unconnected = failure{
		answer{503, telemetry.UpstreamFailure, "no connection to the backend\n"},
		upstream.NoConnection, telemetry.RetryConnect, true, false}
	forbidden = failure{denied, upstream.NoConnection, telemetry.RetryConnect, true, true}
	unserved  = failure{
		answer{503, telemetry.NoCluster, "waypoint does not serve the backend\n"},
		upstream.NoConnection, telemetry.RetryConnect, true, true}
	crowded = failure{
		answer{503, telemetry.UpstreamOverflow, "too many requests to the backend\n"},
		upstream.NoConnection, telemetry.RetryConnect, true, true}
	refused = failure{
		answer{503, telemetry.UpstreamReset, "backend refused the request\n"},
		upstream.Abandoned, telemetry.RetryRefused, true, false}
	unused = failure{
		answer{503, telemetry.UpstreamClosed, "backend closed the connection\n"},
		upstream.Abandoned, telemetry.RetryUnused, false, false}
	closed = failure{
		answer{503, telemetry.UpstreamClosed, "backend closed the connection\n"},
		upstream.Reset, telemetry.RetryReset, false, false}
	reset = failure{
		answer{503, telemetry.UpstreamReset, "backend reset the request\n"},
		upstream.Reset, telemetry.RetryReset, false, false}
	badResponse = failure{
		answer{502, telemetry.UpstreamProtocolError, "backend's response is not valid\n"},
		upstream.Reset, telemetry.RetryReset, false, false}
	tryTimedOut = failure{
		answer{504, telemetry.UpstreamTimeout, "backend timed out\n"},
		upstream.Timeout, telemetry.RetryTimeout, false, false}
)

// connectFailure says what it means that there is no connection. What a waypoint
// refuses its other pods would refuse, too, but for want of an endpoint.
func connectFailure(err error) *failure {
	var no *hop.Refusal
	switch {
	case errors.Is(err, upstream.ErrOverflow):
		return &crowded
	case !errors.As(err, &no):
		return &unconnected
	case no.Status == 401 || no.Status == 403:
		return &forbidden
	case no.Status == 400 || no.Status == 404:
		return &unserved
	}
	return &unconnected
}

// abortFailure says what it means that a backend's codec aborted a response.
func abortFailure(err error) *failure {
	var why *message.Error
	if !errors.As(err, &why) {
		return &closed
	}
	switch {
	case why.Reason == message.Refused:
		return &refused
	case why.Unused:
		return &unused
	}
	switch why.Reason {
	case message.Reset:
		return &reset
	case message.Malformed, message.TooLarge:
		return &badResponse
	case message.Slow:
		return &tryTimedOut
	}
	return &closed
}

// fail goes on after a try that brought no response: with another, or with
// the answer that says so.
func (e *exchange) fail(f *failure) {
	if f.cause != telemetry.RetryUnused {
		e.avoid()
	}
	if e.mayRepeat(f) && e.again(f.cause, f.unbegun || f.cause == telemetry.RetryUnused) {
		return
	}
	if e.broke {
		e.answer(&budgetSpent)
		return
	}
	e.answer(&f.answer)
}

// avoid keeps further tries off the endpoint of the last one. Not so where a
// kept connection turned out to be closed: that is not the endpoint's fault.
func (e *exchange) avoid() {
	n := len(e.want.Tried)
	if n == len(e.tried) {
		n = 0
	}
	e.tried[n] = e.last
	e.want.Tried = e.tried[:n+1]
}

// mayRepeat reports whether the rule lets a request be sent again after f.
func (e *exchange) mayRepeat(f *failure) bool {
	p := &e.rule.retry
	switch {
	case f.final:
		return false
	case f.cause == telemetry.RetryUnused && e.idempotent():
		return true // "a client ... MAY ... automatically retry" (RFC 9112 section 9.3.1)
	case p.named:
		return p.failures&f.kind() != 0
	case f.unbegun:
		return true
	case p.lists(f.answer.status):
		// The author named the status that stands for this failure, and
		// HTTPRouteRetry knows no methods.
		return true
	}
	return p.explicit && e.idempotent()
}

// kind returns what f is to the conditions of a rule.
func (f *failure) kind() failureKind {
	switch f.cause {
	case telemetry.RetryConnect:
		return neverConnected
	case telemetry.RetryRefused:
		return neverBegun
	}
	return brokenOff
}

// idempotent reports whether the request may be sent twice: by its method
// (RFC 9110 section 9.2.2), or because the client says so with an idempotency key.
func (e *exchange) idempotent() bool {
	switch e.req.Method {
	case "GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE":
		return true
	}
	_, ok := e.req.Fields.Value("idempotency-key")
	return ok
}

// wantsAnother reports whether the rule would rather have another response
// than this one. Of gRPC it is Trailers-Only that counts: the call did not begin
// to answer.
func (e *exchange) wantsAnother(resp *message.Response, last bool) bool {
	p := &e.rule.retry
	if p.lists(resp.Status) {
		return true
	}
	if !e.grpc || p.grpc == 0 || !last || resp.Status != 200 {
		return false
	}
	text, ok := resp.Fields.Get(message.GRPCStatus)
	if !ok {
		return false
	}
	n, err := strconv.ParseUint(text, 10, 5)
	return err == nil && p.grpc&(1<<n) != 0
}

// again begins another try, at once or after a while, and reports false where
// there may be none: the rule's attempts are used up, the request's body is
// gone, or too many of the requests to the backend are retries already.
func (e *exchange) again(cause telemetry.RetryCause, soon bool) bool {
	p := &e.rule.retry
	if p.attempts == 0 || !e.replayable {
		return false
	}
	if e.retries >= p.attempts {
		e.rec.Flags |= telemetry.UpstreamRetryLimit
		return false
	}
	if !e.spend(cause) {
		return false
	}
	e.retries++
	e.on.proxy.o.Metrics.Upstream.Retries.Add(e.on.index, cause, 1)
	if soon && e.retries == 1 && !p.waits {
		e.startTry()
		return true
	}
	e.on.loop.Arm(&e.pause, e.patience())
	return true
}

// patience returns how long to wait before the next try: the backoff, doubled
// each time, and up to as long again.
func (e *exchange) patience() time.Duration {
	base := e.rule.retry.backoff
	d := base * maxBackoff
	if e.retries <= 4 {
		d = min(d, base<<(e.retries-1))
	}
	return d + time.Duration(e.on.below(uint64(d)))
}

// use is how many exchanges one loop has under way with a share, and how many
// of these are retrying: a budget, so that retries do not finish off a backend
// that is short of breath.
type use struct {
	active, retrying int
	_                [48]byte // each loop writes its own all the time
}

const (
	retryShare = 5 // one in so many exchanges may be retrying
	minRetries = 3 // or so many
)

// spend counts a retry against the budget: the cluster's own, else its limit of
// retries under way, and where it has neither the budget that each share has on
// each loop. It says in the record what does not let the retry through. Where
// there was no connection that last one does not count: nobody's work is asked for
// twice, and an endpoint that refuses is out for the others at once.
func (e *exchange) spend(cause telemetry.RetryCause) bool {
	c := e.cluster
	if ok, budgeted := c.SpendRetry(e.on.loop); budgeted {
		if !ok {
			e.broke = true
			e.rec.Flags |= telemetry.UpstreamRetryLimit
			e.on.proxy.o.Metrics.Limits.Add(e.on.index, telemetry.LimitRetries, 1)
		}
		return ok
	}
	if c.LimitsRetries() {
		return e.beginRetry()
	}
	u := &e.share.uses[e.on.index]
	if e.retrying || cause == telemetry.RetryConnect {
		return true
	}
	if u.retrying >= max(minRetries, u.active/retryShare) {
		e.rec.Flags |= telemetry.UpstreamRetryLimit
		e.on.proxy.o.Metrics.Limits.Add(e.on.index, telemetry.LimitRetries, 1)
		return false
	}
	u.retrying++
	e.retrying = true
	return true
}

// beginRetry counts the exchange against the cluster's limit of retries, until
// its response begins.
func (e *exchange) beginRetry() bool {
	if !e.limited && !e.cluster.BeginRetry() {
		e.rec.Flags |= telemetry.UpstreamOverflow
		return false
	}
	e.limited = true
	return true
}

func (e *exchange) endRetry() {
	if e.limited {
		e.limited = false
		e.cluster.EndRetry()
	}
}
