package capture

import (
	"net/netip"
	"testing"

	"fairway.dev/routing"
)

// Of two that have one address, that of the cluster's word holds, whatever the
// names are and whichever came first.
func TestWhatIsClaimedComesLast(t *testing.T) {
	at := netip.MustParseAddrPort("10.96.0.5:80")
	capture := func(name routing.CaptureName, to uint16, claimed bool) *routing.Capture {
		return &routing.Capture{Name: name, Addresses: []netip.Addr{at.Addr()}, Port: at.Port(), To: to, Claimed: claimed}
	}
	service, thief := capture("shop/cart:80", 20001, false), capture("ServiceEntry/web/thief:80", 20002, true)
	for _, order := range [][]*routing.Capture{{service, thief}, {thief, service}} {
		s := &State{}
		for _, c := range order {
			s.Change(&routing.Delta{Captures: []*routing.Capture{c}})
		}
		if c := s.capture(at); c != service {
			t.Errorf("%s is captured for %s, want for %s", at, c.Name, service.Name)
		}
		if port := Build(s).Sets[of(setPorts, IPv4)].Elements[Element{Addr: at.Addr(), Port: at.Port()}].Port; port != service.To {
			t.Errorf("%s goes to port %d, want %d", at, port, service.To)
		}
	}
}
