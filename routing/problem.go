package routing

import "strconv"

// String returns the form used in logs and by people:
// "HTTPRoute shop/cart spec.rules[2].matches[0]".
func (o Origin) String() string {
	s := o.Kind
	if o.Name != "" {
		s += " "
		if o.Namespace != "" {
			s += o.Namespace + "/"
		}
		s += o.Name
	}
	if o.Field != "" {
		s += " " + o.Field
	}
	return s
}

// Place returns "file:line", the file alone where no line is to blame, or the
// empty string where the object has no file.
func (o Origin) Place() string {
	if o.File == "" || o.Line == 0 {
		return o.File
	}
	return o.File + ":" + strconv.Itoa(o.Line)
}

// At returns the origin of a field in the same object.
func (o Origin) At(field string) Origin {
	o.Field = field
	return o
}

// Reason says why a part is not in force: a status reason and a metric label,
// never reworded.
type Reason string

// The reasons of Compile. Those of Gateway API have its spelling.
const (
	BackendNotFound  Reason = "BackendNotFound"  // a cluster that is not in force
	HostnameConflict Reason = "HostnameConflict" // two listeners want one hostname of a port
	InvalidAction    Reason = "InvalidAction"
	InvalidCluster   Reason = "InvalidCluster"
	InvalidEndpoint  Reason = "InvalidEndpoint"
	InvalidHostname  Reason = "InvalidHostname"
	InvalidJWTRule   Reason = "InvalidJWTRule"
	InvalidListener  Reason = "InvalidListener"
	InvalidMatch     Reason = "InvalidMatch"
	InvalidPolicy    Reason = "InvalidPolicy"
	NoMatchingParent Reason = "NoMatchingParent" // a listener that is not there
	ProtocolConflict Reason = "ProtocolConflict" // two listeners want one port for different protocols
	UnboundedHost    Reason = "UnboundedHost"    // any host may be asked for where requests go to the host they name
)

// Level is how grave a Problem is.
type Level string

const (
	Error   Level = ""        // a part is not in force
	Warning Level = "Warning" // all is in force, but perhaps not what its author meant
	Info    Level = "Info"    // worth knowing
)

// A Problem is why a part is not in force, or what is odd about it.
type Problem struct {
	Origin Origin
	Reason Reason // also the code of a finding: `fairway check` knows it by this name
	Err    error  // for people: what was found, what was wanted
	Level  Level
	Fix    string // what its author may do about it; may be empty
}

func (p *Problem) Error() string { return p.Origin.String() + ": " + p.Err.Error() }

func (p *Problem) Unwrap() error { return p.Err }
