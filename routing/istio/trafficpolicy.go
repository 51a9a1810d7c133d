package istio

import (
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	networking "istio.io/api/networking/v1alpha3"

	"fairway.dev/routing"
)

// Reasons for what is odd about a DestinationRule. They are never reworded.
const (
	reasonInvalidSubset    = "InvalidSubset"
	reasonDuplicateSubset  = "DuplicateSubset" // an older rule has one of the name
	reasonInvalidDuration  = "InvalidDuration"
	reasonInvalidPercent   = "InvalidPercentage"
	reasonInvalidStatus    = "InvalidStatus"
	reasonInvalidWeight    = "InvalidWeight"
	reasonMeshTLS          = "MeshTLS"          // mTLS of the mesh, which is up to waypoints
	reasonFilesNotAllowed  = "FilesNotAllowed"  // the gateway has no such files
	reasonCredentialByUser = "CredentialByUser" // a Secret that each gateway has its own of
)

// A policy is a TrafficPolicy, or that of a port. What is nil says nothing.
type policy struct {
	balance       *balance
	pool          *pool
	outliers      *routing.OutlierDetection
	tls           *clientTLS
	retries       *routing.RetryBudget
	proxyProtocol uint8 // version; 0 says nothing
	ports         map[int]*policy
}

// at returns the policy for a port: that of portLevelSettings takes the place
// of the whole, nothing of which is inherited.
func (p *policy) at(port int) *policy {
	if p == nil {
		return nil
	}
	if own := p.ports[port]; own != nil {
		return own
	}
	return p
}

// under returns the policy of a subset's port over p, which is the rule's: each
// of the settings as a whole. Those of a port in a subset replace all that
// portLevelSettings can have.
func (p *policy) under(sub *policy, port int) *policy {
	out := policy{}
	if p != nil {
		out = *p
	}
	out.ports = nil
	if own := sub.ports[port]; own != nil {
		out.balance, out.pool, out.outliers, out.tls = own.balance, own.pool, own.outliers, own.tls
		return &out
	}
	if sub.balance != nil {
		out.balance = sub.balance
	}
	if sub.pool != nil {
		out.pool = sub.pool
	}
	if sub.outliers != nil {
		out.outliers = sub.outliers
	}
	if sub.tls != nil {
		out.tls = sub.tls
	}
	if sub.retries != nil {
		out.retries = sub.retries
	}
	if sub.proxyProtocol != 0 {
		out.proxyProtocol = sub.proxyProtocol
	}
	return &out
}

// A specParser reads what can be sent to, and notes what is wrong with it. What
// is not valid is left out, and the rest holds; but TLS that cannot be had as
// it is asked for closes its clusters.
type specParser struct {
	found   complaints
	network string // our own; empty: there is one
	// accounts is how identities of the object's namespace begin.
	accounts string
}

func (p *specParser) find(level routing.Level, field, reason, fix, format string, args ...any) {
	p.found.add(complaint{level, field, reason, fmt.Sprintf(format, args...), fix})
}

// refuse notes a part that is not in force.
func (p *specParser) refuse(field, reason, format string, args ...any) {
	p.find(routing.Error, field, reason, "", format, args...)
}

func (p *specParser) policy(field string, t *networking.TrafficPolicy) *policy {
	if t == nil {
		return nil
	}
	out := p.settings(field, t)
	out.retries = p.retryBudget(field+".retryBudget", t.RetryBudget)
	switch v := t.ProxyProtocol; {
	case v == nil:
	case v.Version == networking.TrafficPolicy_ProxyProtocol_V1:
		out.proxyProtocol = 1
	case v.Version == networking.TrafficPolicy_ProxyProtocol_V2:
		out.proxyProtocol = 2
	default:
		p.refuse(field+".proxyProtocol.version", reasonInvalidValue, "version %d: want V1 or V2", v.Version)
	}
	if t.Tunnel != nil {
		p.find(routing.Error, field+".tunnel", reasonUnsupportedField, "send to the proxy's host, or leave the tunnel to an egress gateway that has it",
			"gateways do not tunnel streams through another proxy: they are sent as they are")
	}
	for i, s := range t.PortLevelSettings {
		at := fmt.Sprintf("%s.portLevelSettings[%d]", field, i)
		port := int(s.GetPort().GetNumber())
		switch {
		case port < 1 || port > 65535:
			p.refuse(at+".port.number", reasonInvalidPort, "port %d: want 1-65535", port)
		case out.ports[port] != nil:
			p.find(routing.Warning, at+".port.number", reasonDuplicateName, "make one of them", "port %d is there already: the first one counts", port)
		default:
			if out.ports == nil {
				out.ports = map[int]*policy{}
			}
			out.ports[port] = p.settings(at, s)
		}
	}
	return out
}

// settings are what a TrafficPolicy and a PortTrafficPolicy have in common.
func (p *specParser) settings(field string, t interface {
	GetLoadBalancer() *networking.LoadBalancerSettings
	GetConnectionPool() *networking.ConnectionPoolSettings
	GetOutlierDetection() *networking.OutlierDetection
	GetTls() *networking.ClientTLSSettings
}) *policy {
	return &policy{
		balance:  p.balance(field+".loadBalancer", t.GetLoadBalancer(), t.GetOutlierDetection() != nil),
		pool:     p.pool(field+".connectionPool", t.GetConnectionPool()),
		outliers: p.outliers(field+".outlierDetection", t.GetOutlierDetection()),
		tls:      p.tls(field+".tls", t.GetTls()),
	}
}

// duration reads one that is at least a millisecond; 0 stands for one that is
// not there, or not valid.
func (p *specParser) duration(field string, d *durationpb.Duration) time.Duration {
	switch {
	case d == nil:
		return 0
	case d.CheckValid() != nil || d.AsDuration() < time.Millisecond:
		p.refuse(field, reasonInvalidDuration, "duration %s: want at least 1ms", d.AsDuration())
		return 0
	}
	return d.AsDuration()
}

// number reads one that is not negative; 0 says nothing.
func (p *specParser) number(field string, n int32) int {
	if n < 0 {
		p.refuse(field, reasonInvalidValue, "%d: want no negative number", n)
		return 0
	}
	return int(n)
}

// percent reads one of 0 to 100.
func (p *specParser) percent(field string, n int32) int {
	if n < 0 || n > 100 {
		p.refuse(field, reasonInvalidPercent, "%d %%: want 0-100", n)
		return 0
	}
	return int(n)
}

// outliers reads OutlierDetection. Where its word for off is 0, the Spec's is -1.
func (p *specParser) outliers(field string, o *networking.OutlierDetection) *routing.OutlierDetection {
	if o == nil {
		return nil
	}
	out := &routing.OutlierDetection{
		ConsecutiveGateway: int(o.ConsecutiveGatewayErrors.GetValue()),
		Split:              o.SplitExternalLocalOriginErrors,
		Interval:           p.duration(field+".interval", o.Interval),
		Base:               p.duration(field+".baseEjectionTime", o.BaseEjectionTime),
		MaxPercent:         p.percent(field+".maxEjectionPercent", o.MaxEjectionPercent),
		MinHealthPercent:   p.percent(field+".minHealthPercent", o.MinHealthPercent),
	}
	if n := o.Consecutive_5XxErrors; n != nil {
		out.Consecutive5xx = orOff(n.Value)
	}
	if n := o.ConsecutiveLocalOriginFailures; n != nil && n.Value > 0 {
		out.ConsecutiveLocal = int(n.Value)
		if !out.Split {
			p.find(routing.Warning, field+".consecutiveLocalOriginFailures", reasonIneffectiveField, "set splitExternalLocalOriginErrors",
				"counts only with splitExternalLocalOriginErrors")
		}
	}
	if o.ConsecutiveErrors != 0 { //nolint:staticcheck // deprecated, and read to say so
		p.find(routing.Warning, field+".consecutiveErrors", reasonDeprecatedField, "use consecutive5xxErrors or consecutiveGatewayErrors",
			"is deprecated and, as in Istio, has no effect")
	}
	for i, code := range o.OutlierDetectionHttpErrorCodes {
		if code < 100 || code > 599 {
			p.refuse(fmt.Sprintf("%s.outlierDetectionHttpErrorCodes[%d]", field, i), reasonInvalidStatus, "status %d: want 100-599", code)
			continue
		}
		out.Codes = append(out.Codes, int(code))
	}
	return out
}

func orOff(n uint32) int {
	if n == 0 {
		return -1
	}
	return int(n)
}

// retryBudget reads a RetryBudget. Envoy bounds how many retries are under way
// at once; gateways of ours how many are begun in an interval, which is
// budgetInterval, and a second where there is none.
func (p *specParser) retryBudget(field string, b *networking.TrafficPolicy_RetryBudget) *routing.RetryBudget {
	if b == nil {
		return nil
	}
	out := &routing.RetryBudget{Percent: 20, Interval: time.Second, Least: 3, LeastInterval: time.Second}
	if v := b.Percent; v != nil {
		if !(v.Value >= 0 && v.Value <= 100) {
			p.refuse(field+".percent", reasonInvalidPercent, "%v %%: want 0-100", v.Value)
		} else {
			out.Percent = int(v.Value + 0.5)
		}
	}
	if b.MinRetryConcurrency > 0 {
		out.Least = int(min(b.MinRetryConcurrency, 1_000_000))
	}
	if b.BudgetInterval != nil && b.BudgetInterval.AsDuration() != 0 {
		out.Interval = min(max(p.duration(field+".budgetInterval", b.BudgetInterval), time.Second), time.Hour)
	}
	return out
}

// shape gives a cluster what a policy says. What the Service's own annotations
// and policies have said comes first, unless over says that p does: then it is
// of the client's namespace, and of nobody else's.
func (p *policy) shape(c *routing.Cluster, stream bool, over bool) {
	if p == nil {
		return
	}
	if p.balance != nil {
		p.balance.shape(c, over)
	}
	if p.pool != nil {
		p.pool.shape(c, stream, over)
	}
	if p.outliers != nil && (over || c.Ejection == routing.Ejection{}) {
		c.Outliers = p.outliers
	}
	if !stream && p.retries != nil && (over || c.Retries == nil) {
		c.Retries = p.retries
	}
	set(&c.ProxyProtocol, p.proxyProtocol, over)
}

// set sets what is said, where nothing is yet, or over what is.
func set[T comparable](to *T, value T, over bool) {
	var nothing T
	if value != nothing && (over || *to == nothing) {
		*to = value
	}
}

// meshLocality is what the mesh says of all hosts.
func (r *reading) meshLocality() localitySetting {
	l := r.mesh().locality
	if l == nil {
		return localitySetting{}
	}
	var p specParser // MeshConfig's own Report says what is wrong with it
	return *p.locality("", l, true)
}
