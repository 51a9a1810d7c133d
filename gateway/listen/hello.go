package listen

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
)

// maxHello bounds the bytes that are looked at for a ClientHello. Those of
// today have 2 KiB, with keys that withstand quantum computers.
const maxHello = 16 << 10

// What a ClientHello is made of (RFC 8446 sections 4, 4.1.2 and 5.1, RFC 6066
// section 3).
const (
	recordHandshake   = 22
	recordHeaderSize  = 5
	maxRecord         = 1 << 14
	maxVersion        = 0x10 // the first byte of a record's version is below
	typeClientHello   = 1
	messageHeaderSize = 4
	helloFixedSize    = 2 + 32 // version and random
	extensionName     = 0      // server_name
	nameHost          = 0      // host_name
)

var (
	errNotTLS    = errors.New("no TLS handshake")
	errNoHello   = errors.New("no ClientHello")
	errBadHello  = errors.New("malformed ClientHello")
	errLongHello = fmt.Errorf("ClientHello not whole after %d bytes", maxHello)
)

// serverName reads the name that a client asks for out of the first bytes of
// its connection, in lower case; empty where it names none. Whole is false
// where p ends before the ClientHello does. Nothing but the frame around the
// name is checked: who ends the TLS does the rest. But what could be read in
// two ways is refused.
func serverName(p []byte) (name string, whole bool, err error) {
	message, whole, err := helloMessage(p)
	if !whole || err != nil {
		return "", false, err
	}
	name, ok := nameIn(message)
	if !ok {
		return "", false, errBadHello
	}
	return name, true, nil
}

// helloMessage returns the body of the ClientHello at the beginning of p: a
// part of p where one record holds it, as it mostly does, else a copy.
func helloMessage(p []byte) (body []byte, whole bool, err error) {
	var message []byte
	for len(message) < messageHeaderSize || len(message) < messageSize(message) {
		record, rest, err := nextRecord(p)
		if err != nil || record == nil {
			return nil, false, err
		}
		p = rest
		if message == nil {
			message = record[:len(record):len(record)] // what is appended must not overwrite p
		} else {
			message = append(message, record...)
		}
		if message[0] != typeClientHello {
			return nil, false, errNoHello
		}
		if len(message) >= messageHeaderSize && messageSize(message) > maxHello {
			return nil, false, errLongHello
		}
	}
	return message[messageHeaderSize:messageSize(message)], true, nil
}

// messageSize returns the size of the handshake message that p begins with,
// with its header.
func messageSize(p []byte) int {
	return messageHeaderSize + int(p[1])<<16 + int(p[2])<<8 + int(p[3])
}

// nextRecord returns the content of the record that p begins with, and what
// follows it; nil where p ends before the record does. Its version counts for
// nothing (RFC 8446 section 5.1), but no TLS ever had one as large as ASCII.
func nextRecord(p []byte) (record, rest []byte, err error) {
	if len(p) > 0 && p[0] != recordHandshake || len(p) > 1 && p[1] >= maxVersion {
		return nil, nil, errNotTLS
	}
	if len(p) < recordHeaderSize {
		return nil, nil, nil
	}
	n := int(binary.BigEndian.Uint16(p[3:]))
	if n == 0 || n > maxRecord {
		return nil, nil, errNotTLS
	}
	if p = p[recordHeaderSize:]; len(p) < n {
		return nil, nil, nil
	}
	return p[:n], p[n:], nil
}

// nameIn reads the name out of the body of a ClientHello.
func nameIn(body []byte) (name string, ok bool) {
	if len(body) < helloFixedSize {
		return "", false
	}
	rest := body[helloFixedSize:]
	for _, width := range []int{1, 2, 1} { // session id, cipher suites, compression methods
		if _, rest, ok = vector(rest, width); !ok {
			return "", false
		}
	}
	if len(rest) == 0 {
		return "", true // no extensions at all
	}
	extensions, rest, ok := vector(rest, 2)
	if !ok || len(rest) > 0 {
		return "", false
	}
	named := false
	for len(extensions) > 0 {
		if len(extensions) < 2 {
			return "", false
		}
		kind := binary.BigEndian.Uint16(extensions)
		var data []byte
		if data, extensions, ok = vector(extensions[2:], 2); !ok {
			return "", false
		}
		if kind != extensionName {
			continue
		}
		if named {
			return "", false // one extension of a type (RFC 8446 section 4.2)
		}
		named = true
		if name, ok = hostIn(data); !ok {
			return "", false
		}
	}
	return name, true
}

// hostIn reads the host name out of the server_name extension.
func hostIn(extension []byte) (name string, ok bool) {
	list, rest, ok := vector(extension, 2)
	if !ok || len(rest) > 0 || len(list) == 0 {
		return "", false
	}
	for len(list) > 0 {
		kind := list[0]
		var host []byte
		if host, list, ok = vector(list[1:], 2); !ok || len(host) == 0 {
			return "", false
		}
		if kind != nameHost {
			continue
		}
		if name != "" {
			return "", false // "more than one name of the same name_type" (RFC 6066 section 3)
		}
		if host[len(host)-1] == '.' {
			return "", false // "without a trailing dot"
		}
		name = strings.ToLower(string(host))
	}
	return name, true
}

// vector takes one with a length of so many bytes off the front of p.
func vector(p []byte, width int) (content, rest []byte, ok bool) {
	if len(p) < width {
		return nil, nil, false
	}
	n := 0
	for _, b := range p[:width] {
		n = n<<8 | int(b)
	}
	if p = p[width:]; len(p) < n {
		return nil, nil, false
	}
	return p[:n], p[n:], true
}
