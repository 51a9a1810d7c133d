package tlsmgr

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"
)

const (
	rootLife   = 10 * 365 * 24 * time.Hour
	leafLife   = 90 * 24 * time.Hour
	renewAt    = leafLife / 3 // what is left when a leaf is made anew
	clockSkew  = time.Hour    // how far clients' clocks may be behind
	maxLeaves  = 1024
	maxSubject = 64 // X.520's bound on a common name
)

// A LocalCA issues certificates for listeners that name none, from a root that
// it made and keeps in a directory. Trust its root to trust them. Any
// goroutine may use it, and any number of processes the same directory.
type LocalCA struct {
	dir  string
	root *x509.Certificate
	key  *ecdsa.PrivateKey
	now  func() time.Time

	// leafKey is that of all leaves: it lives as long as the process.
	leafKey *ecdsa.PrivateKey

	mu     sync.Mutex
	leaves map[string]*tls.Certificate
}

// RootFile returns the path of the root's certificate, in PEM.
func (ca *LocalCA) RootFile() string { return ca.dir + "/" + rootFile }

// Root returns the root's certificate. Do not change it.
func (ca *LocalCA) Root() *x509.Certificate { return ca.root }

// Certificate returns a certificate for a hostname, "shop.localhost": the one
// that it has, or a new one where that has less than a third of its life left.
func (ca *LocalCA) Certificate(name string) (*tls.Certificate, error) {
	if err := validName(name); err != nil {
		return nil, err
	}
	return ca.leaf(name, func() *x509.Certificate {
		return &x509.Certificate{Subject: subject(name), DNSNames: []string{name}}
	})
}

// certificateFor answers a handshake on a listener with that hostname, to
// which the name has led.
func (ca *LocalCA) certificateFor(hello *tls.ClientHelloInfo, name, hostname string) (*tls.Certificate, error) {
	if name != "" {
		return ca.Certificate(name)
	}
	// Who gives no name asks for an address: ours.
	addrs := []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}
	if local := localAddr(hello.Conn); local.IsValid() && !local.IsLoopback() {
		addrs = append(addrs, local.AsSlice())
	}
	names := []string{"localhost"}
	if hostname != "" {
		names = append(names, hostname)
	}
	key := fmt.Sprint(names, addrs) // never a name: it has brackets
	return ca.leaf(key, func() *x509.Certificate {
		return &x509.Certificate{Subject: subject("localhost"), DNSNames: names, IPAddresses: addrs}
	})
}

func localAddr(c net.Conn) netip.Addr {
	if c == nil {
		return netip.Addr{}
	}
	a, ok := c.LocalAddr().(*net.TCPAddr)
	if !ok {
		return netip.Addr{}
	}
	return a.AddrPort().Addr().Unmap()
}

// leaf returns what is kept under key while it is good for long enough, or
// signs what template returns.
func (ca *LocalCA) leaf(key string, template func() *x509.Certificate) (*tls.Certificate, error) {
	now := ca.now()
	ca.mu.Lock()
	kept := ca.leaves[key]
	ca.mu.Unlock()
	if kept != nil && kept.Leaf.NotAfter.Sub(now) > renewAt {
		return kept, nil
	}
	// Two handshakes may both sign: either's certificate is good.
	cert, err := ca.sign(template(), now)
	if err != nil {
		return nil, fmt.Errorf("certificate for %s: %w", key, err)
	}
	ca.mu.Lock()
	defer ca.mu.Unlock()
	if len(ca.leaves) >= maxLeaves && kept == nil {
		for any := range ca.leaves {
			delete(ca.leaves, any)
			break
		}
	}
	ca.leaves[key] = cert
	return cert, nil
}

func (ca *LocalCA) sign(template *x509.Certificate, now time.Time) (*tls.Certificate, error) {
	template.NotBefore = now.Add(-clockSkew)
	template.NotAfter = now.Add(leafLife)
	if template.NotAfter.After(ca.root.NotAfter) {
		template.NotAfter = ca.root.NotAfter
	}
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	template.BasicConstraintsValid = true
	der, err := x509.CreateCertificate(rand.Reader, template, ca.root, ca.leafKey.Public(), ca.key)
	if err != nil {
		return nil, err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: ca.leafKey, Leaf: leaf}, nil
}

func subject(name string) pkix.Name {
	if len(name) > maxSubject {
		return pkix.Name{} // the alternative name says it
	}
	return pkix.Name{CommonName: name}
}

func newKey() (*ecdsa.PrivateKey, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) }

// validName returns an error unless name is a hostname in lower case: labels
// of letters, digits, hyphens and underscores (RFC 1123 section 2.1, and what
// people use), and not an address.
func validName(name string) error {
	fail := func(why string) error { return fmt.Errorf("name %q: %s, want a hostname", name, why) }
	if name == "" || len(name) > maxName {
		return fail(fmt.Sprintf("%d bytes", len(name)))
	}
	if _, err := netip.ParseAddr(name); err == nil {
		return fail("an address")
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 {
			return fail(fmt.Sprintf("a label of %d bytes", len(label)))
		}
		if label[0] == '-' || label[len(label)-1] == '-' {
			return fail("a hyphen at the end of a label")
		}
		for i := range len(label) {
			if c := label[i]; !('a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-' || c == '_') {
				return fail(fmt.Sprintf("byte %q", c))
			}
		}
	}
	return nil
}
