package policy

import (
	"net/netip"
	"strings"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"

	"fairway.dev/gateway/message"
	"fairway.dev/gateway/wire"
)

// CheckPath is the path of the gRPC method that takes a Check.
const CheckPath = "/envoy.service.auth.v3.Authorization/Check"

// A Check is what an authorization server is asked: a CheckRequest.
type Check struct {
	Source, Destination netip.AddrPort // the ends of the client's connection
	SNI                 string         // of its ClientHello; empty without TLS
	Time                time.Time      // when the request came
	ID                  string         // of the request
	Method              string
	Scheme              string
	Host                string
	Path                string // with the query, as the client sent it
	Proto               message.Proto
	Fields              message.Fields
	// Wants says which fields are told, by their names in lower case. If nil, all.
	Wants func(lower string) bool
	Size  int64  // of the request's body, -1 where it is not known
	Body  []byte // as much of it as is told
}

// Numbers of fields, by the names that the protocol's files have for them.
const (
	checkRequestAttributes = 1

	attributesSource      = 1
	attributesDestination = 2
	attributesRequest     = 4
	attributesTLSSession  = 12

	peerAddress      = 1
	addressSocket    = 1
	socketAddress    = 2
	socketPortValue  = 3
	requestTime      = 1
	requestHTTP      = 2
	timestampSeconds = 1
	timestampNanos   = 2
	tlsSessionSNI    = 1
	httpID           = 1
	httpMethod       = 2
	httpHeaders      = 3
	httpPath         = 4
	httpHost         = 5
	httpScheme       = 6
	httpSize         = 9
	httpProtocol     = 10
	httpBody         = 11
	httpRawBody      = 12
	mapKey, mapValue = 1, 2
	pseudoMethod     = ":method"
	pseudoPath       = ":path"
	pseudoAuthority  = ":authority"
	pseudoScheme     = ":scheme"
)

// Append appends the message to dst.
func (c *Check) Append(dst []byte) []byte {
	return wire.AppendMessage(dst, checkRequestAttributes, c.attributes)
}

func (c *Check) attributes(b []byte) []byte {
	b = wire.AppendMessage(b, attributesSource, peer(c.Source))
	b = wire.AppendMessage(b, attributesDestination, peer(c.Destination))
	b = wire.AppendMessage(b, attributesRequest, c.request)
	if c.SNI != "" {
		b = wire.AppendMessage(b, attributesTLSSession, func(b []byte) []byte { return wire.AppendText(b, tlsSessionSNI, c.SNI) })
	}
	return b
}

func peer(addr netip.AddrPort) func([]byte) []byte {
	socket := func(b []byte) []byte {
		b = wire.AppendText(b, socketAddress, addr.Addr().String())
		return wire.AppendNumber(b, socketPortValue, uint64(addr.Port()))
	}
	address := func(b []byte) []byte { return wire.AppendMessage(b, addressSocket, socket) }
	return func(b []byte) []byte { return wire.AppendMessage(b, peerAddress, address) }
}

func (c *Check) request(b []byte) []byte {
	b = wire.AppendMessage(b, requestTime, func(b []byte) []byte {
		b = wire.AppendNumber(b, timestampSeconds, uint64(c.Time.Unix()))
		return wire.AppendNumber(b, timestampNanos, uint64(c.Time.Nanosecond()))
	})
	return wire.AppendMessage(b, requestHTTP, c.http)
}

func (c *Check) http(b []byte) []byte {
	b = wire.AppendText(b, httpID, c.ID)
	b = wire.AppendText(b, httpMethod, c.Method)
	b = c.headers(b)
	b = wire.AppendText(b, httpPath, c.Path)
	b = wire.AppendText(b, httpHost, c.Host)
	b = wire.AppendText(b, httpScheme, c.Scheme)
	b = wire.AppendNumber(b, httpSize, uint64(c.Size))
	b = wire.AppendText(b, httpProtocol, c.Proto.String())
	switch {
	case len(c.Body) == 0:
	case utf8.Valid(c.Body):
		b = wire.AppendText(b, httpBody, string(c.Body))
	default:
		b = protowire.AppendTag(b, httpRawBody, protowire.BytesType)
		b = protowire.AppendBytes(b, c.Body)
	}
	return b
}

// headers writes a map: each name once, with all its values.
func (c *Check) headers(b []byte) []byte {
	told := func(lower, value string) {
		if c.Wants != nil && !c.Wants(lower) {
			return
		}
		b = wire.AppendMessage(b, httpHeaders, func(b []byte) []byte {
			return wire.AppendText(wire.AppendText(b, mapKey, lower), mapValue, value)
		})
	}
	told(pseudoMethod, c.Method)
	told(pseudoPath, c.Path)
	told(pseudoAuthority, c.Host)
	told(pseudoScheme, c.Scheme)
	for i := range c.Fields {
		f := &c.Fields[i]
		lower := lowerName(f)
		if !isFirst(c.Fields[:i], f, lower) {
			continue
		}
		value, _ := c.Fields.Value(lower)
		told(lower, value)
	}
	return b
}

func lowerName(f *message.Field) string {
	if f.ID != message.Other {
		return f.ID.String()
	}
	return strings.ToLower(f.Text)
}

func isFirst(before message.Fields, f *message.Field, lower string) bool {
	for i := range before {
		if before[i].ID == f.ID && (f.ID != message.Other || message.EqualFold(lower, before[i].Text)) {
			return false
		}
	}
	return true
}
