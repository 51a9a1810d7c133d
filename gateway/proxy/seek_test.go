package proxy

import (
	"errors"
	"net/netip"
	"testing"

	"fairway.dev/gateway/message"
	"fairway.dev/gateway/resolve"
	"fairway.dev/routing"
)

// A phonebook is a resolver that is asked by the test what a name is.
type phonebook struct{ asked chan entry }

// An entry is a name whose addresses somebody wants.
type entry struct {
	host    string
	changed resolve.Changed
}

func (b phonebook) watch(host string, changed resolve.Changed) (stop func()) {
	b.asked <- entry{host, changed}
	return func() {}
}

// newSeekStage serves requests that go to their host, if it is under example.
func newSeekStage(t *testing.T) *stage {
	s := newStage(t, to("empty"))
	s.set.Put(&routing.Cluster{Name: "empty", Resolve: routing.ResolveHost})
	s.set.PutEndpoints(&routing.Endpoints{Cluster: "empty", List: []routing.Endpoint{
		{Host: "*.example", Addr: netip.AddrPortFrom(netip.Addr{}, 8443), Ready: true},
	}})
	return s
}

// answer takes the question that came, and answers it.
func (s *stage) answer(host string, addrs ...netip.Addr) {
	s.t.Helper()
	q := <-s.names.asked
	if q.host != host {
		s.t.Errorf("asked for %q, want %q", q.host, host)
	}
	var err error
	if addrs == nil {
		err = errors.New("no such name")
	}
	q.changed(addrs, err)
	s.loop.Settle()
}

// ServiceEntry.resolution DYNAMIC_DNS: a request waits for the addresses of its
// host, with what has come of its body; the next do not.
func TestRequestGoesToItsHost(t *testing.T) {
	s := newSeekStage(t)
	c := s.request("POST", "/", "Host: api.example:80").open()
	c.upload("hello")
	s.answer("api.example", netip.MustParseAddr("8.8.8.8"))
	call := s.only()
	if call.port != 8443 || call.body != "hello" {
		t.Errorf("port %d, body %q; want 8443, and what came before the address", call.port, call.body)
	}
	c.finish()
	call.reply(200, "")
	s.get("/", "Host: api.example")
	s.call(1).reply(200, "")
	if n := len(s.names.asked); n != 0 {
		t.Errorf("asked %d times more, want the address to be known", n)
	}
}

// Response flag DF.
func TestNoAddress(t *testing.T) {
	for name, addrs := range map[string][]netip.Addr{
		"no such name": nil, "an address of a private network": {netip.MustParseAddr("10.0.0.1")},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSeekStage(t)
			c := s.get("/", "Host: api.example")
			s.answer("api.example", addrs...)
			s.want(c, 503, "DF")
		})
	}
}

// DF beside UH: endpoints have names, and these have no address.
func TestNamesOfEndpointsWithoutAddress(t *testing.T) {
	s := newStage(t, to("empty"))
	s.set.PutEndpoints(&routing.Endpoints{Cluster: "empty", List: []routing.Endpoint{{Host: "db.example", Ready: true}}})
	s.answer("db.example")
	s.want(s.get("/"), 503, "UH,DF")
}

// A client that leaves ends the search.
func TestClientLeavesWhileItsHostIsSought(t *testing.T) {
	s := newSeekStage(t)
	c := s.get("/", "Host: api.example")
	q := <-s.names.asked
	c.leave(message.Gone)
	q.changed([]netip.Addr{netip.MustParseAddr("8.8.8.8")}, nil)
	s.loop.Settle()
	if len(s.calls) != 0 {
		t.Errorf("%d requests were sent for a client that is gone", len(s.calls))
	}
}
