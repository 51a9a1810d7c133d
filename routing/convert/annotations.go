package convert

import (
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	ingressv1 "k8s.io/api/networking/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// nginx is what the annotations of ingress-nginx begin with.
const nginx = "nginx.ingress.kubernetes.io/"

// annotations are what those of an Ingress come to.
type annotations struct {
	canary                                   bool
	canaryHeader, canaryValue, canaryPattern string
	canaryCookie                             string
	canaryWeight, canaryTotal                int
	regex, sslRedirect, forceSSL, grpc       bool
	rewrite, upstreamHost, appRoot           string
	aliases                                  []string
	filters                                  []gatewayv1.HTTPRouteFilter
	timeouts                                 *gatewayv1.HTTPRouteTimeouts
	session                                  *gatewayv1.SessionPersistence
	closed                                   string // what restricts access, and cannot be said
}

// rule is what they add to each rule.
func (a *annotations) rule() gatewayv1.HTTPRouteRule {
	return gatewayv1.HTTPRouteRule{Filters: slices.Clone(a.filters), Timeouts: a.timeouts, SessionPersistence: a.session}
}

func quote(s string) string { return regexp.QuoteMeta(s) }

// annotations reads those of an Ingress, and finds what is lost of them.
func (c *converter) annotations(in *ingressv1.Ingress) *annotations {
	a := &annotations{sslRedirect: true, canaryTotal: 100}
	own := map[string]string{}
	for k, v := range in.Annotations {
		if name, ok := strings.CutPrefix(k, nginx); ok {
			own[name] = v
		}
	}
	take := func(name string) string {
		v := own[name]
		delete(own, name)
		return strings.TrimSpace(v)
	}
	a.readCanary(take)
	a.regex = take("use-regex") == "true"
	a.rewrite = take("rewrite-target")
	a.regex = a.regex || strings.Contains(a.rewrite, "$")
	a.sslRedirect = take("ssl-redirect") != "false"
	a.forceSSL = take("force-ssl-redirect") == "true"
	a.appRoot, a.upstreamHost = take("app-root"), take("upstream-vhost")
	a.aliases = words(take("server-alias"))
	c.redirects(a, take)
	c.ingressCORS(a, take)
	c.ingressAuth(a, take)
	c.ingressWaits(a, take)
	c.ingressAffinity(a, take)
	c.backendProtocol(a, take("backend-protocol"))
	if p := take("x-forwarded-prefix"); p != "" {
		a.filters = append(a.filters, gatewayv1.HTTPRouteFilter{Type: gatewayv1.HTTPRouteFilterRequestHeaderModifier,
			RequestHeaderModifier: &gatewayv1.HTTPHeaderFilter{Set: []gatewayv1.HTTPHeader{{Name: "X-Forwarded-Prefix", Value: p}}}})
	}
	for _, name := range slices.Sorted(maps.Keys(own)) {
		c.otherAnnotation(a, name)
	}
	if class := in.Spec.IngressClassName; class != nil && !strings.Contains(*class, "nginx") {
		c.assumed("spec.ingressClassName", "compare with what your controller does", "class %q: it is taken for one of ingress-nginx", *class)
	}
	return a
}

func annotation(name string) string { return "metadata.annotations[" + nginx + name + "]" }

// words splits a list with commas or blanks.
func words(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ' ' })
}

// restricting are annotations that say who may come in. Without them more would
// come in than should.
var restricting = map[string]string{
	"whitelist-source-range": "", "allowlist-source-range": "", "denylist-source-range": "",
	"auth-type": "", "auth-secret": "", "auth-tls-secret": "", "auth-tls-verify-client": "", "auth-tls-match-cn": "",
	"configuration-snippet": "", "server-snippet": "", "auth-snippet": "", "enable-modsecurity": "", "modsecurity-snippet": "", "enable-global-auth": "",
}

func (c *converter) otherAnnotation(a *annotations, name string) {
	switch _, restricts := restricting[name]; {
	case restricts:
		if a.closed != "" {
			a.closed += ", "
		}
		a.closed += name
	case strings.HasPrefix(name, "limit-"):
		c.lost(annotation(name), "limit in the backend, or by a policy of your gateway", "rates are not limited by routes")
	case name == "proxy-body-size", name == "client-body-buffer-size":
		c.lost(annotation(name), "limit in the backend: gateways bound what they hold, and not what they pass on", "the size of bodies is not limited by routes")
	default:
		c.lost(annotation(name), "see whether it is still needed", "Gateway API has no word for it")
	}
}

func (a *annotations) readCanary(take func(string) string) {
	a.canary = take("canary") == "true"
	a.canaryHeader, a.canaryValue, a.canaryPattern = take("canary-by-header"), take("canary-by-header-value"), take("canary-by-header-pattern")
	a.canaryCookie = take("canary-by-cookie")
	a.canaryWeight, _ = strconv.Atoi(take("canary-weight"))
	if n, err := strconv.Atoi(take("canary-weight-total")); err == nil && n > 0 {
		a.canaryTotal = n
	}
}

// redirects reads permanent-redirect and temporal-redirect.
func (c *converter) redirects(a *annotations, take func(string) string) {
	status, to := 301, take("permanent-redirect")
	code := take("permanent-redirect-code")
	if n, err := strconv.Atoi(code); err == nil && slices.Contains([]int{301, 302, 303, 307, 308}, n) {
		status = n
	}
	if t := take("temporal-redirect"); t != "" {
		status, to = 302, t
	}
	if to == "" {
		return
	}
	u, err := url.Parse(to)
	if err != nil {
		c.lost(annotation("permanent-redirect"), "write a URL", "%q is no URL", to)
		return
	}
	r := &gatewayv1.HTTPRequestRedirectFilter{StatusCode: new(status)}
	if u.Scheme != "" {
		r.Scheme = new(u.Scheme)
	}
	if u.Hostname() != "" {
		r.Hostname = new(gatewayv1.PreciseHostname(u.Hostname()))
	}
	if n, err := strconv.ParseUint(u.Port(), 10, 16); err == nil {
		r.Port = new(gatewayv1.PortNumber(n))
	}
	r.Path = &gatewayv1.HTTPPathModifier{Type: gatewayv1.FullPathHTTPPathModifier, ReplaceFullPath: new("/" + strings.TrimPrefix(u.EscapedPath(), "/"))}
	if u.RawQuery != "" {
		c.lost(annotation("permanent-redirect"), "redirect without a query", "the query %q", u.RawQuery)
	}
	a.filters = append(a.filters, gatewayv1.HTTPRouteFilter{Type: gatewayv1.HTTPRouteFilterRequestRedirect, RequestRedirect: r})
}

// What ingress-nginx allows where the annotations say nothing.
const (
	corsMethods = "GET, PUT, POST, DELETE, PATCH, OPTIONS"
	corsHeaders = "DNT,Keep-Alive,User-Agent,X-Requested-With,If-Modified-Since,Cache-Control,Content-Type,Range,Authorization"
	corsMaxAge  = 1728000
)

func (c *converter) ingressCORS(a *annotations, take func(string) string) {
	or := func(v, otherwise string) string {
		if v == "" {
			return otherwise
		}
		return v
	}
	on := take("enable-cors") == "true"
	origins, methods, headers := or(take("cors-allow-origin"), "*"), or(take("cors-allow-methods"), corsMethods), or(take("cors-allow-headers"), corsHeaders)
	expose, credentials, age := take("cors-expose-headers"), take("cors-allow-credentials") != "false", take("cors-max-age")
	if !on {
		return
	}
	f := &gatewayv1.HTTPCORSFilter{AllowCredentials: new(credentials), MaxAge: corsMaxAge}
	if n, err := strconv.ParseInt(age, 10, 32); err == nil {
		f.MaxAge = int32(n)
	}
	for _, o := range words(origins) {
		f.AllowOrigins = append(f.AllowOrigins, gatewayv1.CORSOrigin(o))
	}
	for _, m := range words(methods) {
		f.AllowMethods = append(f.AllowMethods, gatewayv1.HTTPMethodWithWildcard(m))
	}
	for _, h := range words(headers) {
		f.AllowHeaders = append(f.AllowHeaders, gatewayv1.HTTPHeaderName(h))
	}
	for _, h := range words(expose) {
		f.ExposeHeaders = append(f.ExposeHeaders, gatewayv1.HTTPHeaderName(h))
	}
	a.filters = append(a.filters, gatewayv1.HTTPRouteFilter{Type: gatewayv1.HTTPRouteFilterCORS, CORS: f})
}

// ingressAuth reads auth-url: a server in the cluster that is asked (GEP-1494).
func (c *converter) ingressAuth(a *annotations, take func(string) string) {
	to, response, signin := take("auth-url"), take("auth-response-headers"), take("auth-signin")
	if method := take("auth-method"); method != "" && method != "GET" {
		c.lost(annotation("auth-method"), "let the server take the request's own method", "method %s", method)
	}
	if to == "" {
		return
	}
	if signin != "" {
		c.lost(annotation("auth-signin"), "let the server answer with the redirect", "who is not let in gets the server's answer, and is not sent to %s", signin)
	}
	u, err := url.Parse(to)
	var at name
	ok := err == nil && u.Scheme == "http" && !strings.Contains(to, "$")
	if ok {
		at, ok = c.serviceOf(u.Hostname(), c.from.Namespace)
	}
	if !ok {
		a.closed = "auth-url " + to
		return
	}
	port := uint64(80)
	if u.Port() != "" {
		port, _ = strconv.ParseUint(u.Port(), 10, 16)
	}
	f := &gatewayv1.HTTPExternalAuthFilter{
		ExternalAuthProtocol: gatewayv1.HTTPRouteExternalAuthHTTPProtocol,
		BackendRef:           gatewayv1.BackendObjectReference{Name: gatewayv1.ObjectName(at.name), Port: new(gatewayv1.PortNumber(port))},
		HTTPAuthConfig:       &gatewayv1.HTTPAuthConfig{Path: u.EscapedPath(), AllowedRequestHeaders: []string{"Cookie", "Authorization"}, AllowedResponseHeaders: words(response)},
	}
	if at.namespace != c.from.Namespace {
		f.BackendRef.Namespace = new(gatewayv1.Namespace(at.namespace))
		c.grant("HTTPRoute", c.from.Namespace, "Service", at)
	}
	c.changed(annotation("auth-url"), "see that the server takes it", "the server is sent the request's own path behind %s, and the headers Cookie and Authorization", u.EscapedPath())
	a.filters = append(a.filters, gatewayv1.HTTPRouteFilter{Type: gatewayv1.HTTPRouteFilterExternalAuth, ExternalAuth: f})
}

func (c *converter) ingressWaits(a *annotations, take func(string) string) {
	read, send, connect := take("proxy-read-timeout"), take("proxy-send-timeout"), take("proxy-connect-timeout")
	if n, err := strconv.Atoi(strings.TrimSuffix(read, "s")); err == nil && n > 0 {
		a.timeouts = &gatewayv1.HTTPRouteTimeouts{BackendRequest: new(duration(time.Duration(n) * time.Second))}
		c.changed(annotation("proxy-read-timeout"), "take it out for long streams", "%ds is the time of a whole try, and not that between two reads", n)
	}
	if send != "" {
		c.lost(annotation("proxy-send-timeout"), "nothing: gateways bound how long nothing moves", "the time between two writes")
	}
	if connect != "" {
		c.lost(annotation("proxy-connect-timeout"), "annotate the Service: fairway.dev/connect-timeout: "+strings.TrimSuffix(connect, "s")+"s", "Gateway API has no word for it")
	}
}

func (c *converter) ingressAffinity(a *annotations, take func(string) string) {
	kind, cookie, age := take("affinity"), take("session-cookie-name"), take("session-cookie-max-age")
	take("affinity-mode")
	if kind != "cookie" {
		return
	}
	if cookie == "" {
		cookie = "INGRESSCOOKIE"
	}
	a.session = &gatewayv1.SessionPersistence{SessionName: new(cookie), Type: new(gatewayv1.CookieBasedSessionPersistence)}
	if n, err := strconv.Atoi(age); err == nil && n > 0 {
		a.session.AbsoluteTimeout = new(duration(time.Duration(n) * time.Second))
		a.session.CookieConfig = &gatewayv1.CookieConfig{LifetimeType: new(gatewayv1.PermanentCookieLifetimeType)}
	}
}

func (c *converter) backendProtocol(a *annotations, protocol string) {
	switch strings.ToUpper(protocol) {
	case "", "HTTP", "AUTO_HTTP":
	case "GRPC":
		a.grpc = true
	case "HTTPS", "GRPCS":
		a.grpc = strings.EqualFold(protocol, "GRPCS")
		c.lost(annotation("backend-protocol"), "set appProtocol: https on the Service's port, or better write a BackendTLSPolicy", "%s: the Service says how it is spoken to", protocol)
	default:
		c.lost(annotation("backend-protocol"), "see whether it is still needed", "protocol %s", protocol)
	}
}
