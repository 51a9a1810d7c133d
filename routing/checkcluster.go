package routing

import (
	"cmp"
	"crypto/x509"
	"fmt"
	"maps"
	"math"
	"math/big"
	"slices"
	"strings"
	"time"
)

// checkCluster says what is wrong with c. What does not hold about its TLS
// closes it too: its users answer 500.
func checkCluster(c *Cluster) *Problem {
	for _, check := range []func(*Cluster) error{checkUpstream, checkBalance, checkLimits, checkHealth, checkRetries, checkUpstreamTLS} {
		if err := check(c); err != nil {
			return &Problem{Origin: c.Origin, Reason: InvalidCluster, Err: err}
		}
	}
	return nil
}

func checkUpstream(c *Cluster) error {
	switch c.Protocol {
	case "", UpstreamHTTP1, UpstreamHTTP2, UpstreamAuto, UpstreamClient, UpstreamTCP:
	case UpstreamUDP:
		if c.TLS != nil {
			return fmt.Errorf("TLS with protocol %s: want none", c.Protocol)
		}
	default:
		return fmt.Errorf("protocol %q: want %s, %s, %s, %s, %s or %s",
			c.Protocol, UpstreamHTTP1, UpstreamHTTP2, UpstreamAuto, UpstreamClient, UpstreamTCP, UpstreamUDP)
	}
	if c.ProxyProtocol > 2 {
		return fmt.Errorf("PROXY protocol version %d: want 1 or 2, or 0 for none", c.ProxyProtocol)
	}
	switch c.Resolve {
	case ResolveAll, ResolveOne:
	case ResolveHost:
		if c.streams() {
			return fmt.Errorf("protocol %s to the host of each request: a stream names none", c.Protocol)
		}
	default:
		return fmt.Errorf("resolve %q: want %q, %q or none", c.Resolve, ResolveOne, ResolveHost)
	}
	return nil
}

// streams reports whether c takes bytes or datagrams, and not requests.
func (c *Cluster) streams() bool { return c.Protocol == UpstreamTCP || c.Protocol == UpstreamUDP }

func checkBalance(c *Cluster) error {
	switch c.Balance.Kind {
	case "", RoundRobin, LeastRequest, Random, RingHash, Maglev:
	default:
		return fmt.Errorf("balance %q: want %s, %s, %s, %s or %s",
			c.Balance.Kind, RoundRobin, LeastRequest, Random, RingHash, Maglev)
	}
	kind, name, named := strings.Cut(c.Balance.HashOn, ":")
	switch {
	case kind == "" && !named, kind == "source-ip" && !named:
	case (kind == "header" || kind == "cookie") && isToken(name), kind == "query" && name != "":
	default:
		return fmt.Errorf("hash on %q: want source-ip, header:NAME, cookie:NAME or query:NAME", c.Balance.HashOn)
	}
	if c.Balance.Cookie != nil && kind != "cookie" {
		return fmt.Errorf("a cookie to give out where the hash is on %q: want cookie:NAME", c.Balance.HashOn)
	}
	if err := c.Balance.checkSize(); err != nil {
		return err
	}
	if err := c.Balance.Cookie.check(); err != nil {
		return err
	}
	return wrap("locality", c.Balance.Locality.check())
}

// The largest tables: what Envoy allows. A Maglev table has a prime number of
// entries, or some would never be taken (Eisenbud et al., NSDI 2016, section 3.4).
const (
	maxRing   = 8 << 20
	maxMaglev = 5000011
)

func (b *Balance) checkSize() error {
	switch most := map[BalanceKind]int{RingHash: maxRing, Maglev: maxMaglev}[b.Kind]; {
	case b.Size == 0:
	case most == 0:
		return fmt.Errorf("a table of %d entries for balance %q: want %s or %s", b.Size, b.Kind, RingHash, Maglev)
	case b.Size < 0 || b.Size > most:
		return fmt.Errorf("a table of %d entries for balance %q: want 1-%d", b.Size, b.Kind, most)
	case b.Kind == Maglev && !big.NewInt(int64(b.Size)).ProbablyPrime(0):
		return fmt.Errorf("a table of %d entries for balance %q: want a prime number", b.Size, b.Kind)
	}
	return nil
}

func (h *HashCookie) check() error {
	if h == nil {
		return nil
	}
	if h.TTL < 0 {
		return fmt.Errorf("cookie for %s: want no negative time", h.TTL)
	}
	values := []string{h.Path}
	for _, a := range h.Attributes {
		if !isToken(a.Name) {
			return fmt.Errorf("cookie attribute %q: want a token", a.Name)
		}
		values = append(values, a.Value)
	}
	for _, v := range values {
		if err := checkCookieText(v); err != nil {
			return err
		}
	}
	return nil
}

// checkCookieText says whether text may stand behind an attribute of a cookie
// (RFC 6265 section 4.1.1: any character but controls and ";").
func checkCookieText(text string) error {
	for i := range len(text) {
		if c := text[i]; c < ' ' || c >= 0x7f || c == ';' {
			return fmt.Errorf("cookie attribute of %q: character %q", text, c)
		}
	}
	return nil
}

// check takes what Istio takes (LocalityLoadBalancerSetting).
func (l *Locality) check() error {
	if l == nil {
		return nil
	}
	if len(l.Distribute) > 0 && len(l.Failover) > 0 {
		return fmt.Errorf("both shares and failover: want one")
	}
	for _, d := range l.Distribute {
		if err := d.check(); err != nil {
			return err
		}
	}
	for _, f := range l.Failover {
		if f.From == "" || f.To == "" || f.From == f.To || strings.ContainsAny(f.From+f.To, "/*") {
			return fmt.Errorf("failover from %q to %q: want two regions", f.From, f.To)
		}
	}
	for _, label := range l.Priority {
		if key, _, _ := strings.Cut(label, "="); key == "" {
			return fmt.Errorf("priority label %q: want KEY or KEY=VALUE", label)
		}
	}
	return nil
}

func (d *Distribution) check() error {
	if err := checkPlace(d.From); err != nil {
		return err
	}
	sum := uint64(0)
	for _, to := range slices.Sorted(maps.Keys(d.To)) {
		if err := checkPlace(to); err != nil {
			return err
		}
		sum += uint64(d.To[to])
	}
	if sum != 100 {
		return fmt.Errorf("%d %% of the requests from %q: want 100", sum, d.From)
	}
	return nil
}

// checkPlace says what is wrong with the name of a place or of several.
func checkPlace(place string) error {
	parts := strings.Split(place, "/")
	for i, part := range parts {
		last := i == len(parts)-1
		if part == "" || strings.Contains(part, "*") && (part != "*" || !last) {
			return fmt.Errorf(`place %q: want REGION, REGION/ZONE or REGION/ZONE/SUBZONE, or "*" for the last`, place)
		}
	}
	if len(parts) > 3 {
		return fmt.Errorf("place %q: want at most a region, a zone and a subzone", place)
	}
	return nil
}

// The longest times and counts that Linux takes for keep-alive (tcp(7)).
const (
	maxKeepAlive       = 32767 * time.Second
	maxKeepAliveProbes = 127
)

func checkLimits(c *Cluster) error {
	if e := c.Ejection; e.Consecutive < 0 || e.Base < 0 || e.MaxPercent < 0 || e.MaxPercent > 100 {
		return fmt.Errorf("ejection after %d failures for %s of %d %%: want no negative numbers and at most 100 %%",
			e.Consecutive, e.Base, e.MaxPercent)
	}
	if c.SlowStart < 0 || !(c.SlowStartLeast >= 0 && c.SlowStartLeast <= 100) || !(c.SlowStartAggression >= 0 && c.SlowStartAggression <= math.MaxFloat32) {
		return fmt.Errorf("slow start for %s from %v %% with aggression %v: want no negative numbers and at most 100 %%",
			c.SlowStart, c.SlowStartLeast, c.SlowStartAggression)
	}
	if c.ConnectionAge < 0 {
		return fmt.Errorf("connections for %s: want no negative time", c.ConnectionAge)
	}
	if k := c.KeepAlive; k != nil && (k.Probes < 0 || k.Probes > maxKeepAliveProbes || min(k.Idle, k.Interval) < 0 || max(k.Idle, k.Interval) > maxKeepAlive) {
		return fmt.Errorf("keep-alive of %d probes after %s, each %s: want at most %d, and %s",
			k.Probes, k.Idle, k.Interval, maxKeepAliveProbes, maxKeepAlive)
	}
	if p := c.Ping; p != nil && (p.Interval < 0 || p.Timeout < 0) {
		return fmt.Errorf("ping after %s, answered in %s: want no negative times", p.Interval, p.Timeout)
	}
	return wrap("outliers", c.Outliers.check())
}

func (o *OutlierDetection) check() error {
	if o == nil {
		return nil
	}
	if o.Consecutive5xx < -1 || o.ConsecutiveLocal < -1 || o.ConsecutiveGateway < 0 {
		return fmt.Errorf("after %d, %d and %d failures: want positive numbers, 0, or -1 for never", o.Consecutive5xx, o.ConsecutiveLocal, o.ConsecutiveGateway)
	}
	if o.Interval < 0 || o.Base < 0 {
		return fmt.Errorf("each %s for %s: want no negative times", o.Interval, o.Base)
	}
	if min(o.MaxPercent, o.MinHealthPercent) < 0 || max(o.MaxPercent, o.MinHealthPercent) > 100 {
		return fmt.Errorf("%d %% at most, and not below %d %%: want 0-100", o.MaxPercent, o.MinHealthPercent)
	}
	for _, code := range o.Codes {
		if code < 100 || code > 599 {
			return fmt.Errorf("status %d: want 100-599", code)
		}
	}
	return nil
}

func checkHealth(c *Cluster) error {
	h := c.Health
	switch {
	case h == nil:
		return nil
	case c.Protocol == UpstreamUDP:
		return fmt.Errorf("health check with protocol %s: want one that has connections", c.Protocol)
	case c.Resolve == ResolveHost:
		return fmt.Errorf("health check of the host of each request: want endpoints")
	case h.HTTP != nil && h.GRPC != nil:
		return fmt.Errorf("health check over HTTP and gRPC: want one")
	case h.Interval < 0 || h.Timeout < 0 || h.Unhealthy < 0 || h.Healthy < 0:
		return fmt.Errorf("health check each %s for %s, after %d and %d of a kind: want no negative numbers", h.Interval, h.Timeout, h.Unhealthy, h.Healthy)
	}
	return wrap("health check", h.HTTP.check())
}

func (h *HTTPCheck) check() error {
	if h == nil {
		return nil
	}
	if h.Method != "" && !isToken(h.Method) {
		return fmt.Errorf("method %q: want a token", h.Method)
	}
	path, query, _ := strings.Cut(h.Path, "?")
	if path == "" || path[0] != '/' {
		return fmt.Errorf("path %q: want '/' in front", h.Path)
	}
	if err := cmp.Or(checkAuthority(h.Host), checkPathText(path), checkPathText(strings.ReplaceAll(query, "?", ""))); err != nil {
		return err
	}
	for _, field := range h.Header {
		if err := checkField(field); err != nil {
			return err
		}
	}
	for _, s := range h.Statuses {
		if s.First < 100 || s.Last > 599 || s.First > s.Last {
			return fmt.Errorf("statuses %d-%d: want some of 100-599", s.First, s.Last)
		}
	}
	return nil
}

// checkField says what is wrong with a field that the gateway sends by itself.
func checkField(h Header) error {
	switch {
	case !isToken(h.Name):
		return fmt.Errorf("header %q: want a token", h.Name)
	case slices.Contains(framing, strings.ToLower(h.Name)):
		return fmt.Errorf("header %q, which the gateway writes itself", h.Name)
	case strings.ContainsAny(h.Value, "\x00\r\n"):
		return fmt.Errorf("header %q: a value of more than one line", h.Name)
	}
	return nil
}

func checkRetries(c *Cluster) error {
	b := c.Retries
	switch {
	case b == nil:
		return nil
	case b.Percent < 0 || b.Percent > 100:
		return fmt.Errorf("retries for %d %% of requests: want 0-100", b.Percent)
	case b.Interval < time.Second || b.Interval > time.Hour:
		return fmt.Errorf("retries in an interval of %s: want 1s-1h", b.Interval)
	case b.Least < 0 || b.Least > 0 && (b.LeastInterval <= 0 || b.LeastInterval > time.Hour):
		return fmt.Errorf("at least %d retries in %s: want no negative number, and up to 1h", b.Least, b.LeastInterval)
	}
	return nil
}

func checkUpstreamTLS(c *Cluster) error {
	t := c.TLS
	if t == nil {
		return nil
	}
	if t.ServerName != "" {
		if err := checkHost(t.ServerName); err != nil {
			return fmt.Errorf("server name: %w", err)
		}
	} else if !t.Insecure && len(t.SANs) == 0 && !t.NameFromHost {
		return fmt.Errorf("tls without a name to verify: want a server name or subject alternative names")
	}
	if t.NameFromHost && c.streams() {
		return fmt.Errorf("tls for the host of each request with protocol %s: a stream names none", c.Protocol)
	}
	if len(t.Roots) > 0 && !x509.NewCertPool().AppendCertsFromPEM(t.Roots) {
		return fmt.Errorf("roots: no certificate in them, want PEM")
	}
	return checkRevocations(t.CRL)
}

// checkNames says which endpoint can have no address, as its name is none. Its
// cluster's others are in force.
func checkNames(e *Endpoints) error {
	for i := range e.List {
		ep := &e.List[i]
		if ep.Host == "" {
			continue
		}
		// A pattern is for ResolveHost; elsewhere DNS has no address for it.
		if err := checkHost(strings.TrimPrefix(strings.TrimSuffix(ep.Host, "."), "*.")); err != nil {
			return fmt.Errorf("endpoint %d of %s: %w", i, e.Cluster, err)
		}
		if !ep.Addr.IsValid() || ep.Addr.Port() == 0 {
			return fmt.Errorf("endpoint %d of %s: %s at %s: want 0.0.0.0 and a port", i, e.Cluster, ep.Host, ep.Addr)
		}
	}
	return nil
}
