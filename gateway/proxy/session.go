package proxy

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"hash/fnv"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"fairway.dev/gateway/message"
	"fairway.dev/routing"
)

// A session is routing.Session made ready (GEP-1619). What a client brings
// back is a token that names an endpoint and its cluster, sealed under a key
// that all gateways derive from the same things: nothing is remembered here.
type session struct {
	key      [sha256.Size]byte
	name     string
	lower    string
	id       message.Name
	header   bool
	absolute time.Duration // 0 is none
	idle     time.Duration // 0 is none
	cookie   string        // what follows the token, but for Secure
}

// A token says where a session lives. The zero token is none.
type token struct {
	endpoint netip.AddrPort
	share    uint32 // share.id
	born     uint32 // seconds since 1970
	used     uint32
}

// A sealed token is a tag of tagSize bytes and tokenSize bytes under it. The
// tag is a keyed digest of what the token says; the rest is hidden by a digest
// of the tag. So the same token looks the same always, and no other one is valid.
const (
	tagSize    = 12
	tokenSize  = 16 + 2 + 3*4
	sealedSize = tagSize + tokenSize
	textSize   = (sealedSize*8 + 5) / 6 // in base64, without padding
)

func newSession(s *routing.Session, route routing.RouteName, rule int, secret []byte) *session {
	h := sha256.New()
	h.Write([]byte("fairway session\x00" + string(route) + "\x00" + strconv.Itoa(rule) + "\x00" + s.Name + "\x00"))
	h.Write(secret)
	n := &session{
		name: s.Name, lower: strings.ToLower(s.Name), id: message.Lookup(s.Name), header: s.Header,
		absolute: s.Absolute, idle: s.Idle,
	}
	h.Sum(n.key[:0])
	path := s.Path
	if path == "" {
		path = "/"
	}
	n.cookie = "; Path=" + path
	if s.Permanent && s.Absolute > 0 {
		n.cookie += "; Max-Age=" + strconv.FormatInt(int64(s.Absolute/time.Second), 10)
	}
	n.cookie += "; HttpOnly; SameSite=Strict"
	return n
}

// clusterID names a cluster in tokens.
func clusterID(name routing.ClusterName) uint32 {
	h := fnv.New32a()
	h.Write([]byte(name))
	return h.Sum32()
}

// resume takes up the session that the request names, if it is one of ours
// and still good. It has precedence over weights: even a share of weight 0
// keeps its sessions (GEP-1619, Traffic Splitting).
func (e *exchange) resume(s *session) {
	text := s.find(e.req.Fields)
	if text == "" {
		return
	}
	t, ok := s.open(text)
	if !ok || s.expired(t, e.on.loop.Now()) {
		return
	}
	for i := range e.rule.shares {
		x := &e.rule.shares[i]
		if x.cluster != nil && x.id == t.share {
			e.share, e.token = x, t
			e.want.Pinned = t.endpoint
			return
		}
	}
}

// find returns the token's text in a request, or nothing.
func (s *session) find(fields message.Fields) string {
	for i := range fields {
		f := &fields[i]
		if s.header {
			if f.ID == s.id && (s.id != message.Other || message.EqualFold(s.lower, f.Text)) {
				return f.Value
			}
			continue
		}
		if f.ID == message.Cookie {
			if v := cookie(f.Value, s.name); v != "" {
				return v
			}
		}
	}
	return ""
}

// cookie returns the value of a cookie in a Cookie field (RFC 6265 section
// 4.2.1), or nothing.
func cookie(field, name string) string {
	for start := 0; start < len(field); {
		end := start
		for end < len(field) && field[end] != ';' {
			end++
		}
		pair := field[start:end]
		for pair != "" && pair[0] == ' ' {
			pair = pair[1:]
		}
		if len(pair) > len(name) && pair[len(name)] == '=' && pair[:len(name)] == name {
			return pair[len(name)+1:]
		}
		start = end + 1
	}
	return ""
}

func (s *session) expired(t token, now time.Time) bool {
	return older(t.born, s.absolute, now) || older(t.used, s.idle, now)
}

func older(at uint32, limit time.Duration, now time.Time) bool {
	return limit > 0 && now.Sub(time.Unix(int64(at), 0)) >= limit
}

// remember tells the client where its session lives, if it does not know or
// must be told again.
func (e *exchange) remember(s *session, resp *message.Response) {
	now := uint32(e.on.loop.Now().Unix())
	t := e.token
	if t.endpoint == e.rec.Endpoint && s.idle == 0 {
		return
	}
	if t.endpoint != e.rec.Endpoint {
		t = token{endpoint: e.rec.Endpoint, share: e.share.id, born: now}
	}
	t.used = now
	if s.header {
		b := s.seal(e.on.scratch[:0], t)
		e.on.scratch = b
		value := message.Text(b)
		if s.id != message.Other {
			resp.Fields.Set(s.id, value)
		} else {
			resp.Fields.RemoveNamed(s.lower)
			resp.Fields = append(resp.Fields, message.Field{Text: s.name, Value: value})
		}
		return
	}
	b := append(e.on.scratch[:0], s.name...)
	b = append(b, '=')
	b = s.seal(b, t)
	b = append(b, s.cookie...)
	if e.scheme == "https" {
		b = append(b, "; Secure"...)
	}
	e.on.scratch = b
	resp.Fields.Add(message.SetCookie, message.Text(b))
}

// seal appends the text of a token.
func (s *session) seal(dst []byte, t token) []byte {
	var b [sealedSize]byte
	said := b[tagSize:]
	addr := t.endpoint.Addr().As16()
	copy(said, addr[:])
	binary.BigEndian.PutUint16(said[16:], t.endpoint.Port())
	binary.BigEndian.PutUint32(said[18:], t.share)
	binary.BigEndian.PutUint32(said[22:], t.born)
	binary.BigEndian.PutUint32(said[26:], t.used)
	tag := s.tag(said)
	copy(b[:], tag[:])
	s.hide(said, &tag)
	return base64.RawURLEncoding.AppendEncode(dst, b[:])
}

// open reads the text of a token, and reports false for one that is not ours.
func (s *session) open(text string) (token, bool) {
	var b [sealedSize]byte
	if len(text) != textSize {
		return token{}, false
	}
	var raw [textSize]byte
	copy(raw[:], text)
	if _, err := base64.RawURLEncoding.Decode(b[:], raw[:]); err != nil {
		return token{}, false
	}
	tag := [tagSize]byte(b[:tagSize])
	said := b[tagSize:]
	s.hide(said, &tag)
	if want := s.tag(said); subtle.ConstantTimeCompare(want[:], tag[:]) == 0 {
		return token{}, false
	}
	addr := netip.AddrFrom16([16]byte(said[:16])).Unmap()
	return token{
		endpoint: netip.AddrPortFrom(addr, binary.BigEndian.Uint16(said[16:])),
		share:    binary.BigEndian.Uint32(said[18:]),
		born:     binary.BigEndian.Uint32(said[22:]),
		used:     binary.BigEndian.Uint32(said[26:]),
	}, true
}

// tag returns the keyed digest of what a token says.
func (s *session) tag(said []byte) [tagSize]byte {
	var in [sha256.Size + 1 + tokenSize]byte
	copy(in[:], s.key[:])
	in[sha256.Size] = 't'
	copy(in[sha256.Size+1:], said)
	sum := sha256.Sum256(in[:])
	return [tagSize]byte(sum[:])
}

// hide turns what a token says into what is sent, and back.
func (s *session) hide(said []byte, tag *[tagSize]byte) {
	var in [sha256.Size + 1 + tagSize]byte
	copy(in[:], s.key[:])
	in[sha256.Size] = 'h'
	copy(in[sha256.Size+1:], tag[:])
	stream := sha256.Sum256(in[:])
	subtle.XORBytes(said, said, stream[:])
}
