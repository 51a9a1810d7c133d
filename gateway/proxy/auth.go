package proxy

import (
	"cmp"
	"slices"
	"time"

	"fairway.dev/gateway/message"
	"fairway.dev/gateway/policy"
	"fairway.dev/gateway/telemetry"
	"fairway.dev/gateway/upstream"
	"fairway.dev/routing"
)

// An asker is a routing.ExternalAuth made ready.
type asker struct {
	cluster  *upstream.Cluster
	grpc     bool
	path     string   // of plain HTTP: comes before the request's
	request  []string // fields that are told, lower case
	response []string // fields of the answer that the backend is told, lower case; none: all
	withhold bool     // the backend is told none
	body     int      // bytes of the request's body that are told
	patience time.Duration
}

// asker makes what a rule asks ready. Compile has closed rules that ask nobody.
func (p *Proxy) asker(a *routing.ExternalAuth) *asker {
	if a == nil {
		return nil
	}
	return &asker{
		cluster: p.o.Clusters.Cluster(a.Cluster), grpc: a.GRPC, path: a.Path,
		request: a.Request, response: a.Response, withhold: a.Withhold, body: a.MaxBody, patience: cmp.Or(a.Timeout, authTime),
	}
}

var (
	unasked     = answer{403, telemetry.Unauthorized, "nobody says that the request may pass\n"}
	bodyTooLong = answer{413, telemetry.Unauthorized, "request's body is too long to be asked about\n"}
)

// ask finds out whether the request may pass, before anything else is done
// with it. If its body is told too, that has to be whole first.
func (e *exchange) ask() {
	a := e.asking
	if a.body == 0 || e.requestEnded || e.req.Upgrade != "" {
		e.inquire()
		return
	}
	if e.req.Length > int64(a.body) {
		e.answer(&bodyTooLong)
		return
	}
	e.gathering = true
	if e.req.Fields.Has(message.Expect) {
		// The backend, whose consent the client waits for, is yet to be asked.
		e.req.Fields.Remove(message.Expect)
		e.down.Head(&message.Response{Status: 100}, false)
	}
}

// gather keeps body bytes that the server is to be told.
func (e *exchange) gather(p []byte) {
	if len(e.body)+len(p) > e.asking.body {
		e.answer(&bodyTooLong)
		return
	}
	if e.body == nil {
		e.body = e.on.takeBuffer()
	}
	e.body = append(e.body, p...)
	e.down.Consumed(len(p))
}

// gathered asks about a request that is whole.
func (e *exchange) gathered() {
	e.gathering = false
	e.inquire()
}

// admit goes on with a request that may pass.
func (e *exchange) admit(edits []policy.Edit, remove []string, response []policy.Edit) {
	for _, name := range remove {
		if id := message.Lookup(name); !ofFraming(id) && id != message.Host {
			removeField(&e.req.Fields, id, name)
		}
	}
	for i := range edits {
		x := &edits[i]
		if x.Name == "host" {
			e.req.Authority = x.Value
			continue
		}
		editField(&e.req.Fields, x)
	}
	e.granted = append(e.granted, response...)
	if e.guard != nil && e.rule == nil {
		e.askNext()
		return
	}
	e.proceed()
}

// turnAway answers as the server says that it be answered.
func (e *exchange) turnAway(status int, edits []policy.Edit, body string) {
	e.rec.Flags |= telemetry.Unauthorized
	e.rec.Policy = string(e.refusing)
	if e.grpc {
		e.answer(&answer{status: status, text: "not allowed\n"})
		return
	}
	resp := e.reply(status)
	for i := range edits {
		x := &edits[i]
		if id := message.Lookup(x.Name); id != message.Server && id != message.Date {
			editField(&resp.Fields, x)
		}
	}
	e.permit(resp)
	if status == 204 || status == 304 {
		body = ""
	}
	e.sendReply(body)
}

// editField does what a server asks about a field. What a codec makes of
// a message's framing is not the server's to say.
func editField(f *message.Fields, x *policy.Edit) {
	id := message.Lookup(x.Name)
	if ofFraming(id) {
		return
	}
	_, there := f.Value(x.Name)
	if there && x.How == policy.IfAbsent || !there && x.How == policy.IfPresent {
		return
	}
	if x.How == policy.Set || x.How == policy.IfPresent {
		removeField(f, id, x.Name)
	}
	*f = append(*f, message.Field{Text: x.Name, Value: x.Value, ID: id})
}

func removeField(f *message.Fields, id message.Name, lower string) {
	if id != message.Other {
		f.Remove(id)
		return
	}
	f.RemoveNamed(lower)
}

func ofFraming(id message.Name) bool {
	switch id {
	case message.Connection, message.ContentLength, message.TransferEncoding, message.TE, message.Trailer, message.Upgrade,
		message.KeepAlive, message.ProxyConnection, message.HTTP2Settings, message.Expect:
		return true
	}
	return false
}

// adopted returns the fields of an answer in plain HTTP that the backend is
// told: those that the rule names, else all but what the answer says of itself
// (HTTPAuthConfig.allowedResponseHeaders).
func (a *asker) adopted(fields []policy.Edit) []policy.Edit {
	return slices.DeleteFunc(fields, func(x policy.Edit) bool {
		if x.Name == "host" || a.withhold {
			return true
		}
		if len(a.response) > 0 {
			return !slices.Contains(a.response, x.Name)
		}
		switch message.Lookup(x.Name) {
		case message.ContentType, message.Date, message.Server, message.Vary, message.ETag, message.Via:
			return true
		}
		return len(x.Name) > 8 && x.Name[:8] == "content-"
	})
}
