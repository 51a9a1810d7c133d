package gatewayapi

import (
	"cmp"
	"math"
	"time"
)

// birth orders objects by age; one without a creationTimestamp is the youngest.
func birth(created time.Time) int64 {
	if created.IsZero() {
		return math.MaxInt64
	}
	return created.UnixNano()
}

// compareAge orders objects as the API breaks ties: the oldest first, then by
// "{namespace}/{name}".
func compareAge(a, b time.Time, aName, bName string) int {
	return cmp.Or(cmp.Compare(birth(a), birth(b)), cmp.Compare(aName, bName))
}
