package upstream

import (
	"strconv"
	"strings"

	"fairway.dev/gateway/loop"
	"fairway.dev/routing"
)

// newCookieTail returns what follows a generated value in Set-Cookie (RFC 6265
// section 4.1), "" where the cluster gives no cookie.
func newCookieTail(b routing.Balance, on hashOn) string {
	if b.Cookie == nil || on.source != hashCookie {
		return ""
	}
	var tail strings.Builder
	if s := int64(b.Cookie.TTL.Seconds()); s > 0 {
		tail.WriteString("; Max-Age=" + strconv.FormatInt(s, 10))
	}
	if b.Cookie.Path != "" {
		tail.WriteString("; Path=" + b.Cookie.Path)
	}
	for _, a := range b.Cookie.Attributes {
		tail.WriteString("; " + a.Name)
		if a.Value != "" {
			tail.WriteString("=" + a.Value)
		}
	}
	tail.WriteString("; HttpOnly")
	return tail.String()
}

// GiveCookie makes a cookie for a client that has none of the name that the
// cluster hashes, so that its requests find the same endpoint from now on
// (ConsistentHashLB.httpCookie): for who was told false by Hash, on l.
// setCookie is the value of Set-Cookie for the response, and hash is what Hash
// will say of the client's next requests. It is empty where the cluster gives
// no cookies.
func (c *Cluster) GiveCookie(l *loop.Loop) (hash uint64, setCookie string) {
	h := &c.view.Load().hash
	if h.cookieTail == "" {
		return 0, ""
	}
	value := strconv.FormatUint(c.set.picks[l.Index()].rng.Uint64()|1<<63, 16)
	return newDigest.write(value).sum(), h.name + "=" + value + h.cookieTail
}
