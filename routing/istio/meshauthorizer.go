package istio

import (
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	meshv1alpha1 "istio.io/api/mesh/v1alpha1"

	"fairway.dev/routing"
	"fairway.dev/routing/analysis"
)

// An authorizer is a provider of MeshConfig.extensionProviders that says who may
// pass (envoyExtAuthzHttp, envoyExtAuthzGrpc).
type authorizer struct {
	service string // a host, or "namespace/host"
	port    uint32
	auth    routing.ExternalAuth // but for its cluster
	field   string
	broken  string // why nobody can be asked; empty: somebody can
}

// A bodySetting is how much of a request's body a provider is told.
type bodySetting = meshv1alpha1.MeshConfig_ExtensionProvider_EnvoyExternalAuthorizationRequestBody

// authorizerOf reads a provider; false: it is of another kind.
func authorizerOf(p *meshv1alpha1.MeshConfig_ExtensionProvider, at string, found *complaints) (authorizer, bool) {
	b := authorizerBuilder{found: found}
	if h := p.GetEnvoyExtAuthzHttp(); h != nil {
		b.at = at + ".envoyExtAuthzHttp"
		b.http(h)
	} else if g := p.GetEnvoyExtAuthzGrpc(); g != nil {
		b.at = at + ".envoyExtAuthzGrpc"
		b.out.service, b.out.port, b.out.auth.GRPC = g.GetService(), g.GetPort(), true
		b.common(g.GetTimeout(), g.GetFailOpen(), g.GetStatusOnError(), g.GetClearRouteCache(), g.GetIncludeRequestBodyInCheck())
	} else {
		return authorizer{}, false
	}
	b.out.field = b.at
	return b.out, true
}

type authorizerBuilder struct {
	at    string
	found *complaints
	out   authorizer
}

// breaks notes why nobody can be asked.
func (b *authorizerBuilder) breaks(field, reason, advice, format string, args ...any) {
	b.found.wrong(b.at+"."+field, reason, advice, format, args...)
	if b.out.broken == "" {
		b.out.broken = "its " + field + " is not in order"
	}
}

func (b *authorizerBuilder) http(h *meshv1alpha1.MeshConfig_ExtensionProvider_EnvoyExternalAuthorizationHttpProvider) {
	b.out.service, b.out.port, b.out.auth.Path = h.GetService(), h.GetPort(), h.GetPathPrefix()
	if p := h.GetPathPrefix(); p != "" && (!strings.HasPrefix(p, "/") || checkPath(p) != nil) {
		b.breaks("pathPrefix", reasonInvalidValue, "write a path that begins with /", "%q: not a path", p)
	}
	told := h.GetIncludeRequestHeadersInCheck()
	if old := h.GetIncludeHeadersInCheck(); len(old) > 0 {
		b.found.warn(b.at+".includeHeadersInCheck", reasonDeprecatedField, "write includeRequestHeadersInCheck", "includeHeadersInCheck has a successor")
		if len(told) == 0 {
			told = old
		}
	}
	b.out.auth.Request = b.names("includeRequestHeadersInCheck", told)
	b.out.auth.Response = b.names("headersToUpstreamOnAllow", h.GetHeadersToUpstreamOnAllow())
	b.out.auth.Withhold = len(b.out.auth.Response) == 0
	if len(h.GetIncludeAdditionalHeadersInCheck()) > 0 {
		b.breaks("includeAdditionalHeadersInCheck", reasonUnsupportedField, "have the server know it otherwise", "fields of fixed values are not sent to the server")
	}
	if len(h.GetHeadersToDownstreamOnDeny()) > 0 {
		b.found.note(b.at+".headersToDownstreamOnDeny", reasonUnsupportedField, "", "a client that is refused is sent all fields of the answer")
	}
	if len(h.GetHeadersToDownstreamOnAllow()) > 0 {
		b.found.wrong(b.at+".headersToDownstreamOnAllow", reasonUnsupportedField, "use envoyExtAuthzGrpc, whose server says it itself", "a client that may pass is sent no field of the answer")
	}
	b.common(h.GetTimeout(), h.GetFailOpen(), h.GetStatusOnError(), h.GetClearRouteCache(), h.GetIncludeRequestBodyInCheck())
}

// names are those of headers, in lower case. Patterns with stars are left out.
func (b *authorizerBuilder) names(of string, list []string) []string {
	var out []string
	for i, name := range list {
		at := field(b.at+"."+of, i)
		switch {
		case strings.Contains(name, "*"):
			b.found.wrong(at, reasonUnsupportedField, "write each header's name", "%q: want the name of a header, without a star: it is left out", name)
		case !isName(name):
			b.found.wrong(at, string(analysis.InvalidHeader), "write a header's name", "%q: not a header's name: it is left out", name)
		default:
			out = append(out, strings.ToLower(name))
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// maxCheckTime bounds how long requests wait for whether they may pass.
const maxCheckTime = time.Minute

// common reads what both kinds of providers have.
func (b *authorizerBuilder) common(timeout *durationpb.Duration, open bool, status string, clear bool, body *bodySetting) {
	if b.out.service == "" {
		b.breaks("service", reasonMissingField, "name a host", "no service")
	}
	if b.out.port == 0 || b.out.port > 65535 {
		b.breaks("port", reasonInvalidPort, "write a number from 1 to 65535", "port %d: want 1-65535", b.out.port)
	}
	switch d, err := duration(timeout); {
	case timeout == nil:
	case err != nil || d == 0:
		b.found.wrong(b.at+".timeout", reasonInvalidDuration, "write a duration like \"1.5s\"", "timeout %v: want one above 0: the default counts", d)
	case d > maxCheckTime:
		b.found.note(b.at+".timeout", reasonIneffectiveField, "", "timeout %v: an answer is waited for %v at most", d, maxCheckTime)
		b.out.auth.Timeout = maxCheckTime
	default:
		b.out.auth.Timeout = d
	}
	if open {
		b.found.warn(b.at+".failOpen", reasonUnsupportedField, "run several servers", "failOpen is not honoured: where nobody can be asked nobody passes")
	}
	if status != "" && status != "403" {
		b.found.note(b.at+".statusOnError", reasonUnsupportedField, "", "statusOnError is not honoured: where nobody can be asked the answer is 403")
	}
	if clear {
		b.found.note(b.at+".clearRouteCache", reasonUnsupportedField, "", "clearRouteCache is not honoured: what the answer edits changes no route")
	}
	if body == nil {
		return
	}
	b.out.auth.MaxBody = int(body.GetMaxRequestBytes())
	if body.GetMaxRequestBytes() == 0 {
		b.breaks("includeRequestBodyInCheck.maxRequestBytes", reasonInvalidValue, "say how many bytes", "0 bytes of the body: want more")
	}
	if body.GetAllowPartialMessage() {
		b.found.warn(b.at+".includeRequestBodyInCheck.allowPartialMessage", reasonUnsupportedField, "take it out",
			"a body that is longer is refused with 413, and not told in part")
	}
	if body.GetPackAsBytes() {
		b.found.note(b.at+".includeRequestBodyInCheck.packAsBytes", reasonUnsupportedField, "", "a body of UTF-8 is told as text, and any other as bytes")
	}
}
