package server

import (
	"crypto/tls"
	"maps"

	"fairway.dev/routing"
	"fairway.dev/tlsmgr"
)

// certificates is what the server knows about TLS towards clients.
type certificates struct {
	store   *tlsmgr.Store
	ports   map[routing.PortKey]*tlsmgr.Server // for HTTP
	streams map[routing.PortKey]*tlsmgr.Server // for listeners of protocol TLS
	origins map[string]routing.Origin          // of pairs, by name
}

func newCertificates(ca *tlsmgr.LocalCA) *certificates {
	return &certificates{
		store:   tlsmgr.NewStore(ca),
		ports:   map[routing.PortKey]*tlsmgr.Server{},
		streams: map[routing.PortKey]*tlsmgr.Server{},
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
		c.port(p.Key).Use(c.table(p, routing.HTTPS))
		c.stream(p.Key).Use(c.table(p, routing.TLS))
	}
	for _, servers := range []map[routing.PortKey]*tlsmgr.Server{c.ports, c.streams} {
		maps.DeleteFunc(servers, func(key routing.PortKey, _ *tlsmgr.Server) bool { return !wanted[key] })
	}
}

// table makes the table of a port's listeners of one protocol that end TLS.
func (c *certificates) table(p *routing.Port, protocol routing.Protocol) *tlsmgr.Table {
	var listeners []tlsmgr.Listener
	for _, l := range p.Listeners() {
		if l.Protocol != protocol || l.TLS.Passthrough {
			continue
		}
		names := make([]string, len(l.TLS.Certificates))
		for i, name := range l.TLS.Certificates {
			names[i] = string(name)
		}
		listener := tlsmgr.Listener{
			Hostname: l.Hostname, Certificates: names, Closed: l.TLS.Closed,
			MinVersion: l.TLS.MinVersion, MaxVersion: l.TLS.MaxVersion, CipherSuites: l.TLS.CipherSuites,
		}
		if v := l.TLS.Client; v != nil {
			listener.Clients = &tlsmgr.ClientValidation{
				Roots: v.Roots, AllowInsecure: v.AllowInsecure, Optional: v.Optional,
				SANs: v.SANs, SPKI: v.SPKI, Hashes: v.Hashes, CRL: v.CRL, Proof: v.Proof(),
			}
		}
		listeners = append(listeners, listener)
	}
	return c.store.Table(listeners)
}

// port returns how a port ends TLS in which HTTP is spoken.
func (c *certificates) port(key routing.PortKey) *tlsmgr.Server {
	return server(c.ports, key, tlsmgr.NewServer)
}

// stream returns how a port ends TLS in which it does not know what is spoken.
func (c *certificates) stream(key routing.PortKey) *tlsmgr.Server {
	return server(c.streams, key, tlsmgr.NewStreamServer)
}

// server returns the one for key, which is made once: sessions are resumed
// between connections that share it.
func server(of map[routing.PortKey]*tlsmgr.Server, key routing.PortKey, make func() *tlsmgr.Server) *tlsmgr.Server {
	s := of[key]
	if s == nil {
		s = make()
		of[key] = s
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
