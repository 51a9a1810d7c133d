package proxy

import (
	"fairway.dev/gateway/telemetry"
	"fairway.dev/routing"
)

// route finds the listener of the request and the rule, and does what that
// says, or answers.
func (e *exchange) route() {
	snap := e.on.proxy.snap.Load()
	e.snap = snap
	if snap == nil {
		e.answer(&noRoute)
		return
	}
	port := e.peer.Listener.(*Bind).in(snap)
	if port == nil {
		e.answer(&noRoute)
		return
	}
	res := port.Match(e.question())
	l := res.Listener
	if l == nil {
		e.unmatched(&res)
		return
	}
	e.watch(l)
	if !e.admitted(l) {
		res.Misdirected, res.Target = true, nil
	}
	switch {
	case res.Misdirected || res.Shut:
		e.unmatched(&res)
	case l.RedirectHTTPS && e.scheme != "https":
		e.listener = l
		e.tellLost(l)
		e.redirect(toHTTPS)
	case len(l.JWT) > 0:
		e.authenticate(port, l)
	default:
		e.pass(&res, nil)
	}
}

// question is what matching is to look at, but for the claims of a token.
func (e *exchange) question() *routing.Request {
	m := &e.on.match
	m.Host, m.Path, m.Query, m.Method = e.lower(hostOf(e.req.Authority)), e.req.Path, e.req.Query, e.req.Method
	m.Header, m.SNI = &e.req.Fields, ""
	m.Scheme, m.Authority = e.scheme, e.req.Authority
	m.Identity = e.peer.Identity
	m.Source, m.Destination = e.peer.Remote.Addr().Unmap(), e.peer.Local.Addr().Unmap()
	if e.peer.TLS != nil {
		m.SNI = e.lower(e.peer.TLS.ServerName)
	}
	return m
}

// arrive does what the rule says that takes the request.
func (e *exchange) arrive(res *routing.Result) {
	if res.Target == nil {
		e.unmatched(res)
		return
	}
	e.listener, e.rule = res.Listener, res.Target.Prepared.(*rule)
	e.took = took{res.Prefix, res.Matched}
	e.act()
}

// admitted reports whether the connection has shown what l asks of clients now.
// One that has not came in before l asked, or asked for something else: its
// client is to make another (RFC 9110 section 15.5.20).
func (e *exchange) admitted(l *routing.Listener) bool {
	switch {
	case l.TLS == nil:
		return true
	case l.TLS.Closed:
		return false
	case l.TLS.Client == nil || l.TLS.Client.AllowInsecure:
		return true
	case l.TLS.Client.Optional && clientOf(e.peer) == telemetry.NoClientCertificate:
		return true
	}
	return l.TLS.Client.ProvedBy(e.peer.ClientRoots)
}

// unmatched answers a request that no rule takes.
func (e *exchange) unmatched(res *routing.Result) {
	if res.Listener != nil {
		e.tellLost(res.Listener)
	}
	switch {
	case res.Misdirected:
		e.answer(&misdirected)
	case res.Shut:
		e.answer(&shut)
	default:
		e.answer(&noRoute)
	}
}

// tellLost has those hear of the request who hear of what no rule of l takes.
func (e *exchange) tellLost(l *routing.Listener) {
	if tell := e.on.proxy.lostAt(l); tell != nil {
		e.tell = tell
	}
}
