package resolve

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// An answer is the addresses of a name, sorted, and how long they hold. None
// means that the name has none, or that there is no such name.
type answer struct {
	addrs []netip.Addr
	ttl   time.Duration
}

// errNone is what those who watch a name hear where DNS says that it has no address.
var errNone = errors.New("the name has no address")

// resolve finds the addresses of a host.
func (r *Resolver) resolve(ctx context.Context, host string) (answer, error) {
	if addr, err := netip.ParseAddr(host); err == nil {
		return answer{[]netip.Addr{addr.Unmap()}, mostTTL}, nil
	}
	whole := strings.TrimSuffix(host, ".")
	if addrs := inHosts(r.o.Hosts, whole); len(addrs) > 0 {
		return answer{tidy(addrs), leastTTL}, nil
	}
	if low := strings.ToLower(whole); low == "localhost" || strings.HasSuffix(low, ".localhost") {
		return answer{[]netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()}, mostTTL}, nil
	}
	c := readConfig(r.o.Config)
	var last answer
	for _, full := range c.names(host) {
		a, err := r.addresses(ctx, &c, full)
		if err != nil || len(a.addrs) > 0 {
			return a, err
		}
		last = a
	}
	return last, nil
}

// names returns what is asked for, in turn, each with a dot at its end.
func (c *config) names(host string) []string {
	if strings.Contains(host, ".") {
		return []string{strings.TrimSuffix(host, ".") + "."}
	}
	var list []string
	for _, domain := range c.search {
		list = append(list, host+"."+domain+".")
	}
	return append(list, host+".")
}

// addresses asks for all families at once. Where only some could be asked it
// returns their addresses with the error: better than nothing, but no change.
func (r *Resolver) addresses(ctx context.Context, c *config, full string) (answer, error) {
	kinds := map[string]dnsmessage.Type{"ip4": dnsmessage.TypeA, "ip6": dnsmessage.TypeAAAA}
	answers := make([]answer, len(r.o.Families))
	errs := make([]error, len(r.o.Families))
	var both sync.WaitGroup
	for i, family := range r.o.Families {
		both.Go(func() { answers[i], errs[i] = r.ask(ctx, c, full, kinds[family]) })
	}
	both.Wait()
	return join(answers), errors.Join(errs...)
}

// join puts the answers of two families together. What one lacks counts for the
// TTL only where the other lacks it too.
func join(answers []answer) answer {
	some := slices.ContainsFunc(answers, func(a answer) bool { return len(a.addrs) > 0 })
	sum := answer{ttl: mostTTL}
	for _, a := range answers {
		if len(a.addrs) > 0 || !some {
			sum.addrs, sum.ttl = append(sum.addrs, a.addrs...), min(sum.ttl, a.ttl)
		}
	}
	sum.addrs = tidy(sum.addrs)
	return sum
}

func tidy(addrs []netip.Addr) []netip.Addr {
	slices.SortFunc(addrs, netip.Addr.Compare)
	return slices.Compact(addrs)
}

// ask asks the servers in turn, until one answers.
func (r *Resolver) ask(ctx context.Context, c *config, full string, kind dnsmessage.Type) (answer, error) {
	select {
	case r.slots <- struct{}{}:
		defer func() { <-r.slots }()
	case <-ctx.Done():
		return answer{}, ctx.Err()
	}
	q, err := newQuery(full, kind)
	if err != nil {
		return answer{}, err
	}
	var last error
	for range c.attempts {
		for _, server := range c.servers {
			a, err := r.askServer(ctx, c, server, q)
			if err == nil || ctx.Err() != nil {
				return a, err
			}
			last = fmt.Errorf("ask %s for %s of %s: %w", server, strings.TrimPrefix(kind.String(), "Type"), full, err)
		}
	}
	return answer{}, last
}

// askServer asks by UDP, and by TCP where the answer does not fit (RFC 7766
// section 5).
func (r *Resolver) askServer(ctx context.Context, c *config, server string, q *query) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	for _, network := range []string{"udp", "tcp"} {
		a, err := r.exchange(ctx, network, server, q)
		if !errors.Is(err, errTruncated) {
			return a, err
		}
	}
	return answer{}, errTruncated
}

// exchange makes one question and takes its answer, on a socket of its own:
// its port is as hard to guess as the question's id (RFC 5452 section 9.2).
func (r *Resolver) exchange(ctx context.Context, network, server string, q *query) (answer, error) {
	conn, err := r.o.Dial(ctx, network, server)
	if err != nil {
		return answer{}, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })()
	if deadline, ok := ctx.Deadline(); ok {
		conn.SetDeadline(deadline)
	}
	if network == "tcp" {
		return overTCP(conn, q)
	}
	return overUDP(conn, q)
}

func overUDP(conn net.Conn, q *query) (answer, error) {
	if _, err := conn.Write(q.packed); err != nil {
		return answer{}, err
	}
	b := make([]byte, 64<<10)
	for {
		n, err := conn.Read(b)
		if err != nil {
			return answer{}, err
		}
		a, err := q.parse(b[:n])
		if errors.Is(err, errForeign) {
			continue // forged, or late: ours may still come
		}
		return a, err
	}
}

// overTCP frames messages as RFC 1035 section 4.2.2 has it.
func overTCP(conn net.Conn, q *query) (answer, error) {
	framed := binary.BigEndian.AppendUint16(nil, uint16(len(q.packed)))
	if _, err := conn.Write(append(framed, q.packed...)); err != nil {
		return answer{}, err
	}
	var size [2]byte
	if _, err := io.ReadFull(conn, size[:]); err != nil {
		return answer{}, err
	}
	b := make([]byte, binary.BigEndian.Uint16(size[:]))
	if _, err := io.ReadFull(conn, b); err != nil {
		return answer{}, err
	}
	return q.parse(b)
}
