package resolve

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// A nameserver answers what the test says, on connections in memory.
type nameserver struct {
	t *testing.T
	r *Resolver

	mu    sync.Mutex
	zone  map[string]record
	asked []string
	// reply, if set, takes the place of the zone: nil is silence.
	reply func(network, server string, q dnsmessage.Question, id uint16) [][]byte
}

// A record is what a name has.
type record struct {
	addrs []string
	ttl   uint32
	alias string
	rcode dnsmessage.RCode
	large bool // does not fit into a datagram
}

// onServer runs f in a bubble with a Resolver of a nameserver.
func onServer(t *testing.T, o Options, f func(s *nameserver)) {
	t.Helper()
	dir := t.TempDir()
	o.Config, o.Hosts = filepath.Join(dir, "resolv.conf"), filepath.Join(dir, "hosts")
	write(t, o.Config, "nameserver 10.0.0.10\nsearch shop.svc.cluster.local cluster.local\noptions ndots:5\n")
	write(t, o.Hosts, "10.1.1.1 legacy # an old one\n")
	if o.Families == nil {
		o.Families = []string{"ip4"}
	}
	synctest.Test(t, func(t *testing.T) {
		s := &nameserver{t: t, zone: map[string]record{}}
		o.Dial = s.dial
		s.r = New(o)
		defer s.r.Close()
		f(s)
	})
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (s *nameserver) set(name string, r record) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.zone[name] = r
}

// questions returns what was asked since the last call.
func (s *nameserver) questions() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := s.asked
	s.asked = nil
	return list
}

func (s *nameserver) dial(_ context.Context, network, address string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	go s.serve(network, address, theirs)
	return ours, nil
}

func (s *nameserver) serve(network, server string, conn net.Conn) {
	defer conn.Close()
	b := make([]byte, 4096)
	n, err := 0, error(nil)
	if network == "tcp" {
		if _, err = io.ReadFull(conn, b[:2]); err == nil {
			n, err = io.ReadFull(conn, b[:binary.BigEndian.Uint16(b)])
		}
	} else {
		n, err = conn.Read(b)
	}
	if err != nil {
		return
	}
	var m dnsmessage.Message
	if err := m.Unpack(b[:n]); err != nil || len(m.Questions) != 1 || !m.RecursionDesired {
		s.t.Errorf("question %x: %v", b[:n], err)
		return
	}
	for _, reply := range s.answer(network, server, m.Questions[0], m.ID) {
		if network == "tcp" {
			reply = append(binary.BigEndian.AppendUint16(nil, uint16(len(reply))), reply...)
		}
		if _, err := conn.Write(reply); err != nil {
			return
		}
	}
	io.Copy(io.Discard, conn) // silence, until the other side has enough
}

func (s *nameserver) answer(network, server string, q dnsmessage.Question, id uint16) [][]byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = append(s.asked, fmt.Sprint(network, " ", server, " ", q.Name, " ", q.Type))
	if s.reply != nil {
		return s.reply(network, server, q, id)
	}
	r, ok := s.zone[q.Name.String()]
	if !ok {
		r.rcode = dnsmessage.RCodeNameError
	}
	return [][]byte{r.pack(network, q, id)}
}

func (r record) pack(network string, q dnsmessage.Question, id uint16) []byte {
	m := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: id, Response: true, RCode: r.rcode, Truncated: r.large && network == "udp"},
		Questions: []dnsmessage.Question{q},
	}
	name := q.Name
	if r.alias != "" {
		next := dnsmessage.MustNewName(r.alias)
		m.Answers = append(m.Answers, dnsmessage.Resource{
			Header: dnsmessage.ResourceHeader{Name: name, Class: dnsmessage.ClassINET, TTL: r.ttl}, Body: &dnsmessage.CNAMEResource{CNAME: next}})
		name = next
	}
	for _, text := range r.addrs {
		h := dnsmessage.ResourceHeader{Name: name, Class: dnsmessage.ClassINET, TTL: r.ttl}
		addr := netip.MustParseAddr(text)
		switch {
		case addr.Is4() && q.Type == dnsmessage.TypeA:
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: h, Body: &dnsmessage.AResource{A: addr.As4()}})
		case addr.Is6() && q.Type == dnsmessage.TypeAAAA:
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: h, Body: &dnsmessage.AAAAResource{AAAA: addr.As16()}})
		}
	}
	if len(m.Answers) == 0 && r.ttl > 0 {
		zone := dnsmessage.MustNewName("example.")
		m.Authorities = []dnsmessage.Resource{{
			Header: dnsmessage.ResourceHeader{Name: zone, Class: dnsmessage.ClassINET, TTL: 3600},
			Body:   &dnsmessage.SOAResource{NS: zone, MBox: zone, MinTTL: r.ttl},
		}}
	}
	b, err := m.Pack()
	if err != nil {
		panic(err)
	}
	return b
}

// A listener keeps what it heard.
type listener struct {
	mu   sync.Mutex
	news []string
}

func (l *listener) changed(addrs []netip.Addr, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		l.news = append(l.news, err.Error())
		return
	}
	l.news = append(l.news, fmt.Sprint(addrs))
}

// heard reports what the listener heard after d, and forgets it.
func (l *listener) heard(d time.Duration) []string {
	time.Sleep(d)
	synctest.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	list := l.news
	l.news = nil
	return list
}

func (l *listener) want(t *testing.T, when string, after time.Duration, want ...string) {
	t.Helper()
	if got := l.heard(after); !slices.Equal(got, want) {
		t.Errorf("%s: heard %q, want %q", when, got, want)
	}
}
