package analysis

import (
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"
)

func (f *findings) gateway(g *networking.Gateway) {
	if len(g.Servers) == 0 {
		f.refuse("spec.servers", MissingField, "add a server", "no servers")
	}
	names := map[string]bool{}
	for i, s := range g.Servers {
		field := at("spec.servers", i)
		f.server(field, s)
		name := s.GetPort().GetName()
		if names[name] {
			f.refuse(field+".port.name", DuplicateName, "rename one of them", "port name %q is there twice", name)
		}
		names[name] = true
	}
	f.labels("spec.selector", g.Selector)
}

// serverProtocols are those of a server's port, and whether they are HTTP in
// plain text, or have TLS.
var serverProtocols = map[string]struct{ http, tls bool }{
	"HTTP": {http: true}, "HTTP2": {http: true}, "GRPC": {http: true}, "GRPC-WEB": {http: true},
	"HTTPS": {tls: true}, "TLS": {tls: true},
	"TCP": {}, "MONGO": {}, "REDIS": {}, "MYSQL": {},
}

func (f *findings) server(field string, s *networking.Server) {
	if len(s.GetHosts()) == 0 {
		f.refuse(field+".hosts", MissingField, `add hosts; "*" is any`, "no hosts")
	}
	for i, h := range s.GetHosts() {
		f.serverHost(at(field+".hosts", i), h)
	}
	if s.GetBind() != "" && !isIP(s.Bind) && !strings.HasPrefix(s.Bind, "unix://") {
		f.refuse(field+".bind", InvalidAddress, "write an IP address, or take it away", "%q: want an IP address", s.Bind)
	}
	p := s.GetPort()
	if p == nil {
		f.refuse(field+".port", MissingField, "add a port", "no port")
		return
	}
	f.port(field+".port.number", p.Number)
	if p.Name == "" {
		f.refuse(field+".port.name", MissingField, "name the port", "no name")
	}
	if p.TargetPort != 0 {
		f.warn(field+".port.targetPort", DeprecatedField, "take it out", "targetPort has no effect")
	}
	if s.DefaultEndpoint != "" {
		f.warn(field+".defaultEndpoint", UnsupportedField, "route to a ServiceEntry instead", "defaultEndpoint is not implemented, by Istio neither")
	}
	speaks, known := serverProtocols[strings.ToUpper(p.Protocol)]
	switch {
	case !known:
		f.refuse(field+".port.protocol", InvalidProtocol, "write HTTP, HTTPS, HTTP2, GRPC, TLS or TCP", "%q: not a protocol of a server", p.Protocol)
	case speaks.tls && s.Tls == nil:
		f.refuse(field+".tls", MissingField, "add tls with a mode", "%s without tls", p.Protocol)
	case !speaks.tls && !speaks.http && s.Tls != nil:
		f.refuse(field+".tls", ConflictingFields, "take tls away, or write TLS", "%s has no tls", p.Protocol)
	case speaks.http && s.Tls != nil && !onlyRedirects(s.Tls):
		f.refuse(field+".tls", ConflictingFields, "write HTTPS, or keep httpsRedirect alone", "%s has no tls but for httpsRedirect", p.Protocol)
	}
	if !speaks.http && s.Tls.GetHttpsRedirect() {
		f.warn(field+".tls.httpsRedirect", IneffectiveField, "move it to the server for plain HTTP", "httpsRedirect is for servers of plain HTTP")
	}
	if speaks.tls && s.Tls != nil {
		f.serverTLS(field+".tls", s.Tls)
	}
}

// onlyRedirects reports whether nothing but httpsRedirect is asked for.
func onlyRedirects(t *networking.ServerTLSSettings) bool {
	return t.Mode == networking.ServerTLSSettings_PASSTHROUGH && t.ServerCertificate == "" && t.PrivateKey == "" && t.CaCertificates == ""
}

// serverHost checks a host with the namespace of its VirtualServices in front.
func (f *findings) serverHost(field, h string) {
	host := h
	if ns, rest, ok := strings.Cut(h, "/"); ok {
		host = rest
		if ns != "*" && ns != "." {
			f.label(field, ns)
		}
	}
	if !isIP(host) {
		f.host(field, host)
	}
}

func (f *findings) serverTLS(field string, t *networking.ServerTLSSettings) {
	files := t.ServerCertificate != "" || t.PrivateKey != ""
	given := []choice{
		{"credentialName", t.CredentialName != ""}, {"credentialNames", len(t.CredentialNames) > 0},
		{"tlsCertificates", len(t.TlsCertificates) > 0}, {"serverCertificate", files},
	}
	named := slices.ContainsFunc(given, func(c choice) bool { return c.set })
	f.excludes(field, given...)
	switch t.Mode {
	case networking.ServerTLSSettings_PASSTHROUGH, networking.ServerTLSSettings_AUTO_PASSTHROUGH:
		if named || t.CaCertificates != "" || t.CaCrl != "" {
			f.warn(field, IneffectiveField, "take the certificates away, or terminate TLS with SIMPLE", "%v leaves TLS to the backend: certificates have no effect", t.Mode)
		}
	case networking.ServerTLSSettings_ISTIO_MUTUAL:
		if named || t.CaCertificates != "" {
			f.refuse(field, ConflictingFields, "take the certificates away", "ISTIO_MUTUAL takes certificates from the mesh")
		}
	default:
		f.terminating(field, t, named)
	}
	if t.MinProtocolVersion > t.MaxProtocolVersion && t.MaxProtocolVersion != networking.ServerTLSSettings_TLS_AUTO {
		f.refuse(field+".minProtocolVersion", ConflictingFields, "swap them", "%v is over maxProtocolVersion %v", t.MinProtocolVersion, t.MaxProtocolVersion)
	}
}

// terminating checks the TLS of a server that has certificates.
func (f *findings) terminating(field string, t *networking.ServerTLSSettings, named bool) {
	if !named {
		f.refuse(field, MissingField, "name a Secret in credentialName", "%v without a certificate", t.Mode)
	}
	if len(t.CredentialNames) > 2 || len(t.TlsCertificates) > 2 {
		f.refuse(field, InvalidValue, "keep one for RSA and one for ECDSA", "more than two certificates")
	}
	byFile := t.CredentialName == "" && len(t.CredentialNames) == 0
	clients := t.Mode == networking.ServerTLSSettings_MUTUAL || t.Mode == networking.ServerTLSSettings_OPTIONAL_MUTUAL
	if clients && byFile && t.CaCertificates == "" && t.CaCertCredentialName == "" {
		f.refuse(field+".caCertificates", MissingField, "put the CA into the Secret of credentialName", "%v without a CA for clients", t.Mode)
	}
	if t.CaCrl != "" && t.CredentialName != "" {
		f.refuse(field+".caCrl", ConflictingFields, "put ca.crl into the Secret", "the list of revoked certificates is in the Secret of credentialName")
	}
}
