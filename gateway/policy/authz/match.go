package authz

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"fairway.dev/routing"
)

// A matcher holds where one of the values does that it was made of.
type matcher interface{ holds(a *Attributes) bool }

// principals compares identities without their scheme. The star alone is any
// identity, of whatever scheme.
type principals patterns

func newPrincipals(list []string) matcher { return principals(newPatterns(list)) }

func (m principals) holds(a *Attributes) bool {
	for i := range m {
		of := a.principal
		if m[i].kind == present {
			of = a.identity
		}
		if m[i].holds(of) {
			return true
		}
	}
	return false
}

// namespaces are, of each value, the texts that have to be in the identity one
// behind the other: "/ns/shop/", or what is between the stars of "/ns/a*/".
type namespaces [][]string

func newNamespaces(list []string) matcher {
	var m namespaces
	for _, s := range list {
		m = append(m, strings.Split("/ns/"+s+"/", "*"))
	}
	return m
}

func (m namespaces) holds(a *Attributes) bool {
	for _, parts := range m {
		if inOrder(a.identity, parts) {
			return true
		}
	}
	return false
}

// inOrder reports whether parts are in s, none over another. As anything may
// come before, between and behind them, the first place of each is the best.
func inOrder(s string, parts []string) bool {
	for _, part := range parts {
		i := strings.Index(s, part)
		if i < 0 {
			return false
		}
		s = s[i+len(part):]
	}
	return true
}

// accounts are service accounts, each with its namespace.
type accounts []account

type account struct{ namespace, name string } // "/ns/shop/", "sa/cart"

// newAccounts reads "shop/cart", or "cart" of the namespace own.
func newAccounts(list []string, own string) matcher {
	var m accounts
	for _, s := range list {
		namespace, name, ok := strings.Cut(s, "/")
		if !ok {
			namespace, name = own, s
		}
		m = append(m, account{"/ns/" + namespace + "/", "sa/" + name})
	}
	return m
}

func (m accounts) holds(a *Attributes) bool {
	for i := range m {
		if m[i].of(a.principal) {
			return true
		}
	}
	return false
}

// of reports whether a principal is "TRUST-DOMAIN/ns/NAMESPACE/sa/NAME", with
// whatever segments between the two and behind them. What is behind another place
// of the namespace is behind the first.
func (c *account) of(principal string) bool {
	if principal == "" {
		return false
	}
	_, path, ok := strings.Cut(principal[1:], c.namespace) // the trust domain is not empty
	return ok && c.named(path)
}

func (c *account) named(path string) bool {
	for at := 0; ; at++ {
		i := strings.Index(path[at:], c.name)
		if i < 0 {
			return false
		}
		at += i
		end := at + len(c.name)
		begins := at == 0 || at > 1 && path[at-1] == '/'
		ends := end == len(path) || path[end] == '/' && end+1 < len(path)
		if begins && ends {
			return true
		}
	}
}

// trustDomains compares what is between the scheme and the first slash.
type trustDomains patterns

func newTrustDomains(list []string) matcher { return trustDomains(newPatterns(list)) }

func (m trustDomains) holds(a *Attributes) bool {
	domain, _, ok := strings.Cut(a.principal, "/")
	for i := range m {
		if m[i].kind == present && strings.HasPrefix(a.identity, scheme) || m[i].kind != present && ok && m[i].holds(domain) {
			return true
		}
	}
	return false
}

// blocks are of addresses, each of its own place.
type (
	blocks      []netip.Prefix
	sources     blocks
	remotes     blocks
	destination blocks
)

func (m sources) holds(a *Attributes) bool     { return blocks(m).contain(a.source()) }
func (m remotes) holds(a *Attributes) bool     { return blocks(m).contain(a.RemoteIP) }
func (m destination) holds(a *Attributes) bool { return blocks(m).contain(a.Destination) }

func (m blocks) contain(addr netip.Addr) bool {
	addr = addr.Unmap().WithZone("")
	for _, p := range m {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}

func newBlocks(list []netip.Prefix) blocks {
	var m blocks
	for _, p := range list {
		if addr := p.Addr(); addr.Is4In6() && p.Bits() >= 96 {
			p = netip.PrefixFrom(addr.Unmap(), p.Bits()-96)
		}
		m = append(m, p.Masked())
	}
	return m
}

func parseBlocks(list []string) (blocks, error) {
	var ps []netip.Prefix
	for _, s := range list {
		p, err := routing.ParseBlock(s)
		if err != nil {
			return nil, err
		}
		ps = append(ps, p)
	}
	return newBlocks(ps), nil
}

type ports []uint16

func (m ports) holds(a *Attributes) bool { return slices.Contains(m, a.Port) }

func parsePorts(list []string) (ports, error) {
	var m ports
	for _, s := range list {
		n, err := strconv.ParseUint(s, 10, 16)
		if err != nil {
			return nil, fmt.Errorf("port %q: want 0-65535", s)
		}
		m = append(m, uint16(n))
	}
	return m, nil
}

type serverNames patterns

func newServerNames(list []string) matcher {
	var m serverNames
	for _, s := range list {
		m = append(m, newPattern(lower(s)))
	}
	return m
}

func (m serverNames) holds(a *Attributes) bool {
	for i := range m {
		if m[i].holdsFold(a.sni) {
			return true
		}
	}
	return false
}

// lower folds ASCII letters, and no others: those that look like them are not
// the same name.
func lower(s string) string {
	b := []byte(s)
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c | 0x20
		}
	}
	return string(b)
}

// hosts are compared with the port where their pattern has one.
type hosts []host

type host struct {
	name   pattern
	port   pattern
	ported bool
}

func newHosts(list []string) matcher {
	var m hosts
	for _, s := range list {
		m = append(m, newHost(lower(s)))
	}
	return m
}

// newHost reads "shop.example", "*.example:443", "shop.example:*" and the like.
func newHost(s string) host {
	i := portAt(s)
	if i < 0 {
		p := newPattern(s)
		if p.kind == exact || p.kind == suffix {
			p.text = strings.TrimSuffix(p.text, ".")
		}
		return host{name: p}
	}
	name, port := strings.TrimSuffix(s[:i], "."), s[i:]
	h := host{pattern{exact, name}, pattern{exact, port}, true}
	if suffixed, ok := strings.CutPrefix(name, "*"); ok {
		h.name = pattern{suffix, suffixed}
	} else if prefixed, ok := strings.CutSuffix(port, "*"); ok {
		h.port = pattern{prefix, prefixed}
	}
	return h
}

func (m hosts) holds(a *Attributes) bool {
	for i := range m {
		if m[i].name.holdsFold(a.host) && (!m[i].ported || m[i].port.holds(a.port)) {
			return true
		}
	}
	return false
}

type methods patterns

func newMethods(list []string) matcher { return methods(newPatterns(list)) }

func (m methods) holds(a *Attributes) bool { return patterns(m).any(a.Request.Method) }

type paths struct {
	texts     patterns
	templates []template
}

func newPaths(list []string) matcher {
	var m paths
	for _, s := range list {
		if strings.Contains(s, routing.OneSegment) || strings.Contains(s, routing.AnySegments) {
			m.templates = append(m.templates, newTemplate(s))
		} else {
			m.texts = append(m.texts, newPattern(s))
		}
	}
	return &m
}

func (m *paths) holds(a *Attributes) bool {
	if m.texts.any(a.Path) {
		return true
	}
	for i := range m.templates {
		if m.templates[i].holds(a.Path) {
			return true
		}
	}
	return false
}

// A header compares what the fields of a name say together.
type header struct {
	name string // in lower case
	patterns
}

func newHeader(name string, list []string) matcher {
	return &header{lower(name), newPatterns(list)}
}

func (m *header) holds(a *Attributes) bool {
	value, there := a.header(m.name)
	if !there {
		return false
	}
	for i := range m.patterns {
		if p := &m.patterns[i]; p.kind == present || p.holds(value) {
			return true
		}
	}
	return false
}
