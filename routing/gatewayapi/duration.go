package gatewayapi

import (
	"fmt"
	"strconv"
	"time"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// parseDuration reads a Duration as GEP-2257 writes it: one to four of a
// number of up to five digits and a unit, h, m, s or ms, as in "1h30m".
func parseDuration(text gatewayv1.Duration) (time.Duration, error) {
	rest, sum := string(text), time.Duration(0)
	for n := 0; n == 0 || rest != ""; n++ {
		digits := 0
		for digits < len(rest) && '0' <= rest[digits] && rest[digits] <= '9' {
			digits++
		}
		unit, name := unitOf(rest[digits:])
		if n == 4 || digits < 1 || digits > 5 || unit == 0 {
			return 0, fmt.Errorf("duration %q: want one such as 1h30m or 500ms (GEP-2257)", text)
		}
		number, err := strconv.Atoi(rest[:digits])
		if err != nil {
			panic("bug: five digits are no number")
		}
		sum += time.Duration(number) * unit
		rest = rest[digits+len(name):]
	}
	return sum, nil
}

// unitOf returns the unit that s begins with, and how it is written.
func unitOf(s string) (time.Duration, string) {
	switch {
	case len(s) >= 2 && s[:2] == "ms":
		return time.Millisecond, "ms"
	case s == "":
		return 0, ""
	case s[0] == 'h':
		return time.Hour, "h"
	case s[0] == 'm':
		return time.Minute, "m"
	case s[0] == 's':
		return time.Second, "s"
	}
	return 0, ""
}

// orNone returns a timeout as the Spec has it, where 0 is the default and less
// is none; an author writes 0s for none.
func orNone(d time.Duration) time.Duration {
	if d == 0 {
		return -1
	}
	return d
}
