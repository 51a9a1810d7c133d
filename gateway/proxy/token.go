package proxy

import (
	"errors"
	"net/http"

	"fairway.dev/gateway/message"
	"fairway.dev/gateway/policy/jwt"
	"fairway.dev/gateway/telemetry"
	"fairway.dev/routing"
)

// tokenRules returns the rules by which tokens of l's requests are proved. Those
// of a listener that has left the Snapshot, and still has connections, are made
// anew.
func (p *Proxy) tokenRules(l *routing.Listener) *jwt.Rules {
	if r, ok := p.tokens.Load(l); ok {
		return r.(*jwt.Rules)
	}
	r, _ := p.tokens.LoadOrStore(l, p.o.Tokens.Rules(l.JWT))
	return r.(*jwt.Rules)
}

// prepareTokens makes the rules of snap's listeners, and forgets those that are
// neither there nor in the Snapshot in force.
func (p *Proxy) prepareTokens(snap *routing.Snapshot) {
	needed := map[*routing.Listener]bool{}
	for _, s := range []*routing.Snapshot{snap, p.snap.Load()} {
		if s == nil {
			continue
		}
		for l := range s.Demanding() {
			needed[l] = len(l.JWT) > 0
		}
	}
	var rules []*jwt.Rules
	for l, has := range needed {
		if has {
			rules = append(rules, p.tokenRules(l))
		}
	}
	p.tokens.Range(func(l, _ any) bool {
		if !needed[l.(*routing.Listener)] {
			p.tokens.Delete(l)
		}
		return true
	})
	p.o.Tokens.Retain(rules)
}

// A proof waits for keys, for its exchange while there is that.
type proof struct{ e *exchange }

// authenticate proves the request's token as the rules of l, on port, say. Then
// the request is matched again, as routes may depend on what the token claims
// and on the fields that it brings.
func (e *exchange) authenticate(port *routing.Port, l *routing.Listener) {
	e.listener, e.port = l, port
	e.tokens = e.on.proxy.tokenRules(l)
	e.req.Fields = e.tokens.Clean(e.req.Fields)
	e.waits = len(l.JWT)
	e.prove()
}

// prove goes on with a request whose token holds, or that has none. Preflights
// have none: browsers send them without.
func (e *exchange) prove() {
	if e.isPreflight() {
		e.dispatch(nil)
		return
	}
	token, wait, err := e.tokens.Prove(e.req, &e.on.proven)
	switch {
	case wait != nil && e.waits > 0:
		e.waits--
		e.await(wait)
	case err != nil:
		e.refuseToken(err)
	case token == nil:
		e.dispatch(nil)
	default:
		for _, x := range token.Present(e.req) {
			editField(&e.req.Fields, &x)
		}
		e.dispatch(token)
	}
}

// await has the token proved once keys are there. What comes of the request's
// body meanwhile waits.
func (e *exchange) await(wait *jwt.Wait) {
	p, l := &proof{e}, e.on.loop
	e.proof = p
	wait.Tell(func() { l.Post(p.ready) })
}

// ready is called on the loop.
func (p *proof) ready() {
	if e := p.e; e != nil {
		e.proof = nil
		e.moved()
		e.prove()
	}
}

// dispatch matches a request whose token, if it has one, was proved.
func (e *exchange) dispatch(token *jwt.Token) {
	m := e.question()
	if token != nil {
		m.Claims = token
	}
	res := e.port.Match(m)
	m.Claims = nil
	e.pass(&res, token)
}

// refuseToken answers a request whose token does not hold (RFC 6750 section 3.1).
func (e *exchange) refuseToken(why error) {
	e.tellLost(e.listener)
	e.rec.Flags |= telemetry.Unauthorized
	text := "token does not hold\n"
	if errors.Is(why, jwt.ErrExpired) {
		text = "token is over\n"
	}
	if e.grpc {
		e.answerGRPC(grpcStatus(http.StatusUnauthorized), text)
		return
	}
	resp := e.reply(http.StatusUnauthorized)
	resp.Fields.Append("WWW-Authenticate", `Bearer error="invalid_token"`)
	resp.Fields.Add(message.ContentType, plainText)
	e.sendReply(text)
}

// isPreflight reports whether the request is a preflight of CORS (Fetch
// standard, CORS-preflight request).
func (e *exchange) isPreflight() bool {
	return e.req.Method == http.MethodOptions && e.req.Fields.Has(message.Origin) && e.req.Fields.Has(message.AccessControlRequestMethod)
}
