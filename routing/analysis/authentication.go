package analysis

import (
	"encoding/json"
	"net/url"
	"regexp"

	security "istio.io/api/security/v1beta1"
)

func (f *findings) requestAuthentication(a *security.RequestAuthentication) {
	f.targets(a)
	for i, r := range a.JwtRules {
		f.jwtRule(at("spec.jwtRules", i), r)
	}
}

// claimField is the name of a field that has a claim.
var claimField = regexp.MustCompile(`^[-_A-Za-z0-9]+$`)

// jwtRule checks how tokens of an issuer are proved.
func (f *findings) jwtRule(field string, r *security.JWTRule) {
	if r.GetIssuer() == "" {
		f.refuse(field+".issuer", MissingField, "name the issuer: until then no token holds by the rule", "no issuer: want one")
	}
	f.notEmpty(field+".audiences", r.GetAudiences())
	if text := r.GetJwks(); text != "" {
		var set struct {
			Keys []json.RawMessage `json:"keys"`
		}
		if err := json.Unmarshal([]byte(text), &set); err != nil || set.Keys == nil {
			f.refuse(field+".jwks", InvalidValue, "correct it: until then no token of the issuer holds", "not a JSON Web Key Set (RFC 7517 section 5)")
		}
		if r.GetJwksUri() != "" {
			f.warn(field+".jwksUri", IneffectiveField, "keep one of them", "no keys are fetched beside jwks")
		}
	}
	if text := r.GetJwksUri(); text != "" {
		if u, err := url.Parse(text); err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
			f.refuse(field+".jwksUri", InvalidValue, "correct it: until then no token of the issuer holds", "%q: want a URL of http or https", text)
		}
	}
	for i, h := range r.GetFromHeaders() {
		if !token.MatchString(h.GetName()) {
			f.refuse(at(field+".fromHeaders", i)+".name", InvalidHeader, "write a header's name", "%q: not a header's name", h.GetName())
		}
	}
	f.notEmpty(field+".fromParams", r.GetFromParams())
	f.notEmpty(field+".fromCookies", r.GetFromCookies())
	f.notEmpty(field+".spaceDelimitedClaims", r.GetSpaceDelimitedClaims())
	if name := r.GetOutputPayloadToHeader(); name != "" && !token.MatchString(name) {
		f.refuse(field+".outputPayloadToHeader", InvalidHeader, "write a header's name", "%q: not a header's name", name)
	}
	for i, c := range r.GetOutputClaimToHeaders() {
		field := at(field+".outputClaimToHeaders", i)
		if c.GetClaim() == "" {
			f.refuse(field+".claim", MissingField, "name the claim", "no claim")
		}
		if !claimField.MatchString(c.GetHeader()) {
			f.refuse(field+".header", InvalidHeader, "write letters, digits, hyphens and underscores", "%q: not a header's name", c.GetHeader())
		}
	}
	f.duration(field+".timeout", r.GetTimeout())
}

// notEmpty refuses empty texts in a list.
func (f *findings) notEmpty(field string, list []string) {
	for i, v := range list {
		if v == "" {
			f.refuse(at(field, i), MissingField, "write a value, or take it out", "an empty value")
		}
	}
}

func (f *findings) peerAuthentication(p *security.PeerAuthentication) {
	f.selector(p.Selector)
	f.mode("spec.mtls.mode", p.GetMtls().GetMode())
	if len(p.GetSelector().GetMatchLabels()) == 0 && len(p.PortLevelMtls) > 0 {
		f.refuse("spec.portLevelMtls", ConflictingFields, "add a selector, or take it out", "portLevelMtls without a selector: ports are those of some pods")
	}
	for number, m := range sorted(p.PortLevelMtls) {
		field := at("spec.portLevelMtls", int(number))
		f.port(field, number)
		f.mode(field+".mode", m.GetMode())
	}
}

// mode checks how clients prove who they are.
func (f *findings) mode(field string, m security.PeerAuthentication_MutualTLS_Mode) {
	switch m {
	case security.PeerAuthentication_MutualTLS_UNSET, security.PeerAuthentication_MutualTLS_PERMISSIVE, security.PeerAuthentication_MutualTLS_STRICT:
	case security.PeerAuthentication_MutualTLS_DISABLE:
		f.warn(field, UnsupportedValue, "write PERMISSIVE", "DISABLE: waypoints take proofs from whoever has one: it is as PERMISSIVE")
	default:
		f.refuse(field, InvalidValue, "write STRICT or PERMISSIVE", "mode %d: want UNSET, PERMISSIVE or STRICT", m)
	}
}
