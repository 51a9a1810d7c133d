package analysis

import "fairway.dev/routing"

// The codes of what [Validate] finds.
const (
	ConflictingFields   routing.Reason = "ConflictingFields"
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
	UnsupportedField    routing.Reason = "UnsupportedField"
	UnsupportedOperator routing.Reason = "UnsupportedOperator"
	WeightsNotHundred   routing.Reason = "WeightsNotHundred"
)
