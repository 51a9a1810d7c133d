package istio

import (
	"fmt"
	"slices"
	"strings"

	"fairway.dev/routing"
	"fairway.dev/routing/dialect"
)

// Reasons of Gateways and of MeshConfig. They are never reworded; those of
// single fields are package analysis's.
const (
	reasonConflictingFields   = "ConflictingFields"
	reasonDeprecatedField     = "DeprecatedField"
	reasonDuplicateName       = "DuplicateName"
	reasonGatewayNotFound     = "GatewayNotFound"   // that a VirtualService names
	reasonGatewayNotServed    = "GatewayNotServed"  // that a VirtualService names
	reasonHostConflict        = "HostnameConflict"  // another listener has the host
	reasonHostNotServed       = "HostNotServed"     // no server has a VirtualService's hosts
	reasonIneffectiveField    = "IneffectiveField"  //
	reasonInsecureTLS         = "InsecureTLS"       // TLS 1.0 and 1.1 (RFC 8996)
	reasonInvalidAddress      = "InvalidAddress"    //
	reasonInvalidCredential   = "InvalidCredential" // a Secret is missing, or not in order
	reasonInvalidHost         = "InvalidHost"
	reasonInvalidMeshConfig   = "InvalidMeshConfig"
	reasonInvalidPort         = "InvalidPort"
	reasonInvalidProtocol     = "InvalidProtocol"
	reasonInvalidValue        = "InvalidValue"
	reasonMissingField        = "MissingField"
	reasonNamespaceNotAllowed = "NamespaceNotAllowed" // servers have the hosts for other namespaces
	reasonPortName            = "PortNameMismatch"    // a port's name says another protocol
	reasonPortUnavailable     = "PortUnavailable"     // the gateway needs the port itself
	reasonProtocolConflict    = "ProtocolConflict"    // the port speaks another protocol
	reasonUnboundGateway      = "UnboundGateway"      // the selector matches no pods
	reasonUnknownProvider     = "UnknownProvider"     // MeshConfig has none of that name
	reasonUnknownField        = "UnknownField"
	reasonUnsupportedField    = "UnsupportedField"
	reasonUnsupportedKind     = "UnsupportedKind"
	reasonUnsupportedTarget   = "UnsupportedTarget" // of a policy
)

// A complaint is a Problem of a Gateway before it has an object.
type complaint struct {
	level                       routing.Level
	field, reason, text, advice string
}

// complaints are gathered in the order of the fields, each once.
type complaints []complaint

func (c *complaints) add(n complaint) {
	if !slices.Contains(*c, n) {
		*c = append(*c, n)
	}
}

// wrong notes what keeps a part from being in force.
func (c *complaints) wrong(field, reason, advice, format string, args ...any) {
	c.add(complaint{routing.Error, field, reason, fmt.Sprintf(format, args...), advice})
}

// warn notes what is in force, but hardly as it was meant.
func (c *complaints) warn(field, reason, advice, format string, args ...any) {
	c.add(complaint{routing.Warning, field, reason, fmt.Sprintf(format, args...), advice})
}

// note notes what is worth knowing.
func (c *complaints) note(field, reason, advice, format string, args ...any) {
	c.add(complaint{routing.Info, field, reason, fmt.Sprintf(format, args...), advice})
}

// report adds the complaints to a Report.
func (c complaints) report(r *dialect.Report) {
	for _, n := range c {
		r.Find(n.level, n.field, n.reason, n.text, n.advice)
	}
}

// worst returns the first by which a part is not in force.
func (c complaints) worst() (complaint, bool) {
	for _, n := range c {
		if n.level == routing.Error {
			return n, true
		}
	}
	return complaint{}, false
}

// take adds what package analysis has found.
func (c *complaints) take(list []*routing.Problem) {
	for _, p := range list {
		c.add(complaint{p.Level, p.Origin.Field, string(p.Reason), p.Err.Error(), p.Fix})
	}
}

// refuses reports whether something in a field keeps it from being in force.
func (c complaints) refuses(field string) bool {
	return slices.ContainsFunc(c, func(n complaint) bool { return n.level == routing.Error && strings.HasPrefix(n.field, field) })
}
