package proxy

import (
	"errors"

	"fairway.dev/gateway/loop"
	"fairway.dev/gateway/message"
	"fairway.dev/gateway/policy"
	"fairway.dev/gateway/policy/authz"
	"fairway.dev/gateway/policy/jwt"
	"fairway.dev/gateway/telemetry"
	"fairway.dev/gateway/tracing"
	"fairway.dev/gateway/upstream"
	"fairway.dev/routing"
)

// An exchange is one request and its response: the Receiver of the client's
// stream. It is used again after its end, so who ends it returns at once.
type exchange struct {
	on *local

	deadline loop.Timer // of the whole exchange
	idle     loop.Timer // nothing has moved
	pause    loop.Timer // before the next try

	over bool     // until the next request
	id   [36]byte // the text of a request id of ours

	life
}

// life is what of an exchange ends with it.
type life struct {
	down message.ServerStream
	req  *message.Request
	peer *message.Peer

	snap     *routing.Snapshot // that says where the request goes
	listener *routing.Listener
	took     took // of the path, by the match
	rule     *rule
	share    *share
	cluster  *upstream.Cluster // that the share's requests go to, or its waypoint's; once begun
	tell     *telemetry.Exchanges
	rec      telemetry.Record

	grpc   bool
	scheme string // the client's
	origin string // of the script that may read the response; see cors

	requestEnded bool // the request is whole
	headSent     bool // the response's head, but for 1xx
	tunnel       bool // after a 101
	hurried      bool // the deadline is the client's own
	begun        bool // Begin of the cluster is to be ended

	try      *try // under way
	last     *upstream.Endpoint
	want     upstream.Want
	tried    [8]*upstream.Endpoint
	token    token  // of the session
	cookie   string // that the cluster gives the client, as Set-Cookie has it
	retries  int
	retrying bool // counted in the share's use
	limited  bool // counted in the cluster's limit of retries
	broke    bool // another try is wanted, and the cluster's retry budget is spent

	preflight bool // of CORS: answered here
	faulted   bool // a fault was drawn
	delayed   bool // it waits for the fault's delay
	doomed    bool // the fault answers it

	seeking func() // ends the search for the addresses of the host; nil: there is none
	sought  bool   // there was one

	guard     *guard             // nil: no policies are in the way
	went      routing.Result     // where the request goes if it may pass
	proved    *jwt.Token         // nil: there is none
	questions []authz.Question   // that are left to be asked
	asking    *asker             // who is asked now; nil: the rule's
	refusing  routing.PolicyName // on whose behalf

	count *count // nil: no rate limit has counted the request

	inquiry   *inquiry      // under way; see ask
	gathering bool          // the request's body has to be whole before it is asked about
	granted   []policy.Edit // of the response, by who let the request pass

	replayable bool           // body is all of the request's so far
	body       []byte         // what the next try is sent first
	trailers   message.Fields // of the request, if they wait as body does
	owed       int            // bytes taken from the client, not yet Consumed

	mirrors []*mirror

	tokens *jwt.Rules    // nil: none are asked for
	port   *routing.Port // of a request that may have a token
	proof  *proof        // waits for keys
	waits  int           // that are left

	watched *watch          // nil: nobody asks for anything of its own
	trace   tracing.Context // of none, unless the listener's exchanges are traced
	state   string          // tracestate, as it came
}

// begin takes a request through all that is decided before it is sent.
func (e *exchange) begin(s message.ServerStream, req *message.Request, last bool) {
	l := e.on
	e.down, e.req, e.peer = s, req, s.Peer()
	e.requestEnded = last
	e.tell = l.proxy.unmatched
	e.rec = telemetry.Record{
		Start: l.loop.Now(), Method: req.Method, Authority: req.Authority, Path: req.Path, Proto: req.Proto,
		GRPCStatus: -1, Remote: e.peer.Remote, Source: e.peer.Identity, TLS: e.peer.Secure(), Client: clientOf(e.peer),
	}
	e.identify()
	switch {
	case l.proxy.most > 0 && l.active > l.proxy.most:
		e.answer(&overloaded)
	case !e.normalise():
		e.answer(&badPath)
	default:
		e.moved()
		e.route()
	}
}

// clientOf returns what the client has shown of itself.
func clientOf(p *message.Peer) telemetry.ClientCertificate {
	switch {
	case p.TLS == nil || len(p.TLS.PeerCertificates) == 0:
		return telemetry.NoClientCertificate
	case p.ClientRoots == nil:
		return telemetry.UnverifiedClient
	}
	return telemetry.VerifiedClient
}

// act does what the rule says.
func (e *exchange) act() {
	e.bound()
	if e.rule.session != nil {
		e.resume(e.rule.session)
	}
	if e.share == nil {
		e.share = e.rule.draw(e.on)
	}
	s := e.share
	e.tell = s.tell(e.listener)
	if s.cors != nil {
		e.crossOrigin(s.cors)
	}
	if (e.guard != nil && e.guard.limits != nil || len(e.rule.policies) > 0) && !e.preflight {
		e.limit()
		return
	}
	e.authorize()
}

// authorize has those let the request pass whom the rule asks.
func (e *exchange) authorize() {
	if e.rule.auth != nil && e.share.answer == nil && !e.preflight {
		e.asking = e.rule.auth
		e.ask()
		return
	}
	e.proceed()
}

// proceed goes on with a request that may pass, unless a fault is in its way.
func (e *exchange) proceed() {
	if f := e.rule.fault; f != nil {
		e.suffer(f)
		return
	}
	e.carryOut()
}

// carryOut does what the share says.
func (e *exchange) carryOut() {
	s := e.share
	switch {
	case e.doomed:
		e.die(e.rule.fault)
	case e.preflight:
		e.answerPreflight(s.cors)
	case s.answer != nil:
		e.answer(s.answer)
	case s.direct != nil:
		e.answerDirect(s.direct)
	case s.redirect != nil:
		e.redirect(s.redirect)
	default:
		e.forward()
	}
}

// forward makes the request what the backend is to see, and sends it.
func (e *exchange) forward() {
	s := e.share
	s.request.applyRequest(e.req)
	if s.rewrite != nil && !e.rewrite(s.rewrite) {
		return
	}
	if e.req.Authority != e.rec.Authority && !e.req.Fields.Has(message.XForwardedHost) {
		e.req.Fields.Add(message.XForwardedHost, e.rec.Authority)
	}
	e.passTrace()
	var to routing.ClusterName
	if e.cluster, e.req.Hop, to = e.on.towards(s.cluster, e.listener, e.peer); e.cluster == nil {
		e.rec.Policy = unguarded(to)
		e.answer(&noWaypoint)
		return
	}
	e.rec.Ends.Onward = e.req.Hop.Target != ""
	e.req.Hop.Old = e.req.Spoken() != message.HTTP2
	if !e.cluster.Begin() {
		e.answer(&overflowed)
		return
	}
	e.begun = true
	s.uses[e.on.index].active++
	e.cluster.CountRequest(e.on.loop)
	e.hash()
	e.replayable = e.rule.retry.attempts > 0 && !e.faulted
	if len(s.mirrors) > 0 {
		e.startMirrors()
	}
	e.startTry()
}

// hash finds out where consistent hashing has the request. A client without the
// cookie that is hashed is given one.
func (e *exchange) hash() {
	c := e.cluster
	if e.want.Hash, e.want.HasHash = c.Hash(e.req, e.peer); e.want.HasHash {
		return
	}
	if hash, cookie := c.GiveCookie(e.on.loop); cookie != "" {
		e.want.Hash, e.want.HasHash, e.cookie = hash, true, cookie
	}
}

// Data takes body bytes from the client.
func (e *exchange) Data(p []byte) {
	e.moved()
	e.rec.BytesReceived += int64(len(p))
	for _, m := range e.mirrors {
		m.body(p)
	}
	e.send(p)
}

// End takes the end of the request.
func (e *exchange) End(trailers message.Fields) {
	e.moved()
	e.requestEnded = true
	trailers = honest(trailers)
	if e.tokens != nil {
		trailers = e.tokens.Clean(trailers)
	}
	for _, m := range e.mirrors {
		m.end(trailers)
	}
	e.sendEnd(trailers)
	if e.gathering {
		e.gathered()
		return
	}
	if e.tunnel && e.try.responseEnded {
		e.try.finish()
		e.leave()
	}
}

// Drained lets the response go on once the client has taken what there was.
func (e *exchange) Drained() {
	e.moved()
	if t := e.try; t != nil {
		t.repay()
	}
}

// Abort ends the exchange because the client is gone, has reset its stream, or
// broke its protocol: its codec has told it so.
func (e *exchange) Abort(err error) {
	flag := telemetry.DownstreamClosed
	var why *message.Error
	if errors.As(err, &why) {
		if why.Reason == message.Reset {
			flag = telemetry.DownstreamReset
		}
		if status := clientFault(why.Reason); status != 0 {
			flag = telemetry.DownstreamProtocol
			if !e.headSent {
				e.rec.Status = status
			}
		}
	}
	e.rec.Flags |= flag
	ended := e.tunnel && e.try.responseEnded
	if e.try != nil {
		e.try.cancel(upstream.Abandoned)
	}
	if ended {
		e.leave()
		return
	}
	e.abort(err)
}

// clientFault returns what codecs answer to a request that they abort, 0 where
// the client is just gone.
func clientFault(r message.Reason) int {
	switch r {
	case message.Malformed:
		return 400
	case message.Slow:
		return 408
	case message.TooLarge:
		return 413
	}
	return 0
}

// moved puts off the end of a stream on which nothing moves.
func (e *exchange) moved() {
	d := e.on.proxy.o.StreamIdle
	if e.tunnel {
		d = e.on.proxy.o.TunnelIdle
	}
	if d > 0 {
		e.on.loop.Arm(&e.idle, d)
	}
}

// stoodStill is what the idle timer fires.
func (e *exchange) stoodStill() {
	if e.delayed { // which has an end of its own
		e.moved()
		return
	}
	a := &backendSlow
	if e.awaitsClient() {
		a = &clientSlow
	}
	e.giveUp(a, telemetry.StreamIdle, upstream.Timeout)
}

// awaitsClient reports whether the backend has taken all that the client has
// sent, and the client has more to send.
func (e *exchange) awaitsClient() bool {
	return e.gathering || !e.requestEnded && e.connected() && e.try.up.Queued() == 0
}

// timedOut is what the deadline fires.
func (e *exchange) timedOut() {
	o := upstream.Timeout
	if e.hurried {
		o = upstream.Abandoned // a client has no say in an endpoint's health
	}
	e.giveUp(&timedOut, telemetry.UpstreamTimeout, o)
}

// giveUp ends an exchange that took too long, its try with o: with a where nothing was
// answered yet.
func (e *exchange) giveUp(a *answer, flag telemetry.Flags, o upstream.Outcome) {
	e.rec.Flags |= flag
	if e.try != nil {
		e.try.cancel(o)
	}
	if e.headSent {
		e.abort(errSlow)
		return
	}
	e.answer(a)
}

// end ends the response, and with it the exchange.
func (e *exchange) end(trailers message.Fields) {
	e.conclude()
	e.down.End(trailers)
	e.on.putExchange(e)
}

// abort breaks the response off, and with it the exchange.
func (e *exchange) abort(err error) {
	e.conclude()
	e.down.Abort(err)
	e.on.putExchange(e)
}

// leave ends an exchange whose response was ended before.
func (e *exchange) leave() {
	e.conclude()
	e.on.putExchange(e)
}

// conclude tells of the exchange, and lets go of all that it holds. It comes
// before the last call on the client's stream, which takes the request away.
func (e *exchange) conclude() {
	l := e.on
	e.over = true
	e.settleGRPC()
	e.rec.Duration = l.loop.Now().Sub(e.rec.Start)
	e.rec.Ends = l.ends(e.listener, e.peer, e.rec.Ends.Onward)
	l.server(&e.rec.Ends, e.rec.Endpoint)
	e.tell.Observe(l.index, &e.rec)
	e.log()
	l.loop.Disarm(&e.deadline)
	l.loop.Disarm(&e.idle)
	l.loop.Disarm(&e.pause)
	e.dropBody()
	if e.inquiry != nil {
		e.inquiry.cancel()
	}
	if e.count != nil {
		e.count.leave()
	}
	if e.proof != nil {
		e.proof.e = nil
	}
	if e.seeking != nil {
		e.seeking()
	}
	for i, m := range e.mirrors {
		m.leave(e.requestEnded)
		e.mirrors[i] = nil
	}
	if e.begun {
		u := &e.share.uses[l.index]
		u.active--
		if e.retrying {
			u.retrying--
		}
		e.endRetry()
		e.cluster.End()
	}
}
