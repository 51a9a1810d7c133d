package istio

import (
	"errors"
	"fmt"
	"strings"

	networking "istio.io/api/networking/v1alpha3"

	"fairway.dev/routing"
)

// A clientTLS is ClientTLSSettings.
type clientTLS struct {
	off        bool   // DISABLE
	mesh       bool   // ISTIO_MUTUAL: says nothing to gateways
	mutual     bool   // MUTUAL, else SIMPLE
	credential string // a Secret in the namespace of the gateway pods
	sni        string
	sans       []string
	insecure   bool
	broken     string // why it cannot be had; its clusters are closed then
}

// osRoots is the caCertificates that stands for the roots of the system.
const osRoots = "system"

func (p *specParser) tls(field string, t *networking.ClientTLSSettings) *clientTLS {
	if t == nil {
		return nil
	}
	out := &clientTLS{
		credential: t.CredentialName,
		sni:        strings.ToLower(t.Sni),
		sans:       append([]string(nil), t.SubjectAltNames...),
		insecure:   t.InsecureSkipVerify.GetValue(),
	}
	switch t.Mode {
	case networking.ClientTLSSettings_DISABLE:
		return &clientTLS{off: true}
	case networking.ClientTLSSettings_ISTIO_MUTUAL:
		p.find(routing.Info, field+".mode", reasonMeshTLS, "", "ISTIO_MUTUAL: what has a waypoint is reached by mTLS of the mesh in any case: gateways send as if there were no tls")
		return &clientTLS{mesh: true}
	case networking.ClientTLSSettings_SIMPLE:
	case networking.ClientTLSSettings_MUTUAL:
		out.mutual = true
	default:
		p.breaks(out, field+".mode", reasonInvalidValue, "mode %d: want DISABLE, SIMPLE, MUTUAL or ISTIO_MUTUAL", t.Mode)
	}
	p.files(out, field, t)
	if out.credential != "" {
		p.find(routing.Info, field+".credentialName", reasonCredentialByUser, "for HTTPRoutes use a BackendTLSPolicy, and spec.tls.backend of the Gateway",
			"Secret %s is read in the namespace of the gateway pods that send: requests of VirtualServices go, those of HTTPRoutes are answered with 500", out.credential)
	}
	if out.sni != "" && checkHostPattern(out.sni) != nil || strings.Contains(out.sni, "*") {
		p.breaks(out, field+".sni", reasonInvalidValue, "%q: want the name of a host", t.Sni)
	}
	for i, name := range out.sans {
		if name == "" {
			p.breaks(out, fmt.Sprintf("%s.subjectAltNames[%d]", field, i), reasonInvalidValue, "want a name")
		}
	}
	if out.insecure && len(out.sans) > 0 {
		p.find(routing.Warning, field+".insecureSkipVerify", reasonIneffectiveField, "leave it out, or subjectAltNames", "no name is checked, those of subjectAltNames neither")
	}
	return out
}

// files refuses what is to be read from the files of a pod: gateways have none.
func (p *specParser) files(out *clientTLS, field string, t *networking.ClientTLSSettings) {
	for _, f := range []struct{ field, path string }{
		{"clientCertificate", t.ClientCertificate},
		{"privateKey", t.PrivateKey},
		{"caCertificates", t.CaCertificates},
		{"caCrl", t.CaCrl},
	} {
		if f.path == "" || f.field == "caCertificates" && f.path == osRoots {
			continue
		}
		p.breaks(out, field+"."+f.field, reasonFilesNotAllowed, "%s: gateway pods have no such file: want credentialName, a Secret in their namespace", f.path)
	}
	if out.mutual && out.credential == "" && t.ClientCertificate == "" {
		p.breaks(out, field+".credentialName", reasonInvalidValue, "mode MUTUAL: want credentialName, a Secret in the namespace of the gateway pods")
	}
}

// breaks notes why TLS cannot be had.
func (p *specParser) breaks(out *clientTLS, field, reason, format string, args ...any) {
	p.refuse(field, reason, format, args...)
	if out.broken == "" {
		out.broken = fmt.Sprintf(format, args...)
	}
}

// A tlsWord is what DestinationRules say about TLS to a target.
type tlsWord struct {
	says bool // else nothing: it stays as it is without them
	tls  *routing.UpstreamTLS
}

// tlsFor says how TLS is spoken to a target, or why it cannot be spoken as its
// rules want: then nothing is sent. sans are those of its ServiceEntry, which
// count where the rules have none.
func (r *reading) tlsFor(s *shape, host string, t target, sans []string) (tlsWord, error) {
	p := s.effective(t)
	if t.use == uses[useTLS] || t.use == useDatagrams || p == nil || p.tls == nil || p.tls.mesh {
		return tlsWord{}, nil
	}
	want := p.tls
	switch {
	case want.broken != "":
		return tlsWord{}, errors.New(want.broken)
	case want.off:
		return tlsWord{says: true}, nil
	}
	out := &routing.UpstreamTLS{ServerName: want.sni, SANs: want.sans, Insecure: want.insecure, NameFromHost: want.sni == ""}
	switch {
	case want.insecure:
		out.SANs = nil
	case len(out.SANs) == 0:
		out.SANs = sans
	}
	if t.use == uses[useTCP] {
		if err := nameStream(out, host); err != nil {
			return tlsWord{}, err
		}
	}
	if want.credential == "" {
		return tlsWord{true, out}, nil
	}
	if t.client == everybody {
		return tlsWord{}, fmt.Errorf("credentialName %s: it is in the namespace of the gateway pods that send, and all gateways share this cluster", want.credential)
	}
	c, err := r.clientCredential(t.client, want.credential, want.mutual)
	if err != nil {
		return tlsWord{}, err
	}
	out.Roots, out.CRL, out.Certificate = c.roots, c.crl, c.certificate
	return tlsWord{true, out}, nil
}

// nameStream names the server of a stream without sni: it has no host of
// a request, so it is the one that it is sent to.
func nameStream(tls *routing.UpstreamTLS, host string) error {
	tls.NameFromHost = false
	switch {
	case tls.ServerName != "":
	case !isWild(host):
		tls.ServerName = host
	case len(tls.SANs) == 0 && !tls.Insecure:
		return errors.New("a stream names no host to its server: want sni or subjectAltNames")
	}
	return nil
}
