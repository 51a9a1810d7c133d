package resolve

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

var (
	// errForeign is of a message that does not answer our question.
	errForeign = errors.New("not an answer to the question")
	// errTruncated is of an answer that was too long for UDP.
	errTruncated = errors.New("answer is truncated")
)

const (
	// datagram is the size of answers that fits without fragments nearly
	// everywhere (RFC 6891 section 6.2.5, DNS Flag Day 2020).
	datagram = 1232
	// maxAddrs bounds the addresses of a name, and maxAliases the steps from it
	// to the name that has them.
	maxAddrs   = 256
	maxAliases = 16
)

// A query is a question and its bytes.
type query struct {
	id     uint16
	name   dnsmessage.Name
	kind   dnsmessage.Type
	packed []byte
}

// newQuery asks for the records of a whole name.
func newQuery(full string, kind dnsmessage.Type) (*query, error) {
	name, err := dnsmessage.NewName(full)
	if err != nil {
		return nil, fmt.Errorf("name %q: %w", full, err)
	}
	q := &query{id: uint16(rand.Uint32()), name: name, kind: kind}
	b := dnsmessage.NewBuilder(nil, dnsmessage.Header{ID: q.id, RecursionDesired: true})
	var opt dnsmessage.ResourceHeader
	err = errors.Join(
		opt.SetEDNS0(datagram, dnsmessage.RCodeSuccess, false),
		b.StartQuestions(), b.Question(dnsmessage.Question{Name: name, Type: kind, Class: dnsmessage.ClassINET}),
		b.StartAdditionals(), b.OPTResource(opt, dnsmessage.OPTResource{}))
	if err == nil {
		q.packed, err = b.Finish()
	}
	if err != nil {
		return nil, fmt.Errorf("name %q: %w", full, err)
	}
	return q, nil
}

// parse takes what may be the answer to q.
func (q *query) parse(b []byte) (answer, error) {
	var p dnsmessage.Parser
	h, err := p.Start(b)
	if err != nil || !h.Response || h.ID != q.id {
		return answer{}, errForeign
	}
	asked, err := p.AllQuestions()
	if err != nil || len(asked) != 1 || asked[0].Type != q.kind || asked[0].Class != dnsmessage.ClassINET || !sameName(asked[0].Name, q.name) {
		return answer{}, errForeign
	}
	switch {
	case h.Truncated:
		return answer{}, errTruncated
	case h.RCode == dnsmessage.RCodeSuccess, h.RCode == dnsmessage.RCodeNameError:
	default:
		return answer{}, fmt.Errorf("server answers %s", strings.TrimPrefix(h.RCode.String(), "RCode"))
	}
	records, err := p.AllAnswers()
	if err != nil {
		return answer{}, fmt.Errorf("answer: %w", err)
	}
	if a := q.collect(records); len(a.addrs) > 0 {
		return a, nil
	}
	return answer{ttl: noneFor(&p)}, nil
}

// sameName compares names as DNS does (RFC 4343).
func sameName(a, b dnsmessage.Name) bool { return strings.EqualFold(a.String(), b.String()) }

// collect takes the addresses of the name, or of the one that it is an alias of.
// They hold as long as the shortest of the records on the way.
func (q *query) collect(records []dnsmessage.Resource) answer {
	a := answer{ttl: mostTTL}
	name := q.name
	for range maxAliases {
		next := name
		for _, rec := range records {
			if !sameName(rec.Header.Name, name) || rec.Header.Class != dnsmessage.ClassINET {
				continue
			}
			switch body := rec.Body.(type) {
			case *dnsmessage.AResource:
				a.add(netip.AddrFrom4(body.A), q.kind == dnsmessage.TypeA, rec.Header.TTL)
			case *dnsmessage.AAAAResource:
				a.add(netip.AddrFrom16(body.AAAA).Unmap(), q.kind == dnsmessage.TypeAAAA, rec.Header.TTL)
			case *dnsmessage.CNAMEResource:
				next = body.CNAME
				a.ttl = min(a.ttl, seconds(rec.Header.TTL))
			}
		}
		if len(a.addrs) > 0 || sameName(next, name) {
			break
		}
		name = next
	}
	return a
}

func (a *answer) add(addr netip.Addr, wanted bool, ttl uint32) {
	if wanted && len(a.addrs) < maxAddrs {
		a.addrs, a.ttl = append(a.addrs, addr), min(a.ttl, seconds(ttl))
	}
}

// seconds returns a TTL. One with its highest bit set is zero (RFC 2181 section 8).
func seconds(ttl uint32) time.Duration {
	if ttl > 1<<31-1 {
		return 0
	}
	return time.Duration(ttl) * time.Second
}

// noneFor returns how long it holds that there is nothing: what the SOA record
// says, which comes with such an answer (RFC 2308 section 5).
func noneFor(p *dnsmessage.Parser) time.Duration {
	authorities, err := p.AllAuthorities()
	if err != nil {
		return 0
	}
	for _, rec := range authorities {
		if soa, ok := rec.Body.(*dnsmessage.SOAResource); ok {
			return min(seconds(rec.Header.TTL), seconds(soa.MinTTL))
		}
	}
	return 0
}
