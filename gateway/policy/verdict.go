package policy

import (
	"errors"
	"fmt"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"

	"fairway.dev/gateway/message"
	"fairway.dev/gateway/wire"
)

// A Verdict is what an authorization server answers: a CheckResponse.
type Verdict struct {
	Allowed bool

	// Edits are those of the request where it may pass, else of the answer to
	// the client. Remove are names, in lower case, that the request loses.
	Edits  []Edit
	Remove []string
	// Response are edits of the backend's response to a request that passed.
	Response []Edit

	// Status and Body are the answer to a client that may not pass.
	Status int
	Body   string
}

// An Edit changes a field. Its name is a token, in lower case, and its value
// ends no line.
type Edit struct {
	Name, Value string
	How         How
}

// How is what an Edit does about fields of its name that are there.
type How uint8

const (
	Set       How = iota // replaces them
	Add                  // is one more
	IfAbsent             // is added where there are none
	IfPresent            // replaces them where there are any
)

// defaultStatus is that of DeniedHttpResponse.
const defaultStatus = 403

const (
	responseStatus = 1
	responseDenied = 2
	responseOK     = 3
	responseError  = 5

	statusCode = 1

	okHeaders         = 2
	okHeadersToRemove = 5
	okResponseHeaders = 6
	okQuerySet        = 7
	okQueryRemove     = 8

	deniedStatus  = 1
	deniedHeaders = 2
	deniedBody    = 3

	optionHeader       = 1
	optionAppend       = 2
	optionAppendAction = 3
	headerKey          = 1
	headerValue        = 2
	headerRawValue     = 3
	boolValue          = 1
)

// ParseVerdict reads a CheckResponse. What it returns shares no memory with b.
func ParseVerdict(b []byte) (*Verdict, error) {
	v := &Verdict{Status: defaultStatus}
	var code uint64
	var ok, denied []byte
	err := wire.EachField(b, func(number protowire.Number, n uint64, b []byte) (err error) {
		switch number {
		case responseStatus:
			return wire.EachField(b, func(number protowire.Number, n uint64, _ []byte) error {
				if number == statusCode {
					code = n
				}
				return nil
			})
		case responseOK:
			ok = b
		case responseDenied, responseError:
			denied = b
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if v.Allowed = code == 0; v.Allowed {
		return v, v.readOK(ok)
	}
	return v, v.readDenied(denied)
}

func (v *Verdict) readOK(b []byte) error {
	return wire.EachField(b, func(number protowire.Number, _ uint64, b []byte) error {
		switch number {
		case okHeaders:
			return readEdit(b, &v.Edits)
		case okResponseHeaders:
			return readEdit(b, &v.Response)
		case okHeadersToRemove:
			name := strings.ToLower(string(b))
			if err := checkName(name); err != nil {
				return err
			}
			v.Remove = append(v.Remove, name)
		case okQuerySet, okQueryRemove:
			return errors.New("an edit of query parameters: want edits of fields only")
		}
		return nil
	})
}

func (v *Verdict) readDenied(b []byte) error {
	return wire.EachField(b, func(number protowire.Number, _ uint64, b []byte) error {
		switch number {
		case deniedStatus:
			return wire.EachField(b, func(number protowire.Number, n uint64, _ []byte) error {
				if number != statusCode || n == 0 {
					return nil
				}
				if n < 200 || n > 599 {
					return fmt.Errorf("status %d: want 200-599", n)
				}
				v.Status = int(n)
				return nil
			})
		case deniedHeaders:
			return readEdit(b, &v.Edits)
		case deniedBody:
			v.Body = string(b)
		}
		return nil
	})
}

// readEdit reads a HeaderValueOption. Where it says nothing of fields that are
// there, they are replaced (OkHttpResponse.headers).
func readEdit(b []byte, to *[]Edit) error {
	var e Edit
	stated := false
	err := wire.EachField(b, func(number protowire.Number, n uint64, b []byte) error {
		switch number {
		case optionHeader:
			return readHeader(b, &e)
		case optionAppend:
			stated, e.How = true, Set
			return wire.EachField(b, func(number protowire.Number, n uint64, _ []byte) error {
				if number == boolValue && n != 0 {
					e.How = Add
				}
				return nil
			})
		case optionAppendAction:
			if stated {
				return nil
			}
			switch n {
			case 0, 2: // OVERWRITE_IF_EXISTS_OR_ADD, and the default
			case 1:
				e.How = IfAbsent
			case 3:
				e.How = IfPresent
			default:
				return fmt.Errorf("append action %d: want 0-3", n)
			}
		}
		return nil
	})
	if err == nil {
		err = checkName(e.Name)
	}
	if err == nil {
		err = checkValue(&e)
	}
	*to = append(*to, e)
	return err
}

func readHeader(b []byte, e *Edit) error {
	return wire.EachField(b, func(number protowire.Number, _ uint64, b []byte) error {
		switch number {
		case headerKey:
			e.Name = strings.ToLower(string(b))
		case headerValue, headerRawValue:
			if len(b) > 0 {
				e.Value = string(b)
			}
		}
		return nil
	})
}

// checkName wants a token (RFC 9110 section 5.6.2).
func checkName(name string) error {
	if !message.IsToken(name) {
		return fmt.Errorf("field name %q: want a token", name)
	}
	return nil
}

// checkValue wants what ends no line (RFC 9110 section 5.5), and a host where
// it is to be one.
func checkValue(e *Edit) error {
	if !message.IsValue(e.Value) {
		return fmt.Errorf("value %q of field %s: want nothing of control in it", e.Value, e.Name)
	}
	if e.Name == "host" && (e.How != Set || !message.IsAuthority(e.Value)) {
		return fmt.Errorf("host %q: want one host in place of another", e.Value)
	}
	return nil
}
