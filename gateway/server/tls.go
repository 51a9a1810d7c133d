package server

import (
	"crypto/tls"

	"fairway.dev/routing"
	"fairway.dev/tlsmgr"
)

// certificates is what the server knows about TLS towards clients.
type certificates struct {
	store   *tlsmgr.Store
	ports   map[routing.PortKey]*tlsmgr.Server
	origins map[string]routing.Origin // of pairs, by name
}

func newCertificates(ca *tlsmgr.LocalCA) *certificates {
	return &certificates{
		store:   tlsmgr.NewStore(ca),
		ports:   map[routing.PortKey]*tlsmgr.Server{},
		origins: map[string]routing.Origin{},
	}
}

// put takes the pairs of a change. A pair that is replaced by one that cannot
// be used stays in force.
func (c *certificates) put(d *routing.Delta) {
	for _, name := range d.Removed.Certificates {
		c.store.Remove(string(name))
		delete(c.origins, string(name))
	}
	for _, cert := range d.Certificates {
		c.origins[string(cert.Name)] = cert.Origin
		c.store.Put(tlsmgr.Pair{Name: string(cert.Name), Chain: cert.Chain, Key: cert.Key})
	}
}

// use puts the tables of all HTTPS ports in force.
func (c *certificates) use(snap *routing.Snapshot) {
	wanted := map[routing.PortKey]bool{}
	for _, p := range snap.Ports() {
		if p.Protocol != routing.HTTPS {
			continue
		}
		wanted[p.Key] = true
		var listeners []tlsmgr.Listener
		for _, l := range p.Listeners() {
			if l.TLS == nil {
				continue
			}
			names := make([]string, len(l.TLS.Certificates))
			for i, name := range l.TLS.Certificates {
				names[i] = string(name)
			}
			listeners = append(listeners, tlsmgr.Listener{Hostname: l.Hostname, Certificates: names})
		}
		c.port(p.Key).Use(c.store.Table(listeners))
	}
	for key := range c.ports {
		if !wanted[key] {
			delete(c.ports, key)
		}
	}
}

func (c *certificates) port(key routing.PortKey) *tlsmgr.Server {
	s := c.ports[key]
	if s == nil {
		s = tlsmgr.NewServer()
		c.ports[key] = s
	}
	return s
}

// pair returns a certificate to show to backends.
func (c *certificates) pair(name routing.CertificateName) *tls.Certificate {
	return c.store.Certificate(string(name))
}

// reasonCertificate is the Problem's reason for a pair that clients will not
// take, or that cannot be used.
const reasonCertificate routing.Reason = "InvalidCertificate"

func (c *certificates) problems() []*routing.Problem {
	var problems []*routing.Problem
	for _, p := range c.store.Problems() {
		problems = append(problems, &routing.Problem{Origin: c.origins[p.Name], Reason: reasonCertificate, Err: p.Err})
	}
	return problems
}
