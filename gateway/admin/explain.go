package admin

import (
	"fmt"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"fairway.dev/gateway/message"
	"fairway.dev/routing"
)

// A Question is a request that is to be explained.
type Question struct {
	Method  string   // empty: GET
	URL     string   // what the client dials
	Headers []string // "Name: value"; Host stands for the request's host, while the URL's remains the name in the TLS handshake
	// Source is who the client is in the mesh, "spiffe://..."; empty: nobody
	// knows. Address is where it connects from; invalid: anywhere.
	Source  string
	Address netip.Addr
}

// Explain says, as lines of text, which rule of snap takes a request and why
// each that had come before does not, and what the policies of its listener say
// to it. Of a waypoint the URL has the address or the name of a Service.
func Explain(snap *routing.Snapshot, q Question) (string, error) {
	u, err := url.Parse(q.URL)
	if err != nil {
		return "", err
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" {
		return "", fmt.Errorf("url %q: want http://host/path or https://host/path", q.URL)
	}
	ports, err := portsFor(snap, u, namespaceOf(q.Source))
	if err != nil {
		return "", err
	}
	r, err := request(q.Method, u, q.Headers)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	for i, p := range ports {
		if i > 0 {
			b.WriteByte('\n')
		}
		r.Source = q.Address
		e := p.Explain(r)
		b.WriteString(e.String())
		if l := e.Result.Listener; l != nil && len(l.Policies) > 0 {
			writePolicies(&b, snap, l, netip.AddrPortFrom(p.Key.Addr, dialled(u)), r, &q)
		}
	}
	return b.String(), nil
}

// portsFor returns the ports that a request for u may come to. A URL without
// a port means 80 or 443; where the gateway has no such port, something in
// front of it maps them, to any of those with the protocol.
func portsFor(snap *routing.Snapshot, u *url.URL, namespace string) ([]*routing.Port, error) {
	protocol, number := routing.HTTP, strconv.Itoa(int(dialled(u)))
	if u.Scheme == "https" {
		protocol = routing.HTTPS
	}
	if p := doorFor(snap, u.Hostname(), number, namespace); p != nil {
		return []*routing.Port{p}, nil
	}
	var exact, mapped []*routing.Port
	var all []string
	for _, p := range snap.Ports() {
		all = append(all, fmt.Sprintf("%s (%s)", p.Key, p.Protocol))
		switch {
		case p.Protocol != protocol:
		case strconv.Itoa(int(p.Key.Port)) == number:
			exact = append(exact, p)
		case u.Port() == "":
			mapped = append(mapped, p)
		}
	}
	if len(exact) > 0 {
		return exact, nil
	}
	if len(mapped) > 0 {
		return mapped, nil
	}
	if len(all) == 0 {
		all = []string{"none"}
	}
	return nil, fmt.Errorf("no port %s for %s; the gateway has: %s", number, protocol, strings.Join(all, ", "))
}

// dialled is the port that clients of u dial; 0 where that is none.
func dialled(u *url.URL) uint16 {
	number, standard := u.Port(), uint16(80)
	if u.Scheme == "https" {
		standard = 443
	}
	if number == "" {
		return standard
	}
	port, err := strconv.ParseUint(number, 10, 16)
	if err != nil {
		return 0
	}
	return uint16(port)
}

// request is what u, asked for with a method and headers, comes to once the
// proxy has made it ready for matching.
func request(method string, u *url.URL, headers []string) (*routing.Request, error) {
	path, err := pathOf(u)
	if err != nil {
		return nil, err
	}
	r := &routing.Request{Host: hostname(u.Host), Authority: u.Host, Path: path, Query: u.RawQuery, Method: method}
	if r.Method == "" {
		r.Method = "GET"
	}
	if _, err := netip.ParseAddr(r.Host); err != nil && u.Scheme == "https" {
		r.SNI = r.Host // RFC 6066 section 3: no addresses
	}
	fields := &message.Fields{}
	for _, h := range headers {
		name, value, ok := strings.Cut(h, ":")
		name, value = strings.TrimSpace(name), strings.TrimSpace(value)
		if !ok || name == "" {
			return nil, fmt.Errorf("header %q: want name: value", h)
		}
		if strings.EqualFold(name, "host") {
			r.Host, r.Authority = hostname(value), value
			continue
		}
		fields.Append(name, value)
	}
	if !fields.Has(message.XForwardedProto) { // a header stands for a trusted hop's word
		fields.Add(message.XForwardedProto, u.Scheme)
	}
	r.Header = fields
	r.Scheme, _ = fields.Get(message.XForwardedProto)
	return r, nil
}

// pathOf returns the path that is matched, without dot segments.
func pathOf(u *url.URL) (string, error) {
	path := u.EscapedPath()
	switch {
	case path == "":
		return "/", nil
	case strings.Contains(path, "%00"):
		return "", fmt.Errorf("path %q with an encoded NUL: 400", path)
	case message.HasDotSegment(path):
		return string(message.AppendResolved(nil, path)), nil
	}
	return path, nil
}

// hostname is an authority without its port, in lower case.
func hostname(authority string) string {
	return strings.ToLower((&url.URL{Host: authority}).Hostname())
}
