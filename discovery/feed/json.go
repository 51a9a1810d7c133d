package feed

import (
	"bytes"
	"encoding"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strconv"
	"sync"
	"time"
	"unicode/utf8"
)

// marshal returns the JSON of what body points to, as encoding/json has it but
// without fields that are zero: most of a part's are, and what is not sent need
// not be read. An empty list is as good as none. Times are UTC, so that the
// same part has the same bytes in all replicas.
func marshal(body any) []byte {
	v := reflect.ValueOf(body).Elem()
	return encoderOf(v.Type())(make([]byte, 0, 512), v)
}

// An encoder appends the JSON of a value of one type.
type encoder func(b []byte, v reflect.Value) []byte

var encoders sync.Map // of types

func encoderOf(t reflect.Type) encoder {
	if e, ok := encoders.Load(t); ok {
		return e.(encoder)
	}
	e := makeEncoder(t)
	encoders.Store(t, e)
	return e
}

func makeEncoder(t reflect.Type) encoder {
	switch {
	case t == reflect.TypeFor[time.Time]():
		return appendTime
	case t.Implements(reflect.TypeFor[encoding.TextMarshaler]()):
		return appendText
	case t == reflect.TypeFor[[]byte]():
		return appendBytes
	}
	switch t.Kind() {
	case reflect.Struct:
		return structEncoder(t)
	case reflect.Pointer:
		element := encoderOf(t.Elem())
		return func(b []byte, v reflect.Value) []byte { return element(b, v.Elem()) }
	case reflect.Slice:
		return sliceEncoder(encoderOf(t.Elem()))
	case reflect.String:
		return func(b []byte, v reflect.Value) []byte { return appendString(b, v.String()) }
	case reflect.Bool:
		return func(b []byte, v reflect.Value) []byte { return strconv.AppendBool(b, v.Bool()) }
	case reflect.Int, reflect.Int64:
		return func(b []byte, v reflect.Value) []byte { return strconv.AppendInt(b, v.Int(), 10) }
	case reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return func(b []byte, v reflect.Value) []byte { return strconv.AppendUint(b, v.Uint(), 10) }
	}
	return appendOther
}

// appendOther is for what is rare: encoding/json sorts the keys of maps.
func appendOther(b []byte, v reflect.Value) []byte {
	text, err := json.Marshal(v.Interface())
	if err != nil {
		panic("bug: a part that has no JSON: " + err.Error())
	}
	return append(b, text...)
}

func appendTime(b []byte, v reflect.Value) []byte {
	b = append(b, '"')
	b = v.Interface().(time.Time).UTC().AppendFormat(b, time.RFC3339Nano)
	return append(b, '"')
}

func appendText(b []byte, v reflect.Value) []byte {
	text, err := v.Interface().(encoding.TextMarshaler).MarshalText()
	if err != nil {
		text = nil // no name for what it is; it does not read back either
	}
	return appendString(b, string(text))
}

func appendBytes(b []byte, v reflect.Value) []byte {
	b = append(b, '"')
	b = base64.StdEncoding.AppendEncode(b, v.Bytes())
	return append(b, '"')
}

func appendString(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c == '"' || c == '\\' || c >= utf8.RuneSelf {
			return appendOther(b, reflect.ValueOf(s))
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}

func sliceEncoder(element encoder) encoder {
	return func(b []byte, v reflect.Value) []byte {
		b = append(b, '[')
		for i := range v.Len() {
			if i > 0 {
				b = append(b, ',')
			}
			b = element(b, v.Index(i))
		}
		return append(b, ']')
	}
}

func structEncoder(t reflect.Type) encoder {
	type field struct {
		index  int
		key    string // `"Name":`
		encode encoder
	}
	var fields []field
	for i := range t.NumField() {
		if f := t.Field(i); f.Tag.Get("json") != "-" {
			fields = append(fields, field{i, strconv.Quote(f.Name) + ":", encoderOf(f.Type)})
		}
	}
	return func(b []byte, v reflect.Value) []byte {
		b = append(b, '{')
		first := len(b)
		for _, f := range fields {
			value := v.Field(f.index)
			if isZero(value) {
				continue
			}
			if len(b) > first {
				b = append(b, ',')
			}
			b = append(b, f.key...)
			b = f.encode(b, value)
		}
		return append(b, '}')
	}
}

func isZero(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Slice, reflect.Map:
		return v.Len() == 0
	}
	return v.IsZero()
}

// unmarshal reads one value into what body points to. A field that body does
// not have is an error.
func unmarshal(text []byte, body any) error {
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(body); err != nil {
		if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
			return fmt.Errorf("JSON ends after %d bytes", len(text))
		}
		return err
	}
	if rest := bytes.TrimSpace(text[d.InputOffset():]); len(rest) > 0 {
		return fmt.Errorf("%d bytes after the JSON value", len(rest))
	}
	return nil
}
