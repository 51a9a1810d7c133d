package upstream

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"fairway.dev/routing"
)

// A tier is endpoints that requests go to together. Of a cluster with failover
// the first tier comes first, and the next take what it is too weak for; with
// distribution each has a share.
type tier struct {
	members []*member
	weight  uint64 // of a distribution, else 0
	picker  picker
}

// tiers divides members by where they are, as l wants it of a gateway here:
// nil where l says nothing about that place, or nobody knows it. With a
// distribution, members of places that it does not name are in no tier
// (LocalityLoadBalancerSetting.distribute).
func (p *Place) tiers(l *routing.Locality, members []*member) []tier {
	if l == nil {
		return nil
	}
	here := locality{p.Region, p.Zone, p.SubZone}
	if len(l.Distribute) > 0 {
		for _, d := range l.Distribute {
			if here != (locality{}) && here.within(d.From) {
				return distribute(d.To, members)
			}
		}
		return nil
	}
	byRank := map[int][]*member{}
	for _, m := range members {
		rank, known := p.rank(l, here, m)
		if !known {
			return nil
		}
		byRank[rank] = append(byRank[rank], m)
	}
	list := make([]tier, 0, len(byRank))
	for _, rank := range slices.Sorted(maps.Keys(byRank)) {
		list = append(list, tier{members: byRank[rank]})
	}
	return list
}

// A locality is where something is.
type locality struct{ region, zone, subZone string }

func localityOf(m *member) locality { return locality{m.spec.Region, m.spec.Zone, m.spec.SubZone} }

// within reports whether l is in a place: "region/zone/subzone", whose parts
// stand for all where they are "*" or missing.
func (l locality) within(place string) bool {
	region, rest, _ := strings.Cut(place, "/")
	zone, subZone, _ := strings.Cut(rest, "/")
	return (region == "*" || region == l.region) && (zone == "*" || zone == "" || zone == l.zone) &&
		(subZone == "*" || subZone == "" || subZone == l.subZone)
}

// distribute makes a tier of each place that has members. A member that two
// places cover belongs to the one that says more.
func distribute(to map[string]uint32, members []*member) []tier {
	places := slices.SortedFunc(maps.Keys(to), func(a, b string) int {
		return cmp.Or(cmp.Compare(precision(b), precision(a)), cmp.Compare(a, b))
	})
	list := make([]tier, len(places))
	for i, place := range places {
		list[i].weight = uint64(to[place])
	}
	for _, m := range members {
		at := localityOf(m)
		if i := slices.IndexFunc(places, at.within); i >= 0 {
			list[i].members = append(list[i].members, m)
		}
	}
	return slices.DeleteFunc(list, func(t tier) bool { return len(t.members) == 0 || t.weight == 0 })
}

// precision is how many parts of a place are said.
func precision(place string) (n int) {
	for part := range strings.SplitSeq(place, "/") {
		if part != "" && part != "*" {
			n++
		}
	}
	return n
}

// regionRanks is how many ranks there are by region, zone and subzone.
const regionRanks = 5

// rank returns in which tier m is, before the numbers that nobody has are left
// out; false where the gateway does not know what counts.
func (p *Place) rank(l *routing.Locality, here locality, m *member) (rank int, known bool) {
	byRegion := len(l.Priority) == 0 || len(l.Failover) > 0
	if byRegion && here == (locality{}) {
		return 0, false
	}
	for i, label := range l.Priority {
		key, own, given := strings.Cut(label, "=")
		if !given && p.Labels == nil {
			return 0, false
		}
		if !given {
			own = p.Labels[key]
		}
		if m.spec.Labels[key] != own {
			rank = len(l.Priority) - i
			break
		}
	}
	if byRegion {
		rank = rank*regionRanks + regionRank(here, localityOf(m), l.Failover)
	}
	return rank, true
}

// regionRank tells how near to here there is: the same subzone, zone, region,
// the region that is the next for those here, and any.
func regionRank(here, there locality, failover []routing.Failover) int {
	switch {
	case there.region == here.region && there.zone == here.zone && there.subZone == here.subZone:
		return 0
	case there.region == here.region && there.zone == here.zone:
		return 1
	case there.region == here.region:
		return 2
	}
	for _, f := range failover {
		if f.From == here.region {
			if f.To == there.region {
				return 3
			}
			return 4
		}
	}
	return 3
}
