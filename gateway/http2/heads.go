package http2

import "fairway.dev/gateway/message"

// statusDigits holds the digits of all statuses from 100 to 999.
var statusDigits = func() string {
	var b []byte
	for n := 100; n < 1000; n++ {
		b = append(b, byte('0'+n/100), byte('0'+n/10%10), byte('0'+n%10))
	}
	return string(b)
}()

// response appends the header block of a response head. status replaces the
// head's own.
func (e *encoder) response(dst []byte, resp *message.Response, status int) []byte {
	dst = e.status(e.begin(dst), status)
	if status >= 200 && status != 204 {
		dst = e.length(dst, resp.Length)
	}
	return e.fields(dst, resp.Fields)
}

// tunnel appends the header block that accepts an extended CONNECT: what an
// HTTP/1 backend added for its own handshake is left out (RFC 8441 section 5).
func (e *encoder) tunnel(dst []byte, resp *message.Response) []byte {
	return e.fieldsBut(e.status(e.begin(dst), 200), resp.Fields, message.SecWebSocketAccept)
}

// connected appends the header block of a 2xx that opens a tunnel: it says
// nothing of a length (RFC 9110 section 9.3.6).
func (e *encoder) connected(dst []byte, resp *message.Response) []byte {
	return e.fields(e.status(e.begin(dst), resp.Status), resp.Fields)
}

func (e *encoder) fieldsBut(dst []byte, fields message.Fields, but message.Name) []byte {
	for i := range fields {
		if fields[i].ID != but {
			dst = e.fields(dst, fields[i:i+1])
		}
	}
	return dst
}

func (e *encoder) status(dst []byte, status int) []byte {
	switch status {
	case 200:
		return append(dst, 0x80|indexStatus)
	case 204:
		return append(dst, 0x80|indexStatus+1)
	case 206:
		return append(dst, 0x80|indexStatus+2)
	case 304:
		return append(dst, 0x80|indexStatus+3)
	case 400:
		return append(dst, 0x80|indexStatus+4)
	case 404:
		return append(dst, 0x80|indexStatus+5)
	case 500:
		return append(dst, 0x80|indexStatus+6)
	}
	at := (min(max(status, 100), 999) - 100) * 3
	return e.field(dst, indexStatus, message.Other, ":status", statusDigits[at:at+3])
}

// request appends the header block of a request's head; last says that there
// is no body.
func (e *encoder) request(dst []byte, req *message.Request, last bool) []byte {
	dst = e.begin(dst)
	switch {
	case req.Method == "CONNECT" && req.Upgrade == "": // RFC 9113 section 8.5
		dst = e.field(dst, indexGET, message.Other, ":method", "CONNECT")
		dst = e.field(dst, indexAuthority, message.Other, ":authority", req.Authority)
		return e.fields(dst, req.Fields)
	case req.Upgrade != "":
		dst = e.field(dst, indexGET, message.Other, ":method", "CONNECT")
		dst = e.field(dst, 0, message.Other, ":protocol", req.Upgrade)
	case req.Method == "GET":
		dst = append(dst, 0x80|indexGET)
	case req.Method == "POST":
		dst = append(dst, 0x80|indexPOST)
	default:
		dst = e.field(dst, indexGET, message.Other, ":method", req.Method)
	}
	if req.Scheme == "https" {
		dst = append(dst, 0x80|indexHTTPS)
	} else {
		dst = append(dst, 0x80|indexHTTP)
	}
	dst = e.field(dst, indexAuthority, message.Other, ":authority", req.Authority)
	dst = e.path(dst, req)
	if req.Upgrade != "" {
		return e.fieldsBut(dst, req.Fields, message.SecWebSocketKey)
	}
	if req.Length > 0 || req.Length == 0 && (!last || hasContent(req.Method)) {
		dst = e.length(dst, req.Length)
	}
	if req.Trailers {
		dst = e.field(dst, 0, message.TE, "te", "trailers")
	}
	return e.fields(dst, req.Fields)
}

// hasContent reports whether a request without a body is expected to say so
// (RFC 9110 section 8.6).
func hasContent(method string) bool {
	return method == "POST" || method == "PUT" || method == "PATCH"
}

func (e *encoder) path(dst []byte, req *message.Request) []byte {
	switch {
	case req.Query == "" && (req.Path == "" || req.Path == "/"):
		return append(dst, 0x80|indexPath)
	case req.Query == "":
		return e.field(dst, indexPath, message.Other, ":path", req.Path)
	}
	dst = appendInteger(dst, 0, 4, indexPath)
	dst = appendInteger(dst, 0, 7, uint64(len(req.Path)+len(req.Query)))
	dst = append(dst, req.Path...)
	return append(dst, req.Query...)
}
