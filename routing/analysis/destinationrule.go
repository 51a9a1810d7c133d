package analysis

import (
	"strings"

	networking "istio.io/api/networking/v1alpha3"
)

func (f *findings) destinationRule(d *networking.DestinationRule) {
	f.host("spec.host", d.Host)
	f.trafficPolicy("spec.trafficPolicy", d.TrafficPolicy)
	seen := map[string]bool{}
	for i, s := range d.Subsets {
		field := at("spec.subsets", i)
		if seen[s.GetName()] {
			f.refuse(field+".name", DuplicateName, "rename one of them", "subset %q is there twice", s.GetName())
		}
		seen[s.GetName()] = true
		f.label(field+".name", s.GetName())
		f.labels(field+".labels", s.GetLabels())
		f.trafficPolicy(field+".trafficPolicy", s.GetTrafficPolicy())
	}
	f.exportTo(d.ExportTo, false)
	if w := d.WorkloadSelector; w != nil {
		f.labels("spec.workloadSelector.matchLabels", w.MatchLabels)
		for i, to := range d.ExportTo {
			if to != "." && to != f.origin.Namespace {
				f.refuse(at("spec.exportTo", i), ConflictingFields, `write "."`, "a rule with a workloadSelector is for its own namespace alone, not for %q", to)
			}
		}
	}
}

func (f *findings) trafficPolicy(field string, p *networking.TrafficPolicy) {
	if p == nil {
		return
	}
	if p.LoadBalancer == nil && p.ConnectionPool == nil && p.OutlierDetection == nil && p.Tls == nil &&
		p.PortLevelSettings == nil && p.Tunnel == nil && p.ProxyProtocol == nil && p.RetryBudget == nil {
		f.refuse(field, MissingField, "take it away, or add a field", "nothing in it")
	}
	f.excludes(field, choice{"tunnel", p.Tunnel != nil}, choice{"proxyProtocol", p.ProxyProtocol != nil})
	f.loadBalancer(field+".loadBalancer", p.LoadBalancer, p.OutlierDetection)
	f.connectionPool(field+".connectionPool", p.ConnectionPool)
	f.outliers(field+".outlierDetection", p.OutlierDetection)
	f.clientTLS(field+".tls", p.Tls)
	for i, of := range p.PortLevelSettings {
		field := at(field+".portLevelSettings", i)
		if of.GetPort() == nil {
			f.refuse(field+".port", MissingField, "name the port that it is about", "no port")
		} else {
			f.port(field+".port.number", of.Port.Number)
		}
		if of.GetLoadBalancer() == nil && of.GetConnectionPool() == nil && of.GetOutlierDetection() == nil && of.GetTls() == nil {
			f.refuse(field, MissingField, "take it away, or add a field", "nothing in it")
		}
		f.loadBalancer(field+".loadBalancer", of.GetLoadBalancer(), of.GetOutlierDetection())
		f.connectionPool(field+".connectionPool", of.GetConnectionPool())
		f.outliers(field+".outlierDetection", of.GetOutlierDetection())
		f.clientTLS(field+".tls", of.GetTls())
	}
	if t := p.Tunnel; t != nil {
		if t.Protocol != "" && t.Protocol != "CONNECT" && t.Protocol != "POST" {
			f.refuse(field+".tunnel.protocol", InvalidValue, "write CONNECT or POST", "%q: want CONNECT or POST", t.Protocol)
		}
		if !isIP(t.TargetHost) {
			f.host(field+".tunnel.targetHost", t.TargetHost)
		}
		f.port(field+".tunnel.targetPort", t.TargetPort)
	}
	if b := p.RetryBudget; b != nil {
		if b.Percent != nil {
			f.percent(field+".retryBudget.percent", b.Percent.Value)
		}
		f.duration(field+".retryBudget.budgetInterval", b.BudgetInterval)
	}
}

func (f *findings) connectionPool(field string, p *networking.ConnectionPoolSettings) {
	if p == nil {
		return
	}
	if p.Http == nil && p.Tcp == nil {
		f.refuse(field, MissingField, "add tcp or http", "nothing in it")
	}
	if h := p.Http; h != nil {
		field := field + ".http"
		f.limit(field+".http1MaxPendingRequests", h.Http1MaxPendingRequests)
		f.limit(field+".http2MaxRequests", h.Http2MaxRequests)
		f.limit(field+".maxRequestsPerConnection", h.MaxRequestsPerConnection)
		f.limit(field+".maxRetries", h.MaxRetries)
		f.limit(field+".maxConcurrentStreams", h.MaxConcurrentStreams)
		f.timeout(field+".idleTimeout", h.IdleTimeout)
		f.excludes(field, choice{"h2UpgradePolicy: UPGRADE", h.H2UpgradePolicy == networking.ConnectionPoolSettings_HTTPSettings_UPGRADE},
			choice{"useClientProtocol", h.UseClientProtocol})
		if k := h.Http2KeepAlive; k != nil {
			if k.Interval == nil || k.Timeout == nil {
				f.refuse(field+".http2KeepAlive", MissingField, "add interval and timeout", "want both interval and timeout")
			}
			f.duration(field+".http2KeepAlive.interval", k.Interval)
			f.duration(field+".http2KeepAlive.timeout", k.Timeout)
		}
	}
	if t := p.Tcp; t != nil {
		field := field + ".tcp"
		f.limit(field+".maxConnections", t.MaxConnections)
		f.duration(field+".connectTimeout", t.ConnectTimeout)
		f.duration(field+".maxConnectionDuration", t.MaxConnectionDuration)
		f.timeout(field+".idleTimeout", t.IdleTimeout)
		f.duration(field+".tcpKeepalive.time", t.TcpKeepalive.GetTime())
		f.duration(field+".tcpKeepalive.interval", t.TcpKeepalive.GetInterval())
	}
}

func (f *findings) limit(field string, n int32) {
	if n < 0 {
		f.refuse(field, InvalidValue, "write 0 or more", "%d: want 0 or more", n)
	}
}

func (f *findings) outliers(field string, o *networking.OutlierDetection) {
	if o == nil {
		return
	}
	if o.ConsecutiveErrors != 0 {
		f.warn(field+".consecutiveErrors", DeprecatedField, "use consecutiveGatewayErrors or consecutive5xxErrors", "consecutiveErrors is deprecated")
	}
	if !o.SplitExternalLocalOriginErrors && o.ConsecutiveLocalOriginFailures.GetValue() > 0 {
		f.refuse(field+".consecutiveLocalOriginFailures", ConflictingFields, "set splitExternalLocalOriginErrors, or take it away",
			"it has no effect without splitExternalLocalOriginErrors")
	}
	f.duration(field+".interval", o.Interval)
	f.duration(field+".baseEjectionTime", o.BaseEjectionTime)
	f.percent(field+".maxEjectionPercent", float64(o.MaxEjectionPercent))
	f.percent(field+".minHealthPercent", float64(o.MinHealthPercent))
}

func (f *findings) loadBalancer(field string, b *networking.LoadBalancerSettings, outliers *networking.OutlierDetection) {
	if b == nil {
		return
	}
	if b.GetSimple() == networking.LoadBalancerSettings_LEAST_CONN {
		f.warn(field+".simple", DeprecatedField, "use LEAST_REQUEST", "LEAST_CONN is deprecated")
	}
	if b.WarmupDurationSecs != nil {
		f.warn(field+".warmupDurationSecs", DeprecatedField, "use warmup.duration", "warmupDurationSecs is deprecated")
		f.duration(field+".warmupDurationSecs", b.WarmupDurationSecs)
	}
	f.consistentHash(field+".consistentHash", b.GetConsistentHash())
	f.excludes(field, choice{"localityLbSetting", b.LocalityLbSetting != nil}, choice{"zoneAwareLbSetting", b.ZoneAwareLbSetting != nil})
	f.locality(field+".localityLbSetting", b.LocalityLbSetting, outliers != nil)
	if w := b.Warmup; w != nil {
		if w.Duration == nil {
			f.refuse(field+".warmup.duration", MissingField, "add a duration", "no duration")
		}
		f.duration(field+".warmup.duration", w.Duration)
		if w.MinimumPercent != nil {
			f.percent(field+".warmup.minimumPercent", w.MinimumPercent.Value)
		}
		if w.Aggression != nil && !(w.Aggression.Value > 0) {
			f.refuse(field+".warmup.aggression", InvalidValue, "write a number over 0; 1 is linear", "aggression %v: want more than 0", w.Aggression.Value)
		}
	}
}

// maxMaglev is the first table size that Envoy refuses.
const maxMaglev = 5000011

func (f *findings) consistentHash(field string, h *networking.LoadBalancerSettings_ConsistentHashLB) {
	if h == nil {
		return
	}
	if c := h.GetHttpCookie(); c != nil {
		if c.Name == "" {
			f.refuse(field+".httpCookie.name", MissingField, "name the cookie", "no name")
		}
		seen := map[string]bool{}
		for i, a := range c.Attributes {
			if seen[a.GetName()] || a.GetName() == "" {
				f.refuse(at(field+".httpCookie.attributes", i), DuplicateName, "name each attribute once", "attribute %q: want a name, once", a.GetName())
			}
			seen[a.GetName()] = true
		}
	}
	if h.MinimumRingSize != 0 {
		f.warn(field+".minimumRingSize", DeprecatedField, "use ringHash.minimumRingSize", "minimumRingSize is deprecated")
		f.excludes(field, choice{"minimumRingSize", true}, choice{"ringHash", h.GetRingHash() != nil}, choice{"maglev", h.GetMaglev() != nil})
	}
	if m := h.GetMaglev(); m != nil && m.TableSize != 0 && (m.TableSize >= maxMaglev || !isPrime(m.TableSize)) {
		f.refuse(field+".maglev.tableSize", InvalidValue, "write a prime number, like 65537", "%d: want a prime number under %d", m.TableSize, maxMaglev)
	}
}

func isPrime(n uint64) bool {
	if n < 2 {
		return false
	}
	for d := uint64(2); d*d <= n; d++ {
		if n%d == 0 {
			return false
		}
	}
	return true
}

func (f *findings) locality(field string, l *networking.LocalityLoadBalancerSetting, outliers bool) {
	if l == nil {
		return
	}
	f.excludes(field, choice{"distribute", len(l.Distribute) > 0}, choice{"failover", len(l.Failover) > 0})
	for i, d := range l.Distribute {
		total := uint32(0)
		for _, w := range d.GetTo() {
			total += w
		}
		if total != 100 {
			f.refuse(at(field+".distribute", i)+".to", InvalidWeight, "make the sum 100", "the weights are %d together: want 100", total)
		}
	}
	for i, o := range l.Failover {
		if o.GetFrom() == o.GetTo() || strings.ContainsAny(o.GetFrom()+o.GetTo(), "/*") {
			f.refuse(at(field+".failover", i), InvalidValue, "name two regions", "from %q to %q: want two regions, without zones and stars", o.GetFrom(), o.GetTo())
		}
	}
	if len(l.Failover)+len(l.FailoverPriority) > 0 && !outliers {
		f.warn(field, IneffectiveField, "add outlierDetection", "without outlierDetection no endpoint is ever taken for unhealthy, and nothing fails over")
	}
}

func (f *findings) clientTLS(field string, t *networking.ClientTLSSettings) {
	if t == nil {
		return
	}
	mutual := t.Mode == networking.ClientTLSSettings_MUTUAL
	simple := t.Mode == networking.ClientTLSSettings_SIMPLE
	files := t.ClientCertificate != "" || t.PrivateKey != "" || t.CaCertificates != "" || t.CaCrl != ""
	switch {
	case (simple || mutual) && t.CredentialName != "":
		f.excludes(field, choice{"credentialName", true}, choice{"files of certificates", files})
	case mutual && (t.ClientCertificate == "" || t.PrivateKey == ""):
		f.refuse(field, MissingField, "name a Secret in credentialName", "MUTUAL without a client's certificate")
	case t.Mode == networking.ClientTLSSettings_ISTIO_MUTUAL && (files || t.CredentialName != "" || t.Sni != "" || len(t.SubjectAltNames) > 0):
		f.warn(field, IneffectiveField, "take the other fields away", "ISTIO_MUTUAL takes certificates and names from the mesh")
	}
	if t.InsecureSkipVerify.GetValue() && (simple || mutual) {
		f.excludes(field, choice{"insecureSkipVerify", true}, choice{"caCertificates", t.CaCertificates != ""},
			choice{"subjectAltNames", len(t.SubjectAltNames) > 0}, choice{"credentialName", simple && t.CredentialName != ""})
	}
}
