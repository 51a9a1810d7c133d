package proxy

import (
	"net/netip"
	"strconv"
	"strings"

	"fairway.dev/gateway/message"
	"fairway.dev/routing"
)

// redirect answers with another place to go to. Location's parts come from
// HTTPRequestRedirectFilter: what the filter does not name is the request's,
// but for the port.
func (e *exchange) redirect(r *routing.Redirect) {
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
	b = appendPath(b, &r.Path, path, e.prefix)
	b = append(b, e.req.Query...)
	l.scratch = b
	resp := e.reply(r.Status)
	if e.share.cors != nil {
		e.share.cors.dress(e.origin, &resp.Fields)
	}
	resp.Fields.Add(message.Location, message.Text(b))
	e.share.response.apply(&resp.Fields)
	e.sendReply("")
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
// it: the filter's, else the filter's scheme's, else the listener's.
func (e *exchange) redirectPort(r *routing.Redirect, scheme string) uint16 {
	port := r.Port
	if port == 0 {
		if r.Scheme != "" || e.scheme != e.req.Scheme {
			// A proxy in front of us has the port that goes with the scheme
			// that it told of; ours is not the client's.
			return 0
		}
		port = e.listener.Port
	}
	if scheme == "http" && port == 80 || scheme == "https" && port == 443 {
		return 0
	}
	return port
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
