package istio

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	networking "istio.io/api/networking/v1alpha3"

	"fairway.dev/routing"
)

// A balance is LoadBalancerSettings. What is empty says nothing.
type balance struct {
	balance    routing.Balance // without Locality
	locality   *localitySetting
	slowStart  time.Duration
	least      float64 // percent
	aggression float64
}

// A localitySetting is a LocalityLoadBalancerSetting. It takes the place of the
// mesh's as a whole.
type localitySetting struct {
	off   bool
	rules routing.Locality
}

// Bounds of tables for hashing, as Envoy's, and of how far a warmup is bent.
const (
	maxRing       = 8 << 20
	maxMaglev     = 5000011
	maxAggression = 1 << 20
)

func (p *specParser) balance(field string, s *networking.LoadBalancerSettings, outliers bool) *balance {
	if s == nil {
		return nil
	}
	out := &balance{}
	if h := s.GetConsistentHash(); h != nil {
		out.balance = p.hash(field+".consistentHash", h)
	} else {
		out.balance.Kind = p.simple(field+".simple", s.GetSimple())
	}
	if l := s.LocalityLbSetting; l != nil {
		out.locality = p.locality(field+".localityLbSetting", l, outliers)
	}
	if s.ZoneAwareLbSetting != nil {
		p.find(routing.Warning, field+".zoneAwareLbSetting", reasonUnsupportedField,
			"use localityLbSetting, or trafficDistribution of the Service", "is not honoured: endpoints are balanced as without")
	}
	p.warmup(field, s, out)
	return out
}

func (p *specParser) simple(field string, kind networking.LoadBalancerSettings_SimpleLB) routing.BalanceKind {
	switch kind {
	case networking.LoadBalancerSettings_UNSPECIFIED:
	case networking.LoadBalancerSettings_LEAST_REQUEST:
		return routing.LeastRequest
	case networking.LoadBalancerSettings_LEAST_CONN: //nolint:staticcheck // deprecated, and honoured
		p.find(routing.Warning, field, reasonDeprecatedField, "use LEAST_REQUEST", "LEAST_CONN is deprecated: it means LEAST_REQUEST")
		return routing.LeastRequest
	case networking.LoadBalancerSettings_RANDOM:
		return routing.Random
	case networking.LoadBalancerSettings_ROUND_ROBIN:
		return routing.RoundRobin
	case networking.LoadBalancerSettings_PASSTHROUGH:
		p.find(routing.Error, field, reasonUnsupportedField, "leave it out, or name endpoints in a ServiceEntry",
			"PASSTHROUGH: what comes to a gateway was sent to the gateway's own address, so endpoints are balanced as without")
	default:
		p.refuse(field, reasonInvalidValue, "%s: want ROUND_ROBIN, LEAST_REQUEST or RANDOM", kind)
	}
	return ""
}

// hash reads ConsistentHashLB.
func (p *specParser) hash(field string, h *networking.LoadBalancerSettings_ConsistentHashLB) routing.Balance {
	b := routing.Balance{Kind: routing.RingHash}
	switch key := h.HashKey.(type) {
	case *networking.LoadBalancerSettings_ConsistentHashLB_HttpHeaderName:
		b.HashOn = "header:" + strings.ToLower(key.HttpHeaderName)
		if !isToken(key.HttpHeaderName) {
			p.refuse(field+".httpHeaderName", reasonInvalidValue, "%q: want the name of a header", key.HttpHeaderName)
			return routing.Balance{}
		}
	case *networking.LoadBalancerSettings_ConsistentHashLB_HttpCookie:
		if !p.cookie(field+".httpCookie", key.HttpCookie, &b) {
			return routing.Balance{}
		}
	case *networking.LoadBalancerSettings_ConsistentHashLB_UseSourceIp:
		b.HashOn = "source-ip"
	case *networking.LoadBalancerSettings_ConsistentHashLB_HttpQueryParameterName:
		b.HashOn = "query:" + key.HttpQueryParameterName
		if key.HttpQueryParameterName == "" {
			p.refuse(field+".httpQueryParameterName", reasonInvalidValue, "want a name")
			return routing.Balance{}
		}
	default:
		p.refuse(field, reasonInvalidValue, "want one of httpHeaderName, httpCookie, useSourceIp and httpQueryParameterName")
		return routing.Balance{}
	}
	p.table(field, h, &b)
	return b
}

// table reads how large the table for hashing is.
func (p *specParser) table(field string, h *networking.LoadBalancerSettings_ConsistentHashLB, b *routing.Balance) {
	size, at := h.GetRingHash().GetMinimumRingSize(), ".ringHash.minimumRingSize"
	if h.MinimumRingSize != 0 { //nolint:staticcheck // deprecated, and honoured
		p.find(routing.Warning, field+".minimumRingSize", reasonDeprecatedField, "use ringHash.minimumRingSize", "is deprecated")
		if h.HashAlgorithm == nil {
			size, at = h.MinimumRingSize, ".minimumRingSize" //nolint:staticcheck // as above
		}
	}
	if m := h.GetMaglev(); m != nil {
		b.Kind, size = routing.Maglev, m.TableSize
		if size != 0 && (size >= maxMaglev || !isPrime(size)) {
			p.refuse(field+".maglev.tableSize", reasonInvalidValue, "%d: want a prime below %d; it is the default", size, maxMaglev)
			size = 0
		}
	} else if size > maxRing {
		p.refuse(field+at, reasonInvalidValue, "%d: want at most %d; it is that", size, maxRing)
		size = maxRing
	}
	b.Size = int(size)
}

func isPrime(n uint64) bool {
	if n < 2 || n%2 == 0 {
		return n == 2
	}
	for f := uint64(3); f*f <= n; f += 2 {
		if n%f == 0 {
			return false
		}
	}
	return true
}

// cookie reads HTTPCookie. A client without the cookie is given one if there is
// a ttl, which may be 0s.
func (p *specParser) cookie(field string, c *networking.LoadBalancerSettings_ConsistentHashLB_HTTPCookie, b *routing.Balance) bool {
	if !isToken(c.GetName()) {
		p.refuse(field+".name", reasonInvalidValue, "%q: want the name of a cookie", c.GetName())
		return false
	}
	b.HashOn = "cookie:" + c.Name
	if c.Ttl == nil {
		if c.Path != "" || len(c.Attributes) > 0 {
			p.find(routing.Warning, field, reasonIneffectiveField, "set ttl, 0s for a session's cookie", "without a ttl no cookie is given out, and path and attributes are of that")
		}
		return true
	}
	b.Cookie = &routing.HashCookie{TTL: max(c.Ttl.AsDuration(), 0), Path: c.Path}
	if !isCookieText(c.Path) {
		p.refuse(field+".path", reasonInvalidValue, "%q: want printable characters but ';'", c.Path)
		b.Cookie.Path = ""
	}
	for i, a := range c.Attributes {
		if !isToken(a.GetName()) || !isCookieText(a.GetValue()) {
			p.refuse(fmt.Sprintf("%s.attributes[%d]", field, i), reasonInvalidValue, "%q=%q: want the name of an attribute, and a value without ';'", a.GetName(), a.GetValue())
			continue
		}
		b.Cookie.Attributes = append(b.Cookie.Attributes, routing.Header{Name: a.Name, Value: a.Value})
	}
	return true
}

// isCookieText reports whether a text may stand behind an attribute of a cookie
// (RFC 6265, section 4.1.1).
func isCookieText(text string) bool {
	return !strings.ContainsFunc(text, func(c rune) bool { return c < ' ' || c >= 0x7f || c == ';' })
}

// isToken reports whether a text is a token of RFC 9110, section 5.6.2.
func isToken(text string) bool {
	for i := range len(text) {
		c := text[i]
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0) {
			return false
		}
	}
	return text != ""
}

// locality reads a LocalityLoadBalancerSetting.
func (p *specParser) locality(field string, l *networking.LocalityLoadBalancerSetting, outliers bool) *localitySetting {
	if l.Enabled != nil && !l.Enabled.Value {
		return &localitySetting{off: true}
	}
	out := &localitySetting{}
	if len(l.Distribute) > 0 && len(l.Failover)+len(l.FailoverPriority) > 0 {
		p.refuse(field, reasonConflictingFields, "distribute beside failover or failoverPriority: want one; distribute counts")
	}
	for i, d := range l.Distribute {
		if err := checkDistribution(d); err != nil {
			p.refuse(fmt.Sprintf("%s.distribute[%d]", field, i), reasonInvalidValue, "%v", err)
			continue
		}
		out.rules.Distribute = append(out.rules.Distribute, routing.Distribution{From: d.From, To: maps.Clone(d.To)})
	}
	if len(l.Distribute) > 0 {
		return out
	}
	if (len(l.Failover) > 0 || len(l.FailoverPriority) > 0) && !outliers {
		p.find(routing.Warning, field, reasonIneffectiveField, "add outlierDetection", "without outlierDetection no endpoint is ever found unhealthy, and failover has no effect")
	}
	for i, f := range l.Failover {
		if from, to := f.GetFrom(), f.GetTo(); from == "" || to == "" || from == to || strings.ContainsAny(from+to, "*/") {
			p.refuse(fmt.Sprintf("%s.failover[%d]", field, i), reasonInvalidValue, "from %q to %q: want two regions", from, to)
			continue
		}
		out.rules.Failover = append(out.rules.Failover, routing.Failover{From: f.From, To: f.To})
	}
	for i, label := range l.FailoverPriority {
		if label == "" || label[0] == '=' {
			p.refuse(fmt.Sprintf("%s.failoverPriority[%d]", field, i), reasonInvalidValue, "%q: want KEY or KEY=VALUE", label)
		} else {
			out.rules.Priority = append(out.rules.Priority, label)
		}
	}
	return out
}

// checkDistribution says what is wrong with an entry of distribute.
func checkDistribution(d *networking.LocalityLoadBalancerSetting_Distribute) error {
	sum := uint64(0)
	for _, to := range slices.Sorted(maps.Keys(d.GetTo())) {
		if err := checkPlace(to); err != nil {
			return err
		}
		sum += uint64(d.To[to])
	}
	if sum != 100 {
		return fmt.Errorf("from %s go %d %%: want 100", d.GetFrom(), sum)
	}
	return checkPlace(d.GetFrom())
}

// checkPlace says what is wrong with "region/zone/subzone", of which the last
// that is there may be "*".
func checkPlace(place string) error {
	parts := strings.Split(place, "/")
	for i, part := range parts {
		if part == "" || len(parts) > 3 || strings.Contains(part, "*") && (part != "*" || i < len(parts)-1) {
			return fmt.Errorf(`place %q: want region/zone/subzone, of which the last may be "*"`, place)
		}
	}
	return nil
}

// warmup reads warmup, or the deprecated warmupDurationSecs.
func (p *specParser) warmup(field string, s *networking.LoadBalancerSettings, out *balance) {
	//nolint:staticcheck // deprecated, and honoured
	if d := s.WarmupDurationSecs; d != nil {
		p.find(routing.Warning, field+".warmupDurationSecs", reasonDeprecatedField, "use warmup.duration", "is deprecated")
		out.slowStart = p.duration(field+".warmupDurationSecs", d)
	}
	if w := s.Warmup; w != nil {
		out.slowStart = p.duration(field+".warmup.duration", w.Duration)
		if w.Duration == nil {
			p.refuse(field+".warmup.duration", reasonMissingField, "want a duration")
		}
		if m := w.MinimumPercent; m != nil {
			if out.least = m.Value; !(m.Value >= 0 && m.Value <= 100) {
				p.refuse(field+".warmup.minimumPercent", reasonInvalidPercent, "%v %%: want 0-100", m.Value)
				out.least = 0
			}
		}
		if a := w.Aggression; a != nil {
			if out.aggression = a.Value; !(a.Value > 0 && a.Value <= maxAggression) {
				p.refuse(field+".warmup.aggression", reasonInvalidValue, "%v: want more than 0, and at most %d", a.Value, maxAggression)
				out.aggression = 0
			}
		}
	}
	switch out.balance.Kind {
	case routing.Random, routing.RingHash, routing.Maglev:
		if out.slowStart > 0 {
			p.find(routing.Warning, field+".warmup", reasonIneffectiveField, "use LEAST_REQUEST or ROUND_ROBIN", "has no effect with %s", out.balance.Kind)
		}
	}
}

func (b *balance) shape(c *routing.Cluster, over bool) {
	if b.balance.Kind != "" && (over || c.Balance.Kind == "") {
		locality := c.Balance.Locality
		c.Balance = b.balance
		c.Balance.Locality = locality
	}
	if b.slowStart > 0 && (over || c.SlowStart == 0) {
		c.SlowStart, c.SlowStartLeast, c.SlowStartAggression = b.slowStart, b.least, b.aggression
	}
}

// prefers says by where endpoints are preferred: as the policy's setting has it,
// or else the mesh's; nil: not at all. Failover takes effect with
// outlierDetection alone, and then by itself, as the mesh's setting is on unless
// it says otherwise.
func (p *policy) prefers(mesh localitySetting) *routing.Locality {
	if p != nil && p.balance != nil && p.balance.locality != nil {
		mesh = *p.balance.locality
	}
	switch {
	case mesh.off:
	case len(mesh.rules.Distribute) > 0:
		return &routing.Locality{Distribute: mesh.rules.Distribute}
	case p != nil && p.outliers != nil:
		return &routing.Locality{Failover: mesh.rules.Failover, Priority: mesh.rules.Priority}
	}
	return nil
}
