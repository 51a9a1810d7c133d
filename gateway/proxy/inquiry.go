package proxy

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"fairway.dev/gateway/loop"
	"fairway.dev/gateway/message"
	"fairway.dev/gateway/policy"
	"fairway.dev/gateway/policy/ratelimit"
	"fairway.dev/gateway/upstream"
)

const (
	// authTime is how long an authorization server may take for its answer, where
	// the rule does not say.
	authTime = 5 * time.Second
	// authRetries are for connections that are not had, or were closed while kept.
	authRetries = 2
	// maxVerdict bounds the body of an answer, in bytes.
	maxVerdict = 64 << 10
)

// An inquiry asks a server about a request, one of authorization or of rate limits:
// the Receiver of the server's stream. The exchange waits for it, and ends it if it
// ends before.
type inquiry struct {
	on    *local
	wait  upstream.Wait
	timer loop.Timer
	inquired
}

// inquired is what of an inquiry ends with it.
type inquired struct {
	e        *exchange
	to       *asker              // of authorization
	question *ratelimit.Question // of rate limits; nil: to is asked
	grpc     bool

	server *upstream.Cluster // who is asked
	// cluster is the server's, or its waypoint's, which hop is for.
	cluster *upstream.Cluster
	hop     message.Hop
	req     message.Request
	body    []byte // of req; it may be needed again
	want    upstream.Want
	tried   [authRetries]*upstream.Endpoint
	tries   int
	ep      *upstream.Endpoint
	up      message.Stream // nil until there is a connection

	status  int
	fields  []policy.Edit // of the answer; several of one name are one Set, then Adds
	verdict []byte        // its body
}

// inquire begins to ask. The exchange may be over when it returns.
func (e *exchange) inquire() {
	q := e.newInquiry(e.asking.cluster)
	if q == nil {
		e.nobodyAsked()
		return
	}
	if q.to = e.asking; q.to.grpc {
		q.askGRPC()
	} else {
		q.askHTTP()
	}
	e.on.loop.Arm(&q.timer, q.to.patience)
	q.try()
}

// consult begins to ask a rate limit service. The exchange may be over when it
// returns.
func (e *exchange) consult(about *ratelimit.Question) {
	q := e.newInquiry(e.on.cluster(about.Cluster()))
	if q == nil {
		d := about.Failed()
		e.counted(&d)
		return
	}
	q.question = about
	q.call(ratelimit.ServicePath, about.Timeout(), append(make([]byte, frameHead), about.Message()...))
	e.on.loop.Arm(&q.timer, about.Timeout())
	q.try()
}

// newInquiry returns one of a server; nil: it cannot be asked.
func (e *exchange) newInquiry(server *upstream.Cluster) *inquiry {
	if server == nil {
		return nil
	}
	cluster, hop, _ := e.on.towards(server, e.listener, e.peer)
	if cluster == nil || !cluster.Begin() {
		return nil
	}
	q := e.on.takeInquiry()
	q.e, q.server, q.cluster, q.hop = e, server, cluster, hop
	e.inquiry = q
	return q
}

// askHTTP makes the request of plain HTTP: the client's, without what the rule
// does not name (HTTPAuthConfig).
func (q *inquiry) askHTTP() {
	req := q.e.req
	path := req.Path
	if q.to.path != "" {
		path = strings.TrimSuffix(q.to.path, "/")
		if req.Path != "*" {
			path += req.Path
		}
	}
	q.req = message.Request{
		Method: req.Method, Scheme: req.Scheme, Authority: req.Authority, Path: path, Query: req.Query, Proto: message.HTTP11,
	}
	q.carry(q.e.told())
	for i := range req.Fields {
		f := &req.Fields[i]
		if f.ID == message.Authorization || !ofFraming(f.ID) && q.to.tells(f) {
			q.req.Fields = append(q.req.Fields, *f)
		}
	}
}

// tells reports whether the rule names a field.
func (a *asker) tells(f *message.Field) bool {
	return slices.ContainsFunc(a.request, func(lower string) bool {
		if f.ID != message.Other {
			return f.ID.String() == lower
		}
		return message.EqualFold(lower, f.Text)
	})
}

// askGRPC makes the request of ext_authz (GRPCAuthConfig).
func (q *inquiry) askGRPC() {
	e, req := q.e, q.e.req
	check := policy.Check{
		Source: e.peer.Remote, Destination: e.peer.Local, Time: e.rec.Start, ID: e.rec.RequestID,
		Method: req.Method, Scheme: e.scheme, Host: req.Authority, Path: req.Path + req.Query, Proto: req.Proto,
		Fields: req.Fields, Size: req.Length, Body: e.told(),
	}
	if e.peer.TLS != nil {
		check.SNI = e.peer.TLS.ServerName
	}
	if names := q.to.request; len(names) > 0 {
		check.Wants = func(lower string) bool { return slices.Contains(names, lower) }
	}
	q.call(policy.CheckPath, q.to.patience, check.Append(make([]byte, frameHead, 1<<10)))
}

// frameHead is what comes before a message of gRPC: that it is not compressed, and
// how long it is (gRPC over HTTP2, Length-Prefixed-Message).
const frameHead = 5

// call makes the request of a call in gRPC. frame has the message behind room for
// its head.
func (q *inquiry) call(path string, within time.Duration, frame []byte) {
	spec := q.server.Spec()
	q.grpc = true
	q.req = message.Request{
		Method: http.MethodPost, Scheme: "http", Authority: spec.Service + "." + spec.Namespace,
		Path: path, Proto: message.HTTP2, Trailers: true,
	}
	q.req.Fields.Add(message.ContentType, "application/grpc")
	q.req.Fields.Add(message.GRPCTimeout, strconv.FormatInt(max(within.Milliseconds(), 1), 10)+"m")
	binary.BigEndian.PutUint32(frame[1:], uint32(len(frame)-frameHead))
	q.carry(frame)
}

// told is the body that the server is told.
func (e *exchange) told() []byte {
	if e.asking.body == 0 {
		return nil
	}
	return e.body
}

// carry gives the request a body.
func (q *inquiry) carry(b []byte) { q.body, q.req.Length = b, int64(len(b)) }

// try asks an endpoint.
func (q *inquiry) try() {
	l := q.on
	q.req.Hop, q.want.Here = q.hop, q.e.peer.Abroad
	q.want.Hash, q.want.HasHash = q.cluster.Hash(&q.req, q.e.peer)
	q.want.Tried = q.tried[:q.tries]
	ep, err := q.cluster.Pick(l.loop, &q.want)
	if err != nil {
		q.ep = nil
		q.fail()
		return
	}
	q.ep, q.up = ep, nil
	q.status, q.fields, q.verdict = 0, q.fields[:0], q.verdict[:0]
	q.wait.Proto, q.wait.Host = q.req.Proto, q.req.Authority
	aim(&q.req.Hop, ep)
	fill(&q.wait, &q.req.Hop, q.server)
	q.cluster.Connect(l.loop, ep, &q.wait)
}

// Connected asks. It implements upstream.Waiter.
func (q *inquiry) Connected(conn message.Client, reused bool) {
	q.up = conn.Open(&q.req, len(q.body) == 0, q)
	if len(q.body) > 0 {
		q.up.Data(q.body)
		q.up.End(nil)
	}
}

// ConnectFailed implements upstream.Waiter.
func (q *inquiry) ConnectFailed(error) { q.again(upstream.NoConnection, true) }

// Head takes the head of the answer.
func (q *inquiry) Head(resp *message.Response, last bool) {
	if resp.Status < 200 {
		return
	}
	q.status = resp.Status
	for i := range resp.Fields {
		f := &resp.Fields[i]
		name := strings.ToLower(f.Text)
		if f.ID != message.Other {
			name = f.ID.String()
		}
		x := policy.Edit{Name: strings.Clone(name), Value: strings.Clone(f.Value)}
		if slices.ContainsFunc(q.fields, func(y policy.Edit) bool { return y.Name == x.Name }) {
			x.How = policy.Add
		}
		q.fields = append(q.fields, x)
	}
	if last {
		q.conclude(resp.Fields)
	}
}

// Data takes body bytes of the answer. Those of a yes in plain HTTP say nothing.
func (q *inquiry) Data(p []byte) {
	if len(q.verdict)+len(p) > maxVerdict {
		q.give(errCancelled)
		q.end(upstream.Success)
		q.fail()
		return
	}
	if q.grpc || q.status != http.StatusOK {
		q.verdict = append(q.verdict, p...)
	}
	q.up.Consumed(len(p))
}

// End takes the end of the answer.
func (q *inquiry) End(trailers message.Fields) { q.conclude(trailers) }

// Drained implements message.Receiver: all was sent at once.
func (q *inquiry) Drained() {}

// Abort takes the news that the answer will not be whole.
func (q *inquiry) Abort(err error) {
	var why *message.Error
	unused := errors.As(err, &why) && (why.Unused || why.Reason == message.Refused)
	outcome := upstream.Reset
	if unused {
		outcome = upstream.Abandoned
	}
	q.again(outcome, unused)
}

// again asks another endpoint where the last was not asked, if that is worth it.
func (q *inquiry) again(o upstream.Outcome, unasked bool) {
	q.ep.Done(q.on.loop, o)
	if !unasked || q.tries == authRetries {
		q.ep = nil
		q.fail()
		return
	}
	q.tried[q.tries] = q.ep
	q.tries++
	q.try()
}

// expired is what the timer fires.
func (q *inquiry) expired() {
	q.give(errSlow)
	q.end(upstream.Timeout)
	q.fail()
}

// cancel ends an inquiry whose exchange is over.
func (q *inquiry) cancel() {
	q.give(errCancelled)
	q.end(upstream.Abandoned)
	q.on.putInquiry(q)
}

// give gives up what is under way.
func (q *inquiry) give(why error) {
	switch {
	case q.ep == nil:
	case q.up == nil:
		q.wait.Cancel()
	default:
		q.up.Abort(why)
	}
}

// end ends what Pick and Begin began.
func (q *inquiry) end(o upstream.Outcome) {
	if q.ep != nil {
		q.ep.Done(q.on.loop, o)
		q.ep = nil
	}
}

// fail goes on with a request that nobody was asked about.
func (q *inquiry) fail() {
	e, question := q.e, q.question
	q.on.putInquiry(q)
	if question == nil {
		e.nobodyAsked()
		return
	}
	d := question.Failed()
	e.counted(&d)
}

// nobodyAsked turns the request away as nobody could be asked about it.
func (e *exchange) nobodyAsked() {
	e.rec.Policy = string(e.refusing)
	e.answer(&unasked)
}

// conclude does what the answer says. Where it comes in gRPC, status is in its
// trailers, or in its head.
func (q *inquiry) conclude(trailers message.Fields) {
	q.end(upstream.Answered(q.status))
	if q.question != nil {
		q.answered(trailers)
		return
	}
	e, a, status, fields := q.e, q.to, q.status, slices.Clone(q.fields)
	if !a.grpc {
		body := string(q.verdict)
		q.on.putInquiry(q)
		if status == http.StatusOK {
			e.admit(a.adopted(fields), nil, nil)
		} else {
			e.turnAway(status, fields, body)
		}
		return
	}
	v, err := q.verdictOf(trailers)
	q.on.putInquiry(q)
	switch {
	case err != nil:
		e.nobodyAsked()
	case v.Allowed:
		e.admit(v.Edits, v.Remove, v.Response)
	default:
		e.turnAway(v.Status, v.Edits, v.Body)
	}
}

// answered takes what a rate limit service says.
func (q *inquiry) answered(trailers message.Fields) {
	e, d := q.e, q.question.Failed()
	if b, err := q.message(trailers); err == nil {
		d, _ = q.question.Answer(b) // or it has failed, all the same
	}
	q.on.putInquiry(q)
	e.counted(&d)
}

// verdictOf reads the answer of an authorization server.
func (q *inquiry) verdictOf(trailers message.Fields) (*policy.Verdict, error) {
	b, err := q.message(trailers)
	if err != nil {
		return nil, err
	}
	return policy.ParseVerdict(b)
}

// message returns the one message of an answer in gRPC.
func (q *inquiry) message(trailers message.Fields) ([]byte, error) {
	code, _ := trailers.Get(message.GRPCStatus)
	if q.status != http.StatusOK || code != "0" {
		return nil, fmt.Errorf("status %d, gRPC status %q: want 200 and 0", q.status, code)
	}
	b := q.verdict
	if len(b) < frameHead || b[0] != 0 || int(binary.BigEndian.Uint32(b[1:])) != len(b)-frameHead {
		return nil, fmt.Errorf("%d bytes: want one message that is not compressed", len(b))
	}
	return b[frameHead:], nil
}

func (l *local) takeInquiry() *inquiry {
	if n := len(l.inquiries); n > 0 {
		q := l.inquiries[n-1]
		l.inquiries = l.inquiries[:n-1]
		return q
	}
	q := &inquiry{on: l}
	q.wait.Waiter = q
	q.timer.Fire = q.expired
	return q
}

// putInquiry takes an inquiry out of its exchange, and back.
func (l *local) putInquiry(q *inquiry) {
	l.loop.Disarm(&q.timer)
	q.cluster.End()
	q.e.inquiry = nil
	q.inquired = inquired{fields: q.fields[:0], verdict: q.verdict[:0]}
	if len(l.inquiries) < keepObjects {
		l.inquiries = append(l.inquiries, q)
		return
	}
	l.loop.Drop(&q.timer)
}
