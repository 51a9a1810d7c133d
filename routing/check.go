package routing

import (
	"crypto/x509"
	"fmt"
	"strings"
	"time"
)

// checkListener says what is wrong with l by itself.
func checkListener(l *Listener) *Problem {
	refuse := func(reason Reason, err error) *Problem { return &Problem{Origin: l.Origin, Reason: reason, Err: err} }
	if l.Port == 0 {
		return refuse(InvalidListener, fmt.Errorf("port 0: want 1-65535"))
	}
	for _, addr := range l.Addresses {
		if !addr.IsValid() {
			return refuse(InvalidListener, fmt.Errorf("an empty address: want an IP address"))
		}
	}
	switch l.Protocol {
	case HTTPS, TLS:
		if l.TLS == nil {
			return refuse(InvalidListener, fmt.Errorf("protocol %s without TLS", l.Protocol))
		}
		if l.TLS.Passthrough && l.Protocol != TLS {
			return refuse(InvalidListener, fmt.Errorf("protocol %s with TLS passed through: want protocol TLS", l.Protocol))
		}
	case HTTP, TCP, UDP:
	default:
		return refuse(InvalidListener, fmt.Errorf("protocol %q: want HTTP, HTTPS, TLS, TCP or UDP", l.Protocol))
	}
	if l.TLS != nil && l.TLS.Passthrough && l.TLS.Client != nil {
		return refuse(InvalidListener, fmt.Errorf("certificates of clients to check where TLS is passed through: want one or the other"))
	}
	if l.Hostname == anyHost {
		return refuse(InvalidHostname, fmt.Errorf(`hostname "*": want none, a name or "*.NAME"`))
	}
	if l.Hostname != "" {
		if err := checkPattern(l.Hostname); err != nil {
			return refuse(InvalidHostname, err)
		}
	}
	return nil
}

// checkClients says why l lets nobody in: how it checks its clients cannot
// work. It stays in force, or a less specific listener would take what is its
// own, and who asks for its hostname is refused in the handshake.
func checkClients(l *Listener) *Problem {
	if l.TLS == nil || l.TLS.Client == nil || x509.NewCertPool().AppendCertsFromPEM(l.TLS.Client.Roots) {
		return nil
	}
	return &Problem{Origin: l.Origin, Reason: InvalidListener, Err: fmt.Errorf("roots for clients: no certificate in them, want PEM; nobody is let in")}
}

// checkCluster says what is wrong with c. What does not hold about its TLS
// closes it too: its users answer 500.
func checkCluster(c *Cluster) *Problem {
	for _, check := range []func(*Cluster) error{checkUpstream, checkBalance, checkLimits, checkRetries, checkUpstreamTLS} {
		if err := check(c); err != nil {
			return &Problem{Origin: c.Origin, Reason: InvalidCluster, Err: err}
		}
	}
	return nil
}

func checkUpstream(c *Cluster) error {
	switch c.Protocol {
	case "", UpstreamHTTP1, UpstreamHTTP2, UpstreamAuto, UpstreamTCP:
	case UpstreamUDP:
		if c.TLS != nil {
			return fmt.Errorf("TLS with protocol %s: want none", c.Protocol)
		}
	default:
		return fmt.Errorf("protocol %q: want %s, %s, %s, %s or %s",
			c.Protocol, UpstreamHTTP1, UpstreamHTTP2, UpstreamAuto, UpstreamTCP, UpstreamUDP)
	}
	if c.ProxyProtocol > 2 {
		return fmt.Errorf("PROXY protocol version %d: want 1 or 2, or 0 for none", c.ProxyProtocol)
	}
	return nil
}

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
	return nil
}

func checkLimits(c *Cluster) error {
	if e := c.Ejection; e.Consecutive < 0 || e.Base < 0 || e.MaxPercent < 0 || e.MaxPercent > 100 {
		return fmt.Errorf("ejection after %d failures for %s of %d %%: want no negative numbers and at most 100 %%",
			e.Consecutive, e.Base, e.MaxPercent)
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
	} else if !t.Insecure && len(t.SANs) == 0 {
		return fmt.Errorf("tls without a name to verify: want a server name or subject alternative names")
	}
	if len(t.Roots) > 0 && !x509.NewCertPool().AppendCertsFromPEM(t.Roots) {
		return fmt.Errorf("roots: no certificate in them, want PEM")
	}
	return nil
}
