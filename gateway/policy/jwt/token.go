package jwt

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
)

const (
	// maxToken bounds a token, in bytes.
	maxToken = 16 << 10
	// leeway is how far clocks may differ.
	leeway = time.Minute
)

// A Token is one that was proved, and its claims. It does not change.
type Token struct {
	rule    *rule
	place   *place
	keys    *keySet // one of which has signed it
	payload string  // as the token has it, in base64url
	claims  map[string]any
}

// parse reads a token in compact form (RFC 7515 section 7.1), unproved.
func parse(text string) (*jose.JSONWebSignature, error) {
	if n := len(text); n > maxToken {
		return nil, fmt.Errorf("token of %d bytes: want at most %d", n, maxToken)
	}
	if i := strings.IndexFunc(text, outside); i >= 0 {
		return nil, fmt.Errorf("token with character %q: want base64url and dots", text[i])
	}
	t, err := jose.ParseSignedCompact(text, algorithms)
	if err != nil {
		return nil, fmt.Errorf("token: %w", err)
	}
	if n := len(t.Signatures); n != 1 {
		return nil, fmt.Errorf("token with %d signatures: want one", n)
	}
	return t, nil
}

// outside reports whether a token may not have that character. Decoders ignore
// line ends, so that what they take for one token has many texts.
func outside(c rune) bool {
	return c != '-' && c != '_' && c != '.' && (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z')
}

// parseClaims reads a payload (RFC 7519 section 4).
func parseClaims(payload []byte) (map[string]any, error) {
	d := json.NewDecoder(bytes.NewReader(payload))
	d.UseNumber()
	var claims map[string]any
	if err := d.Decode(&claims); err != nil {
		return nil, fmt.Errorf("claims: %w", err)
	}
	if claims == nil || d.More() {
		return nil, errors.New("claims: want one JSON object")
	}
	return claims, nil
}

// check says why claims do not hold at that time.
func (r *rule) check(claims map[string]any, now time.Time) error {
	if issuer, _ := claims["iss"].(string); r.spec.Issuer != "" && issuer != r.spec.Issuer {
		return fmt.Errorf("issuer %q: want %q", issuer, r.spec.Issuer)
	}
	end, ok, err := date(claims, "exp")
	if err != nil || ok && !now.Add(-leeway).Before(end) {
		return errors.Join(ErrExpired, err)
	}
	begin, ok, err := date(claims, "nbf")
	if err != nil || ok && begin.After(now.Add(leeway)) {
		return errors.Join(errNotYet, err)
	}
	if len(r.audiences) == 0 {
		return nil
	}
	for _, aud := range values(claims["aud"]) {
		if slices.Contains(r.audiences, audience(aud)) {
			return nil
		}
	}
	return fmt.Errorf("audience %v: want one of %v", claims["aud"], r.audiences)
}

// ErrExpired says that a token held until now, or a while ago: its client may
// have another.
var ErrExpired = errors.New("token is over")

var errNotYet = errors.New("token does not hold yet")

// date reads a NumericDate (RFC 7519 section 2).
func date(claims map[string]any, name string) (t time.Time, there bool, err error) {
	v, there := claims[name]
	if !there {
		return time.Time{}, false, nil
	}
	n, ok := v.(json.Number)
	if !ok {
		return time.Time{}, true, fmt.Errorf("%s %v: want a number", name, v)
	}
	f, err := n.Float64()
	if err != nil || math.IsNaN(f) {
		return time.Time{}, true, fmt.Errorf("%s %s: want seconds since 1970", name, n)
	}
	const centuries = 1 << 40 // in seconds; time.Time has room for more
	return time.Unix(int64(max(min(f, centuries), -centuries)), 0), true, nil
}

// audience is what of an audience is compared.
func audience(s string) string {
	s = strings.TrimPrefix(strings.TrimPrefix(s, "https://"), "http://")
	return strings.TrimSuffix(s, "/")
}

// values returns a claim as text: the elements of a list, and none of what has
// no text.
func values(claim any) []string {
	list, ok := claim.([]any)
	if !ok {
		list = []any{claim}
	}
	var texts []string
	for _, v := range list {
		if text, ok := text(v); ok {
			texts = append(texts, text)
		}
	}
	return texts
}

func text(v any) (string, bool) {
	switch v := v.(type) {
	case string:
		return v, true
	case json.Number:
		return v.String(), true
	case bool:
		return strconv.FormatBool(v), true
	}
	return "", false
}

// Claim implements routing.ClaimSource. Claims that are lists in one text are
// taken apart at spaces: scope, permission, and those that the rule names.
func (t *Token) Claim(path []string) []string {
	v, ok := t.find(path)
	if !ok {
		return nil
	}
	if s, ok := v.(string); ok && len(path) == 1 && t.rule.isSpaced(path[0]) {
		return strings.Fields(s)
	}
	return values(v)
}

func (t *Token) find(path []string) (v any, ok bool) {
	v = t.claims
	for _, name := range path {
		object, is := v.(map[string]any)
		if !is {
			return nil, false
		}
		if v, ok = object[name]; !ok {
			return nil, false
		}
	}
	return v, ok
}

// field returns the value of a claim as a field for backends has it: texts,
// numbers and truths as they are, all else as JSON in base64url. What cannot
// stand in a field is none.
func (t *Token) field(claim string) (string, bool) {
	v, ok := t.find([]string{claim})
	if !ok {
		if v, ok = t.find(strings.Split(claim, ".")); !ok {
			return "", false
		}
	}
	s, ok := text(v)
	if !ok {
		b, err := json.Marshal(v)
		return base64.RawURLEncoding.EncodeToString(b), err == nil
	}
	for i := range len(s) {
		if c := s[i]; c < ' ' && c != '\t' || c == 0x7f {
			return "", false
		}
	}
	return strings.Trim(s, " \t"), true
}
