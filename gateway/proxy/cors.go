package proxy

import (
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"

	"fairway.dev/gateway/message"
	"fairway.dev/routing"
)

// cors is HTTPCORSFilter (GEP-1767) with its values joined as fields have them.
type cors struct {
	anyOrigin   bool
	origins     []originPattern
	texts       []originText
	forward     bool // preflights of other origins, whose responses are the backend's too
	credentials bool
	methods     nameList
	headers     nameList
	expose      nameList
	maxAge      string // in seconds
}

// A nameList is a list of names as a field has it, or a wildcard.
type nameList struct {
	any    bool
	joined string
}

// originPattern covers origins: one, or those whose host ends with suffix.
type originPattern struct {
	scheme string
	host   string // lower case; a suffix where wild
	port   string
	wild   bool
}

// originText covers origins by their bytes (CorsPolicy.allowOrigins).
type originText struct {
	prefix string
	regex  *regexp.Regexp // in place of prefix, if not nil
}

// defaultMaxAge is HTTPCORSFilter.maxAge's default.
const defaultMaxAge = 5 * time.Second

func newCORS(c *routing.CORS) *cors {
	if c == nil {
		return nil
	}
	age := c.MaxAge
	if age == 0 {
		age = defaultMaxAge
	}
	n := &cors{
		credentials: c.AllowCredentials,
		methods:     newNameList(c.AllowMethods),
		headers:     newNameList(c.AllowHeaders),
		expose:      newNameList(c.ExposeHeaders),
		forward:     c.ForwardUnmatched,
		maxAge:      strconv.FormatInt(int64(age/time.Second), 10),
	}
	for _, o := range c.AllowOrigins {
		if o == "*" {
			n.anyOrigin = true
			continue
		}
		scheme, host, port := splitOrigin(strings.ToLower(o))
		p := originPattern{scheme: scheme, host: host, port: port}
		p.host, p.wild = strings.CutPrefix(host, "*")
		n.origins = append(n.origins, p)
	}
	for _, o := range c.AllowOriginTexts {
		t := originText{prefix: o.Value}
		if o.Kind == routing.TextRegex {
			t.regex = regexp.MustCompile("^(?:" + o.Value + ")$")
		}
		n.texts = append(n.texts, t)
	}
	return n
}

func newNameList(names []string) nameList {
	for _, name := range names {
		if name == "*" {
			return nameList{any: true}
		}
	}
	return nameList{joined: strings.Join(names, ", ")}
}

// splitOrigin splits SCHEME://HOST[:PORT] and puts in the port that the scheme
// has where there is none.
func splitOrigin(origin string) (scheme, host, port string) {
	scheme, rest, _ := strings.Cut(origin, "://")
	host = hostOf(rest)
	port = strings.TrimPrefix(rest[len(host):], ":")
	if port == "" {
		switch scheme {
		case "http":
			port = "80"
		case "https":
			port = "443"
		}
	}
	return scheme, host, port
}

// allows reports whether origin, as a client sent it, is covered.
func (c *cors) allows(origin string) bool {
	if c.anyOrigin {
		return true
	}
	scheme, host, port := splitOrigin(origin)
	for i := range c.origins {
		if c.origins[i].covers(scheme, host, port) {
			return true
		}
	}
	for i := range c.texts {
		if c.texts[i].covers(origin) {
			return true
		}
	}
	return false
}

func (t *originText) covers(origin string) bool {
	if t.regex != nil {
		return t.regex.MatchString(origin)
	}
	return strings.HasPrefix(origin, t.prefix)
}

func (p *originPattern) covers(scheme, host, port string) bool {
	if p.port != port || !message.EqualFold(p.scheme, scheme) {
		return false
	}
	if !p.wild {
		return message.EqualFold(p.host, host)
	}
	// The asterisk stands for any number of labels, but for something.
	n := len(host) - len(p.host)
	return n > 0 && message.EqualFold(p.host, host[n:])
}

// crossOrigin looks at the request as CORS does: what its origin may read, and
// whether it is a preflight, which never reaches a backend (GEP-1767) unless the
// rule forwards those of origins that it does not allow.
func (e *exchange) crossOrigin(c *cors) {
	origin, ok := e.req.Fields.Get(message.Origin)
	if !ok {
		return
	}
	preflight := e.isPreflight()
	// Without allowCredentials nothing is shared with a request that carries
	// them. A cookie says so; an Authorization field does not: scripts send
	// bearer tokens in requests that the Fetch standard calls uncredentialed.
	credentialed := !preflight && e.req.Fields.Has(message.Cookie)
	if c.allows(origin) && (c.credentials || !credentialed) {
		e.origin = origin
	}
	e.preflight = preflight && (e.origin != "" || !c.forward)
}

// answerPreflight answers with what the origin may do.
func (e *exchange) answerPreflight(c *cors) {
	resp := e.reply(http.StatusOK)
	if e.origin != "" {
		method, _ := e.req.Fields.Get(message.AccessControlRequestMethod)
		headers, _ := e.req.Fields.Value("access-control-request-headers")
		c.shareWith(e.origin, &resp.Fields)
		c.addPreflight(&resp.Fields, method, headers)
	}
	e.share.response.apply(&resp.Fields)
	e.sendReply("")
}

// addPreflight adds what only the answer to a preflight has.
func (c *cors) addPreflight(f *message.Fields, method, headers string) {
	c.methods.addTo(f, message.AccessControlAllowMethods, c.credentials, method)
	c.headers.addTo(f, message.AccessControlAllowHeaders, c.credentials, headers)
	f.Add(message.AccessControlMaxAge, c.maxAge)
}

// addTo adds a field with the names of l. With credentials a wildcard has no
// meaning to the client, so what it asked for is named instead.
func (l *nameList) addTo(f *message.Fields, id message.Name, credentials bool, asked string) {
	value := l.joined
	if l.any {
		value = "*"
		if credentials {
			value = asked
		}
	}
	if value != "" {
		f.Add(id, value)
	}
}

// dressCORS replaces what a response says of CORS: the filter has the last word
// (GEP-1767), but for origins that c leaves to the backend. Of who may not read
// the response a cache is told that another might.
func (e *exchange) dressCORS(c *cors, f *message.Fields) {
	origin := e.origin
	if origin == "" && c.forward {
		return
	}
	f.Remove(message.AccessControlAllowOrigin)
	f.Remove(message.AccessControlAllowCredentials)
	f.Remove(message.AccessControlExposeHeaders)
	if origin == "" {
		f.Add(message.Vary, "Origin")
		return
	}
	c.shareWith(origin, f)
}

// shareWith adds the fields that let a script of origin read the response.
func (c *cors) shareWith(origin string, f *message.Fields) {
	if c.anyOrigin && !c.credentials {
		f.Add(message.AccessControlAllowOrigin, "*")
	} else {
		f.Add(message.AccessControlAllowOrigin, origin)
		f.Add(message.Vary, "Origin")
	}
	if c.credentials {
		f.Add(message.AccessControlAllowCredentials, "true")
	}
	c.expose.addTo(f, message.AccessControlExposeHeaders, c.credentials, "")
}
