package manifest

import (
	"encoding/json"
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"

	yamlv2 "go.yaml.in/yaml/v2"
)

func TestParse(t *testing.T) {
	tests := []struct{ text, want string }{
		{"a: 1", `{"a":1}`},
		{"a: on", `{"a":true}`}, // YAML 1.1, as kubectl reads it
		{`a: "on"`, `{"a":"on"}`},
		{"a: !!str 1", `{"a":"1"}`},
		{"a: !!binary aGk=", `{"a":"hi"}`},
		{"a: 2024-01-02T03:04:05Z", `{"a":"2024-01-02T03:04:05Z"}`},
		{"a: 1.10", `{"a":1.1}`},
		{"a: 10.0.0.1", `{"a":"10.0.0.1"}`},
		{"a: 1e3", `{"a":1000}`},
		{"a: 0x1F", `{"a":31}`},
		{"a: 017", `{"a":15}`},
		{"a: 1_000", `{"a":1000}`},
		{"a: ~", `{"a":null}`},
		{"a:", `{"a":null}`},
		{"1: a\ntrue: b\n2.5: c", `{"1":"a","2.5":"c","true":"b"}`},
		{"a: &x [1, 2]\nb: *x", `{"a":[1,2],"b":[1,2]}`},
		{"a: &x {k: 1, l: 2}\nb:\n  <<: *x\n  k: 3", `{"a":{"k":1,"l":2},"b":{"k":3,"l":2}}`},
		{"a: |\n  x\n  y\n", `{"a":"x\ny\n"}`},
		{"- 1\n- b", `[1,"b"]`},
		{"--- # only a comment", `null`},
		{"{\t\"a\":\t1, \"b\": \"\\ud83d\\ude00\"}", `{"a":1,"b":"😀"}`}, // JSON that is not YAML
		{"{a: 1}", `{"a":1}`},
		{`{"a": 9007199254740993}`, `{"a":9007199254740993}`}, // more than a float64 holds
		{"\ufeffa: 1", `{"a":1}`},
	}
	for _, tt := range tests {
		got, err := parse([]byte(tt.text))
		if err != nil {
			t.Errorf("parse(%q): %v", tt.text, err)
			continue
		}
		if js, _ := json.Marshal(got.root); string(js) != tt.want {
			t.Errorf("parse(%q) = %s, want %s", tt.text, js, tt.want)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	tests := []struct {
		name, text, want string
		is               error
	}{
		{name: "broken YAML", text: "a: b: c", want: "mapping values are not allowed"},
		{name: "a tab", text: "a:\n\t- 1", want: "cannot start any token"},
		{name: "a field twice", text: "a: 1\nb: 2\na: 3", want: `line 3: "a": given twice`, is: errTwice},
		{name: "a field twice in JSON", text: `{"a":1,"a":2}`, want: "given twice", is: errTwice},
		{name: "what JSON cannot say", text: "a: .inf", want: "want a number"},
		{name: "a list as a name", text: "? [1]\n: 2", want: "want a string"},
		{name: "a bad merge", text: "a:\n  <<: 1", want: "want a mapping"},
		{name: "an unknown alias", text: "a: *x", want: "unknown anchor"},
		{name: "an alias in itself", text: "a: &x [*x]", want: "nested deeper", is: errTooComplex},
		{name: "deep", text: strings.Repeat("[", 102) + strings.Repeat("]", 102), want: "nested deeper", is: errTooComplex},
		{name: "deep JSON", text: `{"a":` + strings.Repeat("[", 101) + strings.Repeat("]", 101) + "}", want: "nested deeper", is: errTooComplex},
		{name: "deeper than the parser goes", text: strings.Repeat("[", 20_000), want: "exceeded max depth"},
		{name: "an alias bomb", text: bomb(), want: "aliases repeat", is: errTooComplex},
		{name: "long", text: strings.Repeat("- 1\n", maxLines+1), want: "lines and commas", is: errTooComplex},
		{name: "binary", text: "\x00\x01\x02\xff\xfe", want: "control characters"},
		{name: "UTF-16 with two documents", text: utf16("a: 1\n---\nb: 2\n"), want: "want documents in UTF-8"},
	}
	for _, tt := range tests {
		_, err := parse([]byte(tt.text))
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
		if tt.is != nil && !errors.Is(err, tt.is) {
			t.Errorf("%s: %v is not %v", tt.name, err, tt.is)
		}
	}
}

// bomb is the "billion laughs": nine lists, each nine times the one before.
func bomb() string {
	var b strings.Builder
	b.WriteString("a: &a [x,x,x,x,x,x,x,x,x]\n")
	for c := 'b'; c <= 'i'; c++ {
		was := "*" + string(c-1)
		b.WriteString(string(c) + ": &" + string(c) + " [" + strings.Repeat(was+",", 8) + was + "]\n")
	}
	return b.String()
}

func utf16(s string) string {
	b := []byte{0xff, 0xfe}
	for _, c := range []byte(s) {
		b = append(b, c, 0)
	}
	return string(b)
}

// kubectl reads YAML with version 2 of the parser: that is the oracle for what
// plain scalars mean.
func FuzzResolve(f *testing.F) {
	for _, s := range []string{"1", "on", "y", "0x1f", "-0b11", "0o17", "1_0", "1e3", ".5", "+.inf", "1.", "-", "~", "2001-01-01", "1:30", "e5", "0777", "18446744073709551615"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if len(s) == 0 || strings.Trim(s, "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_.+~-") != "" {
			return // more than one plain scalar
		}
		if strings.HasPrefix(s, "---") || s == "..." || s == "-" {
			return // markers
		}
		var oracle []any
		if err := yamlv2.Unmarshal([]byte("- "+s), &oracle); err != nil || len(oracle) != 1 {
			t.Fatalf("oracle on %q: %v", s, err)
		}
		want := asJSON(oracle[0])
		got, err := parse([]byte("- " + s))
		if err != nil {
			if x, ok := want.(float64); ok && (math.IsNaN(x) || math.IsInf(x, 0)) {
				return
			}
			t.Fatalf("parse(%q): %v, oracle %v", s, err, want)
		}
		if got := got.root.([]any)[0]; !reflect.DeepEqual(got, want) {
			t.Errorf("parse(%q) = %T %v, oracle %T %v", s, got, got, want, want)
		}
	})
}

// asJSON is what becomes of a number on the way through JSON.
func asJSON(v any) any {
	switch v := v.(type) {
	case int:
		return int64(v)
	case uint64:
		return float64(v)
	case float64:
		if v == math.Trunc(v) && math.Abs(v) < 1<<53 {
			return int64(v)
		}
	}
	return v
}
