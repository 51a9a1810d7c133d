package upstream

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"

	"fairway.dev/gateway/loop"
	"fairway.dev/gateway/message"
	"fairway.dev/routing"
)

// A question is one health check on a connection of its own: that one can be
// made is half of the answer. It is a message.ClientReceiver.
type question struct {
	check  *check // nil once it is answered
	spec   *routing.HealthCheck
	way    *way
	cancel func() // of the dial
	conn   Conn
	client message.Client // nil: a connection is all that is wanted
	stream message.Stream
	reply  []byte // gRPC's
}

func newQuestion(k *check, h *routing.HealthCheck) *question {
	w := k.ep.cluster.view.Load().config.way
	if k.ep.waypoint { // what it would answer is of what is behind it
		h = &routing.HealthCheck{Timeout: h.Timeout}
	}
	switch {
	case h.GRPC != nil:
		w = w.ofHTTP2()
	case h.HTTP == nil:
		w = w.of(Streams)
	}
	return &question{check: k, spec: h, way: w}
}

// begin opens the connection, with the cluster's TLS.
func (q *question) begin() {
	k := q.check
	if err := cmp.Or(q.way.err, k.ep.noTunnel(q.way.tls)); err != nil {
		k.loop.Defer(func() { q.end(err) })
		return
	}
	how := loop.Opening{First: q.way.header(nil), TLS: q.way.tls}
	if q.way.named && how.TLS != nil {
		how.TLS = how.TLS.Clone()
		how.TLS.ServerName = hostOf(q.host())
	}
	timeout := positive(q.spec.Timeout, defaultCheckTimeout)
	q.cancel = k.ep.open(k.loop, checkAddr(k.ep, q.spec), how, timeout, q.connected)
}

func (q *question) connected(conn Conn, alpn string, err error) {
	q.cancel = nil
	switch {
	case q.check == nil && err == nil:
		conn.Close()
	case q.check == nil:
	case err != nil:
		q.end(err)
	case q.spec.HTTP == nil && q.spec.GRPC == nil:
		q.conn = conn
		q.end(nil)
	default:
		q.check.ep.reachable(q.check.loop)
		set := q.check.ep.cluster.set
		q.conn = conn
		q.client = set.o.NewClient(conn, q.way.proto(alpn), ClientEvents{Free: func() {}, Closed: q.closed})
		q.ask()
	}
}

// ask sends the request.
func (q *question) ask() {
	req := &message.Request{Method: "GET", Scheme: "http", Path: "/", Authority: q.host(), Proto: message.HTTP11}
	if q.way.tls != nil {
		req.Scheme = "https"
	}
	if service := q.spec.GRPC; service != nil {
		req.Method, req.Path, req.Trailers, req.Length = "POST", "/grpc.health.v1.Health/Check", true, message.Unknown
		req.Fields.Add(message.ContentType, "application/grpc")
		req.Fields.Add(message.UserAgent, checkAgent)
		q.stream = q.client.Open(req, false, q)
		q.stream.Data(healthRequest(*service))
		q.stream.End(nil)
		return
	}
	h := q.spec.HTTP
	req.Method = cmp.Or(h.Method, req.Method)
	req.Path, req.Query = splitQuery(cmp.Or(h.Path, req.Path))
	for _, f := range h.Header {
		req.Fields.Append(f.Name, f.Value)
	}
	if !req.Fields.Has(message.UserAgent) {
		req.Fields.Add(message.UserAgent, checkAgent)
	}
	q.stream = q.client.Open(req, true, q)
}

const checkAgent = "Fairway-Health-Check"

func splitQuery(target string) (path, query string) {
	if i := strings.IndexByte(target, '?'); i >= 0 {
		return target[:i], target[i:]
	}
	return target, ""
}

func (q *question) host() string {
	h := ""
	if q.spec.HTTP != nil {
		h = q.spec.HTTP.Host
	}
	return cmp.Or(h, q.check.ep.cluster.Spec().Service, q.check.ep.addr.String())
}

// Head takes the head of the answer.
func (q *question) Head(resp *message.Response, last bool) {
	switch {
	case resp.Status < 200:
	case q.spec.GRPC == nil:
		q.end(q.judge(resp.Status))
	case resp.Status != 200:
		q.end(wrongStatus(resp.Status, "200, as gRPC has it"))
	case last:
		q.End(resp.Fields)
	}
}

// judge says whether a status is wanted.
func (q *question) judge(status int) error {
	wanted := q.spec.HTTP.Statuses
	if len(wanted) == 0 {
		wanted = []routing.StatusRange{{First: 200, Last: 299}}
	}
	var texts []string
	for _, r := range wanted {
		if status >= r.First && status <= r.Last {
			return nil
		}
		texts = append(texts, fmt.Sprintf("%d-%d", r.First, r.Last))
	}
	return wrongStatus(status, strings.Join(texts, " or "))
}

// maxReply bounds the message that a gRPC server answers with.
const maxReply = 1 << 10

// Data takes a part of the answer.
func (q *question) Data(p []byte) {
	if q.check == nil || q.spec.GRPC == nil {
		return
	}
	q.stream.Consumed(len(p))
	if len(q.reply)+len(p) > maxReply {
		q.end(fmt.Errorf("answer of more than %d bytes, want a HealthCheckResponse", maxReply))
		return
	}
	q.reply = append(q.reply, p...)
}

// End takes the end of the answer.
func (q *question) End(trailers message.Fields) {
	if q.check == nil || q.spec.GRPC == nil {
		return
	}
	if status, _ := trailers.Get(message.GRPCStatus); status != "0" {
		q.end(fmt.Errorf("grpc-status %q, want 0", status))
		return
	}
	status, err := parseHealthResponse(q.reply)
	if err == nil && status != serving {
		err = fmt.Errorf("serving status %d, want %d (SERVING)", status, serving)
	}
	q.end(err)
}

// Abort takes the news that there will be no answer.
func (q *question) Abort(err error) { q.end(err) }

// Drained implements message.Receiver.
func (q *question) Drained() {}

func (q *question) closed(err error) {
	if err == nil {
		err = errors.New("connection closed before an answer")
	}
	q.end(err)
}

// end tells the check what the answer is, once.
func (q *question) end(err error) {
	k := q.check
	if k == nil {
		return
	}
	q.close()
	k.heard(err)
}

// close lets go of the connection. Nothing more is told.
func (q *question) close() {
	k := q.check
	q.check = nil
	switch {
	case q.cancel != nil:
		q.cancel()
	case q.client != nil:
		k.loop.Defer(q.client.Close) // not from inside one of its calls
	case q.conn != nil:
		q.conn.Close()
	}
}

// serving is HealthCheckResponse.ServingStatus.SERVING of grpc.health.v1.
const serving = 1

// healthRequest is a HealthCheckRequest in a gRPC frame.
func healthRequest(service string) []byte {
	var body []byte
	if service != "" {
		body = protowire.AppendTag(body, 1, protowire.BytesType)
		body = protowire.AppendString(body, service)
	}
	frame := append(make([]byte, 1, 5+len(body)), 0, 0, 0, 0)
	binary.BigEndian.PutUint32(frame[1:], uint32(len(body)))
	return append(frame, body...)
}

// parseHealthResponse returns the status in a gRPC frame with a
// HealthCheckResponse.
func parseHealthResponse(b []byte) (status uint64, err error) {
	if len(b) < 5 || b[0] != 0 || uint64(binary.BigEndian.Uint32(b[1:])) != uint64(len(b)-5) {
		return 0, fmt.Errorf("answer of %d bytes, want one message that is not compressed", len(b))
	}
	for b = b[5:]; len(b) > 0; {
		field, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return 0, fmt.Errorf("HealthCheckResponse: %w", protowire.ParseError(n))
		}
		b = b[n:]
		if field == 1 && kind == protowire.VarintType {
			status, n = protowire.ConsumeVarint(b)
		} else {
			n = protowire.ConsumeFieldValue(field, kind, b)
		}
		if n < 0 {
			return 0, fmt.Errorf("HealthCheckResponse: %w", protowire.ParseError(n))
		}
		b = b[n:]
	}
	return status, nil
}
