package proxy

import (
	"net/http"
	"slices"

	"fairway.dev/gateway/message"
	"fairway.dev/gateway/telemetry"
	"fairway.dev/routing"
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
	shut        = answer{500, telemetry.NoRoute, "listener is closed\n"}
	overLimit   = answer{429, telemetry.RateLimited, "too many requests\n"}
	uncounted   = answer{503, telemetry.RateLimited, "nobody counts the request\n"}
	overloaded  = answer{503, telemetry.Overload, "gateway overloaded\n"}
	overflowed  = answer{503, telemetry.UpstreamOverflow, "too many requests to the backend\n"}
	budgetSpent = answer{503, telemetry.UpstreamOverflow, "too many retries to the backend\n"}
	noEndpoint  = answer{503, telemetry.NoHealthyUpstream, "no endpoint\n"}
	nameless    = answer{503, telemetry.NoHealthyUpstream | telemetry.NameFailure, "no address for the names of endpoints\n"}
	noAddress   = answer{503, telemetry.NameFailure, "no address for the host\n"}
	timedOut    = answer{504, 0, "request timed out\n"}
	backendSlow = answer{504, 0, "backend stood still for too long\n"}
)

// lost is what a rule or a share says whose reference leads nowhere.
func lost(status int) *answer {
	return &answer{status, telemetry.NoCluster, "route has no valid backend\n"}
}

// A direct is what a rule says that answers by itself.
type direct struct {
	answer
	typed bool // the rule's own header changes have the content type
}

func newDirect(a *routing.Action) *direct {
	d := &direct{answer: answer{status: a.Status, text: a.Body}}
	switch {
	case a.Status == http.StatusNoContent || a.Status == http.StatusNotModified:
		d.text = ""
	case a.Body == "":
		d.text = http.StatusText(a.Status) + "\n"
	}
	for _, list := range [][]routing.Header{a.Response.Set, a.Response.Add} {
		d.typed = d.typed || slices.ContainsFunc(list, func(h routing.Header) bool {
			return message.Lookup(h.Name) == message.ContentType
		})
	}
	return d
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
	if e.grpc {
		e.answerGRPC(a.grpc(), a.text)
		return
	}
	resp := e.reply(a.status)
	e.permit(resp)
	if a.text != "" {
		resp.Fields.Add(message.ContentType, plainText)
	}
	e.sendReply(a.text)
}

// permit lets a script read an answer of ours, where the share says so.
func (e *exchange) permit(resp *message.Response) {
	if s := e.share; s != nil && s.cors != nil {
		e.dressCORS(s.cors, &resp.Fields)
	}
}

// answerGRPC ends the exchange with Trailers-Only, in the words of gRPC's
// HTTP/2 mapping: a client understands it where it would make UNKNOWN of a
// status.
func (e *exchange) answerGRPC(code int, text string) {
	resp := e.reply(http.StatusOK)
	e.permit(resp)
	e.addGRPC(resp, code, text)
	e.sendReply("")
}

func (e *exchange) addGRPC(resp *message.Response, code int, text string) {
	e.rec.GRPCStatus = code
	resp.Fields.Add(message.ContentType, "application/grpc")
	resp.Fields.Add(message.GRPCStatus, grpcDigits[code])
	resp.Fields.Add(message.GRPCMessage, grpcMessage(text))
}

// answerDirect ends the exchange with what its rule says, and with the header
// changes of the rule.
func (e *exchange) answerDirect(d *direct) {
	status, text := d.status, d.text
	if e.grpc {
		status, text = http.StatusOK, ""
	}
	resp := e.reply(status)
	e.permit(resp)
	switch {
	case e.grpc:
		e.addGRPC(resp, d.grpc(), d.text)
	case text != "" && !d.typed:
		resp.Fields.Add(message.ContentType, plainText)
	}
	e.share.response.apply(&resp.Fields)
	e.sendReply(text)
}

// reply returns the head of an answer of ours, to be completed and sent with
// sendReply at once.
func (e *exchange) reply(status int) *message.Response {
	r := &e.on.reply
	*r = message.Response{Status: status, Fields: r.Fields[:0]}
	r.Fields.Add(message.Server, serverName)
	e.on.putDate(&r.Fields)
	if e.count != nil {
		e.count.tell(&r.Fields)
	}
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
	b := append(e.on.scratch[:0], text...)
	if len(b) <= replayLimit { // more is for a rule alone to say, and not to be kept
		e.on.scratch = b
	}
	e.down.Data(b)
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
	e.endRetry()
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
	if e.count != nil {
		e.count.tell(&resp.Fields)
	}
	for i := range e.granted {
		editField(&resp.Fields, &e.granted[i])
	}
	s.response.apply(&resp.Fields)
	if s.cors != nil {
		e.dressCORS(s.cors, &resp.Fields)
	}
	if e.rule.session != nil {
		e.remember(e.rule.session, resp)
	}
	if e.cookie != "" {
		resp.Fields.Add(message.SetCookie, e.cookie)
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
