package jwt

import "strings"

const (
	maxCached = 256     // tokens
	maxLong   = 4 << 10 // bytes of one; longer ones are proved each time
)

// A Cache remembers tokens that were proved, so that a client which shows its
// own with each request costs one signature. A token is forgotten with the keys
// that have proved it, and what it says of its time is looked at each time. It
// is for one goroutine. The zero Cache is ready to use, a nil one remembers
// nothing.
type Cache struct {
	tokens map[string]*Token
}

// find returns the token that text was proved to be, by one of the keys.
func (c *Cache) find(one *rule, keys *keySet, p *place, text string) *Token {
	if c == nil || keys == nil {
		return nil
	}
	if t := c.tokens[text]; t != nil && t.rule == one && t.keys == keys && t.place == p {
		return t
	}
	return nil
}

// keep remembers a token, in place of any one where there is no room.
func (c *Cache) keep(t *Token, text string) {
	if c == nil || len(text) > maxLong {
		return
	}
	if c.tokens == nil {
		c.tokens = map[string]*Token{}
	}
	if len(c.tokens) >= maxCached {
		for other := range c.tokens {
			delete(c.tokens, other)
			break
		}
	}
	c.tokens[text] = t
}

// payloadOf returns the payload of a token's text, in base64url.
func payloadOf(text string) string {
	_, rest, _ := strings.Cut(text, ".")
	payload, _, _ := strings.Cut(rest, ".")
	return payload
}
