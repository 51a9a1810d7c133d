package proxy

import (
	"net/http"
	"strconv"

	"fairway.dev/gateway/message"
	"fairway.dev/gateway/telemetry"
)

// An answer is what the gateway itself says to a request. The package's
// documentation has the table.
type answer struct {
	status int
	flags  telemetry.Flags
	text   string
}

var (
	badPath     = answer{400, telemetry.DownstreamProtocol, "path with an encoded NUL\n"}
	noRoute     = answer{404, telemetry.NoRoute, "no route\n"}
	clientSlow  = answer{408, 0, "request stood still for too long\n"}
	misdirected = answer{421, telemetry.NoRoute, "host belongs to another listener\n"}
	overloaded  = answer{503, telemetry.Overload, "gateway overloaded\n"}
	overflowed  = answer{503, telemetry.UpstreamOverflow, "too many requests to the backend\n"}
	budgetSpent = answer{503, telemetry.UpstreamOverflow, "too many retries to the backend\n"}
	noEndpoint  = answer{503, telemetry.NoHealthyUpstream, "no endpoint\n"}
	timedOut    = answer{504, 0, "request timed out\n"}
	backendSlow = answer{504, 0, "backend stood still for too long\n"}
)

// statusAnswer is what a rule or a share says that answers with a status. 500
// stands for a reference that leads nowhere.
func statusAnswer(status int) *answer {
	switch status {
	case http.StatusInternalServerError:
		return &answer{status, telemetry.NoCluster, "route has no valid backend\n"}
	case http.StatusNoContent, http.StatusNotModified:
		return &answer{status: status}
	}
	return &answer{status: status, text: http.StatusText(status) + "\n"}
}

const (
	serverName = "fairway"
	plainText  = "text/plain; charset=utf-8"
)

// What breaks a stream off, for reasons of ours.
var (
	errCancelled = &message.Error{Reason: message.Cancelled}
	errSlow      = &message.Error{Reason: message.Slow}
)

// answer ends the exchange with an answer of the gateway's own. No try may be
// under way.
func (e *exchange) answer(a *answer) {
	e.rec.Flags |= a.flags
	status := a.status
	if e.grpc {
		status = http.StatusOK
	}
	resp := e.reply(status)
	if s := e.share; s != nil && s.cors != nil {
		s.cors.dress(e.origin, &resp.Fields)
	}
	if e.grpc {
		// Trailers-Only, in the words of gRPC's HTTP/2 mapping: a client
		// understands it where it would make UNKNOWN of a status.
		e.rec.GRPCStatus = a.grpc()
		resp.Fields.Add(message.ContentType, "application/grpc")
		resp.Fields.Add(message.GRPCStatus, grpcDigits[e.rec.GRPCStatus])
		resp.Fields.Add(message.GRPCMessage, a.text[:max(len(a.text)-1, 0)])
		e.sendReply("")
		return
	}
	if a.text != "" {
		resp.Fields.Add(message.ContentType, plainText)
	}
	e.sendReply(a.text)
}

// reply returns the head of an answer of ours, to be completed and sent with
// sendReply at once.
func (e *exchange) reply(status int) *message.Response {
	r := &e.on.reply
	*r = message.Response{Status: status, Fields: r.Fields[:0]}
	r.Fields.Add(message.Server, serverName)
	e.on.putDate(&r.Fields)
	return r
}

// sendReply sends the answer that reply began, and ends the exchange.
func (e *exchange) sendReply(text string) {
	r := &e.on.reply
	r.Length = int64(len(text))
	e.rec.Status, e.headSent = r.Status, true
	if text == "" || e.req.Method == http.MethodHead {
		e.endWithHead(r)
		return
	}
	e.rec.BytesSent += r.Length
	e.down.Head(r, false)
	e.on.scratch = append(e.on.scratch[:0], text...)
	e.down.Data(e.on.scratch)
	e.end(nil)
}

// endWithHead sends a head that is the whole response, and ends the exchange.
func (e *exchange) endWithHead(resp *message.Response) {
	e.conclude()
	e.down.Head(resp, true)
	e.on.putExchange(e)
}

// respond begins to pass the response of t on.
func (e *exchange) respond(t *try, resp *message.Response, last bool) {
	e.headSent, e.replayable = true, false
	e.rec.Status = resp.Status
	e.noteGRPC(resp.Fields)
	e.dress(resp)
	if last {
		t.part()
		e.endWithHead(resp)
		t.finish() // which may take resp away
		return
	}
	e.down.Head(resp, false)
	switch {
	case resp.Status == http.StatusSwitchingProtocols:
		e.openTunnel(t)
	case e.req.Upgrade != "":
		// The backend would not switch: the request ends here, without a body.
		e.dropBody()
		t.requestSent = true
		t.up.End(nil)
	default:
		e.dropBody()
	}
}

// dress makes of a backend's response head what the client is to see.
func (e *exchange) dress(resp *message.Response) {
	s := e.share
	e.on.putDate(&resp.Fields)
	for i := range e.granted {
		editField(&resp.Fields, &e.granted[i])
	}
	s.response.apply(&resp.Fields)
	if s.cors != nil {
		s.cors.dress(e.origin, &resp.Fields)
	}
	if e.rule.session != nil {
		e.remember(e.rule.session, resp)
	}
}

// openTunnel passes bytes both ways from here on. What bounds an exchange in
// time does not bound a tunnel, but for standing still.
func (e *exchange) openTunnel(t *try) {
	e.tunnel = true
	e.on.loop.Disarm(&e.deadline)
	e.on.loop.Disarm(&t.timer)
	e.on.loop.Disarm(&e.idle)
	e.moved()
	e.catchUp(t)
}

// noteGRPC notes the status that fields or trailers of a gRPC response have.
func (e *exchange) noteGRPC(f message.Fields) {
	if !e.grpc {
		return
	}
	if text, ok := f.Get(message.GRPCStatus); ok {
		if n, err := strconv.ParseUint(text, 10, 8); err == nil {
			e.rec.GRPCStatus = int(n)
		}
	}
}

const (
	grpcCancelled        = 1
	grpcUnknown          = 2
	grpcDeadlineExceeded = 4
	grpcUnavailable      = 14
)

// settleGRPC fills in the gRPC status that a client takes for one that did
// not come.
func (e *exchange) settleGRPC() {
	if !e.grpc || e.rec.GRPCStatus >= 0 {
		return
	}
	switch {
	case e.rec.Flags&(telemetry.DownstreamClosed|telemetry.DownstreamReset) != 0:
		e.rec.GRPCStatus = grpcCancelled
	case e.rec.Status == http.StatusOK:
		e.rec.GRPCStatus = grpcUnknown
	default:
		e.rec.GRPCStatus = grpcStatus(e.rec.Status)
	}
}

// grpc returns what a is to a gRPC client.
func (a *answer) grpc() int {
	if a == &timedOut {
		return grpcDeadlineExceeded
	}
	return grpcStatus(a.status)
}

// grpcStatus maps a status as gRPC's http-grpc-status-mapping does.
func grpcStatus(status int) int {
	switch status {
	case 400:
		return 13 // INTERNAL
	case 401:
		return 16 // UNAUTHENTICATED
	case 403:
		return 7 // PERMISSION_DENIED
	case 404:
		return 12 // UNIMPLEMENTED
	case 429, 502, 503, 504:
		return grpcUnavailable
	}
	return grpcUnknown
}

var grpcDigits = [...]string{2: "2", 4: "4", 7: "7", 12: "12", 13: "13", 14: "14", 16: "16"}
