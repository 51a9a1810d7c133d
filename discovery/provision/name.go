package provision

import (
	"crypto/sha256"
	"encoding/hex"
	"net/netip"
	"regexp"
	"strings"
)

// maxName is the length of a DNS label (RFC 1035, section 2.3.4), which the
// name of a Service and the value of a label may have.
const maxName = 63

// dnsLabel is what the API server wants of a Service's name.
var dnsLabel = regexp.MustCompile(`^[a-z]([-a-z0-9]*[a-z0-9])?$`)

// Name returns the name of a Gateway's Deployment, ServiceAccount and the
// others, given the names of the Gateway and its class.
func Name(gateway, class string) string { return label(gateway + "-" + class) }

// serviceName is the name of the Service for an address that was asked for.
func serviceName(base string, addr netip.Addr) string {
	return label(base + "-" + strings.NewReplacer(".", "-", ":", "-").Replace(addr.StringExpanded()))
}

// label returns s where it is a DNS label, and else one that is s's alone.
func label(s string) string {
	if len(s) <= maxName && dnsLabel.MatchString(s) {
		return s
	}
	clean := []byte(strings.ToLower(s))
	for i, c := range clean {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') {
			clean[i] = '-'
		}
	}
	if len(clean) == 0 || clean[0] < 'a' {
		clean = append([]byte("gw-"), clean...)
	}
	return hashed(string(clean), s)
}

// labelValue returns the name of an object where it can be a label's value,
// and else something that stands for it.
func labelValue(name string) string {
	if len(name) <= maxName {
		return name
	}
	return hashed(name, name)
}

// hashed cuts text and puts a hash of all in the place of the rest.
func hashed(text, all string) string {
	sum := sha256.Sum256([]byte(all))
	text = text[:min(len(text), maxName-9)]
	return strings.TrimRight(text, "-.") + "-" + hex.EncodeToString(sum[:4])
}
