package hop

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"fairway.dev/gateway/message"
	"fairway.dev/tlsmgr/identity"
)

// The fields in which one gateway tells another what a request is about. All
// that begin so are taken out of requests on their way in and out.
const (
	prefix      = "x-fairway-"
	targetField = "x-fairway-target"
	sourceField = "x-fairway-source"
	clientField = "x-fairway-client"
	protoField  = "x-fairway-proto"
)

// oldProto is the one value of protoField: of requests that are HTTP/2 already
// nothing has to be said.
const oldProto = "HTTP/1.1"

// said is what a peer says in those fields. The strings are the request's.
type said struct{ target, source, client, proto string }

var (
	errTwice    = errors.New("a field of x-fairway- twice")
	errNoTarget = errors.New("request without x-fairway-target")
)

// takeSaid takes the fields out of a request.
func takeSaid(fields *message.Fields) (s said, err error) {
	all := *fields
	kept := all[:0]
	for i := range all {
		f := &all[i]
		if !ours(f) {
			kept = append(kept, *f)
			continue
		}
		var at *string
		switch {
		case message.EqualFold(targetField, f.Text):
			at = &s.target
		case message.EqualFold(sourceField, f.Text):
			at = &s.source
		case message.EqualFold(clientField, f.Text):
			at = &s.client
		case message.EqualFold(protoField, f.Text):
			at = &s.proto
		default:
			continue
		}
		if *at != "" {
			err = errTwice
		}
		*at = f.Value
	}
	*fields = kept
	return s, err
}

// ours reports whether a field is one that only gateways say.
func ours(f *message.Field) bool {
	return f.ID == message.Other && len(f.Text) >= len(prefix) && message.EqualFold(prefix, f.Text[:len(prefix)])
}

// tell puts the fields of h into a request, in place of any that are there, and
// returns how many it has put in, which are the last. buf is for the client's
// text, and is returned.
func tell(fields *message.Fields, h *message.Hop, buf []byte) (n int, _ []byte) {
	strip(fields)
	before := len(*fields)
	add := func(name, value string) {
		if value != "" {
			*fields = append(*fields, message.Field{Text: name, Value: value})
		}
	}
	add(targetField, h.Target)
	add(sourceField, h.Source)
	if h.Old {
		add(protoField, oldProto)
	}
	if h.Client.IsValid() {
		buf = h.Client.AppendTo(buf[:0])
		add(clientField, message.Text(buf))
	}
	return len(*fields) - before, buf
}

// strip drops what a client has made up.
func strip(fields *message.Fields) {
	for i := range *fields {
		if ours(&(*fields)[i]) {
			takeSaid(fields) // whatever it is
			return
		}
	}
}

// maxClient is how long an address and a port are at most. Zeros in front would
// make any text of them, which is remembered (see answers).
const maxClient = len("[ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255]:65535")

// arrival checks what was said, and makes an Arrival of its strings, which are to
// stay. authority is what is asked for.
func (s *said) arrival(peer *message.Peer, authority string) (*Arrival, error) {
	a := &Arrival{Peer: peer, Authority: authority, Source: s.source}
	if err := checkAuthority(authority); err != nil {
		return a, err
	}
	if s.source != "" && s.source != message.Nobody {
		if _, err := identity.Parse(s.source); err != nil {
			return a, fmt.Errorf("%s: %w", sourceField, err)
		}
	}
	if s.client != "" {
		client, err := netip.ParseAddrPort(s.client)
		if err != nil || client.Addr().Zone() != "" || len(s.client) > maxClient {
			return a, fmt.Errorf("%s %.64q: want ADDRESS:PORT", clientField, s.client)
		}
		a.Client = netip.AddrPortFrom(client.Addr().Unmap(), client.Port())
	}
	return a, nil
}

// checkAuthority returns an error unless s is a host and a port, as CONNECT has
// them (RFC 9110 section 9.3.6).
func checkAuthority(s string) error {
	colon := strings.LastIndexByte(s, ':')
	if colon <= 0 || !message.IsAuthority(s) {
		return fmt.Errorf("authority %.100q: want HOST:PORT", s)
	}
	port, err := strconv.ParseUint(s[colon+1:], 10, 16)
	if err != nil || port == 0 {
		return fmt.Errorf("authority %.100q: want a port of 1-65535", s)
	}
	return nil
}

// clone returns s with strings of its own.
func (s *said) clone() said {
	all := s.target + s.source + s.client
	all, client := all[:len(all)-len(s.client)], all[len(all)-len(s.client):]
	c := said{target: all[:len(s.target)], source: all[len(s.target):], client: client}
	if s.proto != "" {
		c.proto = strings.Clone(s.proto)
	}
	return c
}
