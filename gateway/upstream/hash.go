package upstream

import (
	"strings"

	"fairway.dev/gateway/message"
	"fairway.dev/routing"
)

// hashOn is what of a request is hashed: routing.Balance.HashOn, taken apart.
type hashOn struct {
	source hashSource
	name   string // of a header in lower case
	id     message.Name
	// cookieTail is the rest of a cookie that the client is given; empty: none.
	cookieTail string
}

type hashSource uint8

const (
	hashNothing hashSource = iota
	hashSourceIP
	hashHeader
	hashCookie
	hashQuery
)

// newHashOn reads b. What it does not understand counts as the source address.
func newHashOn(b routing.Balance) hashOn {
	if b.Kind != routing.RingHash && b.Kind != routing.Maglev {
		return hashOn{}
	}
	source, name, _ := strings.Cut(b.HashOn, ":")
	switch {
	case source == "header" && name != "":
		name = strings.ToLower(name)
		return hashOn{source: hashHeader, name: name, id: message.Lookup(name)}
	case source == "cookie" && name != "":
		on := hashOn{source: hashCookie, name: name}
		on.cookieTail = newCookieTail(b, on)
		return on
	case source == "query" && name != "":
		return hashOn{source: hashQuery, name: name}
	}
	return hashOn{source: hashSourceIP}
}

// Hash returns the hash that the cluster's balancing wants of a request; false
// where it wants none, or the request lacks what is hashed. It is the same in
// every gateway.
func (c *Cluster) Hash(req *message.Request, peer *message.Peer) (uint64, bool) {
	h := &c.view.Load().hash
	switch h.source {
	case hashSourceIP:
		ip := peer.Remote.Addr().Unmap().As16()
		d := newDigest
		for _, b := range ip {
			d = d.add(b)
		}
		return d.sum(), true
	case hashHeader:
		return h.header(req.Fields)
	case hashCookie:
		return cookieHash(req.Fields, h.name)
	case hashQuery:
		return queryHash(req.Query, h.name)
	}
	return 0, false
}

// header hashes all values of the field, in their order.
func (h *hashOn) header(fields message.Fields) (uint64, bool) {
	d, found := newDigest, false
	for i := range fields {
		f := &fields[i]
		if f.ID != h.id || h.id == message.Other && !message.EqualFold(h.name, f.Text) {
			continue
		}
		if found {
			d = d.add(',')
		}
		d, found = d.write(f.Value), true
	}
	return d.sum(), found
}

// cookieHash hashes the value of the first cookie of that name (RFC 6265
// section 5.4; HTTP/2 may send one field for each cookie).
func cookieHash(fields message.Fields, name string) (uint64, bool) {
	for i := range fields {
		if fields[i].ID != message.Cookie {
			continue
		}
		for rest := fields[i].Value; rest != ""; {
			var pair string
			pair, rest, _ = strings.Cut(rest, ";")
			key, value, _ := strings.Cut(strings.Trim(pair, " \t"), "=")
			if key == name {
				return newDigest.write(value).sum(), true
			}
		}
	}
	return 0, false
}

// queryHash hashes the value of the first parameter of that name, as it was
// sent: percent-encoding is not undone.
func queryHash(query, name string) (uint64, bool) {
	for rest := strings.TrimPrefix(query, "?"); rest != ""; {
		var pair string
		pair, rest, _ = strings.Cut(rest, "&")
		key, value, _ := strings.Cut(pair, "=")
		if key == name {
			return newDigest.write(value).sum(), true
		}
	}
	return 0, false
}

// A digest is FNV-1a with 64 bits; sum spreads what it leaves in low bits.
type digest uint64

const newDigest digest = 14695981039346656037

func (d digest) add(b byte) digest { return (d ^ digest(b)) * 1099511628211 }

func (d digest) write(s string) digest {
	for i := 0; i < len(s); i++ {
		d = d.add(s[i])
	}
	return d
}

func (d digest) sum() uint64 { return mix(uint64(d)) }
