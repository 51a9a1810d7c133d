package analysis

import (
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"time"

	networking "istio.io/api/networking/v1alpha3"
	"k8s.io/apimachinery/pkg/util/validation"

	"google.golang.org/protobuf/types/known/durationpb"
)

// maxRegex is the longest expression that Istio takes, in bytes.
const maxRegex = 1024

// host checks a name, or a wildcard of names: "*", "*.example.com", "*-x.com".
func (f *findings) host(field, host string) bool {
	if err := checkHost(host); err != "" {
		f.refuse(field, InvalidHost, `write a DNS name, or one that begins with "*"`, "%q: %s", host, err)
		return false
	}
	return true
}

// checkHost says what is wrong with a host; empty: nothing.
func checkHost(host string) string {
	if host == "*" {
		return ""
	}
	rest, wild := strings.CutPrefix(host, "*")
	if wild {
		// What follows the star is part of a name: "*.example.com", "*-east.example.com".
		rest = strings.TrimPrefix(strings.TrimPrefix(rest, "-"), ".")
	}
	switch {
	case rest == "":
		return "want a name"
	case strings.Contains(rest, "*"):
		return "a star may come first only"
	case len(host) > 255:
		return "longer than 255 bytes"
	}
	for label := range strings.SplitSeq(strings.TrimSuffix(strings.ToLower(rest), "."), ".") {
		if errs := validation.IsDNS1123Label(label); len(errs) > 0 {
			return "the label " + label + " is not valid: " + errs[0]
		}
	}
	return ""
}

func isIP(s string) bool {
	_, err := netip.ParseAddr(s)
	return err == nil
}

func (f *findings) port(field string, port uint32) {
	if port == 0 || port > 65535 {
		f.refuse(field, InvalidPort, "write a number from 1 to 65535", "port %d: want 1-65535", port)
	}
}

// subnet checks an address, or a prefix in CIDR notation.
func (f *findings) subnet(field, s string) {
	_, err := netip.ParsePrefix(s)
	if err != nil && !isIP(s) {
		f.refuse(field, InvalidAddress, "write an address, or a prefix like 10.0.0.0/8", "%q: want an IP address, or a CIDR prefix", s)
	}
}

// duration checks what is at least a millisecond, where it is set.
func (f *findings) duration(field string, d *durationpb.Duration) {
	if d == nil {
		return
	}
	if err := d.CheckValid(); err != nil {
		f.refuse(field, InvalidDuration, `write a duration like "1.5s"`, "%v", err)
		return
	}
	if v := d.AsDuration(); v < time.Millisecond || v%time.Millisecond != 0 {
		f.refuse(field, InvalidDuration, "write whole milliseconds, one at least", "%v: want whole milliseconds, and at least 1ms", v)
	}
}

// timeout checks a duration for which 0 means none.
func (f *findings) timeout(field string, d *durationpb.Duration) {
	if d != nil && d.AsDuration() != 0 {
		f.duration(field, d)
	}
}

func (f *findings) percent(field string, p float64) {
	if !(p >= 0 && p <= 100) { // not a number either
		f.refuse(field, InvalidPercentage, "write a number from 0 to 100", "%v: want 0-100", p)
	}
}

func (f *findings) percentage(field string, p *networking.Percent) {
	if p != nil {
		f.percent(field+".value", p.Value)
	}
}

func (f *findings) regex(field, expr string) {
	switch _, err := regexp.Compile(expr); {
	case expr == "":
		f.refuse(field, InvalidRegex, "write an expression, or take the field away", "an empty expression")
	case len(expr) > maxRegex:
		f.refuse(field, InvalidRegex, "split the expression over several matches", "%d bytes: want at most %d", len(expr), maxRegex)
	case err != nil:
		f.refuse(field, InvalidRegex, "write it in RE2's syntax, which has no look-around and no back references", "%v", err)
	}
}

// text checks a StringMatch whose prefix may be empty only if empty says so.
func (f *findings) text(field string, m *networking.StringMatch, empty bool) {
	switch t := m.GetMatchType().(type) {
	case *networking.StringMatch_Prefix:
		if t.Prefix == "" && !empty {
			f.refuse(field+".prefix", InvalidMatch, "write a prefix; {} alone matches any value", "an empty prefix")
		}
	case *networking.StringMatch_Regex:
		f.regex(field+".regex", t.Regex)
	}
}

// token is what a header's name is made of (RFC 9110 section 5.6.2).
var token = regexp.MustCompile("^[!#$%&'*+.^_`|~0-9A-Za-z-]+$")

// headerName checks the name of a field that an operation edits; authority says
// whether it may be that of the host.
func (f *findings) headerName(field, name string, authority bool) {
	isAuthority := strings.EqualFold(name, "host") || strings.EqualFold(name, ":authority")
	switch {
	case isAuthority && authority:
	case isAuthority, strings.HasPrefix(name, ":"):
		f.refuse(field, InvalidHeader, "use rewrite.authority for the host; other pseudo headers cannot be changed", "%q: cannot be changed here", name)
	case !token.MatchString(name):
		f.refuse(field, InvalidHeader, "write a header's name: letters, digits and hyphens", "%q: not a header's name", name)
	}
}

// operator is one of Envoy's, in a header's value: "%REQ(x)%".
var operator = regexp.MustCompile(`%[A-Z][A-Z0-9_]*(\([^)]*\))?%`)

func (f *findings) headerValue(field, value string) {
	switch {
	case strings.ContainsFunc(value, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }):
		f.refuse(field, InvalidHeader, "take the control characters out", "the value has control characters")
	case operator.MatchString(value):
		f.warn(field, UnsupportedOperator, "write a fixed value", "%s is one of Envoy's operators, which are not evaluated", operator.FindString(value))
	}
}

// label checks a DNS label: the name of a subset, of a port, of a namespace.
func (f *findings) label(field, name string) {
	if errs := validation.IsDNS1123Label(name); len(errs) > 0 {
		f.refuse(field, InvalidName, "write lower-case letters, digits and hyphens, at most 63", "%q: %s", name, errs[0])
	}
}

// labels checks labels of Kubernetes.
func (f *findings) labels(field string, labels map[string]string) {
	for k, v := range sorted(labels) {
		if errs := append(validation.IsQualifiedName(k), validation.IsValidLabelValue(v)...); len(errs) > 0 {
			f.refuse(key(field, k), InvalidLabel, "write it as Kubernetes wants labels", "%s=%s: %s", k, v, errs[0])
		}
	}
}

// exportTo checks to whom an object is shown; "~" is nobody.
func (f *findings) exportTo(list []string, nobody bool) {
	seen := map[string]bool{}
	for i, to := range list {
		field := at("spec.exportTo", i)
		as := to
		if to == "." {
			as = f.origin.Namespace
		}
		if seen[as] {
			f.refuse(field, DuplicateName, "take it out", "%q is there twice", to)
		}
		seen[as] = true
		switch {
		case to == "*", to == ".", to == "~" && nobody:
		case len(validation.IsDNS1123Label(to)) > 0:
			f.refuse(field, InvalidName, `write a namespace, "." or "*"`, "%q: not a namespace", to)
		}
	}
	if len(list) > 1 && (slices.Contains(list, "*") || slices.Contains(list, "~")) {
		f.refuse("spec.exportTo", ConflictingFields, `keep "*" or "~" alone`, `%v: "*" and "~" exclude all others`, list)
	}
}
