package message

// A Name is a well-known field name, so that the hot path compares numbers.
// Other stands for every name that is not in the list.
type Name uint8

const (
	Other Name = iota
	Accept
	AcceptEncoding
	AccessControlAllowCredentials
	AccessControlAllowHeaders
	AccessControlAllowMethods
	AccessControlAllowOrigin
	AccessControlExposeHeaders
	AccessControlMaxAge
	AccessControlRequestHeaders
	AccessControlRequestMethod
	Authorization
	Baggage
	Connection
	ContentLength
	ContentType
	Cookie
	Date
	ETag
	Expect
	Forwarded
	GRPCMessage
	GRPCStatus
	GRPCTimeout
	HTTP2Settings
	Host
	KeepAlive
	Location
	Origin
	ProxyAuthenticate
	ProxyAuthorization
	ProxyConnection
	Referer
	RetryAfter
	SecWebSocketAccept
	SecWebSocketKey
	SecWebSocketVersion
	Server
	SetCookie
	TE
	Traceparent
	Tracestate
	Trailer
	TransferEncoding
	Upgrade
	UserAgent
	Vary
	Via
	XForwardedClientCert
	XForwardedFor
	XForwardedHost
	XForwardedPort
	XForwardedProto
	XRequestID
	numNames
)

var nameText = [numNames]string{
	Accept: "accept", AcceptEncoding: "accept-encoding",
	AccessControlAllowCredentials: "access-control-allow-credentials",
	AccessControlAllowHeaders:     "access-control-allow-headers",
	AccessControlAllowMethods:     "access-control-allow-methods",
	AccessControlAllowOrigin:      "access-control-allow-origin",
	AccessControlExposeHeaders:    "access-control-expose-headers",
	AccessControlMaxAge:           "access-control-max-age",
	AccessControlRequestHeaders:   "access-control-request-headers",
	AccessControlRequestMethod:    "access-control-request-method",
	Authorization:                 "authorization", Baggage: "baggage", Connection: "connection",
	ContentLength: "content-length", ContentType: "content-type", Cookie: "cookie", Date: "date",
	ETag: "etag", Expect: "expect", Forwarded: "forwarded", GRPCMessage: "grpc-message",
	GRPCStatus: "grpc-status", GRPCTimeout: "grpc-timeout", HTTP2Settings: "http2-settings",
	Host: "host", KeepAlive: "keep-alive", Location: "location", Origin: "origin",
	ProxyAuthenticate: "proxy-authenticate", ProxyAuthorization: "proxy-authorization",
	ProxyConnection: "proxy-connection", Referer: "referer", RetryAfter: "retry-after",
	SecWebSocketAccept: "sec-websocket-accept", SecWebSocketKey: "sec-websocket-key",
	SecWebSocketVersion: "sec-websocket-version", Server: "server", SetCookie: "set-cookie",
	TE: "te", Traceparent: "traceparent", Tracestate: "tracestate", Trailer: "trailer",
	TransferEncoding: "transfer-encoding", Upgrade: "upgrade", UserAgent: "user-agent",
	Vary: "vary", Via: "via", XForwardedClientCert: "x-forwarded-client-cert",
	XForwardedFor: "x-forwarded-for", XForwardedHost: "x-forwarded-host",
	XForwardedPort: "x-forwarded-port", XForwardedProto: "x-forwarded-proto", XRequestID: "x-request-id",
}

// String returns the name in lower case, as HTTP/2 writes it; empty for Other.
func (n Name) String() string { return nameText[n] }

// nameHash sends the names of nameText to different slots (a test holds it),
// so that Lookup compares with one candidate only. Its factors were found by
// trying; after a new name TestNamesHashApart may ask for others.
func nameHash(s string) uint {
	n := len(s)
	return (uint(n)*75 + uint(s[0]|0x20)*238 + uint(s[n*3/4]|0x20)*6 + uint(s[n-1]|0x20)*107) % nameSlots
}

const nameSlots = 512

var namesByHash = func() (t [nameSlots]Name) {
	for n := Other + 1; n < numNames; n++ {
		t[nameHash(nameText[n])] = n
	}
	return t
}()

// Lookup returns the well-known name that s is, in any case, or Other.
func Lookup(s string) Name {
	if s == "" {
		return Other
	}
	n := namesByHash[nameHash(s)]
	if n != Other && EqualFold(nameText[n], s) {
		return n
	}
	return Other
}

// EqualFold reports whether lower, a field name in lower case, is s in any
// case. Only ASCII letters fold.
func EqualFold(lower, s string) bool {
	if len(lower) != len(s) {
		return false
	}
	for i := 0; i < len(s); i++ {
		c := s[i]
		if 'A' <= c && c <= 'Z' {
			c |= 0x20
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}

// A Field is one header or trailer field.
type Field struct {
	Text  string // the name as it was sent; use it when ID is Other
	Value string // without white space around it
	ID    Name
}

// Fields is a list of fields in the order of the wire.
type Fields []Field

// Add appends a field with a well-known name.
func (f *Fields) Add(id Name, value string) {
	*f = append(*f, Field{Text: nameText[id], Value: value, ID: id})
}

// Append appends a field with any name.
func (f *Fields) Append(name, value string) {
	*f = append(*f, Field{Text: name, Value: value, ID: Lookup(name)})
}

// Get returns the value of the first field with a well-known name.
func (f Fields) Get(id Name) (string, bool) {
	for i := range f {
		if f[i].ID == id {
			return f[i].Value, true
		}
	}
	return "", false
}

// Has reports whether a field with a well-known name is present.
func (f Fields) Has(id Name) bool {
	_, ok := f.Get(id)
	return ok
}

// Set replaces all fields of a well-known name by one.
func (f *Fields) Set(id Name, value string) {
	f.Remove(id)
	f.Add(id, value)
}

// Remove drops all fields of a well-known name.
func (f *Fields) Remove(id Name) {
	l := *f
	i := 0
	for i < len(l) && l[i].ID != id {
		i++
	}
	if i == len(l) {
		return
	}
	kept := l[:i]
	for _, x := range l[i+1:] {
		if x.ID != id {
			kept = append(kept, x)
		}
	}
	*f = kept
}

// is reports whether the field at i has the name lower, in lower case.
func (f Fields) is(i int, id Name, lower string) bool {
	if id != Other {
		return f[i].ID == id
	}
	return f[i].ID == Other && EqualFold(lower, f[i].Text)
}

// Value returns what all fields named lower (in lower case) say together:
// the values joined by ", " as RFC 9110 section 5.3 has it. It allocates only
// where there are several.
func (f Fields) Value(lower string) (string, bool) {
	id := Lookup(lower)
	value, found := "", false
	for i := range f {
		if !f.is(i, id, lower) {
			continue
		}
		if found {
			value += ", " + f[i].Value
		} else {
			value, found = f[i].Value, true
		}
	}
	return value, found
}

// SetNamed replaces all fields named lower (in lower case) by one.
func (f *Fields) SetNamed(lower, value string) {
	f.RemoveNamed(lower)
	f.Append(lower, value)
}

// RemoveNamed drops all fields named lower, in lower case.
func (f *Fields) RemoveNamed(lower string) {
	id := Lookup(lower)
	if id != Other {
		f.Remove(id)
		return
	}
	l := *f
	kept := l[:0]
	for i := range l {
		if !l.is(i, Other, lower) {
			kept = append(kept, l[i])
		}
	}
	*f = kept
}
