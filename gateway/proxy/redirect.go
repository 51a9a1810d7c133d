package proxy

import (
	"net/http"
	"net/netip"
	"strconv"
	"strings"

	"fairway.dev/gateway/message"
	"fairway.dev/routing"
)

// A redirect is routing.Redirect made ready.
type redirect struct {
	*routing.Redirect
	path pathEdit
}

func newRedirect(r *routing.Redirect) *redirect { return &redirect{r, newPathEdit(r.Path)} }

// toHTTPS is what a listener with RedirectHTTPS answers.
var toHTTPS = newRedirect(&routing.Redirect{
	Scheme: "https", PortFrom: routing.RedirectPortAuthority, Status: http.StatusMovedPermanently,
})

// redirect answers with another place to go to.
func (e *exchange) redirect(r *redirect) {
	location := e.location(r)
	if r.path.regex != nil && len(location) > maxEditedPath {
		e.answer(&pathTooLong)
		return
	}
	resp := e.reply(r.Status)
	e.permit(resp)
	resp.Fields.Add(message.Location, message.Text(location))
	if s := e.share; s != nil {
		s.response.apply(&resp.Fields)
	}
	e.sendReply("")
}

// location makes the place in the loop's scratch memory. Its parts come from
// HTTPRequestRedirectFilter: what the filter does not name is the request's,
// but for the port.
func (e *exchange) location(r *redirect) []byte {
	l := e.on
	scheme := e.scheme
	if r.Scheme != "" {
		scheme = r.Scheme
	}
	b := append(l.scratch[:0], scheme...)
	b = append(b, "://"...)
	switch {
	case r.Host != "":
		b = append(b, r.Host...)
	case e.rec.Authority != "":
		b = append(b, hostOf(e.rec.Authority)...)
	default: // HTTP/1.0: what it connected to is all that it has named
		b = appendHost(b, e.peer.Local.Addr().Unmap())
	}
	if port := e.redirectPort(r, scheme); port != 0 {
		b = append(b, ':')
		b = strconv.AppendUint(b, uint64(port), 10)
	}
	path := e.req.Path
	if path == "*" {
		path = "/"
	}
	b = r.path.appendPath(b, path, took{e.took.prefix, min(e.took.bytes, len(path))})
	l.scratch = append(b, e.req.Query...)
	return l.scratch
}

// appendHost appends an address as an authority has it.
func appendHost(dst []byte, a netip.Addr) []byte {
	if !a.Is6() {
		return a.AppendTo(dst)
	}
	dst = a.WithZone("").AppendTo(append(dst, '['))
	return append(dst, ']')
}

// redirectPort returns the port that a redirect names, 0 where the scheme says
// it.
func (e *exchange) redirectPort(r *redirect, scheme string) uint16 {
	port := r.Port
	if port == 0 {
		port = e.portFrom(r)
	}
	if scheme == "http" && port == 80 || scheme == "https" && port == 443 {
		return 0
	}
	return port
}

// portFrom returns the port of a redirect that names none.
func (e *exchange) portFrom(r *redirect) uint16 {
	switch r.PortFrom {
	case routing.RedirectPortScheme:
		return 0
	case routing.RedirectPortListener:
		return e.listener.Port
	case routing.RedirectPortAuthority:
		return e.portOfAuthority(r)
	}
	if r.Scheme != "" || e.scheme != e.req.Scheme {
		// A proxy in front of us has the port that goes with the scheme
		// that it told of; ours is not the client's.
		return 0
	}
	return e.listener.Port
}

// portOfAuthority returns the port that the client has named with the host,
// where the redirect keeps that: but for one that is the own port of a scheme
// that the redirect leaves.
func (e *exchange) portOfAuthority(r *redirect) uint16 {
	authority := e.rec.Authority
	host := hostOf(authority)
	if r.Host != "" || len(host) == len(authority) {
		return 0
	}
	n, err := strconv.ParseUint(authority[len(host)+1:], 10, 16)
	if err != nil || n == 80 && e.scheme == "http" || n == 443 && e.scheme == "https" {
		return 0
	}
	return uint16(n)
}

// hostOf returns the host of an authority: without the port, with the brackets
// of an IPv6 address.
func hostOf(authority string) string {
	i := strings.LastIndexByte(authority, ':')
	if i < 0 || strings.IndexByte(authority[i:], ']') >= 0 {
		return authority
	}
	return authority[:i]
}
