package tlsmgr

import (
	"crypto/tls"
	"slices"
	"strings"
)

// A Listener is what decides about TLS on a port: a hostname, and what is
// shown to who asks for it.
type Listener struct {
	Hostname string // "", "shop.example.com" or "*.example.com", lower case
	// Certificates are names of pairs, in the author's order. None at all
	// asks for a certificate of the local CA. Names that the Store does not
	// have are skipped; a listener that is left with nothing refuses
	// handshakes.
	Certificates []string
	// Clients says how certificates of clients are checked; nil asks for none.
	Clients *ClientValidation
	// MinVersion and MaxVersion are versions of TLS; 0: 1.2 at least, and no
	// bound above. CipherSuites are those of TLS 1.2 and before; none:
	// crypto/tls's.
	MinVersion, MaxVersion uint16
	CipherSuites           []uint16
	// Closed refuses all handshakes.
	Closed bool
}

// A Table says which certificate to show on one port. It never changes. The
// zero Table refuses every handshake.
type Table struct {
	exact  map[string]*site // by hostname
	suffix map[string]*site // by what follows "*." in a hostname
	any    *site            // of the listener without a hostname
	first  *site            // for clients that name nothing
	varied bool             // some listener has a configuration of its own
}

// site is what one listener shows.
type site struct {
	hostname string
	all      []*tls.Certificate
	local    *LocalCA
	clients  *clients // nil: they are not asked
	closed   bool

	minVersion, maxVersion uint16
	suites                 []uint16

	// Where there are several: those that cover a name, in order. In covers
	// the key is a DNS name of one of them, in wild the parent of one that
	// begins with "*.".
	covers map[string][]*tls.Certificate
	wild   map[string][]*tls.Certificate
}

// Table returns the table of a port with these listeners, from the pairs that
// the store has now. Of two listeners with one hostname, the first counts.
func (s *Store) Table(listeners []Listener) *Table {
	t := &Table{exact: make(map[string]*site), suffix: make(map[string]*site)}
	var last *clients // most ports have one validation for all listeners
	s.mu.RLock()
	defer s.mu.RUnlock()
	for i := range listeners {
		l := &listeners[i]
		site := s.site(l)
		if v := l.Clients; v != nil {
			if last == nil || !last.same(v) {
				last = newClients(v)
			}
			site.clients = last
		}
		t.varied = t.varied || site.varied()
		if t.first == nil {
			t.first = site
		}
		if suffix, ok := strings.CutPrefix(l.Hostname, "*."); ok {
			setNew(t.suffix, suffix, site)
		} else if l.Hostname != "" {
			setNew(t.exact, l.Hostname, site)
		} else if t.any == nil {
			t.any = site
		}
	}
	if t.any != nil {
		t.first = t.any
	}
	return t
}

func setNew(m map[string]*site, key string, s *site) {
	if _, ok := m[key]; !ok {
		m[key] = s
	}
}

// varied reports whether the listener's handshakes are not like all others.
func (s *site) varied() bool {
	return s.clients != nil || s.minVersion != 0 || s.maxVersion != 0 || len(s.suites) > 0
}

// limit makes config keep to the versions and suites of the listener.
func (s *site) limit(config *tls.Config) {
	if s.minVersion != 0 {
		config.MinVersion = s.minVersion
	}
	config.MaxVersion, config.CipherSuites = s.maxVersion, s.suites
}

// site collects what l shows. The store is locked.
func (s *Store) site(l *Listener) *site {
	st := &site{hostname: l.Hostname, closed: l.Closed, minVersion: l.MinVersion, maxVersion: l.MaxVersion, suites: l.CipherSuites}
	if l.Closed {
		return st
	}
	if len(l.Certificates) == 0 {
		st.local = s.ca
		return st
	}
	for _, name := range l.Certificates {
		// One that is named twice counts where it is named first.
		if p, ok := s.pairs[name]; ok && !slices.Contains(st.all, p.cert) {
			st.all = append(st.all, p.cert)
		}
	}
	if len(st.all) > 1 {
		st.index()
	}
	return st
}

// index fills covers and wild.
func (s *site) index() {
	s.covers = make(map[string][]*tls.Certificate)
	s.wild = make(map[string][]*tls.Certificate)
	at := make(map[*tls.Certificate]int, len(s.all))
	for i, cert := range s.all {
		at[cert] = i
		for _, name := range cert.Leaf.DNSNames {
			name = strings.ToLower(name)
			if parent, ok := strings.CutPrefix(name, "*."); ok {
				s.wild[parent] = append(s.wild[parent], cert)
			} else {
				s.covers[name] = append(s.covers[name], cert)
			}
		}
	}
	// A name of its own does not go before the author's order.
	for name, certs := range s.covers {
		certs = append(certs, s.wild[parentOf(name)]...)
		slices.SortFunc(certs, func(a, b *tls.Certificate) int { return at[a] - at[b] })
		s.covers[name] = slices.Compact(certs)
	}
}

func parentOf(name string) string {
	_, parent, _ := strings.Cut(name, ".")
	return parent
}

// maxName is the longest name in DNS. crypto/tls lets clients send 64 KiB.
const maxName = 253

// Certificate returns what to show to a client, for tls.Config.GetCertificate.
// No certificate and no error make crypto/tls refuse with the alert
// unrecognized_name (RFC 6066 section 3).
func (t *Table) Certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	s := t.siteFor(hello)
	if s == nil || s.closed || s.clients != nil && s.clients.pool == nil {
		return nil, nil
	}
	name := strings.ToLower(hello.ServerName)
	if s.local != nil {
		return s.local.certificateFor(hello, name, s.hostname)
	}
	switch len(s.all) {
	case 0:
		return nil, nil
	case 1:
		return s.all[0], nil
	}
	certs := s.covers[name]
	if certs == nil {
		certs = s.wild[parentOf(name)]
	}
	if certs == nil {
		certs = s.all
	}
	return suited(hello, certs), nil
}

// siteFor returns what the listener shows that a client asks for; nil where
// there is none, or the client asks for what is no name in DNS.
func (t *Table) siteFor(hello *tls.ClientHelloInfo) *site {
	if len(hello.ServerName) > maxName || !isASCII(hello.ServerName) {
		return nil
	}
	return t.site(strings.ToLower(hello.ServerName))
}

// isASCII reports whether a server name is what RFC 6066 section 3 has it be.
// Others have letters that strings.ToLower would turn into ASCII.
func isASCII(name string) bool {
	for i := range len(name) {
		if name[i] >= 0x80 {
			return false
		}
	}
	return true
}

// site returns the one of the listener with the most specific hostname that
// covers name, or nil. A wildcard covers any number of labels, as in Gateway
// API, but at least one character. The listener is the one that requests for
// that host belong to: what it asks of clients hangs on it.
func (t *Table) site(name string) *site {
	if name == "" {
		return t.first
	}
	if s, ok := t.exact[name]; ok {
		return s
	}
	if len(t.suffix) > 0 {
		for i := 1; i < len(name); i++ {
			if name[i] != '.' {
				continue
			}
			if s, ok := t.suffix[name[i+1:]]; ok {
				return s
			}
		}
	}
	return t.any
}

// suited returns the first certificate whose key the client can check; the
// first of all if there is none, and the handshake will say why.
func suited(hello *tls.ClientHelloInfo, certs []*tls.Certificate) *tls.Certificate {
	if len(certs) > 1 {
		nameless := *hello
		nameless.ServerName = "" // whether they cover it was decided before
		for _, cert := range certs {
			if nameless.SupportsCertificate(cert) == nil {
				return cert
			}
		}
	}
	return certs[0]
}
