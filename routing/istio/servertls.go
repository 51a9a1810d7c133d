package istio

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	networking "istio.io/api/networking/v1alpha3"

	"fairway.dev/routing"
	"fairway.dev/routing/dialect"
)

// A serverTLS is what the TLS settings of a server come to on a fleet, whose
// Secrets they are about.
type serverTLS struct {
	tls   *routing.ListenerTLS
	found complaints
}

// serverTLS reads the TLS of the server of a bid on a fleet.
func (r *reading) serverTLS(b bid, at fleetName) serverTLS {
	ns, name, _ := strings.Cut(b.gateway, "/")
	id := dialect.ID{Kind: serverTLSCell, NS: ns, Name: name, Part: strconv.Itoa(b.server) + "/" + at.String()}
	return r.Value(id).(serverTLS)
}

// endTLS calculates a serverTLS. What cannot be done as its author asked closes
// the listener: it refuses all handshakes, so that a less specific one does not
// take what is its own.
func (j *joint) endTLS(r *reading) dialect.Outcome {
	number, fleet, _ := strings.Cut(r.ID.Part, "/")
	i, _ := strconv.Atoi(number)
	g, _ := r.Value(dialect.ID{Kind: gatewayCell, NS: r.ID.NS, Name: r.ID.Name}).(*gateway)
	if g == nil || i >= len(g.servers) || g.servers[i].tls == nil {
		return dialect.Outcome{Value: serverTLS{}}
	}
	s := g.servers[i]
	e := ending{reading: r, in: s.tls, field: s.field + ".tls", protocol: s.protocol, tls: &routing.ListenerTLS{}}
	e.ns, _, _ = strings.Cut(fleet, "/")
	e.run()
	if _, broken := e.found.worst(); broken {
		e.tls = &routing.ListenerTLS{Closed: true}
	}
	return dialect.Outcome{Value: serverTLS{e.tls, e.found}}
}

// An ending is a run of endTLS.
type ending struct {
	*reading
	in       *networking.ServerTLSSettings
	field    string
	ns       string // of the fleet's pods: where credentials are
	protocol routing.Protocol
	tls      *routing.ListenerTLS
	found    complaints
}

func (e *ending) run() {
	switch mode := e.in.GetMode(); mode {
	case networking.ServerTLSSettings_PASSTHROUGH, networking.ServerTLSSettings_AUTO_PASSTHROUGH:
		e.tls.Passthrough = true
		e.ineffective("leaves TLS to the backend", "mode", "httpsRedirect")
		return
	case networking.ServerTLSSettings_SIMPLE:
		e.ineffective("asks for no certificates of clients", "mode", "httpsRedirect", "serverCertificate", "privateKey", "tlsCertificates",
			"credentialName", "credentialNames", "minProtocolVersion", "maxProtocolVersion", "cipherSuites")
	case networking.ServerTLSSettings_MUTUAL, networking.ServerTLSSettings_OPTIONAL_MUTUAL:
		e.clients()
	case networking.ServerTLSSettings_ISTIO_MUTUAL:
		e.found.wrong(e.field+".mode", reasonMeshTLS, "use MUTUAL with a credentialName",
			"ISTIO_MUTUAL is for waypoints, which take tunnels alone: nobody is let in")
		return
	default:
		e.found.wrong(e.field+".mode", reasonInvalidValue, "", "mode %d: want one that Istio has", mode)
		return
	}
	e.certificates()
	e.versions()
	e.suites()
}

// ineffective tells of fields that are set besides those that matter.
func (e *ending) ineffective(why string, matter ...string) {
	for _, f := range setFields(e.in, matter...) {
		e.found.warn(e.field+"."+f, reasonIneffectiveField, "take it out", "mode %v %s: %s has no effect", e.in.GetMode(), why, f)
	}
}

// files tells of fields that name files, and reports whether any does.
func (e *ending) files(fields ...string) (found bool) {
	for _, f := range fields {
		for _, set := range setFields(e.in) {
			if f == set {
				found = true
				e.found.wrong(e.field+"."+f, reasonFilesNotAllowed, "put it in a Secret, and name that in credentialName",
					"%s is a file, and gateway pods have none of yours", f)
			}
		}
	}
	return found
}

// credentials are the names of the Secrets with key pairs.
func (e *ending) credentials() (field string, names []string) {
	if names = e.in.GetCredentialNames(); len(names) > 0 {
		return e.field + ".credentialNames", names
	}
	if name := e.in.GetCredentialName(); name != "" {
		return e.field + ".credentialName", []string{name}
	}
	return e.field + ".credentialName", nil
}

// certificates finds the key pairs. Of two a good one serves alone.
func (e *ending) certificates() {
	field, names := e.credentials()
	if names == nil {
		if !e.files("serverCertificate", "privateKey", "tlsCertificates") {
			e.found.wrong(field, reasonMissingField, "name a Secret", "no certificate to show")
		}
		return
	}
	if e.in.GetCredentialName() != "" && len(e.in.GetCredentialNames()) > 0 {
		e.found.warn(e.field+".credentialName", reasonConflictingFields, "take one of them out", "credentialNames are used, and not credentialName")
	}
	var bad complaints
	for i, name := range names {
		at := field
		if len(e.in.GetCredentialNames()) > 0 {
			at = fmt.Sprintf("%s[%d]", field, i)
		}
		kind, name, err := e.reference(name)
		if err == nil && kind != "Secret" {
			err = fmt.Errorf("%s %s: want a Secret", kind, name)
		}
		if err == nil {
			c := e.Value(dialect.ID{Kind: credentialCell, NS: e.ns, Name: name}).(credential)
			if err = c.err(); err == nil {
				e.tls.Certificates = append(e.tls.Certificates, c.name)
				if c.staple {
					e.found.note(at, reasonUnsupportedField, "", "%s of Secret %s is not sent to clients", tlsStaple, name)
				}
				continue
			}
		}
		bad.wrong(at, reasonInvalidCredential, "create the Secret in namespace "+e.ns+", where the gateway's pods are", "%v", err)
	}
	for _, c := range bad {
		if len(e.tls.Certificates) > 0 {
			c.level = routing.Warning
		}
		e.found.add(c)
	}
}

// reference parses a credential's name: "name", "kubernetes://name",
// "kubernetes://namespace/name" of the pods' own namespace, or
// "configmap://name".
func (e *ending) reference(text string) (kind, name string, err error) {
	kind, name = "Secret", text
	if scheme, rest, ok := strings.Cut(text, "://"); ok {
		switch name = rest; scheme {
		case "kubernetes":
		case "configmap":
			kind = "ConfigMap"
		default:
			return "", "", fmt.Errorf("credential %q: want the name of a Secret", text)
		}
	}
	if ns, rest, ok := strings.Cut(name, "/"); ok {
		if name = rest; ns != e.ns {
			return "", "", fmt.Errorf("credential %q: want one of namespace %s, where the gateway's pods are", text, e.ns)
		}
	}
	return kind, name, nil
}

// clients says how certificates of clients are checked.
func (e *ending) clients() {
	v := &routing.ClientValidation{
		Optional:      e.in.GetMode() == networking.ServerTLSSettings_OPTIONAL_MUTUAL,
		AllowInsecure: e.in.GetInsecureSkipVerify().GetValue(),
		SANs:          e.in.GetSubjectAltNames(),
	}
	e.hashes(v)
	e.tls.Client = v
	if _, names := e.credentials(); e.files("caCertificates", "caCrl") && names == nil {
		return // no Secret is named for what the files are for
	}
	a, field, err := e.authority()
	if err != nil {
		e.found.wrong(field, reasonInvalidCredential, "put ca.crt in the Secret, or in one named like it with -cacert at the end",
			"clients cannot be checked: %v", err)
		return
	}
	v.Roots, v.CRL = a.roots, a.crl
	if v.AllowInsecure {
		e.found.warn(e.field+".insecureSkipVerify", reasonInsecureTLS, "take it out",
			"clients are let in whatever certificate they have, or none")
	}
}

// authority finds the CA of clients: that of caCertCredentialName, else that of
// the Secret "NAME-cacert", else that in the Secret of the key pair itself.
func (e *ending) authority() (authority, string, error) {
	if own := e.in.GetCaCertCredentialName(); own != "" {
		field := e.field + ".caCertCredentialName"
		kind, name, err := e.reference(own)
		if err != nil {
			return authority{}, field, err
		}
		a := e.authorityIn(kind, name)
		if a.missing && kind == "Secret" && !strings.Contains(own, "://") {
			if in := e.authorityIn("ConfigMap", name); !in.missing {
				a = in
			}
		}
		return a, field, a.err()
	}
	field, names := e.credentials()
	if names == nil {
		return authority{}, field, fmt.Errorf("no credentialName")
	}
	kind, name, err := e.reference(names[0])
	if err != nil || kind != "Secret" {
		return authority{}, field, fmt.Errorf("credential %q: want a Secret", names[0])
	}
	a := e.authorityIn("Secret", name+authoritySuffix)
	if a.missing {
		a = e.authorityIn("Secret", name)
	}
	return a, field, a.err()
}

func (e *ending) authorityIn(kind, name string) authority {
	return e.Value(dialect.ID{Kind: authorityCell, NS: e.ns, Name: name, Part: kind}).(authority)
}

// hashes takes over the certificates that are let in. One that cannot be one
// would let nobody in, and is left out; where none is left, nobody is.
func (e *ending) hashes(v *routing.ClientValidation) {
	for i, text := range e.in.GetVerifyCertificateSpki() {
		if sum, err := base64.StdEncoding.DecodeString(text); err != nil || len(sum) != 32 {
			e.found.wrong(fmt.Sprintf("%s.verifyCertificateSpki[%d]", e.field, i), reasonInvalidValue, "", "%q: want SHA-256 in base64", text)
			continue
		}
		v.SPKI = append(v.SPKI, text)
	}
	for i, text := range e.in.GetVerifyCertificateHash() {
		sum := strings.ToLower(strings.ReplaceAll(text, ":", ""))
		if b, err := hex.DecodeString(sum); err != nil || len(b) != 32 {
			e.found.wrong(fmt.Sprintf("%s.verifyCertificateHash[%d]", e.field, i), reasonInvalidValue, "", "%q: want SHA-256 in hexadecimal", text)
			continue
		}
		v.Hashes = append(v.Hashes, sum)
	}
}
