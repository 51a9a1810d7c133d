package feed

import (
	"encoding/json"
	"maps"
	"math"
)

// A Place is where a gateway pod is, and what selects it, as far as control
// knows.
type Place struct {
	Region, Zone, SubZone string
	// Labels are the pod's; nil where they are not known. Nobody changes them.
	Labels map[string]string
}

// Equal reports whether two Places are the same.
func (p Place) Equal(q Place) bool {
	return p.Region == q.Region && p.Zone == q.Zone && p.SubZone == q.SubZone && maps.Equal(p.Labels, q.Labels)
}

// text is the Place in the file of the last good state, which has no room for
// more than 64 KiB of it.
func (p Place) text() []byte {
	text := marshal(&p)
	if len(text) > math.MaxUint16 {
		p.Labels = nil
		text = marshal(&p)
	}
	return text[:min(len(text), math.MaxUint16)]
}

// placeOf reads what text returned. Older files have the name of a zone.
func placeOf(text []byte) (p Place) {
	if len(text) > 0 && text[0] != '{' {
		return Place{Zone: string(text)}
	}
	if json.Unmarshal(text, &p) != nil {
		return Place{}
	}
	return p
}
