package analysis

import (
	"fmt"
	"io"

	"fairway.dev/routing"
)

// The codes of what [Validate] finds.
const (
	ConflictingFields   routing.Reason = "ConflictingFields"
	DeniesStreams       routing.Reason = "DeniesStreams"
	DeprecatedField     routing.Reason = "DeprecatedField"
	DuplicateHost       routing.Reason = "DuplicateHost"
	DuplicateName       routing.Reason = "DuplicateName"
	IneffectiveField    routing.Reason = "IneffectiveField"
	InvalidAddress      routing.Reason = "InvalidAddress"
	InvalidDuration     routing.Reason = "InvalidDuration"
	InvalidHeader       routing.Reason = "InvalidHeader"
	InvalidHost         routing.Reason = "InvalidHost"
	InvalidLabel        routing.Reason = "InvalidLabel"
	InvalidMatch        routing.Reason = routing.InvalidMatch
	InvalidName         routing.Reason = "InvalidName"
	InvalidPercentage   routing.Reason = "InvalidPercentage"
	InvalidPort         routing.Reason = "InvalidPort"
	InvalidProtocol     routing.Reason = "InvalidProtocol"
	InvalidRegex        routing.Reason = "InvalidRegex"
	InvalidStatus       routing.Reason = "InvalidStatus"
	InvalidValue        routing.Reason = "InvalidValue"
	InvalidWeight       routing.Reason = "InvalidWeight"
	MissingField        routing.Reason = "MissingField"
	UnknownAttribute    routing.Reason = "UnknownAttribute"
	UnsupportedField    routing.Reason = "UnsupportedField"
	UnsupportedOperator routing.Reason = "UnsupportedOperator"
	UnsupportedTarget   routing.Reason = "UnsupportedTarget"
	UnsupportedValue    routing.Reason = "UnsupportedValue"
	WeightsNotHundred   routing.Reason = "WeightsNotHundred"
)

// Kinds are those that [Validate] knows, in order.
var Kinds = []string{"AuthorizationPolicy", "DestinationRule", "Gateway.networking.istio.io", "PeerAuthentication", "RequestAuthentication", "ServiceEntry", "VirtualService", "WorkloadEntry"}

// A Code is one of a finding.
type Code struct {
	Reason routing.Reason
	// About says what was found. The level depends on where: what is not in force
	// is an error, what is but is hardly meant a warning.
	About string
}

// WriteCodes prints [Codes] as a table of Markdown.
func WriteCodes(out io.Writer) error {
	text := "| code | what was found |\n|---|---|\n"
	for _, c := range Codes {
		text += fmt.Sprintf("| `%s` | %s |\n", c.Reason, c.About)
	}
	_, err := io.WriteString(out, text)
	return err
}
