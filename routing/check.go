package routing

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// checkListener says what is wrong with l by itself.
func checkListener(l *Listener) *Problem {
	refuse := func(reason Reason, err error) *Problem { return &Problem{Origin: l.Origin, Reason: reason, Err: err} }
	if l.Port == 0 && !l.Inside {
		return refuse(InvalidListener, fmt.Errorf("port 0: want 1-65535"))
	}
	for _, addr := range l.Addresses {
		if !addr.IsValid() {
			return refuse(InvalidListener, fmt.Errorf("an empty address: want an IP address"))
		}
	}
	switch l.Protocol {
	case HTTPS, TLS:
		if l.TLS == nil {
			return refuse(InvalidListener, fmt.Errorf("protocol %s without TLS", l.Protocol))
		}
		if l.TLS.Passthrough && l.Protocol != TLS {
			return refuse(InvalidListener, fmt.Errorf("protocol %s with TLS passed through: want protocol TLS", l.Protocol))
		}
	case HTTP, TCP, UDP, HBONE:
	default:
		return refuse(InvalidListener, fmt.Errorf("protocol %q: want HTTP, HTTPS, TLS, TCP, UDP or HBONE", l.Protocol))
	}
	if err := l.checkInside(); err != nil {
		return refuse(InvalidListener, err)
	}
	if l.TLS != nil && l.TLS.Passthrough && l.TLS.Client != nil {
		return refuse(InvalidListener, fmt.Errorf("certificates of clients to check where TLS is passed through: want one or the other"))
	}
	if l.RedirectHTTPS && l.Protocol != HTTP {
		return refuse(InvalidListener, fmt.Errorf("protocol %s with a redirect to https: want HTTP", l.Protocol))
	}
	if l.Hostname == anyHost {
		return refuse(InvalidHostname, fmt.Errorf(`hostname "*": want none, a name or "*.NAME"`))
	}
	if l.Hostname != "" {
		if err := checkPattern(l.Hostname); err != nil {
			return refuse(InvalidHostname, err)
		}
	}
	return nil
}

// checkSecurity says why l lets nobody in: a part of it that keeps people out
// cannot work. It stays in force, or a less specific listener would take what
// is its own.
func checkSecurity(l *Listener) *Problem {
	origin, reason, err := l.Origin, InvalidListener, wrap("tls", l.TLS.checkVersions())
	if err == nil && l.TLS != nil {
		err = l.TLS.Client.check()
	}
	for i := 0; err == nil && i < len(l.JWT); i++ {
		reason, err = InvalidJWTRule, l.JWT[i].check()
		origin = cmp.Or(l.JWT[i].Origin, l.Origin)
	}
	if err == nil {
		return nil
	}
	return &Problem{Origin: origin, Reason: reason, Err: fmt.Errorf("%w; nobody is let in", err)}
}

// checkVersions takes the versions and the cipher suites that crypto/tls has.
func (t *ListenerTLS) checkVersions() error {
	if t == nil {
		return nil
	}
	for _, v := range []uint16{t.MinVersion, t.MaxVersion} {
		if v != 0 && (v < tls.VersionTLS10 || v > tls.VersionTLS13) {
			return fmt.Errorf("version %#04x: want %#04x-%#04x", v, tls.VersionTLS10, tls.VersionTLS13)
		}
	}
	if least := cmp.Or(t.MinVersion, tls.VersionTLS12); t.MaxVersion != 0 && t.MaxVersion < least {
		return fmt.Errorf("%s at most and %s at least: want a version between them", tls.VersionName(t.MaxVersion), tls.VersionName(least))
	}
	for _, id := range t.CipherSuites {
		known := func(s *tls.CipherSuite) bool {
			return s.ID == id && slices.Contains(s.SupportedVersions, tls.VersionTLS12)
		}
		if !slices.ContainsFunc(tls.CipherSuites(), known) && !slices.ContainsFunc(tls.InsecureCipherSuites(), known) {
			return fmt.Errorf("cipher suite %#04x: want one of TLS 1.2 that crypto/tls has", id)
		}
	}
	return nil
}

// check says why certificates of clients cannot be checked as v asks for it.
func (v *ClientValidation) check() error {
	if v == nil {
		return nil
	}
	if !x509.NewCertPool().AppendCertsFromPEM(v.Roots) {
		return fmt.Errorf("roots for clients: no certificate in them, want PEM")
	}
	for _, name := range v.SANs {
		if rest := strings.TrimSuffix(strings.TrimPrefix(name, "*"), "*"); rest == "" || len(rest)+1 < len(name) || strings.Contains(rest, "*") {
			return fmt.Errorf(`name %q of clients: want a name, with one "*" in front or at the end`, name)
		}
	}
	for _, pin := range v.SPKI {
		if sum, err := base64.StdEncoding.DecodeString(pin); err != nil || len(sum) != sha256.Size {
			return fmt.Errorf("key %q of clients: want SHA-256 in base64", pin)
		}
	}
	for _, pin := range v.Hashes {
		if sum, err := hex.DecodeString(pin); err != nil || len(sum) != sha256.Size {
			return fmt.Errorf("certificate %q of clients: want SHA-256 in hexadecimal", pin)
		}
	}
	return wrap("certificates of clients", checkRevocations(v.CRL))
}

// checkRevocations says what is wrong with lists of revoked certificates.
func checkRevocations(list []byte) error {
	for len(list) > 0 {
		block, rest := pem.Decode(list)
		if block == nil {
			return fmt.Errorf("revocations: no PEM")
		}
		if block.Type != "X509 CRL" {
			return fmt.Errorf("revocations: PEM of %q: want X509 CRL", block.Type)
		}
		if _, err := x509.ParseRevocationList(block.Bytes); err != nil {
			return fmt.Errorf("revocations: %w", err)
		}
		list = bytes.TrimSpace(rest)
	}
	return nil
}

// check says why a token cannot be proved as j asks for it.
func (j *JWTRule) check() error {
	if j.Issuer == "" && len(j.Keys) == 0 && j.URL == "" {
		return fmt.Errorf("neither an issuer, nor keys, nor where to fetch them: want one")
	}
	if len(j.Keys) > 0 {
		var set struct{ Keys []json.RawMessage }
		if err := json.Unmarshal(j.Keys, &set); err != nil || set.Keys == nil {
			return fmt.Errorf("keys: want a JSON Web Key Set")
		}
	}
	if j.URL != "" {
		if u, err := url.Parse(j.URL); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
			return fmt.Errorf("keys at %q: want http://HOST or https://HOST", j.URL)
		}
	}
	if j.Timeout < 0 {
		return fmt.Errorf("timeout %s of fetching keys: want no negative time", j.Timeout)
	}
	if slices.Contains(j.Params, "") {
		return fmt.Errorf("a token in a query parameter without a name")
	}
	fields := slices.Clone(j.Cookies)
	for _, h := range j.Headers {
		fields = append(fields, h.Name)
	}
	for _, c := range j.Claims {
		if c.Claim == "" {
			return fmt.Errorf("header %q of a claim without a name", c.Header)
		}
		fields = append(fields, c.Header)
	}
	if j.PayloadHeader != "" {
		fields = append(fields, j.PayloadHeader)
	}
	for _, name := range fields {
		if !isToken(name) || slices.Contains(framing, strings.ToLower(name)) {
			return fmt.Errorf("header or cookie %q: want a token, and not a header that the gateway writes itself", name)
		}
	}
	return nil
}
